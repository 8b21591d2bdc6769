"""The page on contributing adds a system in one file and one row. Every command works on it, by that text alone."""

import doctest
import json
import re
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
import torch

from moereg import cli
from moereg.data.volumes import save_volume
from moereg.models import load_model
from moereg.models.registry import MODELS
from moereg.nn.observe import find_routers
from moereg.viz import payload
from tests.oracle_models import box_pair

pytestmark = pytest.mark.plain_errors  # a table of pairs is no Sequence

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
AFFINE = np.array([[-1.5, 0, 0, 7], [0, -2, 0, 3], [0, 0, 3, -5], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def sixth(monkeypatch):
    """Runs the code of the page, registry row and all; afterwards the registry is as before."""
    monkeypatch.setattr(payload, "_poster", lambda pair, result: None)
    names = {}
    with mock.patch.dict(MODELS):
        for example in doctest.DocTestParser().get_examples(PAGE.read_text()):
            exec(example.source, names)
        yield names


@pytest.fixture
def table(tmp_path):
    pair = box_pair((12, 10, 9), (3, 3, 3), (4, 3, 3), (2, 1, 0))
    for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
        data = getattr(pair, name)
        save_volume(tmp_path / f"{name}.nii.gz", data.to(torch.int16) if "labels" in name else data, AFFINE)
    names = ("moving", "fixed", "moving_labels", "fixed_labels")
    (tmp_path / "pairs.csv").write_text(",".join(names) + "\n" + ",".join(f"{name}.nii.gz" for name in names) + "\n")
    return tmp_path / "pairs.csv"


def test_train_evaluate_register_and_explore(sixth, table, tmp_path):
    data, out, cpu = ["--data", str(table)], tmp_path / "out", ["--device", "cpu"]
    assert cli.main(["train", "onelayer", *data, "--out", str(out), "--steps", "2", *cpu]) == 0
    weights = str(out / "onelayer.safetensors")
    model = load_model(weights)
    assert type(model) is sixth["OneLayer"]
    assert model.sizes == sixth["OneLayerSizes"]()
    assert set(find_routers(model)) == {"decoder.0.shmoe"}

    assert cli.main(["evaluate", "--weights", weights, *data, "--json", str(out / "numbers.json"), *cpu]) == 0
    [numbers] = json.loads((out / "numbers.json").read_text()).values()
    assert 0 < numbers["dice"] < 1

    images = [str(table.parent / f"{name}.nii.gz") for name in ("moving", "fixed")]
    here = ["--out", str(out / "pair"), "--init", "none"]
    assert cli.main(["register", *images, "--weights", weights, *here, *cpu]) == 0
    pair = box_pair((12, 10, 9), (3, 3, 3), (4, 3, 3), (2, 1, 0))
    with torch.no_grad():  # the file stores its axes from left to right and front to back, the network sees them so
        field = model(pair.moving.flip(2, 3)[None], pair.fixed.flip(2, 3)[None]).displacement[0]
    vectors = nib.load(out / "pair" / "displacement.nii.gz").get_fdata()[:, :, :, 0]
    # written on the file's own axes, in millimetres LPS
    expected = field.flip(2, 3).numpy().T[..., ::-1] * [-1.5, -2, 3]
    assert np.allclose(vectors, expected, atol=1e-5)
    assert np.abs(vectors).max() > 1e-4

    assert cli.main(["explore", "--weights", weights, *data, "--out", str(out / "page.html"), *cpu]) == 0
    page = (out / "page.html").read_text()
    found = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])
    assert [(layer["name"], layer["experts"]) for layer in found["layers"]] == [("decoder.0.shmoe", ["1³", "3³"])]
    assert [(variant["layer"], variant["expert"]) for variant in found["knockouts"]] == [
        ("decoder.0.shmoe", 0),
        ("decoder.0.shmoe", 1),
    ]


def test_the_page_shows_what_its_code_gives(sixth):
    assert "onelayer" in MODELS
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0
