"""Methods by name: what each does, and at how many resolutions."""

import importlib

import pytest
import torch

from moereg.classical import METHODS, VARIANTS, demons, identity
from moereg.fields import identity_grid
from moereg.similarity import mse

methods = importlib.import_module("moereg.classical.methods")


def blob(shape, centre):
    offset = identity_grid(shape) - torch.tensor(centre).view(-1, *[1] * len(shape))
    return torch.exp(-offset.square().sum(0) / 18)[None, None]


def test_the_table_has_identity_and_every_variant():
    assert list(METHODS) == ["identity", *(f"demons-{variant}" for variant in VARIANTS), "greedy"]


@pytest.mark.parametrize("shape", [(6, 9), (5, 6, 7)])
def test_identity_moves_nothing(shape):
    moving, fixed = torch.rand(2, 3, 1, *shape, generator=torch.Generator().manual_seed(0)).unbind()
    result = METHODS["identity"](moving, fixed)
    assert torch.equal(result.displacement, torch.zeros(3, len(shape), *shape))
    assert torch.equal(result.warped, moving)
    assert identity(moving.double(), fixed.double()).displacement.dtype == torch.float64


@pytest.mark.parametrize(
    ("shape", "levels", "iterations"),
    [
        ((31, 80), 1, (40,)),
        ((32, 80), 2, (60, 40)),
        ((80, 63), 2, (60, 40)),
        ((64, 64), 3, (60, 60, 40)),
        ((200, 300), 3, (60, 60, 40)),
        ((64, 80, 31), 1, (40,)),
    ],
)
def test_resolutions_follow_the_shortest_axis(shape, levels, iterations, monkeypatch):
    """An axis keeps 16 voxels on the coarsest level."""
    asked = []

    def fake(moving, fixed, variant, **options):
        asked.append((moving, fixed, variant, options))
        return demons(moving[..., :4, :4], fixed[..., :4, :4], iterations=1, levels=1)

    monkeypatch.setattr(methods, "demons", fake)
    moving, fixed = torch.zeros(1, 1, *shape), torch.ones(1, 1, *shape)
    METHODS["demons-symmetric"](moving, fixed)
    assert asked[0][:3] == (moving, fixed, "symmetric")
    assert asked[0][3] == {"levels": levels, "iterations": iterations}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_blob_is_found_by_every_variant(variant):
    """It moves by (2, -1) voxels; each name is its own variant."""
    moving, fixed = blob((20, 22), (12.0, 10.0)), blob((20, 22), (10.0, 11.0))
    result = METHODS[f"demons-{variant}"](moving, fixed)
    assert mse(result.warped, fixed) < 0.05 * mse(moving, fixed)
    assert result.displacement[0, :, 10, 11].tolist() == pytest.approx([2, -1], abs=0.3)
    same = demons(moving, fixed, variant, iterations=40, levels=1)
    assert torch.equal(result.displacement, same.displacement)
    assert torch.equal(result.warped, same.warped)
