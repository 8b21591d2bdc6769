"""What is read off a figure is what was drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from tools.figure_says import falls, holds


@pytest.fixture(scope="module")
def figure():
    """Panel 0 curves, 1 a picture with a colour bar, 2 bars, 3 intervals, 4 arrows, 5 lying bars."""
    figure = Figure()
    axes = figure.subplots(2, 3).flat
    axes[0].plot([0, 1, 2], [3.0, 2.0, 1.0], label="error")
    axes[0].plot([0, 1, 2], [1.0, 1.5, 4.0], label="gain")
    masked = np.ma.masked_greater([[1.0, 2.0], [3.0, 9.0]], 5)
    picture = axes[1].imshow(masked)
    figure.colorbar(picture, ax=axes[1])
    axes[2].bar(["a", "b"], [2.0, -5.0])
    for place, mean in enumerate((1.0, 4.0)):
        axes[3].errorbar(mean, place, xerr=[[0.5 + place]] * 2, fmt="o", capsize=3)
    axes[4].quiver([0, 1], [0, 0], [3.0, 0.0], [4.0, 1.0])
    axes[5].barh(["a", "b"], [7.0, 8.0])
    return figure


@pytest.mark.parametrize(
    "expression",
    [
        "falls(line(0, 'error')) and rises(line(0, 1))",
        "line(0).tolist() == [3, 2, 1] and across(0, 'gain').tolist() == [0, 1, 2]",
        "[v[0] for v in lines(0)] == [3, 1]",
        "peak(image(1)) == (1, 0) and np.isnan(image(1)[1, 1])",
        "bars(2).tolist() == [2, -5] and bars(5).tolist() == [7, 8]",
        "centres(3).tolist() == [1, 4] and reaches(3).tolist() == [0.5, 1.5]",
        "arrows(4).tolist() == [5, 1]",
        "[v.mean() for v in lines(0)][0] == 2",
        "all(line(0, i)[0] > 0 for i in range(len(lines(0))))",
    ],
)
def test_what_is_true_holds(figure, expression):
    assert holds(figure, expression)


@pytest.mark.parametrize(
    "expression", ["falls(line(0, 1))", "line(9)[0]", "line(0, 'other')[0]", "bars(0)[0]", "image(0)", "centres(2)[0]"]
)
def test_what_is_not_true_or_not_there_does_not(figure, expression):
    assert not holds(figure, expression)


def test_a_mistyped_name_is_no_answer(figure):
    """An expression that no figure could satisfy is a mistake in the table, not in the figure."""
    with pytest.raises(NameError, match="lin"):
        holds(figure, "lin(0)")


def test_falls():
    assert falls([3, 2, 2, 1])
    assert falls([5, 4, 4.5, 3, 1]), "most steps"
    assert not falls([1, 2, 3])
    assert not falls([3, 1, 2, 2.5, 2.9]), "most steps rise"
    assert not falls([1, 1, 1])


def test_a_bar_on_axes_of_its_own_is_no_panel():
    """Wherever it stands among the axes."""
    figure = Figure()
    left, scale, right = figure.subplots(1, 3)
    figure.colorbar(left.imshow([[1, 2]]), cax=scale)
    right.plot([5, 6])
    assert holds(figure, "line(1).tolist() == [5, 6]")


plt.switch_backend("agg")
