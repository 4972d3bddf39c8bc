# EVOLVE-BLOCK-START
import numpy as np
from scipy.linalg import toeplitz
from scipy.optimize import linprog


def score(a):
    return 2 * len(a) * np.convolve(a, a).max() / a.sum() ** 2


def partner(a):
    """The g with the largest sum for which a * g stays below the peak of a * a."""
    n = len(a)
    shifts = toeplitz(np.append(a, np.zeros(n - 1)), np.append(a[0], np.zeros(n - 1)))
    peaks = np.full(2 * n - 1, np.convolve(a, a).max())
    return np.maximum(linprog(-np.ones(n), A_ub=shifts, b_ub=peaks).x, 0)


def heights(most):
    n = 94
    a = np.random.default_rng(0).random(n)
    best = a
    for _ in range(78):
        g = partner(a / a.sum())
        a = 0.95 * a / a.sum() + 0.05 * g / g.sum()
        if score(a) < score(best):
            best = a
    return best


# EVOLVE-BLOCK-END
