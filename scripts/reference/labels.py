"""Golden numbers for `label stats`, from pandas, scipy and the package krippendorff.

    python scripts/reference/labels.py         writes label/tests/golden/labels.json

A made-up crowd of seven judges: some look closely, some do not, one ties much. Items of three to five answers, some in groups of two; each judge sees
a part of them (missing values), gives scores (so ranks with ties), the answers in an order of the judge's own, and a few items twice.

The file holds the rows, and what the references make of them: pairwise agreement with and without ties, Krippendorff's alpha (ordinal) of
verdicts, ranks and scores, the mean of Kendall's tau-b, the mean of Kendall's W (from scipy's Friedman statistic, which has the same
correction for ties), the length and position biases, quartiles of the time; and bootstrap intervals of agreement and alpha that compute the
statistic anew on every resample of the groups.
"""
import itertools, json, pathlib
import krippendorff, numpy as np, pandas as pd, scipy.stats

ROOT = pathlib.Path(__file__).resolve().parents[2]
draw = np.random.default_rng(4)
JUDGES = {"ann": 0.4, "bob": 0.6, "cyd": 0.8, "dov": 1.0, "eve": 1.5, "fay": 3.0, "gus": 0.7}

rows = []
for item in range(60):
    k = int(draw.integers(3, 6))
    worth = draw.normal(size=k)
    lengths = draw.permutation(np.arange(1, 40))[:k]
    texts = [f"{item}.{i} " + "é" * int(n) for i, n in enumerate(lengths)]
    for judge, noise in JUDGES.items():
        for _ in range(int(draw.choice([0, 1, 2], p=[0.45, 0.5, 0.05]))):
            grain = 2.0 if judge == "gus" else 0.7
            seen = np.floor((worth + noise * draw.normal(size=k)) / grain)
            order = draw.permutation(k)
            rows.append({
                "item": f"i{item}", "group": f"g{item // 2}", "prompt": f"prompt {item}", "judge": judge,
                "answers": [texts[i] for i in order], "scores": [float(seen[i]) for i in order],
                "shown": [int(x) for x in draw.permutation(k)], "seconds": round(float(draw.lognormal(3.0, 0.8)), 2),
            })

def verdicts():
    """One line for each pair of answers of each row: +1 where the first text (in order of the alphabet) is better."""
    out = []
    for number, row in enumerate(rows):
        for i, j in itertools.combinations(range(len(row["answers"])), 2):
            if row["answers"][i] > row["answers"][j]:
                i, j = j, i
            a, b = row["answers"][i], row["answers"][j]
            out.append((number, row["group"], row["item"], row["judge"], a, b, int(np.sign(row["scores"][i] - row["scores"][j])),
                        int(np.sign(len(a) - len(b))), int(np.sign(row["shown"][j] - row["shown"][i]))))
    return pd.DataFrame(out, columns=["row", "group", "item", "judge", "a", "b", "verdict", "longer", "earlier"])

V = verdicts()

def agreement(frame, of=("group",)):
    """Right and all comparisons of two judges, each by the first verdict on a pair."""
    first = frame.drop_duplicates(["a", "b", "judge"])
    both = first.merge(first, on=["group", "a", "b"])
    both = both[both["judge_x"] < both["judge_y"]]
    return both.assign(same=both["verdict_x"] == both["verdict_y"]).groupby("group")["same"].agg(["sum", "count"])

def alpha(units):
    """Ordinal alpha of a list of lists of values."""
    width = max(map(len, units))
    table = np.array([list(u) + [np.nan] * (width - len(u)) for u in units], dtype=float).T
    return krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")

def units_of_ranks():
    by_group = {}
    frame = pd.DataFrame(rows).drop_duplicates(["item", "judge"])
    for (group, _), item in frame.groupby(["group", "item"], sort=False):
        if len(item) < 2:
            continue
        texts = sorted(item["answers"].iloc[0])
        for text in texts:
            ranks, scores = [], []
            for _, row in item.iterrows():
                at = row["answers"].index(text)
                ranks.append(float(scipy.stats.rankdata([-s for s in row["scores"]])[at]))
                scores.append(row["scores"][at])
            by_group.setdefault(group, []).append((ranks, scores))
    return by_group

