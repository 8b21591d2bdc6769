"""Figures show the right slices in the right colours, and say in words what is on them."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from moereg.viz.figures import overview, show_experts, show_grid, show_load, slice_of
from moereg.viz.palette import expert_colours


@pytest.fixture
def ax():
    return Figure().subplots()


def test_slice_of_a_volume_and_of_an_image(pair3, pair2):
    fixed = pair3.fixed[0]
    assert np.array_equal(slice_of(fixed), fixed[6].numpy())
    assert np.array_equal(slice_of(fixed, axis=2, index=3), fixed[:, :, 3].numpy())
    assert slice_of(pair2.fixed[0]).shape == pair2.shape


def test_a_map_of_experts_has_their_colours(ax, result3):
    routing = result3.routing["decoder.0.shmoe"]
    show_experts(ax, routing, router=1)
    picture = ax.images[0]
    first = slice_of(routing.first()[0, 1])
    shown = picture.to_rgba(picture.get_array())
    assert to_hex(shown[2, 3]) == expert_colours(routing.experts)[first[2, 3]]


def test_bars_of_the_load_have_its_lengths(ax, result3):
    routing = result3.routing["decoder.0.shmoe"]
    show_load(ax, routing)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(4, 3).T  # experts are drawn one after the other
    assert np.allclose(widths, routing.load().numpy(), atol=1e-6)


def test_the_grid_passes_through_the_moved_points(ax, result3):
    displacement = result3.displacement[0]
    show_grid(ax, displacement, every=2, axis=0, index=4)
    x, y = ax.lines[0].get_data()
    assert np.allclose(y, displacement[1, 4, 0].numpy(), atol=1e-5)
    assert np.allclose(x, np.arange(14) + displacement[2, 4, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_overview_has_a_sentence(dims, request):
    pair, model = request.getfixturevalue(f"pair{dims}"), request.getfixturevalue(f"model{dims}")
    figure, text = overview(pair, model(pair.moving[None], pair.fixed[None]))
    assert len(figure.axes) == 3 + dims
    assert "first expert in decoder.0.shmoe" in text
    assert text.endswith("%.")
