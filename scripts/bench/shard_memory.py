#!/usr/bin/env python3
"""Memory of each rank with nothing, optimiser states, gradients too, or weights too shared out (distributed.shard), at 1, 2 and 4 ranks.

    scripts/bench/shard_memory.py [--ranks 1 2 4] [--data ../shared/data] [--layers 8 --width 1024]

Trains --steps of a GPT-2 with micro-batches of one sequence of --context tokens, so that training state outweighs activations, and reads the kernel's own
high-water mark of every rank (VmHWM of /proc/PID/status). Prints a Markdown table: MiB of the fullest rank, and bytes a weight above a run that has none of the
state (its weights loaded and one forward pass: evaluate score).
"""
import argparse, os, pathlib, shutil, subprocess, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parents[2]

CONFIG = """
threads = 1
[model]
layers = {layers}
heads = 8
width = {width}
context = {context}
[tokenizer]
kind = "byte"
[data]
cache = "{work}/shards"
[[data.sources]]
path = "{data}/p05-onestopenglish/*-Txt.txt"
[train]
steps = {steps}
batch = 4
micro_batch = 1
[eval]
every = 0
at_start = false
max_rows = 1
[checkpoint]
every = 0
keep_best = false
"""


def peaks(command, n):
    """MiB of each rank at its highest."""
    child = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found, said = {}, []
    reader = threading.Thread(target=lambda: said.append(child.stderr.read()))
    reader.start()
    while child.poll() is None:
        for pid in [child.pid] if n == 1 else children(child.pid):
            try:
                status = open(f"/proc/{pid}/status").read()
                found[pid] = int(status.split("VmHWM:")[1].split()[0]) / 1024
            except (OSError, IndexError):
                pass
        time.sleep(0.02)
    reader.join()
    if child.returncode:
        raise SystemExit(said[0][-2000:])
    return sorted(found.values())


def children(pid):
    try:
        return [int(p) for t in os.listdir(f"/proc/{pid}/task") for p in open(f"/proc/{pid}/task/{t}/children").read().split()]
    except OSError:
        return []


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    p.add_argument("--data", type=pathlib.Path, default=pathlib.Path(os.environ.get("RLHF_DATA", ROOT / "../shared/data")))
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--width", type=int, default=1024)
    p.add_argument("--context", type=int, default=32)
    p.add_argument("--steps", type=int, default=1)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        text = CONFIG.format(work=work, data=a.data.resolve(), **{k: getattr(a, k) for k in ("layers", "width", "context", "steps")})
        (work / "pretrain.toml").write_text(text)
        weights = None
        rows = []
        for shard in ("none", "optimizer", "gradients", "parameters"):
            row = []
            for n in a.ranks:
                if n == 1 and shard != "none":
                    row.append("")
                    continue
                shutil.rmtree(work / "run", ignore_errors=True)
                command = [ROOT / "target/release/pretrain", "--config", work / "pretrain.toml", "--out", work / "run", "--set", f"distributed.shard={shard}"]
                found = peaks(command + (["--nproc", n] if n > 1 else []), n)
                weights = weights or sum_weights(work / "run/model/model.safetensors")
                row.append(f"{found[-1]:.0f}")
            rows.append((shard, row))
        (work / "text").write_text("a" * a.context)
        base = peaks([ROOT / "target/release/evaluate", "score", "--model", work / "run", "--text", work / "text", "--threads", 1], 1)[-1]
        print(f"{weights / 1e6:.1f} M weights; loaded, without training: {base:.0f} MiB")
        print("| shard | " + " | ".join(f"{n} rank{'s' if n > 1 else ''}" for n in a.ranks) + " |\n|---|" + "---|" * len(a.ranks))
        for shard, row in rows:
            cell = lambda mib: f"{mib} MiB, {(float(mib) - base) * 2**20 / weights + 4:.1f} B a weight" if mib else ""
            print(f"| {shard} | " + " | ".join(map(cell, row)) + " |", flush=True)


def sum_weights(path):
    import json, math, struct
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    return sum(math.prod(t["shape"]) for name, t in head.items() if name != "__metadata__")


main()
