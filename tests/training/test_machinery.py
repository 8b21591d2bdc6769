"""How a training computes, which must not change what: passes, recomputation, averages, schedules, masks."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from moereg import models
from moereg.data import phantoms
from moereg.models.storage import read_tensors, write_tensors
from moereg.training import TrainingConfig, collate, fit, learning_rate, registration_loss
from moereg.training import schedule as schedules
from moereg.training.average import WeightAverage
from moereg.training.config import check_precision
from moereg.training.loss import within
from moereg.training.memory import kept_bytes
from moereg.training.recompute import depth, parts_of, recomputing
from moereg.training.step import TrainingPass

pytestmark = pytest.mark.plain_errors

SMALL = {
    "shmoareg": {"widths": (4, 6), "decoder_widths": (6, 6), "moa_levels": (1,), "heads": 2},
    "drivenmorph": {"widths": (4, 6), "attention_levels": (1,)},
    "rman": {},
}
# Without the terms that are statistics of a whole batch.
EXACT = TrainingConfig(
    steps=1, device="cpu", precision="64-true", balance=0, information=0, pairs_per_step=4, learning_rate=1e-2
)


def model_of(name="shmoareg", seed=0):
    torch.manual_seed(seed)
    return models.build(name, dims=2, **SMALL[name])


@pytest.fixture(scope="module")
def pairs():
    return [phantoms.make("abdomen", (24, 24), seed) for seed in range(4)]


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# ---- passes ----


def test_passes_add_up_to_the_step_of_the_bigger_batch(pairs):
    """One step of four pairs, in one pass, in two and in four: the same weights."""
    results = []
    for together, passes in ((4, 1), (2, 2), (1, 4)):
        model = model_of()
        before = weights(model).double()
        history = fit(model, pairs, replace(EXACT, pairs_per_step=together, accumulate=passes), progress=False)
        results.append((weights(model), history.loss[0], history.dice[0]))
        assert (weights(model) - before).abs().max() > 1e-3
    for found in results[1:]:
        assert (found[0] - results[0][0]).abs().max() < 1e-10
        assert found[1:] == pytest.approx(results[0][1:], abs=1e-12)


def test_double_precision_is_honoured(pairs):
    model = model_of()
    fit(model, pairs, EXACT, progress=False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_no_precision_is_exchanged_for_another(pairs, monkeypatch):
    with pytest.raises(
        ValueError, match="precision must be '32-true', '64-true' or 'bf16-mixed' on a CPU, got '16-mixed'"
    ):
        fit(model_of(), pairs, replace(EXACT, precision="16-mixed"), progress=False)
    with pytest.raises(ValueError, match="on MPS, got '64-true'"):
        check_precision("64-true", torch.device("mps"))
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda there=there: there)
        check_precision("16-mixed", torch.device("cuda"))
        if there:
            check_precision("bf16-mixed", torch.device("cuda"))
            continue
        with pytest.raises(ValueError, match="on this GPU, got 'bf16-mixed', which it has not"):
            check_precision("bf16-mixed", torch.device("cuda"))


def test_the_network_is_compiled_where_that_is_asked_for(pairs, monkeypatch):
    compiled = []

    def as_it_is(network):
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", as_it_is)
    model = model_of()
    fit(model, pairs, replace(EXACT, compile=True), progress=False)
    assert compiled == [model]
    fit(model, pairs, EXACT, progress=False)
    assert compiled == [model]


# ---- recomputation ----


def computed(model, batch, config):
    """Bytes kept from the forward to the backward pass, loss, gradient."""
    model = copy.deepcopy(model).double()
    loss, _ = TrainingPass(model, config)(0, False, **vars(batch))
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return kept_bytes(model, batch, config), float(loss.detach()), gradients


@pytest.mark.parametrize("name", SMALL)
def test_recomputed_activations_are_not_kept_and_change_nothing(name, pairs):
    """Value and gradient to rounding, at a fraction of the memory."""
    batch = collate(pairs[:1], "cpu")
    doubled = {key: value.double() if value is not None and value.is_floating_point() else value
               for key, value in vars(batch).items()}  # fmt: skip
    batch = replace(batch, **doubled)
    model = model_of(name)
    plain, loss, gradient = computed(model, batch, EXACT)
    less, same_loss, same_gradient = computed(model, batch, replace(EXACT, checkpointing=True))
    assert same_loss == loss
    assert (same_gradient - gradient).abs().max() < 1e-12
    assert less < 0.5 * plain
    assert not any("forward" in vars(module) for module in model.modules())


def test_kept_bytes_by_hand(pairs):
    """A product by a weight keeps its input, the mean of a square its difference; the weight is not counted."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, moving, fixed):
            field = torch.zeros(2, 2, 24, 24)
            return models.Registration(field, moving * self.weight)

    batch = collate(pairs[:1], "cpu")
    config = TrainingConfig(similarity="mse", smoothness=0)
    assert kept_bytes(Scale(), batch, config) == 2 * 2 * 24 * 24 * 4


