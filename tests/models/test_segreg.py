"""Regions: the limit of one region, what the merge does, missing regions, seams, the loss, segmentation, bad input."""

import pytest
import torch

from moereg import fields, metrics, models
from moereg.data import Pair, phantoms
from moereg.filters import smooth, smoothing_matrices
from moereg.models.masks import diffusion_within, dilated, group_labels, seam_folds
from moereg.models.registration import Registration
from moereg.models.segmentation import classes
from moereg.models.segreg import SegReg, SegRegSizes, _scatter
from moereg.regularity import diffusion
from moereg.similarity import lncc, mse
from moereg.training import TrainingConfig, collate, fit, fit_segmenter, registration_loss

TINY = {
    "shmoareg": {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2},
    "drivenmorph": {"widths": (4, 6, 8), "compared": 3, "heads": 2, "head_dim": 4},
    "rman": {"widths": (4, 5, 6, 7), "heads": 2, "head_dim": 4},
    "voxelmorph": {"widths": (4, 4, 4, 4, 4, 4)},
}


def tiny(dims=2, backbone="shmoareg", seed=0, **sizes):
    torch.manual_seed(seed)
    return models.build("segreg", dims=dims, backbone=backbone, backbone_sizes=TINY[backbone], **sizes)


def stripes(*shape, labels=(0, 3, 5), batch=2):
    """Label maps whose regions are stripes along the last axis."""
    place = torch.arange(shape[-1]) * len(labels) // shape[-1]
    return torch.tensor(labels)[place].expand(batch, 1, *shape).clone()


def images(*shape, generator, batch=2):
    return torch.rand(2, batch, 1, *shape, generator=generator).unbind()


class Shift(torch.nn.Module):
    """A backbone that moves every item by its own mean intensity: what each region got can be read off the field."""

    def forward(self, moving, fixed):
        amount = moving.flatten(1).mean(1).view(-1, *[1] * (moving.ndim - 1))
        field = amount.expand(-1, moving.ndim - 2, *moving.shape[2:]).clone()
        return Registration(field, fields.warp(moving, field), (0.5 * field, field))


@pytest.mark.parametrize("backbone", list(TINY))
@pytest.mark.parametrize("shape", [(32, 28), (17, 16, 13)])
def test_one_region_is_the_backbone(backbone, shape, generator):
    """Fields, steps, loss and gradient, whatever the label's value."""
    model = tiny(len(shape), backbone)
    moving, fixed = images(*shape, generator=generator)
    labels = torch.full((2, 1, *shape), 7)
    whole = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    plain = model.backbone(moving, fixed)
    assert torch.equal(whole.displacement, plain.displacement)
    assert all(torch.equal(a, b) for a, b in zip(whole.steps, plain.steps, strict=True))
    assert whole.routing.keys() == plain.routing.keys()
    for similarity in (mse, lncc):
        alike, smooth = whole.regional_loss(moving, fixed, similarity)
        torch.testing.assert_close(alike, similarity(plain.warped, fixed))
        torch.testing.assert_close(smooth, diffusion(plain.displacement))


def test_soft_merging_of_one_region_is_the_backbone_as_well(generator):
    model = tiny(softness=2.0)
    moving, fixed = images(24, 20, generator=generator)
    labels = torch.zeros(2, 1, 24, 20, dtype=torch.int64)
    whole = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    torch.testing.assert_close(whole.displacement, model.backbone(moving, fixed).displacement, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(16, 30), (8, 9, 12)])
