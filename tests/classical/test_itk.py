"""SimpleITK's methods pull in this library's direction, axes and voxels."""

import pytest
import torch

from moereg.classical.itk import ITK_METHODS
from moereg.fields import identity_grid


def blob(shape, middle):
    grid = identity_grid(shape)
    return torch.exp(-(grid - torch.tensor(middle).view(-1, *[1] * len(shape))).square().sum(0) / 18)[None, None]


@pytest.mark.parametrize("name", ITK_METHODS)
@pytest.mark.parametrize(("shape", "shift"), [((33, 40), (2.0, -1.0)), ((20, 24, 22), (1.0, 0.0, -1.5))])
def test_a_shifted_blob_is_pulled_back(name, shape, shift):
    middle = [(size - 1) / 2 for size in shape]
    fixed = blob(shape, middle)
    moving = blob(shape, [m + s for m, s in zip(middle, shift, strict=True)])
    found = ITK_METHODS[name](moving, fixed)
    assert found.displacement.shape == (1, len(shape), *shape)
    assert found.displacement.dtype == fixed.dtype
    before, after = (moving - fixed).square().sum(), (found.warped - fixed).square().sum()
    assert after < 0.2 * before
    centre = tuple(size // 2 for size in shape)
    at = found.displacement[(0, slice(None), *centre)]
    torch.testing.assert_close(at, torch.tensor(shift), atol=0.8, rtol=0)
