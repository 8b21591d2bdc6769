"""Do networks route alike? Networks that are the same but for the names of their experts, and one that flips coins."""

import pytest
import torch

from moereg.experiments import seed_stability
from moereg.experiments.stability import stability_sentence
from moereg.viz import draw
from tests.oracles import RoutesByNothing, RoutesByOrgan, organ_pair


@pytest.fixture(scope="module")
def pairs():
    return [organ_pair(corner) for corner in ((2, 3), (15, 8))]


def test_permuted_experts_agree_once_they_are_matched(pairs):
    """1 - 144 / 1024 of the voxels have expert 1 here and expert 2 there, the others expert 2 here and 0 there."""
    finding = seed_stability([RoutesByOrgan(), RoutesByOrgan(order=(2, 0, 1))], pairs)
    assert [(r["models"], r["layer"], r["router"]) for r in finding.rows] == [
        ("0 and 1", f"decoder.{layer}.shmoe", router) for layer in (0, 1) for router in ("y", "x")
    ]
    organ = 144 / 1024
    for row in finding.rows[:2]:
        assert row["agreement"] == pytest.approx(1)
        assert row["by_name"] == 0
        assert row["chance"] == pytest.approx((1 - organ) ** 2 + organ**2)  # best match of independent maps
    assert all(row["agreement"] == pytest.approx(1) for row in finding.rows)
    assert finding.question == "Do seeds agree?"
    assert finding.sentence == stability_sentence(finding.rows)
    assert draw(finding).axes


def test_the_same_network_agrees_by_name(pairs):
    finding = seed_stability([RoutesByOrgan(), RoutesByOrgan()], pairs)
    assert all(row["agreement"] == row["by_name"] == pytest.approx(1) for row in finding.rows)


def test_independent_maps_agree_by_chance(pairs):
    """Coins give experts 1 and 2 half of the voxels each, wherever the organ is."""
    finding = seed_stability([RoutesByNothing(), RoutesByOrgan()], pairs)
    for row in finding.rows:
        assert row["agreement"] == pytest.approx(row["chance"], abs=0.06)
        assert row["chance"] == pytest.approx(0.5, abs=0.03)
    other_way = seed_stability([RoutesByOrgan(), RoutesByNothing()], pairs).rows[0]
    assert other_way["chance"] == pytest.approx(finding.rows[0]["chance"])  # both loads count
    # On the finest grid, 2 * 1024 voxels: 0.03 is two standard errors and a half
    assert all(row["agreement"] == pytest.approx(row["chance"], abs=0.03) for row in finding.rows[:2])


def test_all_pairs_of_networks_are_compared(pairs):
    models = [RoutesByOrgan(), RoutesByNothing(), RoutesByOrgan(order=(2, 0, 1))]
    finding = seed_stability(models, pairs)
    agreement = {(r["models"], r["layer"], r["router"]): r["agreement"] for r in finding.rows}
    assert list(dict.fromkeys(key[0] for key in agreement)) == ["0 and 1", "0 and 2", "1 and 2"]
    assert agreement["0 and 2", "decoder.0.shmoe", "x"] == pytest.approx(1)
    assert agreement["0 and 1", "decoder.0.shmoe", "x"] == pytest.approx(agreement["1 and 2", "decoder.0.shmoe", "x"])
    assert "3 pairs of networks" in finding.sentence


def test_every_direction_is_compared_with_its_own(pairs):
    """Along x the second network does the opposite of the first, along y the same."""
    other = RoutesByOrgan()
    with torch.no_grad():
        other.fine.weight[3:] = other.fine.weight[3:][[0, 2, 1]]  # names of experts 1 and 2 exchanged
    rows = {(r["layer"], r["router"]): r["by_name"] for r in seed_stability([RoutesByOrgan(), other], pairs).rows}
    assert rows["decoder.0.shmoe", "y"] == 1
    assert rows["decoder.0.shmoe", "x"] == 0


def row(models, agreement, by_name, chance):
    return {"models": models, "layer": "l", "router": "y", "agreement": agreement, "by_name": by_name, "chance": chance}


@pytest.mark.parametrize(
    ("chances", "word", "interval"),
    [
        # differences of 0.19, 0.20, 0.21 and the like: 4.303 * 0.01 / sqrt(3) = 0.025
        ((0.41, 0.40, 0.39), "more than", "+0.20 [+0.18, +0.22]"),
        ((0.79, 0.80, 0.81), "less than", "-0.20 [-0.22, -0.18]"),
        ((0.41, 0.59, 0.79), "not told apart from", "+0.00 [-0.47, +0.48]"),
    ],
)
def test_the_sentence_by_hand(chances, word, interval):
    """Two rows for each pair of networks, of which the mean counts."""
    rows = []
    for models, chance in zip(("0 and 1", "0 and 2", "1 and 2"), chances, strict=True):
        rows += [row(models, 0.5, 0.3, chance - 0.1), row(models, 0.7, 0.2, chance + 0.1)]
    assert stability_sentence(rows) == (
        "Two seeds give the same first expert at 60% of voxels after matching (25% by kernel size alone), "
        f"{word} the {sum(chances) / 3:.0%} of independent maps with the same loads (difference {interval}, "
        "3 pairs of networks; they share networks, so the interval is too narrow)."
    )
