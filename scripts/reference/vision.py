"""Golden fixtures for pictures: what PIL reads, and what transformers' ViTModel and a decoder behind it compute.

    python scripts/reference/vision.py                 writes data/tests/pictures/ and model/tests/vision/
    python scripts/reference/vision.py --check FOLDER  opens the vision/ of a model folder that this project wrote, and captions FOLDER's own way: prints state sums

data/tests/pictures: PNG and JPEG files and expected.json, their RGB bytes after PIL's BILINEAR resize to 8 x 8, in hex.
model/tests/vision/{gpt2,llama}: model folders with vision/ (a folder of ViTModel and projector.safetensors); {gpt2,llama}.safetensors: pixels, states (ViTModel's
last_hidden_state), prefix, ids.<i> (rows of text behind their picture), logits.<i> of picture and text, loss (sum over the text's tokens after the first, each predicted
from what precedes it, and over the first from the picture's last place), grad.<name> by the names in the folders, greedy.<i> (generate on inputs_embeds).
Weights are drawn wider than usual, and biases and norms off their neutral values, so that a forgotten term cannot hide.
"""
import json, pathlib, re, shutil, sys
import numpy, torch, transformers
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES, OUT = ROOT / "data" / "tests" / "pictures", ROOT / "model" / "tests" / "vision"
SIDE, EOS = 8, 0

def wide(model, seed, std=0.25):
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn_like(p) * std)
            else:
                p.add_(torch.randn_like(p) * 0.2)
    return model.float().eval()

def pictures():
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    y, x = numpy.mgrid[0:14, 0:20]
    smooth = numpy.stack([x * 12, y * 17, (x * y) % 256], -1).astype(numpy.uint8)
    colour = Image.fromarray(smooth)
    colour.save(PICTURES / "rgb.png")
    alpha = colour.copy(); alpha.putalpha(Image.fromarray((x * 10).astype(numpy.uint8))); alpha.save(PICTURES / "rgba.png")
    colour.convert("L").save(PICTURES / "grey.png")
    colour.quantize(16).save(PICTURES / "palette.png")
    colour.resize((5, 3)).save(PICTURES / "small.png")
    colour.save(PICTURES / "rgb.jpg", quality=92)
    colour.save(PICTURES / "progressive.jpg", quality=92, progressive=True)
    colour.convert("L").save(PICTURES / "grey.jpg", quality=92)
    expected = {p.name: Image.open(p).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes().hex() for p in sorted(PICTURES.iterdir())}
    (PICTURES / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")

def folder_name(name):
    """A parameter of ViTModel by its name in files, which are older than its names in memory."""
    name = re.sub(r"^layers\.", "encoder.layer.", name)
    for new, old in [("attention.q_proj", "attention.attention.query"), ("attention.k_proj", "attention.attention.key"), ("attention.v_proj", "attention.attention.value"),
                     ("attention.o_proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense")]:
        name = name.replace(new, old)
    return name

def captioner(name, decoder):
    vision = transformers.ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=12, patch_size=4, layer_norm_eps=1e-6)
    eyes = wide(transformers.ViTModel(vision, add_pooling_layer=False), 5)
    width = decoder.config.hidden_size
    projector = wide(torch.nn.Linear(24, width), 6)
    folder = OUT / name
    decoder.save_pretrained(folder)
    eyes.save_pretrained(folder / "vision")
    names = {f"mm_projector.{n}": p for n, p in projector.named_parameters()}
    save_file({n: p.detach().contiguous() for n, p in names.items()}, folder / "vision" / "projector.safetensors", metadata={"format": "pt"})
    written = set(load_file(folder / "vision" / "model.safetensors"))
    assert written == {folder_name(n) for n, _ in eyes.named_parameters()}, written
    torch.manual_seed(7)
    pixels = torch.rand(3, 3, 12, 12) * 2 - 1
    rows = [torch.randint(1, 40, (n,)).tolist() for n in (5, 1, 7)]
    states = eyes(pixels).last_hidden_state
    prefix = projector(states[:, 1:])
    out, loss = dict(pixels=pixels, states=states, prefix=prefix.reshape(-1, width)), 0
    for i, row in enumerate(rows):
        ids = torch.tensor([row])
        embedded = torch.cat([prefix[i:i + 1], decoder.get_input_embeddings()(ids)], 1)
        logits = decoder(inputs_embeds=embedded).logits[0]
        places = prefix.shape[1]
        loss = loss + torch.nn.functional.cross_entropy(logits[places - 1:-1], ids[0], reduction="sum")
        out |= {f"ids.{i}": ids[0], f"logits.{i}": logits}
        with torch.no_grad():
            new = decoder.generate(inputs_embeds=embedded.detach(), attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long), max_new_tokens=8, do_sample=False,
                                   eos_token_id=EOS, pad_token_id=EOS)[0]
        end = (new == EOS).nonzero()
        out[f"greedy.{i}"] = new[:end[0, 0] + 1] if len(end) else new
    loss.backward()
    grads = {n: p.grad for n, p in decoder.named_parameters()} | {folder_name(n): p.grad for n, p in eyes.named_parameters()} | {n: p.grad for n, p in names.items()}
    out |= dict(loss=loss) | {f"grad.{n}": g for n, g in grads.items() if g is not None}
    save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, OUT / f"{name}.safetensors")

def main():
    pictures()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    c = transformers.GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=EOS, eos_token_id=EOS)
    captioner("gpt2", wide(transformers.GPT2LMHeadModel(c), 3))
    c = transformers.LlamaConfig(vocab_size=40, max_position_embeddings=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                 intermediate_size=24, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS)
    captioner("llama", wide(transformers.LlamaForCausalLM(c), 4))
    for path in OUT.rglob("config.json"):  # keep the fixture stable over patch releases
        config = {key: value for key, value in json.loads(path.read_text()).items() if key != "transformers_version"}
        path.write_text(json.dumps(config, indent=2) + "\n")
    for path in OUT.rglob("generation_config.json"):
        path.unlink()

def check(folder):
    eyes, info = transformers.ViTModel.from_pretrained(pathlib.Path(folder) / "vision", add_pooling_layer=False, output_loading_info=True)
    decoder, also = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    print("vision", {k: v for k, v in info.items() if v}, "decoder", {k: v for k, v in also.items() if v})
    size = eyes.config.image_size
    pixels = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
    map_ = load_file(pathlib.Path(folder) / "vision" / "projector.safetensors")
    with torch.no_grad():
        states = eyes.eval()(pixels).last_hidden_state
        prefix = torch.nn.functional.linear(states[:, 1:], map_["mm_projector.weight"], map_["mm_projector.bias"])
        print("next token after a ramp of pixels", decoder.eval()(inputs_embeds=prefix).logits[0, -1].topk(3).indices.tolist())

check(sys.argv[2]) if sys.argv[1:2] == ["--check"] else main()
