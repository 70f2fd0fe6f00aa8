#!/usr/bin/env python3
"""Speed and memory beside the Python programs a user would run instead: alternating runs, median of the ratios.

    scripts/bench/compare.py --peers DIR pretrain|sft|reward|generate|ppo|ppo-default [--pairs 3] [--dtype float32] [--shape small] [--batch 32] [--weights int8] [--data ../shared/data]
        [--try-settings] [--settings WORD ...] [--jemalloc FILE] [--json FILE]

DIR holds the peers: a venv with torch 2.13.0, transformers 5.23.0 and trl 1.9.0, and the scripts pretrain_torch.py,
trl_stage.py and make_model.py. Build first (cargo build --release, and --example generation -p model for generate). Nothing else should run meanwhile. Prints one JSON line a run and
a summary; exit code 0 whatever the ratio, since this measures and does not judge. `--try-settings` runs the peer once in each of its settings (eager or compiled, packed or not, float32 or bfloat16, and
with `--jemalloc` its allocator too) and keeps the quickest. `--json` adds one line of the pairs to a file.
"""
import argparse, gzip, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROCESSOR = set(open("/proc/cpuinfo").read().split())
# Without its instructions bfloat16 takes the peers many times as long: it is not tried there.
TYPES = ["float32", "bfloat16"] if "avx512_bf16" in PROCESSOR else ["float32"]
VECTORS = {"float32": "AVX-512" if "avx512f" in PROCESSOR else "AVX2", "bfloat16": "AMX" if "amx_bf16" in PROCESSOR else "AVX-512"}
# As `precision = "auto"` has it (native::dense::prefers_bfloat16): Intel's instructions without AMX do half of float32's work in a cycle.
QUICKER = "bfloat16" if "amx_bf16" in PROCESSOR or {"avx512_bf16", "AuthenticAMD"} <= PROCESSOR else "float32"


def run(command, **more):
    """Runs a command to its end; returns its standard output, peak resident MiB and seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, cwd=ROOT, **more)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0), err.seek(0)
        if status:
            sys.exit(f"{command[0]} failed:\n{err.read()[-3000:]}")
        return out.read(), usage.ru_maxrss // 1024, time.perf_counter() - start


def settled(a, settings, run_peer):
    """The peer in the quickest of its settings, each a (name, arguments); only the first is tried unless --try-settings. `run_peer(arguments, env)` gives rate and MiB."""
    allocators = [("", {})]
    if a.jemalloc:
        conf = "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"
        allocators.append((" jemalloc", {"LD_PRELOAD": a.jemalloc, "MALLOC_CONF": conf}))
    every = [(name + more, arguments, {**os.environ, **env}) for name, arguments in settings for more, env in allocators]
    every = [setting for setting in every if all(word in setting[0] for word in a.settings)] or sys.exit(f"the peer has no setting with {' and '.join(a.settings)}")
    best = every[0]
    if a.try_settings:
        found = []
        for name, arguments, env in every:
            rate, mib = run_peer(arguments, env)
            found.append(rate)
            print(json.dumps({"what": a.what, "peer_setting": name, "peer": rate, "peer_mib": mib}), flush=True)
        best = every[found.index(max(found))]
    a.setting = best[0]
    return lambda: run_peer(best[1], best[2])


def steady(run_dir, key):
    """Median of a rate over the logged steps, the first quarter (at least two) left out as a warm-up."""
    rows = [json.loads(line) for line in open(run_dir / "metrics.jsonl")]
    values = [row[key] for row in rows if key in row]
    return statistics.median(values[max(1, len(values) // 4):])


SHAPES = {  # as in the peer: layers, heads, width, context, tokenizer, its least size, batch
    "char": (6, 6, 384, 256, 'kind = "char"', 65, 16),
    "small": (8, 8, 512, 512, "vocab_size = 8192", 8192, 8),
    "gpt2": (12, 12, 768, 512, 'kind = "file"\npath = "{work}/gpt2"', 50257, 4),  # the text is too short for so many pieces: GPT-2's own
}


def gpt2_tokenizer(a, work):
    """GPT-2's vocabulary as a tokenizer.json."""
    source = a.data / "t01-gpt2-bpe"
    code = f"""
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
t = Tokenizer(models.BPE.from_file({str(source / 'encoder.json')!r}, {str(source / 'vocab.bpe')!r}))
t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
t.add_special_tokens(["<|endoftext|>"])
t.save({str(work / 'gpt2/tokenizer.json')!r})
"""
    (work / "gpt2").mkdir()
    run([a.peers / "venv/bin/python", "-c", code])


