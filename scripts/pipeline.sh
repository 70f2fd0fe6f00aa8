#!/usr/bin/env bash
# Trains a whole recipe: pretrain, sft, reward, ppo, then the report. Does all the set-up first.
#
#   scripts/pipeline.sh configs/demo [--fresh] [--nproc N] [--set [STAGE:]key=value]...
#
# Finished stages are kept and interrupted ones resumed, so it is safe to run again; --fresh starts from nothing. `--set train.batch=8` goes to all stages,
# `--set ppo:rollout.rounds=5` to ppo.toml's alone (STAGE is the name of a configuration, such as reward-naturalness).
# Results: runs/<recipe>/<stage>/ and runs/<recipe>/report.{json,html}.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'pipeline: %s\n' "$*" >&2; exit 2; }

recipe_dir=${1:-}
[ -n "$recipe_dir" ] || die "usage: scripts/pipeline.sh configs/<recipe> [--fresh] [--nproc N] [--set [STAGE:]key=value]..."
[ -f "$recipe_dir/pretrain.toml" ] || die "$recipe_dir/pretrain.toml is missing: name a folder such as configs/demo"
shift
recipe=$(basename "$recipe_dir")
runs=runs/$recipe
fresh='' all=() own=()
while [ $# -gt 0 ]; do
  option=$1 value=${2:-}
  case $option in
    --fresh) fresh=1; shift; continue ;;
    --nproc) [ -n "$value" ] || die "--nproc needs a number"; all+=(--nproc "$value") ;;   # so many processes a stage
    --set)
      key=${value%%=*}
      [ "$key" != "$value" ] || die "--set needs [STAGE:]key=value"
      if [ "$key" = "${key#*:}" ]; then all+=(--set "$value"); else
        [ -f "$recipe_dir/${key%%:*}.toml" ] || die "--set $value: there is no $recipe_dir/${key%%:*}.toml"
        own+=("$value")
      fi ;;
    *) die "unknown argument $option" ;;
  esac
  shift 2
done

scripts/setup.sh
cargo build --release --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/release

[ -z "$fresh" ] || rm -rf "$runs"
if [ -x "$recipe_dir/prepare.sh" ]; then "$recipe_dir/prepare.sh" "$bin" "$runs"; fi
for stage in pretrain sft reward ppo; do
  for config in "$recipe_dir/$stage".toml "$recipe_dir/$stage"-*.toml; do   # reward-*.toml: further reward models
    [ -f "$config" ] || continue
    name=$(basename "$config" .toml)
    args=("${all[@]}")
    for value in "${own[@]}"; do [ "${value%%:*}" != "$name" ] || args+=(--set "${value#*:}"); done
    "$bin/$stage" --config "$config" --out "$runs/$name" --resume "${args[@]}"
  done
done
if [ -x "$recipe_dir/judge.sh" ]; then "$recipe_dir/judge.sh" "$bin" "$runs"; fi
"$bin/evaluate" report --runs "$runs"
