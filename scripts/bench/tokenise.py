#!/usr/bin/env python3
"""Tokenising a large text and writing its tokens to the disk, beside Hugging Face `datasets` with `tokenizers`: alternating runs, MB/s, peak memory.

    scripts/bench/tokenise.py --python PYTHON [--mb 1000] [--runs 2] [--data ../shared/data] [--keep DIR] [--only ours|peer]

PYTHON has datasets and tokenizers. Build first (cargo build --release -p pretrain). The text is made of real paragraphs in five parts (plays, stories,
news, dialogues, a Chinese novel, English-Chinese sentence pairs), over and over in another order each time. So that a memory of words has no easy
game, letters change places: one pair in 300 letters of ASCII (2% of the English words are new ones) and one in ten of the others (nearly every
Chinese clause is new). Ours is `pretrain` from an empty cache to the end of one step of a tiny model; the peer is `load_dataset("text")` and
`.map(batched=True)` with two processes or with the library's own threads, whichever was faster on the first 3% of the text. Memory is the peak of the
process tree's anonymous memory (pages of mapped files are the system's).
"""
import argparse, gzip, json, os, pathlib, random, shutil, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]

PEER = """
import sys, time
from datasets import Features, List, Value, load_dataset
from tokenizers import Tokenizer
text, tokenizer, cache, way = sys.argv[1:]
def tokens(rows):
    global t
    if "t" not in globals():
        t = Tokenizer.from_file(tokenizer)
    return {"ids": [e.ids for e in t.encode_batch_fast(rows["text"], add_special_tokens=False)]}
data = load_dataset("text", data_files=text, split="train", cache_dir=cache, keep_linebreaks=True)
more = {"num_proc": 2} if way == "processes" else {}
data = data.map(tokens, batched=True, remove_columns=["text"], features=Features({"ids": List(Value("uint16"))}), **more)
print(len(data))
"""


def paragraphs(data):
    """Paragraphs of real text by part."""
    def blocks(*names):
        return [b for name in names for b in (data / name).read_text(encoding="utf-8").replace("<|endoftext|>", "").split("\n\n") if b.strip()]
    lines = lambda name: (data / name).read_text(encoding="utf-8").splitlines()
    dialogues = (json.loads(line)["chosen"] for line in gzip.open(data / "r14-hh-rlhf-harmless-test/test.jsonl.gz", "rt", encoding="utf-8"))
    return [
        *blocks("p01-tinyshakespeare/input.txt", "p05-onestopenglish/Adv-Txt.txt", "p05-onestopenglish/Ele-Txt.txt", "t07-bpe-trainer-golden/corpus.en"),
        *lines("p02-tinystories-944k/tiny_stories.txt"),
        *lines("p07-hongloumeng-zh/hongloumeng.txt"),
        *("\t".join(line.split("\t")[:2]) for line in lines("c08-tatoeba-en-zh/cmn.txt")),
        *(d.strip() for d in dialogues),
    ]


