#!/usr/bin/env python3
"""Seconds from the start of a stage's process to the beginning and the end of its first step, with the data cached.

    scripts/bench/start.py --peers DIR [--data ../shared/data] [--runs 5] [--stages sft ...] [--peer] [--keep DIR]

DIR holds make_model.py (and, for --peer, trl_stage.py) and a venv as compare.py wants it. The models are a 30 M-parameter GPT-2 folder and a reward model of that
size; the data are one English corpus (pretrain) and Anthropic's HH test pairs. Each stage runs once to fill its caches and then --runs
times; printed are the medians of `start_s` and `first_step_s` of its summary.json. Build first (cargo build --release).
"""
import argparse, gzip, json, pathlib, shutil, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = "[checkpoint]\nevery = 0\nkeep_best = false\n"


def run(command):
    child = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=ROOT)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{child.stderr[-3000:]}")
    return child.stdout


def pairs(path):
    """HH dialogues that end in one answer: the prompt before it, and both answers."""
    for line in gzip.open(path, "rt", encoding="utf-8"):
        pair = json.loads(line)
        cut = pair["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
        if pair["rejected"][:cut] == pair["chosen"][:cut] and 0 < len(pair["chosen"]) < 1200:
            yield {"prompt": pair["chosen"][:cut], "chosen": pair["chosen"][cut:], "rejected": pair["rejected"][cut:]}


def prepare(a, work):
    corpus = a.data / "p05-onestopenglish/Adv-Txt.txt"
    for name, more in (("base", []), ("reward-model", ["--reward"])):
        if not (work / name).is_dir():
            run([a.peers / "venv/bin/python", a.peers / "make_model.py", "--text", corpus, "--out", work / name, *more])
    rows = list(pairs(a.data / "r14-hh-rlhf-harmless-test/test.jsonl.gz"))
    written = {
        "pairs": rows,
        "demonstrations": [{"prompt": r["prompt"], "response": r["chosen"]} for r in rows],
    }
    for name, lines in written.items():
        (work / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    eval_ = "[eval]\nevery = 0\nat_start = false\nmax_rows = 8\n"
    source = lambda name: f'[[data.sources]]\npath = "{work}/{name}.jsonl"\n'
    configs = {
        "pretrain": f'[model]\ninit = "{work}/base"\n[data]\ncache = "{work}/shards"\n[[data.sources]]\npath = "{corpus}"\n'
                    f'[train]\nsteps = 1\nbatch = 1\n{eval_}',
        "sft": f'[model]\ninit = "{work}/base"\n{source("demonstrations")}[train]\nsteps = 1\nbatch = 1\n{eval_}',
        "reward": f'[model]\ninit = "{work}/base"\n{source("pairs")}[train]\nsteps = 1\nbatch = 1\n[centre]\nsamples = 0\n{eval_}',
        "ppo": f'[policy]\ninit = "{work}/base"\n[reward]\nmodel = "{work}/reward-model"\n{source("demonstrations")}'
               f'[rollout]\nrounds = 1\nepisodes = 2\nmax_new_tokens = 16\n[ppo]\nepochs = 1\nminibatches = 1\nmicro_batch = 1\n'
               f'{eval_.replace("8", "2")}',
    }
    for stage, text in configs.items():
        (work / f"{stage}.toml").write_text(text + SMALL)
    return configs, len(rows)


def ours(work, stage):
    out = work / f"run-{stage}"
    shutil.rmtree(out, ignore_errors=True)
    run([ROOT / "target/release" / stage, "--config", work / f"{stage}.toml", "--out", out])
    summary = json.loads((out / "summary.json").read_text())
    return summary["start_s"], summary["first_step_s"]


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--peers", type=pathlib.Path, required=True)
p.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
p.add_argument("--runs", type=int, default=5)
p.add_argument("--stages", nargs="+", default=["pretrain", "sft", "reward", "ppo"])
p.add_argument("--peer", action="store_true", help="run TRL's stages too and print what they say of their start")
p.add_argument("--keep", type=pathlib.Path, help="keep models, data and runs here")
a = p.parse_args()
a.peers, a.data = a.peers.resolve(), a.data.resolve()
with tempfile.TemporaryDirectory() as folder:
    work = (a.keep or pathlib.Path(folder)).resolve()
    work.mkdir(parents=True, exist_ok=True)
    configs, rows = prepare(a, work)
    for stage in a.stages:
        ours(work, stage)
        runs = [ours(work, stage) for _ in range(a.runs)]
        start, end = ([run[i] for run in runs] for i in (0, 1))
        figures = {"stage": stage, "start_s": statistics.median(start), "slowest_start_s": max(start), "first_step_s": statistics.median(end)}
        if stage != "pretrain":
            figures["rows"] = rows
        if a.peer and stage != "pretrain":
            more = ["--reward-model", work / "reward-model"] if stage == "ppo" else []
            text = run([a.peers / "venv/bin/python", a.peers / "trl_stage.py", stage, "--model", work / "base", *more, "--data", work / "pairs.jsonl"])
            figures["peer"] = json.loads(text.splitlines()[-1])
        print(json.dumps(figures), flush=True)
