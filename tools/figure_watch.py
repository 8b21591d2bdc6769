"""Runs inside of a notebook's kernel: notes of every figure that is drawn which of its legends lie over data, and which
words of its alternative text its data bear out (`tools/figure_says.py`).

`tools/course_rerun.py` starts a kernel with it. A line of JSON per figure goes to the file that `MOEREG_FIGURES` names;
`MOEREG_SAYS` names a file with the statements to be tested: number of the code cell -> {words: expression}.
"""

import itertools
import json
import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from tools.figure_says import holds

FILE, SAYS = "MOEREG_FIGURES", "MOEREG_SAYS"
CLOSE = 1.0  # pixels by which a legend may touch


def watch(shell) -> None:
    """From now on note every figure that this IPython prints, with the number of the code cell that runs, from 1."""
    plain, started = FigureCanvasBase.print_figure, itertools.count(1)
    running = {"cell": 0}
    said = json.loads(Path(os.environ[SAYS]).read_text(encoding="utf-8")) if SAYS in os.environ else {}

    def begin(info) -> None:
        if info.store_history:
            running["cell"] = next(started)

    def print_figure(canvas, *args, **options):
        result = plain(canvas, *args, **options)
        entry = running | {"wrong": legends_over_data(canvas.figure)}
        claims = said.get(str(running["cell"]), {})
        entry["true"] = [words for words, expression in claims.items() if holds(canvas.figure, expression)]
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(entry) + "\n")
        return result

    shell.events.register("pre_run_cell", begin)
    FigureCanvasBase.print_figure = print_figure


def legends_over_data(figure: Figure) -> list[str]:
    """One sentence for each legend that covers a line, a point, a bar or an image, of whichever panel."""
    figure.draw_without_rendering()
    legends: list[tuple[Legend, Axes | None]] = [(legend, None) for legend in figure.legends]
    legends += [(axes.get_legend(), axes) for axes in figure.axes if axes.get_legend() is not None]
    wrong = []
    for legend, owner in legends:
        box = legend.get_window_extent().padded(-CLOSE)
        covered = [what for axes in figure.axes for what in data_below(axes, box)]
        if covered:
            title = owner.get_title(loc="left") or owner.get_title() if owner else "the figure"
            wrong.append(f"the legend of {title or 'a panel'} lies over {covered[0]}")
    return wrong


def data_below(axes: Axes, box: Bbox) -> list[str]:
    """What of the axes' data a box in pixels covers."""
    found = []
    for image in axes.images:
        if image.get_visible() and Bbox.intersection(_shown(axes), box) is not None:
            found.append("an image")
    for line in axes.lines:
        if line.get_visible() and _line_crosses(line, box):
            found.append("a line or its points")
    for points in axes.collections:
        if isinstance(points, PathCollection) and points.get_visible():
            places = points.get_offset_transform().transform(points.get_offsets())
            if any(box.contains(*place) for place in places):
                found.append("points")
    for patch in axes.patches:
        if isinstance(patch, Rectangle) and patch.get_visible():
            extent = Bbox.intersection(patch.get_window_extent(), _shown(axes))
            if extent is not None and Bbox.intersection(extent, box) is not None:
                found.append("a bar")
    return found


def _shown(axes: Axes) -> Bbox:
    return axes.get_window_extent()


def _line_crosses(line: Line2D, box: Bbox) -> bool:
    """Whether a point, or a connecting line where one is drawn, lies in the box."""
    places = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))  # words of an axis as numbers
    places = places[np.isfinite(places).all(1)]
    if len(places) > 1 and line.get_linestyle() not in ("None", "none", " ", ""):
        between = [np.linspace(a, b, 50) for a, b in itertools.pairwise(places)]
        places = np.concatenate([places, *between])
    return any(box.contains(*place) for place in places)
