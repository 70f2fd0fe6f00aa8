"""Golden values for the kinds of `train::optim` besides AdamW: ten clipped steps each of torch.optim.SGD, Adam and Muon, of Lion written out from its paper's
algorithm 2, of AdamW with a soft threshold after each step; and scikit-learn's lasso, where such steps must end.

    python scripts/reference/optimisers.py      rewrites train/tests/golden/optimisers.safetensors

Gradients are given, not computed, and are the same for every kind. torch.optim.Muon works its Newton-Schulz iteration out in bfloat16; here it is given
float32 (`muon`), and once left as it is (`muon_bfloat16`).
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.linear_model import Lasso

torch.manual_seed(11)
SHAPES = {"wte": (6, 4), "h.0.w": (4, 5), "h.0.up": (7, 3), "h.0.b": (5,), "late": (3,)}
DECAYED, MATRICES = {"wte", "h.0.w", "h.0.up"}, {"h.0.w", "h.0.up"}
STEPS, DECAY, L1 = 10, 0.1, 0.5
start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
grads = {name: torch.stack([torch.randn(shape) * (5.0 if step % 3 == 0 and step else 0.05) for step in range(STEPS)]) for name, shape in SHAPES.items()}
rates = [0.01 * (step + 1) for step in range(STEPS)]
out = {f"start.{name}": t for name, t in start.items()} | {f"grad.{name}": t for name, t in grads.items()}


def groups(params, names):
    """Two groups: with weight decay and without."""
    sides = [[params[n] for n in names if (n in DECAYED) == decays] for decays in (True, False)]
    return [{"params": side, "weight_decay": decay} for side, decay in zip(sides, (DECAY, 0.0)) if side]


def run(name, make, after=None):
    """Ten steps of the optimisers that `make` gives for fresh parameters; `late` gets its first gradient in step 4."""
    params = {n: t.clone().requires_grad_(True) for n, t in start.items()}
    optims = make(params)
    path = {n: [] for n in params}
    for step in range(STEPS):
        for n, p in params.items():
            p.grad = None if n == "late" and step < 4 else grads[n][step].clone()
        torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = rates[step]
            optim.step()
        if after:
            after(params, rates[step])
        for n, p in params.items():
            path[n].append(p.detach().clone())
    for n, all_steps in path.items():
        out[f"{name}.{n}"] = torch.stack(all_steps)
    for optim in optims:
        for n, p in params.items():
            for key, value in optim.state.get(p, {}).items():
                if key != "step" and value is not None:
                    out[f"{name}.state.{n}.{key}"] = value.clone()


class Lion(torch.optim.Optimizer):
    """arXiv 2302.06675, algorithm 2, in float64."""

    def __init__(self, params, betas):
        super().__init__(params, dict(lr=0.0, betas=betas))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                m, g, theta = state.get("exp_avg", torch.zeros_like(p)).double(), p.grad.double(), p.double()
                c = beta1 * m + (1 - beta1) * g
                theta = theta - group["lr"] * (torch.sign(c) + group["weight_decay"] * theta)
                state["exp_avg"] = (beta2 * m + (1 - beta2) * g).float()
                p.copy_(theta.float())


def plain(kind, **options):
    return lambda params: [kind(groups(params, params), **options)]


def muon(params):
    rest = [n for n in params if n not in MATRICES]
    return [
        torch.optim.Muon([params[n] for n in MATRICES], weight_decay=DECAY, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups(params, rest), betas=(0.9, 0.95), eps=1e-8, foreach=False),
    ]


def shrink(params, rate):
    with torch.no_grad():
        for n in DECAYED:
            params[n].copy_(F.softshrink(params[n], rate * L1))


run("adam", plain(torch.optim.Adam, betas=(0.9, 0.95), eps=1e-8, foreach=False))
run("sgd", plain(torch.optim.SGD, lr=0.0, momentum=0.0, foreach=False))
run("sgd_momentum", plain(torch.optim.SGD, lr=0.0, momentum=0.9, dampening=0.3, foreach=False))
run("sgd_nesterov", plain(torch.optim.SGD, lr=0.0, momentum=0.9, nesterov=True, foreach=False))
run("lion", plain(Lion, betas=(0.9, 0.99)))
run("l1", plain(torch.optim.AdamW, betas=(0.9, 0.95), eps=1e-8, foreach=False), shrink)
run("muon_bfloat16", muon)
in_bfloat16 = torch.Tensor.bfloat16
torch.Tensor.bfloat16 = lambda t: t.clone()  # the iteration stays in float32
run("muon", muon)
torch.Tensor.bfloat16 = in_bfloat16

# Lasso: 1/(2n)·‖y − Xw‖² + α·‖w‖₁, solved by coordinate descent.
n, alpha = 40, 0.3
x = torch.randn(n, 8, dtype=torch.float64)
y = x @ torch.tensor([1.5, 0.0, -2.0, 0.0, 0.2, 0.0, 0.1, 3.0], dtype=torch.float64) + 0.3 * torch.randn(n, dtype=torch.float64)
x, y = x.float(), y.float()
lasso = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x.double().numpy(), y.double().numpy())
out |= {"lasso.x": x, "lasso.y": y, "lasso.alpha": torch.tensor(alpha, dtype=torch.float64), "lasso.w": torch.tensor(lasso.coef_).float()}
assert 2 <= int((out["lasso.w"] == 0).sum()) <= 6, lasso.coef_

path = pathlib.Path(__file__).resolve().parents[2] / "train/tests/golden/optimisers.safetensors"
save_file({name: t.contiguous() for name, t in out.items()}, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