def test_every_region_gets_its_own_field_and_nothing_of_the_others(shape, generator):
    model = SegReg(SegRegSizes(dims=len(shape), outside=0.0), backbone=Shift())
    moving, fixed = images(*shape, generator=generator)
    moving_labels, fixed_labels = stripes(*shape), stripes(*shape).roll(2, -1)
    result = model(moving, fixed, moving_labels=moving_labels, fixed_labels=fixed_labels)
    assert result.regions == (0, 3, 5)
    for label in result.regions:
        amount = (moving * (moving_labels == label)).flatten(1).mean(1)
        for item in range(2):
            own = result.displacement[item, :, fixed_labels[item, 0] == label]
            torch.testing.assert_close(own, amount[item].expand_as(own), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(result.steps[0], 0.5 * result.displacement)
    torch.testing.assert_close(result.warped, fields.warp(moving, result.displacement), atol=1e-5, rtol=0)


def test_regions_are_a_batch_not_a_loop(generator):
    """The backbone is called once, and each of its items is what it would be alone."""
    model, calls = tiny(), []
    model.backbone.register_forward_hook(lambda module, given, result: calls.append((given, result)))
    moving, fixed = images(24, 30, generator=generator)
    labels = stripes(24, 30)
    result = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    [((moving_items, fixed_items), found)] = calls
    assert len(moving_items) == 6
    for item in range(6):
        alone = model.backbone(moving_items[item : item + 1], fixed_items[item : item + 1]).displacement
        torch.testing.assert_close(found.displacement[item : item + 1], alone, atol=1e-4, rtol=1e-4)
    assert result.partial.shape == (3, 2, 2, 24, 30)
    assert torch.equal(result.partial.flatten(0, 1), found.displacement)


def test_a_soft_merge_blends_neighbours_and_nothing_else(generator):
    moving, fixed = images(24, 48, generator=generator, batch=1)
    labels = stripes(24, 48, batch=1)
    moving = moving * labels / 5  # regions that move differently
    hard, soft = (
        SegReg(SegRegSizes(dims=2, softness=softness), backbone=Shift())(
            moving, fixed, moving_labels=labels, fixed_labels=labels
        ).displacement
        for softness in (0.0, 1.5)
    )
    seams = dilated((labels != labels.roll(1, -1)).float(), 6)[0, 0] > 0  # the roll also marks the border
    changed = (hard - soft).abs()[0].amax(0)
    assert changed[~seams].max() < 1e-4
    assert changed[seams].max() > 0.01
    assert soft.min() >= hard.min() - 1e-5
    assert soft.max() <= hard.max() + 1e-5


def test_a_region_that_is_missing_in_one_image_does_not_move(generator):
    moving, fixed = images(16, 30, generator=generator)
    labels = stripes(16, 30)
    without = torch.where(labels == 3, 0, labels)
    for given in ((labels, without), (without, labels)):
        result = tiny()(moving, fixed, moving_labels=given[0], fixed_labels=given[1])
        assert result.regions == (0, 3, 5)
        assert result.present.tolist() == [[True, True], [False, False], [True, True]]
        assert result.partial[1].abs().max() == 0
        here = given[1].expand_as(result.displacement) == 3
        assert not here.any() or result.displacement[here].abs().max() == 0
        assert result.displacement.abs().max() > 0


def test_nothing_in_common_is_the_identity(generator):
    moving, fixed = images(16, 16, generator=generator)
    ones = torch.ones(2, 1, 16, 16, dtype=torch.int64)
    result = tiny()(moving, fixed, moving_labels=ones, fixed_labels=2 * ones)
    assert torch.equal(result.displacement, torch.zeros(2, 2, 16, 16))
    torch.testing.assert_close(result.warped, moving, atol=1e-5, rtol=0)
    loss, smooth = result.regional_loss(moving, fixed, mse)
    assert (float(loss), float(smooth)) == (0, 0)


def test_items_of_a_batch_may_have_different_regions(generator):
    model = tiny()
    moving, fixed = images(16, 30, generator=generator)
    labels = torch.cat([stripes(16, 30, batch=1), stripes(16, 30, labels=(2, 9), batch=1)])
    together = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    assert together.regions == (0, 2, 3, 5, 9)
    for item in range(2):
        one = slice(item, item + 1)
        alone = model(moving[one], fixed[one], moving_labels=labels[one], fixed_labels=labels[one])
        torch.testing.assert_close(together.displacement[one], alone.displacement, atol=1e-5, rtol=1e-4)


def test_groups_join_labels_and_leave_the_rest_to_the_background():
    labels = torch.tensor([[[[0, 1, 2, 3, 9]]]])
    assert group_labels(labels, ((2, 1), (9,)))[0, 0, 0].tolist() == [0, 1, 1, 0, 2]
    assert torch.equal(group_labels(labels, ()), labels)


def test_loss_is_a_sum_over_regions_and_does_not_see_the_seam(generator):
    model = tiny()
    moving, fixed = images(16, 30, generator=generator)
    labels = stripes(16, 30)
    result = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    similarity, smooth = result.regional_loss(moving, fixed, mse)
    expected = 0
    for number, label in enumerate(result.regions):
        inside = labels == label
        warped = fields.warp(torch.where(inside, moving, -0.5), result.partial[number])
        expected = expected + mse(warped, torch.where(inside, fixed, -0.5))
    torch.testing.assert_close(similarity, expected)
    # Each region moved as a whole: the merged field jumps at the seams, and that costs nothing.
    rigid = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 2, 2, 16, 30)
    jumping = type(result)(**(vars(result) | {"partial": rigid}))
    assert jumping.regional_loss(moving, fixed, mse)[1] == 0
    assert smooth > 0


