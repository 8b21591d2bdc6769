"""Figures read back: what stands on the axes, as plain values."""

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine


def lines_of(axes: Axes) -> list[dict]:
    """Every line: its points, colour, marker and dashes."""
    return [
        {
            "x": [round(float(v), 6) for v in line.get_xdata()],
            "y": [round(float(v), 6) for v in line.get_ydata()],
            "colour": to_hex(line.get_color()),
            "marker": line.get_marker(),
            "dashes": line.get_linestyle(),
            "size": line.get_markersize(),
            "width": line.get_linewidth(),
            "alpha": line.get_alpha(),
        }
        for line in axes.lines
    ]


def points_of(axes: Axes, marker: str) -> list[tuple[list, list, str]]:
    """(x, y, colour) of the lines with this marker."""
    return [(line["x"], line["y"], line["colour"]) for line in lines_of(axes) if line["marker"] == marker]


def bars_of(axes: Axes) -> list[tuple[float, float, float, float, str]]:
    """(left, bottom, width, height, colour) of every bar, in the order in which they were drawn."""
    return [
        (*(round(float(v), 6) for v in (*bar.get_xy(), bar.get_width(), bar.get_height())), to_hex(bar.get_facecolor()))
        for bar in axes.patches
    ]


def named_bars(axes: Axes) -> list[tuple[str, float, float]]:
    """(name at the axis, left, width) of horizontal bars."""
    names = {tick: label.get_text() for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)}
    return [(names[round(y + height / 2)], left, width) for left, y, width, height, _ in bars_of(axes)]


def key_of(owner: Axes | Figure) -> list[tuple[str, str]]:
    """(name, colour) of every entry of a legend."""
    legend = owner.legends[0] if isinstance(owner, Figure) else owner.get_legend()
    found = []
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        colour = handle.get_facecolor() if hasattr(handle, "get_facecolor") else handle.get_color()
        found.append((text.get_text(), to_hex(colour)))
    return found


def ticks_of(axes: Axes, axis: str) -> list[tuple[float, str]]:
    """(place, label) of every tick of the "x" or "y" axis."""
    places, labels = getattr(axes, f"get_{axis}ticks")(), getattr(axes, f"get_{axis}ticklabels")()
    return [(round(float(place), 6), label.get_text()) for place, label in zip(places, labels, strict=True)]


def titles_of(figure: Figure) -> list[str]:
    """Headings of the panels, in the middle or at the left."""
    return [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]


def size_of(figure: Figure) -> tuple[float, float]:
    """Width and height in inches, of a figure that makes room for its texts."""
    assert isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    return tuple(round(float(v), 4) for v in figure.get_size_inches())
