"""Figures of sacrebleu, rouge-score, scikit-learn and scipy for evaluate/tests/golden/metrics.json.

    python scripts/reference/metrics.py

It needs a Python of its own: pip install sacrebleu==2.6.0 rouge-score==0.1.2 scikit-learn==1.9.1 scipy==1.17.1
"""
import json, pathlib, random, warnings
import sacrebleu
from rouge_score import rouge_scorer
from scipy import stats
from sklearn import metrics

warnings.simplefilter("ignore")
OUT = pathlib.Path(__file__).resolve().parents[2] / "evaluate" / "tests" / "golden" / "metrics.json"
draw = random.Random(7)

ENGLISH = [
    ("The cat sat on the mat, at 3.14 o'clock.", ["The cat sat on a mat at 3.14 o'clock.", "A cat was sitting on the mat (at 3,14)."]),
    ("It's 10-fold &quot;better&quot; than 5,000 others...", ["It is 10-fold \"better\" than 5,000 others.", "That is ten times better."]),
    ("Rain.", ["Rain fell all day in the hills."]),
    ("{a} [b] `c` <skipped>x/y@z; 50% & more!", ["{a} [b] `c` x/y @ z ; 50 % & more !", "nothing alike"]),
    ("", ["An empty line was translated."]),
    ("élan, “quoted” — and a naïve co-\noperation", ["élan, “quoted” — and a naïve cooperation"]),
]
CHINESE = [
    ("我昨天去了北京。", ["昨天我去了北京。"]),
    ("他说：“Hello, world 3.5”", ["他说：“Hello world 3.5”。", "他讲 Hello"]),
    ("猫坐在垫子上", ["那只猫坐在垫子上"]),
]
SUMMARIES = [
    ("The cat sat on the mat.\nIt was raining outside.", ["A cat sat on a mat.\nOutside it was raining cats and dogs."]),
    ("police killed the gunman", ["the gunman was shot down by police", "police ended the gunman"]),
    ("a b c d c b a", ["a c b d a b c\nb c"]),
    ("", ["something"]),
    ("Ünïcode wörds & 42 numbers", ["unicode words and 42 numbers"]),
]


def bleu(rows, tokenize):
    depth = max(len(r) for _, r in rows)
    streams = [[r[i] if i < len(r) else None for _, r in rows] for i in range(depth)]
    score = sacrebleu.corpus_bleu([t for t, _ in rows], streams, tokenize=tokenize)
    return {"score": score.score, "precisions": score.precisions, "brevity_penalty": score.bp, "system_tokens": score.sys_len, "reference_tokens": score.ref_len}


def rouge(rows):
    names = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = rouge_scorer.RougeScorer(names)
    scores = [scorer.score_multi(references, text) for text, references in rows]
    return {name: sum(s[name].fmeasure for s in scores) / len(scores) for name in names}


def classes(rows):
    said, right = [a for a, _ in rows], [b for _, b in rows]
    names = sorted(set(said) | set(right))
    p, r, f, n = metrics.precision_recall_fscore_support(right, said, labels=names, zero_division=0)
    return {"accuracy": metrics.accuracy_score(right, said), "macro_f1": metrics.f1_score(right, said, labels=names, average="macro", zero_division=0),
            "weighted_f1": metrics.f1_score(right, said, labels=names, average="weighted", zero_division=0), "matthews": metrics.matthews_corrcoef(right, said),
            "classes": [{"name": c, "precision": a, "recall": b, "f1": d, "support": int(e)} for c, a, b, d, e in zip(names, p, r, f, n)]}


def labelled(labels, weights, n, agree):
    right = draw.choices(labels, weights, k=n)
    return [[b if draw.random() < agree else draw.choice(labels), b] for b in right]


cases = {"bleu": [], "rouge": [], "classes": [], "correlation": []}
for rows, tokenize in [(ENGLISH, "13a"), (ENGLISH, "none"), (ENGLISH, "char"), (ENGLISH[2:5], "13a"), (CHINESE, "zh"), (CHINESE, "char"), (CHINESE, "13a"), ([("x y", ["a b"])], "13a")]:
    cases["bleu"].append({"rows": rows, "tokenize": tokenize, "expected": bleu(rows, tokenize)})
cases["rouge"].append({"rows": SUMMARIES, "expected": rouge(SUMMARIES)})
cases["rouge"].append({"rows": ENGLISH, "expected": rouge(ENGLISH)})
for rows in [labelled(["0", "1"], [3, 1], 60, 0.6), labelled(["cat", "dog", "emu"], [5, 3, 1], 50, 0.5), [["a", "b"], ["a", "a"], ["c", "a"]], [["a", "a"], ["a", "b"]]]:
    cases["classes"].append({"rows": rows, "expected": classes(rows)})
noisy = [[x, round(x / 3 + draw.gauss(0, 4))] for x in range(25)]
for rows in [noisy, [[1, 2], [2, 2], [3, 1], [3, 5]], [[0.5, -1.0], [0.25, 3.0]]]:
    a, b = [r[0] for r in rows], [r[1] for r in rows]
    cases["correlation"].append({"rows": rows, "expected": {"pearson": float(stats.pearsonr(a, b)[0]), "spearman": float(stats.spearmanr(a, b)[0])}})
OUT.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
