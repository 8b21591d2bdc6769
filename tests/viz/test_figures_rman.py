"""The figure of attention, and the buttons that choose its voxel."""

import pytest
import torch

from moereg import models
from moereg.data import phantoms
from moereg.viz.rman import _target, attention_picker, draw_attention


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
