"""Figures of experiments, read back: who draws what, and where every seed of every variant stands."""

from dataclasses import dataclass

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from moereg import viz
from moereg.course.recorded import recorded
from moereg.viz import audit, drivenmorph, experiments, palette, rman, segreg
from moereg.viz.drivenmorph import draw_forces
from moereg.viz.experiments import DRAWINGS, draw, draw_profiles, draw_variants
from moereg.viz.rman import draw_recursions
from moereg.viz.segreg import draw_labels, draw_merges, draw_quality, draw_regularity
from moereg.viz.style import STYLES, dots_over_seeds, key_below, line_over_seeds
from tests.viz.reading import bars_of, key_of, lines_of, points_of, size_of, ticks_of, titles_of

BLUE, ORANGE, GREY = palette.MEASURED, palette.OTHER, palette.CONTROL


@dataclass
class Found:
    rows: list
    question: str = "Which is better?"


# ------------------------------------------------------------------------------------------------ who draws what


@pytest.mark.parametrize(
    ("key", "drawing"),
    [
        ("setting", experiments.draw_decisions),
        ("expert_cost", experiments.draw_growth),
        ("variant", experiments.draw_variants),
        ("method", experiments.draw_variants),
        ("extent", experiments.draw_profiles),
        ("load", audit.draw_load),
        ("usage", audit.draw_usage),
        ("change", audit.draw_knock_out),
        ("spearman", audit.draw_correlation),
        ("agreement", audit.draw_agreement),
        ("angle", drivenmorph.draw_forces),
        ("recursions", rman.draw_recursions),
        ("unseen", experiments.draw_amount),
        ("labels", segreg.draw_labels),
        ("way", segreg.draw_quality),
        ("regularity", segreg.draw_regularity),
        ("merge", segreg.draw_merges),
        ("tool", experiments.draw_worth),
    ],
)
def test_rows_are_drawn_by_what_they_hold(key, drawing, monkeypatch):
    assert DRAWINGS[key] is drawing
    assert len(DRAWINGS) == 18
    seen = []
    monkeypatch.setitem(DRAWINGS, key, lambda rows: seen.append(rows) or Figure())
    rows = [{"seed": 0, key: 1.0}]
    figure = draw(Found(rows))
    assert seen == [rows]
    title = figure._suptitle
    assert (title.get_text(), title.get_ha(), title.get_position()[0]) == ("Which is better?", "left", 0.01)
    assert title.get_fontsize() == 11


@pytest.mark.parametrize("rows", [[], [{"seed": 0}]])
def test_rows_that_nobody_draws_are_refused(rows):
    with pytest.raises(ValueError, match=r"rows must hold one of setting, expert_cost, .*, merge, got \["):
        draw(Found(rows))


def test_every_recorded_finding_is_drawn():
    for name in ("ablation", "axis", "contest", "stability", "rman", "segreg", "abdomen"):
        for finding in recorded(name).findings:
            assert viz.draw(finding).axes


# ------------------------------------------------------------------------------------------------ what they share


def test_dots_are_seeds_and_the_bar_is_their_mean():
    axes = Figure().subplots()
    dots_over_seeds(axes, {"first": [1.0, 2.0, 6.0], "second": [4.0]})
    assert points_of(axes, "o") == [([1, 2, 6], [0, 0, 0], BLUE), ([4], [1], BLUE)]
    assert points_of(axes, "|") == [([3], [0], "#000000"), ([4], [1], "#000000")]
    assert ticks_of(axes, "y") == [(0, "first"), (1, "second")]
    assert axes.get_ylim() == (1.5, -0.5)  # the first on top
    assert {(line["size"], line["alpha"]) for line in lines_of(axes)} == {(6.0, 0.6), (14, None)}
    assert {line["dashes"] for line in lines_of(axes) if line["marker"] == "o"} == {"None"}


def test_a_line_passes_through_the_means_in_order():
    axes = Figure().subplots()
    rows = [{"k": 4, "d": 0.5}, {"k": 1, "d": 0.1}, {"k": 1, "d": 0.3}, {"k": 4, "d": 0.75}]
    line_over_seeds(axes, rows, "k", "d", (ORANGE, "s", "--"), label="other")
    dots, line = lines_of(axes)
    assert (dots["x"], dots["y"], dots["colour"], dots["marker"]) == ([4, 1, 1, 4], [0.5, 0.1, 0.3, 0.75], ORANGE, ".")
    assert (dots["size"], dots["alpha"], dots["dashes"]) == (3, 0.6, "None")
    assert (line["x"], line["y"], line["colour"], line["marker"]) == ([1, 4], [0.2, 0.625], ORANGE, "s")
    assert (line["size"], line["alpha"], line["dashes"]) == (5, None, "--")
    assert axes.get_legend_handles_labels()[1] == ["other"]


