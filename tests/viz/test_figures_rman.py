"""The figure of attention, and the buttons that choose its voxel."""

import math

import numpy as np
import pytest
import torch

from moereg import models
from moereg.data import Pair, phantoms
from moereg.models.rman import STRIDES, Look, RecursiveRegistration
from moereg.nn import MutualAttention
from moereg.viz import palette
from moereg.viz.rman import _target, attention_picker, draw_attention
from tests.viz.reading import points_of, size_of


@pytest.fixture(scope="module")
def case():
    pair = phantoms.make("abdomen", (36, 40), 0)
    torch.manual_seed(0)
    model = models.build("rman", dims=2, widths=(4, 4, 4, 4), heads=1, head_dim=4)
    with torch.no_grad():
        return pair, model(pair.moving[None], pair.fixed[None], recursions=2)


def test_one_panel_per_recursion(case):
    figure = draw_attention(*case, (10, 20), recursions=(1, 2))
    assert [axes.get_title() for axes in figure.axes] == [
        "fixed, voxel (10, 20)", "moving, recursion 1", "moving, recursion 2",
    ]  # fmt: skip
    assert len(figure.axes[1].get_images()) == 2


def test_volumes_are_cut_where_the_attention_is():
    pair = phantoms.make("abdomen", (20, 24, 16), 0)
    torch.manual_seed(0)
    model = models.build("rman", dims=3, widths=(4, 4, 4, 4), heads=1, head_dim=4)
    with torch.no_grad():
        registration = model(pair.moving[None], pair.fixed[None], recursions=1)
    assert len(draw_attention(pair, registration, (10, 12, 8)).axes) == 2


def test_the_cross_is_at_the_true_place(case):
    pair, _ = case
    truth = [v + float(pair.displacement[d, 15, 20]) for d, v in enumerate((15, 20))]
    still = torch.zeros_like(pair.displacement)
    assert _target(pair, still, (15, 20)) == pytest.approx(truth)
    # Once warped by the truth itself, the tissue stands where the fixed image has it.
    assert _target(pair, pair.displacement, (15, 20)) == pytest.approx([15, 20], abs=1)


def test_a_click_draws_the_voxel(case):
    pytest.importorskip("ipywidgets")
    box = attention_picker(*case, start=(8, 8))
    buttons = box.children[0].children
    assert len(buttons) == 5 * 5
    assert buttons[6].tooltip == "voxel (8, 8)"
    buttons[24].click()


# ------------------------------------------------------------------------------------------ read back, on known weights


class Known(RecursiveRegistration):
    """Attention that is known: two heads, one token each, which one depends on recursion and module."""

    def attention_of(self, voxel, *, recursion=1, module=1, item=0, image="fixed"):
        grid = tuple(-(-n // STRIDES[module]) for n in self.displacement.shape[2:])
        weights = torch.zeros(2, *grid)
        weights[0].view(-1)[recursion + module] = 1.0
        weights[1].view(-1)[-1] = 0.5
        return weights


def known(shape: tuple[int, ...], fields: list[tuple[float, ...]], truth: tuple[float, ...] | None):
    """A pair counted from 0 (fixed) and 10000 (moving), and a registration whose steps move by constant vectors."""
    count = torch.arange(math.prod(shape), dtype=torch.float32).view(1, *shape)
    steps = [
        torch.tensor(field).view(1, -1, *[1] * len(shape)).expand(1, len(shape), *shape).contiguous()
        for field in fields
    ]
    displacement = None if truth is None else torch.tensor(truth).view(-1, *[1] * len(shape)).expand(-1, *shape)
    pair = Pair(count + 10000, count, displacement=displacement)
    return pair, Known(steps[-1], count[None], tuple(steps), {})


def test_the_figure_of_attention_shows_voxel_image_weights_and_truth():
    """u = (3, 5), the first recursion moved by (1, 2): the tissue of (10, 20) is then found at (12, 23)."""
    pair, registration = known((24, 32), [(1.0, 2.0), (3.0, 5.0)], (3.0, 5.0))
    figure = draw_attention(pair, registration, (10, 20), recursions=(1, 2), module=1)
    fixed, first, second = figure.axes
    assert np.array_equal(fixed.images[0].get_array(), pair.fixed[0].numpy())
    assert points_of(fixed, "o") == [([20], [10], palette.CHOSEN)]
    assert np.array_equal(first.images[0].get_array(), pair.moving[0].numpy())
    # In the second recursion the moving image is warped by the first field: moving[x + (1, 2)].
    assert np.array_equal(second.images[0].get_array()[:-1, :-2], pair.moving[0, 1:, 2:].numpy())
    assert points_of(first, "+") == [([25], [13], palette.CHOSEN)]
    assert points_of(second, "+") == [([23], [12], palette.CHOSEN)]
    for recursion, axes in ((1, first), (2, second)):
        weights = np.zeros(12)
        weights[recursion + 1], weights[-1] = 0.5, 0.25  # the mean over both heads
        over = axes.images[1]
        assert np.array_equal(over.get_array(), weights.reshape(3, 4))
        # Token (i, j) covers the 8 voxels around (8 i, 8 j).
        assert over.get_extent() == [-4, 28, 20, -4]
        assert (over.get_cmap().name, over.get_alpha(), over.get_interpolation()) == ("inferno", 0.65, "nearest")
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 31.5), (23.5, -0.5))
    assert size_of(figure) == (7.5, 2.9)


