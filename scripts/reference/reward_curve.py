"""A run of TRL's RewardTrainer that `reward` must follow step by step.

    python -m pip install trl==1.9.0 && python scripts/reference/reward_curve.py      rewrites reward/tests/golden/curve/

A tiny GPT-2 with a scalar head learns 48 pairs for three epochs: the trainer as it is, without dropout and shuffling, with the centring term. It gets
token ids (byte plus 4, 0 the end token), so both sides learn from the same rows; a pair is prompt, newline, answer, end token. The losses are recorded
in float32 and in float64: their distance tells how far rounding alone carries two runs apart.
"""

import json
import pathlib
import random
import shutil
import tempfile

import datasets
import torch
import transformers
import trl

OUT = pathlib.Path(__file__).resolve().parents[2] / "reward/tests/golden/curve"
TOKENIZER = pathlib.Path(__file__).resolve().parents[2] / "data/tests/golden/tokenizers/byte"
PLACES = ["Aromi", "The Mill", "Zizzi", "Blue Spice", "Cotto", "The Wrestlers", "Giraffe", "Strada"]
GOOD = ["{} is a kind place by the river.", "Go to {}; it is cheap and good.", "{} serves fish, and people like it."]
BAD = ["{} {} {}", "I do not know {}.", "food"]


class Recorder(trl.RewardTrainer):
    """Keeps each step's loss unrounded."""

    losses: list

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def ids(pair, answer):
    return [b + 4 for b in f"{pair['prompt']}\n{answer}".encode()] + [0]


def run(dtype, pairs):
    model = transformers.GPT2ForSequenceClassification.from_pretrained(OUT, dtype=dtype, attn_implementation="eager")
    rows = [{"chosen_ids": ids(p, p["chosen"]), "rejected_ids": ids(p, p["rejected"])} for p in pairs]
    with tempfile.TemporaryDirectory() as scratch:
        args = trl.RewardConfig(output_dir=scratch, per_device_train_batch_size=4, num_train_epochs=3, learning_rate=3e-3, lr_scheduler_type="linear",
                                weight_decay=0.01, max_grad_norm=1.0, adam_beta2=0.999, adam_epsilon=1e-8, center_rewards_coefficient=0.01, bf16=False,
                                train_sampling_strategy="sequential", logging_steps=1, report_to="none", save_strategy="no", use_cpu=True,
                                gradient_checkpointing=False, disable_tqdm=True, max_length=None)
        tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
        trainer = Recorder(model=model, args=args, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer)
        trainer.losses = []
        trainer.train()
        norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
        return trainer.losses, norms


def main():
    dice = random.Random(3)
    pairs = []
    for i in range(48):
        place = PLACES[i % len(PLACES)]
        good, bad = (dice.choice(answers).replace("{}", place) for answers in (GOOD, BAD))
        pairs.append({"prompt": f"Where {i}?", "chosen": good, "rejected": bad} if dice.random() < 0.85 else {"prompt": f"Where {i}?", "chosen": bad, "rejected": good})
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    (OUT / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    torch.manual_seed(7)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=64, vocab_size=260, bos_token_id=0, eos_token_id=0, pad_token_id=1,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, num_labels=1, initializer_range=0.05)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(OUT)
    single, norms = run(torch.float32, pairs)
    double, _ = run(torch.float64, pairs)
    path = OUT / "curve.json"
    path.write_text(json.dumps({"loss": single, "loss_float64": double, "grad_norm": norms}) + "\n")
    drift = max(abs(a - b) for a, b in zip(single, double))
    print(f"{path}: {len(single)} steps, {single[0]:.4f} to {single[-1]:.4f}, float32 and float64 part by {drift:.2e}; "
          f"{sum(f.stat().st_size for f in OUT.iterdir())} bytes")


main()
