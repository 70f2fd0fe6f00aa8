#!/usr/bin/env python3
"""Data-parallel steps over a slow link, beside PyTorch's DistributedDataParallel on the same work: hosts are network namespaces on a bridge, each of which
sends at most --mbit (tc tbf). Needs root and iproute2; nothing else should run meanwhile.

    scripts/bench/link.py --peers DIR [--ranks 2] [--mbit 1000] [--dtype float32] [--ways ours ddp optimizer gradients parameters] [--repeat 3]

The work: 30 M weights, --rows sequences of 512 tokens a rank and step, one thread a rank. For each way it measures a step's time with all ranks exchanging, and
with as many processes that do not (which share the machine's cores alike), and the bytes that each host has sent; --repeat times, the ways by turns. Prints one JSON
line a way, medians with the lowest and the highest:
  efficiency = alone_s / step_s of one turn;  hidden = 1 - (step_s - alone_s) / (bytes / rate), the share of the exchange behind which something else was done.
"""
import argparse, json, os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RLHF_BIN", ROOT / "target/release"))
STEPS, WARM = 8, 2


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True).stdout


class Hosts:
    """n hosts 10.88.0.1 ... on a bridge."""

    def __init__(self, n, mbit):
        self.n = n
        self.remove()
        sh("ip link add rlhf-lbr type bridge && ip link set rlhf-lbr up")
        for i in range(1, n + 1):
            sh(f"ip netns add rlhf-l{i} && ip link add rlhf-l{i} type veth peer name eth0 netns rlhf-l{i} && ip link set rlhf-l{i} master rlhf-lbr up")
            sh(f"ip -n rlhf-l{i} addr add 10.88.0.{i}/24 dev eth0 && ip -n rlhf-l{i} link set eth0 up && ip -n rlhf-l{i} link set lo up")
            if mbit:
                sh(f"tc -n rlhf-l{i} qdisc add dev eth0 root tbf rate {mbit}mbit burst 256kb latency 50ms")

    def remove(self):
        for i in range(1, 9):
            sh(f"ip netns del rlhf-l{i}", check=False)
        sh("ip link del rlhf-lbr", check=False)

    def sent(self, i):
        return int(sh(f"ip netns exec rlhf-l{i} cat /sys/class/net/eth0/statistics/tx_bytes"))

    def run(self, command, together, out):
        """One process a host; with `together` they are ranks of one world. Returns what rank 0 (or each) printed, and bytes sent by the first host."""
        before = self.sent(1)
        children = []
        for rank in range(self.n):
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            if together:
                env |= {"RANK": str(rank), "WORLD_SIZE": str(self.n), "MASTER_ADDR": "10.88.0.1", "MASTER_PORT": "29511", "GLOO_SOCKET_IFNAME": "eth0"}
            line = ["ip", "netns", "exec", f"rlhf-l{rank + 1}", *map(str, command(rank, together))]
            children.append(subprocess.Popen(line, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=open(out / f"err-{rank}", "w"), text=True))
        try:
            printed = [child.communicate()[0] for child in children]
        finally:
            for child in children:
                child.kill()  # nobody outlives this, however it ends; those that have ended do not mind
        for rank, child in enumerate(children):
            if child.returncode:
                sys.exit(f"rank {rank} failed:\n{(out / f'err-{rank}').read_text()[-2000:]}")
        return printed, self.sent(1) - before


CONFIG = """
threads = 1
[model]
layers = 8
heads = 8
width = 512
context = 512
[tokenizer]
vocab_size = 8192
[data]
cache = "{work}/shards"
[[data.sources]]
path = "{data}/p02-tinystories-944k/tiny_stories.txt"
[[data.sources]]
path = "{data}/p05-onestopenglish/*-Txt.txt"
[optim]
beta2 = 0.95
[eval]
every = 0
at_start = false
max_rows = 1
[checkpoint]
every = 0
keep_best = false
"""


