"""How repeated trainings are drawn: every seed a dot, their mean on top."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

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
