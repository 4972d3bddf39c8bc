# EVOLVE-BLOCK-START
import numpy as np
from scipy.optimize import minimize


def loss(a, p):
    """Minus the logarithm of the score, with a p-norm in place of the maximum, and its gradient."""
    c = np.convolve(a, a)
    y = np.concatenate([[0], c, [0]])
    squares = np.sum(y[:-1] ** 2 + y[:-1] * y[1:] + y[1:] ** 2)
    peak = c.max()
    weights = (c / peak) ** (p - 1)
    total = np.sum(weights * c / peak)
    score = np.log(squares) - np.log(c.sum()) - np.log(peak) - np.log(total) / p
    slope = (4 * y[1:-1] + y[:-2] + y[2:]) / squares - 1 / c.sum() - weights / (peak * total)
    return -score, -2 * np.correlate(slope, a, "valid")


def climb(a, powers):
    """Improve a for one p after the other, rising, since the p-norm tends to the maximum."""
    bounds = [(1e-9, None)] * len(a)
    for p in powers:
        a = minimize(
            loss, a / a.max(), args=(p,), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12}
        ).x
    return a


def heights(most):
    n = 40
    powers = [10, 100, 872]
    starts = [np.random.default_rng(seed).random(n) for seed in range(10)]
    best = min((climb(a, powers) for a in starts), key=lambda a: loss(a, 10000)[0])
    return climb(np.repeat(best, 2), powers)


# EVOLVE-BLOCK-END
