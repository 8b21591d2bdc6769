"""The search for a rigid or affine map, by SimpleITK.

On a grid of cubic cells, the coarsest first, the mutual information of the two images (Mattes et al. 2003) is measured
at every start: headers believed, middles, centres of brightness, each with small turns about each axis. The best few
are optimised, the best of these is refined on finer grids. A result that shares less information than what it started
from is given up.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moereg.alignment.frame import Frame, shifted_by
from moereg.data.onegrid import thin_axis
from moereg.data.volumes import Grid, Volume

CELLS = (16, 32, 64)  # of each level along the longest side, but none smaller than the fixed image's finest voxel
TURN = np.deg2rad(20)  # of the starts about each axis
BEST_STARTS = 5  # of the coarsest level that are optimised
LEAST_COVERED = 0.25  # share of the fixed image's cells that a start or result must find in the moving image
VOLUME_CHANGE = 3.0  # an affine that enlarges or shrinks by more is given up for the rigid one
ITERATIONS = 60
STANDSTILL = 1e-5  # relative gain of an iteration below which a level ends
SAMPLES = 10_000  # cells at which the images are compared, drawn with one seed
BINS = 32


def search(
    moving: Volume, fixed: Volume, frame: Frame, kind: str, mask: np.ndarray | None
) -> tuple[np.ndarray, str, str]:
    """(matrix in the frame, kind, what was found)."""
    sitk = _simpleitk()
    radius = max(np.array(fixed.grid.shape) * fixed.grid.spacing) / 2
    images = [
        _to_sitk(sitk, _clipped(volume.data[0].numpy()), volume.grid, frame, radius) for volume in (moving, fixed)
    ]
    mask_image = None if mask is None else _to_sitk(sitk, mask.astype(np.float32), fixed.grid, frame, radius)
    levels = [
        _Level(
            sitk,
            _on_cells(sitk, images[0], edge),
            _on_cells(sitk, images[1], edge),
            _mask_on_cells(sitk, mask_image, edge),
        )
        for edge in _edges(images)
    ]
    starts = _starts(levels[0], frame)
    scored = sorted(starts, key=levels[0].loss)[:BEST_STARTS]
    believed = np.eye(frame.dims + 1)
    rigid = min((levels[0].optimise(start, "rigid") for start in scored), key=levels[0].loss)
    for level in levels[1:]:
        rigid = level.optimise(rigid, "rigid")
    best, best_kind = rigid, "rigid"
    if kind == "affine":
        affine = rigid
        for level in levels[-2:]:
            affine = level.optimise(affine, "affine")
        enlarges = abs(np.linalg.det(affine))
        if 1 / VOLUME_CHANGE < enlarges < VOLUME_CHANGE and levels[-1].loss(affine) <= levels[-1].loss(rigid):
            best, best_kind = affine, "affine"
    before, after = -levels[-1].loss(believed), -levels[-1].loss(best)
    best[:-1, -1] *= radius
    if after < before:
        return believed, "none", f"none, for no {kind} map shares more information than the {before:.3f} of the headers"
    found = f"{best_kind}, mutual information {max(before, 0):.3f} -> {after:.3f}, {len(starts)} starts"
    return best, best_kind, found if best_kind == kind else f"{found}; the affine one was given up"


class _Level:
    """Both images on cubic cells, and what can be asked of them.

    Matrices are `(d+1, d+1)` in the frame's coordinates divided by the fixed image's radius.
    """

    def __init__(self, sitk: Any, moving: Any, fixed: Any, mask: Any):
        self.sitk, self.moving, self.fixed, self.mask = sitk, moving, fixed, mask
        self.middle = np.array(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
        self.points = self._sampled_points()

    def loss(self, matrix: np.ndarray) -> float:
        """Minus the mutual information in nats; infinite where too little of the fixed image finds the moving one."""
        if self.covered(matrix) < LEAST_COVERED:
            return float("inf")
        method = self._method()
        method.SetInitialTransform(self._transform(matrix, "affine"))
        try:
            return float(method.MetricEvaluate(self.fixed, self.moving))
        except RuntimeError:  # no sample of the mask falls into the moving image
            return float("inf")

    def covered(self, matrix: np.ndarray) -> float:
        """Share of the fixed image's cells that lie within the moving image."""
        at = self.points @ matrix[:-1, :-1].T + matrix[:-1, -1]
        direction = np.array(self.moving.GetDirection()).reshape(at.shape[1], -1)
        to_index = np.linalg.inv(direction * np.array(self.moving.GetSpacing()))
        index = (at - np.array(self.moving.GetOrigin())) @ to_index.T
        return float(((index >= -0.5) & (index <= np.array(self.moving.GetSize()) - 0.5)).all(1).mean())

    def optimise(self, matrix: np.ndarray, kind: str) -> np.ndarray:
        """The better of `matrix` and what gradient descent makes of it."""
        method = self._method()
        # In units of the image's radius all parameters, turns, scales and shifts, weigh the same.
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-5,
            numberOfIterations=ITERATIONS,
            costFunctionConvergenceFactor=STANDSTILL / np.finfo(float).eps,
        )
        transform = self._transform(matrix, kind)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self.fixed, self.moving)
        except RuntimeError:  # it left the moving image
            return matrix
        found = self._matrix(transform)
        return found if self.loss(found) < self.loss(matrix) else matrix

    def _method(self) -> Any:
        method = self.sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=BINS)
        method.SetInterpolator(self.sitk.sitkLinear)
        cells = float(np.prod(self.fixed.GetSize()))
        if cells > SAMPLES:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(SAMPLES / cells, 1)
        if self.mask is not None:
            method.SetMetricFixedMask(self.mask)
        return method

    def _transform(self, matrix: np.ndarray, kind: str) -> Any:
        """A transform of SimpleITK about the fixed image's middle c: x -> R (x - c) + c + t."""
        dims = len(matrix) - 1
        rigid = self.sitk.Euler3DTransform if dims == 3 else self.sitk.Euler2DTransform
        transform = rigid() if kind == "rigid" else self.sitk.AffineTransform(dims)
        transform.SetCenter(self.middle.tolist())
        linear = matrix[:-1, :-1]
        transform.SetMatrix(linear.flatten().tolist(), *([1e-4] if kind == "rigid" else []))
        transform.SetTranslation((matrix[:-1, -1] + linear @ self.middle - self.middle).tolist())
        return transform

    def _matrix(self, transform: Any) -> np.ndarray:
        dims = len(self.middle)
        linear = np.array(transform.GetMatrix()).reshape(dims, dims)
        matrix = np.eye(dims + 1)
        matrix[:-1, :-1] = linear
        matrix[:-1, -1] = np.array(transform.GetTranslation()) + self.middle - linear @ self.middle
        return matrix

    def _sampled_points(self) -> np.ndarray:
        size = np.array(self.fixed.GetSize())
        index = np.stack(np.meshgrid(*[np.linspace(0, n - 1, 12) for n in size]), -1).reshape(-1, len(size))
        direction = np.array(self.fixed.GetDirection()).reshape(len(size), -1) * np.array(self.fixed.GetSpacing())
        return index @ direction.T + np.array(self.fixed.GetOrigin())


