#!/usr/bin/env python3
"""Everything that docs/performance.md's table says, in one command: ours and each peer in alternation, the ratios with their spread.

    scripts/bench/performance.py --peers DIR [--pairs 3] [--only pretrain generate ...] [--jemalloc FILE] [--dtype float32] [--json docs/performance/results.jsonl]

Runs scripts/bench/compare.py once a row, with the peer in the quickest of its settings, adds what was found to the JSON file, and writes the table between the marks in
docs/performance.md: of each row the newest finding, for each type and kind of vectors apart. --table alone writes the table without measuring. Two hours on two cores with three pairs; nothing else should run meanwhile.
"""
import argparse, json, pathlib, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = [  # what, more arguments, its name in the table, wanted
    ("pretrain", ["--shape", "char"], "pre-training, `char` (11 M weights, context 256, batch 16), tokens/s", "1.3×"),
    ("pretrain", ["--shape", "small"], "pre-training, `small` (29 M, context 512, batch 8), tokens/s", "1.3×"),
    ("pretrain", ["--shape", "gpt2"], "pre-training, `gpt2` (124 M, context 512, batch 4), tokens/s", "1.3×"),
    ("sft", [], "SFT, 30 M weights, HH dialogues up to 256 tokens, batch 8, real tokens/s", "2×"),
    ("reward", [], "reward training, the same, pairs/s", "2.5×"),
    ("generate", ["--batch", "1"], "generation, 64 new tokens, batch 1, tokens/s", ""),
    ("generate", ["--batch", "8"], "batch 8", ""),
    ("generate", ["--batch", "32"], "batch 32", "5×"),
    ("generate", ["--batch", "128"], "batch 128", ""),
    *[("generate", ["--batch", n, "--weights", "int8"], f"batch {n}, `--weights int8`", wanted) for n, wanted in [("1", ""), ("8", ""), ("32", "5×"), ("128", "")]],
    ("ppo", [], "PPO, equal work (separate value network, 4 passes), episodes/s", "2.5×"),
    ("ppo-default", [], "PPO, our default objective, episodes/s", "4×"),
]
TABLES = {  # the mark of each table: its type and vectors
    "table": ("bfloat16", "AVX-512"),
    "AMX table": ("bfloat16", "AMX"),
    "AVX-512 float32 table": ("float32", "AVX-512"),
    "float32 table": ("float32", "AVX2"),
}


def key(what, shape, batch, weights):
    return what, shape if what == "pretrain" else None, batch if what == "generate" else None, weights


def row_key(row):
    options = dict(zip(row[1][::2], row[1][1::2]))
    return key(row[0], options.get("--shape"), int(options.get("--batch", 0)) or None, options.get("--weights", "float"))


def table(records, dtype):
    newest = {key(r["what"], r["shape"], r["batch"], r.get("weights", "float")): r for r in records}
    lines = [f"| work | ours | peer | ratio | memory | share of the {dtype} peak, ours and peer | pairs, day | wanted |", "|---|---|---|---|---|---|---|---|"]
    number = lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.3g}"
    for row in ROWS:
        r = newest.get(row_key(row))
        if r is None and "--weights" in row[1]:
            continue  # an option, said where it was measured
        if r is None:
            lines.append(f"| {row[2]} | not measured | | | | | | {row[3]} |")
            continue
        ratio = statistics.median(r["ratios"])
        spread = f" ({min(r['ratios']):.2f} to {max(r['ratios']):.2f})" if len(r["ratios"]) > 1 else ""
        share = ""
        if r["peer_share_of_peak"] and dtype in r["peer_setting"]:
            share = f"{r['peer_share_of_peak'] * r['ratios'][-1]:.2f}, {r['peer_share_of_peak']:.2f}"
        peer = f"{number(statistics.median(r['peer']))} ({r['peer_setting']})" if r["peer_setting"] else number(statistics.median(r["peer"]))
        lines.append(f"| {row[2]} | {number(statistics.median(r['ours']))} | {peer} | **{ratio:.2f}×**{spread} | {statistics.median(r['memory']):.2f}× "
                     f"| {share} | {len(r['ratios'])}, {r['date'][:10]} | {row[3]} |")
    return "\n".join(lines)


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--peers", type=pathlib.Path)
p.add_argument("--pairs", default="3")
p.add_argument("--only", nargs="*", help="works, as compare.py names them")
p.add_argument("--jemalloc")
p.add_argument("--dtype", choices=["bfloat16", "float32"], help="as compare.py's")
p.add_argument("--json", type=pathlib.Path, default=ROOT / "docs/performance/results.jsonl")
p.add_argument("--table", action="store_true", help="write the table from what is there, without measuring")
a = p.parse_args()
if not a.table:
    if a.peers is None:
        p.error("--peers names the folder with the peers' venv and scripts")
    for what, more, _, _ in ROWS:
        if a.only and what not in a.only:
            continue
        command = [sys.executable, ROOT / "scripts/bench/compare.py", what, *more, "--peers", a.peers, "--pairs", a.pairs, "--json", a.json, "--try-settings"]
        command += ["--jemalloc", a.jemalloc] if a.jemalloc else []
        command += ["--dtype", a.dtype] if a.dtype else []
        print(" ".join(map(str, command[1:])), flush=True)
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
page = ROOT / "docs/performance.md"
text = page.read_text()
records = [json.loads(line) for line in open(a.json)]
for name, (dtype, vectors) in TABLES.items():
    first, last = f"<!-- {name}: scripts/bench/performance.py -->", f"<!-- end of {name} -->"
    begin, end = text.index(first) + len(first), text.index(last)
    found = [r for r in records if (r["dtype"], r["vectors"]) == (dtype, vectors)]
    text = text[:begin] + "\n" + (table(found, dtype) + "\n" if found else "") + text[end:]
page.write_text(text)
