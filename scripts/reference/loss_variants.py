"""Golden values for the variants in the crate `loss`, from the projects' own code where it can be imported, else from their formulas.

    python -m pip install trl==1.9.0 && python scripts/reference/loss_variants.py      rewrites loss/tests/golden/variants.safetensors

TRL's PPO is one long method. Its passages that turn scores into advantages and log-probabilities into losses are cut out of the installed source by
their first and last line, and run here on made-up roll-outs: what is compared is that project's code, not a copy of it. lm-human-preferences (L),
verl (V), NeMo-RL (N) and OpenRLHF (O) are written out from their formulas in the most literal way (loops over tokens, float64).
"""

import inspect
import math
import pathlib
import textwrap
import types

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from trl.experimental.ppo import ppo_trainer as trl_ppo
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

torch.manual_seed(20251122)
out = {}


def put(**tensors):
    for name, value in tensors.items():
        assert name not in out, name
        value = torch.as_tensor(value).detach()
        out[name] = (value.to(torch.float32) if value.is_floating_point() else value.to(torch.int64)).contiguous().clone()


def passage(first, last):
    """Lines of PPOTrainer.train from the one that begins with `first` to the one that begins with `last`."""
    lines = inspect.getsource(trl_ppo.PPOTrainer.train).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i in range(start, len(lines)) if lines[i].strip().startswith(last))
    return textwrap.dedent("\n".join(lines[start : end + 1]))


# --- TRL: statistics ------------------------------------------------------------------------------------------------------------
B, R, V = 5, 7, 11
logits, ids = torch.randn(B, R, V) * 2, torch.randint(0, V, (B, R))
put(trl_logits=logits, trl_ids=ids, trl_log_probs=selective_log_softmax(logits.double(), ids), trl_entropy=entropy_from_logits(logits.double()))
x, some = torch.randn(B, R) * 2 + 0.7, torch.rand(B, R) < 0.6
put(stat_x=x, stat_mask=some.long(), trl_mean=trl_ppo.masked_mean(x.double(), some), trl_var=trl_ppo.masked_var(x.double(), some))
for shift in (True, False):
    whitened = trl_ppo.masked_whiten(x.double(), some, shift_mean=shift)
    put(**{f"trl_whiten_{'shift' if shift else 'keep'}": whitened.masked_fill(~some, 0)})

# --- TRL: from log-probabilities and scores to advantages ------------------------------------------------------------------------
# Index of the last real token: an end token with pads behind it, one in the last slot but one, and two full answers (ended or not: TRL treats them alike).
last = torch.tensor([2, 5, 6, 0, 6])
logprobs, ref_logprobs = -torch.rand(B, R) * 3, -torch.rand(B, R) * 3
values, scores = torch.randn(B, R), torch.randn(B)
where = torch.arange(R).repeat(B, 1)
put(trl_last=last, trl_logprobs=logprobs, trl_ref=ref_logprobs, trl_values=values, trl_scores=scores)
put(trl_mask=(where <= last[:, None]).long(), trl_value_mask=(where <= last[:, None] + 1).long())
advantages_of = passage("# be very careful with `padding_mask_p1`", "advantages = torch.masked_fill(advantages, padding_mask, 0)")
for name, estimator, whiten in (("k1", "k1", False), ("k3", "k3", True)):
    args = types.SimpleNamespace(kl_estimator=estimator, kl_coef=0.07, whiten_rewards=whiten, gamma=0.98, lam=0.93)
    space = dict(vars(trl_ppo)) | dict(args=args, responses=ids, sequence_lengths=last, logprobs=logprobs.double(), scores=scores.double(),
                                       ref_logprobs=ref_logprobs.double(), values=values.double())
    exec(advantages_of, space)
    rewards = space["rewards"].masked_fill(space["padding_mask_p1"], 0)
    returns = space["returns"].masked_fill(space["padding_mask_p1"], 0)
    put(**{f"trl_{name}_rewards": rewards, f"trl_{name}_advantages": space["advantages"], f"trl_{name}_returns": returns})

# --- TRL: losses ----------------------------------------------------------------------------------------------------------------
losses_of = passage("vpredclipped = torch.clamp(", "loss = pg_loss + args.vf_coef * vf_loss")
clipfrac_of = passage("pg_clipfrac = masked_mean(", ")")
new = (logprobs + torch.randn(B, R) * 0.3).double().requires_grad_(True)
vpred = (values + torch.randn(B, R) * 0.4).double().requires_grad_(True)
put(trl_new=new, trl_vpred=vpred)
space |= dict(args=types.SimpleNamespace(cliprange=0.2, cliprange_value=0.25, vf_coef=0.1), micro_batch_inds=slice(None), new_logprobs=new, vpred=vpred,
              mb_values=values.double(), mb_return=space["returns"], mb_logprobs=logprobs.double(), mb_advantage=space["advantages"])
