"""Pictures of constructions, for the problems' picture.py. The suffix of a target says the format."""

import itertools
import math
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle

#: How many of the smallest triangles are filled.
_TRIANGLES = 12

_EDGE = "#24507a"
_FRAME = "#333333"
_PAPER = "#fbfaf7"


def draw_circles(construction: object, target: Path) -> None:
    """Write a picture of a list of triples [x, y, radius] in the unit square; darker is larger.

    Raises:
        ValueError: The construction is not such a list.
    """
    circles = _rows(construction, 3)
    largest = max(radius for _, _, radius in circles)
    score = sum(radius for _, _, radius in circles)
    figure, axes = _sheet(f"{len(circles)} circles, sum of radii {score:.10f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=_PAPER, edgecolor=_FRAME, linewidth=1.2))
    shades = colormaps["GnBu"]([0.2 + 0.6 * radius / largest for _, _, radius in circles])
    discs = [Circle((x, y), radius) for x, y, radius in circles]
    axes.add_collection(PatchCollection(discs, facecolors=shades, edgecolors=_EDGE, linewidths=0.8))
    figure.savefig(target, dpi=150)


def draw_triangles(construction: object, target: Path) -> None:
    """Write a picture of points in the plane with their smallest triangles filled, the very smallest darkest.

    Raises:
        ValueError: The construction is no list of pairs.
    """
    points = [(x, y) for x, y in _rows(construction, 2)]
    triangles = sorted(itertools.combinations(points, 3), key=_area)[:_TRIANGLES]
    figure, axes = _sheet(f"{len(points)} points, the {len(triangles)} smallest triangles")
    for place, triangle in reversed(list(enumerate(triangles))):
        shade = colormaps["YlOrRd"](0.85 - 0.6 * place / _TRIANGLES)
        axes.add_patch(Polygon(triangle, facecolor=shade, edgecolor="none", alpha=0.75))
    axes.plot(*zip(*points, strict=True), "o", color=_EDGE, markersize=5)
    axes.margins(0.05)
    figure.savefig(target, dpi=150)


def draw_distances(construction: object, target: Path) -> None:
    """Write a picture of points with their shortest distances drawn solid and their longest dashed; 3D from the side.

    A distance counts as shortest or longest if it is so to a millionth.

    Raises:
        ValueError: The construction is no list of pairs, nor of triples.
    """
    width = len(construction[0]) if isinstance(construction, list) and construction else 2
    points = _rows(construction, width)
    pairs = list(itertools.combinations(points, 2))
    shortest, longest = (choose(math.dist(p, q) for p, q in pairs) for choose in (min, max))
    figure, axes = _sheet(f"{len(points)} points, longest over shortest distance {longest / max(shortest, 1e-300):.8f}")
    for p, q in pairs:
        length = math.dist(p, q)
        if length <= shortest * (1 + 1e-6):
            axes.plot(*_flat(p, q), "-", color="#1f6feb", linewidth=1.6)
        elif length >= longest * (1 - 1e-6):
            axes.plot(*_flat(p, q), "--", color="#b9b3a4", linewidth=0.8)
    axes.plot(*_flat(*points), "o", color=_EDGE, markersize=5)
    axes.margins(0.05)
    figure.savefig(target, dpi=150)


def draw_signs(construction: object, target: Path) -> None:
    """Write a picture of a sign matrix given as strings over "+" and "-": + is dark.

    Raises:
        ValueError: The construction is no list of strings.
    """
    if not isinstance(construction, list) or not all(isinstance(row, str) for row in construction):
        raise ValueError("expected a list of strings over '+' and '-'")
    figure, axes = _sheet(f"{len(construction)} x {len(construction)} signs, + is dark")
    axes.imshow([[sign == "+" for sign in row] for row in construction], cmap="Blues", vmin=-0.2, vmax=1.2)
    figure.savefig(target, dpi=150)


def draw_hexagons(construction: object, target: Path) -> None:
    """Write a picture of `{"hexagons": triples [x, y, t], "outer": [x, y, t]}`, the outer one as small as it can be.

    Raises:
        ValueError: The construction is no such arrangement.
    """
    if not isinstance(construction, dict) or not {"hexagons", "outer"} <= construction.keys():
        raise ValueError('expected {"hexagons": [...], "outer": [...]}')
    inner, (outer,) = _rows(construction["hexagons"], 3), _rows([construction["outer"]], 3)
    corners = [_corners(x, y, t, 1.0) for x, y, t in inner]
    x, y, t = outer
    across = [2 * math.atan(t) + math.radians(30 + 60 * k) for k in range(6)]
    points = [(u - x, v - y) for hexagon in corners for u, v in hexagon]
    side = max(u * math.cos(angle) + v * math.sin(angle) for u, v in points for angle in across) / math.cos(math.pi / 6)
    figure, axes = _sheet(f"{len(inner)} hexagons of side 1, outer side {side:.8f}")
    axes.add_patch(Polygon(_corners(x, y, t, side), facecolor=_PAPER, edgecolor=_FRAME, linewidth=1.2))
    shades = colormaps["GnBu"]([0.25 + 0.5 * i / len(inner) for i in range(len(inner))])
    patches = [Polygon(hexagon) for hexagon in corners]
    axes.add_collection(PatchCollection(patches, facecolors=shades, edgecolors=_EDGE, linewidths=0.8))
    axes.set(xlim=(x - 1.03 * side, x + 1.03 * side), ylim=(y - 1.03 * side, y + 1.03 * side))
    figure.savefig(target, dpi=150)


def _sheet(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 6.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=13, color="#222222", pad=10)
    return figure, axes


def _rows(construction: object, width: int) -> list[tuple[float, ...]]:
    if not isinstance(construction, list) or not construction:
        raise ValueError(f"expected a list of rows of {width} numbers")
    rows = [tuple(float(value) for value in row) for row in construction]
    if {len(row) for row in rows} != {width}:
        raise ValueError(f"expected a list of rows of {width} numbers")
    return rows


def _area(triangle: tuple[tuple[float, float], ...]) -> float:
    (x, y), (u, v), (a, b) = triangle
    return abs((u - x) * (b - y) - (a - x) * (v - y))


def _flat(*points: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Return the points' coordinates on the sheet; a third one leans to the right and up."""
    depths = [point[2] if len(point) == 3 else 0.0 for point in points]
    return (
        [point[0] + 0.4 * depth for point, depth in zip(points, depths, strict=True)],
        [point[1] + 0.25 * depth for point, depth in zip(points, depths, strict=True)],
    )


def _corners(x: float, y: float, t: float, side: float) -> list[tuple[float, float]]:
    """Return the corners of a regular hexagon whose direction has the half-angle tangent t."""
    angles = [2 * math.atan(t) + math.radians(60 * k) for k in range(6)]
    return [(x + side * math.cos(angle), y + side * math.sin(angle)) for angle in angles]
