# EVOLVE-BLOCK-START
import numpy as np


def place(n):
    """Random points in the unit square."""
    rng = np.random.default_rng(42)
    return rng.random((n, 2))


# EVOLVE-BLOCK-END