exec(losses_of, space)
exec(clipfrac_of, space)
space["loss"].backward()
put(trl_policy=space["pg_loss"], trl_value=space["vf_loss"], trl_loss=space["loss"], trl_policy_grad=new.grad, trl_value_grad=vpred.grad,
    trl_clipfracs=torch.stack([space["pg_clipfrac"], space["vf_clipfrac"]]))

# --- clamped KL: V clamps d at ±20 and the k3 estimate at ±10, O only the estimate -------------------------------------------------
d = torch.cat([torch.linspace(-30, 30, 13), torch.randn(8)])
put(kl_d=d, kl_verl=[max(-10, min(10, math.expm1(-max(-20, min(20, v))) + max(-20, min(20, v)))) for v in d.tolist()])
put(kl_openrlhf=[max(-10, min(10, math.exp(-v) - 1 + v)) for v in d.tolist()])
put(kl_k2=[0.5 * v * v for v in d.tolist()], kl_k1_clamped=[max(-5, min(5, v)) for v in d.tolist()])

# --- clipping of the ratio: symmetric, N's 0.2/0.28, V's dual clip 3, both --------------------------------------------------------
old, wide = -torch.rand(3, 40) * 4, torch.randn(3, 40) * 0.9  # ratios from 0.1 to 10: every branch is taken
advantage = torch.randn(3, 40)
put(clip_old=old, clip_new=old + wide, clip_advantage=advantage)
for name, low, high, dual in (("plain", 0.2, 0.2, 0), ("higher", 0.2, 0.28, 0), ("dual", 0.2, 0.2, 3), ("nemo", 0.2, 0.28, 10)):
    lp = (old + wide).double().requires_grad_(True)
    total, bounded = 0, 0
    for row in range(3):
        for t in range(40):
            r, a = (lp[row, t] - old[row, t].double()).exp(), advantage[row, t].double()
            loss = torch.max(-a * r, -a * r.clamp(1 - low, 1 + high))
            if dual and a < 0 and loss > -a * dual:
                loss, bounded = -a * dual, bounded + 1
            total = total + loss
    assert bool(bounded) == (name == "dual"), "the fixture must reach V's bound"
    total.backward()
    put(**{f"clip_{name}": total, f"clip_{name}_grad": lp.grad})

# --- the adaptive KL controller of L -----------------------------------------------------------------------------------------------
kls, beta, betas = (torch.rand(30) * 14).tolist(), 0.15, []
for kl in kls:
    error = min(max(kl / 6.0 - 1, -0.2), 0.2)
    beta *= 1 + error * 512 / 10000
    betas.append(beta)
put(controller_kls=kls, controller_betas=betas)

# --- reward: margins and centring as TRL's RewardTrainer has them -------------------------------------------------------------------
chosen, rejected, margin = torch.randn(6), torch.randn(6), torch.rand(6)
c, r = (t.double().requires_grad_(True) for t in (chosen, rejected))
loss = -F.logsigmoid(c - r - margin.double()).mean() + 0.01 * torch.mean((c + r) ** 2)
loss.backward()
put(rm_chosen=chosen, rm_rejected=rejected, rm_margin=margin, rm_loss=loss, rm_grads=torch.stack([c.grad, r.grad], 1))
ranks = torch.tensor([[1, 2, 3, 0], [2, 1, 0, 0], [1, 1, 2, 2], [1, 1, 0, 0]])
score, weight = torch.randn(4, 4), torch.rand(4) + 0.5
put(centre_ranks=ranks, centre_scores=score, centre_weights=weight)
for name, with_ties in (("skip", False), ("half", True)):
    s, total = score.double().requires_grad_(True), 0
    for row in range(4):
        pairs = [(i, j) for i in range(4) for j in range(i) if ranks[row, i] and ranks[row, j] and (with_ties or ranks[row, i] != ranks[row, j])]
        if pairs:
            total = total + weight[row].double() * sum((s[row, i] + s[row, j]) ** 2 for i, j in pairs) / len(pairs)
    total.backward()
    put(**{f"centre_{name}": total, f"centre_{name}_grad": s.grad})


# --- reward: L's softmax cross-entropy of the best answer -------------------------------------------------------------------------
s, total = score.double().requires_grad_(True), 0
for row in range(4):
    present = [i for i in range(4) if ranks[row, i]]
    best = [i for i in present if ranks[row, i] == min(ranks[row, j] for j in present)]
    total = total + weight[row].double() * sum(F.cross_entropy(s[row, present][None], torch.tensor([present.index(i)])) for i in best) / len(best)
total.backward()
put(best=total, best_grad=s.grad)

path = pathlib.Path(__file__).resolve().parents[2] / "loss/tests/golden/variants.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
