"""Which rows of a table are for training and which for testing, and what a set of files is known again by."""

import shutil

import numpy as np
import pytest
import torch

from moereg.data import datasets, save_volume
from moereg.data.filepairs import FilePairs, Files, digest_of, normalise
from moereg.data.tables import pairs_from_csv

NAMES = "abcdefgh"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Eight subjects `a.nii` to `h.nii`, on one grid."""
    folder = tmp_path_factory.mktemp("scans")
    for number, name in enumerate(NAMES):
        save_volume(folder / f"{name}.nii", torch.full((3, 3, 3), 2.0).tril() + number, np.eye(4))
    return folder


@pytest.fixture
def table(scans, tmp_path):
    """`table("ab", "cd test")` -> a table of the pairs a, b and c, d, the second in split test."""

    def write(*rows: str, columns="moving,fixed,split"):
        lines = [",".join([f"{scans}/{row[0]}.nii", f"{scans}/{row[1]}.nii", *row.split()[1:]]) + "\n" for row in rows]
        (tmp_path / "pairs.csv").write_text(columns + "\n" + "".join(lines))
        return tmp_path / "pairs.csv"

    return write


def names(pairs) -> list[str]:
    return [f"{files.moving.stem}{files.fixed.stem}" for files in pairs.files]


def test_the_column_says_which_rows_are_whose(table):
    path = table("ab train", "cd test", "ba train", "ef val")
    found = {split: names(datasets.load(path, split)) for split in ("train", "val", "test")}
    assert found == {"train": ["ab", "ba"], "val": ["ef"], "test": ["cd"]}
    with pytest.raises(ValueError, match=r"pairs.csv must have rows whose split is 'val', got none\."):
        datasets.load(table("ab train"), "val")


def test_a_table_without_the_column_is_one_set(table):
    path = table("ab", "cd", columns="moving,fixed")
    assert [names(datasets.load(path, split)) for split in ("train", "test")] == [["ab", "cd"]] * 2


def test_no_subject_stands_in_two_splits(table, scans, tmp_path):
    """By its name in the table, by its file, and by a copy of it under another name."""
    said = r"pairs.csv, line 3: a.nii must not stand in split 'test', for it is in 'train' on line 2\."
    with pytest.raises(ValueError, match=said):
        pairs_from_csv(table("ab train", "ca test"))
    (tmp_path / "copies").mkdir()
    shutil.copy(scans / "b.nii", tmp_path / "copies" / "x.nii")
    path = table("ab train")
    path.write_text(path.read_text() + f"copies/x.nii,{scans}/c.nii,val\n")
    with pytest.raises(ValueError, match=r"line 3: x.nii must not stand in split .val., for it is in .train. on"):
        pairs_from_csv(path)
    columns = "moving,fixed,split,moving_subject,fixed_subject"
    with pytest.raises(ValueError, match=r"line 3: subject Ann must not stand in split 'test', for it is in 'train'"):
        pairs_from_csv(table("ab train Ann Bob", "cd test Cem Ann", columns=columns))


def test_a_table_is_parted_by_subject_where_that_is_asked_for(table):
    """Pairs that share a subject stay together; a fifth of the rows, the small groups, are for testing."""
    path = table("ab", "ba", "bc", "de", "fg", columns="moving,fixed")
    train, test = (names(datasets.load(path, split, parted=True)) for split in ("train", "test"))
    assert train[:3] == ["ab", "ba", "bc"]
    assert sorted([train[3], *test]) == ["de", "fg"]
    assert names(datasets.load(path, "test", parted=True)) == test  # today as tomorrow
    with pytest.raises(ValueError, match=r"pairs.csv must have a column split that says train or test, because"):
        datasets.load(table("ab", "bc", "cd", columns="moving,fixed"), "train", parted=True)


def test_subjects_by_name_hang_pairs_together(table):
    columns = "moving,fixed,moving_subject,fixed_subject"
    with pytest.raises(ValueError, match="all hang together"):
        datasets.load(table("ab Ann Bob", "cd Ann Cem", columns=columns), "train", parted=True)


def test_columns_that_mean_nothing_are_named_and_those_that_nearly_do_refused(table):
    assert pairs_from_csv(table("ab 7 x", columns="moving,fixed,age,site")).unused == ("age", "site")
    for wrong in ("moving_label", "Fixed_labels", "labels", "spilt"):
        with pytest.raises(ValueError, match=rf"pairs.csv must have columns among .*, got '{wrong}'; is it misspelt"):
            pairs_from_csv(table("ab x", columns=f"moving,fixed,{wrong}"))
    with pytest.raises(ValueError, match="pairs.csv must have one column moving, got 2"):
        pairs_from_csv(table("ab x", columns="moving,fixed,moving"))


def test_a_file_may_be_an_image_here_and_labels_there(tmp_path):
    """What is kept of it as an image is not taken for its labels."""
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[0, 1:3] = 7
    save_volume(tmp_path / "a.nii", labels, np.eye(4))
    path = tmp_path / "a.nii"
    pair = FilePairs([Files(path, path, path, path)])[0]
    assert pair.fixed_labels.unique().tolist() == [0, 7]
    assert pair.fixed.unique().tolist() == [0, 1]


def test_large_labels_are_kept(tmp_path):
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 2**32 + 7, np.int64), np.eye(4), dtype=np.int64), tmp_path / "a.nii")
    path = tmp_path / "a.nii"
    assert FilePairs([Files(path, path, path, path)])[0].fixed_labels.unique().tolist() == [2**32 + 7]


def test_a_set_is_known_again_by_what_is_in_its_files(scans, tmp_path):
    shutil.copytree(scans, tmp_path / "moved")
    pairs = [
        FilePairs([Files(folder / "a.nii", folder / "b.nii"), Files(folder / "c.nii", folder / "d.nii")])
        for folder in (scans, tmp_path / "moved")
    ]
    assert pairs[0].identity() == pairs[1].identity()
    assert FilePairs(pairs[0].files[::-1]).identity() != pairs[0].identity()
    assert FilePairs(pairs[0].files, shape=(4, 4, 4)).identity() != pairs[0].identity()
    save_volume(tmp_path / "moved" / "b.nii", torch.full((3, 3, 3), 9.0), np.eye(4))
    assert pairs[0].identity() != pairs[1].identity()


def test_blocks_of_a_long_file_are_looked_at(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(bytes(200_000))
    digests = {digest_of(path)}
    for place in (0, 91_500, 199_999):
        path.write_bytes(bytes(place) + b"x" + bytes(199_999 - place))
        digests.add(digest_of(path))
    assert len(digests) == 4


def test_a_small_object_keeps_its_shades():
    """27 voxels of 8000: more than 99.5 % are air."""
    image = torch.zeros(1, 20, 20, 20)
    image[0, :3, :3, :3] = torch.arange(1.0, 28).reshape(3, 3, 3)
    shades = normalise(image).unique()
    assert len(shades) >= 27
    assert (float(shades.min()), float(shades.max())) == (0, 1)
    assert torch.allclose(normalise(-image), 1 - normalise(image), atol=1e-5)
    # Half of it air: as ever.
    half = torch.arange(1000.0).sub(500).clamp_min(0).reshape(1, 10, 10, 10)
    low, high = np.percentile(half.numpy(), (0.5, 99.5))
    assert torch.equal(normalise(half), ((half - low) / (high - low)).clamp(0, 1))


# ---- masks and names of labels ----


@pytest.fixture
def masked(scans, tmp_path):
    """Scans a and b with masks of their first slice, labels that are 1 to 3, and an empty mask."""
    inside = torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    save_volume(tmp_path / "nothing.nii", inside, np.eye(4))
    inside[:, 0] = 7
    save_volume(tmp_path / "mask.nii", inside, np.eye(4))
    save_volume(tmp_path / "labels.nii", inside.clamp(max=2), np.eye(4))
    save_volume(tmp_path / "apart.nii", inside, np.diag([2.0, 2, 2, 1]))

    def write(columns: str, *rows: str):
        start = f"{scans}/a.nii,{scans}/b.nii"
        text = "\n".join([f"moving,fixed,{columns}", *(f"{start},{row}" for row in rows)])
        (tmp_path / "pairs.csv").write_text(text + "\n")
        return tmp_path / "pairs.csv"

    return write


def test_masks_come_with_the_pair(masked):
    pairs = pairs_from_csv(masked("moving_mask,fixed_mask", "mask.nii,", ",mask.nii", ","))
    for index, (moving, fixed) in enumerate([(True, False), (False, True), (False, False)]):
        assert (pairs[index].moving_mask is not None, pairs[index].fixed_mask is not None) == (moving, fixed)
    found = pairs[0].moving_mask
    assert found.dtype == torch.bool
    assert found.shape == (1, 3, 3, 3)
    assert (int(found.sum()), bool(found[:, 0].all())) == (9, True)
    assert pairs.unused == ()
    wide = pairs_from_csv(masked("moving_mask", "mask.nii"), shape=(5, 3, 3))[0]
    assert wide.moving_mask.sum() == 9  # what is padded does not count


def test_masks_are_part_of_what_a_set_is(masked):
    """Which image they belong to counts; without any, a set is what it was before there were masks."""
    identities = [
        pairs_from_csv(masked("moving_mask,fixed_mask", row)).identity() for row in ("mask.nii,", ",mask.nii", ",")
    ]
    assert len(set(identities)) == 3
    assert identities[2] == pairs_from_csv(masked("site", "x")).identity()


def test_masks_that_cannot_be(masked):
    with pytest.raises(ValueError, match="nothing.nii must be a mask above zero somewhere, got an empty one"):
        pairs_from_csv(masked("fixed_mask", "nothing.nii"))[0]
    with pytest.raises(FileNotFoundError, match="line 2: fixed_mask must name a file, but there is no .*none.nii"):
        pairs_from_csv(masked("fixed_mask", "none.nii"))
    with pytest.raises(ValueError, match="grid"):
        pairs_from_csv(masked("fixed_mask", "apart.nii"))
    with pytest.raises(ValueError, match="got 'fixed_maks'; is it misspelt"):
        pairs_from_csv(masked("fixed_maks", "mask.nii"))


def test_labels_have_the_names_that_the_table_gives_them(masked):
    columns = "moving_labels,fixed_labels,label_names"
    path = masked(columns, "labels.nii,labels.nii,1=left; 2 = right lung ;", "labels.nii,labels.nii,", ",,2=right lung")
    pairs = pairs_from_csv(path)
    assert pairs.label_names == pairs[0].label_names == {1: "left", 2: "right lung"}
    for wrong in ("liver", "1=", "=liver", "0=air", "-1=x", "1.5=x", "²=x"):
        with pytest.raises(ValueError, match="line 2: label_names must be like '1=liver; 2=spleen', got"):
            pairs_from_csv(masked("label_names", wrong))
    with pytest.raises(ValueError, match="line 3: label_names must call label 1 'a' as before, got 'b'"):
        pairs_from_csv(masked("label_names", "1=a", "1=b"))


def test_how_a_table_became_a_set_is_said(table):
    assert (
        datasets.load(table("ab", "cd", columns="moving,fixed"), "train").note
        == "no column split, all 2 pairs are taken"
    )
    parted = datasets.load(table("ab", "bc", "de", columns="moving,fixed"), "test", parted=True)
    assert parted.note == "no column split, parted by subject: 2 pairs for train, 1 pairs for test"
    assert datasets.load(table("ab train"), "train").note == ""
    assert pairs_from_csv(table("ab", columns="moving,fixed")).note == ""
