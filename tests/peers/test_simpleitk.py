"""Resampling through a displacement as SimpleITK does it."""

import numpy as np
import pytest
import torch

from moereg import fields

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")


@pytest.mark.parametrize("shape", [(14, 17), (12, 9, 10)])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_warp(shape, mode, generator):
    dims = len(shape)
    image = torch.rand(1, 1, *shape, generator=generator, dtype=torch.float64)
    displacement = torch.rand(1, dims, *shape, generator=generator, dtype=torch.float64) * 4 - 2
    ours = fields.warp(image, displacement, mode=mode)[0, 0].numpy()
    # SimpleITK's arrays have the same axis order, its vectors the reverse one (x first).
    vectors = np.ascontiguousarray(displacement[0].flip(0).movedim(0, -1).numpy())
    transform = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(vectors, isVector=True))
    interpolator = sitk.sitkLinear if mode == "linear" else sitk.sitkNearestNeighbor
    reference = sitk.GetImageFromArray(image[0, 0].numpy())
    theirs = sitk.GetArrayFromImage(sitk.Resample(reference, reference, transform, interpolator, np.nan))
    grid = fields.identity_grid(shape, dtype=torch.float64) + displacement[0]
    upper = torch.tensor(shape).reshape(-1, *[1] * dims) - 1
    inside = ((grid >= 0) & (grid <= upper)).all(0).numpy()  # outside, border handling differs by design
    assert inside.mean() > 0.3
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-6, atol=1e-9)
