"""Attention maps of the decoders among the fixtures, as transformers gives them with `output_attentions`.

    python scripts/reference/views.py       rewrites model/tests/golden/attention.safetensors

Reads the folders that model.py made.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

IDS = [3, 7, 1, 12, 9, 4, 20, 2, 11]
FAMILIES = ["gpt2", "llama", "llama_tied", "mistral", "mistral_tied", "qwen2", "qwen2_window", "qwen3", "qwen3_window", "neox", "neox_serial"]
golden = pathlib.Path(__file__).resolve().parents[2] / "model/tests/golden"
out = {}
for family in FAMILIES:
    model = AutoModelForCausalLM.from_pretrained(golden / family, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        maps = model(torch.tensor([IDS]), output_attentions=True).attentions
    for layer, map in enumerate(maps):
        out[f"{family}.{layer}"] = map[0].contiguous()
path = golden / "attention.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