def ours(a, work, hosts, shard, bytes_too):
    """Seconds of a step, and bytes a step (a run of more steps minus a shorter one, so that start and end cancel)."""
    def go(together, steps):
        out = lambda rank: work / f"run-{'all' if together else rank}"
        for rank in range(hosts.n):
            shutil.rmtree(out(rank), ignore_errors=True)
        batch = a.rows * (hosts.n if together else 1)
        sets = [f"train.batch={batch}", f"train.micro_batch={a.rows}", f"train.steps={steps}", f"precision={a.dtype}", f"distributed.shard={shard}"]
        arguments = [x for s in sets for x in ("--set", s)]
        command = lambda rank, _: [BIN / "pretrain", "--config", work / "pretrain.toml", "--out", out(rank), *arguments]
        _, sent = hosts.run(command, together, work)
        speed = lambda rank: [r["tokens_per_s"] for r in map(json.loads, open(out(rank) / "metrics.jsonl")) if "tokens_per_s" in r][WARM:]
        if steps <= WARM:
            return None, sent
        return max(batch * 512 / statistics.median(speed(r)) for r in range(1 if together else hosts.n)), sent
    alone, _ = go(False, STEPS)
    step, many = go(True, STEPS)
    _, few = go(True, 2) if bytes_too else (0, None)
    return alone, step, (many - few) / (STEPS - 2) if bytes_too else None


def ddp(a, work, hosts, _, bytes_too):
    python = a.python or a.peers / "venv/bin/python"
    def go(together, steps):
        command = lambda *_: [python, ROOT / "scripts/bench/ddp_torch.py", "--peers", a.peers, "--dtype", a.dtype, "--rows", a.rows, "--steps", steps]
        printed, sent = hosts.run(command, together, work)
        return max(json.loads(text.splitlines()[-1])["step_s"] for text in printed), sent
    alone, _ = go(False, STEPS - 2)
    step, many = go(True, STEPS - 2)
    _, few = go(True, 1) if bytes_too else (0, None)
    return alone, step, (many - few) / (STEPS - 3) if bytes_too else None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peers", type=pathlib.Path, required=True, help="folder of the peer's program")
    p.add_argument("--python", type=pathlib.Path, default=os.environ.get("RLHF_PYTHON"), help="a Python with torch; --peers has one in venv/")
    p.add_argument("--data", type=pathlib.Path, default=pathlib.Path(os.environ.get("RLHF_DATA", ROOT / "../shared/data")))
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--mbit", type=int, default=1000, help="0: no limit")
    p.add_argument("--rows", type=int, default=4)
    p.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    p.add_argument("--ways", nargs="+", default=["ours", "ddp"], choices=["ours", "ddp", "optimizer", "gradients", "parameters"])
    p.add_argument("--repeat", type=int, default=1)
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "pretrain.toml").write_text(CONFIG.format(work=work, data=a.data.resolve()))
        if set(a.ways) - {"ddp"}:  # trains the tokenizer and writes the shards once
            subprocess.run([BIN / "pretrain", "--config", work / "pretrain.toml", "--out", work / "first", "--set", "train.steps=1"],
                           check=True, capture_output=True)
        hosts = Hosts(a.ranks, a.mbit)
        try:
            found = {way: [] for way in a.ways}
            for turn in range(a.repeat):
                for way in a.ways if turn % 2 == 0 else reversed(a.ways):
                    measure = ddp if way == "ddp" else ours
                    found[way].append(measure(a, work, hosts, "none" if way == "ours" else way, turn == 0))
                    alone, step, _ = found[way][-1]
                    print(f"turn {turn + 1}, {way}: alone {alone:.3f} s, step {step:.3f} s", file=sys.stderr, flush=True)
            spread = lambda numbers: [round(f(numbers), 3) for f in (statistics.median, min, max)]
            for way, turns in found.items():
                sent = turns[0][2]
                line = {"way": way, "ranks": a.ranks, "mbit": a.mbit, "dtype": a.dtype, "rows": a.rows, "turns": a.repeat, "alone_s": spread([t[0] for t in turns]),
                        "step_s": spread([t[1] for t in turns]), "efficiency": spread([t[0] / t[1] for t in turns]), "sent_mb": round(sent / 1e6, 1)}
                if a.mbit:
                    wire = sent / (a.mbit * 125e3)
                    line |= {"wire_s": round(wire, 3), "hidden": spread([1 - (t[1] - t[0]) / wire for t in turns])}
                print(json.dumps(line), flush=True)
        finally:
            hosts.remove()


main()
