"""Who is missed: networks of which it is known."""

import pytest
import torch
from torch import nn

from moereg.data.pairs import Pair
from moereg.experiments import knock_out
from moereg.experiments.knockouts import knock_out_sentence
from moereg.models.registration import Registration
from moereg.nn.routing import Router, Site
from moereg.viz import draw
from tests.oracles import ORGAN_EXPERTS, RoutesByOrgan, organ_pair

CORNERS = ((2, 3), (15, 8))
ORGAN = 144 / 1024  # share of the organ
TWICE = 2 * ORGAN


@pytest.fixture(scope="module")
def pairs():
    return [organ_pair(corner) for corner in CORNERS]


@pytest.fixture(scope="module")
def finding(pairs):
    return knock_out(RoutesByOrgan(), pairs)


def test_every_expert_and_every_direction_of_the_decoder_is_asked_for(finding):
    assert [(row["change"], row["what"]) for row in finding.rows] == [
        ("complete", ""),
        *(("expert", expert) for expert in ORGAN_EXPERTS),
        ("uniform gates", "y"),
        ("random gates", "y"),
        ("uniform gates", "x"),
        ("random gates", "x"),
    ]
    assert finding.question == "Who is missed?"
    assert draw(finding).axes


def test_the_cost_of_every_change_by_hand(finding):
    """The truth is 2 voxels in the organ and 0 elsewhere; experts propose -2, 0 and 2."""
    epe = {(row["change"], row["what"]): row["epe"] for row in finding.rows}
    assert epe["complete", ""] == 0
    assert epe["expert", "1²"] == 0  # is never chosen
    assert epe["expert", "5²"] == pytest.approx(TWICE)  # nothing moves any more
    # Without the second, body and background choose the third where 20 I - 30 > -50: everywhere, 2 voxels too far.
    assert epe["expert", "3²"] == pytest.approx(2 * (1 - ORGAN))
    assert epe["uniform gates", "y"] == epe["random gates", "y"] == 0  # nobody proposes anything along y
    assert epe["uniform gates", "x"] == pytest.approx(TWICE)  # (-2 + 0 + 2) / 3
    # Random: each of the three at a third of the places: off by 2, 0, 2 in the body and by 4, 2, 0 in the organ.
    assert epe["random gates", "x"] == pytest.approx(4 / 3 * (1 - ORGAN) + 2 * ORGAN, abs=0.05)
    for row in finding.rows:
        assert row["epe_change"] == pytest.approx(row["epe"])
        assert len(row["per_pair"]["epe"]) == len(row["per_pair"]["dice"]) == 2
    assert epe["expert", "3²"] == finding.rows[2]["per_pair"]["epe"][1]  # alike for all pairs


def test_dice_changes_are_those_of_dice(finding):
    rows = {(row["change"], row["what"]): row for row in finding.rows}
    complete = rows["complete", ""]
    assert complete["dice_change"] == 0
    assert complete["dice"] < 1  # moving and fixed labels agree before, and the organ is moved
    assert rows["expert", "5²"]["dice"] == 1
    assert rows["expert", "5²"]["dice_change"] == pytest.approx(1 - complete["dice"])


def test_the_sentence_says_who_costs_most_and_least(finding):
    uniform, random = TWICE, finding.rows[-1]["epe"]
    assert finding.sentence.startswith(
        "What the network relies on, the most and least missed expert and the costliest gates: without expert 3² "
        f"(endpoint error +{2 * (1 - ORGAN):.3f} [+1.719, +1.719], worse, Dice "
    )
    assert " and without 1² (endpoint error +0.000 [+0.000, +0.000], not told apart, Dice +0.000 " in finding.sentence
    assert f"; random gates in direction x (endpoint error +{random:.3f} [" in finding.sentence
    assert f"; uniform gates in direction x (endpoint error +{uniform:.3f} [+0.281, +0.281], worse" in finding.sentence
    assert "single experts" not in finding.sentence


