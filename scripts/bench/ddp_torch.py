#!/usr/bin/env python3
"""One rank of PyTorch's DistributedDataParallel on the work of scripts/bench/link.py: the peer's GPT-2 (pretrain_torch.py in --peers), Gloo, AdamW, clipping.

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as of torchrun; a world of one trains without DDP. Prints one JSON line: seconds of a step.
"""
import argparse, json, os, pathlib, statistics, time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

p = argparse.ArgumentParser()
p.add_argument("--peers", type=pathlib.Path, required=True)
p.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
p.add_argument("--rows", type=int, default=4, help="sequences of this rank a step")
p.add_argument("--steps", type=int, default=8)
a = p.parse_args()

peer = {}
exec((a.peers / "pretrain_torch.py").read_text().removesuffix("main()\n"), peer)  # its model and shapes, not its main
torch.set_num_threads(1)
torch.manual_seed(1)
layers, heads, width, context, vocabulary, _ = peer["SHAPES"]["small"]
model = peer["GPT"](layers, heads, width, context, vocabulary)
size = int(os.environ.get("WORLD_SIZE", "1"))
wrapped = model
if size > 1:
    dist.init_process_group("gloo")
    wrapped = DistributedDataParallel(model)
optim = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
times = []
for step in range(a.steps + 2):
    rows = torch.randint(vocabulary, (a.rows, context + 1))
    began = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.dtype == "bfloat16"):
        loss = wrapped(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optim.step()
    optim.zero_grad(set_to_none=True)
    if step >= 2:
        times.append(time.perf_counter() - began)
print(json.dumps({"step_s": statistics.median(times), "parameters": sum(q.numel() for q in model.parameters())}))
if size > 1:
    dist.destroy_process_group()
