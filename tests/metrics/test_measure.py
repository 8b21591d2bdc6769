"""What is measured of a registration, on methods whose result is known."""

import json

import numpy as np
import pytest
import torch

from moereg import classical, metrics
from moereg.data.pairs import Pair
from moereg.metrics import PairScore, score, summarise
from moereg.metrics import measure as module
from moereg.models.registration import Registration
from tests.oracles import Shifts, slab_pair


def cube_pair():
    """A cube of label 1 that has to move by one voxel of 2 millimetres, and one of label 4 that stays."""
    image = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    moving, fixed = torch.zeros(1, 8, 8, 8, dtype=torch.int64), torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    moving[0, 1:5, 2:6, 2:6], fixed[0, 2:6, 2:6, 2:6] = 1, 1
    moving[0, 1:5, 7, 7], fixed[0, 1:5, 7, 7] = 4, 4
    truth = torch.zeros(3, 8, 8, 8)
    truth[0] = -1
    names = {1: "cube"}
    return Pair(image, image, moving, fixed, truth, label_names=names, spacing=(2.0, 1.0, 1.0), name="p")


class KnowsTheTruth(torch.nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, moving, fixed):
        assert torch.equal(moving, self.pair.moving[None])
        assert torch.equal(fixed, self.pair.fixed[None])
        return Registration(self.pair.displacement[None], moving)


def test_one_pair_by_hand():
    pair = cube_pair()
    found = score(classical.identity, pair)
    assert found.pair == "p"
    assert found.dice == {1: pytest.approx(0.75), 4: 1.0}
    assert found.hd95 == {1: pytest.approx(2.0), 4: 0.0}  # millimetres
    assert 0.5 < found.asd[1] < 1.2
    assert found.asd[4] == 0
    assert found.epe == 1
    assert (found.fold_fraction, found.sd_log_jacobian) == (0, 0)
    right = score(KnowsTheTruth(pair), pair)
    assert right.epe == 0
    assert right.dice[1] == 1
    assert right.hd95[1] == 0


def test_without_spacing_voxels_are_a_millimetre():
    pair = cube_pair()
    bare = Pair(pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels)
    assert score(classical.identity, bare).hd95[1] == pytest.approx(1.0)


def test_surfaces_are_left_out_on_demand():
    found = score(classical.identity, cube_pair(), surfaces=False)
    assert (found.hd95, found.asd) == ({}, {})
    assert found.dice[1] == pytest.approx(0.75)


def test_images_and_labels_are_not_exchanged():
    """The slab is 8 rows in the moving image and 4 of them in the fixed one."""
    labels = torch.zeros(1, 20, 6, dtype=torch.int64)
    labels[0, 6:14] = 1
    smaller = labels.clone()
    smaller[0, 10:] = 0
    smaller[0, 19] = 2  # in the fixed image alone: counts, as lost
    pair = Pair(labels.float(), smaller.float(), labels, smaller)
    seen = []

    def method(moving, fixed):
        seen.append((moving, fixed))
        return Shifts()(moving, fixed)

    assert score(method, pair, surfaces=False).dice == {1: pytest.approx(2 * 4 / 12), 2: 0.0}
    assert torch.equal(seen[0][0][0], pair.moving)
    assert torch.equal(seen[0][1][0], pair.fixed)


def test_one_label_map_alone_is_no_overlap():
    pair = cube_pair()
    for lacking in ("moving_labels", "fixed_labels"):
        known = {"moving_labels": pair.moving_labels, "fixed_labels": pair.fixed_labels} | {lacking: None}
        found = score(classical.identity, Pair(pair.moving, pair.fixed, **known))
        assert (found.dice, found.hd95, found.asd, found.epe) == ({}, {}, {}, None)


