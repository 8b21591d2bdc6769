"""Figures of an audit: one drawing per kind of row."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from moereg.viz.neighbours import draw_labels, draw_quality, draw_recursions, draw_regularity
from moereg.viz.palette import expert_colours

GREY, BLUE = "#8a8f98", "#3b6fb6"


def draw(finding) -> Figure:
    """The figure of a `moereg.experiments.Finding`, chosen by what its rows hold.

    Raises:
        ValueError: rows of a kind that nobody draws.
    """
    for key, drawing in DRAWINGS.items():
        if key in finding.rows[0]:
            figure = drawing(finding.rows)
            figure.suptitle(finding.question, fontsize=11, x=0.01, ha="left")
            return figure
    raise ValueError(f"rows must hold one of {', '.join(DRAWINGS)}, got {sorted(finding.rows[0])}.")


def draw_load(rows: list[dict]) -> Figure:
    """Stacked bars, one per layer and router."""
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure = Figure(figsize=(2.6 * len(layers), 2.4), layout="constrained")
    for axes, layer in zip(np.atleast_1d(figure.subplots(1, len(layers))), layers, strict=True):
        own = [row for row in rows if row["layer"] == layer]
        experts, routers = (list(dict.fromkeys(row[key] for row in own)) for key in ("expert", "router"))
        left = np.zeros(len(routers))
        for expert, colour in zip(experts, expert_colours(experts), strict=True):
            share = np.array([row["load"] for row in own if row["expert"] == expert])
            axes.barh(routers, share, left=left, color=colour, edgecolor="white", linewidth=0.5, label=expert)
            left += share
        axes.set_title(layer, fontsize=9, loc="left")
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8, frameon=False)
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
    measure = "epe_change" if rows[0]["epe"] is not None else "dice_change"
    changes = [row for row in rows if row["change"] != "complete"]
    figure = Figure(figsize=(6.4, 0.26 * len(changes) + 0.9), layout="constrained")
    axes = figure.subplots()
    names = [
        f"{row['change']} {row['what']}" if row["change"] != "expert" else f"without {row['what']}" for row in changes
    ]
    axes.barh(names, [row[measure] for row in changes], color=BLUE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("change of endpoint error, voxels" if measure == "epe_change" else "change of Dice")
    axes.invert_yaxis()
    return figure


def draw_correlation(rows: list[dict]) -> Figure:
    """Rank correlations with their spread over pairs."""
    figure = Figure(figsize=(6.4, 0.26 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['layer']} {row['router']}" for row in rows]
    axes.barh(names, [row["spearman"] for row in rows], xerr=[row["sd_over_pairs"] for row in rows], color=BLUE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("rank correlation of entropy and error (line: sd over pairs)")
    axes.invert_yaxis()
    return figure


def draw_agreement(rows: list[dict]) -> Figure:
    """Agreement of seeds against what independent maps would reach."""
    kinds = list(dict.fromkeys((row["layer"], row["router"]) for row in rows))
    figure = Figure(figsize=(6.4, 0.26 * len(kinds) + 1.0), layout="constrained")
    axes = figure.subplots()
    for key, colour, marker in (("chance", GREY, "|"), ("agreement", BLUE, "o")):
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


def draw_variants(rows: list[dict]) -> Figure:
    """Every seed of every variant or method as a dot, Dice and endpoint error (where the truth is known)."""
    kind = "variant" if "variant" in rows[0] else "method"
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    variants = list(dict.fromkeys(row[kind] for row in rows))
    keys = [key for key in ("dice", "epe") if any(row[key] is not None for row in rows)]
    figure = Figure(figsize=(4.2 * len(keys), 0.34 * len(variants) * len(tasks) + 1.2), layout="constrained")
    grid = np.array(figure.subplots(len(tasks), len(keys), sharey=True, squeeze=False))
    for (t, task), (k, key) in ((a, b) for a in enumerate(tasks) for b in enumerate(keys)):
        axes = grid[t, k]
        if all(row[key] is None for row in rows if row["task"] == task):
            axes.set_visible(False)  # the truth is not known
            continue
        for height, variant in enumerate(variants):
            values = [row[key] for row in rows if (row["task"], row[kind]) == (task, variant)]
            axes.plot(values, [height] * len(values), "o", color=BLUE, alpha=0.6)
            axes.plot([np.mean(values)], [height], "|", color="black", markersize=14)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_title(task, fontsize=9, loc="left")
        axes.set_xlabel("Dice" if key == "dice" else "endpoint error, voxels")
    grid[0, 0].invert_yaxis()
    return figure


def draw_profiles(rows: list[dict]) -> Figure:
    """Mean kernel extent asked for by each direction, one line per motion."""
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    axes = figure.subplots()
    motions = list(dict.fromkeys(row["motion"] for row in rows))
    directions = list(dict.fromkeys(row["router"] for row in rows))
    for motion, colour in zip(motions, (BLUE, "#c2562b", GREY), strict=False):
        for place, direction in enumerate(directions):
            values = [row["extent"] for row in rows if (row["motion"], row["router"]) == (motion, direction)]
            offset = place + 0.12 * (motions.index(motion) - 0.5)
            axes.plot([offset] * len(values), values, "o", color=colour, label=motion if place == 0 else None)
    axes.set_xticks(range(len(directions)), directions)
    axes.set_ylabel("mean kernel extent, voxels")
    axes.legend(fontsize=8, frameon=False)
    return figure


def draw_driving(rows: list[dict]) -> Figure:
    """Angle and rank correlation of force and missing displacement: a group of bars per level and round."""
    places = sorted({(row["level"], row["round"]) for row in rows}, key=lambda place: (-place[0], place[1]))
    controls = list(dict.fromkeys(row["control"] for row in rows))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("angle", "rank_correlation"), strict=True):
        for number, (control, colour) in enumerate(zip(controls, (BLUE, GREY, "#d9dce1"), strict=True)):
            found = {(row["level"], row["round"]): row[key] for row in rows if row["control"] == control}
            at = [position + 0.27 * (number - 1) for position, place in enumerate(places) if place in found]
            axes.bar(at, [found[place] for place in places if place in found], 0.25, color=colour, label=control)
        axes.set_xticks(range(len(places)), [f"{level}.{turn}" for level, turn in places])
        axes.set_xlabel("level.round, coarse to fine")
    figure.axes[0].axhline(90, color="black", linewidth=0.8)  # chance
    figure.axes[0].set_ylabel("angle between, degrees")
    figure.axes[1].set_ylabel("rank correlation of lengths")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


DRAWINGS: dict[str, Callable[[list[dict]], Figure]] = {
    "variant": draw_variants,
    "method": draw_variants,
    "extent": draw_profiles,
    "load": draw_load,
    "usage": draw_usage,
    "change": draw_knock_out,
    "spearman": draw_correlation,
    "agreement": draw_agreement,
    "angle": draw_driving,
    "recursions": draw_recursions,
    "labels": draw_labels,
    "way": draw_quality,
    "regularity": draw_regularity,
}
