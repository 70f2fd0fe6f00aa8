#!/usr/bin/env python3
"""Does it pay to choose what people are asked? Reward models from judgments of items chosen in different ways, at the same number of judgments.

    scripts/bench/sample.py --bin target/release --runs runs/demo --out /tmp/choice [--seeds 1,2,3,4,5]

In the demo's small world (its pretrain and sft stages must have been run) the SFT model answers three sets of prompts once: to start with, to choose
from, to test on. Then per seed:
  1. some of the first items are taken at random and ranked by simulated judges: what a project starts with;
  2. three reward models are trained on that, each on another three quarters of it and in another order: the ensemble;
  3. `label sample` chooses so many items of the second set, by chance, by uncertainty, by dispute, or both;
  4. the same judges rank each choice; reward models are trained from the SFT model on start and choice together;
  5. accuracy of each against the true preference on the third set.
The table gives the mean over seeds of each choice's accuracy and of its difference to chance, with t intervals over seeds (a seed's models averaged).
The seed decides start, chance, judges and training; the answers drawn are the same for all.
"""

import argparse
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import time

ARMS = {
    "start only": None,
    "random": ["--choose", "random"],
    "uncertain": ["--choose", "uncertain", "--share-random", "0.25"],
    "disagree": ["--choose", "disagree", "--share-random", "0.25"],
    "mixed": ["--choose", "mixed", "--share-random", "0.25"],
}
# 97.5% points of Student's t by degrees of freedom.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(c) for c in command)}\n{done.stderr}")
    return done.stdout


def interval(values):
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, float("nan")
    return mean, T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", type=pathlib.Path, default="target/release")
    p.add_argument("--runs", type=pathlib.Path, default="runs/demo")
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--seeds", default="1,2,3,4,5")
    p.add_argument("--start", type=int, default=60, help="items that the ensemble learns from, out of --first")
    p.add_argument("--items", type=int, default=60, help="items chosen, out of --pool")
    p.add_argument("--first", type=int, default=100, help="prompts to start with")
    p.add_argument("--pool", type=int, default=360, help="prompts to choose from")
    p.add_argument("--test", type=int, default=200, help="held-out prompts")
    p.add_argument("--k", type=int, default=4)
    p.add_argument("--draw", type=int, default=8)
    p.add_argument("--ensemble", type=int, default=3)
    p.add_argument("--models", type=int, default=2, help="reward models trained for each choice and seed")
    p.add_argument("--judges", type=int, default=1, help="judgments an item")
    p.add_argument("--epochs", type=float, default=3)
    p.add_argument("--lr", type=float, default=5e-4)
    a = p.parse_args()
    label, reward, recipes, evaluate = (a.bin / name for name in ("label", "reward", "recipes", "evaluate"))
    sft = a.runs / "sft"
    prompts = (a.runs / "data/prompts.jsonl").read_text().splitlines(keepends=True)
    heldout = (a.runs / "data/heldout.jsonl").read_text().splitlines(keepends=True)
    a.out.mkdir(parents=True, exist_ok=True)
    sets = {"test": (heldout[: a.test], a.k), "pool": (prompts[: a.pool], a.draw), "start": (prompts[a.pool : a.pool + a.first], a.k)}
    for name, (lines, k) in sets.items():
        table = a.out / f"{name}.arrow"
        if not table.exists():
            (a.out / f"{name}.jsonl").write_text("".join(lines))
            run(label, "sample", "--model", sft, "--prompts", a.out / f"{name}.jsonl", "--k", k, "--max-new", 48, "--batch", 128, "--threads", 1, "--out", table)
    truth = a.out / "truth.jsonl"
    run(recipes, "demo", "judge", "--in", a.out / "test.arrow", "--out", truth, "--truth")
    results = {arm: {} for arm in ARMS}
    shares = {}
    for seed in (int(s) for s in a.seeds.split(",")):
        began = time.time()
        dir = a.out / f"seed-{seed}"
        shutil.rmtree(dir, ignore_errors=True)
        dir.mkdir(parents=True)

        def sample(name, table, items, *more):
            run(label, "sample", "--from", a.out / f"{table}.arrow", "--k", a.k, "--items", items, "--seed", seed, "--threads", 1, "--out", dir / f"{name}.arrow", *more)

        def judge(name, *how):
            run(recipes, "demo", "judge", "--in", dir / f"{name}.arrow", "--out", dir / f"{name}.judged.jsonl", *how)
            return dir / f"{name}.judged.jsonl"

        def train(name, data, number, held_out=0.04):
            # What is held out is not looked at, but a run wants some.
            (dir / f"{name}.toml").write_text(
                f'seed = {1000 * seed + number}\nthreads = 1\n[model]\ninit = "{sft}"\n[[data.sources]]\npath = "{data}"\n'
                f'[loss]\nkind = "plackett-luce"\n[optim]\nlr = {a.lr}\n[train]\nepochs = {a.epochs}\nbatch = 8\n'
                f"[eval]\nevery = 100000\nvalid_fraction = {held_out}\n[centre]\nsamples = 0\n[checkpoint]\nevery = 0\n"
            )
            run(reward, "--config", dir / f"{name}.toml", "--out", dir / name)
            return dir / name

        def accuracy(model, test):
            return json.loads(run(evaluate, "reward", "--model", model, "--data", test, "--threads", 1, "--json"))["accuracy"]

        sample("start", "start", a.start, "--choose", "random")
        start = judge("start", "--judges", a.judges, "--seed", seed)
        ensemble = [train(f"ensemble-{i}", start, i, 0.25) for i in range(a.ensemble)]
        for arm, how in ARMS.items():
            together = dir / f"{arm.replace(' ', '-')}.train.jsonl"
            text = start.read_text()
            if how:
                name = f"chosen-{arm}"
                rewards = [x for model in ensemble for x in ("--reward", model)]
                sample(name, "pool", a.items, *rewards, *how)
                text += judge(name, "--judges", a.judges, "--seed", seed).read_text()
                rows = [json.loads(line) for line in judge(name, "--truth").read_text().splitlines()]
                pairs = [(r[i], r[j]) for r in (row["ranks"] for row in rows) for i in range(len(r)) for j in range(i)]
                shares.setdefault(arm, []).append(sum(x != y for x, y in pairs) / len(pairs))
            together.write_text(text)
            models = [train(f"{arm.replace(' ', '-')}-{i}", together, 100 + i) for i in range(a.models)]
            results[arm][seed] = statistics.mean(accuracy(m, truth) for m in models)
        print(f"seed {seed}: " + ", ".join(f"{arm} {results[arm][seed]:.4f}" for arm in ARMS) + f" ({time.time() - began:.0f} s)", flush=True)
        (a.out / "results.json").write_text(json.dumps(results, indent=1))

    print(f"\n{a.start} items to start with, {a.items} chosen of {a.pool} prompts, {a.k} of {a.draw} answers, {a.judges} judgments an item, {a.models} models each")
    print("| choice | accuracy against the truth | difference to random | pairs that differ in truth |\n|---|---|---|---|")
    for arm in ARMS:
        mean, half = interval(list(results[arm].values()))
        difference, width = interval([results[arm][s] - results["random"][s] for s in results[arm]])
        share = f"{100 * statistics.mean(shares[arm]):.1f}%" if arm in shares else ""
        print(f"| {arm} | {100 * mean:.1f}% ± {100 * half:.1f} | {100 * difference:+.1f} ± {100 * width:.1f} points | {share} |")


if __name__ == "__main__":
    main()
