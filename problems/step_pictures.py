"""Pictures of step functions above what is made of them, for the problems' picture.py.

The suffix of a target says the format.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_INK = "#24507a"
_FILL = "#cfe3ef"
_PEAK = "#c0392b"


def draw_peak(construction: object, target: Path) -> None:
    """Write a picture of f on [-1/4, 1/4], scaled to the integral 1, above f * f with its peak.

    Raises:
        ValueError: The construction is no list of heights with a sum other than 0.
    """
    f = _scaled(construction)
    peak = _autoconvolution(f).max()
    _draw_autoconvolution(f, target, title=f"{len(f)} steps, peak of f * f {peak:.10f}", marks=[peak])


def draw_absolute_peak(construction: object, target: Path) -> None:
    """Write a picture of f on [-1/4, 1/4], scaled to the integral 1, above f * f between its peak and minus that.

    Raises:
        ValueError: The construction is no list of heights with a sum other than 0.
    """
    f = _scaled(construction)
    peak = np.abs(_autoconvolution(f)).max()
    _draw_autoconvolution(f, target, title=f"{len(f)} steps, peak of |f * f| {peak:.10f}", marks=[peak, -peak])


def draw_norm_ratio(construction: object, target: Path) -> None:
    """Write a picture of f on [-1/4, 1/4], scaled to the integral 1, above f * f, and say how flat that is.

    Raises:
        ValueError: The construction is no list of heights with a sum other than 0.
    """
    f = _scaled(construction)
    c = _autoconvolution(f)
    ratio = (2 * np.sum(c**2) + np.sum(c[:-1] * c[1:])) / (3 * c.sum() * c.max())
    _draw_autoconvolution(f, target, title=f"{len(f)} steps, norm ratio of f * f {ratio:.10f}", marks=[c.max()])


def draw_overlap(construction: object, target: Path) -> None:
    """Write a picture of h on [0, 2], scaled to the mean 1/2, above its overlap with 1 - h for every shift.

    Raises:
        ValueError: The construction is no list of heights.
    """
    h = _heights(construction)
    h = h / h.mean() / 2 if h.mean() >= 0.5 else 1 - (1 - h) / (1 - h.mean()) / 2
    overlaps = np.correlate(h, 1 - h, "full") * 2 / len(h)
    figure, above, below = _sheet(f"{len(h)} steps, largest overlap {overlaps.max():.10f}")
    _draw_steps(above, h, 0, 2, "h")
    _draw_curve(below, overlaps, 2, "overlap, by shift", marks=[overlaps.max()])
    figure.savefig(target, dpi=150)


def _heights(construction: object) -> np.ndarray:
    if not isinstance(construction, list) or not construction:
        raise ValueError("expected a list of heights")
    return np.array([float(height) for height in construction])


def _scaled(construction: object) -> np.ndarray:
    """Return the heights of a function on an interval of length 1/2 whose integral is 1."""
    heights = _heights(construction)
    if heights.sum() == 0:
        raise ValueError("the heights sum to 0")
    heights /= np.abs(heights).max()
    heights *= 2 * len(heights) / heights.sum()
    return heights


def _autoconvolution(f: np.ndarray) -> np.ndarray:
    """Return f * f at the `(2n - 1,)` nodes inside [-1/2, 1/2]."""
    nodes: np.ndarray = np.convolve(f, f) / (2 * len(f))
    return nodes


def _draw_autoconvolution(f: np.ndarray, target: Path, *, title: str, marks: list[float]) -> None:
    figure, above, below = _sheet(title)
    _draw_steps(above, f, -0.25, 0.25, "f")
    _draw_curve(below, _autoconvolution(f), 0.5, "f * f", marks=marks)
    figure.savefig(target, dpi=150)


def _sheet(title: str) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(7, 6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    figure.suptitle(title, fontsize=13, color="#222222")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure, above, below


def _draw_steps(axes: Axes, heights: np.ndarray, left: float, right: float, label: str) -> None:
    edges = np.linspace(left, right, len(heights) + 1)
    axes.stairs(heights, edges, fill=True, facecolor=_FILL)
    axes.stairs(heights, edges, color=_INK, linewidth=0.7)
    axes.set(xlim=(left, right), ylabel=label)


def _draw_curve(axes: Axes, nodes: np.ndarray, half: float, label: str, *, marks: list[float]) -> None:
    """Draw what is linear between nodes and 0 at both ends of [-half, half], with a dashed line at each mark."""
    values = np.concatenate([[0.0], nodes, [0.0]])
    places = np.linspace(-half, half, len(values))
    axes.fill_between(places, values, color=_FILL, linewidth=0)
    axes.plot(places, values, color=_INK, linewidth=0.9)
    for mark in marks:
        axes.axhline(mark, color=_PEAK, linewidth=0.9, linestyle="--")
    axes.set(xlim=(-half, half), ylabel=label)
