"""Figures of the audit of a routed network: load, usage by organ, knock-outs, doubt against error, agreement of seeds.

Every function takes the rows of one finding.
"""

from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moereg.viz.palette import BETWEEN, CONTROL, MEASURED, REFERENCE, expert_colours
from moereg.viz.style import heading, key_below


def draw_load(rows: list[dict]) -> Figure:
    """Stacked bars, one per layer and router."""
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure = Figure(figsize=(2.6 * len(layers), 2.4), layout="constrained")
    for axes, layer in zip(np.atleast_1d(figure.subplots(1, len(layers))), layers, strict=True):
        own = [row for row in rows if row["layer"] == layer]
        experts, routers = (list(dict.fromkeys(row[key] for row in own)) for key in ("expert", "router"))
        share = {(row["router"], row["expert"]): row["load"] for row in own}
        left = np.zeros(len(routers))
        for expert, colour in zip(experts, expert_colours(experts), strict=True):
            width = np.array([share[router, expert] for router in routers])
            axes.barh(routers, width, left=left, color=colour, edgecolor=BETWEEN, linewidth=0.5, label=expert)
            left += width
        heading(axes, layer)
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
    key_below(figure, 8)
    return figure


def draw_usage(rows: list[dict]) -> Figure:
    """One matrix per direction of the finest decoder layer of the trained network: share of gates in each organ."""
    rows = [row for row in rows if row["network"] == "trained" and row["role"] == "decoder"]
    own = [row for row in rows if row["layer"] == min(row["layer"] for row in rows)]
    organs = list(own[0]["usage"])
    figure = Figure(figsize=(2.2 * len(own) + 1.4, 0.24 * len(organs) + 1.3), layout="constrained")
    for axes, row in zip(np.atleast_1d(figure.subplots(1, len(own), sharey=True)), own, strict=True):
        experts = list(row["usage"][organs[0]])
        shares = np.array([[row["usage"][organ][expert] for expert in experts] for organ in organs])
        picture = axes.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        axes.set_xticks(range(len(experts)), experts)
        axes.set_yticks(range(len(organs)), organs, fontsize=8)
        axes.set_title(
            f"{row['router']}: {row['own']:.3f} bit\nothers {row['other']:.3f}, oracle {row['oracle']:.3f}", fontsize=9
        )
    figure.colorbar(picture, ax=axes, label="share of gates")
    return figure


def draw_knock_out(rows: list[dict]) -> Figure:
    """What every change of all layers costs, endpoint error where it is known, else Dice; below, single experts."""
    key = "epe_change" if rows[0]["epe"] is not None else "dice_change"
    label = "change of endpoint error, voxels" if key == "epe_change" else "change of Dice"
    changes = [row for row in rows if row["change"] != "complete"]
    together = [row for row in changes if row["layer"] == "all"]
    names = [
        f"without {row['what']}" if row["change"] == "expert" else f"{row['change']} {row['what']}" for row in together
    ]
    singles = [row for row in changes if row["layer"] != "all"]
    places = list(dict.fromkeys((row["layer"], row["router"]) for row in singles))
    heights = [0.26 * len(names) + 0.9] + ([0.38 * len(places) + 1.1] if places else [])
    figure = Figure(figsize=(7.2 if places else 6.4, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = figure.add_subplot(grid[0])
    _bars(axes, names, [row[key] for row in together])
    axes.set_xlabel(label)
    if places:
        _draw_singles(figure.add_subplot(grid[1]), singles, places, key, label)
    return figure


def _draw_singles(axes: Axes, rows: list[dict], places: list[tuple[str, str]], key: str, label: str) -> None:
    """A matrix of layers and routers by place of the expert; the expert's name and its cost in each cell."""
    by_place = {place: [row for row in rows if (row["layer"], row["router"]) == place] for place in places}
    columns = max(len(own) for own in by_place.values())
    values = np.full((len(places), columns), np.nan)
    for line, own in enumerate(by_place.values()):
        values[line, : len(own)] = [row[key] for row in own]
        for column, row in enumerate(own):
            axes.text(column, line, f"{row['what']}\n{row[key]:+.3f}", ha="center", va="center", fontsize=6)
    most = float(np.nanmax(np.abs(values))) or 1.0
    picture = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", alpha=0.6)
    axes.set_yticks(range(len(places)), [f"{layer} {router}" for layer, router in places], fontsize=8)
    axes.set_xticks([])
    axes.set_xlabel("one expert of one layer and router away")
    cast(Figure, axes.figure).colorbar(picture, ax=axes, label=label)


def draw_correlation(rows: list[dict]) -> Figure:
    """Partial rank correlations with their spread over pairs, beside the controls."""
    own = [row for row in rows if row["network"] == "trained"]
    names = [f"{row['layer']} {row['router']}" for row in own]
    figure = Figure(figsize=(6.4, 0.3 * len(names) + 1.3), layout="constrained")
    axes = figure.subplots()
    spread = [float(np.std(row["per_pair"]["partial"])) for row in own]
    _bars(axes, names, [row["partial"] for row in own], xerr=spread, label="trained")
    marks = [("another subject's entropy", "|", [row["other"] for row in own])]
    for name in dict.fromkeys(row["network"] for row in rows if row["network"] != "trained"):
        values = {f"{row['layer']} {row['router']}": row["partial"] for row in rows if row["network"] == name}
        marks.append((f"{name} network", "ox"[len(marks) % 2], [values[place] for place in names]))
    for title, marker, values in marks:
        axes.plot(values, names, marker, color=CONTROL, label=title, fillstyle="none", markersize=7)
    axes.set_xlabel("partial rank correlation, motion held fixed (line: sd over pairs)")
    key_below(figure, 4)
    return figure


def draw_agreement(rows: list[dict]) -> Figure:
    """Agreement of seeds against what independent maps would reach."""
    kinds = list(dict.fromkeys((row["layer"], row["router"]) for row in rows))
    figure = Figure(figsize=(6.4, 0.26 * len(kinds) + 1.0), layout="constrained")
    axes = figure.subplots()
    for key, colour, marker in (("chance", CONTROL, "|"), ("agreement", MEASURED, "o")):
        for height, kind in enumerate(kinds):
            values = [row[key] for row in rows if (row["layer"], row["router"]) == kind]
            label = key if height == 0 else None
            axes.plot(values, [height] * len(values), marker, color=colour, label=label, markersize=7)
    axes.set_yticks(range(len(kinds)), [f"{layer} {router}" for layer, router in kinds])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of voxels with the same first expert")
    axes.legend(fontsize=8, frameon=False)
    axes.invert_yaxis()
    return figure


def _bars(axes: Axes, names: list[str], values: list[float], **options) -> None:
    """Horizontal bars from zero, the first on top."""
    axes.barh(names, values, color=MEASURED, **options)
    axes.axvline(0, color=REFERENCE, linewidth=0.8)
    axes.invert_yaxis()
