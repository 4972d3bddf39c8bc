# EVOLVE-BLOCK-START
import numpy as np


def compute_radii(centers):
    """Each radius reaches the nearest wall; then every overlapping pair shrinks in proportion."""
    radii = np.minimum(centers, 1 - centers).min(axis=1)
    for i in range(len(centers)):
        for j in range(i + 1, len(centers)):
            distance = np.linalg.norm(centers[i] - centers[j])
            if radii[i] + radii[j] > distance:
                radii[[i, j]] *= distance / (radii[i] + radii[j])
    # The check allows no overlap at all: give back what the rounding of floats may have taken.
    return radii * (1 - 1e-12)


def pack(n):
    """One circle in the middle, a ring of 8, a ring of 16 along the walls, the last one in a corner."""
    centers = np.zeros((n, 2))
    centers[0] = [0.5, 0.5]
    for i in range(8):
        angle = 2 * np.pi * i / 8
        centers[1 + i] = [0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)]
    for i in range(16):
        angle = 2 * np.pi * i / 16
        centers[9 + i] = [0.5 + 0.7 * np.cos(angle), 0.5 + 0.7 * np.sin(angle)]
    centers = np.clip(centers, 0.01, 0.99)
    return np.column_stack([centers, compute_radii(centers)])


# EVOLVE-BLOCK-END
