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
whole() { cat >"$1.part" && mv "$1.part" "$1"; } # a file is there whole or not at all

# A space before every value: with it a name has the same tokens in the meaning as inside a sentence ("[ Blue Spice" and "in Blue Spice"; without it
# "[Blue" is B+lue), so that it can be copied whatever its parts. Nothing else in these files has a word before a bracket.
spaced='s/([A-Za-z])\[/\1[ /g'
for aspect in quality naturalness; do
  [ -f "$2/data/$aspect.csv" ] || sed -E "$spaced" "$crowd/$aspect.csv" | whole "$2/data/$aspect.csv"
done

# Nearly all demonstrations are of coffee shops with Chinese or English food, the crowd judged answers about pubs and restaurants of seven kitchens.
# So the variations take turns in both: wherever meaning and sentence name the kind or the kitchen in the same words, both get another one.
# The group (behind the response) stays, so that no variation of a held-out meaning is learned from.
vary='
function dice(sides) { seed = seed * 16807 % 2147483647; return int(seed / 2147483647 * sides) + 1 } # rand() differs from awk to awk
BEGIN { seed = 1; kitchens = split("Chinese,English,Fast food,French,Indian,Italian,Japanese", kitchen, ","); kinds = split("coffee shop,pub,restaurant", kind, ",") }
{
  at = index($0, ",\"response\":"); end = index($0, ",\"group\":")
  prompt = substr($0, 1, at - 1); answer = substr($0, at, end - at); group = substr($0, end)
  if ((NR - 1) % copies > 0) { # the first is as people said it
    for (k = 1; k <= 2; k++) {
      old = kitchen[k]; new = kitchen[dice(kitchens)]
      if (new != old && index(prompt, "food[" old "]") && index(answer, old)) {
        sub("food\\[" old "\\]", "food[" new "]", prompt)
        if (new == "Fast food") { new = "fast food"; gsub(old " food", new, answer) }
        vowel = new ~ /^[EI]/ ? "n " : " "
        gsub("A[n]? " old, "A" vowel new, answer); gsub(" a[n]? " old, " a" vowel new, answer); gsub(old, new, answer)
        break
      }
    }
    new = kind[dice(kinds)]
    if (index(prompt, "eatType[coffee shop]") && index(answer, "coffee shop")) {
      sub("eatType\\[coffee shop\\]", "eatType[" new "]", prompt); gsub("coffee shop", new, answer)
    }
  }
  print prompt answer group
}'
if [ ! -f "$2/data/demonstrations.jsonl" ]; then
  "$1/recipes" e2e augment --in "$people" --out "$2/data/names.jsonl" --copies 7 --seed 1
  awk -v copies=8 "$vary" "$2/data/names.jsonl" | sed -E "$spaced" | whole "$2/data/demonstrations.jsonl"
  rm "$2/data/names.jsonl"
fi
