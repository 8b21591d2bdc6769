"""The loss: every term by hand, its weight by name, and the gradient against a reference in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from moereg.data.pairs import Pair
from moereg.fields import warp
from moereg.models.registration import Registration
from moereg.nn.routing import Routing
from moereg.training import (
    Batch,
    TrainingConfig,
    batch_dice,
    collate,
    motion_loss,
    registration_loss,
    soft_dice_loss,
)
from tests.oracle_models import box_pair

CONFIG = TrainingConfig(similarity="mse", smoothness=0, balance=0, z=0, force=0)
SHAPE = (5, 6)


def routing_of(logits: list[float]) -> Routing:
    """One router, two experts, the first chosen, at one voxel."""
    values = torch.tensor(logits).reshape(1, 1, 2, 1, 1)
    gates = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1)
    return Routing(values, gates, torch.zeros(1, 1, 1, 1, 1, dtype=torch.int64), ("a", "b"), ("token",))


@pytest.fixture
def known():
    """Two labelled images, a stretch by 0.1 voxel per voxel, two routed layers: every term has a value of its own."""
    displacement = torch.stack([0.1 * torch.arange(5.0)[:, None].expand(5, 6), torch.zeros(5, 6)])[None]
    labels = torch.zeros(2, 1, 1, *SHAPE, dtype=torch.int64)
    labels[0, ..., :2], labels[1, ..., :1] = 1, 1  # ten and five voxels of label 1, unmoved along this axis
    fixed, warped = torch.zeros(1, 1, *SHAPE), torch.full((1, 1, *SHAPE), 0.5)
    # softmax (3/4, 1/4), and (9/10, 1/10)
    layers = {"a": routing_of([np.log(3.0), 0.0]), "b": routing_of([np.log(9.0), 0.0])}
    batch = Batch(fixed, fixed, labels[0], labels[1])
    return Registration(displacement, warped, (), layers), batch


TERMS = {
    "similarity": 0.25,  # (0.5 - 0)^2
    "smoothness": 0.01,  # (0.1)^2 for the first channel along the first axis, zero for the other three derivatives
    "labels": 1 - 2 * 5 / 15,
    "balance": (2 * 0.75 + 2 * 0.9) / 2,  # N f P of the expert that has all the load, mean over layers
    "z": (np.log(4.0) ** 2 + np.log(10.0) ** 2) / 2,  # logsumexp(log 3, 0) = log 4
}


def test_terms_by_hand(known):
    config = replace(CONFIG, smoothness=1.0, labels=1.0, balance=1.0, z=1.0)
    total, parts = registration_loss(*known, config)
    assert parts.keys() == TERMS.keys()
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(TERMS, rel=1e-5)
    assert float(total) == pytest.approx(sum(TERMS.values()), rel=1e-5)


@pytest.mark.parametrize("name", ["smoothness", "labels", "balance", "z"])
def test_a_weight_scales_its_own_term_and_zero_leaves_it_out(known, name):
    config = replace(CONFIG, **{name: 0.3})
    total, parts = registration_loss(*known, config)
    assert parts.keys() == {"similarity", name}
    assert float(total) == pytest.approx(0.25 + 0.3 * TERMS[name], rel=1e-5)


def test_folds_and_inverse_consistency_are_asked_for_by_weight(known):
    """Both directions are in a batch: the second half of the fields must undo the first."""
    fixed = torch.zeros(2, 1, *SHAPE)
    batch, warped = Batch(fixed, fixed, None, None), fixed + 0.5
    x = torch.arange(6.0).expand(1, 5, 6)
    there, back = (torch.cat([torch.zeros(1, 5, 6), slope * x])[None] for slope in (1 / 2, -1 / 3))
    folded = torch.cat([torch.zeros(1, 5, 6), -1.5 * x])[None]
    for fields, name, expected in (
        ((there, back), "inverse", 0.0),
        ((folded, there), "folds", 0.25),
    ):
        made = Registration(torch.cat(fields), warped)
        total, parts = registration_loss(made, batch, replace(CONFIG, **{name: 0.3}))
        assert parts.keys() == {"similarity", name}
        assert float(parts[name]) == pytest.approx(expected, abs=1e-6)
        assert float(total) == pytest.approx(0.25 + 0.3 * expected)
    same = Registration(torch.cat([there, there]), warped)
    assert float(registration_loss(same, batch, replace(CONFIG, inverse=0.3))[0]) > 0.25 + 0.3


def test_information_has_its_weight(known):
    """One place alone tells nothing: its entropy is that of the mean."""
    total, parts = registration_loss(*known, replace(CONFIG, information=0.3))
    assert parts.keys() == {"similarity", "information"}
    assert float(total) == pytest.approx(0.25)
    layer = known[0].routing["a"]
    both = {name: torch.cat([getattr(layer, name)] * 2) for name in ("gates", "indices")}
    # 3/4 1/4 in one item of the batch, 1/4 3/4 in the other.
    two = replace(layer, logits=torch.cat([layer.logits, layer.logits.flip(2)]), **both)
    mixed = replace(known[0], routing={"a": two})
    total, parts = registration_loss(mixed, known[1], replace(CONFIG, information=0.3))
    expected = (np.log(4) - 0.75 * np.log(3)) - np.log(2)
    assert float(parts["information"]) == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(0.25 + 0.3 * expected, rel=1e-5)


def test_a_term_of_the_models_own_has_its_weight_by_name(known):
    class Forced(Registration):
        def loss_terms(self, moving, fixed, similarity, *, skip=()):
            assert "force" not in skip
            return super().loss_terms(moving, fixed, similarity, skip=skip) | {"force": torch.tensor(2.0)}

    registration, batch = known
    forced = Forced(**registration.__dict__)
    assert float(registration_loss(forced, batch, replace(CONFIG, force=0.7))[0]) == pytest.approx(0.25 + 1.4)


def test_the_similarity_is_the_one_named(known):
    registration, batch = known
    torch.manual_seed(0)
    fixed = torch.rand(1, 1, *SHAPE)
    batch = replace(batch, fixed=fixed)
    same = replace(registration, warped=2 * fixed + 1)  # lncc does not mind, mse does
    assert float(registration_loss(same, batch, replace(CONFIG, similarity="lncc"))[0]) < -0.9
    assert float(registration_loss(same, batch, CONFIG)[0]) == pytest.approx(float(((fixed + 1) ** 2).mean()))


def test_without_labels_the_term_is_left_out(known):
    registration, batch = known
    batch = replace(batch, moving_labels=None, fixed_labels=None)
    total, parts = registration_loss(registration, batch, replace(CONFIG, labels=1.0))
    assert parts.keys() == {"similarity"}
    assert float(total) == pytest.approx(0.25)


def test_the_gradient_is_that_of_a_reference_in_float64(generator):
    """`mse(moving(x + u), fixed)` interpolated by scipy, differences of it in float64."""
    moving, fixed = torch.rand(2, 1, 1, 6, 7, generator=generator)
    field = (torch.rand(1, 2, 6, 7, generator=generator) * 0.4 + 0.3).requires_grad_()  # between voxels, inside
    field.data[..., -1, :] = field.data[..., :, -1] = 0.0  # reads no border

    batch = Batch(moving, fixed, None, None)
    loss, _ = registration_loss(Registration(field, warp(moving, field)), batch, CONFIG)
    loss.backward()

    def reference(u: np.ndarray) -> float:
        places = np.indices((6, 7)) + u
        return float(((map_coordinates(image, places, order=1, mode="nearest") - target) ** 2).mean())

    image, target = (array[0, 0].double().numpy() for array in (moving, fixed))
    start = field.detach()[0].double().numpy()
    assert float(loss.detach()) == pytest.approx(reference(start), rel=1e-5)
    for place in [(0, 1, 2), (1, 3, 3), (0, 4, 5), (1, 0, 0)]:
        step = np.zeros_like(start)
        step[place] = 1e-5
        slope = (reference(start + step) - reference(start - step)) / 2e-5
        assert float(field.grad[0][place]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


# ---- overlap ----


def test_soft_dice_by_hand():
    moving = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    fixed = moving.clone()
    moving[..., :2], fixed[..., :1] = 1, 1  # 8 and 4 voxels, 4 in common: 2 * 4 / 12
    still = torch.zeros(1, 2, 4, 4)
    torch.testing.assert_close(soft_dice_loss(moving, fixed, still), torch.tensor(1 - 8 / 12))
    # Two labels, in two items of a batch: the mean over both, whatever their sizes. Label 3 is in one image alone.
    moving[..., 3], fixed[..., 3], fixed[0, 0, 0, 2] = 2, 2, 3
    fixed[0, 0, 0, 3] = 0  # 4 and 3 voxels of label 2, 3 in common: 6 / 7
    torch.testing.assert_close(soft_dice_loss(moving, fixed, still), torch.tensor(1 - (8 / 12 + 6 / 7) / 2))
    twice = soft_dice_loss(torch.cat([moving, fixed]), torch.cat([fixed, fixed]), torch.zeros(2, 2, 4, 4))
    torch.testing.assert_close(twice, torch.tensor(1 - (8 / 12 + 6 / 7 + 0 + 1 + 1 + 1) / 6))


def test_soft_dice_moves_the_moving_labels_and_counts_parts_of_voxels():
    labels = box_pair((8, 9), (2, 3), (3, 3), (2, 0))
    there, half = (torch.tensor([u, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 8, 9) for u in (2.0, 1.5))
    moving, fixed = labels.moving_labels[None], labels.fixed_labels[None]
    assert float(soft_dice_loss(moving, fixed, there)) == pytest.approx(0, abs=1e-6)
    # Warped rows have 0.5, 1, 1, 0.5 beside three of the fixed: 2 (1 + 1 + 0.5) / (3 + 3)
    assert float(soft_dice_loss(moving, fixed, half)) == pytest.approx(1 - 5 / 6)


def test_a_label_moved_out_of_the_image_costs_one_and_no_division_by_zero():
    moving = torch.zeros(1, 1, 8, 8, dtype=torch.int64)
    moving[0, 0, 7, 7], fixed = 1, torch.zeros(1, 1, 8, 8, dtype=torch.int64)
    fixed[0, 0, 0, 0] = 1
    away = torch.full((1, 2, 8, 8), -9.0)
    assert float(soft_dice_loss(moving, fixed, away)) == 1


def test_dice_of_a_batch_is_the_mean_over_items_and_labels():
    pairs = [box_pair((12, 9), (2, 2), (4, 5), shift) for shift in ((1, 0), (2, 0))]
    batch = collate(pairs, "cpu")
    still = Registration(torch.zeros(4, 2, 12, 9), batch.moving)
    assert batch_dice(still, batch) == pytest.approx((0.75 + 0.5 + 0.75 + 0.5) / 4)
    field = torch.zeros(4, 2, 12, 9)
    field[1, 0] = 2.0  # moves the second pair's box back; half precision is enough for that
    moved = Registration(field.half().requires_grad_(), batch.moving)
    assert batch_dice(moved, batch) == pytest.approx((0.75 + 1 + 0.75 + 0.5) / 4)
    empty = replace(batch, fixed_labels=torch.zeros_like(batch.fixed_labels))
    assert batch_dice(still, empty) == 0


# ---- a batch ----


def test_both_directions_are_in_the_batch():
    pairs = [box_pair((12, 9), (2, n), (4, 5), (1, 1)) for n in (0, 2)]
    batch = collate(pairs, "cpu")
    for n, (first, second) in enumerate([("moving", "fixed"), ("fixed", "moving")]):
        for i, pair in enumerate(pairs):
            assert torch.equal(batch.moving[2 * n + i], getattr(pair, first))
            assert torch.equal(batch.fixed[2 * n + i], getattr(pair, second))
            assert torch.equal(batch.moving_labels[2 * n + i], getattr(pair, f"{first}_labels"))
            assert torch.equal(batch.fixed_labels[2 * n + i], getattr(pair, f"{second}_labels"))
    assert len(batch.moving) == len(batch.fixed_labels) == 4


@pytest.mark.parametrize("missing", ["moving_labels", "fixed_labels"])
def test_one_pair_without_labels_leaves_them_out_of_the_batch(missing):
    whole = box_pair((12, 9), (2, 2), (4, 5), (1, 1))
    parts = {name: getattr(whole, name) for name in ("moving", "fixed", "moving_labels", "fixed_labels")}
    part = Pair(**(parts | {missing: None}))
    batch = collate([whole, part], "cpu")
    assert batch.moving_labels is batch.fixed_labels is None
    assert torch.equal(batch.moving[2], whole.fixed)
    assert torch.equal(batch.fixed[2], whole.moving)
    assert collate([whole], "cpu").fixed_labels is not None


def test_a_batch_lies_on_the_device_named():
    batch = collate([box_pair((12, 9), (2, 2), (4, 5), (1, 1))], "meta")
    assert {tensor.device.type for tensor in vars(batch).values() if tensor is not None} == {"meta"}
    unlabelled = replace(box_pair((12, 9), (2, 2), (4, 5), (1, 1)), moving_labels=None)
    assert collate([unlabelled], "meta").fixed.device.type == "meta"


def test_known_motion_is_learnt_in_its_own_direction_and_where_it_means_something(known):
    """Voxels that miss the truth by (0.3, 0.4), half a voxel, where it counts, and by more where it does not."""
    pair = box_pair((5, 6), (1, 1), (2, 2), (1, 1))
    region = torch.zeros(1, 5, 6, dtype=torch.bool)
    region[..., :2] = True
    pairs = [replace(pair, region=region), replace(pair, region=region)]
    batch = collate(pairs, "cpu")
    assert torch.equal(batch.motion, torch.stack([pair.displacement] * 2))
    assert torch.equal(batch.region, torch.stack([region] * 2))
    off = torch.tensor([0.3, 0.4])[:, None, None].where(region, torch.tensor(7.0))
    found = torch.cat([batch.motion + off, torch.full((2, 2, 5, 6), 99.0)])  # the way back is not known
    registration = Registration(found, batch.fixed)
    total, parts = registration_loss(registration, batch, replace(CONFIG, motion=4.0))
    assert float(parts["motion"]) == pytest.approx(0.5, abs=1e-5)
    assert float(total) == pytest.approx(float(parts["similarity"]) + 2, abs=1e-4)
    everywhere = replace(batch, region=None)
    _, parts = registration_loss(registration, everywhere, replace(CONFIG, motion=4.0))
    assert float(parts["motion"]) == pytest.approx((10 * 0.5 + 20 * 98**0.5) / 30, rel=1e-5)
    unknown = collate([pairs[0], replace(pair, displacement=None)], "cpu")
    assert unknown.motion is None
    assert "motion" not in registration_loss(registration, unknown, replace(CONFIG, motion=4.0))[1]


def test_the_endpoint_error_has_a_gradient_at_zero():
    displacement = torch.zeros(1, 2, 3, 3, requires_grad=True)
    motion_loss(displacement, torch.zeros(1, 2, 3, 3)).backward()
    assert torch.equal(displacement.grad, torch.zeros(1, 2, 3, 3))


def test_a_voxel_of_which_half_is_left_is_less_than_two_voxels():
    """Fixed: one voxel. Warped: half of one, which no other voxel sees: 2 * 0.5 / 1.5."""
    labels = torch.zeros(1, 1, 5, 5, dtype=torch.int64)
    labels[..., 2, 2] = 1
    field = torch.full((1, 2, 5, 5), 9.0)
    field[..., 2, 2] = torch.tensor([0.5, 0.0])
    torch.testing.assert_close(soft_dice_loss(labels, labels, field), torch.tensor(1 - 1 / 1.5))


def test_overlap_of_a_single_label_in_a_single_direction():
    labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    labels[..., :2, :] = 1
    image = labels.float()
    batch = Batch(image, image, labels, labels)
    assert batch_dice(Registration(torch.zeros(1, 2, 4, 4), image), batch) == 1
