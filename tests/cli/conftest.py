"""Files as scanners leave them, not as tests like them, and oracles under registered names."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from moereg.apply import page
from moereg.models import build, save_weights
from moereg.viz import payload
from moereg.viz.clinical import Picture
from tests.oracle_models import Centres, Elsewhere, Shift, enter

SHAPE, SIZE = (16, 14, 12), (4, 5, 3)  # of the file and of the bright box in it, in the file's own axes
FIXED, SPACING = (5, 4, 4), (1.5, 2.0, 3.0)
SHIFTS = ((1, 0, 0), (2, 0, 0), (3, 0, 0))  # of the box in the moving image of each pair of the table
SLOPE, INTERCEPT = 0.5, -100.0


def affine_of(*, turned: bool, flip: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    """Voxel (i, j, k) to millimetres RAS; column n has length `SPACING[n]` whatever the order."""
    turn = np.deg2rad(25 if turned else 0)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = about_z[[2, 0, 1]][:, [2, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = (about_z @ about_x @ np.diag(flip))[:, order] @ np.diag(SPACING)
    affine[:3, 3] = [-10, 20, 5]
    return affine


AFFINES = {
    "flipped": affine_of(turned=False, flip=(-1, -1, 1), order=(0, 1, 2)),
    "exchanged": affine_of(turned=False, flip=(1, -1, 1), order=(2, 0, 1)),
    "oblique": affine_of(turned=True, flip=(-1, 1, -1), order=(1, 2, 0)),
}


def write_box(path: Path, affine: np.ndarray, *, shift: tuple[int, ...] = (0, 0, 0), bright: float = 1) -> Path:
    """A box above a background of `INTERCEPT`, stored as int16 with a slope. A label map where `bright` is 1."""
    label = bright == 1
    values = np.full(SHAPE, 0 if label else INTERCEPT)
    values[tuple(slice(a + b, a + b + n) for a, b, n in zip(FIXED, shift, SIZE, strict=True))] = bright
    stored = values.astype(np.uint8) if label else np.rint((values - INTERCEPT) / SLOPE).astype(np.int16)
    image = nib.Nifti1Image(stored, affine)
    if not label:
        image.header.set_slope_inter(SLOPE, INTERCEPT)
    nib.save(image, path)
    return path


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """Three labelled pairs on one oblique grid, boxes moved by 1, 2 and 3 voxels along the file's first axis."""
    folder, affine = tmp_path_factory.mktemp("table"), AFFINES["oblique"]
    write_box(folder / "fixed.nii.gz", affine, bright=300)
    write_box(folder / "fixed_labels.nii.gz", affine)
    rows = ["moving,fixed,moving_labels,fixed_labels"]
    for shift in SHIFTS:
        write_box(folder / f"moving{shift[0]}.nii.gz", affine, shift=shift, bright=150)
        write_box(folder / f"labels{shift[0]}.nii.gz", affine, shift=shift)
        rows.append(f"moving{shift[0]}.nii.gz,fixed.nii.gz,labels{shift[0]}.nii.gz,fixed_labels.nii.gz")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """`weights("shift", voxels=(1.0, 0.0, 0.0))` -> a weights file of an oracle, which is registered."""
    for oracle in (Shift, Centres, Elsewhere):
        enter(monkeypatch, oracle)

    def write(name: str, **sizes) -> Path:
        path = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}.safetensors"
        save_weights(path, build(name, **sizes))
        return path

    return write


@pytest.fixture(autouse=True)
def _without_poster(monkeypatch):
    """Pictures are drawn and tested elsewhere (tests/viz), and slow."""
    monkeypatch.setattr(payload, "_poster", lambda pair, result: None)
    monkeypatch.setattr(
        page, "clinical_pictures", lambda *images: [Picture(f"{len(images)} images", "c", "data:,", "a")]
    )
