"""Do experts know the organs: of networks whose answer is known, and the oracle that has to be found."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from moereg.data.pairs import Pair
from moereg.experiments import usage_by_organ
from moereg.experiments.organs import compare, deal, dealt_out, organ_sentence
from moereg.experiments.statistics import information, mutual_information
from moereg.viz import draw
from tests.oracles import RoutesByNeighbour, RoutesByNothing, RoutesByOrgan, organ_pair

CORNERS = ((2, 3), (15, 8), (9, 17))
INSIDE, ORGAN = 30 * 30, 12 * 12  # labelled voxels, those of the organ; 32 x 32 in all


@pytest.fixture(scope="module")
def pairs():
    return [organ_pair(corner) for corner in CORNERS]


def bits(first, second):
    """I = H(a) + H(b) - H(a, b) of two label maps, in bits, less Miller's bias: not the formula of the library."""

    def entropy(values):
        share = np.unique(values, return_counts=True, axis=0)[1] / len(values)
        return -(share * np.log2(share)).sum(), len(share)

    both = np.stack([np.ravel(first), np.ravel(second)], 1)
    (a, kinds), (b, others), (joint, _) = entropy(both[:, 0]), entropy(both[:, 1]), entropy(both)
    return a + b - joint - (kinds - 1) * (others - 1) / (2 * len(both) * math.log(2))


def of_decoder(finding, network="trained"):
    return [row for row in finding.rows if row["role"] == "decoder" and row["network"] == network]


def test_an_expert_that_follows_the_organ_is_found(pairs):
    finding = usage_by_organ(RoutesByOrgan(), pairs)
    assert [(r["layer"], r["router"]) for r in of_decoder(finding)] == [
        (f"decoder.{layer}.shmoe", router) for layer in (0, 1) for router in ("y", "x")
    ]
    p = ORGAN / INSIDE
    own = -p * np.log2(p) - (1 - p) * np.log2(1 - p)  # whoever knows the organ knows the expert
    for row in of_decoder(finding)[:2]:
        assert row["usage"] == {
            "body": {"1²": 0.0, "3²": pytest.approx(1), "5²": 0.0},
            "organ": {"1²": 0.0, "3²": 0.0, "5²": pytest.approx(1)},
        }
        # All subjects have the same body here, so the voxels are the same whoever the other is.
        assert row["per_pair"]["own"] == pytest.approx([own - 1 / (2 * INSIDE * math.log(2))] * 3)
        others = []
        for number, pair in enumerate(pairs):
            inside = pair.fixed_labels > 0
            found = [bits(pair.fixed_labels[inside], pairs[o].fixed_labels[inside]) for o in range(3) if o != number]
            others.append(sum(found) / 2)
        assert row["per_pair"]["other"] == pytest.approx(others)
        # One expert a voxel, dealt out by organ, is what this network does itself.
        assert row["per_pair"]["oracle"] == pytest.approx(row["per_pair"]["own"])
        assert row["per_pair"]["oracle_other"] == pytest.approx(others)
        assert row["own"] == pytest.approx(own, abs=1e-3)
        assert row["other"] == pytest.approx(sum(others) / 3)
        assert row["oracle"] == row["own"]
    assert finding.sentence.startswith(
        "In 4 of 4 decoder routers a subject's own organs tell more about the expert than other subjects' organs at "
        "the same voxels, in 0 less, in 0 not told apart (more by chance: 0.1). The most is +0."
    )
    assert finding.question == "Do experts know the organs?"
    assert draw(finding).axes


def test_one_organ_in_unlabelled_tissue_is_found_where_the_rest_counts(pairs):
    """With a single label there is nothing to tell apart, unless what has none is the other side."""
    marked = [replace(p, fixed_labels=(p.fixed_labels == 2).long(), label_names={1: "organ"}) for p in pairs]
    alone, rest = (usage_by_organ(RoutesByOrgan(), marked, rest=rest) for rest in (False, True))
    assert all(row["own"] == row["oracle"] == 0 for row in of_decoder(alone))
    assert alone.sentence.startswith("In 0 of 4 decoder routers")
    assert "In 4 not even experts dealt out by organ would tell anything." in alone.sentence
    p = ORGAN / 32**2
    for row in of_decoder(rest)[:2]:
        assert row["own"] == pytest.approx(-p * np.log2(p) - (1 - p) * np.log2(1 - p), abs=1e-3)
        assert row["usage"]["organ"] == {"1²": 0.0, "3²": 0.0, "5²": pytest.approx(1)}
        assert list(row["usage"]) == ["rest", "organ"]
    assert rest.sentence.startswith("In 4 of 4 decoder routers")
    coins = usage_by_organ(RoutesByNothing(), marked, rest=True)
    assert coins.sentence.startswith("In 0 of 4 decoder routers")


