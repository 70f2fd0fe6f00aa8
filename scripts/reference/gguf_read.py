#!/usr/bin/env python3
"""What others read from GGUF files of ours: gguf_read.py (FILE ROUNDED_FOLDER TENSORS)...

llama.cpp's own reader opens FILE, which must hold TENSORS tensors; where transformers knows the architecture, the network it makes of the file must give the logits of the model
folder ROUNDED_FOLDER, whose weights are those of the file. Prints one JSON object a file. Needs gguf, torch and transformers.
"""
import json, pathlib, sys

import gguf
import torch
from transformers import AutoModelForCausalLM


def read(file, folder, tensors):
    reader = gguf.GGUFReader(file)
    architecture = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    assert len(reader.tensors) == tensors, (len(reader.tensors), tensors)
    numbers = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    found = {"architecture": architecture, "tensors": len(numbers), "sum": float(sum(abs(x).astype("float64").sum() for x in numbers.values()))}
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found["folder_sum"] = float(sum(p.detach().double().abs().sum() for p in ours.parameters()))
    if architecture in ("gpt2", "llama", "qwen2", "qwen3"):
        # transformers does not read the context of a GPT-2 and the head's width of a Qwen3: those need to be told the shape.
        shape = {"config": ours.config} if architecture in ("gpt2", "qwen3") else {}
        theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, **shape).eval()
        ids = torch.arange(1, 17).unsqueeze(0)
        with torch.no_grad():
            found["distance"] = float((ours(ids).logits - theirs(ids).logits).abs().max())
            found["scale"] = float(ours(ids).logits.abs().max())
    print(json.dumps(found), flush=True)


for file, folder, tensors in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    read(pathlib.Path(file), pathlib.Path(folder), int(tensors))
