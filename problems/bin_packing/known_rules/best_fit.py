"""Best fit: the bin that the item leaves the least space in. Johnson et al., SIAM J. Comput. 3 (1974)."""

import numpy as np
from numpy.typing import NDArray


def priority(item: int, bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the negated space that would be left in each bin."""
    return item - bins