def test_the_encoder_is_asked_about_the_fixed_image(pairs):
    """Head 1 wherever there is anything: all organs alike."""
    [row] = [row for row in usage_by_organ(RoutesByOrgan(), pairs).rows if row["role"] == "encoder"]
    assert (row["layer"], row["router"]) == ("encoder.0.moa", "token")
    assert row["usage"]["organ"] == {"head 1": pytest.approx(1), "head 2": 0}
    assert row["own"] == pytest.approx(0)

    class Both(RoutesByOrgan):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            heads = (torch.cat([0 * fixed, fixed]) > 1.9).float()  # moving, then fixed; the organ is brighter
            result.routing["encoder.0.moa"] = self.encoder(torch.cat([-20 * heads, 20 * heads], 1))
            return result

    [row] = [row for row in usage_by_organ(Both(), pairs).rows if row["role"] == "encoder"]
    assert row["usage"]["organ"]["head 2"] == 0 or row["own"] > 0.5
    assert row["own"] > 0.5


def test_the_coarse_layer_is_compared_on_its_own_grid(pairs):
    row = of_decoder(usage_by_organ(RoutesByOrgan(), pairs[:2]))[2]
    assert row["layer"] == "decoder.1.shmoe"
    expected = []
    for pair, other in ((pairs[0], pairs[1]), (pairs[1], pairs[0])):
        own, its = (labels.fixed_labels[0, ::2, ::2] for labels in (pair, other))
        expected.append(bits(own[own > 0], its[own > 0]))
    assert row["per_pair"]["other"] == pytest.approx(expected)


def test_one_that_flips_coins_is_not_found_and_the_oracle_is(pairs):
    finding = usage_by_organ(RoutesByNothing(), pairs)
    assert all(abs(row["own"]) < 0.01 for row in of_decoder(finding))
    assert all(row["oracle"] > 0.5 for row in of_decoder(finding))
    sentence = finding.sentence.split(" In 0 of 1 encoder")[0]
    assert sentence.startswith("In 0 of 4 decoder routers")
    assert "in 4 not told apart" in sentence
    assert "and are found in 4 of 4. Where nothing is told apart, at most " in sentence


def test_one_that_routes_by_another_subject_is_told_from_one_that_knows_this_one(pairs):
    finding = usage_by_organ(RoutesByNeighbour(pairs), pairs)
    assert all(row["other"] > 2 * row["own"] for row in of_decoder(finding))
    assert finding.sentence.startswith("In 0 of 4 decoder routers")
    assert "in 4 less, in 0 not told apart" in finding.sentence


def test_control_networks_are_asked_the_same(pairs):
    finding = usage_by_organ(RoutesByOrgan(), pairs, controls={"blind": RoutesByNothing(), "twin": RoutesByOrgan()})
    assert " The blind network: 0 of 4. The twin network: 4 of 4." in finding.sentence
    assert [row["own"] for row in of_decoder(finding, "twin")] == [row["own"] for row in of_decoder(finding)]
    assert {row["network"] for row in finding.rows} == {"trained", "blind", "twin"}


def test_labels_are_compared_where_both_subjects_have_any():
    """What one subject alone has tells nothing about the other."""
    own = torch.tensor([1, 1, 2, 2, 0, 2])
    other = torch.tensor([1, 1, 2, 2, 1, 0])
    gates = torch.stack([(own == 1).float(), (own != 1).float()])
    mine, its = compare(gates, own, [other], 3)
    assert mine == pytest.approx(its)
    assert mine == pytest.approx(bits([0, 0, 1, 1], [1, 1, 2, 2]))
    far = torch.tensor([2, 1, 2, 1, 0, 0])
    both = compare(gates, own, [other, far], 3)
    assert both[1] == pytest.approx((its + compare(gates, own, [far], 3)[1]) / 2)
    assert compare(gates, own, [torch.zeros(6, dtype=torch.int64)], 3) == (0, 0)


def test_experts_are_dealt_out_so_that_they_get_as_much_alike_as_can_be():
    assert deal(torch.tensor([99, 5, 9, 4, 3]), 2) == [0, 1, 0, 1, 0]
    assert deal(torch.tensor([0, 1, 1, 1]), 5)[1:] == [0, 1, 2]


