"""The field to drag, without a front end: formula, traits, the picture that stands in."""

import math

import pytest
import torch
import traitlets

from moereg.fields import compose, exponentiate, jacobian_determinant
from moereg.viz.dragfield import DragField, bumps

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
