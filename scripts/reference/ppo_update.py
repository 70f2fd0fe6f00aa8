"""One frozen round of PPO that the crate `ppo` must compute to the last digits.

    python scripts/reference/ppo_update.py        rewrites ppo/tests/golden/update/

Folders policy/, reference/ and critic/ (transformers' GPT-2, the critic with a scalar head), episodes.json (prompts, responses, scores of the reward
model), and for two presets NAME.safetensors: old log-probabilities, values, advantages and returns, losses and gradients of the first step, and all
weights after two passes. Everything is computed here in float64, in straight lines and without a batch: every row goes through transformers' model
alone and unpadded, and every formula is a loop over its tokens.
"""

import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "ppo/tests/golden/update"
EOS, PAD, FULL, PASSES, LR = 0, 1, 7, 2, 1e-3
IDS = dict(vocab_size=32, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=PAD)
SHAPE = dict(n_layer=2, n_head=2, n_embd=8, n_positions=24, initializer_range=0.3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **IDS)
PRESETS = {
    "openai-2019": dict(shared=True, after_end=False, keep=True, replace=True, kl_coef=0.15, whiten_rewards=True, unbiased=False, eps=1e-5, tf=True),
    "trl": dict(shared=False, after_end=True, keep=False, replace=False, kl_coef=0.05, whiten_rewards=False, unbiased=True, eps=1e-8, tf=False),
}
TEMPERATURE, CLIP, VALUE_CLIP, VALUE_COEF, GAMMA, LAMBDA, BETA1, BETA2 = 0.7, 0.2, 0.2, 0.1, 1.0, 0.95, 0.9, 0.999


def load(kind, name):
    model = kind.from_pretrained(OUT / name, attn_implementation="eager").double().eval()
    return model


def whiten(rows, shift, unbiased):
    flat = torch.cat(rows)
    mean, std = flat.mean(), (flat.var(unbiased=unbiased) + 1e-8).sqrt()
    return [(row - mean) / std + (0 if shift else mean) for row in rows]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(11)
    for name, kind, more in (("policy", transformers.GPT2LMHeadModel, {}), ("reference", transformers.GPT2LMHeadModel, {}),
                             ("critic", transformers.GPT2ForSequenceClassification, {"num_labels": 1})):
        kind(transformers.GPT2Config(**SHAPE, **more)).save_pretrained(OUT / name)
        (OUT / name / "generation_config.json").unlink(missing_ok=True)
    head = (torch.randn(1, SHAPE["n_embd"]) * 0.3).float()
    lengths = [(3, 7), (5, 4), (2, 7), (4, 1), (3, 6), (6, 5)]
    # Full responses; the end token stands where the text ends. Rows 0 and 2 never end.
    episodes = []
    for prompt, read in lengths:
        response = torch.randint(2, 32, (FULL,)).tolist()
        if read < FULL:
            response[read - 1] = EOS
        episodes.append({"prompt": torch.randint(2, 32, (prompt,)).tolist(), "response": response, "read": read, "finished": read < FULL})
    raw = (torch.randn(len(lengths)) * 1.5).float()
    (OUT / "episodes.json").write_text(json.dumps({"episodes": episodes, "scores": raw.tolist()}) + "\n")
    for preset, p in PRESETS.items():
        save_file({k: v.detach().float().contiguous().clone() for k, v in update(p, episodes, raw, head).items()}, OUT / f"{preset}.safetensors")
    for path in OUT.rglob("config.json"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if "transformers_version" not in line) + "\n")
    print(f"{OUT}: {sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes")


