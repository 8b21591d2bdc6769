"""One training step after the other, by a model with two numbers: what is computed, recorded, saved and refused."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from moereg.data import Phantoms
from moereg.data.augmentation import Augmentation
from moereg.models.registration import Registration
from moereg.models.storage import read_tensors, write_tensors
from moereg.training import TrainingConfig, choose_pairs, fit, learning_rate
from moereg.training import loop as module
from moereg.training.checkpoint import identity_of
from tests.oracle_models import Shift, ShiftSizes, box_pair, enter

CONFIG = TrainingConfig(steps=6, similarity="mse", smoothness=0, device="cpu", checkpoint_every=2, learning_rate=0.1)
SHAPE = (12, 10)

pytestmark = pytest.mark.plain_errors  # a type check would read pairs that the training does not


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    enter(monkeypatch, Shift)


def shift(**sizes):
    return Shift(ShiftSizes(dims=2, **sizes))


def pairs(*shifts, labels=True):
    made = [box_pair(SHAPE, (4, 3), (4, 4), by) for by in shifts or ((1, 0), (0, 1), (2, 1))]
    return made if labels else [replace(pair, moving_labels=None, fixed_labels=None) for pair in made]


class Interrupt(Exception):
    pass


def interrupt_after(last):
    def on_step(step, model):
        if step == last:
            raise Interrupt

    return on_step


# ---- the rate and the pairs ----


def test_the_learning_rate_by_hand():
    """Warm-up over 5 of 100 steps, then half a cosine over the other 95."""
    config = replace(CONFIG, steps=100, learning_rate=2.0)
    assert [learning_rate(step, config) for step in range(6)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    for step in (10, 52, 99):
        expected = 2.0 * 0.5 * (1 + math.cos(math.pi * (step - 5) / 95))
        assert learning_rate(step, config) == pytest.approx(expected)
    assert learning_rate(100, config) == pytest.approx(0)
    # Whole steps: a twentieth of 50 is two and a half.
    assert [learning_rate(step, replace(config, steps=50)) for step in (0, 1, 2)] == pytest.approx([1.0, 2.0, 2.0])
    # Few steps still warm up for one; a single one is at the peak.
    assert [learning_rate(step, replace(config, steps=5)) for step in (0, 1, 3)] == pytest.approx([2.0, 2.0, 1.0])
    assert learning_rate(0, replace(config, steps=1)) == 2.0


def test_pairs_by_hand():
    """An epoch is a permutation, drawn from the seed and the epoch's number."""

    def order(seed, epoch):
        return torch.randperm(5, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)).tolist()

    two = replace(CONFIG, pairs_per_step=2, seed=3)
    stream = order(3, 0) + order(3, 1) + order(3, 2)
    assert [choose_pairs(step, 5, two) for step in range(6)] == [stream[n : n + 2] for n in range(0, 12, 2)]
    one = replace(CONFIG, seed=4)
    assert [choose_pairs(step, 5, one) for step in (0, 6)] == [order(4, 0)[:1], order(4, 1)[1:2]]
    assert choose_pairs(1, 1, replace(CONFIG, pairs_per_step=3)) == [0, 0, 0]
    assert choose_pairs(0, 5, replace(CONFIG, seed=0, pairs_per_step=12))[:10] == order(0, 0) + order(0, 1)


# ---- what a step does ----


def test_steps_are_those_of_adam_by_hand():
    """Two steps from a reference in float64: the slope of the loss by differences, Adam's rule, the warmed-up rate."""
    [pair] = pairs((2, 0))
    config = replace(CONFIG, steps=2, learning_rate=0.1)
    model = shift(voxels=(0.3, 0.4))
    history = fit(model, [pair], config, progress=False)

    images = [image[0].double().numpy() for image in (pair.moving, pair.fixed)]

    def loss(u):
        places = np.indices(SHAPE) + np.reshape(u, (2, 1, 1))
        both = [(images[a], images[b]) for a, b in ((0, 1), (1, 0))]  # both directions in one batch
        return np.mean([(map_coordinates(m, places, order=1, mode="nearest") - f) ** 2 for m, f in both])

    u, first, second, losses = np.array([0.3, 0.4]), np.zeros(2), np.zeros(2), []
    for step, rate in enumerate((0.1, 0.1), start=1):  # one step of warm-up, then the cosine's beginning
        losses.append(loss(u))
        slope = np.array([(loss(u + e) - loss(u - e)) / 2e-6 for e in np.eye(2) * 1e-6])
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        u = u - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    assert history.loss == pytest.approx(losses, rel=1e-4)
    assert history.similarity == pytest.approx(losses, rel=1e-4)
    assert model.offset.detach().numpy() == pytest.approx(u - [0.3, 0.4], rel=1e-3)


