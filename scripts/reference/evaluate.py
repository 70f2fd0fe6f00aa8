"""Golden numbers for the program `evaluate`, from transformers and the folder that scripts/reference/model.py wrote.

    python scripts/reference/evaluate.py         writes evaluate/tests/golden/reference.json

short: a text that fits the context, its summed negative log-likelihood (transformers' own loss times the predictions).
long: a text of several contexts, in windows of a context that begin half a context apart, each token predicted by the first window that reaches it.
greedy: a continuation by transformers' generate.

It also writes evaluate/tests/golden/families.json, for every folder there: of a language model a text continued and a text measured, of a
reward model the scores of answers; by the tokenizer beside the folders, in text and in ids.
"""
import json, pathlib
import torch, transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "evaluate" / "tests" / "golden" / "reference.json"
model = transformers.AutoModelForCausalLM.from_pretrained(ROOT / "model" / "tests" / "golden" / "gpt2").eval()
context = model.config.n_positions
draw = torch.Generator().manual_seed(5)
short = torch.randint(2, model.config.vocab_size, (24,), generator=draw).tolist()
long = torch.randint(2, model.config.vocab_size, (3 * context + 7,), generator=draw).tolist()

@torch.no_grad()
def log_probs(ids):
    return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)

with torch.no_grad():
    ids = torch.tensor([short])
    short_sum = model(ids, labels=ids).loss.item() * (len(short) - 1)
long_sum, start = 0.0, 0
for t in range(1, len(long)):
    while t > start + context:
        start += context // 2
    long_sum -= log_probs(long[start:t])[-1, long[t]].item()
def greedy(prompt):
    return model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, pad_token_id=1)[0].tolist()[len(prompt):]

# Of some prompts the one whose continuation varies most: many end in one token for ever, which would prove little.
prompt = max((long[i:i + 8] for i in range(60)), key=lambda p: len(set(greedy(p))))
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps({
    "short": {"ids": short, "nll_sum": short_sum},
    "long": {"ids": long, "nll_sum": long_sum},
    "greedy": {"prompt": prompt, "ids": greedy(prompt)},
}) + "\n")

GOLDEN = ROOT / "model" / "tests" / "golden"
tokenizer = transformers.AutoTokenizer.from_pretrained(GOLDEN / "tokenizer")
PROMPTS = ["the cat sat on a tree", "where is the rat?\nin", "on"]
TEXT = "the cat sat on the tree, and there\nwas rain"
ANSWERS = [("is the cat in?", "on the tree."), ("where?", "there"), ("what is", "the other cat, a rat")]

def encode(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]

@torch.no_grad()
def language(model):
    rows = []
    for prompt in PROMPTS:
        ids = torch.tensor([encode(prompt)])
        new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False, pad_token_id=1)[0, ids.shape[1]:]
        rows.append({"prompt": prompt, "prompt_ids": ids[0].tolist(), "ids": new.tolist(), "text": tokenizer.decode(new, skip_special_tokens=True)})
    ids = torch.tensor([encode(TEXT)])
    return {"generate": rows, "text": TEXT, "ids": ids[0].tolist(), "nll_sum": model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)}

@torch.no_grad()
def reward(model):
    """Prompt, newline, answer, end token, the prompt encoded apart from the answer."""
    rows = []
    for prompt, response in ANSWERS:
        ids = encode(prompt + "\n") + encode(response) + [tokenizer.eos_token_id]
        score = model(torch.tensor([ids])).logits[0, 0].item()
        rows.append({"prompt": prompt, "response": response, "ids": ids, "score": score})
    return {"rows": rows}

families = {}
for folder in sorted(p for p in GOLDEN.iterdir() if (p / "config.json").is_file()):
    scalar = folder.name.endswith("reward")
    auto = transformers.AutoModelForSequenceClassification if scalar else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    families[folder.name] = reward(model) if scalar else language(model)
OUT.with_name("families.json").write_text(json.dumps(families, indent=1) + "\n")
