"""`moereg explore`: the page shows the model and the pair that were asked for."""

import json
import re

import numpy as np
import pytest
import torch

from moereg import cli, training
from moereg.viz import payload
from moereg.viz.packing import unpack
from tests.cli.conftest import SHIFTS


def page_of(path) -> tuple[str, dict]:
    page = path.read_text()
    return page, json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize(("option", "index"), [([], 0), (["--pair", "0"], 0), (["--pair", "2"], 2)])
def test_the_page_shows_the_pair_that_was_asked_for(option, index, table, weights, tmp_path, capsys):
    file, out = weights("centres"), tmp_path / "page.html"
    arguments = ["--weights", str(file), "--data", str(table), "--out", str(out), "--device", "cpu"]
    assert cli.main(["explore", *arguments, *option]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page, data = page_of(out)
    assert f"<h1>Routing of {file.name}</h1>" in page
    assert data["title"] == f"moving{index + 1}-fixed"
    assert data["metrics"]["dice"] == pytest.approx(1)
    length = np.linalg.norm(unpack(data, data["displacement"]), axis=0)
    assert np.allclose(length, SHIFTS[index][0], atol=0.02)


@pytest.mark.parametrize("wrong", ["-1", "3"])
def test_a_pair_that_is_not_there_is_refused_before_anything_is_read(wrong, table, tmp_path, capsys):
    arguments = ["--weights", "none.safetensors", "--data", str(table), "--out", str(tmp_path / "page.html")]
    assert cli.main(["explore", *arguments, f"--pair={wrong}"]) == 2
    assert capsys.readouterr().err == f"moereg explore: --pair must be between 0 and 2, got {wrong}.\n"


def test_the_pairs_are_those_of_the_test_split_and_the_device_is_the_one_asked_for(
    table, weights, tmp_path, monkeypatch
):
    from moereg.data import datasets

    real, seen = datasets.load, []

    def load(*arguments):
        seen.append(arguments[1:])
        return real(*arguments)

    def explorer_payload(model, pair):
        seen.append(model.offset.device.type)
        return {"title": pair.name}

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(training, "best_device", lambda name: torch.device({"mps": "meta"}.get(name, "cpu")))
    monkeypatch.setattr(payload, "explorer_payload", explorer_payload)
    arguments = ["--weights", str(weights("elsewhere")), "--data", str(table), "--out", str(tmp_path / "page.html")]
    assert cli.main(["explore", *arguments, "--device", "mps"]) == 0
    assert cli.main(["explore", *arguments]) == 0
    assert seen == [("test",), "meta", ("test",), "cpu"]


def test_how_a_table_was_taken_is_said(table, weights, tmp_path, capsys):
    arguments = ["--weights", str(weights("centres")), "--data", str(table), "--out", str(tmp_path / "page.html")]
    assert cli.main(["explore", *arguments, "--device", "cpu"]) == 0
    assert f"{table}: no column split, all 3 pairs are taken\n" in capsys.readouterr().err
