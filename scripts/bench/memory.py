#!/usr/bin/env python3
"""Peak memory and speed of the options that trade one for the other: low-rank adapters, activation checkpointing.

    scripts/bench/memory.py sft|ppo|context [--shape gpt2] [--data ../shared/data] [--only NAME]...

Builds nothing: cargo build --release first, and nothing else should run meanwhile. `sft`: HH dialogues up to 256 tokens, batch 8; `ppo`: prompts and answers of
up to 64 tokens, 16 episodes a round, 2 passes; `context`: pre-training of 4,096 tokens a step at growing context, with and without activation checkpointing.
On models of random weights. Prints one JSON line a run: the steady rate, and the peak resident MiB of the process.
"""
import argparse, gzip, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {"small": (8, 8, 512), "gpt2": (12, 12, 768)}  # layers, heads, width
QUIET = '[eval]\nevery = 0\nat_start = false\nmax_rows = 4\nvalid_fraction = 0.05\n[checkpoint]\nevery = 0\nkeep_best = false\n'
OPTIONS = {
    "all weights": [],
    "all weights, checkpointing": ["CHECKPOINT=true"],
    "adapters of rank 8": ["lora.rank=8"],
    "adapters of rank 64": ["lora.rank=64"],
    "adapters of rank 8, checkpointing": ["lora.rank=8", "CHECKPOINT=true"],
}


def run(stage, config, out, sets):
    """Runs a stage to its end; returns its metrics and peak resident MiB."""
    shutil.rmtree(out, ignore_errors=True)
    command = [a.bin / stage, "--config", config, "--out", out] + [x for s in sets for x in ("--set", s)]
    with tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=err, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        err.seek(0)
        if status:
            sys.exit(f"{stage} {sets} failed:\n{err.read()[-3000:]}")
    return [json.loads(line) for line in open(out / "metrics.jsonl")], usage.ru_maxrss // 1024


def steady(rows, key):
    values = [row[key] for row in rows if key in row]
    return statistics.median(values[max(1, len(values) // 4):])


def base(a, work, context):
    layers, heads, width = SHAPES[a.shape]
    config = work / "pretrain.toml"
    config.write_text(f'precision = "{a.precision}"\n[model]\nlayers = {layers}\nheads = {heads}\nwidth = {width}\ncontext = {context}\n[tokenizer]\nvocab_size = 8192\n'
                      f'[data]\ncache = "{work}/shards"\n[[data.sources]]\npath = "{a.data}/p02-tinystories-944k/tiny_stories.txt"\n' + QUIET)
    return config


def report(what, name, key, rows, mib, **more):
    print(json.dumps({"what": what, "option": name, key: round(steady(rows, key), 2), "mib": mib, **more}), flush=True)


def folders(a, work):
    config = base(a, work, 256)
    run("pretrain", config, work / "base", ["train.steps=1", "train.batch=1"])
    with open(work / "pairs.jsonl", "w") as out:
        for line in gzip.open(a.data / "r14-hh-rlhf-harmless-test/test.jsonl.gz", "rt", encoding="utf-8"):
            pair = json.loads(line)
            cut = pair["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
            if pair["rejected"][:cut] == pair["chosen"][:cut] and pair["chosen"][cut:].strip() and pair["rejected"][cut:].strip():
                out.write(json.dumps({"prompt": pair["chosen"][:cut], "chosen": pair["chosen"][cut:], "rejected": pair["rejected"][cut:]}) + "\n")


def stages(a, work, stage, config, key):
    (work / "stage.toml").write_text(f'precision = "{a.precision}"\n' + config + "[data.quarantine]\nmax_fraction = 1.0\n" + QUIET)
    for name, sets in OPTIONS.items():
        if a.only and name not in a.only:
            continue
        where = "ppo.activation_checkpointing" if stage == "ppo" else "train.activation_checkpointing"
        rows, mib = run(stage, work / "stage.toml", work / "run", [s.replace("CHECKPOINT", where) for s in sets])
        losses = [row["loss"] for row in rows if "loss" in row]
        report(stage, name, key, rows, mib, **({"loss": round(losses[-1], 4)} if losses else {}))


def sft(a, work):
    folders(a, work)
    stages(a, work, "sft", f'[model]\ninit = "{work}/base"\n[[data.sources]]\npath = "{work}/pairs.jsonl"\ncolumns = {{ response = "chosen" }}\n'
           f'[train]\nsteps = {a.steps}\nbatch = 8\n', "tokens_per_s")


def ppo(a, work):
    folders(a, work)
    (work / "reward.toml").write_text(f'precision = "{a.precision}"\n[model]\ninit = "{work}/base"\n[[data.sources]]\npath = "{work}/pairs.jsonl"\n[data.quarantine]\n'
                                      'max_fraction = 1.0\n[centre]\nsamples = 0\n[train]\nsteps = 1\nbatch = 2\n' + QUIET)
    run("reward", work / "reward.toml", work / "reward", [])
    stages(a, work, "ppo", f'[policy]\ninit = "{work}/base"\n[reward]\nmodel = "{work}/reward"\n[data]\nmax_length = 64\n[[data.sources]]\npath = "{work}/pairs.jsonl"\n'
           f'[rollout]\nrounds = {a.steps}\nepisodes = 16\nmax_new_tokens = 64\n[ppo]\nepochs = 2\nminibatches = 1\nmicro_batch = 8\n', "episodes_per_s")


def context(a, work):
    for tokens in a.contexts:
        config = base(a, work, tokens)
        for on in ("false", "true"):
            rows, mib = run("pretrain", config, work / "run", [f"train.steps={a.steps}", f"train.batch={4096 // tokens}", f"train.activation_checkpointing={on}"])
            report("context", f"context {tokens}, checkpointing {on}", "tokens_per_s", rows, mib)


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("what", choices=["sft", "ppo", "context"])
p.add_argument("--shape", choices=SHAPES, default="gpt2")
p.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
p.add_argument("--only", action="append", help="this option alone; may be given several times")
p.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
p.add_argument("--steps", type=int, default=8, help="optimiser steps, or rounds of ppo, of a run")
p.add_argument("--contexts", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
p.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release", help="where the stages are")
a = p.parse_args()
a.data = a.data.resolve()
with tempfile.TemporaryDirectory() as folder:
    globals()[a.what](a, pathlib.Path(folder))
