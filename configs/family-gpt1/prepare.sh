#!/usr/bin/env bash
# Writes the rows of family-gpt1: prepare.sh BINARIES RUNS
# SST-2's sentences with their labels; COPA's premises with "because" or "so" for what is asked; made-up pairs for entailment and similarity.
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
sst2=$data/c01-sst2/stsa.binary
copa=$data/c05-copa-xcopa
for file in "$sst2".{train,dev,test} "$copa"/{train,val}.jsonl; do
  [ -f "$file" ] || { echo "family-gpt1: $file is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
done
out=$2/data
mkdir -p "$out"
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'

# Each file gets its name once it is whole.
for part in train dev test; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": "\1", "sentence": "\2"}/' "$sst2.$part" >"$out/sst2-$part.part"
  mv "$out/sst2-$part.part" "$out/sst2-$part.jsonl"
done
for part in train val; do
  sed -E -e '/"question": "cause"/s/[.!?]?", "choice1"/ because", "choice1"/' -e '/"question": "effect"/s/[.!?]?", "choice1"/ so", "choice1"/' \
    "$copa/$part.jsonl" >"$out/copa-$part.part"
  mv "$out/copa-$part.part" "$out/copa-$part.jsonl"
done
[ -f "$out/similarity-test.jsonl" ] || "$1/recipes" pairs generate --out "$out" # the last of its files
