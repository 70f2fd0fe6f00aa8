"""Golden fixtures for the crate `model`: tiny folders written by transformers, with what transformers computes from them.

    python scripts/reference/model.py            writes model/tests/golden/

Each folder NAME/ holds a model; NAME.safetensors beside it the expected numbers:
  ids [B, T], logits [B, T, V], loss (mean cross-entropy of the next token), grad.<tensor name>, prompt.<i> and greedy.<i> (continuations
  of prompts of different lengths), or for reward models ids [B, T] padded on the right and scores [B].
Weights are drawn wider than usual, and biases and norms off their neutral values, so that a forgotten term cannot hide.
Folders of VARIANTS hold the same weights rounded or in shards; expected: what these rounded weights give in float32.
rope.json names settings of rotary positions, each to be put into a folder's config.json, and rope.safetensors what they give.
tokenizer/ is a small tokenizer for all folders.
"""
import copy, json, pathlib, shutil
import tokenizers, torch, transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "model" / "tests" / "golden"
IDS = dict(vocab_size=48, bos_token_id=0, eos_token_id=0, pad_token_id=1)
GPT2 = dict(n_layer=2, n_head=2, n_embd=16, n_positions=32, initializer_range=0.2, **IDS)
LLAMA = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=16, intermediate_size=24,
             max_position_embeddings=64, initializer_range=0.2, **IDS)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
NEOX = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=24, max_position_embeddings=64,
            initializer_range=0.2, **IDS)
# Of a head of 8 features 4 turn; with the default of 0.25 it would be one pair.
HALF = dict(rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.5))
# A window of 5 cuts sequences of 12 and continuations of 16.
WINDOW = dict(use_sliding_window=True, sliding_window=5)
FOLDERS = {
    "gpt2": transformers.GPT2Config(**GPT2),
    "llama": transformers.LlamaConfig(**LLAMA, tie_word_embeddings=False, rope_parameters=LLAMA3),
    "llama_tied": transformers.LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "mistral": transformers.MistralConfig(**LLAMA, tie_word_embeddings=False, sliding_window=5),
    "mistral_tied": transformers.MistralConfig(**LLAMA, tie_word_embeddings=True, sliding_window=None),
    "qwen2": transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen2_window": transformers.Qwen2Config(**LLAMA, tie_word_embeddings=False, **WINDOW, max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**LLAMA, head_dim=8, tie_word_embeddings=True),
    "qwen3_window": transformers.Qwen3Config(**LLAMA, head_dim=8, **WINDOW, layer_types=["sliding_attention", "full_attention"]),
    "neox": transformers.GPTNeoXConfig(**NEOX, **HALF),
    "neox_serial": transformers.GPTNeoXConfig(**NEOX, use_parallel_residual=False, hidden_act="gelu_new", tie_word_embeddings=True),
    "gpt2_reward": transformers.GPT2Config(**GPT2, num_labels=1),
    "llama_reward": transformers.LlamaConfig(**LLAMA, num_labels=1),
    "mistral_reward": transformers.MistralConfig(**LLAMA, num_labels=1, sliding_window=5),
    "qwen2_reward": transformers.Qwen2Config(**LLAMA, num_labels=1),
    "qwen3_reward": transformers.Qwen3Config(**LLAMA, head_dim=8, num_labels=1),
    "neox_reward": transformers.GPTNeoXConfig(**NEOX, **HALF, num_labels=1),
}
# name: (of which folder, data type, largest shard)
VARIANTS = {
    "gpt2_shards": ("gpt2", torch.bfloat16, "6KB"),
    "llama_float16": ("llama", torch.float16, "1MB"),
    "mistral_shards": ("mistral", torch.float16, "5KB"),
    "qwen2_bfloat16": ("qwen2", torch.bfloat16, "1MB"),
    "qwen3_shards": ("qwen3", torch.float32, "10KB"),
    "neox_shards": ("neox", torch.bfloat16, "5KB"),
}
# Kinds of rotary scaling: (folder, kind as transformers 5 writes it, further keys of config.json). Sequences of 40 tokens pass the original 16.
ROPE = {
    "linear": ("llama", dict(factor=3.0), {}),
    "dynamic": ("llama", dict(factor=4.0), dict(max_position_embeddings=16)),
    "yarn": ("llama", dict(factor=4.0, original_max_position_embeddings=16), {}),
    "yarn_given": ("llama", dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=0.8, beta_fast=4.0,
                                 beta_slow=0.5, truncate=False), {}),
    "yarn_mscale": ("qwen3", dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.2, mscale_all_dim=0.6), {}),
    "longrope": ("llama", dict(short_factor=[1.0, 1.5], long_factor=[2.0, 6.0], original_max_position_embeddings=16), {}),
    "llama3": ("qwen3", dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16), {}),
    "neox_linear": ("neox", dict(rope_type="linear", factor=3.0, partial_rotary_factor=0.5), {}),
    "neox_dynamic": ("neox", dict(rope_type="dynamic", factor=4.0, partial_rotary_factor=0.5), dict(max_position_embeddings=16)),
}