def test_the_error_is_that_of_the_region():
    pair = slab_pair(3)
    truth = pair.displacement.clone()
    truth[0, 10:] = 0.0
    region = torch.zeros(1, 20, 8, dtype=torch.bool)
    region[0, 6:12] = True  # four rows err by 3, two by none
    inside = Pair(pair.moving, pair.fixed, displacement=truth, region=region)
    assert score(Shifts(), inside).epe == pytest.approx(2.0)
    assert score(Shifts(), Pair(pair.moving, pair.fixed, displacement=truth)).epe == pytest.approx(1.5)


def test_folds_and_volume_change():
    """Rows above 10 move by -c, rows from there on by c: 2 of 20 rows change their volume by 1 + c, or fold."""

    class Splits(torch.nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c = c

        def forward(self, moving, fixed):
            field = torch.zeros(1, 2, 20, 8)
            field[:, 0, :10], field[:, 0, 10:] = -self.c, self.c
            return Registration(field, moving)

    assert score(Splits(-2.0), slab_pair()).fold_fraction == pytest.approx(2 / 20)
    stretched = score(Splits(1.0), slab_pair())
    assert stretched.fold_fraction == 0
    assert stretched.sd_log_jacobian == pytest.approx(np.log(2) * (0.1 * 0.9) ** 0.5)


class Segmented(torch.nn.Module):
    """Needs label maps, and moves by as many voxels as their difference says."""

    needs_labels = True

    def forward(self, moving, fixed, *, moving_labels, fixed_labels):
        assert moving_labels.shape == fixed_labels.shape == (1, 1, 20, 8)
        first = [int(labels[0, 0, :, 0].argmax()) for labels in (moving_labels, fixed_labels)]
        return Shifts(float(first[0] - first[1]), 0.0)(moving, fixed)


def test_labels_are_handed_to_models_that_need_them():
    assert score(Segmented(), slab_pair(3)).epe == 0
    assert score(Segmented(), slab_pair(-2)).epe == 0


def test_no_gradients_are_kept():
    asked = []

    def method(moving, fixed):
        asked.append(torch.is_grad_enabled())
        return Shifts()(moving, fixed)

    score(method, slab_pair())
    assert asked == [False]


def test_seconds_are_those_of_the_registration(monkeypatch):
    clock = iter([10.0, 12.5])
    waited = []
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module, "_synchronise", waited.append)
    assert score(Shifts(), slab_pair()).seconds == 2.5
    assert waited == ["cpu", "cpu"]


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda", 1), (torch.device("cuda"), 1)])
def test_a_gpu_is_waited_for(device, waits, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(1))
    module._synchronise(device)
    assert len(waited) == waits


def test_images_and_labels_go_to_the_device_and_results_come_back():
    """The device without numbers: what was not moved there cannot be used with what was."""
    seen = []

    class Watches(torch.nn.Module):
        needs_labels = True

        def forward(self, moving, fixed, *, moving_labels, fixed_labels):
            seen.extend(tensor.device.type for tensor in (moving, fixed, moving_labels, fixed_labels))
            return Shifts()(torch.zeros(1, 1, 20, 8), fixed)

    score(Watches(), slab_pair(), device="meta")
    assert seen == ["meta"] * 4


def test_half_precision_is_measured_in_single():
    class Half(Shifts):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            return Registration(result.displacement.to(torch.bfloat16), moving)

    assert score(Half(1.0, 0.0), slab_pair()).epe == 1


def test_evaluate_is_plain_and_complete():
    pair = cube_pair()
    table = metrics.evaluate({"identity": classical.identity, "oracle": KnowsTheTruth(pair)}, [pair])
    assert list(table) == ["identity", "oracle"]
    assert json.loads(json.dumps(table))["oracle"]["epe"] == 0
    still, oracle = table["identity"], table["oracle"]
    assert list(still) == [
        "dice", "dice_per_label", "hd95", "asd", "epe", "fold_fraction", "sd_log_jacobian", "seconds_per_pair", "pairs",
    ]  # fmt: skip
    assert still["dice"] == pytest.approx(0.875)
    assert still["dice_per_label"] == {"cube": pytest.approx(0.75), "4": 1.0}
    assert still["hd95"] == pytest.approx(1.0)  # mean of 2 mm and none
    assert still["epe"] == 1
    assert oracle["dice_per_label"]["cube"] == 1.0
    assert oracle["fold_fraction"] == 0
    assert oracle["pairs"][0]["pair"] == "p"
    bare = metrics.evaluate({"identity": classical.identity}, [pair], surfaces=False)["identity"]
    assert (bare["hd95"], bare["asd"]) == (None, None)