def _starts(level: _Level, frame: Frame) -> list[np.ndarray]:
    """Shifts (headers, middles, centres of brightness), each without a turn and with one about each axis."""
    of_mass = _centre_of_brightness(level.sitk, level.moving) - _centre_of_brightness(level.sitk, level.fixed)
    moving = level.moving
    middle = np.array(moving.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in moving.GetSize()]))
    shifts = [np.zeros(frame.dims), middle - level.middle, of_mass]
    starts = []
    for shift in shifts:
        for turn in _turns(frame.dims):
            start = shifted_by(shift + level.middle - turn @ level.middle)
            start[:-1, :-1] = turn
            starts.append(start)
    return starts


def _turns(dims: int) -> list[np.ndarray]:
    """No turn, and one of `TURN` either way in every plane."""
    turns = [np.eye(dims)]
    for i in range(dims):
        for j in range(i):
            for angle in (TURN, -TURN):
                turn = np.eye(dims)
                turn[i, i] = turn[j, j] = np.cos(angle)
                turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
                turns.append(turn)
    return turns


def _centre_of_brightness(sitk: Any, image: Any) -> np.ndarray:
    values = sitk.GetArrayViewFromImage(image).T.astype(np.float64)
    weights = values - values.min()
    if weights.sum() == 0:
        weights = np.ones_like(weights)
    index = [float((weights * at).sum() / weights.sum()) for at in np.indices(weights.shape)]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index))


def _clipped(image: np.ndarray) -> np.ndarray:
    """Without the few brightest and darkest voxels, which would leave a histogram few bins for the rest."""
    return np.clip(image, *np.percentile(image, (0.5, 99.5)))


def _edges(images: Sequence[Any]) -> list[float]:
    """Cell edges of the levels, coarse to fine, from the extent and voxels of the fixed image."""
    fixed = images[1]
    extent = max(n * edge for n, edge in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True))
    edges = [max(extent / cells, min(fixed.GetSpacing())) for cells in CELLS]
    return sorted(set(edges), reverse=True)


def _on_cells(sitk: Any, image: Any, edge: float) -> Any:
    """The image smoothed and resampled to cubic cells of about `edge`, in its own directions and extent."""
    for axis, spacing in enumerate(image.GetSpacing()):
        if edge > 1.5 * spacing and image.GetSize()[axis] >= 4:
            image = sitk.RecursiveGaussian(image, sigma=0.5 * edge, direction=axis)
    return _resampled(sitk, image, edge, sitk.sitkLinear)


def _mask_on_cells(sitk: Any, mask: Any, edge: float) -> Any:
    if mask is None:
        return None
    return sitk.Cast(_resampled(sitk, mask, edge, sitk.sitkNearestNeighbor), sitk.sitkUInt8)


def _resampled(sitk: Any, image: Any, edge: float, interpolator: int) -> Any:
    old, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    size = np.maximum(np.ceil(old * spacing / edge - 1e-6), np.minimum(old, 4)).astype(int)
    new = old * spacing / size
    origin = image.TransformContinuousIndexToPhysicalPoint(((new / spacing - 1) / 2).tolist())
    identity = sitk.Transform(len(size), sitk.sitkIdentity)
    directions = image.GetDirection()
    return sitk.Resample(image, size.tolist(), identity, interpolator, origin, new.tolist(), directions)


def _to_sitk(sitk: Any, array: np.ndarray, grid: Grid, frame: Frame, unit: float) -> Any:
    """An image of SimpleITK in the frame's coordinates (RAS, not LPS) divided by `unit` millimetres.

    `array` has tensor axes (k, j, i).
    """
    directions = frame.axes.T @ grid.affine[:3, :3] / unit  # (d, 3): one column for each file axis
    if frame.dims == 2:
        axis = thin_axis(grid)
        assert axis is not None
        array, directions = array.squeeze(axis), np.delete(directions, 2 - axis, axis=1)
    spacing = np.linalg.norm(directions, axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((directions / spacing).flatten().tolist())
    image.SetOrigin((frame.axes.T @ grid.affine[:3, 3] / unit).tolist())
    return image


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise ValueError(
            "a rigid or affine alignment needs SimpleITK, which is not installed: pip install SimpleITK, or choose "
            "none or centre."
        ) from error
    return SimpleITK
