"""The terms of a loss, worked by hand, and which of them are asked for."""

import math

import pytest
import torch

from moereg.models import DrivenStep, Registration
from moereg.models.drivenmorph import DrivenRegistration
from moereg.models.registration import labels_for
from moereg.models.segreg import SegmentedRegistration
from moereg.nn.routing import Routing, choose

LN4 = math.log(4)


def routing_of(logits, k=1):
    """Logits (expert, place) -> routing of one item on a grid of one row."""
    logits = torch.tensor(logits)[None, None, :, None]
    gates, indices = choose(logits, k, "stopped")
    return Routing(logits, gates, indices, tuple("abcd"[: logits.shape[2]]), ("token",))


@pytest.fixture
def layers():
    """Two experts at three places, p = 3/4 1/4, 3/4 1/4, 1/4 3/4; and one with four experts that are all equal."""
    ln3 = math.log(3)
    return {
        "unequal": routing_of([[ln3, ln3 + 1, 0.0], [0.0, 1.0, ln3]]),
        "equal": routing_of([[0.0]] * 4, k=4),
    }


# Load 2/3, 1/3; importance 7/12, 5/12.
BALANCE = 2 * (2 / 3 * 7 / 12 + 1 / 3 * 5 / 12)
# Entropy of (3/4, 1/4) at every place, less that of the mean (7/12, 5/12).
INFORMATION = (LN4 - 3 / 4 * math.log(3)) - (math.log(12) - (7 * math.log(7) + 5 * math.log(5)) / 12)
# log(3 + 1), log(3 e + e), log(1 + 3)
Z = (2 * LN4**2 + (LN4 + 1) ** 2) / 3


def test_balance_and_z_of_a_layer_by_hand(layers):
    assert float(layers["unequal"].balance_loss()) == pytest.approx(BALANCE)
    assert float(layers["unequal"].z_loss()) == pytest.approx(Z)
    assert float(layers["equal"].balance_loss()) == pytest.approx(1)
    assert float(layers["equal"].z_loss()) == pytest.approx(LN4**2)


def test_information_of_a_layer_by_hand(layers):
    assert float(layers["unequal"].information_loss()) == pytest.approx(INFORMATION)
    assert float(layers["equal"].information_loss()) == pytest.approx(0, abs=1e-7)
    sure = routing_of([[40.0, 0.0], [0.0, 40.0]])  # each place is sure of an expert of its own
    assert float(sure.information_loss()) == pytest.approx(-math.log(2))
    unanimous = routing_of([[40.0, 40.0], [0.0, 0.0]])  # all places are sure of the same one
    assert float(unanimous.information_loss()) == pytest.approx(0, abs=1e-7)


def test_z_loss_pulls_logits_down(layers):
    logits = layers["unequal"].logits.clone().requires_grad_()
    gates, indices = choose(logits, 1, "stopped")
    loss = Routing(logits, gates, indices, ("a", "b"), ("token",)).z_loss()
    assert (torch.autograd.grad(loss, logits)[0] > 0).all()


def unlike(warped, fixed):
    """Not symmetric, so that an exchange shows."""
    return (2 * warped - fixed).mean()


def ramp_field():
    """`u_0 = x_0 / 2`: one derivative of 1/2, smoothness 1/4."""
    field = torch.zeros(1, 2, 5, 6)
    field[:, 0] = 0.5 * torch.arange(5.0)[:, None]
    return field


def registration(routing):
    warped = torch.full((1, 1, 5, 6), 3.0)
    return Registration(ramp_field(), warped, routing=routing)


EXPECTED = {
    "similarity": 5.0,
    "smoothness": 0.25,
    "balance": (BALANCE + 1) / 2,
    "z": (Z + LN4**2) / 2,
    "information": INFORMATION / 2,
}


@pytest.mark.parametrize("skip", [(), ("z",), ("balance", "similarity"), {"smoothness"}, ("nothing of that name",)])
def test_terms_of_a_registration_by_hand(skip, layers):
    moving, fixed = torch.full((1, 1, 5, 6), 9.0), torch.ones(1, 1, 5, 6)
    terms = registration(layers).loss_terms(moving, fixed, unlike, skip=skip)
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {name: value for name, value in EXPECTED.items() if name not in skip}
    )


