"""Credit: from the rewards of a step's groups to advantages. Pure, float64.

Every function takes `rewards_G_n`, `(G, n)`, with NaN where an attempt must not count (lost to an infrastructure
failure, unfinished when the step ended, cut at the token limit). It returns `(G, n)` advantages, 0 where masked. A
group whose valid rewards are all equal, or that holds fewer than two of them, says nothing: its advantages are 0. None
changes when a constant is added to a group's rewards; `max_rl`, `entropic_adaptive` and `rank` do not change when they
are multiplied by a positive constant either, nor does `grpo` where their deviation stays far above its guard of 1e-6,
and `rank` not when anything is done to them that keeps their order.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The highest advantage of the entropic forms, which reach n - 1 and beyond when one attempt stands alone.
CAP = 10.0
#: ThetaEvolve's guard against a vanishing deviation.
_STD_GUARD = 1e-6
#: TTT-Discover's fixed inverse temperature, arXiv:2601.16175.
_BETA = 2.0
#: TTT-Discover's highest adaptive inverse temperature; here in units of one over the group's spread.
_BETA_MAX = 1e6
_BISECTIONS = 80


def grpo(rewards_G_n: Array) -> Array:
    """Return `(r - mean) / (std + 1e-6)`, with the unbiased deviation.

    Source: GRPO, arXiv:2402.03300, equation 4, as ThetaEvolve's released code computes it.

    >>> grpo(np.array([[0.0, 1.0, np.nan]])).round(4).tolist()
    [[-0.7071, 0.7071, 0.0]]
    """
    return _settle(rewards_G_n, lambda r: (r - r.mean()) / (r.std(ddof=1) + _STD_GUARD))


def dr_grpo(rewards_G_n: Array) -> Array:
    """Return `r - mean`: no division, so that groups with little to tell weigh little.

    Source: Dr. GRPO, arXiv:2503.20783.

    >>> dr_grpo(np.array([[0.0, 1.0, 5.0]])).tolist()
    [[-2.0, -1.0, 3.0]]
    """
    return _settle(rewards_G_n, lambda r: r - r.mean())


def rloo(rewards_G_n: Array) -> Array:
    """Return `r` minus the mean of the group's other rewards.

    Source: RLOO, arXiv:2402.14740.

    >>> rloo(np.array([[0.0, 1.0, 5.0]])).tolist()
    [[-3.0, -1.5, 4.5]]
    """
    return _settle(rewards_G_n, lambda r: (r - r.mean()) * len(r) / (len(r) - 1))


def max_rl(rewards_G_n: Array) -> Array:
    """Return `(r - mean) / mean`, with rewards measured from the group's lowest.

    For rewards of 0 and 1 this weighs a rare success by its rarity, the gradient of the log-likelihood of success
    instead of its probability. Rewards here may be negative: hence the measure from the lowest, our deviation.

    >>> max_rl(np.array([[0.0, 0.0, 0.0, 1.0]])).tolist()
    [[-1.0, -1.0, -1.0, 3.0]]
    """

    def formula(r: Array) -> Array:
        raised = r - r.min()
        advantages: Array = (raised - raised.mean()) / raised.mean()
        return advantages

    return _settle(rewards_G_n, formula)


def entropic(rewards_G_n: Array) -> Array:
    """Return `exp(2 r)` over the mean of the others' `exp(2 r)`, minus 1, at most `CAP`.

    Source: TTT-Discover, arXiv:2601.16175. The weight of the best grows with its lead, in the reward's own unit.

    >>> entropic(np.array([[0.0, 0.0, 1.0]])).round(3).tolist()
    [[-0.762, -0.762, 6.389]]
    """
    return _settle(rewards_G_n, lambda r: _tilted(_BETA * (r - r.max())))


def entropic_adaptive(rewards_G_n: Array) -> Array:
    """Return the entropic advantages at the inverse temperature where the tilted group is ln 2 away from uniform.

    `beta` solves `KL(softmax(beta r) || uniform) = ln 2`, by bisection. Where several share the highest reward and no
    `beta` reaches ln 2, the highest one is taken. Source: TTT-Discover, arXiv:2601.16175; the cap is ours, for one
    outlier among near-ties earned 11.8 in a group of 4.

    >>> entropic_adaptive(np.array([[0.0, 0.5, 1.0, 0.9]])).round(2).tolist()
    [[-1.0, -0.96, 5.18, 0.36]]
    """

    def formula(r: Array) -> Array:
        below_best = (r - r.max()) / (r.max() - r.min())
        low, high = 0.0, _BETA_MAX
        for _ in range(_BISECTIONS):
            beta = (low + high) / 2
            low, high = (beta, high) if _divergence(beta * below_best) < np.log(2) else (low, beta)
        return _tilted(high * below_best)

    return _settle(rewards_G_n, formula)


def rank(rewards_G_n: Array) -> Array:
    """Return the rank of each reward in its group, ties at their mean rank, centred and of unit deviation.

    The few children that beat their parent count the same however small their gain: where a score has little room
    left, their gains are lost beside the steps between the penalties. Where all but one are tied, the one earns what
    `grpo` gives it. Source: rank-based fitness shaping is usual in evolution strategies (Wierstra et al.,
    arXiv:1106.4487; centred ranks, Salimans et al., arXiv:1703.03864); taking it as a group's credit, with mean
    ranks for ties and GRPO's unbiased deviation, is ours.

    >>> rank(np.array([[-0.4, -0.4, 2.0, 2.0001]])).round(4).tolist()
    [[-0.8165, -0.8165, 0.4082, 1.2247]]
    """

    def formula(r: Array) -> Array:
        _, places, counts = np.unique(r, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts + 1) / 2)[places]
        advantages: Array = (ranks - ranks.mean()) / ranks.std(ddof=1)
        return advantages

    return _settle(rewards_G_n, formula)


#: By the name that `learner.advantage` takes.
ADVANTAGES: Mapping[str, Callable[[Array], Array]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "max_rl": max_rl,
    "entropic": entropic,
    "entropic_adaptive": entropic_adaptive,
    "rank": rank,
}


def tells_nothing(rewards_n: Array) -> bool:
    """Return whether a group's valid rewards are all equal, or fewer than two."""
    valid = rewards_n[~np.isnan(rewards_n)]
    return len(valid) < 2 or bool(valid.min() == valid.max())


