"""Golden fixtures for the crate `model`: tiny folders written by transformers, with what transformers computes from them.

    python scripts/reference/model.py            writes model/tests/golden/

Each folder NAME/ holds a model; NAME.safetensors beside it the expected numbers:
  ids [B, T], logits [B, T, V], loss (mean cross-entropy of the next token), grad.<tensor name>, greedy.<i> (continuations of prompts
  of different lengths), or for reward models ids [B, T] padded on the right and scores [B].
Weights are drawn wider than usual, and biases and norms off their neutral values, so that a forgotten term cannot hide.
"""
import pathlib, shutil
import torch, transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "model" / "tests" / "golden"
IDS = dict(vocab_size=48, bos_token_id=0, eos_token_id=0, pad_token_id=1)
GPT2 = dict(n_layer=2, n_head=2, n_embd=16, n_positions=32, initializer_range=0.2, **IDS)
LLAMA = dict(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=16, intermediate_size=24,
             max_position_embeddings=64, initializer_range=0.2, **IDS)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
FOLDERS = {
    "gpt2": transformers.GPT2Config(**GPT2),
    "llama": transformers.LlamaConfig(**LLAMA, tie_word_embeddings=False, rope_parameters=LLAMA3),
    "qwen2": transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**LLAMA, head_dim=8, tie_word_embeddings=True),
    "gpt2_reward": transformers.GPT2Config(**GPT2, num_labels=1),
    "llama_reward": transformers.LlamaConfig(**LLAMA, num_labels=1),
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

def lm(model):
    ids = torch.randint(2, 48, (3, 12))
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    out = dict(ids=ids, logits=logits.detach(), loss=loss.detach())
    out |= {f"grad.{n}": p.grad for n, p in model.named_parameters()}
    for i, length in enumerate((3, 12, 1, 7)):
        prompt = ids.flatten()[i:i + length][None]
        new = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=16, eos_token_id=5)
        out |= {f"prompt.{i}": prompt[0], f"greedy.{i}": new[0, length:]}
    return out

def reward(model):
    ids = torch.randint(2, 48, (4, 12))
    for row, length in enumerate((12, 5, 9, 1)):
        ids[row, length:] = 1
    return dict(ids=ids, scores=model(ids).logits[:, 0].detach())

def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for name, config in FOLDERS.items():
        model = build(name, config)
        expected = reward(model) if name.endswith("reward") else lm(model)
        model.save_pretrained(OUT / name)
        save_file({k: v.contiguous().clone() for k, v in expected.items()}, OUT / f"{name}.safetensors")
        if name == "gpt2":  # the same in bfloat16 and in shards; expected: what these rounded weights give in float32
            model.bfloat16().save_pretrained(OUT / "gpt2_shards", max_shard_size="6KB")
            with torch.no_grad():
                logits = model.float()(expected["ids"]).logits
            save_file(dict(ids=expected["ids"], logits=logits), OUT / "gpt2_shards.safetensors")
    for path in OUT.rglob("config.json"):  # keep the fixture stable over patch releases
        text = path.read_text().splitlines()
        path.write_text("\n".join(line for line in text if "transformers_version" not in line) + "\n")
    for path in OUT.rglob("generation_config.json"):
        path.unlink()

main()
