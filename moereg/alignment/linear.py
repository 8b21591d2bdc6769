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
"""

from dataclasses import dataclass

import numpy as np

from moereg.alignment.frame import common_frame, shifted_by
from moereg.alignment.search import search
from moereg.checks import check_choice
from moereg.data.volumes import Grid, Volume, corner_distance

KINDS = ("auto", "none", "centre", "rigid", "affine")
GOOD_OVERLAP = 0.9  # Dice of the foregrounds from which on "auto" leaves two files of one grid as they are


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
        matrix = shifted_by(frame.middle(moving.grid) - frame.middle(fixed.grid))
        return Alignment(frame.lift(matrix), kind, f"linear alignment: middle to middle of the grids ({why})")
    matrix, kind, found = search(moving, fixed, frame, kind, mask)
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
    return first.shape == second.shape and corner_distance(first, second) <= 0.01 * min(first.spacing)


def _choose(moving: Volume, fixed: Volume) -> tuple[str, str]:
    if not same_grid(moving.grid, fixed.grid):
        return "affine", "the files lie on different grids"
    one, other = (foreground(volume.data[0].numpy()) for volume in (moving, fixed))
    overlap = 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)
    if overlap >= GOOD_OVERLAP:
        return "none", f"one grid, and the foregrounds overlap with Dice {overlap:.2f}"
    return "affine", f"the foregrounds overlap with Dice {overlap:.2f} only"
