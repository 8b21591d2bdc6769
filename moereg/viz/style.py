"""What the charts of experiments have in common: headings, keys, and every seed a dot with their mean on top."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moereg.viz.palette import CONTROL, MEASURED, OTHER, REFERENCE

# (colour, marker, dashes): colour is never the only difference.
STYLES = ((MEASURED, "o", "-"), (OTHER, "s", "--"), (CONTROL, "^", ":"))


def dots_over_seeds(axes: Axes, rows: dict[str, Sequence[float]]) -> None:
    """One row per name, the first on top: its values as dots, their mean as a bar."""
    for height, values in enumerate(rows.values()):
        axes.plot(values, [height] * len(values), "o", color=MEASURED, alpha=0.6)
        axes.plot([np.mean(values)], [height], "|", color=REFERENCE, markersize=14)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)


def line_over_seeds(axes: Axes, rows: list[dict], x: str, y: str, style: tuple[str, str, str], *, label: str) -> None:
    """Means over seeds as a line, seeds as small dots. `x` and `y` are keys of the rows."""
    colour, marker, dashes = style
    places = sorted({row[x] for row in rows})
    axes.plot([row[x] for row in rows], [row[y] for row in rows], ".", color=colour, markersize=3, alpha=0.6)
    means = [np.mean([row[y] for row in rows if row[x] == place]) for place in places]
    axes.plot(places, means, dashes, marker=marker, color=colour, markersize=5, label=label)


def heading(axes: Axes, text: str) -> None:
    """What a panel shows, at its left."""
    axes.set_title(text, fontsize=9, loc="left")


def key_below(figure: Figure, ncols: int = 3) -> None:
    """One key for all panels of a figure, each name once."""
    found = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    place = {"loc": "outside lower center", "fontsize": 8, "frameon": False}
    figure.legend(list(found.values()), list(found), ncols=ncols, **place)
