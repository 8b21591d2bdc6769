"""Figure of DrivenMorph: do its forces point to where the tissue is?"""

from matplotlib.figure import Figure

from moereg.viz.palette import CONTROL, MEASURED, REFERENCE, SECOND_CONTROL
from moereg.viz.style import key_below


def draw_forces(rows: list[dict]) -> Figure:
    """Angle and rank correlation of force and missing displacement: a group of bars per level and round."""
    places = sorted({(row["level"], row["round"]) for row in rows}, key=lambda place: (-place[0], place[1]))
    controls = list(dict.fromkeys(row["control"] for row in rows))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("angle", "rank_correlation"), strict=True):
        for number, (control, colour) in enumerate(zip(controls, (MEASURED, CONTROL, SECOND_CONTROL), strict=True)):
            found = {(row["level"], row["round"]): row[key] for row in rows if row["control"] == control}
            at = [position + 0.27 * (number - 1) for position, place in enumerate(places) if place in found]
            axes.bar(at, [found[place] for place in places if place in found], 0.25, color=colour, label=control)
        axes.set_xticks(range(len(places)), [f"{level}.{turn}" for level, turn in places])
        axes.set_xlabel("level.round, coarse to fine")
    figure.axes[0].axhline(90, color=REFERENCE, linewidth=0.8)  # chance
    figure.axes[0].set_ylabel("angle between, degrees")
    figure.axes[1].set_ylabel("rank correlation of lengths")
    key_below(figure)
    return figure
