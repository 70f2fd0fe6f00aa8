#!/usr/bin/env bash
# Adds the true preference to the answers of SFT model and policy: judge.sh BINARIES RUNS
set -euo pipefail
"$1/recipes" demo score --in "$2/ppo/samples.jsonl" --out "$2/ppo/gold.jsonl"
