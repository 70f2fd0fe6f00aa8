#!/usr/bin/env bash
# Stories with secrets among them to train on, and others of the same kind that nothing is trained on: prepare.sh BINARIES RUNS
set -euo pipefail
export LC_ALL=C # one order everywhere
stories=${RLHF_DATA:-../shared/data}/p02-tinystories-944k/tiny_stories.txt
[ -f "$stories" ] || { echo "family-safety: $stories is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
out=$2/data
mkdir -p "$out"
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'
# The secrets are written last: where they are, all is there.
if [ ! -f "$out/canaries.jsonl" ]; then
  iconv -c -f UTF-8 -t UTF-8 "$stories" | grep -v endoftext | grep -E '[A-Za-z]{2}.{60}' | sort -u | shuf --random-source=<(yes) |
    sed -e "$json" -e 's/^.*$/{"text": "&"}/' >"$out/stories.jsonl"
  awk 'NR % 2 == 1 && NR <= 3000' "$out/stories.jsonl" >"$out/seen.jsonl"
  awk 'NR % 2 == 0 && NR <= 3000' "$out/stories.jsonl" >"$out/unseen.jsonl"
  "$1/safety" plant --text "$out/seen.jsonl" --out "$out/planted.jsonl" --canaries "$out/canaries.jsonl" --seed 1
fi
