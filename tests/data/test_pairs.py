"""A pair says what it lacks; every set of pairs is used in the same three ways."""

from dataclasses import replace

import pytest
import torch

from moereg.data import Pair, Pairs, Phantoms, datasets, phantoms
from moereg.data.filepairs import FilePairs, Files

OPTIONAL = ("moving_labels", "fixed_labels", "displacement", "region")


@pytest.fixture(scope="module")
def pair():
    return phantoms.make("abdomen", (16, 16), 3)


@pytest.mark.parametrize("what", OPTIONAL)
def test_a_pair_hands_out_what_it_has_and_names_what_it_lacks(pair, what):
    assert pair.require(what) is getattr(pair, what)
    with pytest.raises(ValueError, match=f"^pair 'abdomen-3' must have {what}, got none.$"):
        replace(pair, **{what: None}).require(what)


def test_moving_a_pair_takes_all_of_it_along(pair):
    moved = replace(pair, displacement=None).to("meta")
    assert {getattr(moved, name).device.type for name in ("moving", "fixed", "moving_labels", "region")} == {"meta"}
    assert moved.displacement is None
    assert (moved.name, moved.label_names, moved.spacing) == (pair.name, pair.label_names, pair.spacing)


def test_sets_of_phantoms_end_where_they_end_and_run_in_order():
    made = Phantoms("abdomen", (8, 8), 3, seed=1)
    assert (
        [pair.name for pair in made]
        == [made[i].name for i in range(3)]
        == ["abdomen-3000000", "abdomen-3000003", "abdomen-3000006"]
    )


def test_whatever_has_a_length_and_pairs_in_order_is_a_set_of_pairs(pair, tmp_path):
    files = FilePairs([Files(tmp_path / "a.nii", tmp_path / "b.nii")])
    assert all(isinstance(known, Pairs) for known in ([pair], (pair,), datasets.load("abdomen"), files))
    assert not isinstance(pair, Pairs)


def test_the_files_of_a_set_are_read_one_after_the_other(monkeypatch, tmp_path, pair):
    scans = [Files(tmp_path / name, tmp_path / "fixed.nii") for name in ("a.nii", "b.nii", "c.nii")]
    monkeypatch.setattr(
        FilePairs, "__getitem__", lambda self, index: Pair(pair.moving, pair.fixed, name=scans[index].moving.name)
    )
    assert [read.name for read in FilePairs(scans)] == ["a.nii", "b.nii", "c.nii"]


def test_images_alone_are_a_pair():
    image = torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match="^pair '' must have displacement"):
        Pair(image, image).require("displacement")
