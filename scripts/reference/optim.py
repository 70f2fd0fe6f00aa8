"""Golden values for `train::optim`: ten AdamW steps with clipping, from torch.optim.AdamW and torch.nn.utils.clip_grad_norm_, and ten steps of
TensorFlow's Adam on the same gradients.

    python scripts/reference/optim.py        rewrites train/tests/golden/adamw.safetensors

Gradients are given, not computed, so the fixture tests the optimiser alone. Two parameters decay and two do not; the learning rate
changes every step; the gradients of steps 3, 6 and 9 are large enough to be clipped; `late` gets its first gradient in step 4.
"""

import pathlib

import torch
from safetensors.torch import save_file

torch.manual_seed(7)
shapes = {"wte": (6, 4), "h.0.w": (4, 5), "h.0.b": (5,), "late": (3,)}
decayed = {"wte", "h.0.w"}
params = {name: torch.randn(shape).requires_grad_(True) for name, shape in shapes.items()}
out = {f"start.{name}": p.detach().clone() for name, p in params.items()}

groups = [
    {"params": [p for n, p in params.items() if n in decayed], "weight_decay": 0.1},
    {"params": [p for n, p in params.items() if n not in decayed], "weight_decay": 0.0},
]
optim = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8, foreach=False, fused=False)
norms, rates = [], []
for step in range(10):
    for name, p in params.items():
        if name == "late" and step < 4:
            p.grad = None
            continue
        p.grad = torch.randn(p.shape) * (5.0 if step % 3 == 0 and step else 0.05)
        out[f"grad.{step}.{name}"] = p.grad.clone()
    norms.append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0).item())
    rates.append(0.01 * (step + 1))
    for group in optim.param_groups:
        group["lr"] = rates[-1]
    optim.step()
    for name, p in params.items():
        out[f"after.{step}.{name}"] = p.detach().clone()
for name, p in params.items():
    out[f"exp_avg.{name}"] = optim.state[p]["exp_avg"].clone()
    out[f"exp_avg_sq.{name}"] = optim.state[p]["exp_avg_sq"].clone()

# TensorFlow's Adam, as the documentation of tf.compat.v1.train.AdamOptimizer has it ("epsilon hat"), with decoupled decay as above; no clipping, float64.
# ε is large so that its place matters in every step.
EPS, BETA1, BETA2 = 1e-2, 0.9, 0.999
for name in shapes:
    theta, m, v, t = out[f"start.{name}"].double(), 0.0, 0.0, 0
    for step in range(10):
        if f"grad.{step}.{name}" in out:
            g, t = out[f"grad.{step}.{name}"].double(), t + 1
            theta = theta * (1 - rates[step] * (0.1 if name in decayed else 0.0))
            m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
            lr_t = rates[step] * (1 - BETA2**t) ** 0.5 / (1 - BETA1**t)
            theta = theta - lr_t * m / (v.sqrt() + EPS)
        out[f"tf.{step}.{name}"] = theta.float()
out["norms"], out["rates"] = torch.tensor(norms, dtype=torch.float64), torch.tensor(rates, dtype=torch.float64)

path = pathlib.Path(__file__).resolve().parents[2] / "train/tests/golden/adamw.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
