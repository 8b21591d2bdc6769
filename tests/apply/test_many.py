"""Many pairs from a table: a folder and a row for each, and what fails stays alone."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from moereg import cli
from moereg.apply import methods, register_table
from moereg.models import save_weights
from tests.oracle_models import Shift, ShiftSizes, enter


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Four rows: two good pairs, one with labels; a file that is not there; a file that is none."""
    enter(monkeypatch, Shift)
    save_weights(tmp_path / "w.safetensors", Shift(ShiftSizes(voxels=(1.0, 0.0, 0.0))))
    values = np.random.default_rng(0).uniform(0, 9, (2, 8, 7, 6)).astype(np.float32)
    for name, image in zip("ab", values, strict=True):
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image((image > 5).astype(np.uint8), np.eye(4)), tmp_path / f"{name}_labels.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    (tmp_path / "pairs.csv").write_text(
        "moving,fixed,moving_labels,fixed_labels,fixed_mask\n"
        "a.nii.gz,b.nii.gz,a_labels.nii.gz,b_labels.nii.gz,b_labels.nii.gz\n"
        "gone.nii.gz,b.nii.gz,,,\n"
        "broken.nii.gz,a.nii.gz,,,\n"
        "b.nii.gz,a.nii.gz,,,\n"
    )
    return tmp_path / "pairs.csv"


OPTIONS = ["--init", "none", "--no-report"]


def test_every_pair_has_a_folder_and_a_row_and_the_exit_code_says_what_failed(table, capsys, monkeypatch):
    loaded = []
    monkeypatch.setattr(methods, "_network", lambda *given: loaded.append(given) or network(*given))
    out = table.parent / "out"
    arguments = ["register", "--data", str(table), "--out", str(out), "--weights", str(table.parent / "w.safetensors")]
    assert cli.main([*arguments, "--refine", "1", *OPTIONS]) == 2
    printed = capsys.readouterr()
    assert "2 of 4 pairs could not be registered" in printed.err
    assert len(loaded) == 1  # for all pairs
    assert sorted(path.name for path in out.iterdir()) == ["001_a-b", "004_b-a", "results.csv", "results.json"]
    rows = json.loads((out / "results.json").read_text())["pairs"]
    assert [row["folder"] for row in rows] == ["001_a-b", "002_gone-b", "003_broken-a", "004_b-a"]
    assert [row["line"] for row in rows] == [2, 3, 4, 5]
    assert "gone.nii.gz must be a NIfTI file, but there is no such file" in rows[1]["error"]
    assert "broken.nii.gz must be a NIfTI file" in rows[2]["error"]
    assert rows[0]["error"] is None
    assert 0 < rows[0]["dice_registered"] < 1
    assert "dice_registered" not in rows[3]
    assert rows[3]["verdict"].startswith("Trust: ")
    assert rows[3]["similarity_registered"] > 0
    with (out / "results.csv").open(newline="") as stream:
        said = list(csv.DictReader(stream))
    assert [row["error"] == "" for row in said] == [True, False, False, True]
    assert float(said[0]["dice_registered"]) == rows[0]["dice_registered"]
    assert (out / "001_a-b" / "warped_labels.nii.gz").exists()
    assert not (out / "004_b-a" / "warped_labels.nii.gz").exists()
    assert printed.out.splitlines()[1].startswith("2 of 4, 002_gone-b: ")


network = methods._network


def test_where_all_went_well_the_code_is_zero_and_results_are_written_after_each(table):
    table.write_text("moving,fixed\na.nii.gz,b.nii.gz\nb.nii.gz,a.nii.gz\n")
    out, seen = table.parent / "out", []
    done = register_table(
        table,
        out=out,
        method="identity",
        init="none",
        report=False,
        tell=lambda line: seen.append((line, len((out / "results.csv").read_text().splitlines()))),
    )
    assert done.failed == []
    assert [count for _, count in seen] == [2, 3]
    assert cli.main(["register", "--data", str(table), "--out", str(out), "--method", "identity", *OPTIONS]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "TABLE", "--weights", "none"], "weights must be a file or one of"),
        (["--data", "TABLE", "--labels", "x.nii.gz"], "--labels is for one pair; a table has a column for it"),
        (["--data", "TABLE", "--method", "demons-log"], "--mask does not reach demons-log"),
        (["x.nii.gz", "--data", "TABLE"], "--data names the pairs; leave x.nii.gz out"),
        (["x.nii.gz"], "register needs two images, MOVING and FIXED, or a table of pairs"),
        (["--data", "none.csv"], "none.csv must be a table of pairs"),
    ],
)
def test_what_is_wrong_with_all_is_said_before_any_work(table, arguments, sentence, capsys):
    given = [str(table) if word == "TABLE" else word for word in arguments]
    assert cli.main(["register", *given, "--out", str(table.parent / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (table.parent / "out").exists()


def test_the_table_is_not_written_over(table, capsys):
    results = table.rename(table.parent / "results.csv")
    before = results.read_bytes()
    assert cli.main(["register", "--data", str(results), "--out", str(table.parent)]) == 2
    assert "must not be an input" in capsys.readouterr().err
    assert results.read_bytes() == before
