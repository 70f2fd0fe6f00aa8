#!/usr/bin/env python3
"""`label ingest` beside pandas and Hugging Face datasets: a file of many judgments to one checked table, alternating runs, medians.

    scripts/bench/labels.py --python VENV/bin/python [--rows 1000000] [--rounds 3] [--forms csv,pairs] [--dir DIR]

VENV has pandas, pyarrow and datasets. Build first (cargo build --release -p label). Two files are generated: a wide crowd-sourcing CSV (five answers
a row with scores, systems, worker, trust, both times: what configs/labels/e2e-quality.toml reads) and JSON Lines of pairs (prompt, chosen, rejected).
The work is the same for all: read every row; parse times, scores and weights; check them (scores are numbers, answers are text, weights are positive);
dense ranks with ties; an item's key by a hash of prompt and answers; one row a judgment with lists of answers, systems, scores and ranks; written to a
columnar file. pandas and datasets work on whole columns wherever they can (their keys are hashes over columns, not free of the answers' order).
Nothing else should run meanwhile. Prints one JSON line a run and the medians; the exit code is 0 whatever the ratio, since this measures and does not
judge. CPU seconds are user and system time of the whole process with its threads.
"""
import argparse, json, os, pathlib, random, shutil, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
K = 5


def texts(draw, words):
    return " ".join(draw.choices(WORDS, k=words))


WORDS = """the a restaurant coffee shop near riverside city centre serves Italian French Chinese food with high low average customer rating and is family
friendly located in price range moderate cheap offers good place called Blue Spice Clowns Cotto Giraffe Eagle Mill "old" café £20-25, not children""".split()