def test_parts_are_blocks_and_not_their_convolutions():
    model = model_of()
    parts = parts_of(model)
    assert model.mixtures[0] in parts
    assert model.attention["1"] in parts
    assert model.encoder not in parts  # too deep: its inputs would be the image, and nothing would be saved
    assert not any(type(part) is nn.Conv2d for part in parts)
    assert depth(nn.Sequential(nn.ModuleList([nn.Linear(1, 1)]))) == 1
    with pytest.raises(ValueError, match="checkpointing must find parts to compute anew, got none in Linear"):
        recomputing(nn.Linear(2, 2)).__enter__()


# ---- an average of the weights ----


def test_the_average_by_hand():
    """Decays 1/10, 2/11, then at most 0.15."""
    layer = nn.Linear(1, 1, bias=False)
    values = [8.0, 2.0, 4.0, 6.0]
    with torch.no_grad():
        layer.weight.fill_(values[0])
    average, expected = WeightAverage(layer, 0.15), values[0]
    for step, (value, decay) in enumerate(zip(values[1:], (0.1, 0.15, 0.15), strict=True), start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step)
        expected = decay * expected + (1 - decay) * value
        assert float(average.values["weight"]) == pytest.approx(expected)
    layer.requires_grad_(False)
    with average.in_place():
        assert float(layer.weight) == pytest.approx(expected)
    assert float(layer.weight) == 6.0
    average.settle()
    assert float(layer.weight) == pytest.approx(expected)


def test_the_averaged_weights_are_seen_saved_and_gone_on_from(pairs, tmp_path):
    """What looks on, and whoever uses the model, has the average; the training goes on from the last weights."""
    config = TrainingConfig(steps=6, device="cpu", checkpoint_every=3, average=0.5, learning_rate=1e-2)
    seen, whole, last = [], model_of(), model_of()
    fit(whole, pairs, config, out=tmp_path / "a", progress=False, on_step=lambda step, m: seen.append(weights(m)))
    fit(last, pairs, replace(config, average=0.0), progress=False)
    tensors, _ = read_tensors(tmp_path / "a" / "checkpoint.safetensors")
    names = [name for name, _ in whole.named_parameters()]
    raw, averaged = (
        torch.cat([tensors[f"{kind}.{name}"].flatten() for name in names]) for kind in ("model", "average")
    )
    assert torch.equal(weights(whole), averaged)
    assert torch.equal(seen[-1], averaged)
    assert torch.equal(raw, weights(last))  # averaging does not disturb what it averages
    assert not torch.equal(raw, averaged)

    def interrupt(step, model):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model_of(), pairs, config, out=tmp_path / "b", progress=False, on_step=interrupt)
    resumed = model_of(seed=4)
    fit(resumed, pairs, config, out=tmp_path / "b", resume=True, progress=False)
    assert torch.equal(weights(resumed), averaged)
    ends = [read_tensors(tmp_path / name / "checkpoint.safetensors")[0] for name in "ab"]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    lost = {name: tensor for name, tensor in ends[0].items() if name != f"average.{names[0]}"}
    path = tmp_path / "b" / "checkpoint.safetensors"
    write_tensors(path, lost, read_tensors(path)[1])
    with pytest.raises(ValueError, match=f"must hold the model's weights, '{names[0]}' is missing"):
        fit(resumed, pairs, config, out=tmp_path / "b", resume=True, progress=False)


