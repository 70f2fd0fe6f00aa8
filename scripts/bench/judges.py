#!/usr/bin/env python3
"""What a reward model should learn from judges of unequal reliability: soft labels and weighed judges beside majority voting.

    scripts/bench/judges.py crowd  [--seeds 3] [--out runs/judges] [--items 400] [--jobs 2] [--set key=value]...
    scripts/bench/judges.py people [--seeds 3] [--out runs/judges] [--init runs/restaurants/sft] [--config configs/restaurants/reward.toml]
                                   [--arms "majority vote,judges weighed"]

`crowd`: in the demo's world, where the truth is known, forty simulated judges (careful, ordinary, careless, clicking at random, reading the scale upside
down) rank 400 sets of four answers, four judges a set. Each arm trains the same small model from the same base for as many passes; accuracy is the share
of unseen pairs that it orders as the truth does. `people`: the E2E crowd's judgments; accuracy against the single judgments of held-out meanings, as
people gave them.

Build first (cargo build --release --bins). Finished runs are kept, so that an interrupted comparison goes on. A seed draws crowd, split and training; arms
are compared seed by seed: the interval is Student's over the differences.
"""
import argparse, concurrent.futures, json, math, os, pathlib, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# 97.5% quantile of Student's distribution with 1 to 30 degrees of freedom (scipy.stats.t.ppf).
T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
     2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]
MAJORITY = "majority vote"


def run(program, *arguments):
    """Runs one of our programs to its end; shows what it said where it failed."""
    done = subprocess.run([str(BIN / program), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(map(str, arguments))}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def stage(name, config, out, *sets):
    arguments = [part for s in sets for part in ("--set", s)]
    run(name, "--config", config, "--out", out, "--resume", *arguments)


def tables(folder, said):
    """Majority voting, and what the model of the judges makes of `said`."""
    files = {"majority": folder / "majority.arrow", "fit": folder / "fit.arrow", "weighed": folder / "weighed.arrow"}
    if not all(path.exists() for path in files.values()):
        run("recipes", "judgments", "majority", "--in", said, "--out", files["majority"])
        run("label", "stats", said, "--fit", files["fit"], "--weigh", files["weighed"])
    return files


def fitted(made):
    """The arms that learn from what `label stats` made of the judges."""
    return {
        "judges weighed": (made["weighed"], []),
        "weighed mean": (made["weighed"], ["data.merge_judges=true"]),
        "soft labels": (made["fit"], []),
        "margins by worth": (made["fit"], ["loss.soft_labels=false", "loss.margin=worth"]),
    }


def base(out):
    """The demo's base and SFT model, each trained for less than a pass: a minute in all."""
    short = ["train.epochs=0.7", "eval.every=0", "threads=1"]
    run("recipes", "demo", "generate", "--out", out / "data", "--seed", 1)
    stage("pretrain", "configs/demo/pretrain.toml", out / "pretrain", f"data.sources.0.path={out}/data/pretrain.txt", *short)
    stage("sft", "configs/demo/sft.toml", out / "sft", f"model.init={out}/pretrain", f"data.sources.0.path={out}/data/demonstrations.jsonl",
          *short)
    return out / "sft"


def crowd(a, seed, init):
    """The arms of one seed: name, table, what is held out, settings."""
    folder = a.out / f"crowd-{seed}"
    if not (folder / "crowd.json").exists():
        run("recipes", "demo", "crowd", "--out", folder, "--seed", seed, "--items", a.items)
    made = tables(folder, folder / "crowd.arrow")
    sets = [f"model.init={init}", "loss.kind=bradley-terry", "train.epochs=2"]
    return "configs/demo/reward.toml", folder, folder / "heldout.arrow", sets, {
        "every judgment alike": (folder / "crowd.arrow", []),
        "mean rank": (folder / "crowd.arrow", ["data.merge_judges=true"]),
        MAJORITY: (made["majority"], []),
        **fitted(made),
        "the truth": (folder / "truth.arrow", []),
    }


def people(a, seed, init):
    """As [`crowd`]."""
    folder = a.out / f"people-{pathlib.Path(a.config).stem}-{seed}"
    train, heldout = folder / "train.arrow", folder / "heldout.arrow"
    if not heldout.exists():
        run("recipes", "judgments", "split", "--config", a.config, "--seed", seed, "--train", train, "--heldout", heldout)
    made = tables(folder, train)
    return a.config, folder, heldout, [f"model.init={init}"], {
        "every judgment alike": (train, []),
        "mean score": (train, ["data.merge_judges=true"]),
        MAJORITY: (made["majority"], []),
        **fitted(made),
    }


def train(job):
    """One run; returns its arm, its seed and its summary."""
    (a, seed, name), (config, folder, heldout, sets, arms) = job
    table, more = arms[name]
    out = folder / name.replace(" ", "-")
    # Threads beyond one gain little on models of this size; several runs at a time do.
    fixed = [f"data.sources.0.path={table}", f"data.heldout=[{{ path = \"{heldout}\" }}]", f"seed={seed}", "eval.every=0", "eval.max_rows=0",
             "centre.samples=0", "checkpoint.every=0", "threads=1"]
    stage("reward", config, out, *fixed, *sets, *more, *a.set)
    summary = json.loads((ROOT / out / "summary.json").read_text())
    print(f"seed {seed}: {name}: {100 * summary['accuracy']:.2f}% of {summary['pairs']} pairs, {summary['wall_s']:.0f} s", file=sys.stderr)
    return name, seed, summary


def interval(values):
    """Half of the 95% interval of a mean."""
    n = len(values)
    return T[min(n - 2, len(T) - 1)] * statistics.stdev(values) / math.sqrt(n) if n > 1 else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crowd", "people"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/judges"))
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each")
    parser.add_argument("--init", help="SFT model to start from [default: a small one of the demo's, trained first; people: runs/restaurants/sft]")
    parser.add_argument("--config", default="configs/restaurants/reward.toml")
    parser.add_argument("--arms", type=lambda text: [name.strip() for name in text.split(",")],
                        help="only these, by their names in the table that is printed [default: all]")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    a = parser.parse_args()
    if a.arms and MAJORITY not in a.arms:
        parser.error(f"--arms lacks {MAJORITY!r}, beside which the others are shown")
    init, prepare = (a.init or base(a.out), crowd) if a.what == "crowd" else (a.init or "runs/restaurants/sft", people)
    jobs = []
    for seed in range(1, a.seeds + 1):
        prepared = prepare(a, seed, init)
        arms = prepared[-1]
        if unknown := [name for name in a.arms or [] if name not in arms]:
            sys.exit(f"no arm is named {unknown[0]!r}; there are {', '.join(arms)}")
        jobs += [((a, seed, name), prepared) for name in arms if not a.arms or name in a.arms]
    accuracy = {}
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        for name, seed, summary in pool.map(train, jobs):
            accuracy.setdefault(name, {})[seed] = 100 * summary["accuracy"]
    print(f"| learnt from | accuracy, mean of {a.seeds} seeds | beside {MAJORITY} |\n|---|---|---|")
    for name, values in accuracy.items():
        against = [values[s] - accuracy[MAJORITY][s] for s in values]
        difference = "–" if name == MAJORITY else f"{statistics.mean(against):+.2f} ± {interval(against):.2f}"
        print(f"| {name} | {statistics.mean(values.values()):.2f}% ± {interval(list(values.values())):.2f} | {difference} |")


if __name__ == "__main__":
    main()
