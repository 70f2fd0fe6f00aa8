"""Golden fixtures for the networks with an encoder in the crate `model`: tiny folders written by transformers, with what transformers and PyTorch compute.

    python scripts/reference/encoders.py                 writes model/tests/encoders/
    python scripts/reference/encoders.py --check FOLDER  loads a Marian or BERT folder that this project wrote, and prints what it gives

marian.safetensors: src.<i> and trg.<i> (token ids), mem and dec (padded rows' states from torch.nn.Transformer with the same weights), logits, loss (smoothed
by 0.1) and grad.<name> from MarianMTModel, greedy.<i>, beam.<i>.<j> and score.<i>.<j> (num_beams 4, n-best 3, two length penalties), map.<layer>.
bert.safetensors: ids, types, lengths, hidden and logits of BertForMaskedLM with its loss and gradients; bert_classes.safetensors: class logits, loss and gradients of
BertForSequenceClassification. Weights are drawn wider than usual, and biases and norms off their neutral values, so that a forgotten term cannot hide.
"""
import pathlib, shutil, sys
import torch, transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "model" / "tests" / "encoders"
EOS, PAD = 0, 1

def wide(model, seed, std=0.25):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" in name:
                continue
            if p.dim() > 1:
                p.copy_(torch.randn_like(p) * std)
            else:
                p.add_(torch.randn_like(p) * 0.2)
    return model.float().eval()

def write(tensors, name):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, OUT / f"{name}.safetensors")

def padded(rows, fill=PAD):
    width = max(map(len, rows))
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows]), torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])

def twin(model, c):
    """The same network of torch.nn.Transformer's parts: encoder and decoder without the norms that it has at their ends by default."""
    enc = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(c.d_model, c.encoder_attention_heads, c.encoder_ffn_dim, 0.0, "relu", batch_first=True), c.encoder_layers,
                                      enable_nested_tensor=False)
    dec = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(c.d_model, c.decoder_attention_heads, c.decoder_ffn_dim, 0.0, "relu", batch_first=True), c.decoder_layers)
    net = torch.nn.Transformer(c.d_model, c.encoder_attention_heads, custom_encoder=enc, custom_decoder=dec, batch_first=True)

    def attention(to, of):
        to.in_proj_weight.copy_(torch.cat([of.q_proj.weight, of.k_proj.weight, of.v_proj.weight]))
        to.in_proj_bias.copy_(torch.cat([of.q_proj.bias, of.k_proj.bias, of.v_proj.bias]))
        to.out_proj.load_state_dict(of.out_proj.state_dict())

    with torch.no_grad():
        for to, of in zip([*enc.layers, *dec.layers], [*model.model.encoder.layers, *model.model.decoder.layers]):
            attention(to.self_attn, of.self_attn)
            to.linear1.load_state_dict(of.fc1.state_dict()); to.linear2.load_state_dict(of.fc2.state_dict())
            to.norm1.load_state_dict(of.self_attn_layer_norm.state_dict())
            if hasattr(of, "encoder_attn"):
                attention(to.multihead_attn, of.encoder_attn)
                to.norm2.load_state_dict(of.encoder_attn_layer_norm.state_dict())
                to.norm3.load_state_dict(of.final_layer_norm.state_dict())
            else:
                to.norm2.load_state_dict(of.final_layer_norm.state_dict())
    return net.eval()

