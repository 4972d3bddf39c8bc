"""Charts as SVG: lines with bands, stacked shares, a small line. Colours are classes of the style sheet.

A chart carries its values beside it, as JSON in an attribute, for the script that reads them out under the pointer.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

from evolve.dashboard.texts import number

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 18, 34
#: More points than pixels only make a page heavy.
POINTS = 360

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        colour: Which of the style sheet's colours, from 0.
        points: By x.
        step: Whether a value holds until the next.
        band: `(x, low, high)` around the line.
    """

    name: str
    colour: int = 0
    points: Sequence[Point]
    step: bool = False
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of lines.

    Attributes:
        marks: Horizontal lines with their names, the record for one.
        log: Whether y is on a logarithmic scale; values of 0 or less are left out then.
        from_zero: Whether the y axis begins at 0.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]] = ()
    log: bool = False
    from_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A chart of shares that add up to one at each x.

    Attributes:
        layers: Name, colour and one amount for each x; from the bottom up.
    """

    title: str
    x: str
    xs: Sequence[float]
    layers: Sequence[tuple[str, int, Sequence[float]]] = field(default_factory=tuple)


def line_chart(chart: Chart) -> Markup:
    """Return the chart as an SVG element in a figure, empty when there is nothing to draw."""
    lines = [_drawable(line, log=chart.log) for line in chart.lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [v for line in lines for _, a, b in line.band for v in (a, b)]
    ys += [y for y, _ in chart.marks if not chart.log or y > 0] + ([0.0] if chart.from_zero else [])
    frame = _Frame(min(xs), max(xs), min(ys), max(ys), log=chart.log)
    parts = [frame.axes(chart.x)]
    for y, name in chart.marks:
        if not chart.log or y > 0:
            parts.append(frame.mark(y, name))
    for line in lines:
        if line.band:
            low = [(x, a) for x, a, _ in line.band]
            high = [(x, b) for x, _, b in line.band]
            ring = frame.path(_stairs(low, line.step) + _stairs(high, line.step)[::-1])
            parts.append(Markup('<path class="band fill-{}" d="{}Z"/>').format(line.colour, ring))
        path = frame.path(_stairs(line.points, line.step))
        parts.append(Markup('<path class="line stroke-{}" d="{}"/>').format(line.colour, path))
        if len(line.points) == 1:
            x, y = frame.place(*line.points[0])
            parts.append(Markup('<circle class="fill-{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(line.colour, x, y))
    label = f"{chart.title}: " + "; ".join(
        f"{line.name} from {number(line.points[0][1])} to {number(line.points[-1][1])}" for line in lines
    )
    values = [{"name": line.name, "x": _rounded(line.points, 0), "y": _rounded(line.points, 1)} for line in lines]
    legend = [(line.name, line.colour) for line in lines] if len(lines) > 1 else []
    return _figure(
        chart.title, label, parts, legend, {"lines": values, "x0": frame.x0, "x1": frame.x1, "unit": chart.x}
    )


def stack_chart(stack: Stack) -> Markup:
    """Return the shares as an SVG element in a figure, empty when there is nothing to draw."""
    sums = [sum(amounts) for amounts in zip(*(layer[2] for layer in stack.layers), strict=True)]
    if len(sums) < 2 or not any(sums):
        return Markup("")
    frame = _Frame(stack.xs[0], stack.xs[-1], 0.0, 1.0, log=False, percent=True)
    below = [0.0] * len(sums)
    parts, values, legend = [], [], []
    for name, colour, amounts in stack.layers:
        if not any(amounts):
            continue
        shares = [amount / total if total else 0.0 for amount, total in zip(amounts, sums, strict=True)]
        above = [low + share for low, share in zip(below, shares, strict=True)]
        ring = frame.path(list(zip(stack.xs, below, strict=True)) + list(zip(stack.xs, above, strict=True))[::-1])
        parts.append(Markup('<path class="layer fill-{}" d="{}Z"/>').format(colour, ring))
        values.append({"name": name, "x": list(stack.xs), "y": [round(100 * share, 1) for share in shares]})
        legend.append((name, colour))
        below = above
    parts.append(frame.axes(stack.x))
    label = f"{stack.title}: " + ", ".join(f"{value['name']} {value['y'][-1]} % at the end" for value in values)
    reading = {"lines": values, "x0": frame.x0, "x1": frame.x1, "unit": stack.x, "suffix": " %"}
    return _figure(stack.title, label, parts, legend, reading)


def spark(points: Sequence[Point], mark: float | None) -> Markup:
    """Return a small line without axes, with a horizontal mark."""
    if not points:
        return Markup("")
    ys = [y for _, y in points] + ([] if mark is None else [mark])
    x0, x1 = points[0][0], points[-1][0]
    low, high = min(ys), max(ys)

    def place(x: float, y: float) -> str:
        across = 0.5 if x1 == x0 else (x - x0) / (x1 - x0)
        up = 0.5 if high == low else (y - low) / (high - low)
        return f"{2 + 216 * across:.1f} {42 - 38 * up:.1f}"

    path = "M" + "L".join(place(x, y) for x, y in _stairs(_thinned(points), True))
    line = "" if mark is None else Markup('<path class="mark" d="M{}L{}"/>').format(place(x0, mark), place(x1, mark))
    return Markup('<svg class="spark" viewBox="0 0 220 46" aria-hidden="true">{}{}</svg>').format(
        line, Markup('<path class="line stroke-0" d="{}"/>').format(path)
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`.

    >>> ticks(0, 10), ticks(2.61, 2.64, 3)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [2.62, 2.64])
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    size = 10.0 ** math.floor(math.log10(span / count))
    size *= next(factor for factor in (1, 2, 5, 10, 20) if span / (size * factor) <= count)
    first = math.ceil(low / size - 1e-9)
    return [round((first + k) * size, 12) for k in range(int((high - first * size) / size + 1e-9) + 1)]


class _Frame:
    """Scales and axes of one chart."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float, *, log: bool, percent: bool = False) -> None:
        self.x0, self.x1 = x0, x1 if x1 > x0 else x0 + 1
        self._log = log
        self._percent = percent
        low, high = (math.log10(y0), math.log10(y1)) if log else (y0, y1)
        pad = 0.0 if percent else 0.06 * (high - low) or max(abs(high) * 1e-3, 1e-9)
        self._y0, self._y1 = (0.0 if y0 == 0 and not log else low - pad), high + pad

    def place(self, x: float, y: float) -> Point:
        """Return where a value is drawn, in the picture's units."""
        height = math.log10(y) if self._log else y
        across = (x - self.x0) / (self.x1 - self.x0)
        up = (height - self._y0) / (self._y1 - self._y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def path(self, points: Sequence[Point]) -> str:
        """Return the path through these values."""
        return "M" + "L".join("{:.1f} {:.1f}".format(*self.place(x, y)) for x, y in points)

    def mark(self, y: float, name: str) -> Markup:
        """Return a horizontal line with its name."""
        left, height = self.place(self.x0, y)
        return Markup(
            '<path class="mark" d="M{left:.1f} {height:.1f}H{right}"/>'
            '<text class="mark-name" x="{end}" y="{above:.1f}" text-anchor="end">{name}</text>'
        ).format(left=left, height=height, right=WIDTH - RIGHT, end=WIDTH - RIGHT - 2, above=height - 5, name=name)

    def axes(self, x_name: str) -> Markup:
        """Return grid, tick labels and the name of the x axis."""
        parts = []
        for value, text in self._y_ticks():
            _, y = self.place(self.x0, value)
            parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
            label = Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>')
            parts.append(label.format(LEFT - 7, y + 4, text))
        for value in ticks(self.x0, self.x1):
            x, _ = self.place(value, 1.0)
            label = Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
            parts.append(label.format(x, HEIGHT - BOTTOM + 16, _short(value)))
        name = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>')
        parts.append(name.format(WIDTH - RIGHT, HEIGHT - 3, x_name))
        return Markup("").join(parts)

    def _y_ticks(self) -> list[tuple[float, str]]:
        if self._log and self._y1 - self._y0 < 2:
            near = [f * 10.0**p for p in range(math.floor(self._y0), math.ceil(self._y1) + 1) for f in (1, 2, 5)]
            return [(value, f"{value:g}") for value in near if self._y0 <= math.log10(value) <= self._y1]
        if self._log:
            powers = range(math.ceil(self._y0), math.floor(self._y1) + 1)
            every = max(1, math.ceil(len(powers) / 6))
            return [(10.0**power, f"1e{power}") for power in powers[::every]]
        if self._percent:
            return [(value, f"{100 * value:.0f} %") for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
        values = ticks(self._y0, self._y1)
        size = values[1] - values[0] if len(values) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(size) + 1e-9))
        if decimals > 7 or max(map(abs, values)) >= 1e6:
            return [(value, number(value, 4)) for value in values]
        return [(value, f"{value:.{decimals}f}") for value in values]


