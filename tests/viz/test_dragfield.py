"""The field to drag, without a front end: formula, traits, the picture that stands in."""

import base64
import math

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.colors import to_hex

from moereg.fields import compose, exponentiate, jacobian_determinant, warp
from moereg.viz import palette
from moereg.viz.dragfield import DragField, bumps
from tests.viz.reading import size_of, titles_of

CENTRES = [(8, 9), (14, 20)]


@pytest.fixture
def view():
    image = torch.rand(1, 24, 30, generator=torch.Generator().manual_seed(0))
    return DragField(image, centres=CENTRES, moves=[(3, 0), (0, -2)], sigma=5)


def test_bumps_are_the_formula():
    field = bumps((24, 30), CENTRES, [(3, 0), (0, -2)], 5.0)
    near, far = 3 * math.exp(-(2**2 + 1) / 50), -2 * math.exp(-(4**2 + 10**2) / 50)
    assert field.shape == (1, 2, 24, 30)
    assert field[0, :, 10, 10].tolist() == pytest.approx([near, far], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"), [({"sigma": 0.0}, "sigma must be"), ({"moves": [(1, 1)]}, "moves must be as many as centres")]
)
def test_bad_bumps_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        bumps(**({"shape": (9, 9), "centres": CENTRES, "moves": CENTRES, "sigma": 2.0} | change))


def test_one_bump_folds_where_its_slope_passes_one():
    # The steepest slope of m exp(-r^2 / 2 s^2) is m / (s sqrt(e)), at r = s.
    for ratio, folds in ((0.9, False), (1.2, True)):
        move = ratio * 8 * math.sqrt(math.e)
        field = bumps((64, 64), [(32, 32)], [(move, 0)], 8.0)
        assert bool((jacobian_determinant(field) <= 0).any()) is folds


def test_reading_as_velocity_never_folds(view):
    view.moves = [(16, 0), (0, 0)]
    assert jacobian_determinant(view.displacement()).min() < 0
    view.reading = "velocity"
    field = view.displacement()
    assert jacobian_determinant(field).min() > 0
    back = compose(field, exponentiate(-bumps((24, 30), CENTRES, view.moves, view.sigma)))
    assert back[..., 6:-6, 6:-6].abs().mean() < 0.1 * field[..., 6:-6, 6:-6].abs().mean()


@pytest.mark.parametrize(
    ("name", "value"), [("moves", [(1, 2)]), ("moves", [(1, 2), (3,)]), ("sigma", 40.0), ("reading", "force")]
)
def test_bad_traits_are_refused(view, name, value):
    with pytest.raises(traitlets.TraitError):
        setattr(view, name, value)


def test_places_without_widgets_get_a_picture_and_its_text(view):
    data, metadata = view._repr_mimebundle_()
    least = jacobian_determinant(view.displacement()).min()
    assert data["image/png"].startswith("iVBOR")
    assert f"determinant {least:.2f}; 0 of 720 voxels folded" in metadata["image/png"]["alt"]


def test_the_view_gets_the_image_and_the_handles_as_they_are():
    image = torch.arange(12.0).view(1, 3, 4) / 11
    view = DragField(image, centres=[(1, 2), (0, 3)], moves=[(1, -1), (0.5, 0)], sigma=3, reading="velocity")
    codes = list(base64.b64decode(view.image))
    assert codes == [round(255 * value / 11) for value in range(12)]  # row by row
    assert view.shape == [3, 4]
    assert (view.centres, view.moves) == ([[1, 2], [0, 3]], [[1, -1], [0.5, 0]])
    assert (view.sigma, view.reading) == (3.0, "velocity")
    still = DragField(image * 3 - 1, centres=[(1, 2)])
    assert (still.moves, still.sigma, still.reading) == ([[0, 0]], 6.0, "displacement")
    codes = list(base64.b64decode(still.image))
    assert (codes[0], codes[-1]) == (0, 255)  # clamped


def test_moves_go_down_and_right(view):
    """The first handle moves down by 3, the second to the left by 2."""
    u = view.displacement()
    assert u[0, :, 8, 9].tolist() == pytest.approx([3, -2 * math.exp(-(6**2 + 11**2) / 50)], abs=1e-5)
    assert u[0, 1, 14, 20] == pytest.approx(-2, abs=1e-5)
    view.reading = "velocity"
    assert torch.equal(view.displacement(), exponentiate(bumps((24, 30), CENTRES, view.moves, view.sigma)))


def test_the_picture_shows_the_moving_image_the_warped_one_and_the_folds(view):
    view.moves = [(14, 0), (0, 0)]
    figure, text = view.picture()
    left, right = figure.axes
    u = view.displacement()
    image = view._moving
    assert np.array_equal(left.images[0].get_array(), image[0].numpy())
    assert np.array_equal(right.images[0].get_array(), warp(image[None], u)[0, 0].numpy())
    assert titles_of(figure) == ["moving image, and where x + u(x) lies", "warped image, moving[x + u(x)]"]
    handles = [(note.get_text(), note.get_position()) for note in left.texts]  # x, y of where it looks
    assert handles == [("1", (9, 22)), ("2", (20, 14))]
    rows = left.lines[:12]  # every second row of 24, then every second column of 30
    assert len(left.lines) == 12 + 15
    assert np.allclose(rows[4].get_ydata(), 8 + u[0, 0, 8].numpy())
    assert np.allclose(rows[4].get_xdata(), np.arange(30) + u[0, 1, 8].numpy())
    folded = jacobian_determinant(u)[0, 0] <= 0
    place = folded.nonzero()
    assert len(place) > 0
    # x first, then y; on the left where they are moved to, on the right where they are.
    assert right.collections[0].get_offsets().tolist() == place.flip(1).tolist()
    moved = [[float(x + u[0, 1, y, x]), float(y + u[0, 0, y, x])] for y, x in place]
    assert np.allclose(left.collections[0].get_offsets(), moved, atol=1e-4)
    for marks in (left.collections[0], right.collections[0]):
        assert to_hex(marks.get_facecolor()[0]) == palette.FOLDED
        assert marks.get_sizes().tolist() == [9]
        assert marks.get_paths()[0].vertices.shape == (5, 2)  # a square, as voxels are
    assert f"{len(place)} of 720 voxels folded" in text
    assert size_of(figure) == (7.0, 3.8)
