#!/usr/bin/env python3
"""Counts of the real files that label/tests/readers/real.rs asserts, by pandas and json alone: label_counts.py [DATA]."""
import collections, glob, gzip, itertools, json, os, re, sys

import pandas as pd

DATA = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RLHF_DATA", "../shared/data")


def table(path):
    return pd.read_csv(f"{DATA}/{path}", dtype=str, keep_default_na=False)


def pairs(rows, names):
    """Pairs of answers and tied pairs over columns of scores."""
    n = tied = 0
    for a, b in itertools.combinations(names, 2):
        n, tied = n + len(rows), tied + int((rows[a].astype(float) == rows[b].astype(float)).sum())
    return n, tied


def items(prompts, answers):
    return len({(prompt, tuple(sorted(texts))) for prompt, texts in zip(prompts, answers)})


for name, score in [("quality", "quality"), ("naturalness", "natur")]:
    rows = table(f"r02-e2e-rankme-k5/{name}.csv")
    refs = [f"ref{i}" for i in range(1, 6)]
    print(name, "rows", len(rows), "items", items(rows.mr, rows[refs].values), "judges", rows._worker_id.nunique(), "pairs, ties",
          pairs(rows, [f"{score}{i}" for i in range(1, 6)]))
for path in sorted(glob.glob(f"{DATA}/r03-rankme-naacl18-k3/*.csv")):
    rows = table(os.path.relpath(path, DATA))
    refs = [c for c in rows if c.startswith("ref")]
    found = {a: pairs(rows, [f"{a}{i}" for i in (1, 2, 3)]) for a in ("informativeness", "naturalness", "quality", "inf") if f"{a}1" in rows}
    print(os.path.basename(path), "rows", len(rows), "items", items(rows.mr, rows[refs].values), "judges", rows._worker_id.nunique(), found)
rows = table("r06-tulu-human-eval/eval_annotations_tulu_1.csv")
rows["models"] = [frozenset(pair) for pair in rows[["model_a", "model_b"]].values]
last = rows.drop_duplicates(["instance_id", "models", "evaluator"], keep="last")
print("tulu rows", len(rows), "items", items(rows.prompt, rows[["completion_a", "completion_b"]].values), "judges", rows.evaluator.nunique(),
      dict(rows.preference.value_counts()), "last of each judge", len(last), "ties", int((last.preference == "tie").sum()))
shown = [json.loads(line) for line in open(f"{DATA}/r06-tulu-human-eval/eval_instances_tulu_1.jsonl")]
print("tulu instances", len(shown), "items", items([x["prompt"] for x in shown], [[c["completion"] for c in x["completions"]] for x in shown]))
rows = json.load(open(f"{DATA}/r07-pandalm-3annotators/testset-v1.json"))
text = lambda value: value if isinstance(value, str) else json.dumps(value)
both = [[text(x["response1"]), text(x["response2"])] for x in rows]
votes = collections.Counter(x[f"annotator{i}"] for x in rows for i in (1, 2, 3))
print("pandalm rows", len(rows), "judgments", votes.total(), "ties", votes[0], "items", items([(x["instruction"], x["input"]) for x in rows], both),
      "with an empty answer", sum(not all(t.strip() for t in pair) for pair in both), "truth values",
      sum(isinstance(x[k], bool) for x in rows for k in x))
for name in ("gpt2_medium", "t5_xxl_c4"):
    rows = table(f"r10-rankgen-mturk/{name}.csv")
    first = rows["Answer.utterance"].str.lower().str.match(r"text 1\b").sum()
    print(name, "rows", len(rows), "items", items(rows["Input.Prefix"], rows[["Input.First", "Input.Second"]].values), "judges", rows.WorkerId.nunique(),
          "text 1", first, "text 2", rows["Answer.utterance"].str.lower().str.match(r"text 2\b").sum())
for path in sorted(glob.glob(f"{DATA}/r12-llmbar/*.json")):
    rows = json.load(open(path))
    print(os.path.basename(path), "rows", len(rows), "items", items([x["input"] for x in rows], [[x["output_1"], x["output_2"]] for x in rows]))
rows = [json.loads(line) for line in gzip.open(f"{DATA}/r14-hh-rlhf-harmless-test/test.jsonl.gz")]
split = [[re.split(r"\n\n(Human|Assistant):", x[k]) for k in ("chosen", "rejected")] for x in rows]
different = [i + 1 for i, (a, b) in enumerate(split) if [t.strip() for t in a[:-1]] != [t.strip() for t in b[:-1]]]
print("hh rows", len(rows), "differ before the last turn", different, "with an empty answer",
      sum(not a[-1].strip() or not b[-1].strip() for a, b in split), "equal", sum(x["chosen"] == x["rejected"] for x in rows))
for name in ("en_100_tree", "en_100_message"):
    groups, roles = collections.Counter(), collections.Counter()

    def walk(message):
        roles[message["role"]] += 1
        replies = [r for r in message["replies"] if r["role"] == "assistant"]
        ranks = [r["rank"] for r in replies if r.get("rank") is not None]
        if replies:
            groups["single" if len(replies) == 1 else "ranked" if len(ranks) > 1 else "unranked"] += 1
            groups["unranked replies beside ranked ones"] += len(replies) - len(ranks) if len(ranks) > 1 else 0
            groups["pairs"] += len(ranks) * (len(ranks) - 1) // 2 if len(replies) > 1 else 0
        for reply in message["replies"]:
            walk(reply)

    for line in open(f"{DATA}/r01-oasst-trees-en100/{name}.jsonl"):
        tree = json.loads(line)
        walk(tree.get("prompt", tree))
    print(name, dict(groups), dict(roles))
for path in sorted(glob.glob(f"{DATA}/q01-oasst-prompts/*.jsonl")):
    rows = [json.loads(line) for line in open(path)]
    print(os.path.basename(path), "prompts", len(rows), "distinct", len(set(rows)))
