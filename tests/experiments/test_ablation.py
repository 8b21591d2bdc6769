"""Experiments that train, in a form of a few steps: what is compared with what, and what the sentences say."""

import pytest
from moereg.evaluation import experiments

from moereg.data import phantoms
from moereg.experiments import Protocol, Task
from moereg.training import TrainingConfig
from moereg.viz import draw

SIZES = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
PROTOCOL = Protocol(TrainingConfig(steps=1, device="cpu"), seeds=(0, 1), sizes=SIZES)


@pytest.fixture(scope="module")
def task():
    pairs = [phantoms.make("abdomen", (24, 24), seed) for seed in range(2)]
    return Task("small", pairs, pairs)


def test_ablation_trains_every_variant_with_every_seed(task):
    kept = []
    variants = {"per direction": {}, "joint router": {"routers": "joint"}}
    finding = experiments.ablation([task], PROTOCOL, variants=variants, keep=lambda *args: kept.append(args[:3]))
    assert [(row["variant"], row["seed"]) for row in finding.rows] == [(v, s) for v in variants for s in (0, 1)]
    assert kept == [("small", v, s) for v in variants for s in (0, 1)]
    assert finding.sentence.startswith("On small, Dice against 'per direction'")
    assert draw(finding).axes


def test_variants_have_near_equal_parameters():
    from moereg.models import build

    counts = {
        name: sum(p.numel() for p in build("shmoareg", dims=2, **sizes).parameters())
        for name, sizes in experiments.VARIANTS.items()
    }
    reference = counts["per direction"]
    assert all(abs(count - reference) / reference < 0.1 for count in counts.values()), counts


def test_comparison_is_paired_by_seed():
    rows = [
        {"task": "t", "variant": variant, "seed": seed, "dice": dice, "epe": 1.0}
        for variant, values in (("a", (0.5, 0.7, 0.9)), ("b", (0.4, 0.6, 0.8)))
        for seed, dice in enumerate(values)
    ]
    mean, error, seeds = experiments.compare(rows, "t", "a", "b")
    assert (mean, seeds) == (pytest.approx(0.1), 3)
    assert error == pytest.approx(0, abs=1e-12)
    assert "differs clearly for b -0.100" in experiments._ablation_sentence(rows)
    same = [row | {"dice": 0.5} for row in rows]
    assert "differs clearly for no variant" in experiments._ablation_sentence(same)


@pytest.mark.parametrize("follows", ["the motion", "the axis"])
def test_axis_test_tells_motion_from_axis(task, follows, monkeypatch):
    """Profiles are set by hand: the second network's follow either the exchanged motion or its own axis."""
    profiles = {"original": [3.0, 5.0], "permuted": [5.0, 3.0] if follows == "the motion" else [3.0, 5.0]}
    monkeypatch.setattr(experiments, "train_one", lambda task, protocol, seed: (task.name, seed))

    def profile(model, pairs):
        import numpy as np

        name, seed = model
        return np.array(profiles[name]) + 0.01 * seed, ("y", "x")

    monkeypatch.setattr(experiments, "extent_profile", profile)
    tasks = [Task(name, task.train, task.test) for name in ("original", "permuted")]
    finding = experiments.axis_test(*tasks, PROTOCOL, order=(1, 0))
    assert finding.sentence.endswith(f"routing follows {follows}.")
    assert draw(finding).axes


def test_extent_profile_of_uniform_gates_is_the_mean_extent(task):
    model = experiments.train_one(task, PROTOCOL, 0, gate="uniform")
    profile, routers = experiments.extent_profile(model, task.test)
    assert routers == ("y", "x")
    assert profile.tolist() == pytest.approx([4.0, 4.0])
