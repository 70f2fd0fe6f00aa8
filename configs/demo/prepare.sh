#!/usr/bin/env bash
# Writes the demo's small world (text, demonstrations, rankings, prompts): prepare.sh BINARIES RUNS
set -euo pipefail
[ -f "$2/data/world.json" ] || "$1/recipes" demo generate --out "$2/data" --seed 1