def marian():
    c = transformers.MarianConfig(vocab_size=40, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=2,
                                  encoder_ffn_dim=24, decoder_ffn_dim=40, max_position_embeddings=32, activation_function="relu", scale_embedding=True,
                                  dropout=0.1, eos_token_id=EOS, pad_token_id=PAD, decoder_start_token_id=PAD, forced_eos_token_id=EOS, bos_token_id=None)
    model = wide(transformers.MarianMTModel(c), 5)
    model.set_attn_implementation("eager")
    torch.manual_seed(6)
    with torch.no_grad():
        model.final_logits_bias.copy_(torch.randn(1, 40) * 0.3)
    model.save_pretrained(OUT / "marian")
    sources = [torch.randint(2, 40, (n,)).tolist() + [EOS] for n in (6, 1, 11, 3)]
    targets = [torch.randint(2, 40, (n,)).tolist() + [EOS] for n in (4, 9, 2, 7)]
    src, seen = padded(sources)
    trg, _ = padded(targets, -100)
    fed = [[PAD] + t[:-1] for t in targets]
    fed_ids, _ = padded(fed)
    out = {f"src.{i}": torch.tensor(s) for i, s in enumerate(sources)} | {f"trg.{i}": torch.tensor(t) for i, t in enumerate(targets)}
    # PyTorch's own network: embeddings and positions are ours to add.
    net, d = twin(model, c), c.d_model
    embed = lambda ids: model.model.shared(ids) * d ** 0.5 + model.model.encoder.embed_positions(ids.shape)
    with torch.no_grad():
        ignore = seen == 0
        mem = net.encoder(embed(src), src_key_padding_mask=ignore)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(fed_ids.shape[1])
        dec = net.decoder(embed(fed_ids), mem, tgt_mask=causal, memory_key_padding_mask=ignore)
        whole = net(embed(src), embed(fed_ids), tgt_mask=causal, src_key_padding_mask=ignore, memory_key_padding_mask=ignore)
    assert torch.allclose(whole, dec, atol=1e-6)
    got = model(input_ids=src, attention_mask=seen, decoder_input_ids=fed_ids, output_attentions=True)
    assert torch.allclose(got.logits, dec @ model.model.shared.weight.T + model.final_logits_bias, atol=2e-4), (got.logits - dec @ model.model.shared.weight.T - model.final_logits_bias).abs().max()
    loss = torch.nn.functional.cross_entropy(got.logits.flatten(0, 1), trg.flatten(), ignore_index=-100, label_smoothing=0.1)
    loss.backward()
    out |= dict(mem=mem, dec=dec, logits=got.logits, loss=loss)
    out |= {f"map.{i}": a for i, a in enumerate(got.cross_attentions)}
    out |= {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    common = dict(max_new_tokens=20, eos_token_id=EOS, pad_token_id=PAD, decoder_start_token_id=PAD, forced_eos_token_id=EOS, bad_words_ids=[[PAD]], do_sample=False)
    strip = lambda ids: ids[1:1 + (ids[1:] == EOS).nonzero()[0, 0] + 1]
    for i, s in enumerate(sources):
        ids = torch.tensor([s])
        out[f"greedy.{i}"] = strip(model.generate(ids, num_beams=1, **common)[0])
        for p, penalty in enumerate((1.0, 0.3)):
            best = model.generate(ids, num_beams=4, num_return_sequences=3, length_penalty=penalty, output_scores=True, return_dict_in_generate=True, **common)
            for j in range(3):
                out[f"beam.{p}.{i}.{j}"], out[f"score.{p}.{i}.{j}"] = strip(best.sequences[j]), best.sequences_scores[j]
    write(out, "marian")

def bert():
    c = transformers.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, max_position_embeddings=32,
                                pad_token_id=0)
    rows = [torch.randint(5, 40, (n,)).tolist() for n in (12, 5, 9)]
    ids, seen = padded(rows, 0)
    types = torch.tensor([[int(t > 3) for t in range(ids.shape[1])] for _ in rows]) * seen
    common = dict(ids=ids, types=types, lengths=seen.sum(1))
    model = wide(transformers.BertForMaskedLM(c), 7)
    model.set_attn_implementation("eager")
    model.save_pretrained(OUT / "bert")
    labels = torch.where((torch.rand(ids.shape) < 0.4) & (seen == 1), torch.randint(5, 40, ids.shape), -100)
    got = model(input_ids=ids, attention_mask=seen, token_type_ids=types, labels=labels, output_hidden_states=True, output_attentions=True)
    got.loss.backward()
    write(common | dict(hidden=got.hidden_states[-1], logits=got.logits, labels=labels, loss=got.loss) | {f"map.{i}": a for i, a in enumerate(got.attentions)}
          | {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}, "bert")
    c.num_labels, c.id2label, c.label2id = 3, {0: "no", 1: "perhaps", 2: "yes"}, {"no": 0, "perhaps": 1, "yes": 2}
    model = wide(transformers.BertForSequenceClassification(c), 8)
    model.save_pretrained(OUT / "bert_classes")
    labels = torch.tensor([2, 0, 1])
    got = model(input_ids=ids, attention_mask=seen, token_type_ids=types, labels=labels)
    got.loss.backward()
    write(common | dict(logits=got.logits, labels=labels, loss=got.loss) | {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}, "bert_classes")

def check(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(1)
    if config.model_type == "marian":
        model = transformers.MarianMTModel.from_pretrained(folder).eval()
        ids = torch.randint(4, config.vocab_size, (1, 7)); ids[0, -1] = config.eos_token_id
        print("source", ids[0].tolist())
        print("greedy", model.generate(ids, max_new_tokens=12)[0].tolist())
        print("beam", model.generate(ids, num_beams=4, max_new_tokens=12)[0].tolist())
    else:
        kind = transformers.AutoModelForSequenceClassification if "SequenceClassification" in config.architectures[0] else transformers.AutoModelForMaskedLM
        model, ids = kind.from_pretrained(folder).eval(), torch.randint(5, config.vocab_size, (1, 7))
        print("ids", ids[0].tolist())
        print("logits", model(ids).logits.flatten()[:8].tolist(), config.id2label)

def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    marian()
    bert()
    for path in OUT.rglob("config.json"):  # keep the fixture stable over patch releases
        text = path.read_text().splitlines()
        path.write_text("\n".join(line for line in text if "transformers_version" not in line) + "\n")
    for path in OUT.rglob("generation_config.json"):
        path.unlink()

check(sys.argv[2]) if sys.argv[1:2] == ["--check"] else main()
