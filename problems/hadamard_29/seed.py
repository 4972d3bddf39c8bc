# EVOLVE-BLOCK-START
import numpy as np


def climb(matrix):
    """Flip the one sign that makes the determinant largest, until no flip makes it larger."""
    while True:
        inverse = np.linalg.inv(matrix)
        # Flipping entry (i, j) multiplies the determinant by 1 - 2 * matrix[i, j] * inverse[j, i].
        factors = np.round(np.abs(1 - 2 * matrix * inverse.T), 6)
        i, j = np.unravel_index(np.argmax(factors), factors.shape)
        if factors[i, j] <= 1:
            return matrix
        matrix[i, j] *= -1


def build(n):
    """Climb from one random matrix of signs."""
    rng = np.random.default_rng(11)
    return climb(rng.choice([-1.0, 1.0], size=(n, n)))


# EVOLVE-BLOCK-END