def test_styles_differ_in_more_than_colour():
    assert STYLES == ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "^", ":"))


def test_a_key_names_everything_once():
    figure = Figure(layout="constrained")
    for axes, names in zip(figure.subplots(1, 2), ("ab", "bc"), strict=True):
        for name in names:
            axes.plot([0], [0], color={"a": BLUE, "b": ORANGE, "c": GREY}[name], label=name)
    key_below(figure)
    assert key_of(figure) == [("a", BLUE), ("b", ORANGE), ("c", GREY)]
    (legend,) = figure.legends
    assert (legend._ncols, legend.get_frame_on(), legend._outside_loc) == (3, False, "lower")
    assert {text.get_fontsize() for text in legend.get_texts()} == {8}


# ------------------------------------------------------------------------------------------------ variants, profiles


def variant(task: str, name: str, dice: float, epe: float | None, key: str = "variant") -> dict:
    return {"task": task, key: name, "dice": dice, "epe": epe}


def test_variants_have_a_row_each_and_tasks_a_panel_each():
    rows = [
        variant("far", "a", 0.5, 2.0), variant("far", "b", 0.25, 4.0), variant("far", "a", 0.75, 1.0),
        variant("near", "b", 0.875, None), variant("near", "a", 0.125, None),
    ]  # fmt: skip
    figure = draw_variants(rows)
    far_dice, far_epe, near_dice, near_epe = figure.axes
    assert titles_of(figure) == ["far", "far", "near", ""]
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["Dice", "endpoint error, voxels", "Dice"]
    assert points_of(far_dice, "o") == [([0.5, 0.75], [0, 0], BLUE), ([0.25], [1], BLUE)]
    assert points_of(far_epe, "o") == [([2, 1], [0, 0], BLUE), ([4], [1], BLUE)]
    assert points_of(near_dice, "o") == [([0.125], [0], BLUE), ([0.875], [1], BLUE)]
    assert ticks_of(far_dice, "y") == [(0, "a"), (1, "b")]
    assert far_dice.yaxis_inverted()
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, False]
    assert near_epe.lines == [] or not near_epe.lines
    assert size_of(figure) == (8.4, 2.56)


def test_methods_without_a_truth_have_dice_alone():
    rows = [variant("scans", "demons", 0.5, None, "method"), variant("scans", "network", 0.75, None, "method")]
    figure = draw_variants(rows)
    (axes,) = figure.axes
    assert points_of(axes, "o") == [([0.5], [0], BLUE), ([0.75], [1], BLUE)]
    assert ticks_of(axes, "y") == [(0, "demons"), (1, "network")]
    assert size_of(figure) == (4.2, 1.88)


def test_profiles_stand_beside_each_other_at_their_direction():
    rows = [
        {"motion": motion, "router": router, "extent": extent}
        for motion, router, extent in [
            ("original", "y", 3.0), ("original", "x", 5.0), ("permuted", "y", 4.0), ("permuted", "x", 2.0),
            ("original", "y", 3.5),
        ]
    ]  # fmt: skip
    figure = draw_profiles(rows)
    (axes,) = figure.axes
    assert points_of(axes, "o") == [
        ([-0.06, -0.06], [3, 3.5], BLUE), ([0.94], [5], BLUE), ([0.06], [4], ORANGE), ([1.06], [2], ORANGE),
    ]  # fmt: skip
    assert ticks_of(axes, "x") == [(0, "y"), (1, "x")]
    assert key_of(axes) == [("original", BLUE), ("permuted", ORANGE)]
    assert axes.get_ylabel() == "mean kernel extent, voxels"
    assert {line["dashes"] for line in lines_of(axes)} == {"None"}
    assert size_of(figure) == (5.6, 2.6)


# ------------------------------------------------------------------------------------------------ DrivenMorph


def force(level: int, turn: int, control: str, angle: float, rank: float) -> dict:
    return {"level": level, "round": turn, "control": control, "angle": angle, "rank_correlation": rank}


