#!/usr/bin/env bash
# Counts the slots that each answer says rightly: judge.sh BINARIES RUNS
set -euo pipefail
"$1/recipes" e2e score --in "$2/ppo/samples.jsonl" --out "$2/ppo/gold.jsonl"
