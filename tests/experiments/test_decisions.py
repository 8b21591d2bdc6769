"""What makes routers decide? Networks that are sure and agree, sure and alone, and undecided."""

import importlib

import pytest
import torch

from moereg.experiments import Protocol, Task, Variant, ablation, decisions
from moereg.experiments import protocol as protocols
from moereg.experiments.decisions import decisions_sentence
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import RoutesByNothing, RoutesByOrgan, organ_pair

PROTOCOL = Protocol(TrainingConfig(steps=1, device="cpu"), seeds=(0, 1))
VARIANTS = {"organ": Variant(), "coins": Variant({"coins": True}), "open": Variant({"undecided": True})}


@pytest.fixture
def networks(monkeypatch):
    """Networks whose routing is known in the place of trained ones: seeds have other names for the same experts."""
    trained = []

    def build(name, *, dims, coins=False, undecided=False):
        second = len(trained) % 2
        model = RoutesByNothing() if coins and second else RoutesByOrgan(order=((0, 1, 2), (2, 0, 1))[second])
        trained.append(model)
        if undecided:
            with torch.no_grad():
                for router in (model.fine, model.coarse):
                    router.weight.mul_(1e-4)
        return model

    monkeypatch.setattr(protocols, "build", build)
    monkeypatch.setattr(protocols, "fit", lambda *args, **options: None)
    return trained


def test_sure_routers_that_agree_and_others(networks, no_surfaces):
    told, pairs = [], [organ_pair((2, 3)), organ_pair((15, 8))]
    finding = decisions([Task("t", pairs, pairs)], PROTOCOL, variants=VARIANTS, on_rows=told.extend)
    rows = {(row["setting"], row["seed"]): row for row in finding.rows}
    assert list(rows) == [(name, seed) for name in VARIANTS for seed in (0, 1)]
    for seed in (0, 1):
        assert rows["organ", seed]["same_expert"] == pytest.approx(1)
        assert rows["organ", seed]["same_by_chance"] == pytest.approx((1 - 9 / 64) ** 2 + (9 / 64) ** 2, abs=0.01)
        assert rows["coins", seed]["same_expert"] == pytest.approx(rows["coins", seed]["same_by_chance"], abs=0.06)
        assert rows["open", seed]["same_expert"] == pytest.approx(1)  # the first of near-equals is the same
        assert rows["organ", seed]["entropy"] < 0.1
        assert rows["open", seed]["entropy"] == pytest.approx(1, abs=1e-4)
        assert rows["organ", seed]["epe"] == 0
    assert [row["variant"] for row in told] == [row["setting"] for row in finding.rows]
    assert finding.question == "What makes routers decide?"
    assert finding.sentence == decisions_sentence(finding.rows)
    figure = draw(finding)
    entropy, agreement = figure.axes[:2]
    shown = {label.get_text(): height for height, label in enumerate(entropy.get_yticklabels())}
    assert list(shown) == list(VARIANTS)
    dots = {int(line.get_ydata()[0]): list(line.get_xdata()) for line in entropy.lines if line.get_marker() == "o"}
    assert dots[shown["open"]] == [rows["open", seed]["entropy"] for seed in (0, 1)]
    (chance,) = (line for line in agreement.lines if line.get_marker() == "x")
    assert list(chance.get_xdata()) == [rows[name, 0]["same_by_chance"] for name in VARIANTS]


def row(setting, seed, entropy, epe, agreement=0.5):
    return {"task": "t", "setting": setting, "seed": seed, "entropy": entropy, "dice": 0.5, "epe": epe,
            "same_expert": agreement, "same_by_chance": 0.25}  # fmt: skip


def test_the_sentence_by_hand():
    """Two seeds have one degree of freedom: an interval reaches 12.706 standard errors."""
    rows = [row("a", 0, 1.0, 2.0), row("a", 1, 0.9, 2.0), row("b", 0, 0.5, 2.5, 0.75), row("b", 1, 0.4, 2.5, 0.75)]
    assert decisions_sentence(rows) == (
        "On t, a: entropy 0.95 of log N, seeds agree at 50% of voxels (25% by chance); b: entropy 0.45 of log N, seeds "
        "agree at 75% of voxels (25% by chance), entropy lower (-0.500 [-0.500, -0.500]), Dice not told apart "
        "(+0.000 [+0.000, +0.000]), endpoint error worse (+0.500 [+0.500, +0.500])."
    )


def test_one_seed_agrees_with_nobody():
    with pytest.raises(ValueError, match=r"protocol must have two seeds or more to be compared, got \(0,\)"):
        decisions([], Protocol(seeds=(0,)))


def test_without_variants_those_that_ask_more_or_less_of_routers(networks, monkeypatch):
    seen = {}

    def spy(tasks, protocol, *, variants, **options):
        seen.update(variants)
        return ablation(tasks, protocol, variants={"organ": Variant()}, **options)

    module = importlib.import_module("moereg.experiments.decisions")  # the package's name is that of the function
    monkeypatch.setattr(module, "ablation", spy)
    pairs = [organ_pair((2, 3))]
    decisions([Task("t", pairs, pairs)], PROTOCOL)
    assert next(iter(seen)) == "balance"
    assert "information" in seen
