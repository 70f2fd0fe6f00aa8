"""Loads model folders with transformers and compares them with numbers that our program computed.

    python scripts/reference/check_folder.py FOLDER NUMBERS.json [FOLDER NUMBERS.json]...

NUMBERS.json: {"ids": [[...]], "logits": [[[...]]]} for a language model, {"ids": [[...]] padded on the right, "scores": [...]} for a
reward model, optionally "greedy": [...], the continuation of the first row's first "prompt" tokens. Prints the largest difference;
the exit code is 1 where one exceeds 1e-4, or a token differs, or transformers had to invent or drop a weight.
"""
import json, sys
import torch, transformers

def check(folder, numbers):
    reward = "scores" in numbers
    auto = transformers.AutoModelForSequenceClassification if reward else transformers.AutoModelForCausalLM
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    model = model.eval()
    ids = torch.tensor(numbers["ids"])
    with torch.no_grad():
        got = model(ids).logits
    want = torch.tensor(numbers["scores"])[:, None] if reward else torch.tensor(numbers["logits"])
    gap = (got - want).abs().max().item()
    problems = {k: sorted(map(str, v)) for k, v in info.items() if v}
    same = True
    if "greedy" in numbers:
        prompt, n = ids[:1, :numbers["prompt"]], len(numbers["greedy"])
        new = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=n, min_new_tokens=n,
                             eos_token_id=None)
        same = new[0, numbers["prompt"]:].tolist() == numbers["greedy"]
    print(json.dumps({"class": type(model).__name__, "dtype": str(model.dtype), "largest_difference": gap, "greedy_equal": same,
                      "loading": problems}))
    return gap <= 1e-4 and same and not problems and model.dtype == torch.float32

pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
sys.exit(0 if pairs and all([check(folder, json.load(open(numbers))) for folder, numbers in pairs]) else 1)
