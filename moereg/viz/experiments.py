"""The figure of a finding, chosen by what its rows hold, and the figures that compare trained networks.

Figures of one model's experiments stand under its name (`drivenmorph`, `rman`, `segreg`), those of the audit of a
routed network in `audit`.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from moereg.viz.audit import draw_agreement, draw_correlation, draw_knock_out, draw_load, draw_usage
from moereg.viz.drivenmorph import draw_forces
from moereg.viz.palette import CONTROL, MEASURED, OTHER
from moereg.viz.rman import draw_recursions
from moereg.viz.segreg import draw_labels, draw_merges, draw_quality, draw_regularity
from moereg.viz.style import STYLES, dots_over_seeds, heading, key_below, line_over_seeds


def draw(finding) -> Figure:
    """The figure of a finding, chosen by what its rows hold, with the question above it.

    Raises:
        ValueError: rows of a kind that nobody draws, or no rows.
    """
    keys = sorted(finding.rows[0]) if finding.rows else []
    drawing = next((drawing for key, drawing in DRAWINGS.items() if key in keys), None)
    if drawing is None:
        raise ValueError(f"rows must hold one of {', '.join(DRAWINGS)}, got {keys}.")
    figure = drawing(finding.rows)
    figure.suptitle(finding.question, fontsize=11, x=0.01, ha="left")
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
        axes, own = grid[t, k], [row for row in rows if row["task"] == task]
        if all(row[key] is None for row in own):
            axes.set_visible(False)  # the truth is not known
            continue
        dots_over_seeds(axes, {variant: [row[key] for row in own if row[kind] == variant] for variant in variants})
        heading(axes, task)
        axes.set_xlabel("Dice" if key == "dice" else "endpoint error, voxels")
    return figure


def draw_profiles(rows: list[dict]) -> Figure:
    """Mean kernel extent asked for by each direction, one column of dots per motion."""
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    axes = figure.subplots()
    motions = list(dict.fromkeys(row["motion"] for row in rows))
    directions = list(dict.fromkeys(row["router"] for row in rows))
    for number, (motion, colour) in enumerate(zip(motions, (MEASURED, OTHER, CONTROL), strict=False)):
        for place, direction in enumerate(directions):
            values = [row["extent"] for row in rows if (row["motion"], row["router"]) == (motion, direction)]
            across = [place + 0.12 * (number - 0.5)] * len(values)
            axes.plot(across, values, "o", color=colour, label=motion if place == 0 else None)
    axes.set_xticks(range(len(directions)), directions)
    axes.set_ylabel("mean kernel extent, voxels")
    axes.legend(fontsize=8, frameon=False)
    return figure


def draw_decisions(rows: list[dict]) -> Figure:
    """How sure routers are, whether seeds agree, and how well each setting registers, one row of panels per task."""
    tasks, settings = (list(dict.fromkeys(row[key] for row in rows)) for key in ("task", "setting"))
    panels = {"entropy": "entropy of routers / log N", "same_expert": "same expert in two seeds", "dice": "Dice"}
    panels |= {"epe": "endpoint error, voxels"} if any(row["epe"] is not None for row in rows) else {}
    figure = Figure(figsize=(2.9 * len(panels) + 1, 0.34 * len(settings) * len(tasks) + 1.4), layout="constrained")
    grid = np.array(figure.subplots(len(tasks), len(panels), sharey=True, squeeze=False))
    for (t, task), (k, (key, title)) in ((a, b) for a in enumerate(tasks) for b in enumerate(panels.items())):
        axes = grid[t, k]
        own = {
            setting: [row for row in rows if (row["task"], row["setting"]) == (task, setting)] for setting in settings
        }
        dots_over_seeds(axes, {setting: [row[key] for row in found] for setting, found in own.items()})
        axes.set_xlabel(title)
        if key == "same_expert":
            chances = [found[0]["same_by_chance"] for found in own.values()]
            axes.plot(chances, range(len(settings)), "x", color=CONTROL, label="independent maps")
        if key in ("entropy", "same_expert"):
            axes.set_xlim(-0.03, 1.03)
        else:
            axes.locator_params(axis="x", nbins=4)  # 0.905 and 0.910 would touch
    for axes, task in zip(grid[:, 0], tasks, strict=True):
        heading(axes, task)
    key_below(figure)
    return figure


def draw_growth(rows: list[dict]) -> Figure:
    """Error, entropy, costs and agreement after ever more steps; dots are seeds, lines their means."""
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    panels = figure.subplots(1, 4)
    contents = (
        ("endpoint error, voxels", [("epe", "of the network", MEASURED, "-")]),
        ("entropy of routers / log N", [("entropy", "of the network", MEASURED, "-")]),
        (
            "cost, voxels",
            [
                ("expert_cost", "without the most missed expert", MEASURED, "-"),
                ("gates_cost", "random gates", OTHER, "--"),
            ],
        ),
        (
            "same expert in two seeds",
            [("same_expert", "of the network", MEASURED, "-"), ("same_by_chance", "independent maps", CONTROL, ":")],
        ),
    )
    for axes, (title, lines) in zip(panels, contents, strict=True):
        for key, label, colour, dashes in lines:
            line_over_seeds(axes, rows, "step", key, (colour, "o", dashes), label=label)
        axes.set_xscale("log")
        axes.set_xlabel("steps of training")
        heading(axes, title)
    panels[3].set_ylim(0, 1)
    key_below(figure, 4)
    return figure


def draw_amount(rows: list[dict]) -> Figure:
    """Share of the motion that is left, against the number of training pairs; one panel per number of steps."""
    usual = [row for row in rows if row["trained"] == rows[0]["trained"]]
    lengths, counts = (sorted({row[key] for row in usual}) for key in ("steps", "pairs"))
    figure = Figure(figsize=(3.2 * len(lengths), 3.1), layout="constrained")
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, steps in zip(panels, lengths, strict=True):
        own = [row for row in usual if row["steps"] == steps]
        for key, style in (("seen", STYLES[0]), ("unseen", STYLES[1])):
            line_over_seeds(axes, own, "pairs", key, style, label=f"{key} pairs")
        axes.axhline(1, color=CONTROL, linestyle=":", label="doing nothing")
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("pairs in training")
        heading(axes, f"{steps} steps")
    panels[0].set_ylim(0, 1.1)
    panels[0].set_ylabel("share of the motion left")
    key_below(figure)
    return figure


def draw_worth(rows: list[dict]) -> Figure:
    """Dice of every tool against its time per pair in units of the affine's; dots are seeds, one panel per task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = Figure(figsize=(5.2 * len(tasks), 3.6), layout="constrained")
    marks = "osD^vP*X<>"
    tools = [tool for tool in dict.fromkeys(row["tool"] for row in rows) if tool != "nothing"]
    for axes, task in zip(np.atleast_1d(figure.subplots(1, len(tasks))), tasks, strict=True):
        own = [row for row in rows if row["task"] == task]
        unit = np.mean([row["cpu_per_pair"] for row in own if row["tool"] == "affine"])
        still = [row["dice"] for row in own if row["tool"] == "nothing"]
        if still:
            axes.axhline(np.mean(still), color=CONTROL, linestyle=":", label="nothing")
        for number, tool in enumerate(tools):
            found = [row for row in own if row["tool"] == tool]
            if not found:
                continue
            colour = OTHER if "network" in tool else MEASURED
            times, scores = [row["cpu_per_pair"] / unit for row in found], [row["dice"] for row in found]
            axes.plot(times, scores, marks[number % len(marks)], color=colour, alpha=0.8, label=tool)
        axes.set_xscale("log")
        axes.set_xlabel("processor time per pair, in units of the affine's")
        axes.set_ylabel("Dice")
        heading(axes, task)
    key_below(figure)
    return figure


# Key of a row -> who draws rows that have it. The first that fits is taken.
DRAWINGS: dict[str, Callable[[list[dict]], Figure]] = {
    "setting": draw_decisions,
    "expert_cost": draw_growth,
    "variant": draw_variants,
    "tool": draw_worth,
    "method": draw_variants,
    "extent": draw_profiles,
    "load": draw_load,
    "usage": draw_usage,
    "change": draw_knock_out,
    "spearman": draw_correlation,
    "agreement": draw_agreement,
    "angle": draw_forces,
    "recursions": draw_recursions,
    "unseen": draw_amount,
    "labels": draw_labels,
    "way": draw_quality,
    "regularity": draw_regularity,
    "merge": draw_merges,
}
