#!/usr/bin/env bash
# Writes the demonstrations, each with variations about places of other names: prepare.sh BINARIES RUNS
set -euo pipefail
people=${RLHF_DATA:-../shared/data}/s08-e2e-nlg-sft/devel-fixed.no-ol.csv
[ -f "$people" ] || { echo "restaurants: $people is missing: set RLHF_DATA to the folder of data sets (README, \"Two recipes\", says where they are)" >&2; exit 2; }
mkdir -p "$2/data"
[ -f "$2/data/demonstrations.jsonl" ] || "$1/recipes" e2e augment --in "$people" --out "$2/data/demonstrations.jsonl" --copies 7 --seed 1