def test_without_routed_layers_there_is_nothing_to_balance():
    image = torch.ones(1, 1, 5, 6)
    assert list(registration({}).loss_terms(image, image, unlike)) == ["similarity", "smoothness"]


# ---- forces of DrivenMorph ----


def driven_step(level, shape, *, before, force):
    """Constant vectors along the last axis; the update is a bait that nothing should read."""

    def constant(amount):
        field = torch.zeros(1, 2, *shape)
        field[:, 1] = amount
        return field

    return DrivenStep(level, constant(before), constant(force), constant(99.0), constant(99.0))


def from_the_left(warped, fixed):
    """Mean difference in the first five columns, which no sample from beyond the border reaches."""
    return (warped - fixed)[..., :5].mean()


def test_force_term_is_a_mean_over_rounds_each_on_the_images_of_its_level():
    """Intensity is the column: what is read at x + force + before is larger by both; on the coarse grid by twice."""
    moving = torch.arange(24.0).expand(1, 1, 16, 24)
    fixed = torch.zeros(1, 1, 16, 24)
    coarse = driven_step(1, (8, 12), before=0.0, force=1.5)
    fine = driven_step(0, (16, 24), before=2.0, force=-0.5)
    result = DrivenRegistration(torch.zeros(1, 2, 16, 24), moving, driven=(coarse, fine))
    on_fine = (0 + 1 + 2 + 3 + 4) / 5 + 1.5
    on_coarse = 2 * ((0 + 1 + 2 + 3 + 4) / 5 + 1.5)  # voxel i sits on column 2 i
    terms = result.loss_terms(moving, fixed, from_the_left)
    assert list(terms) == ["similarity", "smoothness", "force"]
    assert float(terms["force"]) == pytest.approx((on_fine + on_coarse) / 2, abs=0.1)  # smoothing at the border
    alone = DrivenRegistration(torch.zeros(1, 2, 16, 24), moving, driven=(fine,))
    assert float(alone.force_loss(moving, fixed, from_the_left)) == pytest.approx(on_fine, abs=1e-5)


def test_a_force_term_that_is_skipped_is_not_computed():
    image = torch.zeros(1, 1, 16, 24)
    result = DrivenRegistration(torch.zeros(1, 2, 16, 24), image, driven=())  # no rounds: computing would fail
    assert list(result.loss_terms(image, image, unlike, skip=("force", "smoothness"))) == ["similarity"]


# ---- regions of SegReg ----


def test_terms_of_regions_are_sums_over_them(layers):
    """Left half 0, right half 7, nothing moves but rows of the left field, which are half a voxel apart."""
    regions = (torch.arange(6) > 2).long().mul(7).expand(1, 1, 4, 6)
    moving, fixed = torch.ones(1, 1, 4, 6), torch.where(regions == 0, 3.0, 2.0)
    partial = torch.zeros(2, 1, 2, 4, 6)
    partial[0, 0, 0] = 1e-6 * torch.arange(4.0)[:, None]  # too little to change an intensity
    result = SegmentedRegistration(
        torch.zeros(1, 2, 4, 6), moving, routing=layers, regions=(0, 7), partial=partial,
        present=torch.ones(2, 1, dtype=torch.bool), moving_regions=regions, fixed_regions=regions,
        outside=-0.5, rim=0,
    )  # fmt: skip

    def squares(warped, fixed):
        return (warped - fixed).square().mean()

    terms = result.loss_terms(moving, fixed, squares, skip=("z",))
    # left: half of the voxels differ by 2, right: half by 1; the other half is `outside` in both
    assert float(terms["similarity"]) == pytest.approx(4 / 2 + 1 / 2, rel=1e-4)
    # 9 of 18 differences along axis 0 are inside of the left half; no other derivative
    assert float(terms["smoothness"]) == pytest.approx(1e-12 * 9 / 18, rel=1e-4)
    assert float(terms["balance"]) == pytest.approx(EXPECTED["balance"])
    assert "z" not in terms


def test_labels_are_handed_to_models_that_ask_for_them():
    class Asks(torch.nn.Module):
        needs_labels = True

    labels = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert labels_for(Asks(), *labels) == {"moving_labels": labels[0], "fixed_labels": labels[1]}
    assert labels_for(lambda moving, fixed: None, *labels) == {}
