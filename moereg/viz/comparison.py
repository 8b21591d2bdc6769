"""Figures of a comparison: every measure of every method, verdicts, and cost against size."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from moereg.experiments.comparing import MEASURES, row_name
from moereg.metrics import UNDECIDED
from moereg.viz.palette import BETWEEN, CONTROL, MEASURED, OTHER, REFERENCE, SECOND_CONTROL
from moereg.viz.style import heading

WORDS = ("worse", UNDECIDED, "better")
SHORT = {
    "dice": "Dice",
    "hd95": "HD95",
    "asd": "surface",
    "epe": "endpoint",
    "fold_fraction": "folds",
    "sd_log_jacobian": "sd log J",
    "inverse_consistency": "inverse",
    "seconds": "seconds",
}


def draw_measures(rows: Sequence[dict], task: str) -> Figure:
    """A panel for every measure of one family: a line for each method, a dot for each seed, a bar for their mean."""
    own = [row for row in rows if row["task"] == task]
    names = list(dict.fromkeys(row_name(row) for row in own))
    keys = [key for key in MEASURES if any(row[key] is not None for row in own)]
    columns = (len(keys) + 1) // 2
    figure = Figure(figsize=(11, 0.36 * len(names) + 1.6), layout="constrained")
    panels = np.array(figure.subplots(2, columns, sharey=True)).ravel()
    for axes, key in zip(panels, keys, strict=False):
        for place, name in enumerate(names):
            mine = [row for row in own if row_name(row) == name and row[key] is not None]
            if not mine:
                continue
            colour = OTHER if mine[0]["seed"] is not None else MEASURED
            axes.plot([row[key] for row in mine], [place] * len(mine), "o", color=colour, alpha=0.6, markersize=4)
            axes.plot(np.mean([row[key] for row in mine]), place, "|", color=REFERENCE, markersize=9)
        title, unit = MEASURES[key]
        heading(axes, f"{title}, {unit}" if unit else title)
        axes.tick_params(labelsize=7)
        if key == "seconds":
            axes.set_xscale("symlog", linthresh=1e-3)
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def draw_verdicts(found: Sequence[dict], task: str) -> Figure:
    """A square for every rival and measure: is the champion better, worse, or not told apart?"""
    own = [one for one in found if one["task"] == task]
    rivals = list(dict.fromkeys(row_name(one["rival"]) for one in own))
    keys = [key for key in MEASURES if any(one["measure"] == key for one in own)]
    table = np.full((len(rivals), len(keys)), np.nan)
    for one in own:
        table[rivals.index(row_name(one["rival"])), keys.index(one["measure"])] = WORDS.index(one["word"])
    figure = Figure(figsize=(7.2, 0.3 * len(rivals) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table, cmap=ListedColormap([OTHER, SECOND_CONTROL, MEASURED]), vmin=0, vmax=2, aspect="auto")
    for (line, column), value in np.ndenumerate(table):
        sign = "" if np.isnan(value) else "−·+"[int(value)]
        axes.text(column, line, sign, ha="center", va="center", color=REFERENCE if value == 1 else BETWEEN)
    axes.set_xticks(range(len(keys)), [SHORT[key] for key in keys], fontsize=8)
    axes.set_yticks(range(len(rivals)), rivals, fontsize=8)
    heading(axes, f"{task}: + better than, − worse than, · not told apart from")
    return figure


def draw_costs(costs: Sequence[dict]) -> Figure:
    """Time and memory of a pair and of a training step against the number of voxels, both axes logarithmic."""
    names = list(dict.fromkeys(row["method"] for row in costs))
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    titles = {
        "pair_seconds": "a pair, processor s",
        "step_seconds": "a training step, processor s",
        "pair_bytes": "a pair, MiB",
        "step_bytes": "a training step, MiB",
    }
    for axes, (key, title) in zip(np.ravel(figure.subplots(1, 4)), titles.items(), strict=True):
        for name, marker in zip(names, "os^Dv", strict=False):
            mine = [row for row in costs if row["method"] == name]
            values = [row[key] / (2**20 if key.endswith("bytes") else 1) for row in mine]
            axes.loglog([row["edge"] ** 3 for row in mine], values, "-", marker=marker, label=name, markersize=4)
        heading(axes, title)
        axes.set_xlabel("voxels", fontsize=8)
        axes.tick_params(labelsize=7, which="both")
        axes.xaxis.set_minor_formatter(NullFormatter())
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, ncols=len(names), loc="outside lower center", fontsize=8, frameon=False)
    return figure


def draw_pair_costs(costs: Sequence[dict]) -> Figure:
    """Time and memory of a pair for every method that does anything, at the last three sizes: a dot for each."""
    costs = [row for row in costs if row["method"] != "identity"]
    names = list(dict.fromkeys(row["method"] for row in costs))
    edges = sorted({row["edge"] for row in costs})
    figure = Figure(figsize=(9, 0.26 * len(names) + 1.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shades = (CONTROL, OTHER, MEASURED)
    for axes, (key, title, unit) in zip(
        panels,
        (("pair_seconds", "a pair, processor s", 1), ("pair_bytes", "a pair, peak memory, MiB", 2**20)),
        strict=True,
    ):
        for edge, colour in zip(edges[-3:], shades[-len(edges[-3:]) :], strict=True):
            mine = {row["method"]: max(row[key] / unit, 1e-3) for row in costs if row["edge"] == edge}
            places = [names.index(name) for name in mine]
            axes.plot(list(mine.values()), places, "o", color=colour, markersize=5, label=f"{edge}³")
        axes.set_xscale("log")
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8, which="both")
        axes.xaxis.set_minor_formatter(NullFormatter())
        heading(axes, title)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), ncols=3, loc="outside lower center", fontsize=8, frameon=False
    )
    return figure
