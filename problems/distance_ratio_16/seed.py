# EVOLVE-BLOCK-START
import numpy as np


def place(n, dimension):
    """Random points, normally distributed."""
    rng = np.random.RandomState(42)
    return rng.randn(n, dimension)


# EVOLVE-BLOCK-END