def test_similarity_is_recorded_without_the_other_terms():
    class Bent(Shift):
        def forward(self, moving, fixed):
            made = super().forward(moving, fixed)
            slope = torch.arange(float(moving.shape[2]))[:, None].expand(moving.shape[2:]) * 0.5
            return Registration(made.displacement + slope, made.warped)

    history = fit(Bent(ShiftSizes(dims=2)), pairs((1, 0)), replace(CONFIG, steps=1, smoothness=1.0), progress=False)
    assert history.loss[0] - history.similarity[0] == pytest.approx(2 * 0.5**2)  # two channels of slope a half


def test_each_step_reads_the_pairs_of_its_number():
    class Seen(list):
        read = ()

        def __getitem__(self, index):
            self.read += (index,)
            return super().__getitem__(index)

    seen, config = Seen(pairs()), replace(CONFIG, pairs_per_step=2, seed=9)
    fit(shift(), seen, config, progress=False)
    assert list(seen.read) == [index for step in range(6) for index in choose_pairs(step, 3, config)]


def test_the_overlap_is_measured_every_fifth_step_where_there_are_labels():
    history = fit(shift(), pairs((2, 0)), replace(CONFIG, steps=7, learning_rate=1e-6), progress=False)
    assert history.dice == [pytest.approx(0.5), *[None] * 4, pytest.approx(0.5), None]
    assert fit(shift(), pairs(labels=False), CONFIG, progress=False).dice == [None] * 6
    assert history.seconds > 0


def test_the_model_trains_in_training_mode_and_is_left_in_evaluation_mode():
    modes = []
    model = shift().eval()
    fit(
        model,
        pairs(),
        replace(CONFIG, steps=2),
        progress=False,
        on_step=lambda step, m: modes.append((step, m.training)),
    )
    assert modes == [(1, True), (2, True)]
    assert not model.training


def test_gradients_do_not_add_up_over_steps():
    gradients = []
    model = shift(voxels=(0.5, 0.5))
    fit(
        model,
        pairs((2, 0)),
        replace(CONFIG, steps=2, learning_rate=1e-7),
        progress=False,
        on_step=lambda step, m: gradients.append(m.offset.grad.clone()),
    )
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_labels_are_handed_to_a_model_that_needs_them():
    class Needy(Shift):
        needs_labels = True

        def forward(self, moving, fixed, *, moving_labels, fixed_labels):
            assert torch.equal(moving_labels.float(), moving)
            assert torch.equal(fixed_labels.float(), fixed)
            return super().forward(moving, fixed)

    assert len(fit(Needy(ShiftSizes(dims=2)), pairs(), replace(CONFIG, steps=1), progress=False).loss) == 1


def test_progress_shows_title_steps_and_overlap(capsys):
    fit(shift(), pairs((2, 0)), replace(CONFIG, steps=1), title="disc")
    shown = capsys.readouterr().err
    assert "disc: 100%" in shown
    assert "1/1" in shown
    assert "dice=0.500" in shown
    assert "loss=0.133" in shown  # 2 rows of 4 voxels off, at either end: 16 of 120
    fit(shift(), pairs((2, 0)), replace(CONFIG, steps=1), progress=False)
    assert capsys.readouterr().err == ""


def test_mixed_precision_reaches_the_model():
    seen = []

    class Asking(Shift):
        def forward(self, moving, fixed):
            seen.append((moving @ moving.mT).dtype)
            return super().forward(moving, fixed)

    for precision in ("32-true", "bf16-mixed"):
        fit(Asking(ShiftSizes(dims=2)), pairs(), replace(CONFIG, steps=1, precision=precision), progress=False)
    assert seen == [torch.float32, torch.bfloat16]


def test_defaults_are_those_of_the_config(monkeypatch):
    monkeypatch.setattr(module, "TrainingConfig", lambda: replace(CONFIG, steps=2))
    assert len(fit(shift(), pairs(), progress=False).loss) == 2


# ---- the loss must stay finite, pairs must be there ----


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    class Burst(Shift):
        def forward(self, moving, fixed):
            made = super().forward(moving, fixed)
            return Registration(made.displacement, made.warped * (1e30 if self.offset.detach().any() else 1))

    model = Burst(ShiftSizes(dims=2))
    with pytest.raises(ValueError, match=r"loss must stay finite, got (inf|nan) at step 1; lower the learning rate"):
        fit(model, pairs((2, 0)), replace(CONFIG, learning_rate=0.5), progress=False)
    assert float(model.offset.detach().abs().max()) == pytest.approx(0.5)  # of the first step alone


def test_no_pairs():
    with pytest.raises(ValueError, match="pairs must hold at least one pair, got none"):
        fit(shift(), [], CONFIG, progress=False)


