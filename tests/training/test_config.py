"""What a training depends on: its defaults, what it refuses, and where it runs."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from moereg import similarity
from moereg.training import SIMILARITIES, History, TrainingConfig, best_device

pytestmark = pytest.mark.plain_errors


def test_defaults():
    """As the chapters and recorded runs have them: a change here changes published numbers."""
    assert asdict(TrainingConfig()) == {
        "steps": 300,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup": None,
        "similarity": "lncc",
        "window": 9,
        "first_window": None,
        "smoothness": 0.1,
        "labels": 0.0,
        "motion": 0.0,
        "balance": 0.01,
        "z": 0.001,
        "information": 0.0,
        "folds": 0.0,
        "inverse": 0.0,
        "force": 0.5,
        "augmentation": None,
        "pairs_per_step": 1,
        "accumulate": 1,
        "average": 0.0,
        "seed": 0,
        "device": "auto",
        "precision": "32-true",
        "checkpointing": False,
        "compile": False,
        "checkpoint_every": 100,
    }
    assert asdict(History()) == {"loss": [], "similarity": [], "dice": [], "seconds": 0.0, "lengthened": []}
    known = {"lncc": similarity.lncc, "mse": similarity.mse, "mi": similarity.mutual_information}
    assert known == SIMILARITIES


@pytest.mark.parametrize("name", ["steps", "pairs_per_step", "accumulate", "checkpoint_every", "window"])
def test_counts_are_whole_numbers_above_zero(name):
    assert getattr(TrainingConfig(**{name: 1}), name) == 1
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"{name} must be a positive integer, got {wrong}"):
            TrainingConfig(**{name: wrong})


def test_the_learning_rate_is_above_zero_and_need_not_be_whole():
    for wrong in (0, -1e-3, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"learning_rate must be a positive number, got {wrong}"):
            TrainingConfig(learning_rate=wrong)


@pytest.mark.parametrize(
    "name", ["smoothness", "labels", "motion", "balance", "z", "information", "folds", "inverse", "force"]
)
def test_weights_are_zero_or_more(name):
    assert name in TrainingConfig.WEIGHTS
    assert getattr(TrainingConfig(**{name: 0}), name) == 0
    assert getattr(TrainingConfig(**{name: 2.5}), name) == 2.5
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"{name} must be zero or more, got {wrong}"):
            TrainingConfig(**{name: wrong})


def test_similarity_is_one_of_three():
    with pytest.raises(ValueError, match="similarity must be one of 'lncc', 'mse', 'mi', got 'nmi'"):
        replace(TrainingConfig(), similarity="nmi")


@pytest.mark.parametrize(
    ("there", "auto"), [({"cuda", "mps"}, "cuda"), ({"cuda"}, "cuda"), ({"mps"}, "mps"), (set(), "cpu")]
)
def test_the_best_device_is_a_gpu_where_there_is_one(there, auto, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    assert best_device() == best_device("auto") == torch.device(auto)
    assert best_device("cpu") == torch.device("cpu")
    for name in ("cuda", "mps"):
        if name in there:
            assert best_device(name) == torch.device(name)
        else:
            with pytest.raises(ValueError, match=f"device must be one that this machine has, got '{name}'"):
                best_device(name)
    with pytest.raises(ValueError, match="device must be one of 'auto', 'cpu', 'cuda', 'mps', got 'tpu'"):
        best_device("tpu")
