# EVOLVE-BLOCK-START
import numpy as np


def heights(most):
    n = 100
    return np.full(n, 0.5)


# EVOLVE-BLOCK-END
