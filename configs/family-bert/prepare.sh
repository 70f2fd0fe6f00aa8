#!/usr/bin/env bash
# Rows for family-bert: configs/family-bert/prepare.sh [RUN]
# SST-2's sentences with their labels, and as text to pre-train on those of the training part and TinyStories' paragraphs.
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
out=${1:-runs/family-bert}/data
mkdir -p "$out"
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'

for part in train dev test; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": "\1", "sentence": "\2"}/' "$data/c01-sst2/stsa.binary.$part" | whole "$out/sst2-$part.jsonl"
done
{
  sed -e 's/^[01] //' "$data/c01-sst2/stsa.binary.train"
  cat "$data/p02-tinystories-944k/tiny_stories.txt"
} | iconv -c -f UTF-8 -t UTF-8 | grep -v endoftext | grep -E '[A-Za-z]{2}' | sed -e "$json" -e 's/^.*$/{"text": "&"}/' | whole "$out/text.jsonl"
