"""A payload read back on a pair whose every axis, image and number is its own: nothing is exchanged or turned round."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from moereg.data import Pair
from moereg.metrics import dice
from moereg.models.registration import Registration
from moereg.nn.routing import Router, Routing, Site
from moereg.viz import payload as module
from moereg.viz.packing import unpack
from moereg.viz.payload import explorer_payload, metrics, pack_result

SHAPE = (6, 8, 10)


def count(offset: float = 0.0) -> torch.Tensor:
    return torch.arange(480, dtype=torch.float32).view(1, *SHAPE) / 480 + offset


@pytest.fixture
def pair() -> Pair:
    """Organ 1 of the moving image stands one voxel further along x than that of the fixed one."""
    moving_labels, fixed_labels = torch.zeros(2, 1, *SHAPE, dtype=torch.long)
    moving_labels[0, 2:4, 3:6, 4:8] = 1
    fixed_labels[0, 2:4, 3:6, 3:7] = 1
    truth = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, *SHAPE).contiguous()
    return Pair(
        count(0.5),
        count(),
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        displacement=truth,
        label_names={1: "liver", 2: "spleen"},
        spacing=(1.0, 2.0, 4.0),
        name="case 7",
    )


@pytest.fixture
def result() -> Registration:
    """A displacement `100 z + 10 y + x`, in hundredths, its sign and size other in each direction."""
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SHAPE), indexing="ij")
    place = (100 * z + 10 * y + x) / 100
    steps = (torch.stack([place, place, place])[None] * 0.5, torch.stack([0.5 * place, -place, 2 * place])[None])
    return Registration(steps[-1], count()[None] + 1, steps, {})


def test_the_geometry_is_the_pairs(pair, result):
    payload = pack_result(pair, result, poster=False)
    assert payload["version"] == 1
    assert payload["title"] == "case 7"
    assert payload["shape"] == [6, 8, 10]
    assert payload["axes"] == ["z", "y", "x"]
    assert payload["spacing"] == [1.0, 2.0, 4.0]
    assert payload["label_names"] == {"1": "liver", "2": "spleen"}
    assert (payload["layers"], payload["knockouts"], payload["snapshots"], payload["history"]) == ([], [], [], {})
    assert payload["poster"] is None


def test_what_is_not_known_has_a_default(pair, result):
    bare = Pair(pair.moving, pair.fixed)
    payload = pack_result(bare, result, poster=False, history={"run": {"step": [1], "loss": [2.0]}})
    assert (payload["title"], payload["spacing"], payload["labels"]) == ("Registered pair", [1.0, 1.0, 1.0], None)
    assert payload["history"] == {"run": {"step": [1], "loss": [2.0]}}
    assert pack_result(bare, result, poster=False, title="mine")["title"] == "mine"


def test_images_and_labels_stay_apart(pair, result):
    payload = pack_result(pair, result, poster=False)
    low, high = payload["images"]["window"]["low"], payload["images"]["window"]["high"]
    both = np.concatenate([pair.moving.numpy(), pair.fixed.numpy()])
    assert (low, high) == (pytest.approx(np.quantile(both, 0.001)), pytest.approx(np.quantile(both, 0.999)))
    half = (high - low) / 255 / 2 + 1e-6
    for name, image in (("moving", pair.moving), ("fixed", pair.fixed)):
        assert np.abs(unpack(payload, payload["images"][name]) - image[0].clamp(low, high).numpy()).max() <= half
    assert np.array_equal(unpack(payload, payload["labels"]["moving"]), pair.moving_labels[0].numpy())
    assert np.array_equal(unpack(payload, payload["labels"]["fixed"]), pair.fixed_labels[0].numpy())


def test_the_displacement_keeps_axes_and_signs(pair, result):
    field = unpack(pack_result(pair, result, poster=False), pack_result(pair, result, poster=False)["displacement"])
    assert np.abs(field - result.displacement[0].numpy()).max() <= 0.005 + 1e-6
    # At (3, 2, 1): place = 3.21; along z half of it, along y back by it, along x twice it.
    assert field[:, 3, 2, 1] == pytest.approx([1.605, -3.21, 6.42], abs=0.006)


def test_steps_are_differences_to_the_result_and_the_last_is_left_out(pair, result):
    (step,) = pack_result(pair, result, poster=False)["steps"]
    payload = pack_result(pair, result, poster=False)
    assert step["every"] == 1
    change = unpack(payload, step["values"])
    # At (3, 2, 1) the first field is (1.605, 1.605, 1.605).
    assert change[:, 3, 2, 1] == pytest.approx([0.0, 4.815, -4.815], abs=0.0126)


def test_the_view_opens_across_the_axis_that_moves_least(pair, result):
    assert pack_result(pair, result, poster=False)["plane"] == 0
    for axis in range(3):
        field = torch.ones(1, 3, *SHAPE)
        field[:, axis] = 0.5
        assert pack_result(pair, replace(result, displacement=field), poster=False)["plane"] == axis


def test_the_view_opens_where_a_labelled_voxel_moves_most(pair, result):
    # Labelled are z 2-3, y 3-5, x 3-6; the motion grows with every index.
    assert pack_result(pair, result, poster=False)["start"] == [3, 5, 6]
    # Without labels, a fifth of every axis is kept away from: z 1-4, y 1-6, x 2-7.
    bare = Pair(pair.moving, pair.fixed)
    assert pack_result(bare, result, poster=False)["start"] == [4, 6, 7]
    still = replace(result, displacement=torch.zeros(1, 3, *SHAPE))
    assert pack_result(bare, still, poster=False)["start"] == [1, 1, 2]
    # Labels at the border alone do not count.
    edge = torch.zeros(1, *SHAPE, dtype=torch.long)
    edge[0, 0, 0, 0] = 1
    bordered = Pair(pair.moving, pair.fixed, moving_labels=edge, fixed_labels=edge)
    assert pack_result(bordered, result, poster=False)["start"] == [4, 6, 7]


def test_numbers_of_a_field(pair):
    """Moved by the truth, organ 1 fits; unmoved, 3 of 4 columns do: Dice 0.75, endpoint error 1."""
    true = pair.displacement[None]
    assert metrics(pair, true) == {"folds": 0.0, "dice": 1.0, "endpoint_error": 0.0}
    unmoved = metrics(pair, torch.zeros(1, 3, *SHAPE))
    assert unmoved == {"folds": 0.0, "dice": pytest.approx(0.75), "endpoint_error": pytest.approx(1.0)}
    folded = torch.zeros(1, 3, *SHAPE)
    folded[0, 2] = -2 * torch.arange(10.0)  # x - 2 x: turned round everywhere
    assert metrics(Pair(pair.moving, pair.fixed), folded) == {"folds": 1.0}


def test_dice_is_the_mean_over_organs(pair):
    moving, fixed = pair.moving_labels.clone(), pair.fixed_labels.clone()
    moving[0, 0, 0, :2], fixed[0, 0, 0, 1:3] = 2, 2  # one voxel of two fits: 0.5
    still = torch.zeros(1, 3, *SHAPE)
    several = replace(pair, moving_labels=moving, fixed_labels=fixed)
    assert metrics(several, still)["dice"] == pytest.approx((0.75 + 0.5) / 2)
    assert dice(moving, fixed) == {1: pytest.approx(0.75), 2: pytest.approx(0.5)}
    nothing = torch.zeros_like(moving)
    assert "dice" not in metrics(replace(pair, moving_labels=nothing, fixed_labels=nothing), still)


def test_a_field_with_a_known_truth_but_no_number_is_left_out(pair):
    """Where the truth is known nowhere there is no endpoint error, and no NaN in the JSON."""
    nowhere = replace(pair, region=torch.zeros(1, *SHAPE, dtype=torch.bool))
    assert "endpoint_error" not in metrics(nowhere, torch.zeros(1, 3, *SHAPE))


def routed(role: str, stride: int, name: str) -> Routing:
    grid = tuple(-(-n // stride) for n in SHAPE)
    logits = torch.stack([torch.full((1, 1, *grid), float(e)) for e in range(3)], 2)
    indices = torch.full((1, 1, 1, *grid), 2)
    gates = torch.zeros(1, 1, 3, *grid)
    gates[:, :, 2] = 1
    return Routing(logits, gates, indices, ("1³", "3³", "5³"), ("all",), site=Site(name, role, stride))


def test_knock_outs_stand_at_the_layer_and_the_expert_that_is_missing(pair, result):
    without = [replace(result, displacement=result.displacement + shift) for shift in (1.0, -2.0)]
    payload = pack_result(pair, result, knockouts=[("b", 2, without[0]), ("a", 0, without[1])], poster=False)
    first, second = payload["knockouts"]
    assert (first["layer"], first["expert"], second["layer"], second["expert"]) == ("b", 2, "a", 0)
    assert first["change"] == pytest.approx(3**0.5)  # (1, 1, 1) everywhere
    assert second["change"] == pytest.approx(2 * 3**0.5)
    assert np.abs(unpack(payload, first["field"]["values"]) - 1.0).max() < 0.02  # without minus with
    assert np.abs(unpack(payload, second["field"]["values"]) + 2.0).max() < 0.02
    assert first["metrics"]["endpoint_error"] != second["metrics"]["endpoint_error"]
    assert first["metrics"] == metrics(pair, without[0].displacement)


def test_every_expert_is_left_out_in_its_turn(model3, pair3, payload3):
    names = [(entry["layer"], entry["expert"]) for entry in payload3["knockouts"]]
    assert names == [
        *(("decoder.0.shmoe", e) for e in range(4)), *(("decoder.1.shmoe", e) for e in range(4)),
        *(("encoder.1.moa", e) for e in range(4)),
    ]  # fmt: skip
    assert explorer_payload(model3, pair3, knockouts=False, poster=False)["knockouts"] == []


def test_layers_are_ordered_by_role_and_stride(pair, result):
    layers = {
        "a": routed("encoder", 1, "a"), "b": routed("decoder", 4, "b"), "d": routed("decoder", 2, "d"),
        "c": routed("decoder", 2, "c"),
    }  # fmt: skip
    payload = pack_result(pair, replace(result, routing=layers), poster=False)
    assert [layer["name"] for layer in payload["layers"]] == ["c", "d", "b", "a"]
    assert [layer["stride"] for layer in payload["layers"]] == [[2] * 3, [2] * 3, [4] * 3, [1] * 3]
    assert [layer["grid"] for layer in payload["layers"]] == [[3, 4, 5], [3, 4, 5], [2, 2, 3], [6, 8, 10]]
    first = payload["layers"][0]
    assert (first["k"], first["load"], first["kernels"]) == (1, [[0.0, 0.0, 1.0]], [1, 3, 5])
    # Logits 0, 1, 2: probabilities e^x / sum.
    weights = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    assert first["importance"][0] == pytest.approx(weights.tolist(), abs=1e-4)
    assert first["entropy"] == [pytest.approx(float(-(weights * np.log(weights)).sum()), abs=1e-4)]


@pytest.mark.parametrize(("most", "every"), [(480, 1), (479, 2), (60, 2), (59, 3), (24, 3), (1, 10)])
def test_large_grids_are_thinned_until_they_fit(most, every):
    """Every second voxel of 6 x 8 x 10 are 3 x 4 x 5 = 60, every third 2 x 3 x 4 = 24."""
    assert module.thinning(SHAPE, most) == every


def test_details_hold_what_they_say():
    assert {
        "page": module.Detail(13824, 4096, 4096),
        "full": module.Detail(1 << 60, 32768, 13824),
    } == module.DETAILS


def test_the_poster_is_the_overview_as_a_picture(pair, result):
    poster = pack_result(pair, result)["poster"]
    assert poster["alt"].startswith("Fixed, moving and warped slice of case 7")
    head, data = poster["src"].split(",", 1)
    assert head == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "PNG"
    assert picture.size == (621, 261)  # 6.9 x 2.9 inches at 90 dots


@pytest.mark.parametrize("name", ["moving", "fixed"])
def test_images_are_clamped_to_the_window_on_both_sides(pair, result, name):
    """One voxel far out on either side, of 960, lies outside of the window and is shown at its edge."""
    image = getattr(pair, name).clone()
    image[0, 0, 0, 0], image[0, 5, 7, 9] = -1000.0, 1000.0
    payload = pack_result(replace(pair, **{name: image}), result, poster=False)
    window, shown = payload["images"]["window"], unpack(payload, payload["images"][name])
    assert -100 < window["low"] < window["high"] < 100
    assert (shown.min(), shown.max()) == (pytest.approx(window["low"]), pytest.approx(window["high"]))


def test_coarse_fields_keep_every_nth_voxel_of_every_axis(pair, result, monkeypatch):
    monkeypatch.setitem(module.DETAILS, "page", module.Detail(480, 60, 24))
    later = replace(result, displacement=result.displacement * 1.5)
    payload = pack_result(pair, result, knockouts=[("a", 0, later)], snapshots=[(7, later)], poster=False)
    change = (later.displacement - result.displacement)[0].numpy()
    for entry, every in ((payload["knockouts"][0]["field"], 2), (payload["snapshots"][0]["field"], 3)):
        assert entry["every"] == every
        kept = unpack(payload, entry["values"])
        assert kept.shape == change[:, ::every, ::every, ::every].shape
        assert np.abs(kept - change[:, ::every, ::every, ::every]).max() <= 0.0125 + 1e-6
    assert payload["snapshots"][0]["step"] == 7
    assert payload["snapshots"][0]["metrics"] == metrics(pair, later.displacement)


def test_a_snapshot_keeps_the_first_expert_of_each_track(pair, result):
    routing = routed("decoder", 2, "c")
    first = torch.arange(60).view(1, 1, 1, 3, 4, 5) % 3
    gates = torch.zeros(1, 1, 3, 3, 4, 5).scatter(2, first, 1.0)
    kept = replace(result, routing={"c": replace(routing, indices=first, gates=gates)})
    entry = pack_result(pair, result, snapshots=[(1, kept)], poster=False)
    (snapshot,) = entry["snapshots"]
    layer = snapshot["layers"]["c"]
    assert layer["every"] == 1
    assert np.array_equal(unpack(entry, layer["first"])[0], first[0, 0, 0].numpy())
    assert layer["load"] == [pytest.approx([1 / 3] * 3, abs=1e-4)]


def test_only_routers_that_choose_among_several_are_knocked_out(pair, result):
    """A layer that no router of the model reports, and one with a single expert, are left as they are."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.many = Router(1, ("a", "b"), k=1, site=Site("many", "decoder", 1))
            self.one = Router(1, ("a",), k=1, site=Site("one", "decoder", 1))

        def forward(self, moving, fixed):
            layers = {"many": self.many(moving), "one": self.one(moving), "foreign": routed("decoder", 1, "foreign")}
            return replace(result, routing=layers)

    names = [(entry["layer"], entry["expert"]) for entry in explorer_payload(Model(), pair, poster=False)["knockouts"]]
    assert names == [("many", 0), ("many", 1)]
