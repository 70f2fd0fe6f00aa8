"""Golden values for soft labels and margins in the crate `loss`: inputs, losses and gradients from plain PyTorch.

    python scripts/reference/loss_soft.py       rewrites loss/tests/golden/soft.safetensors

Everything is written in the most literal way (loops over rows, pairs, and all orders of the answers; float64). The expectation of Plackett-Luce is summed
over every permutation, which the Rust never forms. Inputs are stored as float32, so both sides start from the same numbers.
"""

import itertools
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261124)
out = {}


def put(**tensors):
    for name, value in tensors.items():
        assert name not in out, name
        value = torch.as_tensor(value).detach()
        out[name] = (value.to(torch.float32) if value.is_floating_point() else value.to(torch.int64)).contiguous()


def leaf(t):
    """The float32 input as a float64 leaf."""
    return t.to(torch.float64).requires_grad_(True)


K = 5
ranks = torch.tensor([
    [1, 2, 3, 4, 5],
    [3, 1, 2, 0, 0],   # three answers
    [1, 2, 0, 0, 0],   # a pair
    [1, 1, 2, 2, 2],
    [0, 2, 0, 1, 2],   # absent answers between
    [1, 1, 1, 0, 0],   # tied, though the worths differ
    [1, 0, 0, 0, 0],   # nothing to compare
    [2, 1, 2, 3, 2],
])
R = len(ranks)
scores, weights = torch.randn(R, K) * 2, torch.rand(R) + 0.5
worth = torch.randn(R, K) * 1.5
worth[7] *= 12  # almost certain labels
scores[6] *= 20
levels = torch.randn(R, K) * 1.2
put(ranks=ranks, scores=scores, weights=weights, worth=worth, levels=levels)


def there(row):
    return [k for k in range(K) if ranks[row, k] > 0]


def put_loss(name, term):
    """Sum of weight times `term(row, scores)` over the rows that have one."""
    s, total, weight = leaf(scores), 0, 0.0
    for row in range(R):
        value = term(row, s[row])
        if value is not None:
            total, weight = total + weights[row].double() * value, weight + weights[row].item()
    total.backward()
    put(**{name: total, f"{name}_grad": s.grad, f"{name}_weight": torch.tensor(weight)})


def soft_pairs(eps):
    def term(row, s):
        w, terms = worth[row].double(), []
        for i, j in itertools.combinations(there(row), 2):
            p = torch.sigmoid(w[i] - w[j])
            p = (1 - eps) * p + eps * (1 - p)
            terms.append(F.binary_cross_entropy_with_logits(s[i] - s[j], p))
        return sum(terms) / len(terms) if terms else None
    return term


put_loss("pairs", soft_pairs(0.0))
put_loss("pairs_smooth", soft_pairs(0.1))


def best(row, s):
    k = there(row)
    return F.cross_entropy(s[k][None], torch.softmax(worth[row].double()[k], 0)[None]) if len(k) > 1 else None


put_loss("best", best)


def log_p(order, s):
    """Plackett-Luce: log-probability of an order of answers, best first."""
    return sum(s[order[i]] - torch.logsumexp(s[list(order[i:])], 0) for i in range(len(order)))


def expectation(row, s):
    k = there(row)
    if len(k) < 2:
        return None
    w = worth[row].double()
    orders = list(itertools.permutations(k))
    p = torch.stack([log_p(order, w) for order in orders]).exp()
    assert abs(p.sum() - 1) < 1e-9
    return -sum(q * log_p(order, s) for q, order in zip(p, orders))


put_loss("plackett_luce", expectation)


def margin(ties, eps):
    def term(row, s):
        r, level, terms = ranks[row].tolist(), levels[row].double(), []
        for i, j in itertools.permutations(there(row), 2):
            if r[i] < r[j]:
                d = s[i] - s[j] - max(level[i] - level[j], torch.tensor(0.0).double())
                terms.append(-(1 - eps) * F.logsigmoid(d) - eps * F.logsigmoid(-d))
            elif r[i] == r[j] and i < j and ties:
                terms.append(-0.5 * F.logsigmoid(s[i] - s[j]) - 0.5 * F.logsigmoid(s[j] - s[i]))
        return sum(terms) / len(terms) if terms else None
    return term


put_loss("margin", margin(False, 0.0))
put_loss("margin_half", margin(True, 0.1))

path = pathlib.Path(__file__).resolve().parents[2] / "loss/tests/golden/soft.safetensors"
save_file(out, path)
print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")
