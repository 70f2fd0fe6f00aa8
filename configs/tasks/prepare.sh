#!/usr/bin/env bash
# Writes the rows of the tasks whose data are no tables: configs/tasks/prepare.sh [RUNS]
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
out=${1:-runs/tasks}/data
mkdir -p "$out"
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all
json='s/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g'

# "1 a sentence ." a line
for part in train dev; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": \1, "sentence": "\2"}/' "$data/c01-sst2/stsa.binary.$part" | whole "$out/sst2-$part.jsonl"
done

# The first paragraph of every story that begins like one.
stories=$data/p02-tinystories-944k/tiny_stories.txt
grep -E '^(Once|One day)[^"\\]*[.]$' "$stories" | awk 'NR <= 400' | sed -e "$json" -e 's/^.*$/{"text": "&"}/' | whole "$out/stories.jsonl"
