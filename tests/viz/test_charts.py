"""Curves of a training: the larger value stands higher, the later step further right, every run keeps its colour."""

import pytest

from moereg.viz.charts import charts_of, run_colours
from moereg.viz.palette import RUNS


def points(curve) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in curve.points.split(" ")]


@pytest.fixture
def history():
    return {
        "A": {"step": [0, 50, 100], "loss": [3.0, 2.0, 1.0], "dice": [0.5, None, 0.7]},
        "B": {"step": [0, 100], "loss": [5.0, 4.0]},
    }


def test_one_chart_per_series_in_order(history):
    assert [chart.name for chart in charts_of(history)] == ["loss", "dice"]


def test_a_falling_loss_falls_from_the_left_to_the_right(history):
    """Steps 0 to 100 span x from 58 to 412, values 1 to 5 span y from 168 (bottom) to 8 (top)."""
    loss = charts_of(history)[0]
    assert points(loss.curves[0]) == [(58.0, 88.0), (235.0, 128.0), (412.0, 168.0)]
    assert points(loss.curves[1]) == [(58.0, 8.0), (412.0, 48.0)]


def test_ticks_stand_at_the_ends_of_both_axes(history):
    ticks = [(tick.text, tick.x, tick.y, tick.anchor) for tick in charts_of(history)[0].ticks]
    assert ticks == [
        ("1", 52, 172, "end"), ("5", 52, 12, "end"), ("0", 58, 194, "start"), ("100", 412, 194, "end"),
    ]  # fmt: skip


def test_the_ends_are_said_in_words(history):
    loss, dice = charts_of(history)
    assert loss.ends == "A ends at 1; B ends at 4"
    assert dice.ends == "A ends at 0.7"


def test_gaps_are_left_out(history):
    history["A"]["dice"][0] = float("nan")
    dice = charts_of(history)[1]
    assert points(dice.curves[0]) == [(58.0, 168.0)]  # one value: in the corner, and one tick
    assert [tick.text for tick in dice.ticks] == ["0.7", "100", "100"]


def test_a_run_keeps_its_colour_where_another_lacks_the_series(history):
    history = {"first": {"step": [1], "loss": [1.0]}, "second": {"step": [1], "loss": [2.0], "dice": [0.5]}}
    colours = run_colours(history)
    assert list(colours.items()) == [("first", RUNS[0]), ("second", RUNS[1])]
    loss, dice = charts_of(history)
    assert [curve.colour for curve in loss.curves] == [RUNS[0], RUNS[1]]
    assert [curve.colour for curve in dice.curves] == [RUNS[1]]


def test_colours_repeat_after_the_last():
    assert list(run_colours(dict.fromkeys("abcdef")).values()) == [*RUNS, RUNS[0], RUNS[1]]


def test_a_series_without_values_has_no_curves():
    (chart,) = charts_of({"A": {"step": [1, 2], "dice": [None, float("nan")]}})
    assert (chart.name, chart.ends, chart.curves, chart.ticks) == ("dice", "", [], [])


def test_a_run_without_values_is_not_said_to_end():
    (chart,) = charts_of({"A": {"step": [1], "dice": [None]}, "B": {"step": [1], "dice": [0.25]}})
    assert chart.ends == "B ends at 0.25"


def test_a_long_line_is_faint_under_its_running_mean():
    """80 points: the mean over two neighbours on either side. Of 0, 1, 0, 1, ... the mean of five is 0.4 or 0.6."""
    values = [float(i % 2) for i in range(80)]
    (chart,) = charts_of({"A": {"step": list(range(80)), "loss": values}})
    line, mean = chart.curves
    assert (line.faint, mean.faint) == (True, False)
    assert [y for _, y in points(line)[:4]] == [168.0, 8.0, 168.0, 8.0]
    # The first three have only what stands to the right of them: (0 1 0), (0 1 0 1), (0 1 0 1 0).
    heights = [(168 - y) / 160 for _, y in points(mean)]
    assert heights[:4] == pytest.approx([1 / 3, 1 / 2, 2 / 5, 3 / 5], abs=1e-3)
    assert heights[-1] == pytest.approx(2 / 3, abs=1e-3)
    assert [x for x, _ in points(mean)] == [x for x, _ in points(line)]


def test_up_to_59_points_are_drawn_as_they_are():
    for count, curves in ((59, 1), (60, 2)):
        (chart,) = charts_of({"A": {"step": list(range(count)), "loss": [1.0] * count}})
        assert len(chart.curves) == curves
        assert chart.curves[0].faint is (curves == 2)


def test_a_series_of_another_length_than_its_steps_is_refused():
    with pytest.raises(ValueError, match="loss of A must have one value per step, 3, got 2"):
        charts_of({"A": {"step": [1, 2, 3], "loss": [1.0, 2.0]}})
