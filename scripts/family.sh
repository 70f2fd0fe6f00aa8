#!/usr/bin/env bash
# Runs a chapter of docs/family.md and prints its figures.
#
#   scripts/family.sh transformer   2017: an encoder-decoder learns English to Chinese; BLEU as it learns, beams, and what words look at
#   scripts/family.sh bert          2018: masked words on both sides, fill-mask, then sentences about films classified, with and without pre-training
#   scripts/family.sh gpt1          2018: a decoder pre-trained on stories and news, then fine-tuned on the four input shapes: with and without the pre-training, with and
#                                   without the auxiliary language-model loss (GPT1_TASKS names some of sst2 copa entailment similarity)
#   scripts/family.sh zero-shot     GPT-2: tasks by likelihood, untrained: stories260K (or FAMILY_MODEL) on stories, COPA, XCOPA and SST-2
#   scripts/family.sh few-shot      GPT-3: learning from the prompt: a small model is pre-trained for it, then asked with 0 to 16 examples
#   scripts/family.sh llama         LLaMA: stories260K of llama2.c is read and tells its story; the Llama recipe and the GPT-2 one at equal compute
#   scripts/family.sh scaling       GPT-4's report: a ladder of sizes foretells the loss of a larger model (FAMILY_LARGE=width:heads), which is then trained
#
# Finished runs are kept and interrupted ones resumed. Binaries are built first (FAMILY_BIN names a folder that has them already). Data: ${RLHF_DATA:-../shared/data}.
set -euo pipefail
cd "$(dirname "$0")/.."
export RLHF_DATA=${RLHF_DATA:-../shared/data}

die() { printf 'family: %s\n' "$*" >&2; exit 2; }
chapter=${1:-}
bin=${FAMILY_BIN:-}
if [ -z "$bin" ]; then
  scripts/setup.sh
  cargo build --release --workspace --bins
  bin=${CARGO_TARGET_DIR:-target}/release
fi

pretrain() { # recipe: configs/<recipe>/pretrain.toml into runs/<recipe>/pretrain
  "$bin/pretrain" --config "configs/$1/pretrain.toml" --out "runs/$1/pretrain" --resume
}
finetune() { # recipe, run, overrides: configs/<recipe>/sft.toml into runs/<recipe>/<run>
  "$bin/sft" --config "configs/$1/sft.toml" --out "runs/$1/$2" --resume "${@:3}"
}
stories260k() { # the real model of llama2.c as a model folder
  [ -f runs/stories260K/config.json ] ||
    "$bin/evaluate" convert --llama2c "$RLHF_DATA/m01-stories260K/stories260K.bin" --tokenizer "$RLHF_DATA/m01-stories260K/tok512.bin" --out runs/stories260K
}

