"""Figures of the audit, read back: every number stands at its name, in its colour, with its sign."""

import pytest
from matplotlib.colors import to_hex

from moereg.viz import palette
from moereg.viz.audit import draw_agreement, draw_correlation, draw_knock_out, draw_load, draw_usage
from tests.viz.reading import bars_of, key_of, lines_of, named_bars, points_of, size_of, ticks_of, titles_of

GREEN, BLUE = palette.expert_colours(("1³", "3³"))


def share(layer: str, router: str, expert: str, load: float) -> dict:
    return {"layer": layer, "router": router, "expert": expert, "load": load}


LOAD = [
    share("encoder.1.moa", "token", "head 0", 0.625),
    share("encoder.1.moa", "token", "head 1", 0.375),
    share("decoder.0.shmoe", "z", "1³", 0.25),
    share("decoder.0.shmoe", "z", "3³", 0.75),
    share("decoder.0.shmoe", "y", "3³", 0.5),  # in another order than above
    share("decoder.0.shmoe", "y", "1³", 0.125),
]


def test_load_is_stacked_in_the_experts_colours():
    figure = draw_load(LOAD)
    assert titles_of(figure) == ["encoder.1.moa", "decoder.0.shmoe"]
    assert size_of(figure) == (5.2, 2.4)
    encoder, decoder = figure.axes
    heads = palette.expert_colours(("head 0", "head 1"))
    assert bars_of(encoder) == [(0.0, -0.4, 0.625, 0.8, heads[0]), (0.625, -0.4, 0.375, 0.8, heads[1])]
    assert bars_of(decoder) == [
        (0.0, -0.4, 0.25, 0.8, GREEN), (0.0, 0.6, 0.125, 0.8, GREEN),
        (0.25, -0.4, 0.75, 0.8, BLUE), (0.125, 0.6, 0.5, 0.8, BLUE),
    ]  # fmt: skip
    assert {(to_hex(bar.get_edgecolor()), bar.get_linewidth()) for bar in decoder.patches} == {("#ffffff", 0.5)}
    assert ticks_of(decoder, "y") == [(0, "z"), (1, "y")]
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 1)
        assert axes.yaxis_inverted()  # the first router on top


def test_load_has_a_key_for_heads_and_kernels():
    first, second = palette.expert_colours(("head 0", "head 1"))
    assert key_of(draw_load(LOAD)) == [("head 0", first), ("head 1", second), ("1³", GREEN), ("3³", BLUE)]
    (legend,) = draw_load(LOAD).legends
    assert legend._ncols == 8


def usage(layer: str, router: str, own: float, other: float, *rows: tuple[float, float]) -> dict:
    organs = {
        organ: dict(zip(("1³", "3³"), row, strict=True))
        for organ, row in zip(("liver", "spleen", "aorta"), rows, strict=True)
    }
    bits = {"own": own, "other": other, "oracle": 2 * own}
    return {"network": "trained", "role": "decoder", "layer": layer, "router": router, "usage": organs} | bits


def test_usage_has_organs_in_rows_and_experts_in_columns():
    rows = [
        usage("decoder.1.shmoe", "z", 0.5, 0.25, (0, 1), (0, 1), (0, 1)),  # a coarser layer is not shown
        usage("a.0.moa", "token", 0.5, 0.25, (0, 1), (0, 1), (0, 1)) | {"role": "encoder"},
        usage("decoder.0.shmoe", "z", 0.5, 0.25, (0, 1), (0, 1), (0, 1)) | {"network": "untrained"},
        usage("decoder.0.shmoe", "z", 0.125, 0.0625, (0.25, 0.75), (1.0, 0.0), (0.5, 0.5)),
        usage("decoder.0.shmoe", "y", 0.2, 0.1, (0.875, 0.125), (0.0, 1.0), (0.75, 0.25)),
    ]
    figure = draw_usage(rows)
    z, y, bar = figure.axes
    assert titles_of(figure)[:2] == [
        "z: 0.125 bit\nothers 0.062, oracle 0.250",
        "y: 0.200 bit\nothers 0.100, oracle 0.400",
    ]
    assert z.images[0].get_array().tolist() == [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]
    assert y.images[0].get_array().tolist() == [[0.875, 0.125], [0.0, 1.0], [0.75, 0.25]]
    assert z.images[0].get_clim() == y.images[0].get_clim() == (0, 1)
    assert ticks_of(z, "x") == [(0, "1³"), (1, "3³")]
    assert ticks_of(z, "y") == [(0, "liver"), (1, "spleen"), (2, "aorta")]
    assert z.images[0].get_cmap().name == "cividis"
    assert z.get_aspect() == "auto"
    assert bar.get_ylabel() == "share of gates"
    assert size_of(figure) == (5.8, 2.02)


def test_usage_of_one_router():
    figure = draw_usage([usage("decoder.0.shmoe", "all", 0.1, 0.1, (0.25, 0.75), (1, 0), (0, 1))])
    assert figure.axes[0].images[0].get_array().tolist()[0] == [0.25, 0.75]


