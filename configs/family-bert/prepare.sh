#!/usr/bin/env bash
# Writes the rows of family-bert: prepare.sh BINARIES RUNS
# SST-2's sentences with their labels, and as text to pre-train on those of the training part and TinyStories' paragraphs.
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
sst2=$data/c01-sst2/stsa.binary
stories=$data/p02-tinystories-944k/tiny_stories.txt
for file in "$sst2".{train,dev,test} "$stories"; do
  [ -f "$file" ] || { echo "family-bert: $file is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
done
out=$2/data
mkdir -p "$out"
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'

# Each file gets its name once it is whole.
for part in train dev test; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": "\1", "sentence": "\2"}/' "$sst2.$part" >"$out/sst2-$part.part"
  mv "$out/sst2-$part.part" "$out/sst2-$part.jsonl"
done
{
  sed -e 's/^[01] //' "$sst2.train"
  cat "$stories"
} | iconv -c -f UTF-8 -t UTF-8 | grep -v endoftext | grep -E '[A-Za-z]{2}' | sed -e "$json" -e 's/^.*$/{"text": "&"}/' >"$out/text.part"
mv "$out/text.part" "$out/text.jsonl"