def test_single_experts_of_a_layer_a_direction_and_the_encoder(pairs):
    """Only the fine layer makes the field, and nobody proposes anything along y."""
    finding = knock_out(RoutesByOrgan(), pairs, single=True)
    rows = {(row["layer"], row["router"], row["what"]): row for row in finding.rows if row["change"] == "expert"}
    assert len(rows) == 3 + 2 * 2 * 3 + 2
    for (layer, router, expert), row in rows.items():
        costly = layer in ("decoder.0.shmoe", "all") and router in ("x", "all")
        expected = {"1²": 0.0, "3²": 2 * (1 - ORGAN), "5²": TWICE}.get(expert, 0.0) if costly else 0.0
        assert row["epe_change"] == pytest.approx(expected)
    assert {key[2] for key in rows if key[0] == "encoder.0.moa"} == {"head 1", "head 2"}
    assert finding.sentence.endswith(
        " Of 14 single experts, each of one layer and router, 2 are missed in endpoint error, 0 are better away and 12 "
        "not told apart; by chance 0.3 would be missed. The most missed is 3² in decoder.0.shmoe, x (endpoint error "
        f"+{2 * (1 - ORGAN):.3f} [+1.719, +1.719], worse, Dice " + finding.sentence.rsplit("worse, Dice ", 1)[1]
    )
    figure = draw(finding)
    assert len(figure.axes) == 3  # bars, matrix, colour bar


def test_a_single_expert_of_one_direction_leaves_the_others_alone(pairs):
    seen = {}

    class Notes(RoutesByOrgan):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            gates = result.routing["decoder.0.shmoe"].gates[0, :, :, 20, 20]
            seen.setdefault(tuple(map(tuple, gates.tolist())), None)
            return result

    knock_out(Notes(), pairs[:1], single=True)
    body = (0.0, 1.0, 0.0)
    one_direction = [gates for gates in seen if (gates[0] == body) != (gates[1] == body)]
    assert ((0.0, 0.0, 1.0), body) in one_direction
    assert (body, (0.0, 0.0, 1.0)) in one_direction


def test_random_gates_are_drawn_by_the_seed(pairs, finding):
    again, other = (knock_out(RoutesByOrgan(), pairs, seed=seed).rows for seed in (0, 1))
    assert again[-1]["epe"] == finding.rows[-1]["epe"] != other[-1]["epe"]
    assert [row["epe"] for row in again[:-1]] == [row["epe"] for row in other[:-1]]


def test_the_model_is_left_as_it_was(pairs):
    model = RoutesByOrgan()
    images = pairs[0].moving[None], pairs[0].fixed[None]
    before = model(*images).displacement
    model.train()
    knock_out(model, pairs[:2])
    assert torch.equal(model(*images).displacement, before)
    assert not any(module._forward_hooks for module in model.modules())


def test_it_is_asked_in_evaluation_mode(pairs, no_surfaces):
    modes = set()

    class Notes(RoutesByOrgan):
        def forward(self, moving, fixed):
            modes.add(self.training)
            return super().forward(moving, fixed)

    knock_out(Notes().train(), pairs[:2])
    assert modes == {False}


def test_all_decoder_layers_change_at_once_and_no_encoder(pairs):
    """The mean of two layers that decide alike: an expert that is missed in both costs all of its motion."""

    class Twice(RoutesByOrgan):
        def __init__(self):
            super().__init__()
            self.second = nn.Sequential(RoutesByOrgan())
            inner = self.second[0].fine
            inner.site = type(inner.site)("decoder.9.shmoe", "decoder", 1)
            del self.second[0].encoder, self.second[0].coarse
            self.seen = set()

        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            self.seen.add(tuple(result.routing["encoder.0.moa"].indices.unique().tolist()))
            features = torch.cat([fixed, torch.ones_like(fixed)], 1)
            other = self.second[0].fine(features).with_proposals(result.routing["decoder.0.shmoe"].proposals)
            field = (result.displacement + other.contributions.sum(2)) / 2
            return type(result)(field, moving, (field,), result.routing)

    model = Twice()
    rows = {(row["change"], row["what"]): row["epe"] for row in knock_out(model, pairs[:1]).rows}
    assert rows["expert", "5²"] == pytest.approx(TWICE)
    assert rows["uniform gates", "x"] == pytest.approx(TWICE)
    assert model.seen == {(0,)}


class Few(torch.nn.Module):
    """One decoder layer whose experts propose nothing."""

    def __init__(self, *experts):
        super().__init__()
        self.router = Router(1, experts, k=1, routers=("y", "x"), site=Site("decoder.0", "decoder", 1))

    def forward(self, moving, fixed):
        routing = self.router(fixed)
        field = torch.zeros(1, 2, *fixed.shape[2:])
        return Registration(field, moving, (field,), {routing.name: routing})