# ---- checkpoints ----


def saved(folder):
    return read_tensors(folder / "checkpoint.safetensors")


def test_checkpoints_come_at_their_steps_and_at_the_end(tmp_path):
    found = {}

    def look(step, model):
        path = tmp_path / "run" / "checkpoint.safetensors"
        found[step] = read_tensors(path)[1]["step"] if path.exists() else None

    config = replace(CONFIG, steps=8, checkpoint_every=3)
    fit(shift(), pairs(), config, out=str(tmp_path / "run"), progress=False, on_step=look)
    # Each is written after the step's own callback.
    assert found == {1: None, 2: None, 3: None, 4: "3", 5: "3", 6: "3", 7: "6", 8: "6"}
    assert saved(tmp_path / "run")[1]["step"] == "8"
    fit(shift(), pairs(), CONFIG, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path):
    """Weights, Adam's moments and counter, and the history: bit by bit."""
    whole = fit(shift(), pairs(), CONFIG, out=tmp_path / "whole", progress=False)
    with pytest.raises(Interrupt):
        fit(shift(), pairs(), CONFIG, out=tmp_path / "cut", progress=False, on_step=interrupt_after(5))
    assert saved(tmp_path / "cut")[1]["step"] == "4"
    seen = []
    resumed = fit(
        shift(),
        pairs(),
        CONFIG,
        out=tmp_path / "cut",
        resume=True,
        progress=False,
        on_step=lambda step, model: seen.append(step),
    )
    assert seen == [5, 6]
    assert (resumed.loss, resumed.similarity, resumed.dice) == (whole.loss, whole.similarity, whole.dice)
    assert len(whole.loss) == 6
    (ours, our_header), (theirs, their_header) = saved(tmp_path / "cut"), saved(tmp_path / "whole")
    moments = ["adam.exp_avg.offset", "adam.exp_avg_sq.offset", "adam.step.offset"]
    assert sorted(ours) == [*moments, "model.drawn", "model.offset"]
    assert float(ours["adam.step.offset"]) == 6
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name != "model.drawn")
    assert our_header["step"] == their_header["step"] == "6"


def test_seconds_add_up_over_the_runs_of_a_resumed_training(tmp_path):
    with pytest.raises(Interrupt):
        fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False, on_step=interrupt_after(5))
    path = tmp_path / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    header["history"] = json.dumps(json.loads(header["history"]) | {"seconds": 1000.0})
    write_tensors(path, tensors, header)
    assert 1000 < fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True, progress=False).seconds < 1100


def test_a_finished_run_is_not_repeated_and_a_fresh_one_starts_anew(tmp_path):
    done = fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    model = shift()
    again = fit(model, pairs(), CONFIG, out=tmp_path, resume=True, progress=False)
    assert again == done
    assert torch.equal(model.offset, saved(tmp_path)[0]["model.offset"])
    seen = []
    fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False, on_step=lambda step, model: seen.append(step))
    assert seen == [1, 2, 3, 4, 5, 6]
    elsewhere = fit(shift(), pairs(), CONFIG, out=tmp_path / "new", resume=True, progress=False)
    assert elsewhere.loss == done.loss


def test_progress_of_a_resumed_run_goes_on_counting(tmp_path, capsys):
    with pytest.raises(Interrupt):
        fit(shift(), pairs(), CONFIG, out=tmp_path, on_step=interrupt_after(5))
    assert "train:" in capsys.readouterr().err
    fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True)
    shown = capsys.readouterr().err
    assert "4/6" in shown
    assert "6/6" in shown


