#!/usr/bin/env bash
# What the town itself says of the last answers: judge.sh BINARIES RUNS
set -euo pipefail
"$1/recipes" demo chat-score --in "$2/ppo/samples.jsonl" --out "$2/ppo/gold.jsonl"