def test_the_oracle_keeps_the_gates_of_every_voxel():
    """The largest goes to the organ's expert, the next one to the expert after it, around the corner."""
    gates = torch.tensor([[0.7, 0.0, 0.0], [0.3, 0.1, 0.5], [0.0, 0.9, 0.5]])
    dealt = dealt_out(gates, torch.tensor([1, 2, 1]), [0, 2, 1])
    torch.testing.assert_close(dealt, torch.tensor([[0.3, 0.0, 0.5], [0.0, 0.9, 0.0], [0.7, 0.1, 0.5]]))


def test_information_is_about_nothing_where_there_is_none(generator):
    """The plug-in estimate of independent draws is too large by about its bias, on average over draws."""
    plain, corrected = [], []
    for _ in range(200):
        first, second = torch.randint(4, (60,), generator=generator), torch.randint(5, (60,), generator=generator)
        table = torch.zeros(4, 5).double().index_put_((first, second), torch.ones(60).double(), accumulate=True)
        plain.append(mutual_information(table))
        corrected.append(information(table, 60))
    assert np.mean(plain) == pytest.approx(3 * 4 / (2 * 60 * math.log(2)), rel=0.2)
    assert abs(np.mean(corrected)) < 0.03
    assert information(torch.zeros(3, 3), 0) == 0
    one = torch.tensor([[4.0, 4.0], [0.0, 0.0]])  # an expert that never works is no degree of freedom
    assert information(one, 8) == 0


def test_organs_without_a_name_and_organs_that_are_not_there(pairs):
    labels = pairs[0].fixed_labels.clone()
    labels[0, 28, 28] = 4
    pair = Pair(pairs[0].moving, pairs[0].fixed, labels, labels, label_names={1: "body", 2: "organ", 3: "nowhere"})
    unnamed = of_decoder(usage_by_organ(RoutesByOrgan(), [Pair(pair.moving, pair.fixed, labels, labels), pairs[1]]))
    assert list(unnamed[0]["usage"]) == ["1", "2", "4"]
    for row in of_decoder(usage_by_organ(RoutesByOrgan(), [pair, pairs[1]]))[:2]:  # one voxel in one of two pairs
        assert list(row["usage"]) == ["body", "organ", "4"]
        assert row["usage"]["4"] == {"1²": 0.0, "3²": pytest.approx(1), "5²": 0.0}


def test_the_sentence_by_hand():
    def row(layer, own, other, *, oracle=(0.9, 1.1), network="trained", role="decoder"):
        series = {"own": own, "other": other, "oracle": list(oracle), "oracle_other": [0.0, 0.0]}
        return {"network": network, "role": role, "layer": layer, "router": "z", "per_pair": series}

    rows = [
        row("a", [0.4, 0.5], [0.1, 0.2]),
        row("b", [0.1, 0.2], [0.4, 0.5]),
        # -0.4 and 0.4: 0 +- 12.706 * 0.4
        row("c", [0.1, 0.5], [0.5, 0.1], oracle=(10.0, 10.0)),
        row("a", [0.4, 0.5], [0.1, 0.2], network="untrained"),
        row("b", [0.4, 0.5], [0.1, 0.2], network="untrained"),
        row("d", [0.4, 0.5], [0.4, 0.5], role="encoder", oracle=(-1.0, 1.0)),
    ]
    assert organ_sentence(rows) == (
        "In 1 of 3 decoder routers a subject's own organs tell more about the expert than other subjects' organs at "
        "the same voxels, in 1 less, in 1 not told apart (more by chance: 0.1). The most is +0.300 [+0.300, +0.300] "
        "bit in a, z; experts dealt out by organ would tell +1.000 [-0.271, +2.271] there, and are found in 1 of 3. "
        "Where nothing is told apart, at most 51% of what those would tell could hide. The untrained network: 2 of 2. "
        "In 0 of 1 encoder routers a subject's own organs tell more about the expert than other subjects' organs at "
        "the same voxels, in 0 less, in 1 not told apart (more by chance: 0.0). The most is +0.000 [+0.000, +0.000] "
        "bit in d, z; experts dealt out by organ would tell +0.000 [-12.706, +12.706] there, and are found in 0 of 1. "
        "In 1 not even experts dealt out by organ would tell anything."
    )


@pytest.mark.plain_errors
def test_a_single_pair_has_nobody_to_be_compared_with(pairs):
    with pytest.raises(ValueError, match="pairs must be of two subjects or more, got 1"):
        usage_by_organ(RoutesByOrgan(), pairs[:1])
