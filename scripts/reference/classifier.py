"""Golden fixtures for decoders that classify: tiny folders written by transformers, with what transformers and PyTorch compute of them.

    python scripts/reference/classifier.py                 writes model/tests/classifier/
    python scripts/reference/classifier.py --check FOLDER  loads a classifier that this project wrote, and prints the logits of two rows (JSON)

gpt2_classes, llama_classes: ids (padded rows), lengths, labels; logits, loss and gradients of GPT2ForSequenceClassification and LlamaForSequenceClassification
with three classes. gpt2_similarity, gpt2_choice (GPT-1, Radford et al. 2018, figure 1): rows of several sequences, of which each ends with the extract token;
the states there added before the linear map (similarity, by the trunk and the map of the same class), or scored one by one and compared by softmax (choice);
logits, loss, lm_loss (mean over all next tokens, by GPT2LMHeadModel) and the gradients of loss + 0.5 * lm_loss. Weights are drawn wider than usual, and biases and
norms off their neutral values, so that a forgotten term cannot hide.
"""
import json, pathlib, shutil, sys
import torch, transformers
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

OUT = pathlib.Path(__file__).resolve().parents[2] / "model" / "tests" / "classifier"
PAD, START, DELIMITER, EXTRACT = 1, 37, 38, 39

def wide(model, seed, std=0.25):
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn_like(p) * std)
            else:
                p.add_(torch.randn_like(p) * 0.2)
    return model.float().eval()

def write(name, model, tensors):
    tensors |= {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, OUT / f"{name}.safetensors")

def padded(rows):
    width = max(map(len, rows))
    return torch.tensor([r + [PAD] * (width - len(r)) for r in rows]), torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])

def gpt2(labels):
    names = labels if len(labels) > 1 else ["LABEL_0"]
    c = transformers.GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, pad_token_id=PAD,
                                id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    return transformers.GPT2ForSequenceClassification(c)

def llama():
    names = ["no", "perhaps", "yes"]
    c = transformers.LlamaConfig(vocab_size=40, max_position_embeddings=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                 intermediate_size=24, bos_token_id=0, eos_token_id=0, pad_token_id=PAD, tie_word_embeddings=False,
                                 id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    return transformers.LlamaForSequenceClassification(c)

def classes(name, model, seed):
    model = wide(model, seed)
    model.save_pretrained(OUT / name)
    torch.manual_seed(seed + 100)
    ids, seen = padded([torch.randint(2, 40, (n,)).tolist() for n in (12, 5, 9, 1)])
    labels = torch.tensor([2, 0, 1, 2])
    got = model(input_ids=ids, attention_mask=seen, labels=labels)
    got.loss.backward()
    write(name, model, dict(ids=ids, lengths=seen.sum(1), labels=labels, logits=got.logits, loss=got.loss))

def several(name, kind, labels, rows, right, seed):
    """Rows are lists of sequences; every sequence goes through the trunk by itself, so nothing can leak from one to the next."""
    model = wide(gpt2(labels), seed)
    model.save_pretrained(OUT / name)
    config = OUT / name / "config.json"
    frame = dict(kind=kind, target="class", start_token_id=START, delimiter_token_id=DELIMITER, extract_token_id=EXTRACT)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"input_frame": frame}, indent=2))
    logits, lm, count = [], 0.0, 0
    for row in rows:
        ends = []
        for sequence in row:
            ids = torch.tensor([sequence])
            states = model.transformer(input_ids=ids).last_hidden_state[0]
            ends.append(states[-1])
            lm = lm + cross_entropy(states[:-1] @ model.transformer.wte.weight.T, ids[0, 1:], reduction="sum")
            count += len(sequence) - 1
        logits.append(model.score(sum(ends)) if kind == "similarity" else torch.cat([model.score(end) for end in ends]))
    right = torch.tensor(right)
    loss = torch.stack([cross_entropy(row[None], label[None]) for row, label in zip(logits, right)]).mean()
    lm_loss = lm / count
    (loss + 0.5 * lm_loss).backward()
    flat = [torch.tensor(sum(row, [])) for row in rows]
    write(name, model, {f"row.{i}": ids for i, ids in enumerate(flat)} | {f"logits.{i}": row for i, row in enumerate(logits)}
          | dict(labels=right, loss=loss, lm_loss=lm_loss))

def texts(*lengths):
    return [torch.randint(2, 37, (n,)).tolist() for n in lengths]

def both(a, b):
    return [START, *a, DELIMITER, *b, EXTRACT]

def check(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["<|start|>a b c<|extract|>", "<|start|>d e<|delimiter|>a<|extract|>"]
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    print(json.dumps(dict(ids=[row[mask == 1].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"])], logits=logits.tolist(),
                          labels=[config.id2label[i] for i in range(config.num_labels)])))

def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    classes("gpt2_classes", gpt2(["no", "perhaps", "yes"]), 11)
    classes("llama_classes", llama(), 12)
    torch.manual_seed(13)
    pairs = [texts(a, b) for a, b in ((3, 5), (1, 7), (4, 4))]
    several("gpt2_similarity", "similarity", ["different", "same"], [[both(a, b), both(b, a)] for a, b in pairs], [1, 0, 1], 14)
    torch.manual_seed(15)
    asked = [(texts(4)[0], texts(2, 3, 1)), (texts(1)[0], texts(5, 2)), (texts(6)[0], texts(1, 1, 1, 4))]
    several("gpt2_choice", "choice", ["LABEL_0"], [[both(context, choice) for choice in choices] for context, choices in asked], [2, 0, 3], 16)
    for path in OUT.rglob("config.json"):  # keep the fixture stable over patch releases
        text = path.read_text().splitlines()
        path.write_text("\n".join(line for line in text if "transformers_version" not in line) + "\n")
        json.loads(path.read_text())

check(sys.argv[2]) if sys.argv[1:2] == ["--check"] else main()
