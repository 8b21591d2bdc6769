"""Linear alignment of two scans, before any deformation: SimpleITK, mutual information, several starts.

Direction is the classical trap. The matrix that comes out *pulls*, as every field here does: it takes a point of the
fixed image to the point of the moving image that shows the same tissue,

    p_moving = matrix @ (p_fixed, 1)          both in millimetres RAS, as nibabel's affines give them

so the moving image on the fixed grid is `moving[inv(A_moving) matrix A_fixed x]` at voxel x. It is the inverse of
"where does the moving image go". SimpleITK's transforms point the same way but live in LPS: with F = diag(-1, -1, 1, 1)
theirs is `F matrix F`. (Here its images are built in RAS, so that nothing has to be turned.)

| kind     | what is found                                                                   |
|----------|---------------------------------------------------------------------------------|
| "none"   | nothing: both headers are believed                                              |
| "centre" | the shift that brings the middles of the two grids together; no image is looked at |
| "rigid"  | shift and turn                                                                  |
| "affine" | shift, turn, scale and shear, from the rigid result on                          |
| "auto"   | "none" where both lie on one grid and their foregrounds overlap well, else "affine" |

How rigid and affine are found: on a grid of cubic cells, the coarsest first, the mutual information of the two images
(Mattes et al. 2003) is measured at every start: headers believed, middles, centres of brightness, each with small turns
about each axis. The best few are optimised, the best of these is refined on finer grids. A result that shares less
information than what it started from is given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moereg.checks import check_choice
from moereg.data.onegrid import thin_axis
from moereg.data.volumes import Grid, Volume

KINDS = ("auto", "none", "centre", "rigid", "affine")
GOOD_OVERLAP = 0.9  # Dice of the foregrounds from which on "auto" leaves two files of one grid as they are
CELLS = (16, 32, 64)  # of each level along the longest side, but none smaller than the fixed image's finest voxel
TURN = np.deg2rad(20)  # of the starts about each axis
BEST_STARTS = 5  # of the coarsest level that are optimised
LEAST_COVERED = 0.25  # share of the fixed image's cells that a start or result must find in the moving image
VOLUME_CHANGE = 3.0  # an affine that enlarges or shrinks by more is given up for the rigid one
ITERATIONS = 60
STANDSTILL = 1e-5  # relative gain of an iteration below which a level ends
SAMPLES = 10_000  # cells at which the images are compared, drawn with one seed
BINS = 32


@dataclass(frozen=True)
class Alignment:
    """What `align` found and did."""

    matrix: np.ndarray  # (4, 4): millimetres RAS of the fixed image -> millimetres RAS of the moving image
    kind: str  # "none", "centre", "rigid" or "affine"
    said: str  # one sentence: what was done, and why


def align(moving: Volume, fixed: Volume, kind: str = "auto", *, mask: np.ndarray | None = None) -> Alignment:
    """Find the linear map that pulls `moving` onto `fixed`; see the module's text for its direction.

    Args:
        moving, fixed: images `(1, *S)` with affines, on any two grids. Two single slices are aligned in their plane.
        kind: a row of the module's table.
        mask: `(*S)` of the fixed image, True where the similarity counts. Default: everywhere.

    Raises:
        ValueError: an unknown kind, a slice and a volume, slices whose planes are not parallel, SimpleITK missing.
    """
    check_choice("kind", kind, KINDS)
    frame = common_frame(moving.grid, fixed.grid)
    if kind == "auto":
        kind, why = _choose(moving, fixed)
    else:
        why = "as asked for"
    if kind == "none":
        return Alignment(frame.lift(np.eye(frame.dims + 1)), kind, f"linear alignment: none ({why})")
    if kind == "centre":
        matrix = _shift(frame.middle(moving.grid) - frame.middle(fixed.grid))
        return Alignment(frame.lift(matrix), kind, f"linear alignment: middle to middle of the grids ({why})")
    matrix, kind, found = _search(moving, fixed, frame, kind, mask)
    return Alignment(frame.lift(matrix), kind, f"linear alignment: {found} ({why})")


def foreground(image: np.ndarray) -> np.ndarray:
    """Voxels above Otsu's threshold: the one that leaves the least variance within the two classes (Otsu 1979)."""
    low, high = np.percentile(image, (0.5, 99.5))
    counts, edges = np.histogram(image, bins=128, range=(low, max(high, low + 1e-9)))
    middles = (edges[1:] + edges[:-1]) / 2
    below, moment = counts.cumsum(), (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        # between-class variance n_0 n_1 (mu_0 - mu_1)^2
        between = below * (below[-1] - below) * (moment / below - (moment[-1] - moment) / (below[-1] - below)) ** 2
    return image > edges[1 + np.nanargmax(np.nan_to_num(between))]


def same_grid(first: Grid, second: Grid) -> bool:
    """Equal shape, and every corner at one place within a hundredth of the smallest voxel edge."""
    if first.shape != second.shape:
        return False
    corners = np.stack(np.meshgrid(*[[0, size - 1] for size in first.shape[::-1]]), -1).reshape(-1, 3)
    apart = corners @ (first.affine - second.affine)[:3, :3].T + (first.affine - second.affine)[:3, 3]
    return bool(np.abs(apart).max() <= 0.01 * min(first.spacing))


def _choose(moving: Volume, fixed: Volume) -> tuple[str, str]:
    if not same_grid(moving.grid, fixed.grid):
        return "affine", "the files lie on different grids"
    one, other = (foreground(volume.data[0].numpy()) for volume in (moving, fixed))
    overlap = 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)
    if overlap >= GOOD_OVERLAP:
        return "none", f"one grid, and the foregrounds overlap with Dice {overlap:.2f}"
    return "affine", f"the foregrounds overlap with Dice {overlap:.2f} only"


