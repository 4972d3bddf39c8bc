"""The forms in which arrangements of hexagons are published, with angles in degrees."""

import math
from collections.abc import Sequence
from typing import TypeGuard


def half_tangent(degrees: float) -> float:
    """Return the t of an angle: the tangent of its half, after whole turns of 60 degrees are taken from it.

    >>> half_tangent(60.0), round(half_tangent(90.0), 6), round(half_tangent(-200.0), 6)
    (0.0, -0.267949, -0.176327)
    """
    return math.tan(math.radians(math.remainder(degrees, 60)) / 2)


def construction(published: object) -> object:
    """Return `{"hexagons": [[x, y, t], ...], "outer": [x, y, t]}`; what has that form already stays as it is.

    A rounding of an angle to t moves corners by less than 1e-15; a published side is never read.

    Raises:
        ValueError: The form is not known.
    """
    match published:
        case {"hexagons": _, "outer": _}:
            return published
        case {"hexagons": [*rows], "outer_center": [x, y], "outer_angle_deg": angle}:
            return {"hexagons": [_turned(row) for row in rows], "outer": _turned([x, y, angle])}
        case [[*rows], [_, _, _] as outer, _] | {"inner_hex_data": [*rows], "outer_hex_data": outer}:
            return {"hexagons": [_turned(row) for row in rows], "outer": _turned(outer)}
    raise ValueError(
        'expected {"hexagons": rows [x, y, t], "outer": [x, y, t]}, or with angles in degrees '
        '{"hexagons": rows, "outer_center": [x, y], "outer_angle_deg": angle} or [rows, [x, y, angle], side]'
    )


def _turned(row: object) -> list[float]:
    if not _is_row(row):
        raise ValueError("expected triples [x, y, angle in degrees] of finite numbers")
    x, y, degrees = row
    return [x, y, half_tangent(degrees)]


def _is_row(row: object) -> TypeGuard[Sequence[float]]:
    """Whether a row holds three finite numbers; an int too large for a float has no angle."""
    if not isinstance(row, list) or len(row) != 3:
        return False
    return all(type(value) in (int, float) and abs(value) < 1e12 for value in row)
