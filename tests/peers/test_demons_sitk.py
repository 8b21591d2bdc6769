"""Demons against SimpleITK: one iteration voxel by voxel, and whole runs. Arrays are (z, y, x) in both."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from moereg.classical import demons
from moereg.classical.registration import _pyramid
from moereg.fields import upsample_field, warp
from moereg.filters import gaussian_taps, smooth, smoothing_matrix
from moereg.similarity import mse

sitk = pytest.importorskip("SimpleITK")

ANISOTROPIC = (1.5, 0.8, 1.1)
ISOTROPIC = (1.0, 1.0, 1.0)
FILTERS = {
    "thirion": sitk.DemonsRegistrationFilter,
    "symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
}


def waves(shape, seed):
    """Smooth random image in [0, 1]."""
    noise = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrices = [smoothing_matrix(gaussian_taps(torch.tensor(1.5, dtype=torch.float64), 6), size) for size in shape]
    image = smooth(noise, matrices)
    return ((image - image.min()) / (image.max() - image.min())).float()


def synthetic(dims=3):
    shape = (14, 17, 15)[:dims]
    return waves(shape, 1), waves(shape, 2)


def hippocampus():
    folder = Path(os.environ.get("MOEREG_DATA", "missing")) / "hippocampus" / "imagesTr"
    files = sorted(folder.glob("hippocampus_*.nii.gz"))[:2]
    if len(files) < 2:
        pytest.skip("hippocampus volumes are not in MOEREG_DATA")
    arrays = [sitk.GetArrayFromImage(sitk.ReadImage(str(file))).astype(np.float32) for file in files]
    common = tuple(slice(0, min(sizes)) for sizes in zip(*(array.shape for array in arrays), strict=True))
    return tuple(torch.from_numpy(array[common] / np.percentile(array, 99.5))[None, None] for array in arrays)


def to_sitk(image, spacing, *, vector=False):
    array = image[0].movedim(0, -1).flip(-1).double().numpy() if vector else image[0, 0].numpy()
    volume = sitk.GetImageFromArray(array, isVector=vector)
    volume.SetSpacing(tuple(reversed(spacing)))
    return volume


def from_sitk(field, spacing):
    """Millimetres, x first -> voxels, z first."""
    array = torch.from_numpy(sitk.GetArrayFromImage(field).astype(np.float64)).flip(-1)
    return (array / torch.tensor(spacing, dtype=torch.float64)).movedim(-1, 0)[None]


def run_sitk(kind, moving, fixed, spacing, *, iterations, elastic=None, fluid=None, initial=None, max_step=None):
    """Displacement in voxels and the metric before each iteration."""
    registration = kind()
    registration.SetNumberOfIterations(iterations)
    registration.SetMaximumRMSError(0)
    registration.SetSmoothDisplacementField(elastic is not None)
    registration.SetSmoothUpdateField(fluid is not None)
    if elastic is not None:
        registration.SetStandardDeviations(elastic)
    if fluid is not None:
        registration.SetUpdateFieldStandardDeviations(fluid)
    if max_step is not None:
        registration.SetMaximumUpdateStepLength(max_step)
    history = []
    registration.AddCommand(sitk.sitkIterationEvent, lambda: history.append(registration.GetMetric()))
    images = [to_sitk(fixed, spacing), to_sitk(moving, spacing)]
    if initial is not None:
        images.append(to_sitk(initial * torch.tensor(spacing).view(-1, *[1] * len(spacing)), spacing, vector=True))
    return from_sitk(registration.Execute(*images), spacing), history


RAW = {"levels": 1, "elastic_sigma": 0.0}


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("images", [synthetic, pytest.param(hippocampus, marks=pytest.mark.data)])
@pytest.mark.parametrize("variant", FILTERS)
def test_one_iteration(variant, images, spacing):
    moving, fixed = images()
    theirs, _ = run_sitk(FILTERS[variant], moving, fixed, spacing, iterations=1)
    ours = demons(moving, fixed, variant, iterations=1, spacing=spacing, **RAW).displacement
    assert theirs.abs().max() > 0.1
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("images", [synthetic, pytest.param(hippocampus, marks=pytest.mark.data)])
def test_one_iteration_of_symmetric_forces_inside_the_image(images, spacing):
    # The slower of SimpleITK's two symmetric filters bounds an update by one voxel, and takes no moving gradient
    # at the border.
    moving, fixed = images()
    theirs, _ = run_sitk(sitk.SymmetricForcesDemonsRegistrationFilter, moving, fixed, spacing, iterations=1)
    ours = demons(moving, fixed, "symmetric", iterations=1, spacing=spacing, max_step=1.0, **RAW).displacement
    difference = (ours - theirs).abs()
    assert difference[(..., *[slice(1, -1)] * 3)].max() < 1e-5
    assert difference.max() > 1e-3


@pytest.mark.parametrize("variant", FILTERS)
def test_one_iteration_in_two_dimensions(variant):
    moving, fixed = synthetic(2)
    theirs, _ = run_sitk(FILTERS[variant], moving, fixed, ANISOTROPIC[:2], iterations=1)
    ours = demons(moving, fixed, variant, iterations=1, spacing=ANISOTROPIC[:2], **RAW).displacement
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("max_step", [0.25, 2.0])
@pytest.mark.parametrize("variant", ["symmetric", "diffeomorphic"])
def test_one_iteration_with_another_step_bound(variant, max_step):
    moving, fixed = synthetic()
    theirs, _ = run_sitk(FILTERS[variant], moving, fixed, ANISOTROPIC, iterations=1, max_step=max_step)
    ours = demons(moving, fixed, variant, iterations=1, spacing=ANISOTROPIC, max_step=max_step, **RAW).displacement
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("variant", FILTERS)
def test_one_iteration_from_a_field_that_stays_inside(variant):
    moving, fixed = (image.double() for image in synthetic())  # single precision rounds positions to 1e-5 voxels
    axes = [torch.sin(torch.linspace(0, torch.pi, size)) for size in fixed.shape[2:]]
    bump = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    initial = torch.stack([2 * bump, -1.5 * bump, bump])[None].double()
    theirs, _ = run_sitk(FILTERS[variant], moving, fixed, ANISOTROPIC, iterations=1, initial=initial)
    ours = demons(moving, fixed, variant, iterations=1, spacing=ANISOTROPIC, initial=initial, **RAW).displacement
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("variant", ["symmetric", "diffeomorphic"])
def test_one_iteration_with_both_smoothings(variant):
    moving, fixed = synthetic()
    theirs, _ = run_sitk(FILTERS[variant], moving, fixed, ANISOTROPIC, iterations=1, elastic=1.5, fluid=1.0)
    ours = demons(
        moving, fixed, variant, iterations=1, levels=1, spacing=ANISOTROPIC, elastic_sigma=1.5, fluid_sigma=1.0
    ).displacement
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("spacing", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("images", [synthetic, pytest.param(hippocampus, marks=pytest.mark.data)])
@pytest.mark.parametrize("variant", FILTERS)
def test_full_run_reaches_the_same_difference(variant, images, spacing):
    moving, fixed = images()
    theirs, history = run_sitk(FILTERS[variant], moving, fixed, spacing, iterations=40, elastic=1.0)
    ours = demons(moving, fixed, variant, iterations=40, levels=1, spacing=spacing, smooth_before=variant == "thirion")
    assert ours.history[0, -1] == pytest.approx(history[-1], rel=0.02)
    assert mse(ours.warped, fixed).item() == pytest.approx(mse(warp(moving, theirs.float()), fixed).item(), rel=0.02)
    assert history[-1] < 0.7 * history[0]


def test_full_run_of_thirion_agrees_voxel_by_voxel():
    moving, fixed = synthetic()
    theirs, history = run_sitk(FILTERS["thirion"], moving, fixed, ANISOTROPIC, iterations=40, elastic=1.0)
    ours = demons(moving, fixed, iterations=40, levels=1, spacing=ANISOTROPIC, smooth_before=True)
    assert (ours.displacement - theirs).abs().max() < 1e-3
    torch.testing.assert_close(ours.history[0], torch.tensor(history), rtol=1e-4, atol=0)


@pytest.mark.data
def test_two_levels_agree_with_the_same_pyramid_in_simpleitk():
    # SimpleITK gets the coarse images that `demons` makes, and its coarse field carried to the fine grid.
    moving, fixed = hippocampus()
    kind, spacing = FILTERS["diffeomorphic"], ANISOTROPIC
    pyramid, _ = _pyramid(moving, fixed, None, 2)
    coarse, _ = run_sitk(kind, *pyramid[0], [2 * edge for edge in spacing], iterations=20, elastic=1.0)
    start = upsample_field(coarse, fixed.shape[2:])
    theirs, _ = run_sitk(kind, moving, fixed, spacing, iterations=10, elastic=1.0, initial=start)
    ours = demons(moving, fixed, "diffeomorphic", iterations=(20, 10), levels=2, spacing=spacing)
    assert mse(ours.warped, fixed).item() == pytest.approx(mse(warp(moving, theirs.float()), fixed).item(), rel=0.02)