# --------------------------------------------------------------------------------------- volumes and slices alike


@dataclass(frozen=True)
class Frame:
    """Coordinates in which two volumes (d = 3), or two parallel slices (d = 2), are aligned.

    A point p in millimetres RAS has the coordinates `axes.T @ p`. For volumes, axes is the identity.
    """

    axes: np.ndarray  # (3, d), orthonormal columns
    normal: np.ndarray  # (3,): across the slices; zero for volumes
    gap: float = 0.0  # from the fixed plane to the moving one along the normal, mm

    @property
    def dims(self) -> int:
        return self.axes.shape[1]

    def lift(self, matrix: np.ndarray) -> np.ndarray:
        """`(d+1, d+1)` in these coordinates -> `(4, 4)` in millimetres RAS; a slice also moves to the other's plane."""
        lifted = np.eye(4)
        d = self.dims
        lifted[:3, :3] = self.axes @ matrix[:d, :d] @ self.axes.T + np.outer(self.normal, self.normal)
        lifted[:3, 3] = self.axes @ matrix[:d, d] + self.normal * self.gap
        return lifted

    def middle(self, grid: Grid) -> np.ndarray:
        """Of a grid, `(d,)`."""
        voxel = np.append((np.array(grid.shape[::-1]) - 1) / 2, 1)
        return self.axes.T @ (grid.affine @ voxel)[:3]


def common_frame(moving: Grid, fixed: Grid) -> Frame:
    """The frame for two grids. Raises `ValueError` for a slice and a volume, and for planes that are not parallel."""
    thin = [thin_axis(grid) for grid in (moving, fixed)]
    if thin == [None, None]:
        return Frame(np.eye(3), np.zeros(3))
    if None in thin:
        raise ValueError(
            f"moving and fixed must both be volumes or both be single slices, got shapes {moving.shape[::-1]} and "
            f"{fixed.shape[::-1]}."
        )
    normals, points = [], []
    axes = [axis for axis in thin if axis is not None]
    for grid, axis in zip((moving, fixed), axes, strict=True):
        one, other = np.delete(grid.affine[:3, :3], 2 - axis, axis=1).T
        normals.append(np.cross(one, other) / np.linalg.norm(np.cross(one, other)))
        points.append(grid.affine[:3, 3])
    if abs(normals[0] @ normals[1]) < np.cos(np.deg2rad(1)):
        angle = np.rad2deg(np.arccos(np.clip(abs(normals[0] @ normals[1]), 0, 1)))
        raise ValueError(f"two single slices must lie in parallel planes, got planes {angle:.0f} degrees apart.")
    normal = normals[1]
    first = np.delete(fixed.affine[:3, :3], 2 - axes[1], axis=1)[:, 0]
    first = first / np.linalg.norm(first)
    return Frame(np.stack([first, np.cross(normal, first)], 1), normal, float(normal @ (points[0] - points[1])))


def _shift(by: np.ndarray) -> np.ndarray:
    matrix = np.eye(len(by) + 1)
    matrix[:-1, -1] = by
    return matrix


# --------------------------------------------------------------------------------------------- search with SimpleITK


def _search(
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
            start = _shift(shift + level.middle - turn @ level.middle)
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
