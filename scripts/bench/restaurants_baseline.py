#!/usr/bin/env python3
"""A logistic regression as the bar for the restaurants' reward models, on the very same split: restaurants_baseline.py BINARIES [--seed N] [--characters]

Twice: all judges alike, and each pair weighed by its judge's reliability (`label stats --weigh` of the training side).

Features of an answer: counts of words, word pairs and word triples, length, and what `recipes e2e score` counts (slots said, missing, wrong, made up); with
--characters also counts of strings of two to six characters, the names of the meaning left out.
A pair's features are the difference of its answers'. Strength of the penalty: cross-validation by meaning within the training side.
Both as the reward models' `accuracy` (each judge's each pair) and `majority_accuracy` (each pair of answers whose judges are not evenly divided).
Needs numpy, scipy, pyarrow, scikit-learn; run from the project's folder after `scripts/pipeline.sh configs/restaurants` (prepare.sh's data are enough).
"""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import pyarrow.ipc as ipc
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold


def rankings(path):
    return ipc.open_file(path).read_all().select(["group", "prompt", "answers", "ranks", "weight"]).to_pylist()


def nameless(meaning, answer):
    """The answer with marks instead of the meaning's names."""
    for slot in ("name", "near"):
        found = re.search(rf"{slot}\[\s*(.*?)\]", meaning)
        answer = answer.replace(found.group(1), slot.upper()) if found else answer
    return answer


def validated(model, x, label, weights, groups):
    """Share of pairs ordered rightly in five folds by meaning; judges are weighed in learning alone."""
    right = [(model.fit(x[a], label[a], sample_weight=weights[a]).predict(x[b]) == label[b]) for a, b in GroupKFold(5).split(x, groups=groups)]
    return np.concatenate(right).mean()


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("binaries", type=pathlib.Path)
    args.add_argument("--seed", default="1")
    args.add_argument("--characters", action="store_true")
    args = args.parse_args()
    for aspect, config in (("quality", "reward"), ("naturalness", "reward-naturalness")):
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            recipes = [args.binaries / "recipes"]
            split = ["judgments", "split", "--config", f"configs/restaurants/{config}.toml", "--seed", args.seed]
            subprocess.run(recipes + split + ["--train", tmp / "train.arrow", "--heldout", tmp / "heldout.arrow"], check=True, stdout=subprocess.DEVNULL)
            weigh = [args.binaries / "label", "stats", tmp / "train.arrow", "--weigh", tmp / "weighed.arrow"]
            subprocess.run(weigh, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            sides = [rankings(tmp / "train.arrow"), rankings(tmp / "heldout.arrow"), rankings(tmp / "weighed.arrow")]
            answers = sorted({(r["prompt"][0]["content"], a) for side in sides for r in side for a in r["answers"]})
            (tmp / "samples.jsonl").write_text("".join(json.dumps({"prompt": p, "response": a}) + "\n" for p, a in answers))
            score = ["e2e", "score", "--in", tmp / "samples.jsonl", "--out", tmp / "scored.jsonl"]
            subprocess.run(recipes + score, check=True, stdout=subprocess.DEVNULL)
            scored = [json.loads(line) for line in open(tmp / "scored.jsonl")]
        place = {key: i for i, key in enumerate(answers)}
        words = CountVectorizer(ngram_range=(1, 3), min_df=3, token_pattern=r"[^\s]+").fit_transform([a for _, a in answers])
        if args.characters:
            strings = CountVectorizer(analyzer="char", ngram_range=(2, 6), min_df=3, lowercase=False).fit_transform([nameless(p, a) for p, a in answers])
            words = hstack([words, 0.6 * strings])
        counted = [[s["coverage"], len(s["missing"]), len(s["wrong"]), len(s["invented"]), s["slot_error"], s["words"] / 10, s["repeated"]] for s in scored]
        features = hstack([words, csr_matrix(counted)]).tocsr()

        def pairs(side):
            left, right, weight, group = [], [], [], []
            for r in side:
                at = [place[r["prompt"][0]["content"], a] for a in r["answers"]]
                for i in range(len(at)):
                    for j in range(len(at)):
                        if r["ranks"][i] < r["ranks"][j]:
                            left.append(at[i]), right.append(at[j]), weight.append(r["weight"]), group.append(r["group"])
            return left, right, features[left] - features[right], np.array(weight), np.array(group)

        held_left, held_right, held, _, held_group = pairs(sides[1])
        votes = {}
        for l, r in zip(held_left, held_right):
            votes[min(l, r), max(l, r)] = votes.get((min(l, r), max(l, r)), 0) + (1 if l < r else -1)
        for name, side in (("judges alike", sides[0]), ("judges weighed", sides[2])):
            _, _, x, weight, group = pairs(side)
            both, label = vstack([x, -x]).tocsr(), np.r_[np.ones(x.shape[0]), np.zeros(x.shape[0])]
            groups, weights = np.r_[group, group], np.r_[weight, weight]
            model = lambda c: LogisticRegression(C=c, fit_intercept=False, max_iter=2000)
            found = {c: validated(model(c), both, label, weights, groups) for c in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)}
            best = max(found, key=found.get)
            fitted = model(best).fit(both, label, sample_weight=weights)
            right = fitted.decision_function(held) > 0
            said = fitted.decision_function(features)
            sided = [(said[l] > said[r]) == (vote > 0) for (l, r), vote in votes.items() if vote != 0]
            rng, names = np.random.default_rng(0), np.unique(held_group)
            by = [right[held_group == n] for n in names]
            means = [np.concatenate([by[i] for i in rng.integers(0, len(by), len(by))]).mean() for _ in range(1000)]
            low, high = np.percentile(means, [2.5, 97.5])
            print(f"{aspect}, {name}: {right.mean():.1%} [{low:.1%}, {high:.1%}] of {len(right)} unseen pairs (C = {best}, {found[best]:.1%} in cross-validation), "
                  f"{np.mean(sided):.1%} of {len(sided)} majorities", flush=True)


main()