@pytest.mark.parametrize(
    ("option", "before", "now"),
    [
        ("average", 0.0, 0.9),
        ("learning_rate", 0.1, 0.2),
        ("seed", 0, 1),
        ("z", 0.001, 0.5),
        ("similarity", "mse", "lncc"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused_by_the_options_name(option, before, now, tmp_path):
    fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    sentence = f"checkpoint .*checkpoint.safetensors must have been made with {option} = {now!r}, got {before!r}"
    with pytest.raises(ValueError, match=sentence):
        fit(shift(), pairs(), replace(CONFIG, **{option: now}), out=tmp_path, resume=True, progress=False)


def test_augmentation_is_a_function_of_seed_and_step(tmp_path):
    """Every step draws anew, a resumed run draws what the whole one drew, and the pairs themselves stay as they are."""
    config, made = replace(CONFIG, augmentation=Augmentation(shift=2.0, mirror=(0,))), pairs()
    drawn = [module.draw_pairs(step, made, config)[0].moving for step in range(6)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
    assert torch.equal(module.draw_pairs(3, made, config)[0].moving, drawn[3])
    assert not torch.equal(module.draw_pairs(3, made, replace(config, seed=1))[0].moving, drawn[3])
    plain = module.draw_pairs(3, made, CONFIG)
    assert [id(pair) for pair in plain] == [id(made[index]) for index in choose_pairs(3, 3, CONFIG)]
    two = module.draw_pairs(0, [made[0]], replace(config, pairs_per_step=2))
    assert not torch.equal(two[0].moving, two[1].moving)

    whole = fit(shift(), made, config, out=tmp_path / "whole", progress=False)
    assert whole.loss != fit(shift(), made, CONFIG, progress=False).loss
    with pytest.raises(Interrupt):
        fit(shift(), made, config, out=tmp_path / "cut", progress=False, on_step=interrupt_after(5))
    assert fit(shift(), made, config, out=tmp_path / "cut", resume=True, progress=False).loss == whole.loss
    with pytest.raises(ValueError, match="must have been made with augmentation = None, got {'mirror': "):
        fit(shift(), made, CONFIG, out=tmp_path / "cut", resume=True, progress=False)


def test_a_checkpoint_from_before_an_option_existed_had_its_default(tmp_path):
    done = fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    options = json.loads(header["config"])
    del options["folds"]
    write_tensors(path, tensors, header | {"config": json.dumps(options)})
    assert fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True, progress=False) == done
    with pytest.raises(ValueError, match=r"must have been made with folds = 0\.5, got 0\.0"):
        fit(shift(), pairs(), replace(CONFIG, folds=0.5), out=tmp_path, resume=True, progress=False)


def test_device_and_how_often_to_save_may_change(tmp_path):
    done = fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    for other in ({"device": "auto"}, {"checkpoint_every": 5}):
        assert fit(shift(), pairs(), replace(CONFIG, **other), out=tmp_path, resume=True, progress=False) == done


def test_a_checkpoint_of_another_model_or_other_sizes_is_refused(tmp_path, monkeypatch):
    fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"checkpoint .* must be of sizes .*9\.0.*, got .*0\.0"):
        fit(shift(voxels=(9.0, 0.0)), pairs(), CONFIG, out=tmp_path, resume=True, progress=False)
    enter(monkeypatch, Shift, "other")
    other = shift()
    other.name = "other"
    with pytest.raises(ValueError, match="checkpoint .* must be of model other, got shift"):
        fit(other, pairs(), CONFIG, out=tmp_path, resume=True, progress=False)


# ---- the data of a checkpoint, and whose folder it is ----


def test_other_data_is_not_gone_on_with(tmp_path):
    done = fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    other = [*pairs()[:-1], replace(pairs()[-1], moving=pairs()[-1].moving * 0.5)]
    for wrong in (other, pairs()[:-1], pairs()[::-1]):
        with pytest.raises(ValueError, match="must have been made with the pairs of this training, got one made with"):
            fit(shift(), wrong, CONFIG, out=tmp_path, resume=True, progress=False)
    assert fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True, progress=False) == done


def test_a_checkpoint_that_does_not_say_its_data_is_gone_on_with(tmp_path):
    """As those that were written before it did."""
    done = fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    del header["data"]
    write_tensors(path, tensors, header)
    assert fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True, progress=False) == done


def test_a_set_says_itself_what_it_is():
    one, other = (Phantoms("abdomen", (16, 16), 3, seed=seed) for seed in (0, 1))
    assert identity_of(one) == identity_of(Phantoms("abdomen", (16, 16), 3, cache=True))
    assert len({identity_of(one), identity_of(other), identity_of(replace(one, count=4))}) == 3
    assert identity_of(object()) is None
    assert identity_of(pairs()) == identity_of(pairs())


def test_weights_are_no_checkpoint(tmp_path):
    write_tensors(tmp_path / "checkpoint.safetensors", {}, {"model": "shift", "sizes": "{}"})
    with pytest.raises(ValueError, match="checkpoint.safetensors must be a checkpoint of a training, got a header"):
        fit(shift(), pairs(), CONFIG, out=tmp_path, resume=True, progress=False)


def test_a_second_training_may_not_write_into_the_same_folder(tmp_path):
    def second(step, model):
        with pytest.raises(ValueError, match="must be free, but another training writes into it"):
            fit(shift(), pairs(), CONFIG, out=tmp_path, progress=False)

    assert len(fit(shift(), pairs(), replace(CONFIG, steps=1), out=tmp_path, progress=False, on_step=second).loss) == 1


def test_a_folder_that_cannot_be_is_found_before_the_first_step(tmp_path):
    (tmp_path / "taken").write_text("x")
    steps = []
    with pytest.raises(NotADirectoryError, match="taken must be a folder"):
        fit(shift(), pairs(), CONFIG, out=tmp_path / "taken", progress=False, on_step=lambda *a: steps.append(a))
    assert steps == []
