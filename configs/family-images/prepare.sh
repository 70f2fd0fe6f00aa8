#!/usr/bin/env bash
# Draws the pictures of family-images and writes their captions: prepare.sh BINARIES RUNS
set -euo pipefail
[ -f "$2/data/train.jsonl" ] || "$1/recipes" shapes generate --out "$2/data" --count 8000 --heldout 500 --seed 1