# ---- schedules ----


def test_a_constant_rate_does_not_know_how_many_steps_there_are():
    config = TrainingConfig(schedule="constant", learning_rate=2.0, steps=1000)
    assert [learning_rate(step, config) for step in (0, 49, 99, 100, 999)] == pytest.approx([0.02, 1, 2, 2, 2])
    assert [learning_rate(step, replace(config, steps=5)) for step in (0, 4)] == pytest.approx([0.02, 0.1])
    short = replace(config, warmup=4)
    assert [learning_rate(step, short) for step in (0, 3, 4)] == pytest.approx([0.5, 2, 2])
    assert learning_rate(0, replace(config, warmup=0)) == 2
    cosine = TrainingConfig(learning_rate=2.0, steps=100, warmup=10)
    assert [learning_rate(step, cosine) for step in (4, 10, 55)] == pytest.approx([1, 2, 1])
    for options, independent in (({}, False), ({"schedule": "constant"}, True),
                                 ({"schedule": "constant", "first_window": 21}, False)):  # fmt: skip
        assert schedules.independent_of_length(TrainingConfig(**options)) == independent


def test_the_window_shrinks_in_odd_numbers(pairs):
    config = TrainingConfig(steps=100, window=5, first_window=21)
    assert [schedules.window_at(step, config) for step in (0, 25, 50, 99)] == [21, 13, 5, 5]
    assert {schedules.window_at(step, config) % 2 for step in range(100)} == {1}
    assert schedules.window_at(0, replace(config, first_window=None)) == 5
    batch = collate(pairs[:1], "cpu")
    result = models.Registration(torch.zeros(2, 2, 24, 24), batch.moving)
    losses = [float(registration_loss(result, batch, replace(config, smoothness=0), step=step)[0]) for step in (0, 60)]
    expected = [float(schedules.lncc(batch.moving, batch.fixed, window)) for window in (21, 5)]
    assert losses == expected
    for wrong in (4, 20, 3.0):
        with pytest.raises(ValueError, match="first_window must be odd and at least as wide as window"):
            TrainingConfig(first_window=wrong)
    with pytest.raises(ValueError, match="window must be odd, so that it has a middle voxel, got 8"):
        TrainingConfig(window=8)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_training_is_lengthened(schedule, pairs, tmp_path):
    """Under a constant rate to the weights of one that was long from the start; a cosine falls anew, and is another."""
    long = TrainingConfig(steps=5, device="cpu", schedule=schedule, warmup=1, learning_rate=1e-2)
    whole = model_of()
    expected = fit(whole, pairs, long, progress=False)
    fit(model_of(), pairs, replace(long, steps=3), out=tmp_path, progress=False)
    lengthened = model_of(seed=3)
    history = fit(lengthened, pairs, long, out=tmp_path, resume=True, progress=False)
    assert torch.equal(weights(lengthened), weights(whole)) == (schedule == "constant")
    assert (history.loss == expected.loss) == (schedule == "constant")
    assert (len(history.loss), history.lengthened) == (5, [[3, 3]])
    again = fit(model_of(), pairs, replace(long, steps=6), out=tmp_path, resume=True, progress=False)
    assert again.lengthened == [[3, 3], [5, 5]]


def test_passes_may_change_on_the_way_but_not_the_pairs_of_a_step(pairs, tmp_path):
    config = TrainingConfig(steps=2, device="cpu", pairs_per_step=2)
    fit(model_of(), pairs, config, out=tmp_path, progress=False)
    more = replace(config, steps=3)
    with pytest.raises(ValueError, match="must have been made with 4 pairs a step, over all passes and devices, got 2"):
        fit(model_of(), pairs, replace(more, accumulate=2), out=tmp_path, resume=True, progress=False)
    other = replace(more, pairs_per_step=1, accumulate=2, checkpointing=True)
    assert len(fit(model_of(), pairs, other, out=tmp_path, resume=True, progress=False).loss) == 3