def most_varied(rewards_n: Array, size: int) -> Array:
    """Return a group's rewards, `(n,)`, with all but the `size` of highest variance masked.

    These are some of the highest and some of the lowest; of equal variances that with more of the highest is taken.

    Source: max-variance down-sampling of PODS, arXiv:2504.13818.

    >>> most_varied(np.array([0.0, 0.1, 0.2, 5.0]), 2).tolist()
    [0.0, nan, nan, 5.0]
    """
    (valid,) = np.nonzero(~np.isnan(rewards_n))
    if len(valid) <= size:
        return rewards_n
    ordered = valid[np.argsort(rewards_n[valid], kind="stable")]
    choices = [np.concatenate([ordered[:low], ordered[len(ordered) - size + low :]]) for low in range(size + 1)]
    kept = max(choices, key=lambda chosen: float(rewards_n[chosen].var()))
    masked = np.full_like(rewards_n, np.nan)
    masked[kept] = rewards_n[kept]
    return masked


def _settle(rewards_G_n: Array, formula: Callable[[Array], Array]) -> Array:
    """Apply `formula` to the valid rewards of every group that tells something."""
    advantages = np.zeros_like(rewards_G_n, dtype=np.float64)
    for rewards_n, advantages_n in zip(rewards_G_n, advantages, strict=True):
        if not tells_nothing(rewards_n):
            valid = ~np.isnan(rewards_n)
            advantages_n[valid] = formula(rewards_n[valid].astype(np.float64))
    return advantages


def _tilted(logits: Array) -> Array:
    """Return each weight over the mean of the others, minus 1, at most `CAP`; the highest logit is 0."""
    weights = np.exp(logits)
    others = (weights.sum() - weights) / (len(weights) - 1)
    advantages: Array = np.minimum(weights / np.maximum(others, 1e-12) - 1.0, CAP)
    return advantages


def _divergence(logits: Array) -> float:
    """Return `KL(softmax(logits) || uniform)` in nats; the highest logit is 0."""
    weights = np.exp(logits)
    total = weights.sum()
    return float((weights * logits).sum() / total - np.log(total) + np.log(len(logits)))
