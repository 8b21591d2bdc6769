"""Images of a table that differ in shape or place, and slices: what is made of them, and what is said."""

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg import cli, demo
from moereg.classical import METHODS
from moereg.data import datasets
from moereg.data.filepairs import centre
from moereg.data.onegrid import FAR
from moereg.data.tables import pairs_from_csv, told
from moereg.metrics import evaluate
from moereg.models import read_trained
from tests.oracle_models import Shift, enter

SHAPES = ((12, 10, 9), (9, 13, 10), (10, 10, 8), (12, 9, 10))  # of files, in their own axes
COMMON = (12, 13, 10)


def shade(shape) -> np.ndarray:
    """Half of it 0, half 1, with a ramp between: percentiles that padding by the border leaves as they are."""
    ramp = np.clip(np.arange(shape[0]) - shape[0] // 2 + 1, 0, 2) / 2
    return np.broadcast_to(ramp.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)


def label(shape, seed: int) -> np.ndarray:
    """A box a little off the middle, with a border of zeros."""
    values = np.zeros(shape, np.uint8)
    values[tuple(slice(size // 2 - 3, size // 2 + 2 + seed % 2) for size in shape)] = 1
    return values


@pytest.fixture
def table(tmp_path):
    """`table(shapes)` -> a table of pairs (first and second file, third and fourth, ...) with labels and a mask."""

    def write(shapes=SHAPES, *, edges=(1.0, 1.0, 1.0), name="pairs"):
        folder = tmp_path / name
        folder.mkdir()
        rows = ["moving,fixed,moving_labels,fixed_labels,fixed_mask,split"]
        for number, shape in enumerate(shapes):
            affine = np.diag([*edges, 1.0]) if number else np.eye(4)
            for kind, values in (("i", shade(shape)), ("l", label(shape, number))):
                values = values if kind == "l" else values * 2**number + 3  # no file twice
                nib.save(nib.Nifti1Image(values, affine), folder / f"{kind}{number}.nii")
        for number in range(0, len(shapes), 2):
            split = "train" if number else "test"
            rows.append(
                ",".join(f"{kind}{number + n}.nii" for kind in "il" for n in (0, 1)) + f",l{number + 1}.nii,{split}"
            )
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
        return folder / f"{name}.csv"

    return write


@pytest.mark.parametrize("dims", [2, 3])
def test_shapes_that_differ_are_padded_to_the_largest(table, dims):
    path = table([shape[:dims] for shape in SHAPES])
    for split in ("train", "test"):
        pairs = datasets.load(path, split)
        assert pairs[0].shape == COMMON[:dims][::-1]
        assert told("t", pairs)[0] == (
            f"t: images differ in shape, from {' x '.join(['9', '9', '8'][:dims])} to "
            f"{' x '.join(map(str, COMMON[:dims]))} voxels; all are padded about their middle to "
            f"{' x '.join(map(str, COMMON[:dims]))}, labels and masks with them; images of a pair that lie on "
            "different grids are put middle to middle, whatever their headers say"
        )
    pair = pairs[0]
    assert pair.spacing == (1.0,) * dims
    wanted = torch.from_numpy(label(SHAPES[1][:dims], 1).T.astype(np.int64))[None]
    assert torch.equal(pair.fixed_labels, centre(wanted, COMMON[:dims][::-1]))
    assert torch.equal(pair.fixed_mask, pair.fixed_labels > 0)
    assert (pair.fixed_labels > 0).sum() == (label(SHAPES[1][:dims], 1) > 0).sum()
    assert torch.equal(pair.moving[..., 0], pair.moving[..., 1])  # the border goes on


@pytest.mark.parametrize("dims", [2, 3])
def test_numbers_are_those_of_files_that_were_brought_there_before(table, dims):
    shapes = [shape[:dims] for shape in SHAPES]
    path = table(shapes)
    by_hand = path.parent.parent / "by_hand"
    by_hand.mkdir()
    for number, shape in enumerate(shapes):
        sides = [((want - size) // 2, (want - size + 1) // 2) for size, want in zip(shape, COMMON, strict=False)]
        for kind, how in (("i", "edge"), ("l", "constant")):
            values = np.asarray(nib.load(path.parent / f"{kind}{number}.nii").dataobj)
            nib.save(nib.Nifti1Image(np.pad(values, sides, how), np.eye(4)), by_hand / f"{kind}{number}.nii")
    (by_hand / "pairs.csv").write_text(path.read_text())
    methods = {name: METHODS[name] for name in ("identity", "demons-symmetric")}
    ours, theirs = (evaluate(methods, pairs_from_csv(where)) for where in (path, by_hand / "pairs.csv"))
    assert told("t", pairs_from_csv(by_hand / "pairs.csv")) == []
    for name in methods:
        for measure in ("dice", "hd95", "asd", "fold_fraction", "sd_log_jacobian"):
            assert ours[name][measure] == theirs[name][measure], (name, measure)
    assert 0 < ours["identity"]["dice"] < 1


def test_a_shape_that_is_asked_for_crops_too_but_no_labels(table):
    path = table()
    pairs = pairs_from_csv(path, shape=(8, 9, 9))
    assert pairs[0].shape == (8, 9, 9)
    assert "all are padded and cropped about their middle to 9 x 9 x 8" in pairs.brought
    with pytest.raises(ValueError, match=r"shape \(4, 4, 4\) cuts off labelled voxels of .*l0.nii"):
        pairs_from_csv(path, shape=(4, 4, 4))[0]
    path.write_text(path.read_text().replace("moving_labels,fixed_labels", "a,b"))  # the mask alone
    corner = np.zeros(SHAPES[1], np.uint8)
    corner[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(corner, np.eye(4)), path.parent / "l1.nii")
    with pytest.raises(ValueError, match=r"shape \(8, 9, 9\) cuts off all of the mask .*l1.nii"):
        pairs_from_csv(path, shape=(8, 9, 9))[0]
    with pytest.raises(ValueError, match=r"shape must have 3 sizes for the images of .*pairs.csv, got \(4, 4\)"):
        pairs_from_csv(path, shape=(4, 4))


def test_voxels_of_other_sizes_are_said_and_left(table):
    pairs = pairs_from_csv(table([(12, 10, 9)] * 4, edges=(1.0, 1.0, 1.5)))
    assert pairs.brought == (
        "images of a pair that lie on different grids are put middle to middle, whatever their headers say; "
        "voxels differ, from 1 x 1 x 1 to 1 x 1 x 1.5 mm, and are not resampled"
    )
    assert pairs[0].spacing == (1.5, 1, 1)
    assert pairs.shape is None


@pytest.mark.parametrize(
    ("size", "refused"), [(int(10 * FAR), False), (int(10 * FAR) + 1, True), (4, True), (5, False)]
)
def test_one_shape_far_from_the_others_is_refused(table, size, refused):
    path = table([(10, 10, 10), (10, 10, 10), (10, 10, 10), (10, size, 10)])
    if not refused:
        assert pairs_from_csv(path)[0].shape == (10, max(10, size), 10)
        return
    words = (
        rf"pairs.csv must name images of like shapes, .* 10 x 10 x 10 along each axis, got .*i3.nii of 10 x {size} x"
    )
    with pytest.raises(ValueError, match=words):
        pairs_from_csv(path)


def test_slices_have_two_axes_whichever_file_holds_them(tmp_path):
    """A 2-D file, and a volume of one slice; across another axis it is another plane."""
    values = shade((10, 9))
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 3, 1, 1])), tmp_path / "flat.nii")
    nib.save(nib.Nifti1Image(values[:, :, None], np.diag([2.0, 3, 5, 1])), tmp_path / "slice.nii")
    nib.save(nib.Nifti1Image(values[:, None], np.diag([2.0, 5, 3, 1])), tmp_path / "coronal.nii")
    path = tmp_path / "pairs.csv"
    path.write_text("moving,fixed\nflat.nii,slice.nii\n")
    pair = pairs_from_csv(path)[0]
    assert torch.equal(pair.moving, pair.fixed)
    assert (pair.shape, pair.spacing) == ((9, 10), (3.0, 2.0))
    path.write_text("moving,fixed\nflat.nii,coronal.nii\n")
    with pytest.raises(ValueError, match=r"slices across one axis, got .*flat.nii of 10 x 9 x 1 and .*coronal.nii of"):
        pairs_from_csv(path)


@pytest.mark.plain_errors
@pytest.mark.parametrize("dims", [2, 3])
def test_train_evaluate_and_register_take_such_a_table(table, dims, tmp_path, monkeypatch, capsys):
    """The weights say the shape and voxels that registering needs."""
    enter(monkeypatch, Shift)
    path = table([shape[:dims] for shape in SHAPES])
    run = ["train", "shift", "--data", str(path), "--out", str(tmp_path / "net"), "--steps", "1", "--device", "cpu"]
    assert cli.main(run) == 0
    assert capsys.readouterr().err.count("images differ in shape") == 1
    weights = tmp_path / "net" / "shift.safetensors"
    trained = read_trained(weights)
    assert trained is not None
    assert trained.shape == COMMON[:dims][::-1]
    assert (trained.spacing, trained.normalisation) == ((1.0,) * dims, "percentiles")
    assert cli.main(["evaluate", "--weights", str(weights), "--data", str(path), "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count("images differ in shape") == 1
    files = [str(path.parent / f"i{number}.nii") for number in (0, 1)]
    arguments = ["--weights", str(weights), "--no-report", "--init", "centre", "--out", str(tmp_path / "out")]
    assert cli.main(["register", *files, *arguments]) == 0
    assert f"trained on pairs.csv, {'x'.join(map(str, COMMON[:dims]))} voxels of" in capsys.readouterr().out


def test_the_demo_says_it_before_any_work(table, tmp_path, monkeypatch):
    """Both splits come onto the same grid."""
    seen, said = [], []
    monkeypatch.setattr(demo, "require_comparable", lambda data, test: 1 / 0)
    monkeypatch.setattr(demo, "load_pairs", lambda pairs, *_: seen.append(pairs[0].shape))
    with pytest.raises(ZeroDivisionError):
        demo.run(tmp_path / "out", data=str(table()), device="cpu", progress=False, tell=said.append)
    assert seen == [COMMON[::-1]] * 2
    assert sum("all are padded about their middle to 12 x 13 x 10" in line for line in said) == 1
