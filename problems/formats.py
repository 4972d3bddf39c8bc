"""What others publish, as plain values: JSON, .npy, CSV, and text of numbers or of + and - rows.

Nothing of a file is executed: an .npy with pickled objects is refused. What comes out is what the file says, number for
number; whether it is any good is the verifier's business.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from numpy.lib.format import open_memmap

#: Larger files are refused, in bytes: a list of 10^6 floats has 20 MB of text.
LARGEST = 256 << 20

#: A construction needs few of these; what is nested deeper is refused before anything walks it.
DEEPEST = 64

#: Keys under which constructions are published alone or beside figures such as "score"; the first that fits is taken.
WRAPPERS = (
    *("construction", "solution", "circles", "points", "heights", "step_heights", "values", "f_values", "h_values"),
    *("coefficients", "sequence", "steps", "function", "f", "h", "a", "x", "set", "U", "vectors", "matrix", "rows"),
)
_CENTRES = ("centers", "centres", "positions", "coordinates", "coords", "xy", "points")
_RADII = ("radii", "radiuses", "radius", "rs", "r")


def read_file(file: Path) -> object:
    """Return what a file holds: nested lists, mappings, numbers and strings.

    Args:
        file: Its suffix decides: .npy, .csv, .txt (JSON, a table of numbers, or rows of + and -); all others are JSON.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what its suffix promises, or too large; the message says why, in one line.
    """
    if file.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST >> 20} MiB")
    if file.suffix == ".npy":
        return _read_npy(file)
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".csv":
        return _table(text)
    if file.suffix == ".txt" and not text.lstrip().startswith(("[", "{")):
        return _read_text(text)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [value]
    for _ in range(DEEPEST):
        nodes = (node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list))
        level = [child for node in nodes for child in node]
    if level:
        raise ValueError(f"it is nested too deeply, more than {DEEPEST} levels")
    return value


def _read_npy(file: Path) -> object:
    # Mapped, so that a header that promises more than the file holds is refused before memory is taken.
    array = open_memmap(file, mode="r")  # type: ignore[no-untyped-call,unused-ignore]  # typed from numpy 2.4 on
    if array.dtype.kind not in "biufU":
        raise ValueError(f"an array of {array.dtype} is none of numbers")
    return array.tolist()


def _read_text(text: str) -> object:
    rows = ["".join(line.split()) for line in text.splitlines() if line.strip()]
    if rows and all(set(row) <= {"+", "-"} for row in rows):
        return rows
    return _table(text)


def _table(text: str) -> object:
    """Return rows of numbers; a single row, or a single column, as one list. A line of titles may come first."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    separator = next((mark for mark in (",", ";") if lines and mark in lines[0]), None)
    fields = [[field.strip(" \t\"'") for field in line.rstrip(" ,;").split(separator)] for line in lines]
    if fields and not any(_is_number(field) for field in fields[0]):
        del fields[0]
    rows = [[_number(field) for field in row] for row in fields]
    if not rows:
        raise ValueError("it holds no numbers")
    if len(rows) == 1:
        return rows[0]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else rows


def _is_number(field: str) -> bool:
    try:
        _number(field)
    except ValueError:
        return False
    return True


def _number(field: str) -> int | float:
    try:
        return int(field)
    except ValueError:
        return float(field)


def plain(value: object) -> object:
    """Return a construction without its wrapping, in the commonest form: a list of rows or of numbers.

    Centres and radii, in one mapping, in a pair, or in a mapping for each circle, become rows `[x, y, radius]`; a
    mapping that holds a list under a known name becomes that list. Everything else stays what it is.

    >>> plain({"centers": [[0.5, 0.5]], "radii": [0.25], "sum": 0.25})
    [[0.5, 0.5, 0.25]]
    >>> plain({"score": 1.5, "heights": [1, 2]})
    [1, 2]
    """
    if isinstance(value, Mapping):
        return _unwrapped(value)
    if isinstance(value, list):
        if value and all(isinstance(entry, Mapping) for entry in value):
            return [_row(entry) for entry in value]
        # A pair of centres and radii, as programs return them, perhaps with their sum.
        if len(value) in (2, 3) and _is_joinable(value[0], value[1]):
            return _join(value[0], value[1])
    return value


def _unwrapped(value: Mapping[object, object]) -> object:
    centres, radii = _first(value, _CENTRES), _first(value, _RADII)
    if _is_joinable(centres, radii):
        return _join(centres, radii)
    x, y = _first(value, ("x", "xs")), _first(value, ("y", "ys"))
    if isinstance(x, list) and isinstance(y, list):
        columns = [x, y, radii] if isinstance(radii, list) else [x, y]
        return [list(row) for row in zip(*columns, strict=True)]
    for name in WRAPPERS:
        if isinstance(value.get(name), list | dict):
            return plain(value[name])
    return value


def _row(entry: Mapping[object, object]) -> object:
    """Return the numbers of one point or circle that is published as a mapping."""
    centre = _first(entry, ("center", "centre", "position", "point"))
    numbers = list(centre) if isinstance(centre, list) else [entry[name] for name in "xyz" if name in entry]
    radius = _first(entry, ("radius", "r"))
    return numbers if radius is None else [*numbers, radius]


def _first(value: Mapping[object, object], names: Sequence[str]) -> object:
    return next((value[name] for name in names if name in value), None)


def _is_joinable(centres: object, radii: object) -> bool:
    return (
        isinstance(centres, list)
        and isinstance(radii, list)
        and len(centres) == len(radii) > 0
        and all(isinstance(centre, list) for centre in centres)
        and not any(isinstance(radius, list) for radius in radii)
    )


def _join(centres: object, radii: object) -> list[list[object]]:
    if not isinstance(centres, list) or not isinstance(radii, list):
        raise TypeError("centres and radii must be lists")
    return [[*centre, radius] for centre, radius in zip(centres, radii, strict=True)]


def whole_numbers(value: object) -> object:
    """Return the value with each float that is a whole number as an int, as .npy and CSV files need it."""
    return _mapped(value, lambda leaf: int(leaf) if isinstance(leaf, float) and leaf.is_integer() else leaf)


def sign_rows(value: object) -> object:
    """Return a matrix of 1 and -1, however it is written, as strings of + and -; anything else stays what it is.

    >>> sign_rows([[1, -1], [1.0, 1.0]])
    ['+-', '++']
    """
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return value
    signs = {1: "+", -1: "-"}
    if not all(isinstance(entry, int | float) and entry in signs for row in value for entry in row):
        return value
    return ["".join(signs[entry] for entry in row) for row in value]


def _mapped(value: object, change: Callable[[object], object]) -> object:
    return [_mapped(entry, change) for entry in value] if isinstance(value, list) else change(value)