def test_a_checkpoint_of_before_there_were_passes_is_gone_on_from(pairs, tmp_path):
    """It does not say how many pairs a step had: as many as a pass."""
    config = TrainingConfig(steps=2, device="cpu", pairs_per_step=2)
    fit(model_of(), pairs, config, out=tmp_path, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    options, history = json.loads(header["config"]), json.loads(header["history"])
    for name in ("schedule", "warmup", "window", "first_window", "accumulate", "average", "checkpointing", "compile"):
        del options[name]
    del history["lengthened"], header["batch"]
    write_tensors(path, tensors, header | {"config": json.dumps(options), "history": json.dumps(history)})
    assert len(fit(model_of(), pairs, replace(config, steps=3), out=tmp_path, resume=True, progress=False).loss) == 3


# ---- masks ----


def test_outside_of_a_mask_nothing_pulls(pairs):
    """The similarity of the images as they are within the mask and equal outside; its gradient is zero there."""
    pair = pairs[0]
    mask = torch.zeros(1, 24, 24, dtype=torch.bool)
    mask[:, :12] = True
    masked = collate([replace(pair, fixed_mask=mask), pairs[1]], "cpu")
    assert masked.fixed_mask is not None
    assert [bool(part.all()) for part in masked.fixed_mask] == [False, True, True, True]  # two pairs, then back again
    assert torch.equal(masked.fixed_mask[0], mask)
    assert collate([replace(pair, moving_mask=mask)], "cpu").fixed_mask[1].equal(mask)
    assert collate([pair], "cpu").fixed_mask is None

    warped = masked.moving.clone().requires_grad_()
    config = TrainingConfig(similarity="mse", smoothness=0)
    loss, _ = registration_loss(models.Registration(torch.zeros(4, 2, 24, 24), warped), masked, config)
    difference = (masked.moving - masked.fixed).square() * masked.fixed_mask
    assert float(loss) == pytest.approx(float(difference.mean()), rel=1e-6)
    loss.backward()
    assert not warped.grad[0][:, 12:].any()
    assert warped.grad[0][:, :12].any()


def test_masks_go_with_coarser_levels_but_not_with_regions():
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[..., :4, :] = True
    seen = []
    compare = within(mask, lambda warped, fixed: seen.append(warped) or warped.sum())
    compare(torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    assert seen[0][:, :, :2].eq(1).all()
    assert seen[0][:, :, 2:].eq(0).all()
    with pytest.raises(
        ValueError, match="masks must go with a model that compares whole images, got one that compares"
    ):
        compare(torch.ones(6, 1, 8, 8), torch.zeros(6, 1, 8, 8))


def test_masks_are_mirrored_and_bent_with_their_image(pairs):
    from moereg.data.augmentation import Augmentation, augment

    pair = pairs[0]
    masks = {"moving_mask": pair.moving_labels > 0, "fixed_mask": pair.fixed_labels > 0}
    options = Augmentation(mirror=(0, 1), turn=10, shift=2, bend=1, gamma=0.2)
    plain = augment(pair, options, torch.Generator().manual_seed(3))
    bent = augment(replace(pair, **masks), options, torch.Generator().manual_seed(3))
    for name in ("moving", "fixed"):
        assert torch.equal(getattr(bent, name), getattr(plain, name))
        assert torch.equal(getattr(bent, f"{name}_labels"), getattr(plain, f"{name}_labels"))
        assert torch.equal(getattr(bent, f"{name}_mask"), getattr(plain, f"{name}_labels") > 0)
    alone = augment(
        replace(pair, moving_labels=None, fixed_labels=None, **masks), options, torch.Generator().manual_seed(3)
    )
    assert torch.equal(alone.moving_mask, bent.moving_mask)
    assert alone.moving_labels is None
    with pytest.raises(ValueError, match="moving_mask must have shape"):
        replace(pair, moving_mask=masks["moving_mask"][:, 1:])
