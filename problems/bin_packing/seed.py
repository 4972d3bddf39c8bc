# EVOLVE-BLOCK-START
import numpy as np


def priority(item, bins):
    """First fit: the oldest bin comes first."""
    return -np.arange(len(bins), dtype=float)


# EVOLVE-BLOCK-END
