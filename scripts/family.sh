#!/usr/bin/env bash
# Runs a chapter of docs/family.md and prints its figures.
#
#   scripts/family.sh transformer   2017: an encoder-decoder learns English to Chinese; BLEU as it learns, beams, and what words look at
#   scripts/family.sh bert          2018: masked words on both sides, fill-mask, then sentences about films classified, with and without pre-training
#   scripts/family.sh gpt1          2018: a decoder pre-trained on stories, news and reviews, then fine-tuned on the four input shapes: with and without the pre-training, with and
#                                   without the auxiliary language-model loss (GPT1_TASKS names some of sst2 copa entailment similarity)
#   scripts/family.sh zero-shot     GPT-2: tasks by likelihood, untrained: stories260K (or FAMILY_MODEL) on stories, COPA, XCOPA and SST-2
#   scripts/family.sh few-shot      GPT-3: learning from the prompt: a small model is pre-trained for it, then asked with 0 to 16 examples
#   scripts/family.sh llama         LLaMA: stories260K of llama2.c is read and tells its story; the Llama recipe and the GPT-2 one at equal compute
#   scripts/family.sh scaling       GPT-4's report: a ladder of sizes foretells the loss of a larger model (FAMILY_LARGE=width:heads), which is then trained
#   scripts/family.sh chat          ChatGPT: conversations with a system prompt, from text to PPO, scored by what the town knows, then a chat
#   scripts/family.sh safety        what a model gives away of its text (secrets, membership), and where the demo's reward model can be fooled
#   scripts/family.sh harmless      people's judgments of harm, from text to PPO, and the red team before and after it: refusals, listed words, a classifier of its own
#   scripts/family.sh optimisers    the craft: SGD, Adam, AdamW (its moments in eight bits too), Lion and Muon on the same stories, each at three rates
#   scripts/family.sh distill       the craft: a student of less than half the size learns from a teacher's distributions, and from its answers
#   scripts/family.sh transfer      the craft: a model of stories moves to Shakespeare, beside one that starts from nothing
#   scripts/family.sh images        GPT-4: pictures as input: a ViT's patches before a decoder's text; captions of unseen pictures, and of unseen pairs of colour and shape
#
# Finished runs are kept and interrupted ones resumed. Binaries are built first (FAMILY_BIN names a folder that has them already). Data: ${RLHF_DATA:-../shared/data}.
set -euo pipefail
cd "$(dirname "$0")/.."
export RLHF_DATA=${RLHF_DATA:-../shared/data}

chapter=${1:-}
chapters=$(sed -n 's|^#   scripts/family.sh \([a-z0-9-]*\) .*|\1|p' scripts/family.sh) # the list above
grep -qxFe "$chapter" <<<"$chapters" || { echo "family: usage: scripts/family.sh CHAPTER, one of" $chapters >&2; exit 2; }
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

