"""The rule that FunSearch found for the OR-Library sets, rewritten from its published table of steps.

Source: Romera-Paredes et al., Mathematical discoveries from program search with large language models, Nature 625
(2024), open access under CC BY 4.0. It looks at the space that the item would leave: the less the better up to 7, then
the more the better, because a little space is of no use to a later item.
"""

import numpy as np
from numpy.typing import NDArray

#: Largest leftover space of each step, and the priority of the step; the last one is for all that is more.
LEFTOVERS = np.array([2, 3, 5, 7, 9, 12, 15, 21])
PRIORITIES = np.array([4, 3, 2, 1, 0.9, 0.95, 0.97, 0.98, 0.99])


def priority(item: int, bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the priority of the step that each bin's leftover space falls into."""
    return PRIORITIES[np.searchsorted(LEFTOVERS, bins - item)]
