"""Golden values for `loss::distill`: losses and gradients from torch.nn.KLDivLoss and cross_entropy in float64.

    python scripts/reference/distill.py       rewrites loss/tests/golden/distill.safetensors

The loss of a position is (1 − w)·cross-entropy + w·T²·KL(teacher at T ‖ student at T); summed over valid positions and scaled by 1/N.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(5)
N, D, TEACHER, V, IGNORE = 11, 6, 9, 17, -100
hidden, weight, bias = torch.randn(N, D), torch.randn(V, D), torch.randn(V)
states, head, head_bias = torch.randn(N, TEACHER), torch.randn(V, TEACHER), torch.randn(V)
targets = torch.randint(0, V, (N,))
targets[[3, 7]] = IGNORE
out = dict(hidden=hidden, weight=weight, bias=bias, states=states, head=head, head_bias=head_bias, targets=targets)
valid = targets != IGNORE

for name, temperature, mix, smoothing in [("soft", 2.0, 0.5, 0.0), ("sharp", 0.7, 0.9, 0.0), ("only", 4.0, 1.0, 0.0), ("smoothed", 1.0, 0.25, 0.1)]:
    h, w, b = (t.double().requires_grad_(True) for t in (hidden, weight, bias))
    logits, theirs = F.linear(h, w, b), F.linear(states.double(), head.double(), head_bias.double())
    nll = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    log_q, log_p = (F.log_softmax(z[valid] / temperature, -1) for z in (logits, theirs))
    divergence = temperature**2 * torch.nn.KLDivLoss(reduction="sum", log_target=True)(log_q, log_p)
    (((1 - mix) * nll + mix * divergence) / valid.sum()).backward()
    out[f"{name}.how"] = torch.tensor([temperature, mix, smoothing], dtype=torch.float64)
    out |= {f"{name}.nll": nll.detach().float(), f"{name}.divergence": divergence.detach().float()}
    out |= {f"{name}.hidden": h.grad.float(), f"{name}.weight": w.grad.float(), f"{name}.bias": b.grad.float()}

path = pathlib.Path(__file__).resolve().parents[2] / "loss/tests/golden/distill.safetensors"
save_file({name: t.contiguous() for name, t in out.items()}, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