KNOCKED = [
    {"layer": "all", "router": "all"} | row
    for row in (
        {"change": "complete", "what": "", "dice_change": 0.0, "epe_change": 0.0},
        {"change": "expert", "what": "1³", "dice_change": -0.25, "epe_change": 0.5},
        {"change": "expert", "what": "3³", "dice_change": 0.125, "epe_change": -0.75},
        {"change": "gates", "what": "uniform", "dice_change": -0.5, "epe_change": 2.0},
    )
]


@pytest.mark.parametrize(
    ("epe", "values", "label"),
    [
        (1.5, [0.5, -0.75, 2.0], "change of endpoint error, voxels"),
        (0.0, [0.5, -0.75, 2.0], "change of endpoint error, voxels"),
        (None, [-0.25, 0.125, -0.5], "change of Dice"),
    ],
)
def test_a_knock_out_stands_at_the_expert_that_is_missing(epe, values, label):
    figure = draw_knock_out([row | {"epe": epe} for row in KNOCKED])
    (axes,) = figure.axes
    names = ["without 1³", "without 3³", "gates uniform"]
    assert named_bars(axes) == [(name, 0.0, value) for name, value in zip(names, values, strict=True)]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == label
    assert {colour for *_, colour in bars_of(axes)} == {palette.MEASURED}
    zero = lines_of(axes)[-1]
    assert (zero["x"], zero["colour"], zero["width"]) == ([0, 0], "#000000", 0.8)
    assert size_of(figure) == (6.4, 1.68)


def test_single_experts_stand_in_a_matrix_below():
    singles = [
        {"change": "expert", "what": what, "layer": layer, "router": "z", "dice_change": 0.0, "epe_change": change}
        for layer, what, change in [
            ("decoder.0", "1³", 0.5),
            ("decoder.0", "3³", -0.25),
            ("encoder.1", "head 0", 0.125),
        ]
    ]
    figure = draw_knock_out([row | {"epe": 1.0} for row in [*KNOCKED, *singles]])
    bars, matrix, colours = figure.axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["without 1³", "without 3³", "gates uniform"]
    values = matrix.images[0].get_array()
    assert values[0].tolist() == [0.5, -0.25]
    assert values[1, 0] == 0.125
    assert values.mask[1].tolist() == [False, True]
    assert matrix.images[0].get_clim() == (-0.5, 0.5)
    assert ticks_of(matrix, "y") == [(0, "decoder.0 z"), (1, "encoder.1 z")]
    written = {text.get_position(): text.get_text() for text in matrix.texts}
    assert written == {(0, 0): "1³\n+0.500", (1, 0): "3³\n-0.250", (0, 1): "head 0\n+0.125"}
    assert colours.get_ylabel() == "change of endpoint error, voxels"


def test_correlations_keep_their_sign_and_their_spread():
    def row(router, partial, other, network="trained"):
        values = [partial - 0.25, partial + 0.25] if router == "z" else [partial - 0.125, partial + 0.125]
        found = {"network": network, "layer": "decoder.0", "router": router, "partial": partial, "other": other}
        return found | {"per_pair": {"partial": values}}

    rows = [row("z", -0.5, 0.1), row("y", 0.75, 0.2), row("z", 0.3, 0.0, "untrained"), row("y", 0.4, 0.0, "untrained")]
    figure = draw_correlation(rows)
    (axes,) = figure.axes
    assert named_bars(axes) == [("decoder.0 z", 0.0, -0.5), ("decoder.0 y", 0.0, 0.75)]
    ends = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[-0.75, -0.25], [0.625, 0.875]]
    assert axes.yaxis_inverted()
    marks = {line.get_label(): list(line.get_xdata()) for line in axes.lines if not line.get_label().startswith("_")}
    assert marks == {"another subject's entropy": [0.1, 0.2], "untrained network": [0.3, 0.4]}
    assert [name for name, _ in key_of(figure)][-1] == "trained"
    assert axes.get_xlabel() == "partial rank correlation, motion held fixed (line: sd over pairs)"


def test_agreement_stands_beside_its_chance():
    rows = [
        {"layer": layer, "router": router, "agreement": agreement, "chance": chance}
        for layer, router, agreement, chance in [
            ("decoder.1", "y", 0.5, 0.25), ("decoder.0", "y", 0.625, 0.375), ("decoder.1", "y", 0.75, 0.3125),
        ]
    ]  # fmt: skip
    figure = draw_agreement(rows)
    (axes,) = figure.axes
    assert points_of(axes, "o") == [([0.5, 0.75], [0, 0], palette.MEASURED), ([0.625], [1], palette.MEASURED)]
    assert points_of(axes, "|") == [([0.25, 0.3125], [0, 0], palette.CONTROL), ([0.375], [1], palette.CONTROL)]
    assert {line["size"] for line in lines_of(axes)} == {7}
    assert {line["dashes"] for line in lines_of(axes)} == {"None"}
    assert ticks_of(axes, "y") == [(0, "decoder.1 y"), (1, "decoder.0 y")]
    assert key_of(axes) == [("chance", palette.CONTROL), ("agreement", palette.MEASURED)]
    assert axes.get_xlim() == (0, 1)
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "share of voxels with the same first expert"
    assert size_of(figure) == (6.4, 1.52)
