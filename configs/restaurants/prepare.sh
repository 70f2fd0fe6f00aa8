#!/usr/bin/env bash
# Writes what the stages read: the demonstrations, each with variations about other places, and the crowd's judgments: prepare.sh BINARIES RUNS
set -euo pipefail
data=${RLHF_DATA:-../shared/data}
people=$data/s08-e2e-nlg-sft/devel-fixed.no-ol.csv
crowd=$data/r02-e2e-rankme-k5
for file in "$people" "$crowd/quality.csv" "$crowd/naturalness.csv"; do
  [ -f "$file" ] || { echo "restaurants: $file is missing: set RLHF_DATA to the folder of data sets (README, \"Two recipes\", says where they are)" >&2; exit 2; }
done
mkdir -p "$2/data"

# A space before every value: with it a name has the same tokens in the meaning as inside a sentence ("[ Blue Spice" and "in Blue Spice"; without it
# "[Blue" is B+lue), so that it can be copied whatever its parts. Nothing else in these files has a word before a bracket.
spaced='s/([A-Za-z])\[/\1[ /g'
for aspect in quality naturalness; do
  [ ! -f "$2/data/$aspect.csv" ] || continue
  sed -E "$spaced" "$crowd/$aspect.csv" >"$2/data/$aspect.part"
  mv "$2/data/$aspect.part" "$2/data/$aspect.csv" # each file gets its name once it is whole
done

# Nearly all demonstrations are of coffee shops with Chinese or English food, the crowd judged answers about pubs and restaurants of seven kitchens:
# variations take turns in names, kinds, kitchens, prices and ratings, so that these are read from the prompt and not learned by heart.
if [ ! -f "$2/data/demonstrations.jsonl" ]; then
  "$1/recipes" e2e augment --in "$people" --out "$2/data/varied.jsonl" --copies 15 --seed 1
  sed -E "$spaced" "$2/data/varied.jsonl" >"$2/data/demonstrations.part"
  mv "$2/data/demonstrations.part" "$2/data/demonstrations.jsonl"
  rm "$2/data/varied.jsonl"
fi
