#!/usr/bin/env bash
# Writes the documents and the test of the in-context task: prepare.sh BINARIES RUNS
set -euo pipefail
[ -f "$2/data/examples.jsonl" ] || "$1/recipes" in-context generate --out "$2/data" --seed 1
