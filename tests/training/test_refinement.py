"""Instance optimisation: it goes downhill on the pair's own loss, from where the model stopped."""

import pytest
import torch

from moereg import fields
from moereg.classical import identity
from moereg.data import datasets
from moereg.metrics import evaluate
from moereg.models import Registration, load_model
from moereg.regularity import diffusion, fold_fraction
from moereg.similarity import mse
from moereg.training import Refined, refine
from moereg.training import refinement as module
from tests.oracle_models import Shift, ShiftSizes, box_pair

SHAPE = (24, 20)


@pytest.fixture(scope="module")
def waves():
    """A smooth image, and the same moved by two voxels along the first axis."""
    z, x = fields.identity_grid(SHAPE)
    return [(torch.sin((z + shift) / 4) + torch.cos(x / 3))[None, None] for shift in (-2.0, 0.0)]


def test_a_known_motion_is_found_from_nothing():
    """Brightness is the row over twelve: what is moved by two rows shows it everywhere but at the border."""
    rows = fields.identity_grid(SHAPE)[0]
    moving, fixed = ((rows + shift)[None, None] / 12 for shift in (-2.0, 0.0))
    result = refine(identity, moving, fixed, 100, similarity="mse", smoothness=0.001)
    inside = result.displacement[0, :, 4:-4, 4:-4]
    assert inside[0].mean() == pytest.approx(2, abs=0.15)
    assert inside[1].abs().mean() < 0.2
    torch.testing.assert_close(result.warped, fields.warp(moving, result.displacement))
    assert not result.displacement.requires_grad
    assert not result.warped.requires_grad


def test_it_starts_where_the_model_stopped_and_keeps_what_the_model_said(waves):
    moving, fixed = waves
    model = Shift(ShiftSizes(dims=2, voxels=(2.0, 0.0)))
    one = refine(model, moving, fixed, 1, similarity="mse")
    predicted = model(moving, fixed)
    # Adam's first step moves every correction by the learning rate, one coarse voxel is two fine ones.
    change = one.displacement - predicted.displacement.detach()
    assert float(change.abs().max()) <= 2 * module.LEARNING_RATE + 1e-6
    assert len(one.steps) == len(predicted.steps) + 1
    assert torch.equal(one.steps[-1], one.displacement)
    assert one.routing == predicted.routing


def test_more_steps_lower_the_loss_that_was_asked_for(waves):
    moving, fixed = waves

    def loss(result, weight):
        return float(mse(result.warped, fixed) + weight * diffusion(result.displacement))

    for weight in (0.01, 0.5):
        few, many = (refine(identity, moving, fixed, n, similarity="mse", smoothness=weight) for n in (5, 40))
        assert loss(many, weight) < loss(few, weight) < loss(identity(moving, fixed), weight)
    rough, smooth = (refine(identity, moving, fixed, 40, similarity="mse", smoothness=w) for w in (0.0, 2.0))
    assert float(diffusion(smooth.displacement)) < float(diffusion(rough.displacement))


def test_lncc_does_not_mind_another_contrast(waves):
    moving, fixed = waves
    by_lncc = refine(identity, moving, 0.3 * fixed + 5, 60, smoothness=0.01).displacement[0, 0, 6:-6, 6:-6]
    by_mse = refine(identity, moving, 0.3 * fixed + 5, 60, smoothness=0.01, similarity="mse").displacement[0, 0]
    assert float(by_lncc.mean()) == pytest.approx(2, abs=0.4)
    assert abs(float(by_mse[6:-6, 6:-6].mean()) - 2) > 1


def test_odd_sizes_volumes_and_batches(generator):
    images = torch.rand(2, 2, 1, 9, 8, 7, generator=generator)
    result = refine(identity, images[0], images[1], 5, similarity="mse")
    assert result.displacement.shape == (2, 3, 9, 8, 7)
    first, second = (mse(result.warped[i], images[1][i]) < mse(images[0][i], images[1][i]) for i in range(2))
    assert first
    assert second