def test_a_single_expert_cannot_be_left_out(pairs):
    finding = knock_out(Few("7²"), pairs[:2])
    assert [row["change"] for row in finding.rows] == ["complete", *["uniform gates", "random gates"] * 2]
    assert "the costliest gates: random gates in direction" in finding.sentence
    assert [row["layer"] for row in knock_out(Few("7²"), pairs[:2], single=True).rows] == ["all"] * 5
    assert [row["what"] for row in knock_out(Few("5²", "7²"), pairs[:2]).rows if row["change"] == "expert"] == [
        "5²", "7²",
    ]  # fmt: skip


def test_without_the_truth_dice_decides(pairs):
    """Labels alone are known, and here everything moves by two voxels: a body that stays hurts."""
    blind = []
    for pair in pairs:
        moving = pair.fixed_labels.roll(2, 2)
        blind.append(Pair(pair.moving, pair.fixed, moving, pair.fixed_labels, label_names=pair.label_names))
    finding = knock_out(RoutesByOrgan(), blind)
    rows = {(row["change"], row["what"]): row for row in finding.rows}
    assert all(row["epe"] is None and row["epe_change"] is None for row in finding.rows)
    complete = rows["complete", ""]["dice"]
    missed = rows["expert", "5²"]["dice_change"]
    assert missed == pytest.approx(rows["expert", "5²"]["dice"] - complete)
    assert missed < -0.05
    assert "without expert 5² (Dice -0." in finding.sentence
    helps = rows["expert", "3²"]["dice_change"]
    assert f" and without 3² (Dice {helps:+.3f} [{helps:+.3f}, {helps:+.3f}], better); " in finding.sentence
    assert helps > 0.05
    assert "random gates in direction x (Dice -0." in finding.sentence
    assert "endpoint" not in finding.sentence


def test_the_sentence_by_hand():
    """Two pairs: differences of 1 and 3 are 2 +- 12.706; of 2 and 2.2 they are 2.1 +- 12.706 * 0.1."""

    def row(change, what, *values, layer="all"):
        mean = sum(values) / 2
        names = {"change": change, "what": what, "layer": layer, "router": "all"}
        measured = {"dice": 0.5, "epe": mean, "dice_change": 0.0, "epe_change": mean - 1.0}
        return names | measured | {"per_pair": {"epe": list(values), "dice": [0.5, 0.5]}}

    rows = [
        row("complete", "", 1.0, 1.0),
        row("expert", "a", 2.0, 4.0),
        row("expert", "b", 3.0, 3.2),
        row("expert", "c", 0.0, 0.0),
        row("uniform gates", "y", 1.5, 1.5),
        row("uniform gates", "x", 1.25, 1.25),
        row("random gates", "y", 0.5, 0.5),
        row("random gates", "x", 1.0, 1.0),
    ]
    same = ", Dice +0.000 [+0.000, +0.000], not told apart)"
    expected = (
        "What the network relies on, the most and least missed expert and the costliest gates: "
        f"without expert b (endpoint error +2.100 [+0.829, +3.371], worse{same} and "
        f"without c (endpoint error -1.000 [-1.000, -1.000], better{same}; "
        f"random gates in direction x (endpoint error +0.000 [+0.000, +0.000], not told apart{same}; "
        f"uniform gates in direction y (endpoint error +0.500 [+0.500, +0.500], worse{same}."
    )
    assert knock_out_sentence(rows) == expected
    assert "without expert a" in knock_out_sentence([r for r in rows if r["what"] != "b"])
    singles = [row("expert", "b", *values, layer=layer) for layer, values in (
        ("fine", (1.0, 1.0)), ("coarse", (1.5, 1.5)), ("middle", (0.5, 0.5)))]  # fmt: skip
    assert knock_out_sentence([*rows, *singles]) == (
        f"{expected} Of 3 single experts, each of one layer and router, 1 are missed in endpoint error, 1 are better "
        "away and 1 not told apart; by chance 0.1 would be missed. The most missed is b in coarse, all (endpoint error "
        f"+0.500 [+0.500, +0.500], worse{same}."
    )
