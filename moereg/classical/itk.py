"""SimpleITK's own methods behind this library's interface, as yardsticks: `method(moving, fixed) -> Registration`.

| name                  | what it does                                                                        |
|-----------------------|-------------------------------------------------------------------------------------|
| "itk-affine"          | affine transform, mean squares, gradient descent on a pyramid                       |
| "itk-demons"          | Thirion's Demons                                                                    |
| "itk-symmetric"       | fast symmetric forces                                                               |
| "itk-diffeomorphic"   | diffeomorphic Demons; the three with the schedule of `moereg.classical.METHODS`     |
| "itk-bspline"         | cubic B-splines, a knot every eight voxels or so, mean squares, L-BFGS-B on a pyramid |

SimpleITK's Demons filters have no levels. They get those of `multiresolution_demons`: images halved alike, the field of
a level doubled for the next one, so that the filters alone differ. Unit spacing: millimetres are voxels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from moereg.classical.methods import ITERATIONS
from moereg.fields import sample, upsample_field
from moereg.filters import halve
from moereg.models.registration import Registration

FILTERS = {
    "demons": "DemonsRegistrationFilter",
    "symmetric": "FastSymmetricForcesDemonsRegistrationFilter",
    "diffeomorphic": "DiffeomorphicDemonsRegistrationFilter",
}
KNOT_EVERY = 8  # voxels


def itk_demons(
    moving: Tensor, fixed: Tensor, *, variant: str, iterations: tuple[int, ...] = ITERATIONS, threads: int | None = None
) -> Registration:
    """One of SimpleITK's Demons filters on as many resolutions as there are `iterations`, coarse to fine.

    Args:
        moving, fixed: images `(1, 1, *S)`.
        variant: a key of `FILTERS`.
        threads: of the filter; default: as many as torch uses.
    """
    import SimpleITK as sitk

    images = [(moving, fixed)]
    while len(images) < len(iterations) and min(images[-1][0].shape[2:]) >= 32:
        images.append((halve(images[-1][0]), halve(images[-1][1])))
    images.reverse()
    field = None
    for (one, other), count in zip(images, iterations[-len(images) :], strict=True):
        register = getattr(sitk, FILTERS[variant])()
        register.SetNumberOfIterations(count)
        register.SetMaximumRMSError(0)
        register.SetStandardDeviations(1.0)
        register.SetNumberOfThreads(threads or torch.get_num_threads())
        start = () if field is None else (_vectors(upsample_field(field, other.shape[2:])),)
        field = _field(register.Execute(_image(other), _image(one), *start))
    return _registration(cast(Tensor, field), moving)


def itk_affine(moving: Tensor, fixed: Tensor) -> Registration:
    """An affine transform."""
    import SimpleITK as sitk

    still, pulled = _image(fixed), _image(moving)
    start = sitk.CenteredTransformInitializer(
        still, pulled, sitk.AffineTransform(still.GetDimension()), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = _method(sitk, still)
    method.SetInitialTransform(start)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    return _registration(_of_transform(sitk, method.Execute(still, pulled), still), moving)


def itk_bspline(moving: Tensor, fixed: Tensor) -> Registration:
    """Cubic B-splines."""
    import SimpleITK as sitk

    still, pulled = _image(fixed), _image(moving)
    mesh = [max(1, size // KNOT_EVERY) for size in still.GetSize()]
    method = _method(sitk, still)
    method.SetInitialTransform(sitk.BSplineTransformInitializer(still, mesh, 3))
    method.SetOptimizerAsLBFGSB(numberOfIterations=60, maximumNumberOfCorrections=5)
    return _registration(_of_transform(sitk, method.Execute(still, pulled), still), moving)


def _method(sitk: Any, fixed: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    if fixed.GetDimension() == 3:  # a fifth of the voxels is enough, and five times as fast
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.2, 1)
    method.SetNumberOfThreads(torch.get_num_threads())
    levels = 1 + sum(min(fixed.GetSize()) >= 32 * 2**level for level in range(2))
    method.SetShrinkFactorsPerLevel([2**level for level in reversed(range(levels))])
    method.SetSmoothingSigmasPerLevel([float(level) for level in reversed(range(levels))])
    return method


def _of_transform(sitk: Any, transform: Any, fixed: Any) -> Tensor:
    return _field(sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, fixed.GetSize()))


def _image(image: Tensor) -> Any:
    import SimpleITK as sitk

    return sitk.GetImageFromArray(image[0, 0].float().numpy())


def _field(vectors: Any) -> Tensor:
    """SimpleITK's vectors (x first) -> `(1, D, *S)`."""
    import SimpleITK as sitk

    return torch.from_numpy(sitk.GetArrayFromImage(vectors)).float().flip(-1).movedim(-1, 0)[None].contiguous()


def _vectors(field: Tensor) -> Any:
    import SimpleITK as sitk

    return sitk.GetImageFromArray(field[0].movedim(0, -1).flip(-1).double().numpy(), isVector=True)


def _registration(field: Tensor, moving: Tensor) -> Registration:
    field = field.to(moving.dtype)
    return Registration(field, sample(moving, field))


ITK_METHODS: dict[str, Callable[[Tensor, Tensor], Registration]] = {
    "itk-affine": itk_affine,
    **{f"itk-{variant}": partial(itk_demons, variant=variant) for variant in FILTERS},
    "itk-bspline": itk_bspline,
}
