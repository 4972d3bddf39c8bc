# EVOLVE-BLOCK-START
import numpy as np


def place(n):
    """One center in the middle, a ring of 8, a ring of 16 along the walls, the last one in a corner."""
    centers = np.zeros((n, 2))
    centers[0] = [0.5, 0.5]
    for i in range(8):
        angle = 2 * np.pi * i / 8
        centers[1 + i] = [0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)]
    for i in range(16):
        angle = 2 * np.pi * i / 16
        centers[9 + i] = [0.5 + 0.7 * np.cos(angle), 0.5 + 0.7 * np.sin(angle)]
    return np.clip(centers, 0.01, 0.99)


# EVOLVE-BLOCK-END
