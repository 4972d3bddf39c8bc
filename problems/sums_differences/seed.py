# EVOLVE-BLOCK-START
import math


def score(numbers):
    """The score of a small set, for a search to compare sets with."""
    sums = {a + b for a in numbers for b in numbers}
    differences = {a - b for a in numbers for b in numbers}
    return 1 + math.log(len(differences) / len(sums)) / math.log(2 * max(numbers) + 1)


def build(largest, most):
    """The smallest set with more differences than sums."""
    return [0, 1, 3]


# EVOLVE-BLOCK-END