def _drawable(line: Line, *, log: bool) -> Line:
    points = [(x, y) for x, y in line.points if math.isfinite(y) and (not log or y > 0)]
    band = [(x, low, high) for x, low, high in line.band if not log or min(low, high) > 0]
    return Line(name=line.name, colour=line.colour, points=_thinned(points), step=line.step, band=band)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most some `POINTS` points, first and last among them."""
    if len(points) <= POINTS:
        return points
    every = math.ceil(len(points) / POINTS)
    return [*points[:-1:every], points[-1]]


def _stairs(points: Sequence[Point], step: bool) -> list[Point]:
    """Return the corners of a line whose values hold until the next."""
    if not step:
        return list(points)
    corners = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def _rounded(points: Sequence[Point], axis: int) -> list[float]:
    return [float(f"{point[axis]:.12g}") for point in points]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def _figure(
    title: str, label: str, parts: Sequence[Markup], legend: Sequence[tuple[str, int]], values: dict[str, object]
) -> Markup:
    values |= {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    names = Markup("").join(
        Markup('<span class="key"><i class="dot back-{}"></i>{}</span>').format(colour, name) for name, colour in legend
    )
    return Markup(
        '<figure class="chart" data-chart="{values}"><figcaption>{title}<span class="reading" aria-live="polite">'
        '</span></figcaption><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" tabindex="0">{parts}'
        '<path class="cross" d=""/></svg><div class="legend">{names}</div></figure>'
    ).format(
        values=json.dumps(values),
        title=title,
        label=escape(label),
        width=WIDTH,
        height=HEIGHT,
        parts=Markup("").join(parts),
        names=names,
    )
