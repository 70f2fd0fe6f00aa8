#!/usr/bin/env bash
# Writes the rows of the tasks whose data are no tables: prepare.sh BINARIES RUNS
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
sst2=$data/c01-sst2/stsa.binary
stories=$data/p02-tinystories-944k/tiny_stories.txt
for file in "$sst2".{train,dev} "$stories"; do
  [ -f "$file" ] || { echo "tasks: $file is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
done
out=$2/data
mkdir -p "$out"
json='s/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g'

# "1 a sentence ." a line. Each file gets its name once it is whole.
for part in train dev; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": \1, "sentence": "\2"}/' "$sst2.$part" >"$out/sst2-$part.part"
  mv "$out/sst2-$part.part" "$out/sst2-$part.jsonl"
done

# The first paragraph of every story that begins like one.
grep -E '^(Once|One day)[^"\\]*[.]$' "$stories" | awk 'NR <= 400' | sed -e "$json" -e 's/^.*$/{"text": "&"}/' >"$out/stories.part"
mv "$out/stories.part" "$out/stories.jsonl"
