"""Sets of pairs: the hippocampus loader on made-up and on real files, tables of pairs, names, and errors."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from moereg.data import Phantoms, datasets, save_volume
from moereg.data.filepairs import centre, normalise
from moereg.data.phantoms import ANATOMIES
from moereg.data.tables import pairs_from_csv
from moereg.metrics import dice


def make_hippocampus(folder: Path, numbers: range) -> Path:
    """Small files in the Decathlon's layout."""
    generator = torch.Generator().manual_seed(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in numbers:
        shape = (12 + number % 3, 14, 13)
        image = 1000 * torch.rand(1, *shape, generator=generator)
        labels = torch.zeros(1, *shape, dtype=torch.int64)
        labels[0, 4:8, 4:10, 5:8] = 1
        labels[0, 4:8, 10:12, 5:8] = 2
        save_volume(folder / "imagesTr" / f"hippocampus_{number:03d}.nii.gz", image, np.eye(4))
        save_volume(folder / "labelsTr" / f"hippocampus_{number:03d}.nii.gz", labels, np.eye(4))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_hippocampus(tmp_path_factory.mktemp("data") / "hippocampus", range(40)).parent


def subjects(pairs):
    return {path.name for files in pairs.files for path in (files.moving, files.fixed)}


def test_splits_share_no_subject_and_leave_none_out(root):
    parts = [subjects(datasets.hippocampus(root, split=split)) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40


def test_split_does_not_depend_on_which_subjects_are_there(root, tmp_path):
    part = make_hippocampus(tmp_path / "Task04_Hippocampus", range(0, 40, 2))
    for split in ("train", "test"):
        assert subjects(datasets.hippocampus(part, split=split)) <= subjects(datasets.hippocampus(root, split=split))


def test_pairs_of_each_split(root):
    train, test = (datasets.hippocampus(root, split=split) for split in ("train", "test"))
    number = len(subjects(train))
    assert len(train) == len({(f.moving, f.fixed) for f in train.files}) == number * (number - 1)
    assert len(test) == len(subjects(test)) == len({f.fixed for f in test.files})
    for pairs in (train, test):
        assert all(files.moving != files.fixed for files in pairs.files)
    assert datasets.hippocampus(root, split="test").files == test.files  # fixed


def test_pair_is_on_the_grid_and_normalised(root):
    pair = datasets.hippocampus(root, split="test", shape=(16, 14, 11))[0]
    assert pair.shape == (16, 14, 11)
    assert pair.fixed_labels.unique().tolist() == [0, 1, 2]
    assert pair.fixed_labels.dtype == torch.int64
    assert pair.label_names == {1: "anterior", 2: "posterior"}
    assert (float(pair.fixed.min()), float(pair.fixed.max())) == (0.0, 1.0)
    assert pair.spacing == (1.0, 1.0, 1.0)


def test_a_grid_that_cuts_labels_off_is_refused(root):
    pairs = datasets.hippocampus(root, split="test", shape=(16, 6, 11))
    with pytest.raises(ValueError, match=r"shape \(16, 6, 11\) cuts off labelled voxels of .*hippocampus_\d+.nii.gz"):
        pairs[0]


@pytest.mark.parametrize("place", ["parent", "itself"])
def test_folder_is_found_through_the_environment(root, monkeypatch, place):
    monkeypatch.setenv("MOEREG_DATA", str(root if place == "parent" else root / "hippocampus"))
    assert len(datasets.load("hippocampus", "test", count=3)) == 3


def test_folder_is_found_in_the_cache(tmp_path, monkeypatch):
    make_hippocampus(tmp_path / "moereg" / "Task04_Hippocampus", range(20))
    monkeypatch.delenv("MOEREG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert len(datasets.load("hippocampus", "train")) > 0


def test_missing_data_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MOEREG_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("hippocampus", "train")
    for word in (str(tmp_path), "Task04_Hippocampus.tar", "CC-BY-SA 4.0", "md5", "set MOEREG_DATA"):
        assert word in str(error.value)


def has_real_data():
    try:
        return bool(datasets.hippocampus())
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_real_data(), reason="neither MOEREG_DATA nor the cache holds the hippocampus set")
def test_real_hippocampus():
    """Every subject once. The loader itself refuses a subject whose labels the grid would cut."""
    overlap = []
    for split in ("train", "val", "test"):
        pairs = datasets.hippocampus(split=split)
        for index in {files.fixed: index for index, files in enumerate(pairs.files)}.values():
            pair = pairs[index]
            assert pair.shape == datasets.HIPPOCAMPUS_SHAPE
            assert pair.fixed_labels.unique().tolist() == [0, 1, 2]
            overlap.append(torch.tensor(list(dice(pair.moving_labels, pair.fixed_labels).values())).mean())
    assert 0.45 < torch.stack(overlap).mean() < 0.65  # the challenge's own value without registration is about 0.55


# Tables


def write_table(path: Path, rows: list[dict], columns: list[str] | None = None) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path, generator):
    for name, shape, shift in (
        ("a", (6, 7, 8), 0),
        ("b", (6, 7, 8), 0),
        ("short", (6, 7, 5), 0),
        ("far", (6, 7, 8), 9),
    ):
        affine = np.diag([1.0, 2.0, 3.0, 1.0])
        affine[2, 3] = shift
        save_volume(tmp_path / f"{name}.nii.gz", torch.rand(1, *shape, generator=generator), affine)
        labels = torch.randint(0, 4, (1, *shape), generator=generator)
        save_volume(tmp_path / f"{name}_labels.nii.gz", labels, affine)
    return tmp_path


def test_table_of_pairs(folder):
    rows = [
        {
            "moving": "a.nii.gz",
            "fixed": "b.nii.gz",
            "moving_labels": "a_labels.nii.gz",
            "fixed_labels": "b_labels.nii.gz",
        },
        {"moving": "b.nii.gz", "fixed": "a.nii.gz", "moving_labels": "", "fixed_labels": ""},
    ]
    pairs = datasets.load(write_table(folder / "PAIRS.csv", rows), "test")
    assert len(pairs) == 2
    assert pairs[0].shape == (6, 7, 8)
    assert pairs[0].spacing == (3.0, 2.0, 1.0)
    assert pairs[0].fixed_labels.max() == 3
    assert pairs[1].moving_labels is None
    assert torch.equal(pairs[0].moving, pairs[1].fixed)
    assert pairs[0].name == "a-b"
    assert len(datasets.load(folder / "PAIRS.csv", count=1)) == 1
    assert datasets.load(folder / "PAIRS.csv", shape=(9, 9, 9))[0].shape == (9, 9, 9)


def test_table_works_without_label_columns(folder):
    pairs = pairs_from_csv(write_table(folder / "PAIRS.csv", [{"moving": "a.nii.gz", "fixed": "b.nii.gz"}]))
    assert pairs[0].fixed_labels is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"moving": "a.nii.gz"}, r"PAIRS.csv must have the columns moving and fixed, got moving"),
        ({"moving": "a.nii.gz", "fixed": ""}, r"line 2: fixed must name a file, got nothing"),
        ({"moving": "a.nii.gz", "fixed": "c.nii.gz"}, r"line 2: fixed must name a file, but there is no .*c.nii.gz"),
        (
            {"moving": "a.nii.gz", "fixed": "b.nii.gz", "fixed_labels": "short_labels.nii.gz"},
            r"b.nii.gz and .*short_labels.nii.gz must have the same shape",
        ),
    ],
)
def test_wrong_tables(folder, row, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pairs_from_csv(write_table(folder / "PAIRS.csv", [row]))


def test_empty_tables(folder):
    with pytest.raises(ValueError, match=r"PAIRS.csv must hold at least one pair"):
        pairs_from_csv(write_table(folder / "PAIRS.csv", [], ["moving", "fixed"]))
    (folder / "PAIRS.csv").write_text("")
    with pytest.raises(ValueError, match=r"must have the columns moving and fixed, got none"):
        pairs_from_csv(folder / "PAIRS.csv")
    with pytest.raises(FileNotFoundError, match=r"none.csv must be a table of pairs, but there is no such file"):
        datasets.load(folder / "none.csv")


# Names and small functions


def test_names():
    assert datasets.names() == (*ANATOMIES, "hippocampus", "oasis", "abdomen-ct", "lung-ct", "acdc")
    pairs = datasets.load("abdomen", "val", shape=(16, 18, 20), count=4, seed=3)
    assert isinstance(pairs, Phantoms)
    assert len(pairs) == 4
    assert pairs[0].shape == (16, 18, 20)
    with pytest.raises(
        ValueError, match=r"data must be one of 'abdomen', .*'hippocampus', .*'acdc' or the path of a .csv, got 'knee'"
    ):
        datasets.load("knee")
    with pytest.raises(ValueError, match="split must be one of"):
        datasets.load("abdomen", "validation")


def test_centre_crops_and_pads_about_the_middle():
    image = torch.arange(5.0).reshape(1, 5, 1)
    assert centre(image, (3, 1)).flatten().tolist() == [1, 2, 3]
    assert centre(image, (7, 1)).flatten().tolist() == [0, 0, 1, 2, 3, 4, 4]
    assert centre(image.long() + 1, (8, 1)).flatten().tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert centre(torch.rand(1, 4, 9, 6), (6, 5, 6)).shape == (1, 6, 5, 6)


def test_normalise_is_robust_and_invariant(generator):
    image = torch.rand(1, 20, 20, 20, generator=generator)
    spiked = image.clone()
    spiked[0, 0, 0, 0] = 1e6
    assert (normalise(spiked) - normalise(image))[:, 1:].abs().max() < 0.01
    assert torch.allclose(normalise(1e5 * image + 300), normalise(image), atol=1e-4)
    assert normalise(torch.full((1, 4, 4, 4), 7.0)).abs().max() == 0
