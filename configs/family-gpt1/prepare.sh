#!/usr/bin/env bash
# Rows for family-gpt1: configs/family-gpt1/prepare.sh BIN [RUN]
# SST-2's sentences with their labels; COPA's premises with "because" or "so" for what is asked; made-up pairs for entailment and similarity. BIN is the folder of
# the binaries.
set -euo pipefail
bin=$1
data=${RLHF_DATA:-../shared/data}
out=${2:-runs/family-gpt1}/data
mkdir -p "$out"
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all
json='s/\\/\\\\/g; s/"/\\"/g; s/[\t\r]/ /g'

for part in train dev test; do
  sed -e "$json" -e 's/^\([01]\) \(.*\)$/{"label": "\1", "sentence": "\2"}/' "$data/c01-sst2/stsa.binary.$part" | whole "$out/sst2-$part.jsonl"
done
for part in train val; do
  sed -E -e '/"question": "cause"/s/[.!?]?", "choice1"/ because", "choice1"/' -e '/"question": "effect"/s/[.!?]?", "choice1"/ so", "choice1"/' \
    "$data/c05-copa-xcopa/$part.jsonl" | whole "$out/copa-$part.jsonl"
done
[ -f "$out/entailment-train.jsonl" ] || "$bin/recipes" pairs generate --out "$out"
