"""How does specialisation grow? A network that learns to route by organ in one moment of its training."""

import pytest
import torch

from moereg.experiments import Protocol, Task, growth
from moereg.experiments import protocol as protocols
from moereg.experiments.growth import growth_sentence
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import RoutesByOrgan, organ_pair

PROTOCOL = Protocol(TrainingConfig(steps=16, device="cpu"), seeds=(0, 1))


@pytest.fixture
def learns_at_once(monkeypatch):
    """Undecided until the fourth step, with another seed until the eighth, then sure.

    The routers of one network are changed in place, as in training.
    """

    def fit(model, pairs, config, *, progress, on_step):
        routers = (model.fine, model.coarse)
        whole = [router.weight.detach().clone() for router in routers]
        for step in range(1, config.steps + 1):
            with torch.no_grad():
                for router, weight in zip(routers, whole, strict=True):
                    router.weight.copy_(weight * (1 if step >= 4 * (config.seed + 1) else 1e-4))
            on_step(step, model)

    monkeypatch.setattr(protocols, "build", lambda name, *, dims: RoutesByOrgan())
    monkeypatch.setattr(protocols, "fit", fit)


def test_what_is_learnt_in_one_moment_is_seen_there(learns_at_once, no_surfaces):
    told, pairs = [], [organ_pair((2, 3)), organ_pair((15, 8))]
    finding = growth(Task("t", pairs, pairs), PROTOCOL, on_rows=told.extend)
    assert [(row["step"], row["seed"]) for row in finding.rows] == [
        (s, seed) for seed in (0, 1) for s in (1, 2, 4, 8, 16)
    ]
    for row in finding.rows:
        late = row["step"] >= 4 * (row["seed"] + 1)
        assert row["entropy"] == pytest.approx(0.02, abs=0.02) if late else row["entropy"] == pytest.approx(1, abs=1e-4)
        assert row["epe"] == pytest.approx(0)  # the first of near-equals makes the same field
        assert row["same_expert"] == pytest.approx(1)
        assert row["expert_cost"] > 0.2  # two voxels in the organ's seventh of the image
        assert row["gates_cost"] > 0
    assert [{"step": row["step"], "seed": row["seed"]} for row in told] == [
        {"step": row["step"], "seed": row["seed"]} for row in finding.rows
    ]
    assert finding.question == "How does specialisation grow?"
    assert finding.sentence == growth_sentence(finding.rows)
    figure = draw(finding)
    means = figure.axes[1].lines[1]
    assert list(means.get_xdata()) == [1, 2, 4, 8, 16]
    sure = finding.rows[4]["entropy"]
    assert list(means.get_ydata()) == pytest.approx([1, 1, (1 + sure) / 2, sure, sure], abs=1e-3)
    assert len(growth(Task("t", pairs, pairs), PROTOCOL, looks=2).rows) == 4  # after 8 and 16 steps


def test_the_sentence_by_hand():
    found = [(2, 1.0, 0.0, 0.3), (16, 0.4, 0.5, 0.8)]
    rows = [
        {"step": step, "seed": seed, "entropy": entropy, "expert_cost": cost, "gates_cost": 0.1 * seed}
        | {"same_expert": share, "same_by_chance": 0.25}
        for step, entropy, cost, share in found
        for seed in (0, 1)
    ]
    assert growth_sentence(rows) == (
        "From step 2 to step 16, the entropy of decoder routers, of log N: 1.00 to 0.40, lower (-0.60 [-0.60, -0.60]); "
        "what the most missed expert is worth, voxels: 0.00 to 0.50, higher (+0.50 [+0.50, +0.50]); what gates are "
        "worth against random ones, voxels: 0.05 to 0.05, not told apart (+0.00 [+0.00, +0.00]); voxels with the same "
        "first expert in two seeds: 30% (by chance 25%) to 80% (by chance 25%)."
    )


def test_one_seed_agrees_with_nobody():
    with pytest.raises(ValueError, match=r"protocol must have two seeds or more to be compared, got \(0,\)"):
        growth(Task("t", [], []), Protocol(seeds=(0,)))
