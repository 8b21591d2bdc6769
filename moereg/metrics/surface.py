"""How far apart the surfaces of two label maps lie.

MONAI defines both measures and is what the tests compare with. Here each label is looked at where it is, and its
distances are computed once for both.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree
from torch import Tensor

from moereg.metrics.overlap import numbered


def surface_distances(
    warped: Integer[Tensor, "1 *space"], fixed: Integer[Tensor, "1 *space"], spacing: Sequence[float]
) -> tuple[dict[int, float], dict[int, float]]:
    """(95th percentile Hausdorff distance, average symmetric surface distance) per label, in millimetres.

    The surface of a label is made of its voxels that have a neighbour without it, or the border of the image, across a
    face. With `d(A, B)` the distances from every voxel of the surface of A to the nearest one of B's:

        HD95 = max(95th percentile of d(A, B), 95th percentile of d(B, A))        ASD = mean of both together

    Labels that are missing in either map are left out: their distance is not defined. Zero is no label.
    """
    values, *places = numbered(warped, fixed)
    first, second = (flat.reshape(warped.shape[1:]).cpu().numpy() for flat in places)
    hd95, asd = {}, {}
    for place, boxes in enumerate(zip(*(_boxes(labels, len(values)) for labels in (first, second)), strict=True)):
        label = int(values[place])
        if label <= 0 or None in boxes:
            continue
        maps = zip((first, second), boxes, strict=True)
        one, other = (_surface(labels[box] == place, box) * spacing for labels, box in maps)
        distances = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
        hd95[label] = max(float(np.quantile(each, 0.95)) for each in distances)
        asd[label] = float(np.concatenate(distances).mean())
    return hd95, asd


def _boxes(labels: np.ndarray, count: int) -> list[tuple[slice, ...] | None]:
    """Where each of `count` labels is; None where it is not."""
    return find_objects(labels + 1, count)  # which numbers from one


def _surface(mask: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Voxels of the surface, in the whole image."""
    return np.argwhere(mask & ~binary_erosion(mask)) + [edge.start for edge in box]