def test_forces_are_grouped_from_coarse_to_fine():
    rows = [
        force(0, 1, "trained", 40.0, 0.5), force(1, 2, "trained", 60.0, 0.25), force(1, 1, "trained", 30.0, 0.75),
        force(1, 1, "untrained", 80.0, -0.25), force(0, 1, "untrained", 85.0, 0.125),
        force(1, 1, "shuffled", 90.0, 0.0),
    ]  # fmt: skip
    figure = draw_forces(rows)
    angle, rank = figure.axes
    pale = palette.SECOND_CONTROL
    assert ticks_of(angle, "x") == [(0, "1.1"), (1, "1.2"), (2, "0.1")]
    # Three bars 0.25 wide, centred 0.27 apart: left edges at -0.395, -0.125 and 0.145 of the place.
    assert bars_of(angle) == [
        (-0.395, 0, 0.25, 30, BLUE), (0.605, 0, 0.25, 60, BLUE), (1.605, 0, 0.25, 40, BLUE),
        (-0.125, 0, 0.25, 80, GREY), (1.875, 0, 0.25, 85, GREY), (0.145, 0, 0.25, 90, pale),
    ]  # fmt: skip
    assert [bar[3] for bar in bars_of(rank)] == [0.75, 0.25, 0.5, -0.25, 0.125, 0.0]
    assert key_of(figure) == [("trained", BLUE), ("untrained", GREY), ("shuffled", pale)]
    chance = lines_of(angle)[-1]
    assert (chance["y"], chance["colour"], chance["width"]) == ([90, 90], "#000000", 0.8)
    assert lines_of(rank) == []
    assert [axes.get_ylabel() for axes in figure.axes] == ["angle between, degrees", "rank correlation of lengths"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"level.round, coarse to fine"}
    assert size_of(figure) == (7.2, 3.0)


# ------------------------------------------------------------------------------------------------ RMAn


def test_recursions_have_a_column_per_training_and_a_line_per_attention():
    rows = [
        {
            "trained": trained, "attention": attention, "recursions": k, "dice": dice, "asd": asd, "epe": 2 * asd,
            "fold_fraction": dice / 8,
        }
        for trained, attention, k, dice, asd in [
            (3, "mutual", 1, 0.5, 4.0), (3, "mutual", 2, 0.75, 2.0), (3, "none", 1, 0.25, 8.0),
            (1, "mutual", 1, 0.625, 3.0), (1, "mutual", 2, 0.125, 9.0), (1, "none", 2, 0.375, 7.0),
        ]
    ]  # fmt: skip
    figure = draw_recursions(rows)
    grid = {title: figure.axes[n::2] for n, title in enumerate(titles_of(figure)[:2])}
    assert list(grid) == ["trained with 1", "trained with 3"]
    dice, asd, epe, folds = grid["trained with 3"]
    assert points_of(epe, "o") == [([1, 2], [8, 4], BLUE)]
    assert points_of(folds, "s") == [([1], [0.25 / 8], ORANGE)]
    assert points_of(dice, "o") == [([1, 2], [0.5, 0.75], BLUE)]
    assert points_of(dice, "s") == [([1], [0.25], ORANGE)]
    assert points_of(asd, "o") == [([1, 2], [4, 2], BLUE)]
    assert points_of(grid["trained with 1"][0], "o") == [([1, 2], [0.625, 0.125], BLUE)]
    for trained, column in ((1, grid["trained with 1"]), (3, grid["trained with 3"])):
        for axes in column:
            mark = [line for line in lines_of(axes) if line["width"] == 6]
            assert [(line["x"], line["colour"], line["alpha"]) for line in mark] == [([trained, trained], GREY, 0.2)]
            assert axes.get_xticks().tolist() == [1, 2]
    assert key_of(figure) == [("mutual attention", BLUE), ("none", ORANGE)]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        "Dice", "surface distance, mm", "endpoint error, voxels", "share of folds",
    ]  # fmt: skip
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 6 + ["recursions", "recursions"]
    assert size_of(figure) == (5.7, 7.6)


# ------------------------------------------------------------------------------------------------ SegReg


def test_kinds_of_labels_have_a_row_each():
    rows = [
        {"labels": "none", "dice": 0.5, "organ_epe": 2.0, "between_epe": 4.0, "seam_fold_fraction": 0.0},
        {"labels": "true", "dice": 0.75, "organ_epe": 1.0, "between_epe": 5.0, "seam_fold_fraction": 0.125},
        {"labels": "none", "dice": 0.25, "organ_epe": 3.0, "between_epe": 6.0, "seam_fold_fraction": 0.25},
    ]
    figure = draw_labels(rows)
    dice, epe, between, folds = figure.axes
    assert points_of(dice, "o") == [([0.5, 0.25], [0, 0], BLUE), ([0.75], [1], BLUE)]
    assert points_of(epe, "o") == [([2, 3], [0, 0], BLUE), ([1], [1], BLUE)]
    assert points_of(between, "o") == [([4, 6], [0, 0], BLUE), ([5], [1], BLUE)]
    assert points_of(folds, "o") == [([0, 0.25], [0, 0], BLUE), ([0.125], [1], BLUE)]
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "Dice", "error in organs, voxels", "error between them, voxels", "share of folds at seams",
    ]  # fmt: skip
    assert ticks_of(dice, "y") == [(0, "none"), (1, "true")]
    assert dice.yaxis_inverted()
    assert size_of(figure) == (11.6, 1.78)
    merges = draw_merges([{"merge": row.pop("labels")} | row for row in rows])
    assert [axes.get_xlabel() for axes in merges.axes] == [axes.get_xlabel() for axes in figure.axes[:3]]
    assert points_of(merges.axes[1], "o") == points_of(epe, "o")
    assert size_of(merges) == (9.0, 1.78)


