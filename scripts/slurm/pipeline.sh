#!/usr/bin/env bash
# A whole recipe as a chain of jobs, each of which begins when the one before is done.
#
#   scripts/slurm/pipeline.sh configs/demo [options of sbatch, such as --nodes 2 --ntasks-per-node 4]...
#
# Build first (scripts/setup.sh, cargo build --release --workspace --bins). Results: runs/<recipe>/, as of scripts/pipeline.sh; RUNS names another folder
# than runs, which the recipe's files then must name, too.
# Prints the numbers of the jobs; `scancel` of one ends those that wait for it, too.
set -euo pipefail
cd "$(dirname "$0")/../.."

recipe_dir=${1:?usage: scripts/slurm/pipeline.sh configs/RECIPE [options of sbatch]...}
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
small=(--nodes 1 --ntasks 1 --open-mode=append)

if [ -x "$recipe_dir/prepare.sh" ]; then submit prepare "${small[@]}" --wrap "$recipe_dir/prepare.sh $bin $runs"; fi
for stage in pretrain sft reward ppo; do
  for config in "$recipe_dir/$stage".toml "$recipe_dir/$stage"-*.toml; do # reward-*.toml: further reward models
    [ -f "$config" ] || continue
    name=$(basename "$config" .toml)
    submit "$name" "$@" scripts/slurm/stage.sbatch "$stage" "$config" --out "$runs/$name"
  done
done
judge=
if [ -x "$recipe_dir/judge.sh" ]; then judge="$recipe_dir/judge.sh $bin $runs && "; fi
submit report "${small[@]}" --wrap "$judge$bin/evaluate report --runs $runs"