def build(path, data, size, seed=1):
    """Writes `size` bytes and more of text; returns the bytes of the paragraphs as they were and those written."""
    parts, rng, written = [p for p in paragraphs(data) if p.strip()], random.Random(seed), 0
    once = sum(len(p.encode()) + 1 for p in parts)
    with open(path, "wb") as out:
        while written < size:
            rng.shuffle(parts)
            for part in parts:
                letters = list(part)
                plain = sum(c < "\x80" for c in part) if not part.isascii() else len(part)
                for _ in range(int(plain / 300 + (len(part) - plain) / 10 + rng.random())):
                    i = int(rng.random() * (len(letters) - 1))
                    if len(letters) > 1 and letters[i].isalpha() and letters[i + 1].isalpha():
                        letters[i], letters[i + 1] = letters[i + 1], letters[i]
                written += out.write(("".join(letters) + "\n\n").encode())
                if written >= size:
                    break
    return once, written


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            found += map(int, pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except OSError:
            pass
    return found


def anonymous(pid):
    """MiB of anonymous and shared memory of a process."""
    try:
        rows = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        return sum(int(rows.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem")) / 1024
    except (OSError, ValueError):
        return 0.0


def run(command, **more):
    """Runs a command to its end; returns seconds and the peak MiB of its process tree."""
    start, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=err, cwd=ROOT, **more)
        while child.poll() is None:
            peak = max(peak, sum(map(anonymous, tree(child.pid))))
            time.sleep(0.1)
        err.seek(0)
        if child.returncode:
            sys.exit(f"{command[0]} failed:\n{err.read()[-3000:]}")
    return time.perf_counter() - start, peak


def ours(work, text):
    config, out, cache = work / "pretrain.toml", work / "run", work / "shards"
    for folder in (out, cache):
        shutil.rmtree(folder, ignore_errors=True)
    config.write_text(f"""
[model]
layers = 1
heads = 1
width = 16
context = 32
[tokenizer]
kind = "file"
path = "{work}/tokenizer.json"
[data]
cache = "{cache}"
[[data.sources]]
path = "{text}"
[train]
steps = 1
batch = 1
[eval]
at_start = false
max_rows = 1
[checkpoint]
every = 0
keep_best = false
""")
    return run([ROOT / "target/release/pretrain", "--config", config, "--out", out])


def peer(a, work, text, way):
    cache = work / "hf"
    shutil.rmtree(cache, ignore_errors=True)
    env = os.environ | {"TOKENIZERS_PARALLELISM": "false" if way == "processes" else "true", "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1",
                        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    took = run([a.python, "-c", PEER, text, work / "tokenizer.json", cache, way], env=env)
    shutil.rmtree(cache, ignore_errors=True)
    return took


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--python", required=True)
p.add_argument("--mb", type=int, default=1000)
p.add_argument("--runs", type=int, default=2)
p.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
p.add_argument("--keep", type=pathlib.Path, help="keep the text and the work here")
p.add_argument("--only", choices=["ours", "peer"])
a = p.parse_args()
a.data = a.data.resolve()
with tempfile.TemporaryDirectory() as folder:
    work = (a.keep or pathlib.Path(folder)).resolve()
    work.mkdir(parents=True, exist_ok=True)
    gpt2 = a.data / "t01-gpt2-bpe"
    make = """
import sys
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
t = Tokenizer(models.BPE.from_file(sys.argv[1], sys.argv[2]))
t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
t.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
t.save(sys.argv[3])
"""
    subprocess.run([a.python, "-c", make, gpt2 / "encoder.json", gpt2 / "vocab.bpe", work / "tokenizer.json"], check=True)
    text, sample = work / f"text-{a.mb}.txt", work / f"text-{a.mb}-sample.txt"
    if not text.exists():
        once, written = build(text, a.data, a.mb * 10**6)
        print(json.dumps({"text_mb": written / 1e6, "paragraphs_mb": round(once / 1e6, 1), "times_over": round(written / once, 1)}), flush=True)
    with open(text, "rb") as whole:
        sample.write_bytes(whole.read(max(20, a.mb * 3 // 100) * 10**6).rsplit(b"\n", 1)[0])
    size = text.stat().st_size / 1e6
    report = lambda who, mb, took: print(json.dumps({"who": who, "mb": round(mb), "s": round(took[0], 2), "mb_per_s": round(mb / took[0], 2), "peak_mib": round(took[1])}), flush=True)
    way = None
    if a.only != "ours":
        tried = {way: peer(a, work, sample, way) for way in ("processes", "threads")}
        for name, took in tried.items():
            report(f"peer, {name}", sample.stat().st_size / 1e6, took)
        way = min(tried, key=lambda name: tried[name][0])
    ratios = []
    for i in range(a.runs):
        results = {}
        for who in ("ours", "peer") if i % 2 == 0 else ("peer", "ours"):
            if a.only in (None, who):
                results[who] = ours(work, text) if who == "ours" else peer(a, work, text, way)
                report(who, size, results[who])
        if len(results) == 2:
            ratios.append(results["peer"][0] / results["ours"][0])
    if ratios:
        print(f"{statistics.median(ratios):.2f}x the peer's MB/s (from {min(ratios):.2f} to {max(ratios):.2f}, {a.runs} pairs)")