def pretrain(a, work):
    config = work / "pretrain.toml"
    layers, heads, width, context, tokenizer, vocabulary, batch = SHAPES[a.shape]
    if a.shape == "gpt2":
        gpt2_tokenizer(a, work)
    config.write_text(f"""
[model]
layers = {layers}
heads = {heads}
width = {width}
context = {context}
[tokenizer]
{tokenizer.format(work=work)}
[data]
cache = "{work}/shards"
[[data.sources]]
path = "{a.data}/p02-tinystories-944k/tiny_stories.txt"
[[data.sources]]
path = "{a.data}/p05-onestopenglish/*-Txt.txt"
[optim]
beta2 = 0.95
[train]
steps = 16
batch = {batch}
[eval]
every = 0
at_start = false
max_rows = 8
[checkpoint]
every = 0
keep_best = false
""")
    def ours():
        out = work / "run"
        shutil.rmtree(out, ignore_errors=True)
        _, mib, _ = run([ROOT / "target/release/pretrain", "--config", config, "--out", out, "--set", f"precision={a.dtype}"])
        return steady(out, "tokens_per_s"), mib
    def peer(arguments, env):
        text, mib, _ = run([a.peers / "venv/bin/python", a.peers / "pretrain_torch.py", "--shape", a.shape, *arguments], env=env)
        found = json.loads(text.splitlines()[-1])
        a.peak = found["gemm_gflops"]
        a.peer_share = found["mfu"]
        return found["tokens_per_s"], mib
    ours()  # trains the tokenizer and writes the shards once
    found = json.load(open(work / "run/model/config.json"))["vocab_size"]
    if found < vocabulary:
        sys.exit(f"a vocabulary of {found}, where the peer has {vocabulary}: no fair pair")
    settings = [(f"{mode} {dtype}", ["--dtype", dtype, *more]) for dtype in types(a) for mode, more in (("eager", []), ("compiled", ["--compile"]))]
    return "tokens/s", ours, settled(a, settings, peer)


