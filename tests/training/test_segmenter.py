"""SegReg's segmenter: it learns labels it knows, from both images, in the order of its seed."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moereg.data.pairs import Pair
from moereg.models.segmentation import Segmenter
from moereg.training import TrainingConfig, fit_segmenter, prepare
from moereg.training import segmenter as module
from tests.oracle_models import box_pair

pytestmark = pytest.mark.plain_errors


class ByBrightness(nn.Module):
    """Two numbers per label: `logits = weight * brightness + bias`. In place of a UNet."""

    labels = (0, 1)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.1, -0.2]))
        self.bias = nn.Parameter(torch.tensor([0.3, 0.0]))
        self.seen = []

    def forward(self, images):
        self.seen.append((images, self.training))
        return images * self.weight.reshape(1, 2, 1, 1) + self.bias.reshape(1, 2, 1, 1)


def pairs(count=3):
    return [box_pair((10, 9), (2 + n, 2), (4, 4), (1, n)) for n in range(count)]


def loss_by_hand(logits, labels):
    """Cross-entropy, and one minus soft Dice, the mean over items and labels."""
    onehot, p = F.one_hot(labels[:, 0], 2).movedim(-1, 1).float(), logits.softmax(1)
    overlap, total = (onehot * p).flatten(2).sum(2), (onehot + p).flatten(2).sum(2)
    return F.cross_entropy(logits, labels[:, 0]) + (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()


def test_three_steps_by_hand():
    """The loss, Adam at the given rate, a cosine over the steps, both images of pairs drawn from the seed."""
    ours, theirs = ByBrightness(), ByBrightness()
    losses = fit_segmenter(ours, pairs(), steps=3, learning_rate=0.1, seed=4)

    order = torch.Generator().manual_seed(4)
    optimiser = torch.optim.Adam(theirs.parameters(), lr=0.1)
    expected = []
    for step in range(3):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 3)) / 2
        pair = pairs()[int(torch.randint(3, (), generator=order))]
        images, labels = torch.stack([pair.moving, pair.fixed]), torch.stack([pair.moving_labels, pair.fixed_labels])
        assert torch.equal(ours.seen[step][0], images)
        loss = loss_by_hand(theirs(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        expected.append(float(loss.detach()))
    assert losses == pytest.approx(expected, rel=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert [training for _, training in ours.seen] == [True] * 3
    assert not ours.training


def test_pairs_come_to_where_the_segmenter_is(monkeypatch):
    to, asked = Pair.to, []
    monkeypatch.setattr(Pair, "to", lambda pair, device: asked.append(device) or to(pair, device))
    fit_segmenter(ByBrightness(), pairs(), steps=2)
    assert asked == [torch.device("cpu")] * 2


def test_labels_that_it_does_not_know_are_background():
    strange = [box_pair((10, 9), (2, 2), (4, 4), (0, 0))]
    for lab in (strange[0].moving_labels, strange[0].fixed_labels):
        lab[lab == 1] = 7
    model = ByBrightness()
    [loss] = fit_segmenter(model, strange, steps=1)
    images, nothing = model.seen[0][0], torch.zeros(2, 1, 10, 9, dtype=torch.int64)
    assert loss == pytest.approx(float(loss_by_hand(ByBrightness()(images), nothing).detach()), rel=1e-4)


def test_it_learns_to_tell_the_box_from_its_background():
    torch.manual_seed(0)
    segmenter = Segmenter((0, 1), dims=2, widths=(4, 8))
    losses = fit_segmenter(segmenter, pairs(1), steps=30)
    assert losses[-1] < 0.5 * losses[0]
    assert (segmenter.segment(pairs(1)[0].fixed[None]) == pairs(1)[0].fixed_labels[None]).float().mean() > 0.9


def test_progress(capsys):
    fit_segmenter(ByBrightness(), pairs(), steps=2, progress=True)
    assert "segment: 100%" in capsys.readouterr().err
    fit_segmenter(ByBrightness(), pairs(), steps=2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("missing", ["moving_labels", "fixed_labels"])
def test_pairs_without_labels_are_refused_by_name(missing):
    [pair] = pairs(1)
    for name, said in (("box", "box"), ("", "a pair")):
        part = type(pair)(**(pair.__dict__ | {missing: None, "name": name}))
        with pytest.raises(ValueError, match=f"pairs must all have labels to learn from, got {said} without"):
            fit_segmenter(ByBrightness(), [part], steps=1)


def test_no_pairs_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="pairs must hold at least one pair, got none"):
        fit_segmenter(ByBrightness(), [], steps=1)
    with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
        fit_segmenter(ByBrightness(), pairs(), steps=0)


def test_defaults(monkeypatch):
    rates = []
    real = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda parameters, lr: rates.append(lr) or real(parameters, lr=lr))
    model = ByBrightness()
    assert len(fit_segmenter(model, pairs())) == 200
    assert rates == [1e-2]
    first = int(torch.randint(3, (), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(model.seen[0][0][0], pairs()[first].moving)


# ---- prepare ----


def test_prepare_trains_the_segmenter_with_steps_and_seed_of_the_config(monkeypatch):
    calls = []

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.segmenter = ByBrightness()

        def to(self, device):
            calls.append(device)
            return self

    monkeypatch.setattr(module, "fit_segmenter", lambda *arguments, **options: calls.append((arguments, options)))
    monkeypatch.setattr(module, "best_device", lambda name: f"best of {name}")
    model, some = Model(), pairs()
    prepare(model, some, TrainingConfig(steps=7, seed=3, device="cpu"))
    prepare(model, some, TrainingConfig(steps=7, seed=3, device="mps"), progress=True)
    said = {"steps": 7, "seed": 3}
    assert calls == [
        "best of cpu",
        ((model.segmenter, some), said | {"progress": False}),
        "best of mps",
        ((model.segmenter, some), said | {"progress": True}),
    ]


@pytest.mark.parametrize("segmenter", [None, "absent"])
def test_prepare_leaves_other_models_alone(segmenter):
    model = ByBrightness()
    if segmenter is None:
        model.segmenter = None
    prepare(model, pairs(), TrainingConfig(steps=1, device="cpu"))
    assert model.seen == []
