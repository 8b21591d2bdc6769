"""Figures of the experiments on RMAn and SegReg, entered in `moereg.viz.findings.DRAWINGS`."""

import numpy as np
from matplotlib.figure import Figure

from moereg.experiments.degradation import line, mean_points

GREY, BLUE, ORANGE = "#8a8f98", "#3b6fb6", "#c2562b"
STYLES = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "^", ":"))  # colour is never the only difference


def draw_recursions(rows: list[dict]) -> Figure:
    """Dice and surface distance against recursions: a column per K_train, a line per attention, seeds as dots."""
    trained = sorted({row["trained"] for row in rows})
    kinds = list(dict.fromkeys(row["attention"] for row in rows))
    figure = Figure(figsize=(2.2 * len(trained) + 0.8, 4.6), layout="constrained")
    grid = figure.subplots(2, len(trained), sharex=True, sharey="row", squeeze=False)
    for column, number in enumerate(trained):
        for axes, key in zip(grid[:, column], ("dice", "asd"), strict=True):
            for kind, style in zip(kinds, STYLES, strict=False):
                own = [row for row in rows if (row["trained"], row["attention"]) == (number, kind)]
                _line(axes, own, "recursions", key, style, label=f"{kind} attention" if kind != "none" else "none")
            axes.axvline(number, color=GREY, linewidth=6, alpha=0.2)
            axes.set_xticks(sorted({row["recursions"] for row in rows}))
        grid[0, column].set_title(f"trained with {number}", fontsize=9, loc="left")
        grid[1, column].set_xlabel("recursions")
    grid[0, 0].set_ylabel("Dice")
    grid[1, 0].set_ylabel("surface distance, mm")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_labels(rows: list[dict]) -> Figure:
    """Dice, endpoint error and folds with each kind of label map, one dot per seed."""
    names = list(dict.fromkeys(row["labels"] for row in rows))
    measures = {"dice": "Dice", "epe": "endpoint error, voxels", "seam_fold_fraction": "share of folds at seams"}
    figure = Figure(figsize=(8.4, 0.34 * len(names) + 1.1), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 3, sharey=True), measures.items(), strict=True):
        for height, name in enumerate(names):
            values = [row[key] for row in rows if row["labels"] == name]
            axes.plot(values, [height] * len(values), "o", color=BLUE, alpha=0.6)
            axes.plot([np.mean(values)], [height], "|", color="black", markersize=14)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel(title)
    figure.axes[0].invert_yaxis()
    return figure


def draw_quality(rows: list[dict]) -> Figure:
    """Accuracy against quality of the segmentation, one panel per way of degrading it, with the fitted line."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    figure = Figure(figsize=(4.0 * len(ways), 3.2), layout="constrained")
    for axes, way in zip(np.atleast_1d(figure.subplots(1, len(ways), sharey=True)), ways, strict=True):
        own, points = [row for row in rows if row["way"] == way], mean_points(rows, way)
        axes.plot([r["quality"] for r in own], [r["dice"] for r in own], ".", color=GREY)
        axes.plot([p["quality"] for p in points], [p["dice"] for p in points], "o", color=BLUE)
        for point in points:
            place = (point["quality"], point["dice"])
            axes.annotate(f"{point['amount']:g}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        found, ends = line(points), np.array([min(r["quality"] for r in own), 1.0])
        axes.plot(ends, found["intercept"] + found["slope"] * ends, color="black", linewidth=0.8)
        axes.set_title(f"{way} (voxels)\nslope {found['slope']:.2f}, R² {found['r2']:.3f}", fontsize=9, loc="left")
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
            _line(axes, own, "smoothness", place, style, label=method)
        before = float(np.mean([row[f"{place}_before"] for row in rows]))
        axes.axhline(before, color="black", linewidth=0.8)
        axes.text(0.02, before, "before", fontsize=8, va="bottom", transform=axes.get_yaxis_transform())
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("weight of the smoothness")
        axes.set_title(title, fontsize=9, loc="left")
    figure.axes[0].set_ylabel("endpoint error, voxels")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _line(axes, rows: list[dict], x: str, y: str, style: tuple[str, str, str], *, label: str) -> None:
    """Means over seeds as a line, seeds as small dots."""
    colour, marker, dashes = style
    places = sorted({row[x] for row in rows})
    axes.plot([row[x] for row in rows], [row[y] for row in rows], ".", color=colour, markersize=3, alpha=0.6)
    means = [np.mean([row[y] for row in rows if row[x] == place]) for place in places]
    axes.plot(places, means, dashes, marker=marker, color=colour, markersize=5, label=label)