def test_quality_is_drawn_with_its_fitted_line():
    """dice = 0.1 + 0.5 quality in the first panel; the second has a slope of -1."""
    rows = [
        {"way": "noise", "amount": amount, "quality": quality, "dice": dice}
        for amount, quality, dice in [(0.0, 1.0, 0.5), (0.0, 1.0, 0.7), (2.0, 0.5, 0.3), (2.0, 0.5, 0.4)]
    ]
    rows += [
        {"way": "grown", "amount": amount, "quality": quality, "dice": dice}
        for amount, quality, dice in [(-1.0, 0.25, 1.0), (1.0, 0.75, 0.5)]
    ]
    figure = draw_quality([row | {"epe": 1.0, "seam_fold_fraction": 0.0, "other_fold_fraction": 0.0} for row in rows])
    noise, grown = figure.axes
    assert titles_of(figure) == ["noise (voxels)\nslope 0.50, R² 1.000", "grown (voxels)\nslope -1.00, R² 1.000"]
    assert points_of(noise, ".") == [([1, 1, 0.5, 0.5], [0.5, 0.7, 0.3, 0.4], GREY)]
    assert points_of(noise, "o") == [([1, 0.5], [0.6, 0.35], BLUE)]
    line = lines_of(noise)[-1]
    assert line["x"] == [0.5, 1.0]
    assert line["y"] == pytest.approx([0.35, 0.6])
    assert (line["colour"], line["width"], line["marker"]) == ("#000000", 0.8, "None")
    assert lines_of(grown)[-1]["y"] == pytest.approx([1.0, 0.25])
    assert [(text.get_text(), text.xy) for text in noise.texts] == [("0", (1.0, 0.6)), ("2", (0.5, 0.35))]
    assert {(text.get_position(), text.get_fontsize()) for text in noise.texts} == {((4, 4), 8)}
    assert noise.get_ylabel() == "Dice of the registration"
    assert {axes.get_xlabel() for axes in figure.axes} == {"Dice of the segmentation"}
    assert {line["dashes"] for line in lines_of(noise) if line["marker"] in ".o"} == {"None"}
    assert size_of(figure) == (8.0, 3.2)


def test_regularity_is_drawn_near_and_elsewhere():
    rows = [
        {"regularity": method, "smoothness": weight, "near": near, "elsewhere": far, "near_before": 2.0} | {
            "elsewhere_before": before
        }
        for method, weight, near, far, before in [
            ("backbone", 0.1, 1.0, 0.5, 4.0), ("backbone", 0.01, 1.5, 0.25, 4.0),
            ("uniform", 0.1, 0.75, 0.125, 5.0), ("adaptive", 0.1, 0.625, 0.0625, 5.0),
        ]
    ]  # fmt: skip
    figure = draw_regularity(rows)
    near, elsewhere = figure.axes
    assert titles_of(figure) == ["within 3 voxels of the interface", "elsewhere"]
    assert points_of(near, "^") == [([0.01, 0.1], [1.5, 1.0], GREY)]
    assert points_of(near, "s") == [([0.1], [0.75], ORANGE)]
    assert points_of(near, "o") == [([0.1], [0.625], BLUE)]  # the method itself has the colour of what is asked about
    assert points_of(elsewhere, "^") == [([0.01, 0.1], [0.25, 0.5], GREY)]
    assert key_of(figure) == [("backbone", GREY), ("uniform", ORANGE), ("adaptive", BLUE)]
    for axes, before in ((near, 2.0), (elsewhere, 4.5)):
        last = lines_of(axes)[-1]
        assert (last["y"], last["colour"], last["width"]) == ([before, before], "#000000", 0.8)
        assert [(text.get_text(), text.get_position()) for text in axes.texts] == [("before", (0.02, before))]
        assert axes.texts[0].get_va() == "top"
        assert axes.texts[0].get_fontsize() == 8
        assert axes.texts[0].get_transform() == axes.get_yaxis_transform()
        assert axes.get_xscale() == "log"
        assert axes.get_ylim()[0] == 0
        assert axes.get_xlabel() == "weight of the smoothness"
    assert near.get_ylabel() == "endpoint error, voxels"
    assert size_of(figure) == (7.6, 3.2)


def test_headings_stand_at_the_left_of_their_panel():
    figure = draw_variants([variant("far", "a", 0.5, None)])
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "far"
    assert axes._left_title.get_fontsize() == 9
    assert to_hex(axes.lines[0].get_color()) == BLUE
