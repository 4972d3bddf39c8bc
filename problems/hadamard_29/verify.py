"""Computes the determinant of a sign matrix in whole numbers.

Source of the problem: W. Orrick and B. Solomon, "The Hadamard maximal determinant problem", indiana.edu/~maxdet.
"""

from collections.abc import Sequence
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import arguments_beside

#: Rows and columns: what the entry point is called with.
(N,) = arguments_beside(__file__)

#: The determinant is given in this unit, as is usual for n = 29: 2^28 divides the determinant of every sign matrix.
UNIT = 2**28 * 7**12

_SIGNS = {"+": 1, "-": -1}

#: Wrong entries that a message repeats; others could be long.
_COMMON = (0, 2, "0", "1", " ")


def determinant(matrix: Sequence[Sequence[int]]) -> int:
    """Return the determinant of a square matrix of ints.

    Source: E. H. Bareiss, Math. Comp. 22 (1968): every division has no remainder.

    >>> determinant([[1, 2], [3, 4]]), determinant([[0, 1], [1, 0]]), determinant([[1, 1], [1, 1]])
    (-2, -1, 0)
    """
    rows = [list(row) for row in matrix]
    n, sign, previous = len(rows), 1, 1
    for k in range(n - 1):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            rows[k], rows[pivot] = rows[pivot], rows[k]
            sign = -sign
        top = rows[k]
        for row in rows[k + 1 :]:
            for j in range(k + 1, n):
                row[j] = (row[j] * top[k] - row[k] * top[j]) // previous
        previous = top[k]
    return sign * rows[-1][-1]


def signs(construction: object) -> list[list[int]] | str:
    """Return the matrix as ints, or why `construction` is none.

    A row is a text over + and -, or a list of such signs or of 1 and -1.
    """
    if type(construction) is not list:
        return f"expected {N} rows of {N} signs, got {type(construction).__name__}"
    if len(construction) != N:
        return f"expected {N} rows, got {len(construction)}"
    matrix = []
    for i, row in enumerate(construction):
        if type(row) is not str and type(row) is not list:
            return f"row {i}: expected a text of {N} signs + and -, or a list of 1 and -1, got {type(row).__name__}"
        if len(row) != N:
            return f"row {i}: expected {N} signs, got {len(row)}"
        for j, value in enumerate(row):
            # Exact types: True equals 1, but is no sign.
            known = value in _SIGNS if type(value) is str else type(value) in (int, float) and value in (1, -1)
            if not known:
                shown = f" {value!r}" if type(value) in (str, int, float) and value in _COMMON else ""
                return f"row {i}, column {j}: expected 1 or -1, got {type(value).__name__}{shown}"
        matrix.append([_SIGNS[value] if type(value) is str else int(value) for value in row])
    return matrix


def verify(construction: object) -> Verdict:
    """Judge a list of 29 texts of 29 signs "+" and "-", or of 29 lists of 1 and -1.

    Returns:
        The size of the determinant as score, in units of 2^28 * 7^12. A singular matrix is invalid.
    """
    matrix = signs(construction)
    if isinstance(matrix, str):
        return Verdict(valid=False, reason=matrix)
    size = abs(determinant(matrix))
    if size == 0:
        return Verdict(valid=False, reason="the determinant is 0: some rows are combinations of others")
    score = Fraction(size, UNIT)
    texts = ["".join("+" if value == 1 else "-" for value in row) for row in matrix]
    return Verdict(
        valid=True, score=float(score), exact=decimal_digits(score), construction=texts, measures=measures(matrix)
    )


def measures(matrix: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return the excess, which is the size of the sum of all signs, and the share of places that mirror their own sign.

    >>> measures([[1, 1], [-1, 1]])
    {'excess': 2.0, 'symmetry': 0.5}
    """
    n = len(matrix)
    mirrored = sum(matrix[i][j] == matrix[j][i] for i in range(n) for j in range(n))
    return {"excess": float(abs(sum(map(sum, matrix)))), "symmetry": mirrored / n**2}
