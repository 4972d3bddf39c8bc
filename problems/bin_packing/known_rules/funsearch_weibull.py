"""The rule that FunSearch found for Weibull sets, rewritten from its published formula.

Source: Romera-Paredes et al., Mathematical discoveries from program search with large language models, Nature 625
(2024), open access under CC BY 4.0. There a rule is offered an empty bin for each item still to come, here a single
one, and the formula compares neighbours: so its figures differ from the published ones.
"""

import numpy as np
from numpy.typing import NDArray


def priority(item: int, bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return s, less the s of the bin before, with s = (c - max c)^2 / w + c^2 / w^2 + c^2 / w^3, negated where c > w.

    c is a bin's remaining capacity and w the item's size.
    """
    space = bins.astype(np.float64)
    s = (space - space.max()) ** 2 / item + space**2 / item**2 + space**2 / item**3
    s[bins > item] *= -1
    return np.diff(s, prepend=0.0)