def update(p, episodes, raw, shared_head):
    out = {}
    policy, reference = load(transformers.GPT2LMHeadModel, "policy"), load(transformers.GPT2LMHeadModel, "reference")
    critic = load(transformers.GPT2ForSequenceClassification, "critic")
    head = shared_head.double().requires_grad_(True)
    out["value_head"] = head
    rows = [(e["prompt"], e["response"] if p["keep"] else e["response"][: e["read"]]) for e in episodes]
    scores = raw.double().clone()
    for i, e in enumerate(episodes):
        if not e["finished"]:
            scores[i] = -1.0 if p["replace"] else scores[i] - 1.0
    out["scores"] = scores

    def look(model, row):
        """Log-probabilities of the response tokens, their distributions' entropies, and the values of the row's states."""
        prompt, response = row[0], row[1]
        ids = torch.tensor([prompt + response])
        hidden = model.transformer(ids).last_hidden_state[0]
        logits = model.lm_head(hidden)[len(prompt) - 1 : -1] / TEMPERATURE
        log_p = torch.log_softmax(logits, -1)
        return log_p[torch.arange(len(response)), torch.tensor(response)], -(log_p.exp() * log_p).sum(-1), hidden

    def values_of(row, finished, hidden):
        prompt, response = row
        trunk = hidden if p["shared"] else critic.transformer(torch.tensor([prompt + response])).last_hidden_state[0]
        weight = head if p["shared"] else critic.score.weight
        states = len(response) + (1 if p["after_end"] and finished else 0)
        return (trunk @ weight[0])[len(prompt) - 1 : len(prompt) - 1 + states]

    with torch.no_grad():
        old, old_values, rewards, kl = [], [], [], 0.0
        for i, row in enumerate(rows):
            log_p, _, hidden = look(policy, row)
            d = log_p - look(reference, row)[0]
            value = values_of(row, episodes[i]["finished"], hidden)
            reward = torch.zeros_like(value)
            reward[: len(d)] = -p["kl_coef"] * d
            reward[-1] += scores[i]
            old.append(log_p), old_values.append(value), rewards.append(reward)
            kl += d.sum() / len(rows)
        out["kl"] = kl
        if p["whiten_rewards"]:
            rewards = whiten(rewards, False, p["unbiased"])
        advantages, returns = [], []
        for reward, value, row in zip(rewards, old_values, rows):
            a, last, after = torch.zeros_like(reward), 0.0, 0.0
            for t in reversed(range(len(reward))):
                last = reward[t] + GAMMA * after - value[t] + GAMMA * LAMBDA * last
                a[t], after = last, value[t]
            returns.append(a + value)
            advantages.append(a[: len(row[1])])
        advantages = whiten(advantages, True, p["unbiased"])
    width = FULL + (1 if p["after_end"] else 0)
    for name, ragged in (("old_logp", old), ("old_values", old_values), ("advantages", advantages), ("returns", returns)):
        out[name] = torch.stack([torch.nn.functional.pad(x, (0, width - len(x))) for x in ragged])

    named = [(f"policy.{n}", x) for n, x in policy.named_parameters()]
    named += [("value_head", head)] if p["shared"] else [(f"critic.{n}", x) for n, x in critic.named_parameters()]
    moments = {n: (torch.zeros_like(x), torch.zeros_like(x)) for n, x in named}
    for step in range(1, PASSES + 1):
        tokens, states = sum(len(x) for x in old), sum(len(x) for x in old_values)
        pg, vf, entropy, clipped = 0.0, 0.0, 0.0, 0
        for i, row in enumerate(rows):
            log_p, row_entropy, hidden = look(policy, row)
            value = values_of(row, episodes[i]["finished"], hidden)
            entropy = entropy + row_entropy.sum()
            for t in range(len(log_p)):
                ratio, a = (log_p[t] - old[i][t]).exp(), advantages[i][t]
                loss, bound = -a * ratio, -a * ratio.clamp(1 - CLIP, 1 + CLIP)
                pg, clipped = pg + torch.maximum(loss, bound), clipped + int(bound > loss)
            for t in range(len(value)):
                near = torch.clamp(value[t], old_values[i][t] - VALUE_CLIP, old_values[i][t] + VALUE_CLIP)
                vf = vf + 0.5 * torch.maximum((value[t] - returns[i][t]) ** 2, (near - returns[i][t]) ** 2)
        total = pg / tokens + VALUE_COEF * vf / states
        grads = torch.autograd.grad(total, [x for _, x in named])
        out |= {f"loss.{step}": torch.stack([pg / tokens, vf / states, entropy / tokens, torch.tensor(clipped / tokens)])}
        with torch.no_grad():
            for (n, x), g in zip(named, grads):
                if step == 1:
                    out[f"grad.{n}"] = g
                m, v = moments[n]
                m.mul_(BETA1).add_(g, alpha=1 - BETA1)
                v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                if p["tf"]:
                    x -= LR * (1 - BETA2**step) ** 0.5 / (1 - BETA1**step) * m / (v.sqrt() + p["eps"])
                else:
                    x -= LR / (1 - BETA1**step) * m / ((v / (1 - BETA2**step)).sqrt() + p["eps"])
    out |= {f"after.{n}": x for n, x in named if n != "value_head"}
    if p["shared"]:
        out["after.value_head"] = head
    out["value_head"] = shared_head
    return out


main()
