"""Greedy descent of the local correlation: it finds motions, does not fold, and leaves equal images alone."""

import pytest
import torch

from moereg.classical import greedy_correlation
from moereg.data import phantoms
from moereg.fields import identity_grid, sample
from moereg.regularity import fold_fraction


def texture(shape, seed=0):
    """Smooth and everywhere different."""
    generator = torch.Generator().manual_seed(seed)
    waves = identity_grid(shape)[None] / 3.0
    return sum(
        (torch.sin(waves[:, d : d + 1] * (1 + 0.3 * d) + float(torch.rand((), generator=generator)) * 6)
         for d in range(len(shape))), torch.zeros(())
    ) / (2 * len(shape)) + 0.5  # fmt: skip


@pytest.mark.parametrize("shape", [(30, 28), (14, 15, 16)])
def test_a_shift_is_found_in_its_direction(shape):
    dims = len(shape)
    truth = torch.tensor([0.8, -0.6, 0.5][:dims]).view(1, dims, *[1] * dims).expand(1, dims, *shape)
    moving = texture(shape)
    fixed = sample(moving, truth)
    found = greedy_correlation(moving, fixed)
    inner = (..., *[slice(4, -4)] * dims)
    assert float((found.displacement - truth)[inner].norm(dim=1).mean()) < 0.35 * float(truth[0, :, 0, 0].norm())
    assert torch.allclose(found.warped, sample(moving, found.displacement), atol=1e-4)
    assert (found.warped - fixed)[inner].abs().mean() < 0.4 * (moving - fixed)[inner].abs().mean()


def test_on_a_phantom_it_takes_most_of_the_motion_away_and_does_not_fold():
    pair = phantoms.make("abdomen", (48, 48), 3)
    found = greedy_correlation(pair.moving[None], pair.fixed[None]).displacement
    error = (found[0] - pair.displacement).norm(dim=0)[pair.region[0]].mean()
    assert error < 0.5 * pair.displacement.norm(dim=0)[pair.region[0]].mean()
    assert float(fold_fraction(found)) == 0


def test_equal_images_stay_where_they_are():
    image = phantoms.make("brain", (32, 32), 0).fixed[None]
    assert float(greedy_correlation(image, image).displacement.norm(dim=1).mean()) < 0.01


def test_pairs_of_a_batch_do_not_see_one_another():
    """Up to what the mean over a batch rounds."""
    moving, fixed = torch.cat([texture((20, 18), 1), texture((20, 18), 2)]), torch.cat([texture((20, 18), 3)] * 2)
    both = greedy_correlation(moving, fixed, iterations=(8,)).displacement
    for item in range(2):
        one = greedy_correlation(moving[item : item + 1], fixed[item : item + 1], iterations=(8,)).displacement
        torch.testing.assert_close(both[item : item + 1], one, rtol=1e-3, atol=1e-3)


def test_outside_the_mask_nothing_pulls():
    """Where the images ask for the opposite motion, the motion inside is carried on instead."""
    shape = (24, 24)
    truth = torch.zeros(1, 2, *shape)
    truth[:, 0] = torch.where(torch.arange(24) < 12, 1.0, -1.0)
    moving = texture(shape)
    fixed = sample(moving, truth)
    mask = torch.zeros(1, 1, *shape, dtype=torch.bool)
    assert not greedy_correlation(moving, fixed, mask=mask).displacement.any()
    mask[..., :8] = True
    found = greedy_correlation(moving, fixed, mask=mask).displacement[0, 0]
    assert found[4:-4, 2:6].mean() > 0.4
    assert found[4:-4, 16:].mean() > 0
    assert greedy_correlation(moving, fixed).displacement[0, 0, 4:-4, 16:].mean() < -0.3


def test_small_images_have_fewer_resolutions(monkeypatch):
    import importlib

    module, seen = importlib.import_module("moereg.classical.greedy"), []
    monkeypatch.setattr(
        module,
        "_descend",
        lambda field, moving, fixed, mask, count, *rest: seen.append((fixed.shape[2:], count)) or field,
    )
    for shape in ((23, 60), (24, 60), (48, 60)):
        greedy_correlation(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
    assert [(tuple(shape), count) for shape, count in seen] == [
        ((23, 60), 25),
        ((12, 30), 60), ((24, 60), 25),
        ((12, 15), 60), ((24, 30), 60), ((48, 60), 25),
    ]  # fmt: skip


@pytest.mark.plain_errors
def test_what_means_nothing_is_refused():
    image = torch.zeros(1, 1, 8, 8)
    for options, sentence in (
        ({"rate": 0.0}, "rate must be"),
        ({"iterations": (0,)}, "iterations must be"),
        ({"window": 4}, "window must be odd"),
    ):
        with pytest.raises(ValueError, match=sentence):
            greedy_correlation(image, image, **options)
    with pytest.raises(ValueError, match="moving and fixed must have the same"):
        greedy_correlation(image, torch.zeros(1, 1, 8, 9))
