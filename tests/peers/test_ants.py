"""ANTs applies the fields that are written here to the native moving file. Skipped where antspyx is not installed."""

import numpy as np
import pytest
import torch

from moereg.apply.scans import canonical, read_scan, write_field, write_scan
from moereg.physical import as_stored, on_own_axes, pull, whole_map
from tests.geometries import GRIDS, linear, points_of, scan

ants = pytest.importorskip("ants", reason="antspyx is not installed")

TURN = linear((8, -5, 12), (1.1, 0.93, 1.05), (2.0, -1.5, 1.0))


@pytest.mark.parametrize("fixed", list(GRIDS))
@pytest.mark.parametrize("moving", ["plain", "oblique", "anisotropic"])
def test_ants_pulls_the_native_moving_file_to_the_same_image(tmp_path, moving, fixed):
    own, source = GRIDS[fixed], scan(GRIDS[moving])
    canon = canonical(scan(own)).grid
    points = torch.from_numpy(np.ascontiguousarray(points_of(canon).T))
    u = torch.stack([torch.sin(points[2] / 5), torch.cos(points[0] / 4), torch.sin((points[1] + 2) / 6)])
    field = as_stored(on_own_axes(whole_map(u, canon, TURN), own))
    names = {name: tmp_path / f"{name}.nii.gz" for name in ("moving", "fixed", "field")}
    write_scan(names["moving"], source.data, source.grid, flat=False)
    write_scan(names["fixed"], torch.zeros(1, *own.shape), own, flat=False)
    write_field(names["field"], field)
    moved = read_scan(names["moving"])
    ours, inside = pull(moved.data, moved.grid, field, outside=0.0)
    theirs = ants.apply_transforms(
        ants.image_read(str(names["fixed"])), ants.image_read(str(names["moving"])), [str(names["field"])], "linear"
    ).numpy().T  # fmt: skip
    apart = np.abs(ours[0].numpy() - theirs)[inside.numpy()]
    span = float(source.data.max() - source.data.min())
    assert 0.4 < inside.double().mean() <= 1
    assert apart.max() < 1e-6 * span
