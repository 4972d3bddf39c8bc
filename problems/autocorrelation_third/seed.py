# EVOLVE-BLOCK-START
import numpy as np


def heights(most):
    """A bell with two ripples."""
    n = 400
    x = np.linspace(-0.25, 0.25, n)
    a = np.exp(-(x**2) / (2 * 0.1**2))
    a += 0.3 * np.cos(2 * np.pi * 8 * x)
    a += 0.15 * np.sin(2 * np.pi * 16 * x)
    return a


# EVOLVE-BLOCK-END
