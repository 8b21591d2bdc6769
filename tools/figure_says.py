"""What a figure's own data say of the words of its alternative text.

An order or a maximum in an alternative text ("the error falls", "k = 2 is lowest") has a row in `tools/course.toml`:

    [[figure]]
    chapter = "11_rman"
    says = "the mean length of the residual falls"       # these words of the alternative text ...
    holds = "falls(line(0))"                              # ... are true of the figure where this is

`tools/course_rerun.py` evaluates `holds` on every figure that the cell draws. Panels count from 0, colour bars apart:

| name                     | what it gives                                                                      |
|--------------------------|------------------------------------------------------------------------------------|
| line(p, which), across   | heights, or places along x, of the panel's line of that number or label             |
| lines(p)                 | heights of all of them                                                              |
| image(p)                 | values of its (last) picture; what is masked is left out as NaN                     |
| bars(p)                  | lengths of its bars                                                                 |
| centres(p), reaches(p)   | middles and half lengths of its intervals along x                                   |
| arrows(p)                | lengths of its arrows                                                               |
| falls(v), rises(v)       | whether it ends lower (higher) than it began, with most steps that way              |
| peak(v)                  | row and column of the largest value                                                 |

and numpy as np.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver


def holds(figure: Figure, expression: str) -> bool:
    """Whether an expression is true of a figure; one that does not fit it (another panel, no such line) is not."""
    try:
        return bool(eval(expression, vocabulary(figure)))
    except (IndexError, KeyError, ValueError, TypeError):
        return False


def vocabulary(figure: Figure) -> dict[str, object]:
    """The names of the table above, for one figure."""
    bars = {
        mappable.colorbar.ax
        for axes in figure.axes
        for mappable in (*axes.images, *axes.collections)
        if mappable.colorbar
    }
    panels = [axes for axes in figure.axes if axes not in bars]

    def found(p: int, which: int | str):
        drawn = panels[p].lines
        return drawn[which] if isinstance(which, int) else {line.get_label(): line for line in drawn}[which]

    return {
        "np": np,
        "line": lambda p, which=0: np.asarray(found(p, which).get_ydata(), dtype=float),
        "across": lambda p, which=0: np.asarray(found(p, which).get_xdata(), dtype=float),
        "lines": lambda p: [np.asarray(line.get_ydata(), dtype=float) for line in panels[p].lines],
        "image": lambda p: np.ma.filled(panels[p].images[-1].get_array().astype(float), np.nan),
        "bars": lambda p: np.array(_bars(panels[p])),
        "centres": lambda p: np.array([float(c[0].get_xdata()[0]) for c in _intervals(panels[p])]),
        "reaches": lambda p: np.array(
            [float(np.ptp(c[2][0].get_segments()[0][:, 0])) / 2 for c in _intervals(panels[p])]
        ),
        "arrows": lambda p: np.concatenate(
            [np.hypot(c.U, c.V) for c in panels[p].collections if isinstance(c, Quiver)]
        ),
        "falls": falls,
        "rises": lambda values: falls(-np.asarray(values)),
        "peak": lambda values: np.unravel_index(np.nanargmax(values), np.shape(values)),
    }


def falls(values) -> bool:
    """Whether a curve ends lower than it began, and most of its steps do not rise."""
    values = np.asarray(values, dtype=float)
    return bool(values[-1] < values[0] and (np.diff(values) <= 0).mean() > 0.5)


def _bars(axes: Axes) -> list[float]:
    return [
        bar.get_height() if group.orientation == "vertical" else bar.get_width()
        for group in axes.containers
        if isinstance(group, BarContainer)
        for bar in group
    ]


def _intervals(axes: Axes) -> list[ErrorbarContainer]:
    return [group for group in axes.containers if isinstance(group, ErrorbarContainer)]
