"""What textbook optimisers make of 26 circles: `python -m benchmarks.centres [STARTS]`.

Each is called from STARTS (24) random centres, with seeds 0, 1, 2 and on, and some also from centres that repelled each
other first, as a move of the problem asks. Printed for each: seconds of one core, and the median and the best of the
scores, which are those of problem=circle_packing_centres: the verifier solves for the radii. The last one is called ten
times as often, for it is that much quicker, and is not among the moves.

- half, turn, rounds K: one call of SLSQP over the centres, with radii that are half the distance to the next centre,
  that then grow in turn, or that all grow at once in K rounds.
- coarse to fine: four such calls, with 0, 3, 10 and 30 rounds, each from where the one before stopped.
- centres and radii: one call of SLSQP over both, with the constraints that no circle overlaps another or a wall.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from problems.centres import verify_centres

CIRCLES = 26
STARTS = 24
Array = np.ndarray[Any, np.dtype[np.float64]]
Radii = Callable[[Array], Array]


def random_centres(seed: int) -> Array:
    """Return centres away from the walls."""
    return np.random.default_rng(seed).uniform(0.09, 0.91, (CIRCLES, 2))


def repelled_centres(seed: int) -> Array:
    """Return random centres after 300 rounds of repulsion."""
    centres = np.random.default_rng(seed).random((CIRCLES, 2))
    for _ in range(300):
        between = centres[:, None] - centres
        force = (between / ((between**2).sum(axis=2) + 1e-6)[..., None] ** 1.5).sum(axis=1)
        centres = np.clip(centres + np.clip(0.0003 * force, -0.02, 0.02), 0.09, 0.91)
    return centres


def _walls(centres: Array) -> Array:
    return np.minimum(centres, 1 - centres).min(axis=1)


def _distances(centres: Array) -> Array:
    return np.linalg.norm(centres[:, None] - centres, axis=2) + 9 * np.eye(len(centres))


def growing(rounds: int) -> Radii:
    """Return radii that begin at half the distance to the next centre, and all grow at once for so many rounds."""

    def radii(centres: Array) -> Array:
        walls, distances = _walls(centres), _distances(centres)
        r = np.minimum(walls, distances.min(axis=1) / 2)
        for _ in range(rounds):
            r = r + np.minimum(walls - r, (distances - r[:, None] - r).min(axis=1)) / 2
        return r

    return radii


def in_turn(centres: Array) -> Array:
    """Return radii of which each grows into what its neighbours leave, one after the other."""
    walls, distances = _walls(centres), _distances(centres)
    r = np.minimum(walls, distances.min(axis=1) / 2)
    for i in range(len(r)):
        r[i] = min(walls[i], np.min(distances[i] - r))
    return r


def moved(centres: Array, *kinds: Radii) -> Array:
    """Return the centres after one call of SLSQP over them for each kind of radii."""
    for radii in kinds:
        centres = minimize(
            lambda z, radii=radii: -radii(z.reshape(CIRCLES, 2)).sum(),
            centres.ravel(),
            method="SLSQP",
            bounds=[(0.01, 0.99)] * (2 * CIRCLES),
        ).x.reshape(CIRCLES, 2)
    return centres


def moved_with_radii(centres: Array) -> Array:
    """Return the centres after one call of SLSQP over centres and radii."""
    first, second = np.triu_indices(CIRCLES, 1)

    def gaps(z: Array) -> Array:
        x, y, r = z.reshape(3, CIRCLES)
        apart = np.hypot(x[first] - x[second], y[first] - y[second]) - r[first] - r[second]
        return np.concatenate([apart, x - r, y - r, 1 - x - r, 1 - y - r])

    start = np.concatenate([centres.T.ravel(), growing(0)(centres)])
    constraints = {"type": "ineq", "fun": gaps}
    end = minimize(lambda z: -z[2 * CIRCLES :].sum(), start, method="SLSQP", constraints=constraints).x
    return end[: 2 * CIRCLES].reshape(2, CIRCLES).T


def report(name: str, starts: int, start: Callable[[int], Array], optimise: Callable[[Array], Array]) -> None:
    """Print the figures of one optimiser."""
    scores = []
    began = time.perf_counter()
    for seed in range(starts):
        centres = np.clip(optimise(start(seed)), 0, 1)
        scores.append(verify_centres([[float(x), float(y)] for x, y in centres], CIRCLES).score or 0.0)
    seconds = time.perf_counter() - began
    print(
        f"{name:34} {starts:4} starts  {seconds / starts:6.2f} s each  first {scores[0]:.4f}  "
        f"median {statistics.median(scores):.4f}  best {max(scores):.4f}",
        flush=True,
    )


def main() -> None:
    """Print a line for each optimiser."""
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else STARTS
    coarse_to_fine = [growing(rounds) for rounds in (0, 3, 10, 30)]
    for word, start in (("random", random_centres), ("repelled", repelled_centres)):
        report(f"{word}, half", starts, start, lambda c: moved(c, growing(0)))
        report(f"{word}, turn", starts, start, lambda c: moved(c, in_turn))
        report(f"{word}, rounds 30", starts, start, lambda c: moved(c, growing(30)))
        report(f"{word}, coarse to fine", starts, start, lambda c: moved(c, *coarse_to_fine))
    report("random, centres and radii", 10 * starts, random_centres, moved_with_radii)


if __name__ == "__main__":
    main()
