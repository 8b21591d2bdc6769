"""Curves of a training, laid out for the SVG of a report: one small chart per series, one line per run.

Here is the arithmetic alone, in units of the chart's `viewBox` (x to the right, y down); `templates/parts.html.jinja`
writes the elements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from moereg.viz.palette import RUNS

# The whole chart, and the frame of the curves in it; ticks stand outside the frame.
FRAME = {"width": 420, "height": 200, "left": 58, "right": 412, "top": 8, "bottom": 168, "axis": 176}
LONG = 60  # points from which on a running mean is drawn too

Line = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One `polyline`."""

    points: str
    colour: str
    faint: bool = False


@dataclass(frozen=True)
class Tick:
    """One number at an axis."""

    text: str
    x: float
    y: float
    anchor: str  # of the text: "start" | "end"


@dataclass(frozen=True)
class Chart:
    """One series of all runs. Without a single value it has no curves, and `ends` is empty."""

    name: str
    ends: str  # in words, for people who do not see the curves
    curves: list[Curve] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)


def charts_of(history: dict[str, dict[str, Sequence[float | None]]]) -> list[Chart]:
    """One chart per series that any run has, in the order in which they appear; None and NaN are gaps.

    Args:
        history: run -> {"step": [...], and any series of the same length}.

    Raises:
        ValueError: a series that is not as long as its steps.
    """
    series = dict.fromkeys(name for run in history.values() for name in run if name != "step")
    return [_chart(name, history) for name in series]


def run_colours(history: dict) -> dict[str, str]:
    """run -> its colour, the same in every chart and in the key above them."""
    return {run: RUNS[number % len(RUNS)] for number, run in enumerate(history)}


def _chart(name: str, history: dict[str, dict[str, Sequence[float | None]]]) -> Chart:
    lines = {run: _values(name, run, series) for run, series in history.items() if name in series}
    xs, ys = ([point[axis] for line in lines.values() for point in line] for axis in (0, 1))
    if not xs:
        return Chart(name, "")
    low, high = (min(xs), min(ys)), (max(xs), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = ((v - a) / ((b - a) or 1) for v, a, b in zip((x, y), low, high, strict=True))
        width, height = FRAME["right"] - FRAME["left"], FRAME["bottom"] - FRAME["top"]
        return FRAME["left"] + across * width, FRAME["bottom"] - up * height

    curves = [
        Curve(" ".join("{:.1f},{:.1f}".format(*place(*point)) for point in drawn), run_colours(history)[run], faint)
        for run, line in lines.items()
        for drawn, faint in _smoothed(line)
    ]
    left, foot = FRAME["left"] - 6, FRAME["height"] - 6
    ticks = [
        *(Tick(f"{y:.3g}", left, place(low[0], y)[1] + 4, "end") for y in sorted({low[1], high[1]})),
        Tick(f"{low[0]:g}", place(*low)[0], foot, "start"),
        Tick(f"{high[0]:g}", place(*high)[0], foot, "end"),
    ]
    ends = "; ".join(f"{run} ends at {line[-1][1]:.3g}" for run, line in lines.items() if line)
    return Chart(name, ends, curves, ticks)


def _values(name: str, run: str, series: dict[str, Sequence[float | None]]) -> Line:
    """(step, value) where there is a value."""
    steps, values = cast(Sequence[float], series["step"]), series[name]
    if len(steps) != len(values):
        raise ValueError(f"{name} of {run} must have one value per step, {len(steps)}, got {len(values)}.")
    return [(x, y) for x, y in zip(steps, values, strict=True) if y is not None and y == y]


def _smoothed(line: Line) -> list[tuple[Line, bool]]:
    """A line as it is; or, where it is long, faint, with a running mean over a twentieth of it on top."""
    if len(line) < LONG:
        return [(line, False)]
    reach = len(line) // 40
    means = []
    for i, (x, _) in enumerate(line):
        near = [y for _, y in line[max(0, i - reach) : i + reach + 1]]
        means.append((x, sum(near) / len(near)))
    return [(line, True), (means, False)]