def test_a_partial_field_is_kept_smooth_in_its_region_and_rim_only(generator):
    moving, fixed = images(16, 30, generator=generator, batch=1)
    labels = stripes(16, 30, labels=(0, 5), batch=1)  # columns 0 .. 14, and 15 .. 29
    result = tiny()(moving, fixed, moving_labels=labels, fixed_labels=labels)

    def cost(column):
        partial = torch.zeros_like(result.partial)
        partial[0, ..., column] = torch.rand(2, 16, generator=generator)
        return float(type(result)(**(vars(result) | {"partial": partial})).regional_loss(moving, fixed, mse)[1])

    assert result.rim == 2
    assert cost(3) > 0
    assert cost(15) > 0  # in the rim
    assert cost(20) == 0
    partial = torch.rand(1, 2, 16, 30, generator=generator)
    whole = {"partial": partial[None], "regions": (0,), "present": torch.ones(1, 1, dtype=torch.bool)}
    whole |= {"moving_regions": 0 * labels, "fixed_regions": 0 * labels}
    smooth = type(result)(**(vars(result) | whole)).regional_loss(moving, fixed, mse)[1]
    torch.testing.assert_close(smooth, diffusion(partial))


def test_training_uses_the_regional_loss_and_labels(generator):
    pairs = [phantoms.make("abdomen", (24, 24), 0)]
    model = tiny()
    batch = collate(pairs[:1], "cpu")
    result = model(batch.moving, batch.fixed, moving_labels=batch.moving_labels, fixed_labels=batch.fixed_labels)
    config = TrainingConfig(similarity="mse", smoothness=0.2)
    _, parts = registration_loss(result, batch, config)
    similarity, smooth = result.regional_loss(batch.moving, batch.fixed, mse)
    torch.testing.assert_close(parts["similarity"], similarity)
    torch.testing.assert_close(parts["smoothness"], smooth)
    config = TrainingConfig(steps=6, learning_rate=1e-2, similarity="mse", smoothness=0.01)
    history = fit(model, pairs, config, progress=False)
    assert history.loss[-1] < history.loss[0]


def test_evaluation_hands_over_the_true_labels(generator):
    pair = phantoms.make("abdomen", (32, 32), 3)
    model = tiny().eval()
    row = metrics.evaluate({"m": model}, [pair], surfaces=False)["m"]
    result = model(
        pair.moving[None], pair.fixed[None],
        moving_labels=pair.moving_labels[None], fixed_labels=pair.fixed_labels[None],
    )  # fmt: skip
    assert row["epe"] == pytest.approx(metrics.endpoint_error(result.displacement[0], pair.displacement, pair.region))