def build(name, config):
    torch.manual_seed(sum(map(ord, name)))
    auto = transformers.AutoModelForSequenceClassification if name.endswith("reward") else transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.2)
    return model

def stored(model, name):
    """The name that a tensor of GPT-NeoX's head bears in files."""
    return name.replace("lm_head", "embed_out") if model.config.model_type == "gpt_neox" else name

def greedy(model, ids):
    out = {}
    for i, length in enumerate((3, 12, 1, 7)):
        prompt = ids.flatten()[i:i + length][None]
        # A fresh copy: scaling that depends on the length remembers the longest sequence it has seen.
        new = copy.deepcopy(model).generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=16, eos_token_id=5)
        out |= {f"prompt.{i}": prompt[0], f"greedy.{i}": new[0, length:]}
    return out

def lm(model):
    ids = torch.randint(2, 48, (3, 12))
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    out = dict(ids=ids, logits=logits.detach(), loss=loss.detach())
    out |= {f"grad.{stored(model, n)}": p.grad for n, p in model.named_parameters()}
    return out | greedy(model, ids)

def reward(model):
    ids = torch.randint(2, 48, (4, 12))
    for row, length in enumerate((12, 5, 9, 1)):
        ids[row, length:] = 1
    return dict(ids=ids, scores=model(ids).logits[:, 0].detach())

def write(tensors, name):
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, OUT / f"{name}.safetensors")

@torch.no_grad()
def rope():
    """Each setting in both spellings: `rope_parameters`, and `rope_scaling` with the base beside it, as transformers 4 had them."""
    settings, expected = [], {}
    torch.manual_seed(3)
    ids = torch.randint(2, 48, (2, 40))
    for name, (folder, kind, keys) in ROPE.items():
        kind = {"rope_type": name} | kind
        new = keys | dict(rope_parameters=kind | dict(rope_theta=500.0))
        rest = {k: v for k, v in kind.items() if k not in ("rope_type", "partial_rotary_factor")}
        base = dict(rotary_emb_base=500.0, rotary_pct=kind["partial_rotary_factor"]) if folder == "neox" else dict(rope_theta=500.0)
        old = keys | base | dict(rope_scaling=dict(type=kind["rope_type"]) | rest)
        logits = []
        for spelling in (new, old):
            raw = {k: v for k, v in json.loads((OUT / folder / "config.json").read_text()).items() if not k.startswith("rope")}
            config = transformers.AutoConfig.for_model(**copy.deepcopy(raw | spelling))
            load = lambda: transformers.AutoModelForCausalLM.from_pretrained(OUT / folder, config=config, attn_implementation="eager").eval()
            logits.append(load()(ids).logits)
        assert torch.equal(*logits), name
        out = dict(logits=logits[0]) | greedy(load(), ids)
        settings.append(dict(name=name, folder=folder, new=new, old=old))
        expected |= {f"{name}.{k}": v for k, v in out.items()}
    write(expected | dict(ids=ids), "rope")
    (OUT / "rope.json").write_text(json.dumps(settings, indent=1) + "\n")

def tokenizer():
    """48 tokens: two special ones, letters and marks, some merges. Bytes that are not among them have no token."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.,?'", "Ġ", "Ċ"]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("Ġ", "a"), ("e", "r"), ("o", "n"), ("Ġ", "s"), ("r", "e"), ("a", "t"), ("Ġ", "c"),
              ("o", "u"), ("Ġs", "at"), ("Ġc", "at")]
    tokens = ["<|endoftext|>", "<|pad|>", *letters, *(a + b for a, b in merges)]
    assert len(tokens) == 48
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.add_special_tokens(["<|endoftext|>", "<|pad|>"])
    out = OUT / "tokenizer"
    transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", pad_token="<|pad|>").save_pretrained(out)

def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    models = {}
    for name, config in FOLDERS.items():
        model = build(name, config)
        expected = reward(model) if name.endswith("reward") else lm(model)
        model.save_pretrained(OUT / name)
        write(expected, name)
        models[name] = model, expected
    for name, (source, dtype, shard) in VARIANTS.items():
        model, expected = models[source]
        copy.deepcopy(model).to(dtype).save_pretrained(OUT / name, max_shard_size=shard)
        # Loaded anew: a model that went through 16 bits in memory keeps rounded rotary tables.
        rounded = transformers.AutoModelForCausalLM.from_pretrained(OUT / name, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = rounded(expected["ids"]).logits
        write(dict(ids=expected["ids"], logits=logits), name)
    for path in OUT.rglob("config.json"):  # keep the fixture stable over patch releases
        text = path.read_text().splitlines()
        path.write_text("\n".join(line for line in text if "transformers_version" not in line) + "\n")
    for path in OUT.rglob("generation_config.json"):
        path.unlink()
    rope()
    tokenizer()

main()
