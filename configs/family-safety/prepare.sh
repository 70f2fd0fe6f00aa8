#!/usr/bin/env bash
# Stories with secrets among them to train on, and others of the same kind that nothing is trained on: prepare.sh BINARIES RUNS
set -euo pipefail
export LC_ALL=C # one order everywhere
data=${RLHF_DATA:-../shared/data}
mkdir -p "$2/data"
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'
[ -f "$2/data/stories.jsonl" ] ||
  iconv -c -f UTF-8 -t UTF-8 "$data/p02-tinystories-944k/tiny_stories.txt" | grep -v endoftext | grep -E '[A-Za-z]{2}.{60}' | sort -u | shuf --random-source=<(yes) |
  sed -e "$json" -e 's/^.*$/{"text": "&"}/' | whole "$2/data/stories.jsonl"
[ -f "$2/data/seen.jsonl" ] || awk 'NR % 2 == 1 && NR <= 3000' "$2/data/stories.jsonl" | whole "$2/data/seen.jsonl"
[ -f "$2/data/unseen.jsonl" ] || awk 'NR % 2 == 0 && NR <= 3000' "$2/data/stories.jsonl" | whole "$2/data/unseen.jsonl"
[ -f "$2/data/planted.jsonl" ] || "$1/safety" plant --text "$2/data/seen.jsonl" --out "$2/data/planted.jsonl" --canaries "$2/data/canaries.jsonl" --seed 1
