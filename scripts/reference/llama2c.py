"""A tiny checkpoint of llama2.c with its tokenizer, and what llama2.c's own program writes with them.

    python scripts/reference/llama2c.py RUN      writes evaluate/tests/golden/llama2c; RUN is `run` of github.com/karpathy/llama2.c (gcc -O2 run.c -lm)

The weights are random. Rows of the embedding that belong to single bytes are zero, so that what is written consists of pieces and can be read.
"""
import json, pathlib, struct, subprocess, sys
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "evaluate" / "tests" / "golden" / "llama2c"
WIDTH, FFN, LAYERS, HEADS, KV_HEADS, CONTEXT = 16, 24, 2, 4, 2, 64
LETTERS = list(" abcdefghijklmnopqrstuvwxyz.,")
MERGED = [" t", "he", " the", " a", "in", "er", " s", " sat", "at", " c", " cat", "on", " on", "re", "and", " and", " sa", "an"]
pieces = ["<unk>", "\n<s>\n", "\n</s>\n"] + [f"<0x{b:02X}>" for b in range(256)] + MERGED + LETTERS
scores = [0.0] * 259 + [-float(i) for i in range(len(MERGED))] + [-100.0 - i for i in range(len(LETTERS))]

draw = np.random.default_rng(3)
weights = lambda *shape: (draw.normal(size=shape) * 0.6).astype("<f4")
embedding = weights(len(pieces), WIDTH)
embedding[:259] = 0
kv = WIDTH // HEADS * KV_HEADS
tensors = [embedding, 1 + weights(LAYERS, WIDTH) / 4, weights(LAYERS, WIDTH, WIDTH), weights(LAYERS, kv, WIDTH), weights(LAYERS, kv, WIDTH), weights(LAYERS, WIDTH, WIDTH),
           1 + weights(LAYERS, WIDTH) / 4, weights(LAYERS, FFN, WIDTH), weights(LAYERS, WIDTH, FFN), weights(LAYERS, FFN, WIDTH), 1 + weights(WIDTH) / 4,
           np.zeros((2, CONTEXT, WIDTH // HEADS // 2), "<f4")]
OUT.mkdir(parents=True, exist_ok=True)
head = struct.pack("<7i", WIDTH, FFN, LAYERS, HEADS, KV_HEADS, len(pieces), CONTEXT)
(OUT / "model.bin").write_bytes(head + b"".join(t.astype("<f4").tobytes() for t in tensors))
encoded = [p.encode() for p in pieces]
(OUT / "tokenizer.bin").write_bytes(struct.pack("<i", max(map(len, encoded))) + b"".join(struct.pack("<fi", s, len(p)) + p for s, p in zip(scores, encoded)))

rows = []
for prompt in ["the cat sat on", "a rat and the cat", "sand in the sea"]:
    command = [sys.argv[1], OUT / "model.bin", "-z", OUT / "tokenizer.bin", "-t", "0", "-n", "40", "-i", prompt]
    text = subprocess.run([str(c) for c in command], check=True, capture_output=True).stdout.decode()
    rows.append({"prompt": prompt, "text": text.removesuffix("\n")})
(OUT / "expected.json").write_text(json.dumps(rows, indent=1) + "\n")
