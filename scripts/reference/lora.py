"""Golden fixtures for low-rank adapters: adapters that PEFT wrote for the folders of model.py, with what PEFT computes from them.

    python scripts/reference/lora.py                                                        writes model/tests/golden/lora/
    python scripts/reference/lora.py check BASE ADAPTER NUMBERS.json [BASE ADAPTER NUMBERS.json]...

Each folder NAME/ holds an adapter as PEFT's save_pretrained leaves it; NAME.safetensors beside it the expected numbers: ids [B, T], and
logits [B, T, V], loss (mean cross-entropy of the next token) and grad.MODULE.lora_A.weight, .lora_B.weight; for reward models ids padded
on the right, scores [B] and the gradients of their sum, the head's among them. B is drawn, not zero, so that the change counts.
`check` loads adapters that our program wrote with PEFT and compares logits or scores with numbers that it computed; "merged" in the
numbers names a model folder that transformers must find equal to base and adapter. Exit code 1 where a difference exceeds 1e-4.
"""
import json, pathlib, shutil, sys, warnings
import peft, torch, transformers
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
BASES = pathlib.Path(__file__).resolve().parents[2] / "model" / "tests" / "golden"
OUT = BASES / "lora"
# name: (base, further settings)
ADAPTERS = {
    "gpt2": ("gpt2", dict(target_modules="all-linear")),
    "gpt2_attention": ("gpt2", dict(target_modules=["c_attn"], use_rslora=True)),
    "llama": ("llama", dict(target_modules="all-linear")),
    "llama_default": ("llama", dict()),
    "qwen3": ("qwen3", dict(target_modules=["q_proj", "down_proj"])),
    "neox": ("neox", dict(target_modules="all-linear")),
    "gpt2_reward": ("gpt2_reward", dict(target_modules="all-linear")),
    "llama_reward": ("llama_reward", dict(target_modules=["q_proj", "up_proj"])),
}

def is_reward(name):
    return name.endswith("reward")

def auto(name):
    return transformers.AutoModelForSequenceClassification if is_reward(name) else transformers.AutoModelForCausalLM

def ours(name):
    return name.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")

def make(name, base, settings):
    torch.manual_seed(sum(map(ord, name)))
    model = auto(base).from_pretrained(BASES / base, attn_implementation="eager").float()
    task = dict(task_type="SEQ_CLS", modules_to_save=["score"]) if is_reward(base) else dict(task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=6, **task, **settings)).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_B" in n or ("modules_to_save" in n and "score" in n):
                p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(OUT / name)
    config = json.loads((OUT / name / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../../{base}"
    (OUT / name / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (OUT / name / "README.md").unlink(missing_ok=True)
    ids = torch.randint(2, 48, (3, 12))
    if is_reward(base):
        for row, length in enumerate((12, 5, 9)):
            ids[row, length:] = 1
        scores = model(ids).logits[:, 0]
        scores.sum().backward()
        out = dict(scores=scores.detach())
    else:
        logits = model(ids).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        out = dict(logits=logits.detach(), loss=loss.detach())
    out |= {f"grad.{ours(n)}": p.grad for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    save_file({k: v.contiguous().clone() for k, v in (dict(ids=ids) | out).items()}, OUT / f"{name}.safetensors")

@torch.no_grad()
def check(base, adapter, numbers):
    numbers = json.loads(pathlib.Path(numbers).read_text())
    reward = "scores" in numbers
    kind = transformers.AutoModelForSequenceClassification if reward else transformers.AutoModelForCausalLM
    ids = torch.tensor(numbers["ids"])
    want = torch.tensor(numbers["scores"])[:, None] if reward else torch.tensor(numbers["logits"])
    model = peft.PeftModel.from_pretrained(kind.from_pretrained(base), adapter).eval()
    bare = kind.from_pretrained(base).eval()(ids).logits
    loaded = kind.from_pretrained(numbers["merged"]).eval()(ids).logits
    gaps = [(got - want).abs().max().item() for got in (model(ids).logits, loaded)]
    moved = (bare - want).abs().max().item()
    print(json.dumps({"adapter": gaps[0], "merged": gaps[1], "base": moved, "modules_to_save": model.peft_config["default"].modules_to_save}))
    return max(gaps) <= 1e-4 and moved > 1e-3

if sys.argv[1:2] == ["check"]:
    triples = list(zip(sys.argv[2::3], sys.argv[3::3], sys.argv[4::3]))
    sys.exit(0 if triples and all([check(*t) for t in triples]) else 1)
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir(parents=True)
for name, (base, settings) in ADAPTERS.items():
    make(name, base, settings)
