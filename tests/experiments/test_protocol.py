"""One network of an experiment: its sizes, its seed, its training."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from moereg.experiments import Protocol, Task, kept_in, train_one
from moereg.experiments import protocol as protocols
from moereg.experiments.ablation import with_frozen_routers
from moereg.experiments.protocol import count_parameters
from moereg.training import TrainingConfig
from tests.oracles import Toy, ToySizes, slab_pair

TRAINING = TrainingConfig(steps=7, learning_rate=0.25, smoothness=0.5, device="cpu")


@pytest.fixture
def task():
    return Task("slabs", [slab_pair(), slab_pair(1)], [slab_pair(2)])


def test_dims_are_those_of_the_pairs(task):
    assert task.dims == 2
    assert Task("flat training", task.train, [slab_pair(shape=(20, 4, 4))]).dims == 3


def test_sizes_of_the_protocol_then_of_the_variant(task, fitted):
    protocol = Protocol(TRAINING, model="toy", sizes={"shift": 2.0, "recursions": 3})
    assert train_one(task, protocol, 0).sizes == replace(ToySizes(), shift=2.0, recursions=3)
    assert train_one(task, protocol, 0, shift=5.0).sizes == replace(ToySizes(), shift=5.0, recursions=3)
    assert train_one(task, protocol, 0, dims=3).sizes.dims == 3
    flat = Task("volumes", task.train, [slab_pair(shape=(20, 4, 4))])
    assert train_one(flat, protocol, 0).sizes.dims == 3


def test_the_seed_draws_the_weights_and_orders_the_pairs(task, fitted):
    protocol = Protocol(TRAINING, seeds=(3, 4), model="toy")
    torch.manual_seed(99)
    for seed in protocol.seeds:
        model = train_one(task, protocol, seed)
        assert (model.born, model.config.seed) == (seed, seed)
    assert [call.config for call in fitted.calls] == [replace(TRAINING, seed=seed) for seed in (3, 4)]
    assert all(call.pairs is task.train for call in fitted.calls)
    assert not any(call.progress for call in fitted.calls)


def test_options_of_the_training_differ_for_one_run(task, fitted):
    train_one(task, Protocol(TRAINING, model="toy"), 1, training={"smoothness": 0.125})
    assert fitted.calls[0].config == replace(TRAINING, seed=1, smoothness=0.125)


def test_without_a_training_the_usual_one(task, fitted):
    train_one(task, Protocol(model="toy"), 4)
    assert fitted.calls[0].config == TrainingConfig(seed=4)


def test_what_wraps_the_network_is_trained_with_it(task, fitted):
    model = train_one(task, Protocol(TRAINING, model="toy"), 0, wrap=lambda inner: nn.Sequential(inner))
    assert isinstance(model, nn.Sequential)
    assert fitted.calls[0].model is model
    assert isinstance(model[0], Toy)


def test_a_network_is_trained_for_real(task):
    """The same seed gives the same weights, another seed others, and they are not those before training."""
    protocol = Protocol(TrainingConfig(steps=1, similarity="mse", device="cpu"), sizes=SMALL)
    assert protocol.model == "shmoareg"
    assert protocol.seeds == (0, 1, 2)
    again, same, other = (weights(train_one(task, protocol, seed)) for seed in (0, 0, 1))
    assert torch.equal(again, same)
    assert not torch.equal(again, other)
    untrained = []
    train_one(task, protocol, 0, wrap=lambda model: untrained.append(weights(model)) or model)
    assert not torch.equal(untrained[0], again)


SMALL = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}


def test_what_is_kept_is_not_trained_again(task, tmp_path, monkeypatch):
    """The same run comes from the folder; another seed, option, size or set of pairs, or a frozen part, does not."""
    real = protocols.fit

    def fit(*args, **options):
        return replace(real(*args, **options), seconds=5.0)

    monkeypatch.setattr(protocols, "fit", fit)
    protocol = Protocol(TrainingConfig(steps=1, similarity="mse", device="cpu"), sizes=SMALL)
    alone = weights(train_one(task, protocol, 0))
    with kept_in(tmp_path / "store") as store:
        assert torch.equal(weights(train_one(task, protocol, 0)), alone)
        train_one(task, protocol, 1)
        train_one(task, protocol, 0, training={"smoothness": 0.5})
        train_one(task, protocol, 0, active_experts=1)
        train_one(Task("other", task.train, task.test), protocol, 0)
        train_one(Task("slabs", task.train[:1], task.test), protocol, 0)
        train_one(Task("slabs", task.train[::-1], task.test), protocol, 0)
        train_one(task, protocol, 0, wrap=with_frozen_routers)
        assert len(list((tmp_path / "store").iterdir())) == 8
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.safetensors")}
    with kept_in(tmp_path / "store") as store:
        assert torch.equal(weights(train_one(task, protocol, 0)), alone)
        assert store.earlier == pytest.approx(5, abs=1)
        seen = []
        train_one(task, protocol, 0, on_step=lambda step, model: seen.append(step))
        assert seen == [1]  # what is watched is trained
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    train_one(task, protocol, 5)  # nothing is kept afterwards
    assert len(list((tmp_path / "store").iterdir())) == 8


def weights(model):
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def test_parameters_are_counted_number_by_number():
    assert count_parameters(nn.Conv2d(2, 3, 5)) == 3 * 2 * 5 * 5 + 3