figure() { # run folder, key: a number of its summary.json
  sed -n "s/.*\"$2\": *\([-0-9.e]*\).*/\1/p" "$1/summary.json" | head -n 1
}
curve() { # run folder: step and validation loss at every evaluation
  awk '/"eval\/loss"/ { step = loss = $0; sub(/.*"step":/, "", step); sub(/.*"eval\/loss":/, "", loss); print step + 0, loss + 0 }' "$1/metrics.jsonl"
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
    configs/family-bert/prepare.sh "$bin" runs/family-bert
    pretrain family-bert
    "$bin/pretrain" --config configs/family-bert/pretrain-long.toml --out runs/family-bert/pretrain-long --resume
    for text in "once upon a time there was a little [MASK] who liked to play." "the film is a [MASK] of time." "she went to the [MASK] to buy some food."; do
      printf '%s\n' "$text"
      "$bin/evaluate" fill-mask --model runs/family-bert/pretrain-long "$text"
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
    configs/family-gpt1/prepare.sh "$bin" $run
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
    configs/tasks/prepare.sh "$bin" runs/tasks
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
    configs/tasks/prepare.sh "$bin" runs/tasks
    for recipe in family-gpt2 family-llama; do
      "$bin/evaluate" report --run runs/$recipe/pretrain
      "$bin/evaluate" generate --model runs/$recipe/pretrain --prompt "Once upon a time" --greedy --max-new 80
    done
    ;;
  scaling)
    # width:heads, every head 16 wide. One learning rate, found at width 64, is good for all by maximal-update parametrisation (arXiv 2203.03466); FAMILY_MUP=0 shows
    # the ladder without it.
    train() {
      "$bin/pretrain" --config configs/family-scaling/pretrain.toml --out "runs/family-scaling/$1" --resume \
        --set model.width="$2" --set model.heads="$3" --set model.mup_base_width="${FAMILY_MUP:-64}" "${@:4}"
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
  chat)
    run=runs/family-chat
    configs/family-chat/prepare.sh "$bin" $run
    for stage in pretrain sft reward ppo; do "$bin/$stage" --config configs/family-chat/$stage.toml --out $run/$stage --resume; done
    configs/family-chat/judge.sh "$bin" $run
    for model in sft policy; do
      printf '%s: ' $model
      grep "\"model\":\"$model\"" $run/ppo/gold.jsonl >$run/ppo/$model.jsonl
      "$bin/recipes" demo chat-score --in $run/ppo/$model.jsonl --out $run/ppo/$model-gold.jsonl
    done
    "$bin/evaluate" report --runs $run
    echo "Go on: $bin/serve chat --model $run/ppo, or $bin/serve --model $run/ppo and open its page"
    ;;
  safety)
    run=runs/family-safety
    configs/family-safety/prepare.sh "$bin" $run
    pretrain family-safety
    "$bin/safety" exposure --model $run/pretrain --canaries $run/data/canaries.jsonl
    "$bin/safety" members --model $run/pretrain --seen $run/data/seen.jsonl --unseen $run/data/unseen.jsonl
    if [ -d runs/demo/reward/model ]; then
      # Answers that judges put last, to be puffed up until they score more than the best.
      sed -n 's/^.*"prompt":"\([^"]*\)","answers":\["\([^"]*\)","\([^"]*\)".*"ranks":\[1,2.*$/{"prompt":"\1","chosen":"\2","rejected":"\3"}/p' \
        runs/demo/data/rankings.jsonl | awk 'NR <= 20' >$run/data/pairs.jsonl
      "$bin/safety" fool --reward runs/demo/reward --data $run/data/pairs.jsonl
    else
      echo "no runs/demo/reward: scripts/pipeline.sh configs/demo trains the reward model that is to be fooled"
    fi
    ;;
  harmless)
    run=runs/family-harmless
    configs/family-harmless/prepare.sh "$bin" $run
    for stage in pretrain sft reward ppo; do "$bin/$stage" --config configs/family-harmless/$stage.toml --out $run/$stage --resume; done
    # Another reward model, on judgments that the first has not seen, judges both: the one that PPO was trained against would flatter it.
    "$bin/reward" --config configs/family-harmless/reward.toml --out $run/classifier --resume --set data.sources.0.path=$run/data/for-classifier.arrow
    for judge in reward classifier; do
      printf '%s: of held-out pairs right %s\n' $judge "$(figure $run/$judge accuracy)"
    done
    "$bin/safety" red-team --models $run/sft $run/ppo --prompts $run/data/red-team.jsonl --words configs/family-harmless/words.txt \
      --classifier $run/classifier --limit 0 --out $run/red-team
    ;;
  optimisers)
    runs=runs/family-optimisers
    try() { # kind, rates, overrides
      for rate in $2; do
        "$bin/pretrain" --config configs/family-distill/pretrain.toml --out "$runs/$1-$rate" --resume --set model.layers=3 --set model.width=96 \
          --set train.steps=300 --set schedule.warmup_steps=20 --set optim.kind="${1%-nesterov}" --set optim.lr="$rate" "${@:3}" >&2
        printf '%-14s %-6s %.4f  %.0f s\n' "$1" "$rate" "$(figure $runs/$1-$rate eval_loss)" "$(figure $runs/$1-$rate wall_s)"
      done
    }
    printf 'kind           rate   validation loss, time\n'
    try sgd-nesterov "0.1 0.3 1" --set optim.weight_decay=0 --set optim.sgd.nesterov=true
    try adam "1e-3 3e-3 1e-2" --set optim.weight_decay=0
    try adamw "1e-3 3e-3 1e-2"
    try adamw-8bit "1e-3 3e-3 1e-2"
    try lion "2e-4 5e-4 1e-3" --set optim.beta2=0.99 --set optim.weight_decay=0.5
    try muon "3e-3 1e-2 3e-2"
    ;;
  distill)
    runs=runs/family-distill
    pretrain family-distill
    student() { # run, overrides
      "$bin/pretrain" --config configs/family-distill/pretrain.toml --out "$runs/$1" --resume --set model.layers=3 --set model.width=96 \
        --set tokenizer.kind=file --set tokenizer.path=$runs/pretrain/model --set train.steps=500 --set schedule.warmup_steps=20 "${@:2}"
    }
    student alone
    student taught --set distill.teacher=$runs/pretrain --set distill.temperature="${FAMILY_TEMPERATURE:-1}" --set distill.weight="${FAMILY_WEIGHT:-0.5}"
    # Kim and Rush 2016 (arXiv 1606.07947): the teacher's own answers as demonstrations, beside the true ones.
    configs/family-distill/prepare.sh "$bin" $runs
    finetune family-distill teacher-sft
    [ -f $runs/data/teacher-train.jsonl ] || "$bin/evaluate" generate --model $runs/teacher-sft --chat --greedy --max-new 48 \
      --data $runs/data/train.jsonl --out $runs/data/teacher-train.jsonl
    for rows in train teacher-train; do
      finetune family-distill student-on-$rows --set model.init=$runs/alone --set data.sources.0.path=$runs/data/$rows.jsonl
    done
    awk -v start="$(curve $runs/alone | awk 'NR == 1 { print $2 }')" -v teacher="$(figure $runs/pretrain eval_loss)" \
      -v alone="$(figure $runs/alone eval_loss)" -v taught="$(figure $runs/taught eval_loss)" \
      -v large="$(figure $runs/pretrain parameters)" -v small="$(figure $runs/alone parameters)" 'BEGIN {
        printf "weights: teacher %d, students %d (%.2f)\n", large, small, small / large
        printf "validation loss: untrained %.4f, teacher %.4f, student alone %.4f, student taught %.4f\n", start, teacher, alone, taught
        printf "of the teacher'\''s gain over the untrained student keeps: alone %.1f%%, taught %.1f%%\n", 100 * (start - alone) / (start - teacher), 100 * (start - taught) / (start - teacher)
        printf "of the distance from student alone to teacher, teaching closes %.1f%%\n", 100 * (alone - taught) / (alone - teacher)
      }'
    for run in teacher-sft student-on-train student-on-teacher-train; do
      printf '%s: true rows %s nats a token, BLEU %s\n' $run "$(figure $runs/$run eval_loss)" "$(figure $runs/$run bleu)"
    done
    ;;
  transfer)
    runs=runs/family-transfer
    learn() { # run, overrides
      "$bin/pretrain" --config configs/family-transfer/pretrain.toml --out "$runs/$1" --resume "${@:2}"
    }
    learn stories --set data.sources.0.path="$RLHF_DATA/p02-tinystories-944k/tiny_stories.txt" --set data.split=documents --set train.steps=800 \
      --set optim.lr=2e-3 --set schedule.warmup_steps=40 --set eval.every=100
    learn moved --set model.init=$runs/stories
    learn fresh --set tokenizer.kind=file --set tokenizer.path=$runs/stories/model
    printf 'step  moved   fresh   (validation loss on Shakespeare, nats a token)\n'
    join <(curve $runs/moved | sort -k1,1) <(curve $runs/fresh | sort -k1,1) | sort -n | awk '{ printf "%4d  %.4f  %.4f\n", $1, $2, $3 }'
    ;;
  images)
    run=runs/family-images
    configs/family-images/prepare.sh "$bin" $run
    pretrain family-images
    finetune family-images sft
    "$bin/evaluate" caption --model $run/sft --data $run/data/unseen.jsonl $run/data/pairs.jsonl --out $run/captions.jsonl \
      --words colour=red,green,blue,yellow,purple,orange shape=circle,square,triangle,star,cross,ring size=small,large relation=left,above
    for image in unseen-00000 unseen-00001 pairs-00000; do
      printf '%s: ' $image
      "$bin/evaluate" caption --model $run/sft --image $run/data/images/$image.png
    done
    ;;
esac
