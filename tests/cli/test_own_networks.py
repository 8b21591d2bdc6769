"""Commands with the library's own networks, small and untrained, in place of oracles."""

import json

import nibabel as nib
import pytest
import torch

from moereg import cli, models
from moereg.data import phantoms
from moereg.data.volumes import save_volume

pytestmark = pytest.mark.plain_errors

AFFINE = phantoms.affine((3.0, 2.0, 1.5))
LIVER = 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A table with one small pair, and weights of an untrained small model."""
    folder = tmp_path_factory.mktemp("files")
    pair = phantoms.make("abdomen", (16, 16, 16), 0)
    for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
        save_volume(folder / f"{name}.nii.gz", getattr(pair, name), AFFINE)
    for name in ("moving", "fixed"):  # of all organs the largest: SegReg registers every region once
        labels = getattr(pair, f"{name}_labels")
        save_volume(folder / f"{name}_liver.nii.gz", labels * (labels == LIVER), AFFINE)
    for table, labels in (("pairs", "labels"), ("liver", "liver")):
        files = [f"{name}.nii.gz" for name in ("moving", "fixed", f"moving_{labels}", f"fixed_{labels}")]
        (folder / f"{table}.csv").write_text("moving,fixed,moving_labels,fixed_labels\n" + ",".join(files) + "\n")
    torch.manual_seed(0)
    sizes = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    models.save_weights(folder / "w.safetensors", models.build("shmoareg", **sizes))
    return folder


def test_register_writes_image_field_and_report(files, tmp_path, capsys):
    arguments = [str(files / "moving.nii.gz"), str(files / "fixed.nii.gz"), "--weights", str(files / "w.safetensors")]
    assert cli.main(["register", *arguments, "--out", str(tmp_path / "new")]) == 0
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == ["displacement.nii.gz", "report.html", "warped.nii.gz"]
    assert nib.load(tmp_path / "new" / "displacement.nii.gz").shape == (16, 16, 16, 1, 3)
    assert "report.html" in capsys.readouterr().out
    assert "decoder.0.shmoe" in (tmp_path / "new" / "report.html").read_text()


def test_evaluate_writes_one_object_per_method(files, tmp_path):
    out = tmp_path / "numbers.json"
    weights = str(files / "w.safetensors")
    arguments = [
        "--weights",
        weights,
        "--method",
        "identity",
        "demons-thirion",
        "--data",
        str(files / "pairs.csv"),
        "--json",
        str(out),
    ]
    assert cli.main(["evaluate", *arguments]) == 0
    numbers = json.loads(out.read_text())
    assert set(numbers) == {"identity", "demons-thirion", weights}
    assert numbers["demons-thirion"]["dice"] > numbers["identity"]["dice"] + 0.05
    assert 0 < numbers["identity"]["dice"] < 1


def test_train_then_explore(files, tmp_path):
    """An interrupted training: see test_command_train."""
    arguments = ["train", "voxelmorph", "--data", str(files / "pairs.csv"), "--out", str(tmp_path), "--device", "cpu"]
    assert cli.main([*arguments, "--steps", "2"]) == 0
    page = tmp_path / "page.html"
    weights = str(tmp_path / "voxelmorph.safetensors")
    assert cli.main(["explore", "--weights", weights, "--data", str(files / "pairs.csv"), "--out", str(page)]) == 0
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("model", ["rman", "segreg"])
def test_neighbours_train_register_and_evaluate(model, files, tmp_path):
    """SegReg learns its own segmentation, so that files without labels can be registered."""
    pairs, weights = str(files / "liver.csv"), str(tmp_path / f"{model}.safetensors")
    arguments = ["train", model, "--data", pairs, "--out", str(tmp_path), "--steps", "1", "--device", "cpu"]
    assert cli.main(arguments) == 0
    images = [str(files / "moving.nii.gz"), str(files / "fixed.nii.gz")]
    assert cli.main(["register", *images, "--weights", weights, "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "displacement.nii.gz").exists()
    out = tmp_path / "numbers.json"
    assert cli.main(["evaluate", "--weights", weights, "--data", pairs, "--json", str(out)]) == 0
    assert 0 < json.loads(out.read_text())[weights]["dice"] < 1
