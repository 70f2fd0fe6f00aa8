#!/usr/bin/env bash
# Writes the rows of family-distill: prepare.sh BINARIES RUNS
# Paragraphs of TinyStories: the first sentence asks (of at most 120 characters, so that an answer fits behind it), the second answers. Every tenth row is held out.
set -euo pipefail
stories=${RLHF_DATA:-../shared/data}/p02-tinystories-944k/tiny_stories.txt
[ -f "$stories" ] || { echo "family-distill: $stories is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
out=$2/data
mkdir -p "$out"
rows() { # whether the row's number divided by ten leaves 0: 1 for test, 0 for train
  iconv -c -f UTF-8 -t UTF-8 "$stories" | sed -e 's/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g' | awk -v test="$1" '
    match($0, /^[^.!?]*[.!?] /) {
      first = substr($0, 1, RLENGTH - 1); rest = substr($0, RLENGTH + 1)
      if (first !~ /"/ && length(first) <= 120 && match(rest, /^[^.!?"]*[.!?]/) && RLENGTH > 10 && (n++ % 10 == 0) == test)
        printf "{\"prompt\": \"%s\", \"response\": \"%s\"}\n", first, substr(rest, 1, RLENGTH)
    }'
}
rows 0 >"$out/train.part"
rows 1 >"$out/test.part"
for part in train test; do mv "$out/$part.part" "$out/$part.jsonl"; done # under their names once they are whole