def hh_rows(path, tokenizer, limit, n):
    """Prompts of at most `limit` tokens with both answers, from Anthropic's HH test set."""
    sys.path.insert(0, str(ROOT))
    rows = []
    for line in gzip.open(path, "rt", encoding="utf-8"):
        pair = json.loads(line)
        cut = pair["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
        if pair["rejected"][:cut] != pair["chosen"][:cut]:
            continue
        prompt = pair["chosen"][:cut]
        if prompt and len(prompt) < 4 * limit:
            rows.append({"prompt": prompt, "chosen": pair["chosen"][cut:], "rejected": pair["rejected"][cut:]})
    return rows


def folders(a, work, least, most):
    """The peer's 30 M-parameter folders, and HH pairs whose prompts (`least` to `most` tokens) and texts (up to 256) both sides take whole."""
    python = a.peers / "venv/bin/python"
    text = a.data / "p05-onestopenglish/Adv-Txt.txt"
    for name, more in (("base", []), ("reward", ["--reward"])):
        run([python, a.peers / "make_model.py", "--text", text, "--out", work / name, *more])
    rows = hh_rows(a.data / "r14-hh-rlhf-harmless-test/test.jsonl.gz", None, most, 4000)
    keep = f"""
import json, sys
from transformers import AutoTokenizer
t = AutoTokenizer.from_pretrained({str(work / 'base')!r})
size = lambda text: len(t(text)['input_ids'])
fits = lambda r: {least} <= size(r['prompt']) <= {most} and max(size(r['prompt'] + r[k]) for k in ('chosen', 'rejected')) <= 255
rows = [r for r in json.load(sys.stdin) if r['chosen'].strip() and r['rejected'].strip() and fits(r)][:320]
open({str(work / 'pairs.jsonl')!r}, 'w').write(''.join(json.dumps(r) + '\\n' for r in rows))
"""
    subprocess.run([str(python), "-c", keep], input=json.dumps(rows), text=True, check=True)
    return python


def stage(a, work, name, config, key):
    """Runs one of our stages and gives the steady rate and the peak memory."""
    (work / f"{name}.toml").write_text(f'precision = "{a.dtype}"\n' + config)
    def ours():
        out = work / "run"
        shutil.rmtree(out, ignore_errors=True)
        _, mib, _ = run([ROOT / f"target/release/{name}", "--config", work / f"{name}.toml", "--out", out])
        return steady(out, key), mib
    return ours


LEARN = """
[train]
steps = 12
batch = 8
[eval]
every = 0
at_start = false
max_rows = 8
valid_fraction = 0.05
[checkpoint]
every = 0
keep_best = false
"""


def peer_stage(a, python, arguments, key, settings):
    def peer(more, env):
        text, mib, _ = run([python, a.peers / "trl_stage.py", *arguments, *more], env=env)
        return json.loads(text.splitlines()[-1])[key], mib
    return settled(a, settings, peer)


def types(a):
    """Those of the peer: ours first."""
    return [a.dtype] + [t for t in TYPES if t != a.dtype]


def precisions(a, more=[("", [])]):
    """TRL's settings of each precision, each with and without more arguments."""
    return [(f"{name} {dtype}".strip(), [*arguments, *(["--bf16"] if dtype == "bfloat16" else [])]) for dtype in types(a) for name, arguments in more]


def sft(a, work):
    """Ours lays rows end to end without padding. Ours learns the answers, TRL every token of the text: our output head has less to do."""
    python = folders(a, work, 8, 200)
    sources = f'[model]\ninit = "{work}/base"\n[[data.sources]]\npath = "{work}/pairs.jsonl"\ncolumns = {{ response = "chosen" }}\n'
    settings = precisions(a, [("unpacked", []), ("packed", ["--packing"])])
    peer = peer_stage(a, python, ["sft", "--model", work / "base", "--data", work / "pairs.jsonl"], "tokens_per_s", settings)
    return "real tokens/s", stage(a, work, "sft", sources + LEARN, "tokens_per_s"), peer


def reward(a, work):
    python = folders(a, work, 8, 200)
    sources = f'[model]\ninit = "{work}/reward"\n[[data.sources]]\npath = "{work}/pairs.jsonl"\n[centre]\nsamples = 0\n'
    ours = stage(a, work, "reward", sources + LEARN, "answers_per_s")
    peer = peer_stage(a, python, ["reward", "--model", work / "reward", "--data", work / "pairs.jsonl"], "pairs_per_s", precisions(a))
    return "pairs/s", lambda: halved(ours), peer


def halved(ours):
    rate, mib = ours()
    return rate / 2, mib  # two answers a pair


def generate(a, work):
    """64 new tokens after prompts of up to 64; a call of ours packs the weights first, which counts. The peer pads the prompts, and is the better of its two types."""
    python = folders(a, work, 8, 63)
    ids = f"""
import json
from transformers import AutoTokenizer
t = AutoTokenizer.from_pretrained({str(work / 'base')!r})
rows = [json.loads(line) for line in open({str(work / 'pairs.jsonl')!r})][:{a.batch}]
json.dump([t(r['prompt'])['input_ids'] for r in rows], open({str(work / 'ids.json')!r}, 'w'))
"""
    run([python, "-c", ids])
    def ours():
        command = [ROOT / "target/release/examples/generation", "--model", work / "base", "--prompts", work / "ids.json", "--batch", a.batch, "--new", a.new,
                   "--weights", a.weights, *([] if a.dtype == "bfloat16" else ["--float32"])]
        text, mib, _ = run(command)
        found = json.loads(text)
        best = max(found["tokens_per_s"])
        if a.batch == 1:
            bandwidth = json.loads(run([*command, "--repeat", 0, "--bandwidth"])[0])["bandwidth"]  # by itself: it reads memory of its own
            print(f"share of the bandwidth bound: {best * found['bytes_a_token'] / bandwidth:.2f} of {bandwidth / 1e9:.1f} GB/s")
        return best, mib
    def peer():
        runs = []
        for more in [["--bf16"]] * ("bfloat16" in TYPES) + [[]]:
            text, mib, _ = run([python, a.peers / "trl_stage.py", "generate", "--model", work / "base", "--data", work / "pairs.jsonl",
                                "--rollout", a.batch, "--response-length", a.new, *more])
            runs.append((json.loads(text.splitlines()[-1])["tokens_per_s"], mib))
        return max(runs)
    return "tokens/s", ours, peer


EQUAL_WORK = "epochs = 4\nminibatches = 1\nmicro_batch = 16"  # and a value network of its own, as TRL has; TRL goes through a step by 8


def ppo(a, work, learning=EQUAL_WORK, episodes=32):
    """Equal work: separate value network, 32 episodes a round, four passes of one step."""
    python = folders(a, work, 8, 63)
    config = work / "ppo.toml"
    config.write_text(f"""
[policy]
init = "{work}/base"
[reward]
model = "{work}/reward"
[[data.sources]]
path = "{work}/pairs.jsonl"
[rollout]
rounds = 3
episodes = {episodes}
max_new_tokens = 64
[ppo]
{learning}
[optim]
lr = 3e-6
[eval]
every = 0
at_start = false
max_rows = 2
valid_fraction = 0.01
[checkpoint]
every = 0
keep_best = false
""")
    def ours():
        out = work / "run"
        shutil.rmtree(out, ignore_errors=True)
        _, mib, _ = run([ROOT / "target/release/ppo", "--config", config, "--out", out, "--set", f"precision={a.dtype}"])
        return steady(out, "episodes_per_s"), mib
    arguments = ["ppo", "--model", work / "base", "--reward-model", work / "reward", "--data", work / "pairs.jsonl", "--steps", 4]
    return "episodes/s", ours, peer_stage(a, python, arguments, "episodes_per_s", precisions(a))


def ppo_default(a, work):
    """Our own setting (rounds of 64 episodes, one pass in eight steps of 8) beside TRL's (rounds of 32, four passes of one step)."""
    return ppo(a, work, "", 64)


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("what", choices=["pretrain", "sft", "reward", "generate", "ppo", "ppo-default"])
p.add_argument("--peers", type=pathlib.Path, required=True)
p.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
p.add_argument("--pairs", type=int, default=3)
p.add_argument("--dtype", choices=["float32", "bfloat16"], default=QUICKER, help="of both [default: what the processor multiplies faster]; with --try-settings, and for generate, the peer takes its better one")
p.add_argument("--shape", choices=SHAPES, default="small", help="of pretrain")
p.add_argument("--batch", type=int, default=32, help="prompts of generate")
p.add_argument("--weights", choices=["float", "int8"], default="float", help="of our generate; int8 rounds what meets them to eight bits too")
p.add_argument("--new", type=int, default=64, help="tokens that generate writes after each")
p.add_argument("--try-settings", action="store_true", help="run the peer in each of its settings first, and keep the quickest")
p.add_argument("--settings", nargs="*", default=[], metavar="WORD", help="only the peer's settings in whose name all of these are, as bfloat16 or eager")
p.add_argument("--jemalloc", help="libjemalloc.so.2: with --try-settings, the peer's other allocator")
p.add_argument("--json", type=pathlib.Path, help="add a line of what was found to this file")
a = p.parse_args()
a.setting, a.peak, a.peer_share = "", None, None
a.peers, a.data = a.peers.resolve(), a.data.resolve()
with tempfile.TemporaryDirectory() as folder:
    unit, ours, peer = globals()[a.what.replace("-", "_")](a, pathlib.Path(folder))
    ratios, memory, rates, peer_rates, mibs = [], [], [], [], []
    for i in range(a.pairs):
        first, second = (ours, peer) if i % 2 == 0 else (peer, ours)
        results = {first: first(), second: second()}
        (speed, mib), (peer_speed, peer_mib) = results[ours], results[peer]
        ratios.append(speed / peer_speed)
        memory.append(mib / peer_mib)
        rates.append(speed), peer_rates.append(peer_speed), mibs.append(mib)
        print(json.dumps({"what": a.what, "unit": unit, "ours": round(speed, 2), "peer": round(peer_speed, 2), "ratio": round(ratios[-1], 3),
                          "ours_mib": mib, "peer_mib": peer_mib, "memory_ratio": round(memory[-1], 3)}), flush=True)
    print(f"{a.what}: {statistics.median(ratios):.2f}x the peer's {unit} (from {min(ratios):.2f} to {max(ratios):.2f}, {a.pairs} pairs), "
          f"{statistics.median(memory):.2f}x its memory")
    if a.json:
        record = {"what": a.what, "shape": a.shape if a.what == "pretrain" else None, "batch": a.batch if a.what == "generate" else None, "weights": a.weights, "unit": unit,
                  "dtype": a.dtype, "vectors": VECTORS[a.dtype], "peer_setting": a.setting, "ours": rates, "peer": peer_rates, "ratios": ratios, "memory": memory, "ours_mib": mibs,
                  "peer_share_of_peak": a.peer_share, "peak_gflops": a.peak, "date": time.strftime("%Y-%m-%d %H:%M")}
        with open(a.json, "a") as file:
            file.write(json.dumps(record) + "\n")
