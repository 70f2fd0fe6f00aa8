#!/usr/bin/env bash
# A whole recipe as a chain of jobs, each of which begins when the one before is done.
#
#   scripts/slurm/pipeline.sh configs/demo [options of sbatch, such as --nodes 2 --ntasks-per-node 4 --partition NAME]...
#
# The options are for all jobs; preparation and report run as one task of them. Build first (scripts/setup.sh, cargo build --release --workspace --bins).
# Results: runs/<recipe>/, as of scripts/pipeline.sh; RUNS names another folder than runs, which the recipe's files then must name, too.
# Prints the numbers of the jobs; `scancel` of one ends those that wait for it, too.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'pipeline: %s\n' "$*" >&2; exit 2; }

recipe_dir=${1:-}
[ -n "$recipe_dir" ] || die "usage: scripts/slurm/pipeline.sh configs/<recipe> [options of sbatch]..."
[ -f "$recipe_dir/pretrain.toml" ] || die "$recipe_dir/pretrain.toml is missing: name a folder such as configs/demo"
shift
recipe=$(basename "$recipe_dir")
runs=${RUNS:-runs}/$recipe
bin=${RLHF_BIN:-target/release}
mkdir -p "$runs"

before=
submit() { # name, command and options of its own...
  local name=$1 after=()
  shift
  [ -z "$before" ] || after=(--dependency="afterok:$before" --kill-on-invalid-dep=yes)
  before=$(sbatch --parsable --job-name="$recipe-$name" --output="$runs/$name.log" "${after[@]}" "$@")
  echo "$before $recipe-$name"
}
small=("$@" --nodes 1 --ntasks 1 --ntasks-per-node 1 --open-mode=append)
quoted() { printf '%q ' "$@"; } # for the shell of --wrap

if [ -x "$recipe_dir/prepare.sh" ]; then submit prepare "${small[@]}" --wrap "$(quoted "$recipe_dir/prepare.sh" "$bin" "$runs")"; fi
for stage in pretrain sft reward ppo; do
  for config in "$recipe_dir/$stage".toml "$recipe_dir/$stage"-*.toml; do # reward-*.toml: further reward models
    [ -f "$config" ] || continue
    name=$(basename "$config" .toml)
    submit "$name" "$@" scripts/slurm/stage.sbatch "$stage" "$config" --out "$runs/$name"
  done
done
judge=
if [ -x "$recipe_dir/judge.sh" ]; then judge="$(quoted "$recipe_dir/judge.sh" "$bin" "$runs")&& "; fi
submit report "${small[@]}" --wrap "$judge$(quoted "$bin/evaluate" report --runs "$runs")"
