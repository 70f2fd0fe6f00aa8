#!/usr/bin/env python3
"""How cost grows: tokens/s and peak memory of a pre-training step against width, context and batch, and tokens/s of generation against the answers' length.

    scripts/bench/growth.py [--only width context batch response] [--precision float32] [--steps 8] [--peers DIR] [--data ../shared/data]

Each point is one run of `pretrain` on the shape `small` (8 blocks, width 512, context 512, batch 8, vocabulary 8,192) with one thing changed; a longer context has fewer rows, so that a step has 4,096
tokens. `response` writes answers to 32 prompts of 40 tokens with a folder of random weights (best of three calls) and wants --peers, a folder as compare.py has it. Build first (cargo build --release, and
--example generation -p model). Nothing else should run meanwhile. Prints one Markdown table a thing.
"""
import argparse, json, os, pathlib, random, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
POINTS = {"width": [128, 256, 512, 768, 1024], "context": [128, 256, 512, 1024, 2048, 4096], "batch": [1, 2, 4, 8, 16, 32], "response": [16, 64, 128, 256, 448]}


def run(command):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0), err.seek(0)
        if status:
            sys.exit(f"{command[0]} failed:\n{err.read()[-3000:]}")
        return out.read(), usage.ru_maxrss // 1024


def pretrain(a, work, what, value):
    """Tokens/s (median of the steps after the second) and peak MiB."""
    shape = {"width": 512, "context": 512, "batch": 8, what: value}
    if what == "context":
        shape["batch"] = 4096 // value
    config = work / "pretrain.toml"
    config.write_text(f"""
precision = "{a.precision}"
[model]
layers = 8
heads = {shape['width'] // 64}
width = {shape['width']}
context = {shape['context']}
[tokenizer]
vocab_size = 8192
[data]
cache = "{work}/shards"
[[data.sources]]
path = "{a.data}/p02-tinystories-944k/tiny_stories.txt"
[[data.sources]]
path = "{a.data}/p05-onestopenglish/*-Txt.txt"
[train]
steps = {a.steps}
batch = {shape['batch']}
[eval]
every = 0
at_start = false
max_rows = 1
[checkpoint]
every = 0
keep_best = false
""")
    out = work / f"{what}-{value}"
    _, mib = run([ROOT / "target/release/pretrain", "--config", config, "--out", out])
    rates = [row["tokens_per_s"] for row in map(json.loads, open(out / "metrics.jsonl")) if "tokens_per_s" in row]
    return statistics.median(rates[2:]), mib


def response(a, work, value):
    folder, prompts = work / "base", work / "ids.json"
    if not folder.is_dir():
        run([a.peers.resolve() / "venv/bin/python", a.peers.resolve() / "make_model.py", "--text", a.data / "p05-onestopenglish/Adv-Txt.txt", "--out", folder])
        random.seed(1)
        prompts.write_text(json.dumps([[random.randrange(300, 8000) for _ in range(40)] for _ in range(32)]))
    float32 = ["--float32"] if a.precision == "float32" else []
    text, mib = run([ROOT / "target/release/examples/generation", "--model", folder, "--prompts", prompts, "--batch", 32, "--new", value, *float32])
    return max(json.loads(text)["tokens_per_s"]), mib


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--only", nargs="*", choices=POINTS, default=list(POINTS))
p.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
p.add_argument("--steps", type=int, default=8)
p.add_argument("--peers", type=pathlib.Path)
p.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
a = p.parse_args()
a.data = a.data.resolve()
if "response" in a.only and a.peers is None:
    p.error("response wants --peers")
with tempfile.TemporaryDirectory() as folder:
    for what in a.only:
        rows = [(value, *(response(a, pathlib.Path(folder), value) if what == "response" else pretrain(a, pathlib.Path(folder), what, value))) for value in POINTS[what]]
        print(f"| {what} | " + " | ".join(f"{value:,}" for value, _, _ in rows) + " |\n|---" + "|---" * len(rows) + "|")
        print("| tokens/s | " + " | ".join(f"{rate:,.0f}" for _, rate, _ in rows) + " |")
        print("| peak, MiB | " + " | ".join(f"{mib:,}" for _, _, mib in rows) + " |\n", flush=True)