def crowd(path, rows):
    """As r02's quality.csv: three judges an item."""
    draw = random.Random(1)
    score, ref, system = ([f"{name}{i + 1}" for i in range(K)] for name in ("quality", "ref", "sys"))
    names = ["_unit_id", "_created_at", "_started_at", "_tainted", "_channel", "_trust", "_worker_id", *score, "mr", "mr_id", *ref, *system]
    cell = lambda text: '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text
    with open(path, "w") as out:
        out.write(",".join(names) + "\n")
        for row in range(rows):
            if row % 3 == 0:
                item = row // 3
                tail = [f"name[{texts(draw, 2)}], area[{texts(draw, 2)}], near[{texts(draw, 3)}]", str(item // 2)]
                tail += [texts(draw, draw.randint(8, 24)) for _ in range(K)] + draw.sample(["tgen", "slug", "zhang", "tr2", "tnt1", "sheff2"], K)
                tail = ",".join(map(cell, tail))
            minute = row % 60
            head = [str(10**9 + item), f"11/28/2017 14:{minute:02}:43", f"11/28/2017 13:{minute:02}:14", "False", draw.choice(["elite", "prodege"])]
            head += [str(round(draw.uniform(0.7, 1), 4)), f"w{draw.randrange(2000):04}", *(str(draw.randrange(5, 21) * 5) for _ in range(K))]
            out.write(",".join(head) + "," + tail + "\n")


def pairs(path, rows):
    draw = random.Random(2)
    with open(path, "w") as out:
        for row in range(rows):
            fields = {"prompt": texts(draw, draw.randint(8, 40)), "chosen": texts(draw, draw.randint(8, 60)), "rejected": texts(draw, draw.randint(8, 60))}
            fields |= {"judge": f"w{draw.randrange(2000)}", "score_chosen": draw.randrange(5, 11), "score_rejected": draw.randrange(0, 5)}
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")


# --- the peers ---


def hashed(pd, frame):
    """One 64-bit hash a row over all columns of the frame."""
    keys = pd.util.hash_pandas_object(frame, index=False)
    return keys


def pandas_csv(path, out):
    import pandas as pd

    score, ref, system = ([f"{name}{i + 1}" for i in range(K)] for name in ("quality", "ref", "sys"))
    rows = pd.read_csv(path)
    good = rows[score].notna().all(axis=1) & rows[ref].notna().all(axis=1) & (rows["_trust"] > 0) & rows["mr"].notna()
    rows = rows[good]
    form = "%m/%d/%Y %H:%M:%S"
    started, ended = (pd.to_datetime(rows[name], format=form, utc=True) for name in ("_started_at", "_created_at"))
    table = pd.DataFrame({
        "item": hashed(pd, rows[["mr", *ref]]), "group": rows["mr_id"].astype(str), "prompt": rows["mr"], "answers": rows[ref].values.tolist(),
        "authors": rows[system].values.tolist(), "ranks": rows[score].rank(axis=1, method="dense", ascending=False).astype("uint32").values.tolist(),
        "scores": rows[score].astype("float32").values.tolist(), "judge": rows["_worker_id"], "started": started, "ended": ended,
        "seconds": (ended - started).dt.total_seconds().astype("float32"), "weight": rows["_trust"].astype("float32"),
        "flags": ("channel=" + rows["_channel"]), "row": rows.index + 2,
    })
    table.to_parquet(out)
    return len(table)


def pandas_pairs(path, out):
    import pandas as pd

    rows = pd.read_json(path, lines=True)
    text = ["prompt", "chosen", "rejected"]
    good = (rows[text].map(lambda cell: isinstance(cell, str) and cell.strip() != "")).all(axis=1) & (rows["chosen"] != rows["rejected"])
    rows = rows[good]
    scores = rows[["score_chosen", "score_rejected"]].astype("float32")
    table = pd.DataFrame({
        "item": hashed(pd, rows[text]), "group": rows["prompt"], "prompt": rows["prompt"], "answers": rows[["chosen", "rejected"]].values.tolist(),
        "ranks": [[1, 2]] * len(rows), "scores": scores.values.tolist(), "judge": rows["judge"], "weight": 1.0, "row": rows.index + 1,
    })
    table.to_parquet(out)
    return len(table)


def datasets_csv(path, out):
    import datasets, numpy, pandas as pd

    score, ref, system = ([f"{name}{i + 1}" for i in range(K)] for name in ("quality", "ref", "sys"))
    rows = datasets.load_dataset("csv", data_files=str(path), split="train", cache_dir=str(out) + ".cache")

    def judge(batch, at):
        marks = numpy.array([batch[name] for name in score], dtype="float64").T
        # Dense ranks of few values: how many distinct ones are above.
        ordered = -numpy.sort(-marks, axis=1)
        fresh = numpy.concatenate([numpy.ones((len(marks), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
        ranks = ((ordered[:, None, :] > marks[:, :, None]) & fresh[:, None, :]).sum(axis=2) + 1
        form = "%m/%d/%Y %H:%M:%S"
        started, ended = (pd.to_datetime(pd.Series(batch[name]), format=form, utc=True) for name in ("_started_at", "_created_at"))
        answers = list(zip(*(batch[name] for name in ref)))
        good = ~numpy.isnan(marks).any(axis=1) & (numpy.array(batch["_trust"]) > 0) & numpy.array([all(row) for row in answers])
        keep = lambda list_: [value for value, ok in zip(list_, good) if ok]
        return {
            "item": keep([hash((mr, row)) for mr, row in zip(batch["mr"], answers)]), "group": keep(map(str, batch["mr_id"])), "prompt": keep(batch["mr"]),
            "answers": keep(map(list, answers)), "authors": keep(map(list, zip(*(batch[name] for name in system)))), "ranks": keep(ranks.astype("uint32")),
            "scores": keep(marks.astype("float32")), "judge": keep(batch["_worker_id"]), "started": keep(started), "ended": keep(ended),
            "seconds": keep((ended - started).dt.total_seconds()), "weight": keep(batch["_trust"]),
            "flags": keep(["channel=" + channel for channel in batch["_channel"]]), "row": keep([i + 2 for i in at]),
        }

    table = rows.map(judge, batched=True, with_indices=True, remove_columns=rows.column_names)
    table.to_parquet(str(out))
    return len(table)


def datasets_pairs(path, out):
    import datasets

    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(out) + ".cache")

    def judge(batch, at):
        texts = list(zip(batch["prompt"], batch["chosen"], batch["rejected"]))
        good = [i for i, row in enumerate(texts) if all(isinstance(t, str) and t.strip() for t in row) and row[1] != row[2]]
        pick = lambda list_: [list_[i] for i in good]
        return {
            "item": [hash(texts[i]) for i in good], "group": pick(batch["prompt"]), "judge": pick(batch["judge"]), "row": [at[i] + 1 for i in good],
            "answers": [list(texts[i][1:]) for i in good], "ranks": [[1, 2]] * len(good), "weight": [1.0] * len(good), "prompt": pick(batch["prompt"]),
            "scores": [[float(batch["score_chosen"][i]), float(batch["score_rejected"][i])] for i in good],
        }

    table = rows.map(judge, batched=True, with_indices=True, remove_columns=rows.column_names)
    table.to_parquet(str(out))
    return len(table)


# --- the measuring ---


def run(command):
    """Runs a command to its end; returns its standard output, wall seconds, CPU seconds and peak resident MiB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=ROOT, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        out.seek(0), err.seek(0)
        if status:
            sys.exit(f"{command[0]} failed:\n{err.read()[-3000:]}")
        return out.read(), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--python", default=sys.executable)
    parse.add_argument("--rows", type=int, default=1_000_000)
    parse.add_argument("--rounds", type=int, default=3)
    parse.add_argument("--forms", default="csv,pairs")
    parse.add_argument("--who", default="label,pandas,datasets")
    parse.add_argument("--dir", type=pathlib.Path)
    parse.add_argument("--label", type=pathlib.Path, default=ROOT / "target/release/label")
    parse.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    a = parse.parse_args()
    if a.peer:
        who, form, path, out = a.peer
        print(globals()[f"{who}_{form}"](path, out))
        return
    work = a.dir or pathlib.Path(tempfile.mkdtemp(prefix="labels-"))
    work.mkdir(parents=True, exist_ok=True)
    for form in a.forms.split(","):
        path = work / (f"crowd-{a.rows}.csv" if form == "csv" else f"pairs-{a.rows}.jsonl")
        if not path.exists():
            (crowd if form == "csv" else pairs)(path, a.rows)
        found = {}
        for _ in range(a.rounds):
            for who in a.who.split(","):
                out = work / f"{who}-{form}.out"
                if who == "label":
                    more = ["--mapping", ROOT / "configs/labels/e2e-quality.toml"] if form == "csv" else []
                    command = [a.label, "ingest", path, "--out", out, "--json", *more]
                else:
                    command = [a.python, __file__, "--peer", who, form, path, out]
                text, wall, cpu, peak = run(command)
                kept = json.loads(text)["total"]["kept"] if who == "label" else int(text.split()[-1])
                assert kept == a.rows, (who, kept)
                result = {"form": form, "who": who, "rows": a.rows, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_mib": peak}
                print(json.dumps(result), flush=True)
                found.setdefault(who, []).append((wall, cpu, peak))
                shutil.rmtree(str(out) + ".cache", ignore_errors=True)
                out.unlink(missing_ok=True)
        middle = {who: [statistics.median(column) for column in zip(*runs)] for who, runs in found.items()}
        size = path.stat().st_size / 2**20
        for who, (wall, cpu, peak) in middle.items():
            times = middle["label"] if "label" in middle else middle[who]
            print(f"{form} ({size:.0f} MiB) {who:9} {a.rows / wall:10,.0f} rows/s  {wall:7.2f} s  cpu {cpu:7.2f} s  {peak:6.0f} MiB"
                  f"  label is {wall / times[0]:.1f}x faster, {cpu / times[1]:.1f}x by CPU")
    if not a.dir:
        shutil.rmtree(work)


main()
