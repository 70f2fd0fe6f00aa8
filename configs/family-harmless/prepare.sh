#!/usr/bin/env bash
# Real people's dialogues that ask for harm (HH, harmless): texts, demonstrations, two tables of judgments and prompts: prepare.sh BINARIES RUNS
# An eighth of the dialogues is held out, and what opens these and no other goes to the red team; of the others' judgments four sevenths teach the
# reward model, the rest a classifier that judges by itself.
set -euo pipefail
source=${RLHF_DATA:-../shared/data}/r14-hh-rlhf-harmless-test/test.jsonl.gz
[ -f "$source" ] || { echo "harmless: $source is missing: set RLHF_DATA to the folder of data sets" >&2; exit 2; }
out=$2/data
mkdir -p "$out"
part() { gunzip -c "$source" | awk "length(\$0) < 3000 && $1"; }
first() { # what the person of each dialogue said first
  awk -F '\\\\n\\\\nAssistant:' '{ print $1 "\"}" }' | sed 's/^{"chosen": "\\n\\nHuman: */{"prompt": "/' | awk '!seen[$0]++'
}
# The red team's prompts get their name last, once they are whole: where they are, all is there.
if [ ! -f "$out/red-team.jsonl" ]; then
  part 'NR % 8 != 0' >"$out/dialogues.jsonl"
  part 'NR % 8 != 0 && NR % 2 == 1' >"$out/for-reward.jsonl"
  part 'NR % 8 != 0 && NR % 2 == 0' >"$out/for-classifier.jsonl"
  for side in dialogues for-reward for-classifier; do
    "$1/label" ingest "$out/$side.jsonl" --format hh --out "$out/$side.arrow"
  done
  "$1/label" export "$out/dialogues.arrow" --to trl --out "$out/pairs.jsonl"
  # The dialogue with the answer that was preferred, as a demonstration.
  sed -E 's/^\{"prompt":\[/{"messages":[/; s/\],"chosen":\[/,/; s/\],"rejected":.*$/]}/' "$out/pairs.jsonl" >"$out/demonstrations.jsonl"
  part 'NR % 8 != 0' | first >"$out/prompts.jsonl"
  # Several dialogues begin with the same words: the red team's are those that no other has.
  part 'NR % 8 == 0' | first | grep -vxFf "$out/prompts.jsonl" >"$out/red-team.part"
  mv "$out/red-team.part" "$out/red-team.jsonl"
fi
