"""The audit of networks whose routing is known, so that every question has a known answer, yes as well as no."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from moereg import models
from moereg.data import phantoms
from moereg.data.pairs import Pair
from moereg.experiments import audit, entropy_against_error, load, usage_by_organ
from moereg.experiments.audit import entropy_sentence, organ_sentence, rank_correlation, run
from moereg.models.registration import Registration
from moereg.nn.routing import Routing, Site
from moereg.viz import draw
from tests.oracles import ORGAN_EXPERTS, RoutesByNeighbour, RoutesByNothing, RoutesByOrgan, organ_pair

CORNERS = ((2, 3), (15, 8), (9, 17))
INSIDE, ORGAN = 30 * 30, 12 * 12  # labelled voxels, those of the organ; 32 x 32 in all


@pytest.fixture(scope="module")
def pairs():
    return [organ_pair(corner) for corner in CORNERS]


def bits(first, second):
    """I = H(a) + H(b) - H(a, b) of two label maps, in bits: not the formula of the library."""

    def entropy(values):
        share = np.unique(values, return_counts=True, axis=0)[1] / len(values)
        return -(share * np.log2(share)).sum()

    both = np.stack([np.ravel(first), np.ravel(second)], 1)
    return entropy(both[:, 0]) + entropy(both[:, 1]) - entropy(both)


# ---- load ----


def test_load_is_the_organs_area(pairs):
    finding = load(RoutesByOrgan(), pairs)
    share = {(row["layer"], row["router"], row["expert"]): row["load"] for row in finding.rows}
    assert len(finding.rows) == len(share) == 2 + 2 * 2 * 3
    for router in ("y", "x"):
        assert [share["decoder.0.shmoe", router, expert] for expert in ORGAN_EXPERTS] == pytest.approx(
            [0, 1 - ORGAN / 1024, ORGAN / 1024], abs=1e-6
        )
        # the organ has 6 x 6 voxels on the coarse grid wherever it lies
        assert share["decoder.1.shmoe", router, "5²"] == pytest.approx(36 / 256, abs=1e-6)
    assert share["encoder.0.moa", "token", "head 1"] == pytest.approx(1, abs=1e-4)
    assert finding.question == "How is the load shared?"
    assert draw(finding).axes


def test_load_is_the_mean_over_pairs(pairs):
    empty = Pair(0 * pairs[0].moving, 0 * pairs[0].fixed)
    rows = load(RoutesByOrgan(), [pairs[0], empty]).rows
    found = {(row["layer"], row["expert"]): row["load"] for row in rows if row["router"] != "y"}
    assert found["decoder.0.shmoe", "5²"] == pytest.approx(ORGAN / 1024 / 2, abs=1e-6)


def test_idle_experts_are_named(pairs):
    """Expert 0 is never chosen by four routers, head 2 by none."""
    assert load(RoutesByOrgan(), pairs).sentence == (
        "5 of 14 experts (counted per router) get less than 2% of the assignments, all of them in "
        "decoder.0.shmoe, decoder.1.shmoe, encoder.0.moa."
    )

    class Busy(RoutesByOrgan):
        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            thirds = torch.arange(1024).view(1, 1, 1, 32, 32) % self.parts
            share = torch.where(thirds < 2, thirds, 2)
            own = Routing(torch.zeros(1, 1, 3, 32, 32), torch.zeros(1, 1, 3, 32, 32), share, ORGAN_EXPERTS, ("y",))
            return Registration(result.displacement, moving, (), {"a": own})

    model = Busy()
    model.parts = 3
    assert load(model, pairs[:1]).sentence == (
        "0 of 3 experts (counted per router) get less than 2% of the assignments: none is idle."
    )
    model.parts = 64  # 1/64 is less than 2 %
    assert load(model, pairs[:1]).sentence == (
        "2 of 3 experts (counted per router) get less than 2% of the assignments, all of them in a."
    )
    model.parts = 49  # 1/49 is more
    assert "none is idle" in load(model, pairs[:1]).sentence


# ---- organs ----


def test_usage_sees_an_expert_that_follows_the_organ(pairs):
    finding = usage_by_organ(RoutesByOrgan(), pairs)
    assert [(r["layer"], r["router"]) for r in finding.rows] == [
        (f"decoder.{layer}.shmoe", router) for layer in (0, 1) for router in ("y", "x")
    ]
    p = ORGAN / INSIDE
    own = -p * np.log2(p) - (1 - p) * np.log2(1 - p)  # whoever knows the organ knows the expert
    for row in finding.rows[:2]:
        assert row["usage"] == {
            "body": {"1²": 0.0, "3²": pytest.approx(1), "5²": 0.0},
            "organ": {"1²": 0.0, "3²": 0.0, "5²": pytest.approx(1)},
        }
        assert row["bits_own"] == pytest.approx(own)
        assert row["per_pair"]["bits_own"] == pytest.approx([own] * 3)
        others = []
        for number, pair in enumerate(pairs):
            other = pairs[(number + 1) % 3].fixed_labels
            inside = pair.fixed_labels > 0
            others.append(bits(pair.fixed_labels[inside], other[inside]))
        assert row["per_pair"]["bits_other"] == pytest.approx(others)
        assert 0 < row["bits_shuffled"] < 0.01
        assert len(row["per_pair"]["bits_shuffled"]) == 3
    assert finding.sentence.startswith(
        "In 4 of 4 decoder routers the organ tells more about the expert than another subject's labels at the same "
        "places do, in 0 less, in 0 the two are not told apart. The most is "
    )
    assert finding.question == "Do experts know the organs?"
    assert draw(finding).axes


def test_the_coarse_layer_is_compared_on_its_own_grid(pairs):
    row = usage_by_organ(RoutesByOrgan(), pairs[:2]).rows[2]
    assert row["layer"] == "decoder.1.shmoe"
    expected = []
    for pair, other in ((pairs[0], pairs[1]), (pairs[1], pairs[0])):
        own, its = (labels.fixed_labels[0, ::2, ::2] for labels in (pair, other))
        expected.append(bits(own[own > 0], its[own > 0]))
    assert row["per_pair"]["bits_other"] == pytest.approx(expected)


def test_usage_does_not_see_one_that_flips_coins(pairs):
    finding = usage_by_organ(RoutesByNothing(), pairs)
    assert all(row["bits_own"] < 0.01 for row in finding.rows)
    assert finding.sentence.startswith("In 0 of 4 decoder routers")
    assert "in 4 the two are not told apart" in finding.sentence


def test_one_that_routes_by_another_subject_is_told_from_one_that_knows_this_one(pairs):
    finding = usage_by_organ(RoutesByNeighbour(pairs), pairs)
    assert all(row["bits_other"] > 3 * row["bits_own"] for row in finding.rows)
    assert finding.sentence.startswith("In 0 of 4 decoder routers")
    assert "in 4 less, in 0 the two are not told apart" in finding.sentence


def test_labels_are_shuffled_by_the_seed(pairs):
    first, same, other = (usage_by_organ(RoutesByOrgan(), pairs, seed=seed).rows[0] for seed in (0, 0, 1))
    assert first == same
    assert first["bits_shuffled"] != other["bits_shuffled"]
    assert first["bits_own"] == other["bits_own"]


def test_a_shuffle_keeps_how_large_the_organs_are(pairs, monkeypatch):
    """Were labels drawn instead of shuffled, or shuffled with the background, the organ would change its size."""
    from moereg.experiments import statistics

    audits = __import__("sys").modules["moereg.experiments.audit"]
    seen = []

    def table(gates, labels, inside, count):
        seen.append(labels[inside].bincount(minlength=count).tolist())
        return statistics.gate_table(gates, labels, inside, count)

    monkeypatch.setattr(audits, "gate_table", table)
    usage_by_organ(RoutesByOrgan(), pairs[:2])
    assert seen[0] == seen[1] == [0, INSIDE - ORGAN, ORGAN]


def test_organs_without_a_name_and_organs_that_are_not_there(pairs):
    labels = pairs[0].fixed_labels.clone()
    labels[0, 28, 28] = 4
    pair = Pair(pairs[0].moving, pairs[0].fixed, labels, labels, label_names={1: "body", 2: "organ", 3: "nowhere"})
    assert pairs[1].label_names == {1: "body", 2: "organ"}  # names are those of the first pair
    unnamed = usage_by_organ(RoutesByOrgan(), [Pair(pair.moving, pair.fixed, labels, labels), pairs[1]]).rows[0]
    assert list(unnamed["usage"]) == ["1", "2", "4"]
    for row in usage_by_organ(RoutesByOrgan(), [pair, pairs[1]]).rows[:2]:  # one voxel in one of two pairs
        assert list(row["usage"]) == ["body", "organ", "4"]
        assert row["usage"]["4"] == {"1²": 0.0, "3²": pytest.approx(1), "5²": 0.0}


def test_the_sentence_about_organs_by_hand():
    def row(layer, own, other, *, best=0.0):
        return {
            "layer": layer, "router": f"of {layer}", "bits_own": best, "bits_other": 0.5, "bits_shuffled": 0.00125,
            "usage": dict.fromkeys(range(8)), "per_pair": {"bits_own": own, "bits_other": other},
        }  # fmt: skip

    rows = [
        row("a", [0.4, 0.5], [0.1, 0.2], best=1.0),
        row("b", [0.1, 0.2], [0.4, 0.5], best=2.0),
        row("c", [0.1, 0.5], [0.5, 0.1], best=1.5),
        row("d", [0.1, 0.2], [0.3, 0.4]),
    ]
    assert organ_sentence(rows) == (
        "In 1 of 4 decoder routers the organ tells more about the expert than another subject's labels at the same "
        "places do, in 2 less, in 1 the two are not told apart. The most is 2.000 bit in b, direction of b "
        "(other subject 0.500, shuffled 0.0013; an organ has at most 3.0 bit to tell)."
    )


# ---- entropy ----


class Doubts(torch.nn.Module):
    """Entropy that falls with the size of a known map, on every voxel and on every second one."""

    def __init__(self, sure, field):
        super().__init__()
        self.sure, self.field = sure, field

    def forward(self, moving, fixed):
        layers = {}
        for level in (0, 1):
            sure = self.sure[::2, ::2] if level else self.sure
            directions = torch.stack([sure, -sure]) if level == 0 else torch.stack([sure, sure])
            logits = torch.stack([torch.zeros_like(directions), 3 + directions], 1)[None]
            site = Site(f"decoder.{level}.shmoe", "decoder", 2**level)
            layers[site.name] = Routing(
                logits, logits, logits.argmax(2, keepdim=True), ("a", "b"), ("y", "x"), site=site
            )
        return Registration(self.field, moving, (self.field,), layers)


@pytest.fixture
def wrong(generator):
    """Where a field is wrong, and by how much: smooth, so that every second voxel says the same."""
    rough = torch.rand(1, 1, 5, 6, generator=generator)
    return torch.nn.functional.interpolate(rough, size=(21, 25), mode="bicubic", align_corners=True)[0, 0]


def blank(region=None):
    image = torch.zeros(1, 21, 25)
    return Pair(image, image, displacement=torch.zeros(2, 21, 25), region=region)


def test_entropy_that_follows_the_error_is_found(wrong):
    field = torch.stack([wrong, 0 * wrong])[None]
    finding = entropy_against_error(Doubts(-wrong, field), [blank(), blank()])
    found = {(row["layer"], row["router"]): row["spearman"] for row in finding.rows}
    assert found["decoder.0.shmoe", "y"] == pytest.approx(1, abs=1e-4)
    assert found["decoder.0.shmoe", "x"] == pytest.approx(-1, abs=1e-4)
    assert found["decoder.1.shmoe", "y"] == pytest.approx(1, abs=1e-4)
    assert all(row["sd_over_pairs"] == 0 and len(row["per_pair"]["spearman"]) == 2 for row in finding.rows)
    assert finding.sentence == (
        "Entropy rises with the error in 3 of 4 decoder routers, falls in 1, and is not told apart from no relation in "
        "0; the strongest rank correlation is +1.00 [+1.00, +1.00] in decoder.0.shmoe, direction y."
    )
    assert finding.question == "Does doubt mark error?"
    assert draw(finding).axes


def test_the_error_is_the_distance_to_the_truth(wrong, generator):
    """Neither the length of the field nor one of its components."""
    truth = torch.randn(2, 21, 25, generator=generator)
    field = truth + wrong * torch.tensor([0.6, -0.8]).view(2, 1, 1)
    pair = Pair(torch.zeros(1, 21, 25), torch.zeros(1, 21, 25), displacement=truth)
    rows = entropy_against_error(Doubts(-wrong, field[None]), [pair, pair]).rows
    assert rows[0]["spearman"] == pytest.approx(1, abs=1e-4)


def test_only_the_region_counts(wrong):
    """Outside of it entropy falls with the error."""
    region = torch.zeros(1, 21, 25, dtype=torch.bool)
    region[0, :, 4:18] = True
    sure = torch.where(region[0], -wrong, wrong)
    field = torch.stack([wrong, 0 * wrong])[None]
    rows = entropy_against_error(Doubts(sure, field), [blank(region)] * 2).rows
    assert [row["spearman"] for row in rows] == pytest.approx([1, -1, 1, 1], abs=1e-4)
    everywhere = entropy_against_error(Doubts(sure, field), [blank()] * 2).rows
    assert everywhere[0]["spearman"] < 0.9


def test_constant_entropy_says_nothing(wrong):
    finding = entropy_against_error(Doubts(0 * wrong, torch.stack([wrong, wrong])[None]), [blank(), blank()])
    assert all(row["spearman"] == 0 for row in finding.rows)
    assert finding.sentence.startswith("Entropy rises with the error in 0 of 4 decoder routers, falls in 0, and is")


def test_volumes_too():
    """Entropy is the error itself: one on the first half, none on the second."""
    half = torch.zeros(8, 6, 4)
    half[:4] = torch.rand(4, 6, 4, generator=torch.Generator().manual_seed(0))
    model = Doubts(-half, torch.stack([half, 0 * half, 0 * half])[None])
    model.forward = lambda moving, fixed: volume_of(half, moving)
    image = torch.zeros(1, 8, 6, 4)
    rows = entropy_against_error(model, [Pair(image, image, displacement=torch.zeros(3, 8, 6, 4))] * 2).rows
    assert [row["spearman"] for row in rows] == [pytest.approx(1, abs=1e-4)]


def volume_of(wrong, moving):
    logits = torch.stack([torch.zeros_like(wrong), 3 - wrong])[None, None]
    routing = Routing(
        logits, logits, logits.argmax(2, keepdim=True), ("a", "b"), ("z",), site=Site("decoder.0", "decoder", 1)
    )
    field = torch.stack([wrong, 0 * wrong, 0 * wrong])[None]
    return Registration(field, moving, (field,), {"decoder.0": routing})


def test_the_spread_is_that_over_pairs():
    rows = [{"layer": "a", "router": "y", "per_pair": {"spearman": values}} for values in ([0.1, 0.3], [-0.9, -0.7])]
    # 0.2 +- 12.706 * 0.1 and -0.8 +- 12.706 * 0.1
    assert entropy_sentence(rows) == (
        "Entropy rises with the error in 0 of 2 decoder routers, falls in 0, and is not told apart from no relation in "
        "2; the strongest rank correlation is -0.80 [-2.07, +0.47] in a, direction y."
    )
    rows.append({"layer": "b", "router": "x", "per_pair": {"spearman": [-0.95, -0.95]}})
    assert "falls in 1" in entropy_sentence(rows)
    assert entropy_sentence(rows).endswith("is -0.95 [-0.95, -0.95] in b, direction x.")


def test_correlations_of_pairs_are_averaged(wrong):
    class Half(Doubts):
        def forward(self, moving, fixed):
            self.sure = self.sure * (1 if fixed.max() > 0 else -1)
            result = super().forward(moving, fixed)
            self.sure = self.sure * (1 if fixed.max() > 0 else -1)
            return result

    image = torch.ones(1, 21, 25)
    pairs = [Pair(image * value, image * value, displacement=torch.zeros(2, 21, 25)) for value in (1.0, 1.0, 0.0)]
    rows = entropy_against_error(Half(-wrong, torch.stack([wrong, 0 * wrong])[None]), pairs).rows
    assert rows[0]["per_pair"]["spearman"] == pytest.approx([1, 1, -1], abs=1e-4)
    assert rows[0]["spearman"] == pytest.approx(1 / 3, abs=1e-4)
    assert rows[0]["sd_over_pairs"] == pytest.approx((8 / 9) ** 0.5, abs=1e-4)


def test_rank_correlation_is_scipys_ties_included(generator):
    first = torch.randint(0, 6, (80,), generator=generator).float()  # many ties
    second = torch.rand(80, generator=generator) + first**3 / 100
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first.numpy(), second.numpy()).statistic)
    assert rank_correlation(second, -torch.exp(second)) == pytest.approx(-1, abs=1e-4)
    assert rank_correlation(torch.zeros(80), first) == rank_correlation(first, torch.ones(80)) == 0


# ---- all of it ----


def test_runs_are_in_evaluation_mode_and_without_gradients(pairs):
    model = RoutesByOrgan().train()
    results = list(run(model, pairs))
    assert [pair for pair, _ in results] == pairs
    assert not model.training
    assert not any(result.displacement.requires_grad for _, result in results)
    assert [float(r.routing["decoder.0.shmoe"].load()[0, 2]) for _, r in results] == pytest.approx([ORGAN / 1024] * 3)


QUESTIONS = ["How is the load shared?", "Do experts know the organs?", "Who is missed?", "Does doubt mark error?"]


def test_every_question_is_asked_with_the_same_seed(pairs):
    first, same, other = ([f.rows for f in audit(RoutesByOrgan(), pairs[:2], seed=seed)] for seed in (0, 0, 1))
    assert [finding.question for finding in audit(RoutesByOrgan(), pairs[:2])] == QUESTIONS
    for number in (0, 1, 3):
        assert first[number] == same[number]
    assert first[0] == other[0]
    assert first[1][0]["bits_shuffled"] != other[1][0]["bits_shuffled"]
    assert first[2][-1]["epe"] == same[2][-1]["epe"] != other[2][-1]["epe"]  # random gates


def test_without_the_truth_doubt_is_not_asked_for(pairs):
    blind = Pair(pairs[1].moving, pairs[1].fixed, pairs[1].moving_labels, pairs[1].fixed_labels)
    assert [f.question for f in audit(RoutesByOrgan(), [pairs[0], blind])] == QUESTIONS[:3]


def test_audit_of_a_real_network():
    torch.manual_seed(0)
    model = models.build("shmoareg", dims=2, widths=(4, 6), decoder_widths=(4, 4), moa_levels=(1,), heads=2)
    findings = audit(model, [phantoms.make("abdomen", (24, 20), seed) for seed in range(2)])
    assert [finding.question for finding in findings] == QUESTIONS
    assert all(finding.rows and finding.sentence.endswith(".") for finding in findings)
    for finding in findings:
        assert draw(finding).axes