RANKS = units_of_ranks()
PAIRS = {}
for (group, a, b), pair in V.drop_duplicates(["a", "b", "judge"]).groupby(["group", "a", "b"]):
    if len(pair) > 1:
        # In both directions: which of two answers is called the first must not matter.
        PAIRS.setdefault(group, []).extend([list(pair["verdict"]), list(-pair["verdict"])])

def correlations():
    taus, undefined, ws = [], 0, []
    frame = pd.DataFrame(rows).drop_duplicates(["item", "judge"])
    for _, item in frame.groupby("item", sort=False):
        texts = sorted(item["answers"].iloc[0])
        scores = [[row["scores"][row["answers"].index(t)] for t in texts] for _, row in item.iterrows()]
        for x, y in itertools.combinations(scores, 2):
            tau = scipy.stats.kendalltau(x, y).statistic
            if np.isnan(tau):
                undefined += 1
            else:
                taus.append(tau)
        if len(scores) > 1 and any(len(set(s)) > 1 for s in scores):
            chi = scipy.stats.friedmanchisquare(*np.array(scores).T).statistic
            ws.append(chi / (len(scores) * (len(texts) - 1)))
    return taus, undefined, ws

def bootstrap(groups, statistic, resamples=2000):
    draw = np.random.default_rng(7)
    values = [statistic([groups[i] for i in draw.integers(0, len(groups), len(groups))]) for _ in range(resamples)]
    return [float(np.quantile(values, q)) for q in (0.025, 0.975)]

def share(frame):
    """Half for 0."""
    return [float((frame == 1).sum() + (frame == 0).sum() / 2), int(len(frame))]

strict, three = agreement(V[V["verdict"] != 0]), agreement(V)
told = V[V["verdict"] != 0]
votes = told.drop_duplicates(["a", "b", "judge"]).groupby(["a", "b"]).agg(net=("verdict", "sum"), longer=("longer", "first"))
votes = votes[votes["net"] != 0]
taus, undefined, ws = correlations()
seconds = pd.Series([row["seconds"] for row in rows])
flat = lambda groups, i: [u[i] for units in groups.values() for u in units]
ratio = lambda groups: sum(g[0] for g in groups) / sum(g[1] for g in groups)
expected = {
    "strict": {"value": float(strict["sum"].sum() / strict["count"].sum()), "n": int(strict["count"].sum()),
               "ci": bootstrap(strict.values.tolist(), ratio)},
    "with_ties": {"value": float(three["sum"].sum() / three["count"].sum()), "n": int(three["count"].sum())},
    "tied": float((V["verdict"] == 0).mean()),
    "alpha_pairs": {"value": alpha([u for units in PAIRS.values() for u in units]),
                    "ci": bootstrap(list(PAIRS.values()), lambda gs: alpha([u for g in gs for u in g]), 400)},
    "alpha_ranks": {"value": alpha(flat(RANKS, 0)),
                    "ci": bootstrap(list(RANKS.values()), lambda gs: alpha([u[0] for g in gs for u in g]), 400)},
    "alpha_scores": {"value": alpha(flat(RANKS, 1))},
    "tau_b": {"value": float(np.mean(taus)), "n": len(taus), "undefined": undefined},
    "w": {"value": float(np.mean(ws)), "n": len(ws)},
    "longer": share(told["verdict"] * told["longer"]),
    "longer_majority": share(np.sign(votes["net"]) * votes["longer"]),
    "earlier": share(told["verdict"] * told["earlier"]),
    "seconds": [float(seconds.quantile(q)) for q in (0.25, 0.5, 0.75)],
    "too_fast": float((seconds < seconds.median() / 3).mean()),
}
out = ROOT / "label" / "tests" / "golden" / "labels.json"
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps({"rows": rows, "expected": expected}, ensure_ascii=False) + "\n")
print(json.dumps(expected, indent=1))