def test_marks_are_rings_and_crosses():
    pair, registration = known((24, 32), [(0.0, 0.0)], (0.0, 0.0))
    fixed, first = draw_attention(pair, registration, (10, 20)).axes
    (ring,), (cross,) = fixed.lines, first.lines
    assert (ring.get_markersize(), ring.get_fillstyle(), ring.get_markeredgewidth()) == (9, "none", 2.5)
    assert (cross.get_markersize(), cross.get_markeredgewidth()) == (14, 2.5)


def test_the_coarse_module_has_larger_tokens():
    pair, registration = known((24, 32), [(0.0, 0.0)], None)
    axes = draw_attention(pair, registration, (10, 20), module=0).axes[1]
    assert axes.images[1].get_extent() == [-8, 24, 24, -8]
    assert axes.images[1].get_array().shape == (2, 2)
    assert axes.images[1].get_array()[0, 1] == 0.5  # recursion 1, module 0
    assert list(axes.lines) == []  # no truth, no cross


def test_a_volume_is_cut_at_the_voxel_and_where_attention_is():
    """Of the tokens (3, 3, 4) the heaviest slice is the last, z = 2, which sits on voxel 16."""
    pair, registration = known((20, 24, 32), [(0.0, 0.0, 0.0)], (0.0, 1.0, 2.0))
    weights = torch.zeros(2, 3, 3, 4)
    weights[:, 2, 1, 3] = 1
    weights[:, 0, 2, 0] = 0.75
    object.__setattr__(registration, "attention_of", lambda *_, **__: weights)
    fixed, moving = draw_attention(pair, registration, (5, 10, 20)).axes
    assert np.array_equal(fixed.images[0].get_array(), pair.fixed[0, 5].numpy())
    assert np.allclose(moving.images[0].get_array(), pair.moving[0, 16].numpy(), rtol=0, atol=0.1)
    assert np.array_equal(moving.images[1].get_array(), weights[0, 2].numpy())
    assert points_of(fixed, "o") == [([20], [10], palette.CHOSEN)]
    assert points_of(moving, "+") == [([22], [11], palette.CHOSEN)]


def test_a_slice_behind_the_last_one_is_the_last_one():
    pair, registration = known((15, 24, 32), [(0.0, 0.0, 0.0)], None)
    weights = torch.zeros(2, 2, 3, 4)
    weights[:, 1] = 1
    object.__setattr__(registration, "attention_of", lambda *_, **__: weights)
    moving = draw_attention(pair, registration, (5, 10, 20)).axes[1]
    assert np.allclose(moving.images[0].get_array(), pair.moving[0, 8].numpy(), rtol=0, atol=0.1)
    small, registration = known((7, 24, 32), [(0.0, 0.0, 0.0)], None)
    object.__setattr__(registration, "attention_of", lambda *_, **__: weights)
    moving = draw_attention(small, registration, (5, 10, 20)).axes[1]
    assert np.allclose(moving.images[0].get_array(), small.moving[0, 6].numpy(), rtol=0, atol=0.1)


def test_the_target_is_found_where_the_field_varies():
    """before(y) = 0.25 y on the first axis: y + 0.25 y = 10 + 5 at y = 12."""
    pair, _ = known((24, 32), [(0.0, 0.0)], (5.0, 0.0))
    before = torch.zeros(2, 24, 32)
    before[0] = 0.25 * torch.arange(24.0)[:, None]
    assert _target(pair, before, (10, 20)) == pytest.approx([12, 20])
    # Outside of the image the border's value is taken.
    assert _target(pair, before, (23, 31)) == pytest.approx([28 - 0.25 * 22, 31])


def test_buttons_are_as_grey_as_their_voxels_and_draw_them(monkeypatch):
    pytest.importorskip("ipywidgets")
    from moereg.viz import rman

    image = torch.zeros(1, 24, 32)
    image[0, 4:12, 12:20] = 0.5  # around token (1, 2)
    image[0, :4, :4] = 3.0  # around the first token; too bright is white
    layer = MutualAttention(1)
    look = Look(layer, torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4))
    coarse = Look(layer, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    field = torch.zeros(1, 2, 24, 32)
    registration = RecursiveRegistration(field, image[None], (field, field), {}, ((coarse, look), (coarse, look)))
    drawn = []
    monkeypatch.setattr(rman, "draw_attention", lambda *args, **options: drawn.append((*args[2:], options)))
    box = attention_picker(Pair(image, image), registration, start=(9, 23))
    grid, picture = box.children
    colours = [button.style.button_color for button in grid.children]
    assert len(colours) == 12
    assert colours[6] == "rgb(128,128,128)"
    assert colours[0] == "rgb(255,255,255)"
    assert set(colours[1:6] + colours[7:]) == {"rgb(0,0,0)"}
    assert [button.tooltip for button in grid.children][4:7] == ["voxel (8, 0)", "voxel (8, 8)", "voxel (8, 16)"]
    assert grid.layout.grid_template_columns == "repeat(4, 28px)"
    assert grid.layout.width == "max-content"
    assert {(button.layout.width, button.layout.height) for button in grid.children} == {("26px", "26px")}
    assert drawn == [((8, 16), {"recursions": (1, 2), "module": 1})]
    grid.children[6].click()
    grid.children[11].click()
    assert [voxel for voxel, _ in drawn[1:]] == [(8, 16), (16, 24)]
    assert type(picture).__name__ == "Output"
    coarse_box = attention_picker(Pair(image, image), registration, module=0, start=(0, 0))
    coarse_box.children[0].children[3].click()
    assert drawn[-1] == ((16, 16), {"recursions": (1, 2), "module": 0})
