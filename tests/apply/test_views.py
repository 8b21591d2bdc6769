"""What a network sees of pairs on another grid, and that `evaluate` and `explore` show it what `register` does."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from moereg import cli, models
from moereg.apply import views
from moereg.classical import identity
from moereg.data import Pair, datasets, phantoms, save_volume
from moereg.fields import warp
from moereg.metrics import score
from moereg.models import TrainedOn, save_weights
from moereg.models.registration import Registration
from moereg.training import Refined
from moereg.viz import payload
from tests.oracle_models import Shift, enter

KNOWN = TrainedOn("scans", (8, 6), (2.0, 1.0), "percentiles", (0.5, 0.01), (0.3, 0.01), backwards=True)


def spread(data: torch.Tensor, factor: int) -> torch.Tensor:
    """`(1, *S)` with every voxel cut into `factor` along each axis."""
    if not data.is_floating_point():
        for axis in range(1, data.ndim):
            data = data.repeat_interleave(factor, axis)
        return data
    return interpolate(data[None], scale_factor=factor, mode="trilinear", align_corners=False)[0]


def write_table(folder: Path, pairs, affine_of, *, factor: int = 1) -> str:
    """Pairs as files with voxels of a part of their size."""
    folder.mkdir()
    lines = ["moving,fixed,moving_labels,fixed_labels"]
    for number, pair in enumerate(pairs):
        cells = []
        for role in lines[0].split(","):
            data = getattr(pair, role)
            cells.append(f"{role}{number}.nii.gz")
            affine = affine_of(tuple(edge / factor for edge in pair.spacing))
            save_volume(folder / cells[-1], data if factor == 1 else spread(data, factor), affine)
        lines.append(",".join(cells))
    (folder / "pairs.csv").write_text("\n".join(lines))
    return str(folder / "pairs.csv")


def evaluated(table: str, weights: str, capsys) -> tuple[float, list[str]]:
    """Dice of a network on a table, and what was said of the network."""
    numbers = Path(table).parent / "numbers.json"
    arguments = ["--weights", weights, "--data", table, "--json", str(numbers), "--device", "cpu"]
    assert cli.main(["evaluate", *arguments]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(weights)]
    return json.loads(numbers.read_text())[weights]["dice"], said


@pytest.fixture(scope="module")
def abdomen():
    return [datasets.load("abdomen", "test", shape=(48, 48, 48), count=1)[0]]


def test_phantoms_of_files_are_evaluated_as_phantoms_are(abdomen, tmp_path, capsys):
    """Files are read feet first. As they were, the network that ships reached .74 in place of .91."""
    table = write_table(tmp_path / "a", abdomen, phantoms.affine)
    dice, said = evaluated(table, "abdomen", capsys)
    direct = score(models.load_model("abdomen"), abdomen[0], surfaces=False).dice
    assert dice == pytest.approx(np.mean(list(direct.values())), abs=1e-3)
    assert said == ["abdomen: images are turned over, as in its training"]


def test_hippocampi_turned_and_of_other_voxels_are_evaluated_as_they_are(tmp_path, capsys):
    """Voxels of half a millimetre, axes in another order and direction; the network knows one millimetre."""
    try:
        pairs = [datasets.hippocampus(split="test", count=1)[0]]
    except FileNotFoundError:
        pytest.skip("neither MOEREG_DATA nor the cache holds the hippocampus set")

    def turned(spacing):
        """Tensor axes (z, y, x) as they are in the file run to the left, the head and the back."""
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = [spacing[2], -spacing[1], -spacing[0]]
        affine[3, 3] = 1
        return affine

    def straight(spacing):
        return np.diag([*reversed(spacing), 1.0])

    def as_in_file(pair):
        """So that `turned` brings it back: axes (z, y, x) of the file are x, y, z of the scan, two of them run back."""
        images = {name: getattr(pair, name) for name in ("moving", "fixed", "moving_labels", "fixed_labels")}
        return replace(pair, **{name: data.permute(0, 3, 2, 1).flip(1, 2) for name, data in images.items()})

    plain, said = evaluated(write_table(tmp_path / "a", pairs, straight), "hippocampus", capsys)
    assert said == []
    before = score(identity, pairs[0], surfaces=False).dice
    assert plain > np.mean(list(before.values())) + 0.05
    lying = [as_in_file(pair) for pair in pairs]
    dice, said = evaluated(write_table(tmp_path / "b", lying, turned, factor=2), "hippocampus", capsys)
    assert dice == pytest.approx(plain, abs=0.02)
    assert said == ["hippocampus: voxels of 0.5 x 0.5 x 0.5 mm become 1 x 1 x 1 mm, as in its training"]


def test_the_explorer_shows_what_the_network_saw(abdomen, tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(payload, "explorer_payload", lambda model, pair: seen.append(pair) or {"title": pair.name})
    table = write_table(tmp_path / "a", abdomen, phantoms.affine, factor=2)
    arguments = ["--weights", "abdomen", "--data", table, "--out", str(tmp_path / "page.html"), "--device", "cpu"]
    assert cli.main(["explore", *arguments]) == 0
    said = capsys.readouterr().err
    assert "abdomen: voxels of 3.75 x 2.71 x 3.12 mm become 7.5 x 5.42 x 6.25 mm, images are turned over, as in" in said
    assert "warning" not in said
    (shown,) = seen
    assert shown.shape == (48, 48, 48)
    assert (shown.fixed - abdomen[0].fixed).abs().mean() < 0.04  # noise is smoothed
    assert (shown.fixed_labels == abdomen[0].fixed_labels).float().mean() > 0.999
    assert shown.spacing == pytest.approx(abdomen[0].spacing)


def test_phantoms_are_turned_over_for_a_network_of_files_and_files_keep_the_range_that_it_knows(tmp_path):
    image = torch.linspace(0.1, 0.6, 27).reshape(1, 3, 3, 3)
    table = write_table(tmp_path / "a", [Pair(image, image, spacing=(1, 1, 1), moving_labels=(image > 0.3).long(),
                                              fixed_labels=(image > 0.3).long())], phantoms.affine)  # fmt: skip
    own = TrainedOn("scans", (3, 3, 3), None, "percentiles", (0.5, 0.01), (0.3, 0.01))
    files, made = datasets.load(table), datasets.load("abdomen", "test", shape=(8, 8, 8), count=1)
    for pairs, trained, over, lowest in (
        (files, own, False, 0.0),
        (files, replace(own, normalisation="unit", backwards=True), True, 0.1),
        (made, replace(own, shape=(8, 8, 8)), True, 0.0),
        (made, replace(own, shape=(8, 8, 8), normalisation="unit", backwards=True), False, None),
    ):
        view = views.view_of_set(pairs, trained)
        assert view.trained.backwards == over
        if lowest is not None:
            assert float(view.seen(0).fixed.min()) == pytest.approx(lowest, abs=1e-6)
    assert view.pair(0) is view.seen(0) is made[0]
    assert float(views.view_of_set(made, replace(own, shape=(8, 8, 8))).pair(0).fixed.max()) == pytest.approx(1)
    flat = replace(own, shape=(8, 8))
    assert views.view_of_set(made, flat).trained is views.view_of_set(made, None).trained is None


@dataclass(frozen=True)
class Recorder:
    """Moves by one voxel along each axis, and keeps what it saw."""

    seen: list
    needs_labels: bool = True

    def __call__(self, moving, fixed, **labels):
        self.seen.append((moving, fixed, labels))
        return Registration(torch.ones(1, 2, *fixed.shape[2:]), moving)


def test_evaluate_hands_on_voxels_and_labels_and_measures_on_the_pairs_grid():
    image = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20).reshape(1, 4, 5)
    pair = Pair(image, image, labels, labels, spacing=(2.0, 1.0))
    seen: list = []
    method = views.AsTrained(Recorder(seen), KNOWN)
    result = method(image[None], image[None], spacing=(2.0, 1.0))
    assert torch.equal(result.displacement, -torch.ones(1, 2, 4, 5))  # turned over
    torch.testing.assert_close(result.warped, warp(image[None], result.displacement))
    score(method, pair, surfaces=False)
    moving, _, known = seen[-1]
    assert moving.shape == known["fixed_labels"].shape == (1, 1, 8, 6)
    assert torch.equal(known["fixed_labels"][0, :, 2:6, :5], labels.flip(1, 2))
    assert int(known["fixed_labels"].sum()) == int(labels.sum())  # zero around them
    score(Refined(method, 1), replace(pair, spacing=(1.0, 1.0)), surfaces=False)
    assert torch.equal(seen[-1][2]["fixed_labels"][0, :, 3:5, :5], labels.flip(1, 2)[:, ::2])  # half as many


def test_all_that_is_known_of_a_pair_goes_along():
    """A truth of (1, -2) voxels becomes (-1/2, 2) where an axis has half as many and both run back."""
    image = torch.rand(1, 16, 6, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([1.0, -2.0]).view(2, 1, 1).expand(2, 16, 6).contiguous()
    inner = torch.zeros(1, 16, 6, dtype=torch.bool)
    inner[:, :4] = True
    pair = Pair(image, image, displacement=truth, region=inner, fixed_mask=inner, spacing=(1.0, 1.0))
    seen = views.as_seen(pair, KNOWN)
    assert seen.shape == (8, 6)
    assert seen.spacing == (2.0, 1.0)
    torch.testing.assert_close(seen.displacement, torch.tensor([-0.5, 2.0]).view(2, 1, 1).expand(2, 8, 6))
    assert torch.equal(seen.region, seen.fixed_mask)
    assert seen.region[0, 6:].all()
    assert not seen.region[0, :6].any()


def test_a_grid_is_not_made_too_large():
    """A pair of 4 x 5 voxels of 2 cm would have 100 x 40 of the network's; it stays as it is, and memory does too."""
    assert views.working_shape((4, 5), (20.0, 20.0), KNOWN) == (4, 5)
    assert views.working_shape((4, 5), (4.0, 4.0), KNOWN) == (8, 20)
    assert views.working_shape((400, 500), (4.0, 4.0), KNOWN) == (800, 2000)


def test_a_network_that_does_not_say_what_it_knows_sees_pairs_as_they_are(abdomen, tmp_path, monkeypatch, capsys):
    enter(monkeypatch, Shift)
    save_weights(tmp_path / "w.safetensors", models.build("shift"))
    made = [replace(abdomen[0], moving=abdomen[0].fixed, moving_labels=abdomen[0].fixed_labels)]
    table = write_table(tmp_path / "a", made, phantoms.affine)
    dice, said = evaluated(table, str(tmp_path / "w.safetensors"), capsys)
    assert dice == pytest.approx(1)
    assert said == []
