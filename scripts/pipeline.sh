#!/usr/bin/env bash
# Trains a whole recipe: pretrain, sft, reward, ppo, then the report. Does all the set-up first.
#
#   scripts/pipeline.sh configs/demo [--fresh] [--nproc N] [--set key=value]...
#
# Finished stages are kept and interrupted ones resumed, so it is safe to run again; --fresh starts from nothing.
# Results: runs/<recipe>/<stage>/ and runs/<recipe>/report.{json,html}.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { printf 'pipeline: %s\n' "$*" >&2; exit 2; }

recipe_dir=${1:-}
[ -n "$recipe_dir" ] || die "usage: scripts/pipeline.sh configs/<recipe> [--fresh] [--nproc N] [--set key=value]..."
[ -f "$recipe_dir/pretrain.toml" ] || die "$recipe_dir/pretrain.toml is missing: name a folder such as configs/demo"
shift
recipe=$(basename "$recipe_dir")
runs=runs/$recipe
extra=()
while [ $# -gt 0 ]; do
  case $1 in
    --fresh) rm -rf "$runs"; shift ;;
    --nproc) extra+=(--nproc "${2:?--nproc needs a number}"); shift 2 ;;   # so many processes a stage
    --set) extra+=(--set "${2:?--set needs key=value}"); shift 2 ;;
    *) die "unknown argument $1" ;;
  esac
done

scripts/setup.sh
cargo build --release --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/release

if [ -x "$recipe_dir/prepare.sh" ]; then "$recipe_dir/prepare.sh" "$bin" "$runs"; fi
for stage in pretrain sft reward ppo; do
  for config in "$recipe_dir/$stage".toml "$recipe_dir/$stage"-*.toml; do   # reward-*.toml: further reward models
    [ -f "$config" ] || continue
    name=$(basename "$config" .toml)
    "$bin/$stage" --config "$config" --out "$runs/$name" --resume "${extra[@]}"
  done
done
if [ -x "$recipe_dir/judge.sh" ]; then "$recipe_dir/judge.sh" "$bin" "$runs"; fi
"$bin/evaluate" report --runs "$runs"