def test_seam_folds_are_told_from_others():
    labels = stripes(12, 30, labels=(0, 1), batch=1)
    field = torch.zeros(1, 2, 12, 30)
    field[:, 1, :, 15:] = -3.0  # the right half moves onto the left one
    found = seam_folds(field, labels)
    assert found["seam_voxels"] == 2 * 12
    assert found["seam_folds"] == 24
    assert (found["other_voxels"], found["other_folds"]) == (12 * 28, 0)
    field[:, 1, :, 5:] -= 3.0
    assert seam_folds(field, labels)["other_folds"] == 24
    field[:, 1, 6:, 15:] += 3.0  # half of the seam is closed again, the tear at column 5 stays
    half = seam_folds(field, labels)
    determinant = fields.jacobian_determinant(field)[0, 0] <= 0
    assert half["seam_folds"] == int(determinant[:, 14:16].sum())
    assert half["other_folds"] == int(determinant.sum()) - half["seam_folds"]
    assert 0 < half["seam_folds"] < 24 < half["other_folds"] + half["seam_folds"]
    volume = seam_folds(torch.zeros(1, 3, 4, 5, 6), torch.zeros(1, 1, 4, 5, 6, dtype=torch.int64))
    assert volume == {"seam_voxels": 0, "seam_folds": 0, "other_voxels": 120, "other_folds": 0}


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_dilation_by_hand(shape):
    mask = torch.zeros(1, 1, *shape)
    mask[(0, 0, *[2] * len(shape))] = 1
    assert dilated(mask, 0) is mask
    grown = dilated(mask, 1)
    assert grown.shape == mask.shape
    assert grown.sum() == 3 ** len(shape)
    assert grown[(0, 0, *[slice(1, 4)] * len(shape))].all()


def test_batch_of_one_direction_without_labels_is_refused_by_training():
    pair = phantoms.make("abdomen", (16, 16), 0)
    bare = Pair(pair.moving, pair.fixed)
    with pytest.raises(ValueError, match="moving_labels and fixed_labels must both be given to a model without"):
        fit(tiny(), [bare], TrainingConfig(steps=1), progress=False)


@pytest.mark.parametrize("own", [True, False])
def test_weights_come_back_with_backbone_and_segmenter(own, tmp_path, generator):
    options = {"segmenter_labels": (0, 2, 5), "segmenter_widths": (4, 6)} if own else {}
    model = tiny(groups=((2, 5),), **options).eval()
    models.save_weights(tmp_path / "w.safetensors", model)
    loaded = models.load_model(tmp_path / "w.safetensors")
    assert loaded.sizes == model.sizes
    pair = images(16, 16, generator=generator)
    labels = {} if own else {"moving_labels": stripes(16, 16), "fixed_labels": stripes(16, 16)}
    assert torch.equal(loaded(*pair, **labels).displacement, model(*pair, **labels).displacement)


def test_a_backbone_from_elsewhere_is_taken_as_it_is():
    torch.manual_seed(0)
    trained = models.build("drivenmorph", dims=2, **TINY["drivenmorph"])
    model = SegReg(SegRegSizes(dims=2), backbone=trained)
    assert model.backbone is trained
    assert model.sizes.backbone == "drivenmorph"
    assert model.sizes.backbone_sizes["widths"] == (4, 6, 8)
    assert SegReg(SegRegSizes(dims=2), backbone=Shift()).sizes.backbone == "own"


class TestSegmenter:
    @pytest.mark.parametrize("shape", [(16, 16), (17, 30), (5, 4), (1, 1), (9, 7, 5)])
    def test_any_size_passes(self, shape, generator):
        torch.manual_seed(0)
        segmenter = models.Segmenter((0, 3, 8), dims=len(shape), widths=(4, 6)).eval()
        image = images(*shape, generator=generator)[0]
        logits, labels = segmenter(image), segmenter.segment(image)
        assert logits.shape == (2, 3, *shape)
        assert labels.shape == (2, 1, *shape)
        assert torch.equal(labels, torch.tensor([0, 3, 8])[logits.argmax(1, keepdim=True)])

    def test_it_learns_and_registers_without_labels(self):
        pairs = [phantoms.make("abdomen", (32, 32), seed) for seed in range(2)]
        known = sorted(set(pairs[0].fixed_labels.unique().tolist()) | {0})
        torch.manual_seed(0)
        segmenter = models.Segmenter(known, dims=2, widths=(8, 12))
        losses = fit_segmenter(segmenter, pairs, steps=12)
        assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
        model = SegReg(SegRegSizes(dims=2), backbone=tiny().backbone, segmenter=segmenter)
        moving, fixed = pairs[0].moving[None], pairs[0].fixed[None]
        automatic = model(moving, fixed)
        assert torch.equal(automatic.fixed_regions, segmenter.segment(fixed))
        truth = {"moving_labels": pairs[0].moving_labels[None], "fixed_labels": pairs[0].fixed_labels[None]}
        assert torch.equal(model(moving, fixed, **truth).fixed_regions, truth["fixed_labels"])  # on request

    def test_unknown_labels_are_background(self):
        assert classes(torch.tensor([[[[0, 3, 4, 9]]]]), (0, 3, 8))[0, 0, 0].tolist() == [0, 1, 0, 0]


