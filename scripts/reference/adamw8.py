"""Golden values for `optim.kind = "adamw-8bit"`: bitsandbytes' tables of numbers, four steps by its rule written out, and its own parameters after one step.

    python scripts/reference/adamw8.py      rewrites train/tests/golden/adamw8.safetensors

Written out, because bitsandbytes' CPU code looks a number up in a coarse table: of a block's second moments those below 1.6e-5 of the largest all become 1.6e-5 of it. Its CUDA code, and
the paper (arXiv 2110.02861), take the nearest. The first step does not depend on that. The parameters' sizes are no multiples of 256 but for one, and one is too small for bytes. The
gradients of a step differ in size by a factor of 1,000 within a block.
"""

import pathlib

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import create_dynamic_map
from safetensors.torch import save_file

torch.manual_seed(17)
SHAPES = {"table": (65, 67), "map": (64, 72), "small": (50,)}
STEPS, RATE, BETA1, BETA2, EPS, DECAY, BLOCK = 4, 1e-3, 0.9, 0.95, 1e-8, 0.1, 256
start = {n: torch.randn(s) for n, s in SHAPES.items()}
sizes = {n: 10.0 ** (-3.0 * torch.rand(s)) for n, s in SHAPES.items()}
grads = {n: torch.stack([torch.randn(s) * sizes[n] for _ in range(STEPS)]) for n, s in SHAPES.items()}
numbers = {"first": create_dynamic_map(signed=True), "second": create_dynamic_map(signed=False)}
out = {f"start.{n}": t for n, t in start.items()} | {f"grad.{n}": t for n, t in grads.items()} | {f"numbers.{n}": t for n, t in numbers.items()}


class Bytes:
    """A moment of `like`'s shape, 0 at first."""

    def __init__(self, like, numbers):
        self.numbers, self.shape = numbers.double(), like.shape
        self.codes = torch.full((like.numel(),), int(numbers.abs().argmin()))
        self.scales = torch.zeros((like.numel() + BLOCK - 1) // BLOCK, dtype=torch.double)
        self.block = torch.arange(like.numel()) // BLOCK

    def read(self):
        return (self.numbers[self.codes] * self.scales[self.block]).view(self.shape)

    def write(self, values):
        values = values.flatten()
        self.scales = torch.stack([part.abs().max() for part in values.split(BLOCK)])
        share = values / self.scales[self.block]
        self.codes = torch.bucketize(share, (self.numbers[1:] + self.numbers[:-1]) / 2)


for name, value in start.items():
    value = value.double()
    small = value.numel() < 4096
    first, second = Bytes(value, numbers["first"]), Bytes(value, numbers["second"])
    m, v = torch.zeros_like(value), torch.zeros_like(value)
    for step in range(1, STEPS + 1):
        g = grads[name][step - 1].double()
        m = BETA1 * (m if small else first.read()) + (1 - BETA1) * g
        v = BETA2 * (v if small else second.read()) + (1 - BETA2) * g * g
        value = value * (1 - RATE * DECAY) - RATE * (m / (1 - BETA1**step)) / ((v / (1 - BETA2**step)).sqrt() + EPS)
        if not small:
            first.write(m), second.write(v)
        out[f"after{step}.{name}"] = value.float()
        if not small and step in (1, STEPS):
            for key, moment in (("first", first), ("second", second)):
                out[f"{key}_codes.{step}.{name}"] = moment.codes.to(torch.uint8).view(value.shape)
                out[f"{key}_scales.{step}.{name}"] = moment.scales.float()

theirs = {n: torch.nn.Parameter(t.clone()) for n, t in start.items()}
optim = bnb.optim.AdamW8bit(theirs.values(), lr=RATE, betas=(BETA1, BETA2), eps=EPS, weight_decay=DECAY)
for n, p in theirs.items():
    p.grad = grads[n][0].float()
optim.step()
out |= {f"bitsandbytes.{n}": p.detach() for n, p in theirs.items()}
path = pathlib.Path(__file__).resolve().parents[2] / "train/tests/golden/adamw8.safetensors"
save_file({n: t.contiguous() for n, t in out.items()}, path)
