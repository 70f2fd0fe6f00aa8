#!/usr/bin/env python3
"""How `serve` does under load: clients that ask again as soon as they are answered, over loopback, and what each of them waits for.

    cargo build --release --workspace
    scripts/bench/serve.py --model DIR [--clients 1 8 32 64] [--requests 4] [--tokens 64] [-- ARGUMENTS OF serve]

Each client sends so many requests one after another, streamed, sampled with a seed of its own. One line for each number of clients: tokens a second of all together; seconds to an answer's
first token and to its last (median, 95%, slowest); the least and the most that any client got done in the time of the quickest; and whether every text is what its request alone is answered.
"""
import argparse, http.client, json, math, pathlib, re, statistics, subprocess, sys, threading, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--model", required=True)
p.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64])
p.add_argument("--requests", type=int, default=4)
p.add_argument("--tokens", type=int, default=64)
p.add_argument("--prompt", default="Client {client} asks for the {request}. time: once upon a time")
p.add_argument("serve", nargs="*", help="more arguments of serve, after --")
a = p.parse_args()


def ask(port, client, request):
    """Text, seconds to its first piece and to its end, and tokens."""
    body = {"prompt": a.prompt.format(client=client, request=request), "max_tokens": a.tokens, "min_tokens": a.tokens, "seed": 1000 * client + request,
            "stream": True, "stream_options": {"include_usage": True}}
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {response.read().decode()}")
    text, first, tokens = "", None, 0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        piece = json.loads(line[6:])
        for choice in piece["choices"]:
            first = first or time.perf_counter() - start
            text += choice["text"]
        if piece.get("usage"):
            tokens = piece["usage"]["completion_tokens"]
    connection.close()
    return text, first, time.perf_counter() - start, tokens


def load(port, clients):
    found, failed = [[] for _ in range(clients)], []
    ready = threading.Barrier(clients + 1)

    def run(client):
        ready.wait()
        try:
            for request in range(a.requests):
                found[client].append((*ask(port, client, request), time.perf_counter()))
        except Exception as error:
            failed.append(f"client {client}: {error}")
    threads = [threading.Thread(target=run, args=(c,)) for c in range(clients)]
    [t.start() for t in threads]
    ready.wait()
    start = time.perf_counter()
    [t.join() for t in threads]
    if failed:
        raise SystemExit(f"{len(failed)} of {clients} clients got no answer; the first: {failed[0]}")
    return found, start, time.perf_counter() - start


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):6.2f} {values[math.ceil(0.95 * len(values)) - 1]:6.2f} {values[-1]:6.2f}"


server = subprocess.Popen([ROOT / "target/release/serve", "--model", a.model, "--bind", "127.0.0.1:0", *a.serve], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
try:
    port, said = None, []
    for line in server.stdout:
        said.append(line)
        if match := re.search(r"127\.0\.0\.1:(\d+)", line):
            port = int(match[1])
            break
    if port is None:
        raise SystemExit("serve did not start: " + "".join(said))
    threading.Thread(target=lambda: [None for _ in server.stdout], daemon=True).start()
    alone = {}
    print("clients  tokens/s  first token: median, 95%, slowest   last: median, 95%, slowest   done by the slowest client, the quickest   right")
    for clients in a.clients:
        found, start, took = load(port, clients)
        rows = [row for client in found for row in client]
        for c in range(clients):
            for r in range(a.requests):
                if (c, r) not in alone:
                    alone[c, r] = ask(port, c, r)[0]
        right = sum(found[c][r][0] == alone[c, r] for c in range(clients) for r in range(a.requests))
        quickest = min(client[-1][4] for client in found)
        done = [sum(row[4] <= quickest for row in client) for client in found]
        print(f"{clients:7d}  {sum(row[3] for row in rows) / took:8.0f}  {spread([row[1] for row in rows]):>34}  {spread([row[2] for row in rows]):>27}"
              f"  {min(done)}, {max(done)} of {a.requests}  {right} of {len(rows)}", flush=True)
finally:
    server.terminate()
    server.wait()
