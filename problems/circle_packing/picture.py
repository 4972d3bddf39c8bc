"""Draws a circle packing: darker is larger."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle


def draw(construction: object, target: Path) -> None:
    """Write a picture of a list of triples [x, y, radius], in the format that the suffix of `target` names.

    Raises:
        ValueError: The construction is not such a list.
    """
    circles = _circles(construction)
    largest = max(radius for _, _, radius in circles)
    figure = Figure(figsize=(6, 6.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#fbfaf7", edgecolor="#333333", linewidth=1.2))
    shades = colormaps["GnBu"]([0.2 + 0.6 * radius / largest for _, _, radius in circles])
    discs = [Circle((x, y), radius) for x, y, radius in circles]
    axes.add_collection(PatchCollection(discs, facecolors=shades, edgecolors="#24507a", linewidths=0.8))
    score = sum(radius for _, _, radius in circles)
    axes.set_title(f"{len(circles)} circles, sum of radii {score:.10f}", fontsize=13, color="#222222", pad=10)
    figure.savefig(target, dpi=150)


def _circles(construction: object) -> list[tuple[float, float, float]]:
    if not isinstance(construction, list) or not construction:
        raise ValueError("expected a list of triples [x, y, radius]")
    return [(float(x), float(y), float(radius)) for x, y, radius in construction]