@pytest.mark.plain_errors
class TestBadInput:
    @pytest.mark.parametrize(
        ("sizes", "sentence"),
        [
            ({"dims": 4}, "dims must be 2 or 3"),
            ({"softness": -1.0}, "softness must be zero or more voxels"),
            ({"softness": float("inf")}, "softness must be zero or more voxels"),
            ({"groups": ((1,), ())}, "groups must each hold labels"),
            ({"groups": ((1, 2), (2,))}, "groups must each hold labels, each label in one group"),
            ({"backbone": "vit"}, "name must be one of"),
        ],
    )
    def test_sizes(self, sizes, sentence):
        with pytest.raises(ValueError, match=sentence):
            models.build("segreg", **({"dims": 2} | sizes))

    @pytest.mark.parametrize(
        ("labels", "error", "sentence"),
        [
            (
                {},
                ValueError,
                "must both be given to a model without a segmenter, got no moving_labels and no fixed_labels",
            ),
            ({"fixed_labels": torch.zeros(1, 1, 16, 16).long()}, ValueError, "both be given, got no moving_labels"),
            (
                {"moving_labels": torch.zeros(1, 1, 16, 17).long(), "fixed_labels": torch.zeros(1, 1, 16, 16).long()},
                ValueError,
                r"moving_labels must have shape \(1, 1, 16, 16\) like the images, got \(1, 1, 16, 17\)",
            ),
            (
                {"moving_labels": torch.zeros(1, 1, 16, 16).long(), "fixed_labels": torch.zeros(1, 1, 16, 16)},
                TypeError,
                "fixed_labels must hold whole numbers, got torch.float32",
            ),
        ],
    )
    def test_labels(self, labels, error, sentence):
        with pytest.raises(error, match=sentence):
            tiny()(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), **labels)

    def test_images(self):
        labels = {"moving_labels": stripes(16, 16, batch=1), "fixed_labels": stripes(16, 16, batch=1)}
        with pytest.raises(ValueError, match="moving must hold finite values"):
            tiny()(torch.full((1, 1, 16, 16), torch.nan), torch.zeros(1, 1, 16, 16), **labels)

    @pytest.mark.parametrize("labels", [(0,), (1, 2), (0, 2, 1), (0, 1, 1)])
    def test_segmenter(self, labels):
        with pytest.raises(ValueError, match="labels must ascend from 0"):
            models.Segmenter(labels, dims=2)

    def test_segmenter_without_labels_to_learn_from(self):
        pair = Pair(torch.zeros(1, 16, 16), torch.zeros(1, 16, 16), name="bare")
        segmenter = models.Segmenter((0, 1), dims=2)
        with pytest.raises(ValueError, match="pairs must all have labels to learn from, got bare without"):
            fit_segmenter(segmenter, [pair], steps=1)
        with pytest.raises(ValueError, match="pairs must hold at least one pair"):
            fit_segmenter(segmenter, [])


def test_the_rim_of_a_soft_merge_reaches_as_far_as_its_weights(generator):
    moving, fixed = images(8, 30, generator=generator)
    labels = stripes(8, 30)
    for softness, rim in ((0.0, 2), (0.5, 3), (1.3, 5), (2.0, 6)):
        model = SegReg(SegRegSizes(dims=2, softness=softness), backbone=Shift())
        result = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
        assert result.rim == rim
        assert result.outside == -0.5


