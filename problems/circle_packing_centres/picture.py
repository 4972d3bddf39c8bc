"""Draws the best circles around the centres: darker is larger."""

from pathlib import Path

from problems.centres import circles_around
from problems.pictures import draw_circles


def draw(construction: object, target: Path) -> None:
    """Write a picture of a list of pairs [x, y] in the unit square.

    Raises:
        ValueError: The construction is not such a list.
    """
    if not isinstance(construction, list) or not construction:
        raise ValueError("expected a list of pairs [x, y]")
    draw_circles(circles_around([(float(x), float(y)) for x, y in construction]), target)
