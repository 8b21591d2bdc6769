"""`tools/weights.py`: every network in miniature, the card beside the file, and float16 only where it costs nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moereg.classical import METHODS
from moereg.data import datasets
from moereg.data.datasets import licence_of
from moereg.metrics import evaluate
from moereg.models import MODELS, build_for, load_model, read_provenance, read_trained
from moereg.models.storage import read_tensors
from moereg.training import Refined, fit
from tests.oracle_models import Shift, ShiftSizes, box_pair, enter
from tools import cards
from tools import weights as tool

pytestmark = pytest.mark.plain_errors  # sets that read a pair when it is asked for are no sequences


def test_in_miniature(tmp_path, capsys, monkeypatch):
    real, asked, trained_on = datasets.load, [], []
    monkeypatch.setattr(datasets, "load", lambda *names, **options: asked.append(names) or real(*names, **options))
    monkeypatch.setattr(
        tool, "fit", lambda model, pairs, *a, **o: trained_on.append(pairs) or fit(model, pairs, *a, **o)
    )
    tool.main(["abdomen-flat", "--quick", "--out", str(tmp_path)])
    assert sorted(asked) == [("abdomen", split) for split in ("test", "train", "train", "val")]
    (train,) = trained_on
    assert torch.equal(train[0].fixed, real("abdomen", "train", shape=(24, 24), count=2)[0].fixed)
    card = json.loads((tmp_path / "abdomen-flat.json").read_text())
    model = load_model(tmp_path / "abdomen-flat.safetensors")
    recipe = tool.RECIPES["abdomen-flat"]
    assert (card["model"], card["title"], card["data"]) == ("shmoareg", recipe.title, "abdomen")
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert card["sizes"]["widths"] == list(model.sizes.widths)
    assert card["training"]["steps"] == recipe.training.steps  # as the recipe has it
    assert list(card["methods"]) == ["identity", "demons-symmetric", "abdomen-flat", "abdomen-flat, refined"]
    assert card["refined"] == 2  # in miniature
    for values in card["methods"].values():
        assert len(values["pairs"]) == 2
        assert values["dice"] == pytest.approx(sum(pair["dice_mean"] for pair in values["pairs"]) / 2)
        assert sorted(values["pairs"][0]) == ["dice_mean", "epe", "fold_fraction", "pair"]
    test = real("abdomen", "test", shape=(24, 24), count=2)
    beside = {name: METHODS[name] for name in ("identity", "demons-symmetric")}
    refined = Refined(model, 2, similarity="lncc", smoothness=recipe.training.smoothness)
    networks = {"abdomen-flat": model, "abdomen-flat, refined": refined}
    for name, measured in evaluate(beside | networks, test, surfaces=False).items():
        assert card["methods"][name]["epe"] == pytest.approx(measured["epe"])
    assert card["made"]["seconds"] > 0
    assert card["made"]["precision"] in ("float16", "float32")
    assert card["made"]["torch"] == card["measured"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert f"abdomen-flat: abdomen-flat: dice {card['methods']['abdomen-flat']['dice']:.4f}, epe " in printed
    text = (tmp_path / "README.md").read_text()
    assert text == cards.page([card])
    assert "## abdomen-flat" in text
    # Its file says what it was trained on; told anew, the tensors stay what they are.
    path = tmp_path / "abdomen-flat.safetensors"
    origin = read_provenance(path)
    known = ("abdomen", "phantoms made by moereg, no data of others", card["training"]["steps"], card["made"]["code"])
    assert tuple(origin[key] for key in ("data", "licence", "steps", "code")) == known
    trained = read_trained(path)
    assert (trained.data, trained.shape, trained.normalisation) == ("abdomen", (24, 24), "unit")
    tensors = read_tensors(path)[0]
    tool.tell(path, replace(trained, data="other"))
    assert read_trained(path).data == "other"
    assert tool.digest(read_tensors(path)[0]) == tool.digest(tensors)
    assert tool.digest(tensors) != tool.digest({name: tensor * 2 for name, tensor in tensors.items()})
    tool.main(["abdomen-flat", "--quick", "--tell", "--out", str(tmp_path)])
    assert read_trained(path) == trained
    assert "abdomen-flat.safetensors: tensors " in capsys.readouterr().out
    # The same card without another training: how and when it was made stays, what is measured is the same.
    older = card | {"training": {key: value for key, value in card["training"].items() if key != "compile"}}
    (tmp_path / "abdomen-flat.json").write_text(json.dumps(older))
    tool.main(["abdomen-flat", "--quick", "--measure", "--out", str(tmp_path)])
    again = json.loads((tmp_path / "abdomen-flat.json").read_text())
    assert (again["made"], again["training"]) == (card["made"], older["training"])
    assert again["methods"]["abdomen-flat"]["dice"] == card["methods"]["abdomen-flat"]["dice"]


def test_a_training_that_was_broken_off_goes_on(tmp_path, monkeypatch):
    recipe, seen, begun = tool.RECIPES["abdomen-flat"], [], []

    def watched_fit(model, pairs, config, **options):
        seen.append((config.steps, len(pairs), options["out"], options["resume"]))
        begun.append([parameter.detach().clone() for parameter in model.parameters()])
        return fit(model, pairs, config, progress=False, **options)

    monkeypatch.setattr(tool, "fit", watched_fit)
    first, seconds, curve = tool.train(recipe, tmp_path / "flat", quick=True)
    again, same, kept = tool.train(recipe, tmp_path / "flat", quick=True)
    assert seen == [(2, 2, tmp_path / "flat", True)] * 2
    torch.manual_seed(recipe.training.seed)
    start = build_for(recipe.model, recipe.pairs("train", quick=True))
    assert all(torch.equal(a, b) for a, b in zip(begun[0], start.parameters(), strict=True))
    assert same == seconds
    assert [point["step"] for point in curve] == [1, 2]
    assert kept == curve
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_training_is_watched_on_pairs_of_its_own(tmp_path, monkeypatch):
    """Twenty looks; a step that is done again after an interruption replaces what was measured before it."""
    enter(monkeypatch, Shift)
    model = Shift(ShiftSizes(dims=2)).train()
    pair = box_pair((12, 10), (4, 3), (4, 4), (2, 0))
    curve = tool.Curve([pair], 60, tmp_path / "curve.json")
    for step in range(1, 13):
        with torch.no_grad():
            model.offset[0] = step / 6
        curve(step, model)
    assert [point["step"] for point in curve.points] == [3, 6, 9, 12]
    assert [point["epe"] for point in curve.points] == pytest.approx([1.5, 1.0, 0.5, 0.0])
    assert curve.points[-1]["dice"] == 1
    assert model.training
    again = tool.Curve([pair], 60, tmp_path / "curve.json")
    assert again.points == curve.points
    again(9, model)
    assert [(point["step"], point["epe"]) for point in again.points] == [(3, 1.5), (6, 1.0), (9, 0.0)]
    assert json.loads((tmp_path / "curve.json").read_text())["points"] == again.points


@pytest.mark.parametrize(("off", "precision"), [(0.0, "float16"), (2**-13, "float32")])
def test_half_of_the_bits_where_that_costs_nothing(off, precision, tmp_path, monkeypatch):
    """A model that moves by 0.5 voxels and a little: float16 loses the little, and the nearest voxel is another one."""
    enter(monkeypatch, Shift)
    model = Shift(ShiftSizes(dims=2))
    with torch.no_grad():
        model.offset += torch.tensor([0.5 + off, 0.0])
    pairs = [box_pair((12, 10), (4, 3), (4, 4), (1, 0))]
    assert tool.ship(model, tmp_path / "w.safetensors", pairs) == precision
    stored, _ = read_tensors(tmp_path / "w.safetensors")
    assert stored["offset"].dtype == {"float16": torch.float16, "float32": torch.float32}[precision]


def method(dices, errors, seconds=0.1, **labels):
    """What `evaluate` says of a method, in short."""
    pairs = [{"dice_mean": dice, "epe": error} for dice, error in zip(dices, errors, strict=True)]
    means = {"dice": sum(dices) / len(dices), "epe": None if None in errors else sum(errors) / len(errors)}
    rest = {"hd95": None, "asd": None, "fold_fraction": 0.0002, "sd_log_jacobian": 0.1, "seconds_per_pair": seconds}
    return means | rest | {"pairs": pairs, "dice_per_label": labels}


def test_the_page_says_first_where_a_network_is_behind():
    made = {
        "precision": "float16",
        "seconds": 3600.0,
        "device": "cpu",
        "threads": 1,
        "torch": "2",
        "date": "2026-01-02",
    }
    card = {
        "name": "liver",
        "title": "A network",
        "parameters": 1234,
        "split": {"train pairs": "all", "test pairs": 2},
        "training": {"labels": 1.0, "steps": 2000, "pairs_per_step": 1, "seed": 3},
        "refined": 20,
        "made": made | {"validation": [{"step": 1000, "dice": 0.5}, {"step": 2000, "dice": 0.75}]},
        "methods": {
            "identity": method([0.2, 0.3], [3.0, 3.0], left=0.25),
            "weaker": method([0.6, 0.7], [2.0, 2.0], left=0.65),
            "stronger": method([0.8, 0.9], [1.5, 1.5], seconds=0.4, left=None),
            "liver": method([0.7, 0.8], [1.5, 1.5], left=0.75),
            "liver, refined": method([0.8, 0.9], [1.5, 1.5], seconds=1.0, left=0.85),
        },
    }
    text = cards.page([card])
    assert text.index("Against stronger") < text.index("Against weaker")
    assert (
        "- Against stronger: Dice 0.750 against 0.850, worse (-0.100 [-0.100, -0.100]); endpoint error 1.500 against "
        "1.500, not told apart (+0.000 [+0.000, +0.000]); 0.25 of its time." in text
    )
    assert "better (+0.100 [+0.100, +0.100]); endpoint error 1.500 against 2.000, better (-0.500" in text
    assert "Against identity" not in text
    assert (
        "- With 20 steps of instance optimisation, against itself without: Dice 0.850 against 0.750, better (+0.100 "
        "[+0.100, +0.100]); endpoint error 1.500 against 1.500, not told apart (+0.000 [+0.000, +0.000]); 10.00 of its "
        "time." in text
    )
    assert "Against liver" not in text
    assert (
        "A network. 1,234 parameters, stored as float16, trained with the labels of the training pairs: 2,000 steps of "
        "1 pair in both directions out of all pairs, seed 3, 60 minutes on cpu (1 thread, torch 2, 2026-01-02). "
        "Measured on 2 pairs of the test split." in text
    )
    assert "| Dice left | 0.250 | 0.650 | – | 0.750 | 0.850 |" in text
    assert "| folded voxels, % | 0.020 | 0.020 | 0.020 | 0.020 | 0.020 |" in text
    assert "Hausdorff" not in text
    assert "after so many steps: 0.500 (1,000), 0.750 (2,000)." in text


def test_every_recipe_is_of_a_model_and_a_data_set_there_is():
    for name, recipe in tool.RECIPES.items():
        assert recipe.model in MODELS
        assert recipe.data in datasets.names()
        assert name == name.lower()
        assert recipe.beside[0] == "identity"
    assert {"hippocampus", "hippocampus-images", "abdomen", "abdomen-flat"} <= set(tool.RECIPES)


def test_pairs_are_those_of_the_split_at_the_recipes_size(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load", lambda data, split, **options: asked.append((data, split, options)))
    recipe = replace(tool.RECIPES["abdomen"], train_pairs=7)
    for split in ("train", "test"):
        recipe.pairs(split)
        recipe.pairs(split, quick=True)
    tool.RECIPES["hippocampus"].pairs("train")
    assert asked == [
        ("abdomen", "train", {"shape": (48, 48, 48), "count": 7}),
        ("abdomen", "train", {"shape": (16, 16, 16), "count": 2}),
        ("abdomen", "test", {"shape": (48, 48, 48)}),
        ("abdomen", "test", {"shape": (16, 16, 16), "count": 2}),
        ("hippocampus", "train", {"shape": None, "count": None}),
    ]


@pytest.mark.parametrize("quick", [False, True])
def test_a_recipe_may_ask_for_another_motion(quick):
    """The same subjects, which move farther; a checkpoint tells the two sets apart."""
    recipe = tool.RECIPES["abdomen-large-rman"]
    large, usual = (one.pairs("test", quick=quick) for one in (recipe, replace(recipe, motion=None)))
    assert (large.seed_of(0), large.shape, len(large)) == (usual.seed_of(0), usual.shape, len(usual))
    assert large[0].displacement.norm(dim=0).mean() > 1.5 * usual[0].displacement.norm(dim=0).mean()
    assert large.identity() != usual.identity()


def test_miniatures_never_replace_what_was_trained(capsys):
    with pytest.raises(SystemExit):
        tool.main(["abdomen", "--quick"])
    assert "--quick needs --out" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.usefixtures("hippocampus")
def test_on_real_scans_in_miniature(tmp_path):
    tool.main(["hippocampus-images", "--quick", "--out", str(tmp_path)])
    card = json.loads((tmp_path / "hippocampus-images.json").read_text())
    assert card["methods"]["hippocampus-images"]["epe"] is None
    assert set(card["methods"]["identity"]["dice_per_label"]) == {"anterior", "posterior"}


@pytest.mark.parametrize("path", sorted(Path("data/weights").glob("*.safetensors")), ids=lambda path: path.stem)
def test_networks_that_ship_say_where_they_come_from_as_their_cards_do(path):
    origin, card = read_provenance(path), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert origin["training"] == card["training"]
    assert (origin["data"], origin["steps"]) == (card["data"], card["training"]["steps"])
    assert origin["licence"] == licence_of(card["data"])
    assert {key: card["made"][key] for key in ("seconds", "date", "code", "torch")}.items() <= origin.items()
    assert read_trained(path).data == card["data"]


def test_scans_are_told_where_the_recipe_is_still_that_of_the_card():
    recipe = tool.RECIPES["abdomen-flat"]
    pairs, card = recipe.pairs("train", quick=True), json.loads(Path("data/weights/abdomen-flat.json").read_text())
    assert tool.origin_of(card, recipe, pairs)["pairs"] == len(pairs)
    for other in (replace(recipe, train_pairs=7), replace(recipe, training=replace(recipe.training, smoothness=9.0))):
        told = tool.origin_of(card, other, pairs)
        assert (told["pairs"], told["identity"], told["scans"]) == (None, None, None)
        assert told["training"] == card["training"]