case $chapter in
  transformer)
    run=runs/family-transformer/sft
    finetune family-transformer sft
    for beams in 1 4; do
      printf '%s beams: ' $beams
      "$bin/evaluate" translate --model $run --data $run/answers.jsonl --beams $beams --tokenize zh --out $run/beams-$beams.jsonl
    done
    "$bin/evaluate" translate --model $run --text "I don't know what to say." --n-best 4 --html $run/attention.html
    ;;
  bert)
    configs/family-bert/prepare.sh
    pretrain family-bert
    for text in "once upon a time there was a little [MASK] who liked to play." "the film is a [MASK] of time." "she went to the [MASK] to buy some food."; do
      printf '%s\n' "$text"
      "$bin/evaluate" fill-mask --model runs/family-bert/pretrain "$text"
    done
    finetune family-bert sft
    # The same classifier on an encoder that has read nothing: one step of pre-training at no rate writes its folder.
    "$bin/pretrain" --config configs/family-bert/pretrain.toml --out runs/family-bert/blank --resume \
      --set train.steps=1 --set optim.lr=1e-12 --set eval.max_rows=1 --set eval.sample_prompt=""
    finetune family-bert scratch --set model.init=runs/family-bert/blank
    for run in sft scratch; do
      printf '%s\n' $run
      "$bin/evaluate" classify --model runs/family-bert/$run --data runs/family-bert/data/sst2-test.jsonl --field sentence --class label
    done
    ;;
  gpt1)
    run=runs/family-gpt1
    configs/family-gpt1/prepare.sh "$bin"
    pretrain family-gpt1
    # The same decoder that has read nothing: one step of pre-training at no rate writes its folder.
    "$bin/pretrain" --config configs/family-gpt1/pretrain.toml --out $run/blank --resume \
      --set train.steps=1 --set optim.lr=1e-12 --set eval.max_rows=1 --set eval.sample_prompt=""
    for task in ${GPT1_TASKS:-sst2 copa entailment similarity}; do
      config=configs/family-gpt1/sft-$task.toml
      [ "$task" = sst2 ] && config=configs/family-gpt1/sft.toml
      for start in pretrain blank; do
        for weight in 0.5 0.0; do
          "$bin/sft" --config "$config" --out "$run/$task-$start-lm$weight" --resume --set model.init=$run/$start --set loss.lm_weight=$weight
        done
      done
    done
    "$bin/evaluate" classify --model $run/sst2-pretrain-lm0.5 --data $run/data/sst2-test.jsonl --field sentence --class label
    configs/family-gpt1/table.sh $run
    ;;
  zero-shot)
    configs/tasks/prepare.sh
    stories260k
    "$bin/evaluate" tasks --model "${FAMILY_MODEL:-runs/stories260K}" --html runs/tasks/zero-shot.html \
      --task configs/tasks/{stories,stories-last-word,copa,xcopa-zh,sst2}.toml
    ;;
  few-shot)
    configs/family-in-context/prepare.sh "$bin" runs/family-in-context
    pretrain family-in-context
    "$bin/evaluate" tasks --model runs/family-in-context/pretrain --task configs/tasks/in-context.toml --shots 0,1,2,4,8,16 \
      --html runs/family-in-context/in-context.html
    ;;
  llama)
    stories260k
    "$bin/evaluate" generate --model runs/stories260K --prompt "" --greedy --max-new 200
    for recipe in family-gpt2 family-llama; do pretrain $recipe; done
    configs/tasks/prepare.sh
    for recipe in family-gpt2 family-llama; do
      "$bin/evaluate" report --run runs/$recipe/pretrain
      "$bin/evaluate" generate --model runs/$recipe/pretrain --prompt "Once upon a time" --greedy --max-new 80
    done
    ;;
  scaling)
    # width:heads; the learning rate falls with the root of the width: between a constant one, which Adam wants for embeddings, and one over the width, which it
    # wants for matrices (maximal-update parametrisation, arXiv 2203.03466). With the latter the second rung lost to the first.
    train() {
      "$bin/pretrain" --config configs/family-scaling/pretrain.toml --out "runs/family-scaling/$1" --resume \
        --set model.width="$2" --set model.heads="$3" --set optim.lr="$(awk "BEGIN { print 0.008 * sqrt(32 / $2) }")" "${@:4}"
    }
    for rung in 32:2 48:3 64:4 80:5 96:6; do
      width=${rung%:*}
      train "ladder/width-$width" "$width" "${rung#*:}"
    done
    large=${FAMILY_LARGE:-128:8} # width:heads
    run=large/width-${large%:*}
    # A step of the large model tells how many weights it has; nothing else of it is known when it is foretold.
    train $run-shape "${large%:*}" "${large#*:}" --set train.steps=1 --set eval.max_rows=1
    size=$(sed -n 's/.*"parameters": *\([0-9]*\).*/\1/p' runs/family-scaling/$run-shape/summary.json)
    "$bin/evaluate" scaling --runs runs/family-scaling/ladder --predict "$size" | tee runs/family-scaling/foretold-"${large%:*}".txt
    train $run "${large%:*}" "${large#*:}"
    "$bin/evaluate" scaling --runs runs/family-scaling/ladder --against runs/family-scaling/$run --html runs/family-scaling/scaling.html
    ;;
  *) die "usage: scripts/family.sh transformer | bert | gpt1 | zero-shot | few-shot | llama | scaling" ;;
esac