def test_as_a_method_of_an_evaluation_which_takes_no_gradients():
    """The boxes differ by two rows; labels go to the model alone."""
    pair, seen = box_pair(SHAPE, (8, 6), (8, 8), (2, 0)), []

    class Asks:
        needs_labels = True

        def __call__(self, moving, fixed, *, moving_labels, fixed_labels):
            seen.append((moving_labels, fixed_labels))
            return identity(moving, fixed)

    method = Refined(Asks(), steps=60, similarity="mse", smoothness=0.001)
    table = evaluate({"before": identity, "after": method}, [pair], surfaces=False)
    assert table["after"]["dice"] > table["before"]["dice"] + 0.1
    assert torch.equal(seen[0][0][0], pair.moving_labels)
    assert torch.equal(seen[0][1][0], pair.fixed_labels)
    assert not Refined(identity).needs_labels
    torch.manual_seed(0)
    images = pair.moving[None], pair.fixed[None]
    direct = refine(identity, *images, 3, similarity="mse", smoothness=0.2)
    assert torch.equal(Refined(identity, 3, "mse", 0.2)(*images).displacement, direct.displacement)


def test_what_keeps_a_field_from_folding():
    """Noise that fits nothing: hardly smoothed, the field folds, and with the penalty it does not."""
    generator = torch.Generator().manual_seed(0)
    moving, fixed = (torch.rand(1, 1, 24, 20, generator=generator) for _ in range(2))
    options = {"similarity": "mse", "smoothness": 1e-4}
    free, kept = (refine(identity, moving, fixed, 60, folds=weight, **options) for weight in (0.0, 10.0))
    folds = [float(fold_fraction(result.displacement)) for result in (free, kept)]
    assert folds[0] > 0.04
    assert folds[1] == 0
    assert (kept.warped - fixed).square().mean() < 0.9 * (moving - fixed).square().mean()
    assert torch.equal(kept.displacement, Refined(identity, 60, **options)(moving, fixed).displacement)


@pytest.mark.data
@pytest.mark.usefixtures("hippocampus")
def test_scans_fold_without_it_at_no_higher_overlap():
    """What the module's text says, on the first pair of the validation split, from the shipped network's field."""
    pair = datasets.load("hippocampus", "val", count=1)[0]
    network = load_model("hippocampus-images")
    methods = {f"folds {weight}": Refined(network, 50, folds=weight) for weight in (0.0, module.FOLDS)}
    free, kept = evaluate(methods, [pair], surfaces=False).values()
    assert free["fold_fraction"] > 0.02
    assert kept["fold_fraction"] < 0.001
    assert kept["dice"] > free["dice"] - 0.005


def test_defaults_are_those_of_a_training(waves):
    explicit = refine(identity, *waves, 50, similarity="lncc", smoothness=0.1, folds=10.0)
    assert torch.equal(refine(identity, *waves).displacement, explicit.displacement)
    assert torch.equal(Refined(identity)(*waves).displacement, explicit.displacement)


@pytest.mark.plain_errors
def test_bad_input(waves):
    with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
        refine(identity, *waves, 0)
    with pytest.raises(ValueError, match="similarity must be one of 'lncc', 'mse', 'mi', got 'nmi'"):
        refine(identity, *waves, similarity="nmi")


def test_weights_get_no_gradient(waves):
    model = Shift(ShiftSizes(dims=2))
    result = refine(model, *waves, 2)
    assert isinstance(result, Registration)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_outside_the_mask_nothing_pulls():
    """Two boxes have moved in opposite ways. Only the masked one is followed; the field goes on smoothly from it."""
    moving, fixed = torch.zeros(1, 1, 8, 24), torch.zeros(1, 1, 8, 24)
    for start, shift in ((4, 1), (17, -1)):
        fixed[..., 2:6, start : start + 4] = 1
        moving[..., 2:6, start + shift : start + shift + 4] = 1
    mask = torch.zeros(1, 1, 8, 24, dtype=torch.bool)
    mask[..., :12] = True
    options = {"similarity": "mse", "smoothness": 0.01}
    masked = refine(identity, moving, fixed, 30, mask=mask, **options).displacement[0, 1, 3]
    everywhere = refine(identity, moving, fixed, 30, **options).displacement[0, 1, 3]
    assert masked[4:8].mean() > 0.3
    assert everywhere[4:8].mean() > 0.3
    assert masked[17:21].mean() > 0
    assert everywhere[17:21].mean() < -0.3
