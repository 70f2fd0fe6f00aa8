#!/usr/bin/env bash
# Writes the demo's text to pre-train on, and conversations about the same kind of places: prepare.sh BINARIES RUNS
set -euo pipefail
[ -f "$2/world/world.json" ] || "$1/recipes" demo generate --out "$2/world" --seed 1
[ -f "$2/data/rankings.jsonl" ] || "$1/recipes" demo chat --out "$2/data" --seed 1