def test_every_pair_is_measured_with_its_own(capsys):
    pairs = [slab_pair(0, name="first"), slab_pair(2, name="second")]
    table = metrics.evaluate({"still": Shifts(), "two": Shifts(2.0, 0.0)}, pairs, surfaces=False)
    assert [(entry["pair"], entry["epe"], entry["dice_mean"]) for entry in table["still"]["pairs"]] == [
        ("first", 0.0, 1.0),
        ("second", 2.0, pytest.approx(0.75)),
    ]
    assert table["two"]["pairs"][1]["epe"] == 0
    assert table["still"]["epe"] == 1
    assert capsys.readouterr().err == ""
    metrics.evaluate({"still": Shifts()}, pairs[:1], surfaces=False, progress=True)
    assert "measure still" in capsys.readouterr().err


def test_the_device_is_handed_on(monkeypatch):
    asked = []

    def fake(method, pair, *, device, surfaces):
        asked.append((device, surfaces))
        return entry()

    monkeypatch.setattr(module, "score", fake)
    metrics.evaluate({"m": Shifts()}, [slab_pair()], device="meta")
    metrics.evaluate({"m": Shifts()}, [slab_pair()], surfaces=False)
    assert asked == [("meta", True), ("cpu", False)]


def entry(name="p", **known):
    nothing = {
        "dice": {}, "hd95": {}, "asd": {}, "epe": None, "fold_fraction": 0.0, "sd_log_jacobian": 0.0, "seconds": 1.0,
    }  # fmt: skip
    return PairScore(name, **(nothing | known))


def test_means_leave_out_what_is_not_known():
    scores = [
        entry("a", dice={1: 0.5, 2: 1.0}, hd95={1: 4.0}, asd={1: 1.0, 2: 3.0}, epe=2.0, fold_fraction=0.1, seconds=9.0),
        entry("b", dice={2: 0.2}, hd95={1: 2.0, 2: 8.0}, sd_log_jacobian=0.4, seconds=2.0),
        entry("c", epe=5.0, seconds=1.0),
    ]
    found = summarise(scores, {1: "one", 2: "two", 3: "three"})
    assert found["dice"] == pytest.approx((0.75 + 0.2) / 2)  # labels first, then pairs; "c" has none
    assert found["dice_per_label"] == {"one": 0.5, "two": pytest.approx(0.6)}
    assert found["hd95"] == pytest.approx((4 + 5) / 2)
    assert found["asd"] == 2.0
    assert found["epe"] == 3.5
    assert found["fold_fraction"] == pytest.approx(0.1 / 3)
    assert found["sd_log_jacobian"] == pytest.approx(0.4 / 3)
    assert found["seconds_per_pair"] == 2.0  # the median
    assert [pair["dice_mean"] for pair in found["pairs"]] == [0.75, 0.2, None]
    assert found["pairs"][0]["asd"] == {1: 1.0, 2: 3.0}
    assert found["pairs"][2]["seconds"] == 1.0


def test_what_is_not_known_is_none():
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    table = metrics.evaluate({"identity": classical.identity}, [Pair(image, image)])["identity"]
    assert table["dice"] is table["hd95"] is table["asd"] is table["epe"] is None
    assert table["dice_per_label"] == {}


def test_names_of_labels_are_those_of_the_pairs():
    table = metrics.evaluate({"still": Shifts()}, [slab_pair()], surfaces=False)
    assert table["still"]["dice_per_label"] == {"slab": 1.0}


def test_no_pairs_get_one_sentence():
    with pytest.raises(ValueError, match="pairs must hold at least one pair, got none."):
        metrics.evaluate({"still": Shifts()}, [])
