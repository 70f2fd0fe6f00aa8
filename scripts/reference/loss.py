"""Golden values for the crate `loss`: inputs, losses and gradients from plain PyTorch.

    python scripts/reference/loss.py        rewrites loss/tests/golden/loss.safetensors

Each loss is written here in the most literal way (loops over rows, tokens, pairs and tied groups; float64), independent of the
vectorised Rust. Inputs are stored as float32, so both sides start from the same numbers.
"""

import itertools
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20240229)
out = {}


def put(**tensors):
    for name, value in tensors.items():
        assert name not in out, name
        value = torch.as_tensor(value).detach()
        out[name] = (value.to(torch.float32) if value.is_floating_point() else value.to(torch.int64)).contiguous()


def leaf(t):
    """The float32 input as a float64 leaf."""
    return t.to(torch.float64).requires_grad_(True)


# --- language model -------------------------------------------------------------------------------------------------------------
B, T, V, D = 3, 7, 11, 5
logits = torch.randn(B, T, V) * 2
targets = torch.randint(0, V, (B, T))
mask = torch.tensor([[0, 0, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
put(lm_logits=logits, lm_targets=targets, lm_mask=mask)
x = leaf(logits)
lp = torch.log_softmax(x, -1).gather(-1, targets[..., None]).squeeze(-1)
put(lm_log_probs=lp, lm_entropy=torch.distributions.Categorical(logits=x).entropy())
nll = F.cross_entropy(x.reshape(-1, V), targets.masked_fill(mask == 0, -100).reshape(-1), reduction="sum", ignore_index=-100)
nll.backward()
put(lm_nll=nll, lm_nll_grad=x.grad)
x = leaf(logits)
torch.distributions.Categorical(logits=x).entropy()[mask == 1].sum().backward()
put(lm_entropy_grad=x.grad)

# --- masked statistics ----------------------------------------------------------------------------------------------------------
x = torch.randn(B, T) * 3 + 1
valid = x.double()[mask == 1]
put(stat_x=x, stat_mean=valid.mean(), stat_var=valid.var(unbiased=False), stat_var_unbiased=valid.var(unbiased=True))
for unbiased in (False, True):
    for shift in (False, True):
        w = (valid - valid.mean()) * torch.rsqrt(valid.var(unbiased=unbiased) + 1e-8) + (0 if shift else valid.mean())
        full = torch.zeros(B, T, dtype=torch.float64)
        full[mask == 1] = w
        put(**{f"whiten_{'shift' if shift else 'keep'}_{'unbiased' if unbiased else 'biased'}": full})

# --- preferences ----------------------------------------------------------------------------------------------------------------
P = 6
better, worse, weights, margin = torch.randn(P) * 2, torch.randn(P) * 2, torch.rand(P) + 0.5, torch.rand(P)
put(bt_better=better, bt_worse=worse, bt_weights=weights, bt_margins=margin)
for name, eps, m in (("plain", 0.0, None), ("smooth", 0.1, None), ("margin", 0.0, margin), ("tie", 0.5, None)):
    b, w = leaf(better), leaf(worse)
    total = 0
    for i in range(P):
        d = b[i] - w[i] - (0 if m is None else m[i].double())
        total = total + weights[i].double() * (-(1 - eps) * F.logsigmoid(d) - eps * F.logsigmoid(-d))
    total.backward()
    put(**{f"bt_{name}": total, f"bt_{name}_grad": b.grad})

K = 5
ranks = torch.tensor([
    [1, 2, 3, 4, 5],   # no tie
    [3, 1, 2, 0, 0],   # three answers
    [1, 2, 0, 0, 0],   # a pair
    [1, 1, 2, 2, 2],   # a tie at the top and at the bottom
    [2, 1, 2, 3, 2],   # a tie in the middle
    [1, 1, 1, 0, 0],   # all tied
    [1, 0, 0, 0, 0],   # nothing to compare
    [0, 2, 0, 1, 2],   # absent answers between
])
R = len(ranks)
scores, row_weights = torch.randn(R, K) * 2, torch.rand(R) + 0.5
scores[6] *= 20  # large scores must not overflow
put(rank_ranks=ranks, rank_scores=scores, rank_weights=row_weights)


def pairwise(s, r, ties, eps):
    terms = []
    for i, j in itertools.permutations([k for k in range(K) if r[k] > 0], 2):
        if r[i] < r[j]:
            terms.append(-(1 - eps) * F.logsigmoid(s[i] - s[j]) - eps * F.logsigmoid(s[j] - s[i]))
        elif r[i] == r[j] and i < j and ties:
            terms.append(-0.5 * F.logsigmoid(s[i] - s[j]) - 0.5 * F.logsigmoid(s[j] - s[i]))
    return sum(terms) / len(terms) if terms else None


for name, ties, eps in (("skip", False, 0.0), ("half", True, 0.0), ("smooth", False, 0.1)):
    s, total, weight = leaf(scores), 0, 0.0
    for row in range(R):
        term = pairwise(s[row], ranks[row].tolist(), ties, eps)
        if term is not None:
            total, weight = total + row_weights[row].double() * term, weight + row_weights[row].item()
    total.backward()
    put(**{f"pairs_{name}": total, f"pairs_{name}_grad": s.grad, f"pairs_{name}_weight": torch.tensor(weight)})


def efron(s, r):
    """log P of a ranking with ties, group by group."""
    present = [k for k in range(K) if r[k] > 0]
    log_p = 0
    for level in sorted({r[k] for k in present}):
        tied = [k for k in present if r[k] == level]
        left = [k for k in present if r[k] >= level]
        all_left, all_tied = sum(s[k].exp() for k in left), sum(s[k].exp() for k in tied)
        log_p = log_p + sum(s[k] for k in tied)
        for l in range(len(tied)):
            log_p = log_p - torch.log(all_left - l / len(tied) * all_tied)
    return log_p


s, total, weight = leaf(scores), 0, 0.0
for row in range(R):
    total = total - row_weights[row].double() * efron(s[row], ranks[row].tolist())
    weight += row_weights[row].item() if (ranks[row] > 0).sum() > 1 else 0
total.backward()
put(pl=total, pl_grad=s.grad, pl_weight=torch.tensor(weight))
put(centre=sum((scores[b, k].double() ** 2 for b in range(R) for k in range(K) if ranks[b, k] > 0)))

# --- PPO ------------------------------------------------------------------------------------------------------------------------
B, T = 4, 8
mask = torch.tensor([
    [0, 0, 1, 1, 1, 1, 1, 0],
    [0, 1, 1, 1, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 1, 1],
    [0, 0, 0, 0, 0, 1, 0, 0],
])
old_lp = -torch.rand(B, T) * 3
new_lp, ref_lp = old_lp + torch.randn(B, T) * 0.3, old_lp + torch.randn(B, T) * 0.3
score, values = torch.randn(B), torch.randn(B, T)
old_values = values + torch.randn(B, T) * 0.3
put(ppo_mask=mask, ppo_old=old_lp, ppo_new=new_lp, ppo_ref=ref_lp, ppo_score=score, ppo_values=values, ppo_old_values=old_values)

d = old_lp.double() - ref_lp.double()
put(kl_k1=d, kl_k2=0.5 * d**2, kl_k3=torch.exp(-d) - 1 + d)
beta, gamma, lam, clip, vclip = 0.07, 0.97, 0.9, 0.2, 0.25
put(ppo_constants=torch.tensor([beta, gamma, lam, clip, vclip], dtype=torch.float64))
rewards, advantages = torch.zeros(B, T, dtype=torch.float64), torch.zeros(B, T, dtype=torch.float64)
for b in range(B):
    where = [t for t in range(T) if mask[b, t]]
    for t in where:
        rewards[b, t] = -beta * d[b, t] + (score[b].double() if t == where[-1] else 0)
    # A_t as the literal discounted sum of the δ, no recursion.
    delta = {}
    for t in where:
        after = old_values[b, t + 1].double() if t + 1 in where else 0.0
        delta[t] = rewards[b, t] + gamma * after - old_values[b, t].double()
    for t in where:
        advantages[b, t] = sum((gamma * lam) ** (u - t) * delta[u] for u in where if u >= t)
returns = (advantages + old_values.double()) * mask
put(ppo_rewards=rewards, ppo_advantages=advantages, ppo_returns=returns)

lp = leaf(new_lp)
loss, clipped, approx_kl, ratio_sum, max_log = 0, 0, 0.0, 0.0, 0.0
for b in range(B):
    for t in range(T):
        if mask[b, t]:
            log_ratio = lp[b, t] - old_lp[b, t].double()
            r, a = log_ratio.exp(), advantages[b, t]
            l1, l2 = -a * r, -a * r.clamp(1 - clip, 1 + clip)
            loss, clipped = loss + torch.max(l1, l2), clipped + int(l2 > l1)
            approx_kl, ratio_sum = approx_kl + 0.5 * log_ratio.item() ** 2, ratio_sum + r.item()
            max_log = max(max_log, abs(log_ratio.item()))
loss.backward()
put(policy=loss, policy_grad=lp.grad, policy_stats=torch.tensor([clipped, approx_kl, ratio_sum, max_log], dtype=torch.float64))

for name, c in (("value", vclip), ("value_free", math.inf)):
    v = leaf(values)
    loss, clipped = 0, 0
    for b in range(B):
        for t in range(T):
            if mask[b, t]:
                ret, old = returns[b, t], old_values[b, t].double()
                l1 = (v[b, t] - ret) ** 2
                l2 = (torch.clamp(v[b, t], old.item() - c, old.item() + c) - ret) ** 2
                loss, clipped = loss + 0.5 * torch.max(l1, l2), clipped + int(l2 > l1)
    loss.backward()
    put(**{name: loss, f"{name}_grad": v.grad, f"{name}_clipped": torch.tensor(float(clipped))})

path = pathlib.Path(__file__).resolve().parents[2] / "loss/tests/golden/loss.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
