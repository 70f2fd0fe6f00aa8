"""A PyTorch training run that `pretrain` must follow step by step.

    python scripts/reference/pretrain_curve.py [../shared/data/p01-tinyshakespeare/FILE]      rewrites pretrain/tests/golden/curve/

A tiny GPT-2 of transformers learns bytes for 200 steps: consecutive windows of the text, AdamW with decay on matrices only, clipping, warm-up and cosine
as in nanoGPT's train.py. The losses are recorded in float32 and in float64: their distance tells how far rounding alone carries two runs apart.
Byte tokens are the byte plus 4 (0 is the end token).
"""

import json
import math
import pathlib
import shutil
import sys

import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parents[2] / "pretrain/tests/golden/curve"
SHAKESPEARE = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
STEPS, BATCH, CONTEXT, LR, WARMUP, MIN_RATIO, BETAS, DECAY, CLIP, VALID = 200, 4, 32, 1e-3, 10, 0.1, (0.9, 0.99), 0.1, 1.0, 0.1


def rate(step):
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    done = (step - WARMUP) / (STEPS - WARMUP)
    return LR * (MIN_RATIO + (1 - MIN_RATIO) * 0.5 * (1 + math.cos(math.pi * done)))


def run(dtype, ids):
    model = transformers.GPT2LMHeadModel.from_pretrained(OUT, attn_implementation="eager").to(dtype).train()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optim = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=1e-8)
    windows = (len(ids) - 1) // CONTEXT
    losses, norms = [], []
    for step in range(STEPS):
        starts = [(step * BATCH + i) % windows * CONTEXT for i in range(BATCH)]
        x = torch.stack([ids[s : s + CONTEXT] for s in starts])
        y = torch.stack([ids[s + 1 : s + CONTEXT + 1] for s in starts])
        loss = torch.nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
        optim.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        for group in optim.param_groups:
            group["lr"] = rate(step)
        optim.step()
        losses.append(loss.item())
    return losses, norms


def main():
    text = (OUT / "text.txt").read_bytes() if SHAKESPEARE is None else SHAKESPEARE.read_bytes()[:12_000]
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    (OUT / "text.txt").write_bytes(text)
    torch.manual_seed(5)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=CONTEXT, vocab_size=260, bos_token_id=0, eos_token_id=0,
                                     pad_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    transformers.GPT2LMHeadModel(config).save_pretrained(OUT)
    (OUT / "generation_config.json").unlink(missing_ok=True)
    cut = int((1 - VALID) * len(text))
    ids = torch.tensor([b + 4 for b in text[:cut]] + [0])  # the learned part ends with the end token
    single, norms = run(torch.float32, ids)
    double, _ = run(torch.float64, ids)
    path = OUT / "curve.json"
    path.write_text(json.dumps({"loss": single, "loss_float64": double, "grad_norm": norms}) + "\n")
    drift = max(abs(a - b) for a, b in zip(single, double))
    print(f"{path}: {single[0]:.4f} to {single[-1]:.4f}, float32 and float64 part by {drift:.2e}; {sum(f.stat().st_size for f in OUT.iterdir())} bytes")


main()
