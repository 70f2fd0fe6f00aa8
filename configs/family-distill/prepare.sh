#!/usr/bin/env bash
# Rows for family-distill: configs/family-distill/prepare.sh [RUN]
# Paragraphs of TinyStories: the first sentence asks (of at most 120 characters, so that an answer fits behind it), the second answers. Every tenth row is held out.
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
out=${1:-runs/family-distill}/data
mkdir -p "$out"
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all
rows() { # whether the row's number divided by ten leaves 0: 1 for test, 0 for train
  iconv -c -f UTF-8 -t UTF-8 "$data/p02-tinystories-944k/tiny_stories.txt" | sed -e 's/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g' | awk -v test="$1" '
    match($0, /^[^.!?]*[.!?] /) {
      first = substr($0, 1, RLENGTH - 1); rest = substr($0, RLENGTH + 1)
      if (first !~ /"/ && length(first) <= 120 && match(rest, /^[^.!?"]*[.!?]/) && RLENGTH > 10 && (n++ % 10 == 0) == test)
        printf "{\"prompt\": \"%s\", \"response\": \"%s\"}\n", first, substr(rest, 1, RLENGTH)
    }'
}
rows 0 | whole "$out/train.jsonl"
rows 1 | whole "$out/test.jsonl"
