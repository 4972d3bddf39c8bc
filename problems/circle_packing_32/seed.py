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


def ring(count, radius):
    """Centers on a circle around the middle of the square."""
    angles = 2 * np.pi * np.arange(count) / count
    return 0.5 + radius * np.column_stack([np.cos(angles), np.sin(angles)])


def pack(n):
    """One circle in the middle, a ring of 6, a ring of 10, the others on a ring near the walls."""
    centers = np.vstack([[[0.5, 0.5]], ring(6, 0.18), ring(10, 0.34), ring(n - 17, 0.47)])
    return np.column_stack([centers, compute_radii(centers)])


# EVOLVE-BLOCK-END
