"""Figures of SegReg: what true, own and degraded labels are worth, and smoothness where tissue slides."""

import numpy as np
from matplotlib.figure import Figure

from moereg.experiments.degradation import line, mean_points
from moereg.viz.palette import CONTROL, MEASURED, REFERENCE
from moereg.viz.style import STYLES, dots_over_seeds, heading, key_below, line_over_seeds


def draw_labels(rows: list[dict]) -> Figure:
    """Dice, endpoint errors and folds with each kind of label map, one dot per seed."""
    return _measures(rows, "labels", MEASURES)


def draw_merges(rows: list[dict]) -> Figure:
    """Dice and endpoint errors of each way to put partial fields together, one dot per seed."""
    return _measures(rows, "merge", {key: title for key, title in MEASURES.items() if "fold" not in key})


MEASURES = {
    "dice": "Dice",
    "organ_epe": "error in organs, voxels",
    "between_epe": "error between them, voxels",
    "seam_fold_fraction": "share of folds at seams",
}


def _measures(rows: list[dict], key: str, measures: dict[str, str]) -> Figure:
    names = list(dict.fromkeys(row[key] for row in rows))
    figure = Figure(figsize=(2.6 * len(measures) + 1.2, 0.34 * len(names) + 1.1), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, len(measures), sharey=True), measures.items(), strict=True):
        dots_over_seeds(axes, {name: [row[measure] for row in rows if row[key] == name] for name in names})
        axes.set_xlabel(title)
    return figure


def draw_quality(rows: list[dict]) -> Figure:
    """Accuracy against quality of the segmentation, one panel per way of degrading it, with the fitted line."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    figure = Figure(figsize=(4.0 * len(ways), 3.2), layout="constrained")
    for axes, way in zip(np.atleast_1d(figure.subplots(1, len(ways), sharey=True)), ways, strict=True):
        own, points = [row for row in rows if row["way"] == way], mean_points(rows, way)
        axes.plot([r["quality"] for r in own], [r["dice"] for r in own], ".", color=CONTROL)
        axes.plot([p["quality"] for p in points], [p["dice"] for p in points], "o", color=MEASURED)
        for point in points:
            place = (point["quality"], point["dice"])
            axes.annotate(f"{point['amount']:g}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        found, ends = line(points), np.array([min(r["quality"] for r in own), 1.0])
        axes.plot(ends, found["intercept"] + found["slope"] * ends, color=REFERENCE, linewidth=0.8)
        heading(axes, f"{way} (voxels)\nslope {found['slope']:.2f}, R² {found['r2']:.3f}")
        axes.set_xlabel("Dice of the segmentation")
    figure.axes[0].set_ylabel("Dice of the registration")
    return figure


def draw_regularity(rows: list[dict]) -> Figure:
    """Error near the sliding interface and elsewhere, against the weight of the smoothness."""
    methods = list(dict.fromkeys(row["regularity"] for row in rows))
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    places = {"near": "within 3 voxels of the interface", "elsewhere": "elsewhere"}
    for axes, (place, title) in zip(figure.subplots(1, 2), places.items(), strict=True):
        for method, style in zip(methods, STYLES[::-1], strict=True):
            own = [row for row in rows if row["regularity"] == method]
            line_over_seeds(axes, own, "smoothness", place, style, label=method)
        before = float(np.mean([row[f"{place}_before"] for row in rows]))
        axes.axhline(before, color=REFERENCE, linewidth=0.8)
        axes.text(0.02, before, "before", fontsize=8, va="top", transform=axes.get_yaxis_transform())
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("weight of the smoothness")
        heading(axes, title)
    figure.axes[0].set_ylabel("endpoint error, voxels")
    key_below(figure)
    return figure
