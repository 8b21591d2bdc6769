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
    """One matrix per direction of the finest layer: share of each expert's gates in each organ."""
    own = [row for row in rows if row["layer"] == min(row["layer"] for row in rows)]
    organs = list(own[0]["usage"])
    figure = Figure(figsize=(2.2 * len(own) + 1.4, 0.24 * len(organs) + 1.3), layout="constrained")
    for axes, row in zip(np.atleast_1d(figure.subplots(1, len(own), sharey=True)), own, strict=True):
        experts = list(row["usage"][organs[0]])
        shares = np.array([[row["usage"][organ][expert] for expert in experts] for organ in organs])
        picture = axes.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        axes.set_xticks(range(len(experts)), experts)
        axes.set_yticks(range(len(organs)), organs, fontsize=8)
        axes.set_title(f"{row['router']}: {row['bits_own']:.3f} bit\nother subject {row['bits_other']:.3f}", fontsize=9)
    figure.colorbar(picture, ax=axes, label="share of gates")
    return figure


def draw_knock_out(rows: list[dict]) -> Figure:
    """What every change costs, endpoint error where it is known, else Dice."""
    known = rows[0]["epe"] is not None
    changes = [row for row in rows if row["change"] != "complete"]
    names = [
        f"without {row['what']}" if row["change"] == "expert" else f"{row['change']} {row['what']}" for row in changes
    ]
    axes = _bars(names, [row["epe_change" if known else "dice_change"] for row in changes])
    axes.set_xlabel("change of endpoint error, voxels" if known else "change of Dice")
    return cast(Figure, axes.figure)


def draw_correlation(rows: list[dict]) -> Figure:
    """Rank correlations with their spread over pairs."""
    names = [f"{row['layer']} {row['router']}" for row in rows]
    axes = _bars(names, [row["spearman"] for row in rows], xerr=[row["sd_over_pairs"] for row in rows])
    axes.set_xlabel("rank correlation of entropy and error (line: sd over pairs)")
    return cast(Figure, axes.figure)


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


def _bars(names: list[str], values: list[float], **options) -> Axes:
    """Horizontal bars from zero, the first on top."""
    figure = Figure(figsize=(6.4, 0.26 * len(names) + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, values, color=MEASURED, **options)
    axes.axvline(0, color=REFERENCE, linewidth=0.8)
    axes.invert_yaxis()
    return axes