def test_soft_weights_are_the_smoothed_regions_of_the_fixed_image(generator):
    moving, fixed = images(12, 30, generator=generator)
    labels = stripes(12, 30)
    model = SegReg(SegRegSizes(dims=2, softness=1.5), backbone=Shift())
    result = model(moving, fixed, moving_labels=labels.flip(-1), fixed_labels=labels)
    expected = 0
    for number, label in enumerate((0, 3, 5)):
        weight = (labels == label).float()
        weight = smooth(weight, smoothing_matrices((1.5, 1.5), weight))
        expected = expected + weight * result.partial[number]
    torch.testing.assert_close(result.displacement, expected)


def test_groups_are_registered_as_one_region(generator):
    moving, fixed = images(8, 30, generator=generator)
    labels = stripes(8, 30)
    model = SegReg(SegRegSizes(dims=2, groups=((3, 5),), outside=0.25), backbone=Shift())
    result = model(moving, fixed, moving_labels=labels, fixed_labels=labels)
    assert result.regions == (0, 1)
    assert result.fixed_regions[0, 0, 0].tolist() == [0] * 10 + [1] * 20
    amount = torch.where(labels > 0, moving, 0.25).flatten(1).mean(1)
    torch.testing.assert_close(result.displacement[:, 0, 0, 29], amount)
    assert result.outside == 0.25


def test_a_segmenter_brings_its_own_sizes():
    torch.manual_seed(0)
    segmenter = models.Segmenter((0, 4), dims=2, widths=(2, 3))
    model = SegReg(SegRegSizes(dims=2), backbone=Shift(), segmenter=segmenter)
    assert (model.sizes.segmenter_labels, model.sizes.segmenter_widths) == ((0, 4), (2, 3))
    assert model.segmenter is segmenter
    assert not model.needs_labels
    made = tiny(segmenter_labels=(0, 2, 9), segmenter_widths=(2, 4), image_channels=2)
    assert (made.segmenter.labels, made.segmenter.widths, made.segmenter.image_channels) == ((0, 2, 9), (2, 4), 2)
    assert made.backbone.sizes.image_channels == 2
    assert tiny().segmenter is None
    assert tiny().needs_labels


def test_a_segreg_needs_a_backbone():
    with pytest.raises(ValueError, match="backbone must be given, or the model made by models.build"):
        SegReg(SegRegSizes(dims=2))


def test_a_soft_merge_of_one_voxel_is_soft(generator):
    membership = (torch.arange(12) > 5).expand(1, 1, 1, 12, 12)
    weights = SegReg(SegRegSizes(dims=2, softness=1.0), backbone=Shift())._weights(membership, torch.float32)
    assert 0.4 < float(weights[0, 0, 0, 6, 6]) < 1
    assert 0 < float(weights[0, 0, 0, 6, 5]) < 0.6


def test_differences_count_where_both_voxels_are_inside():
    """Columns 3 and on are inside; the field rises by 1 at every column, along its second component."""
    field = torch.zeros(1, 2, 4, 6)
    field[0, 1] = torch.arange(6.0)
    mask = (torch.arange(6) >= 3).float().expand(1, 1, 4, 6)
    # Differences 3-4 and 4-5 of five, for one of two components, times two.
    assert float(diffusion_within(field, mask)) == pytest.approx(2 / 5)
    assert float(diffusion_within(field, mask.flip(3))) == pytest.approx(2 / 5)
    turned = field.mT.flip(1)
    assert float(diffusion_within(turned, mask.mT)) == pytest.approx(2 / 5)


def test_fields_of_regions_keep_their_precision():
    present = torch.tensor([[True], [False]])
    found = torch.ones(1, 2, 3, 3, dtype=torch.bfloat16)
    scattered = _scatter(torch.zeros(2, 1, 2, 3, 3), present, found)
    assert scattered.dtype == torch.bfloat16
    assert scattered[0].min() == 1
    assert scattered[1].abs().max() == 0
