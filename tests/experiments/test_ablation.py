"""Every variant with its sizes, every seed, on every task; and what the sentence makes of the rows."""

import importlib
from dataclasses import replace

import pytest
import torch

from moereg.experiments import HEADS, KINDS, VARIANTS, Protocol, Task, Variant, ablation
from moereg.experiments.ablation import DECISIONS, DRIVING, ablation_sentence, indecision, with_frozen_routers
from moereg.models import build
from moereg.training import TrainingConfig, fit
from moereg.viz import draw
from tests.oracles import RoutesByOrgan, organ_pair, slab_pair

PROTOCOL = Protocol(TrainingConfig(steps=1, device="cpu"), seeds=(0, 1), model="toy")
SHIFTED = {"first": Variant(), "shifted": Variant({"shift": 3.0})}


@pytest.fixture
def tasks():
    """The second needs a displacement of one voxel: everybody's error is one less there."""
    return [Task("still", [slab_pair()], [slab_pair()]), Task("moved", [slab_pair()], [slab_pair(1), slab_pair(1)])]


def test_the_table_by_hand(tasks, fitted, toys_err, no_surfaces):
    """Half a voxel of the error comes from the seed of the weights, half from that of the pairs' order."""
    toys_err(lambda toy, _: 1 + toy.sizes.shift + (toy.born + toy.config.seed) / 2)
    kept, told = [], []
    finding = ablation(tasks, PROTOCOL, variants=SHIFTED, keep=lambda *args: kept.append(args), on_rows=told.extend)
    table = [(r["task"], r["variant"], r["seed"], r["parameters"], r["epe"], r["dice"]) for r in finding.rows]
    assert table == [
        ("still", "first", 0, 1, 1.0, 1 - 1 / 8),
        ("still", "first", 1, 1, 2.0, 1 - 2 / 8),
        ("still", "shifted", 0, 4, 4.0, 1 - 4 / 8),
        ("still", "shifted", 1, 4, 5.0, 1 - 5 / 8),
        ("moved", "first", 0, 1, 0.0, 1.0),
        ("moved", "first", 1, 1, 1.0, 1 - 1 / 8),
        ("moved", "shifted", 0, 4, 3.0, 1 - 3 / 8),
        ("moved", "shifted", 1, 4, 4.0, 1 - 4 / 8),
    ]
    assert told == finding.rows
    assert [(task, variant, seed) for task, variant, seed, _ in kept] == [row[:3] for row in table]
    assert [model.sizes.shift for *_, model in kept] == [row[3] - 1 for row in table]
    assert finding.rows[5]["per_pair"] == {"dice": [7 / 8] * 2, "epe": [1.0] * 2, "fold_fraction": [0.0] * 2}
    assert all(row["fold_fraction"] == 0 and row["entropy"] is None for row in finding.rows)
    assert [call.pairs for call in fitted.calls] == [tasks[0].train] * 4 + [tasks[1].train] * 4
    assert finding.question == "What is each part worth?"
    assert finding.sentence == ablation_sentence(finding.rows)
    assert draw(finding).axes


def test_without_variants_the_usual_ones(tasks, fitted, monkeypatch):
    module = importlib.import_module("moereg.experiments.ablation")  # the package's name is that of the function
    monkeypatch.setattr(module, "VARIANTS", SHIFTED)
    finding = ablation(tasks[:1], PROTOCOL)
    assert [row["variant"] for row in finding.rows] == ["first", "first", "shifted", "shifted"]


def rows_of(task="t", **dices):
    return [
        {"task": task, "variant": variant, "seed": seed, "dice": dice, "epe": 1.0}
        for variant, values in dices.items()
        for seed, dice in enumerate(values)
    ]


def test_the_sentence_by_hand():
    """Three seeds, differences 0.05 +- 0.01 and 0.02 +- 0.01: intervals reach 4.303 * 0.01 / sqrt(3) = 0.025."""
    reference = (0.5, 0.7, 0.9)
    rows = rows_of(
        a=reference,
        more=[r + d for r, d in zip(reference, (0.04, 0.05, 0.06), strict=True)],
        less=[r - d for r, d in zip(reference, (0.04, 0.05, 0.06), strict=True)],
        hardly=[r + d for r, d in zip(reference, (0.01, 0.02, 0.03), strict=True)],
    )
    assert ablation_sentence(rows) == (
        "On t, Dice against 'a', better: more +0.050 [+0.025, +0.075]; worse: less -0.050 [-0.075, -0.025]; "
        "not told apart: hardly +0.020 [-0.005, +0.045]. On t, endpoint error against 'a', better: none; worse: none; "
        "not told apart: more +0.000 [+0.000, +0.000], less +0.000 [+0.000, +0.000], hardly +0.000 [+0.000, +0.000]."
    )


def test_endpoint_error_is_judged_too_where_it_is_known():
    """Less of it is better; on scans it is not known."""
    rows = rows_of(a=(0.5, 0.5), b=(0.5, 0.5))
    for row, error in zip(rows, (1.0, 2.0, 1.5, 2.5), strict=True):
        row["epe"] = error
    assert ablation_sentence(rows).endswith(
        "On t, endpoint error against 'a', better: none; worse: b +0.500 [+0.500, +0.500]; not told apart: none."
    )
    for row in rows:
        row["epe"] = None
    assert ablation_sentence(rows).count("On t") == 1


def test_a_diverged_training_is_named_and_takes_no_part():
    """Without its seed 1, b is better by 0.1 in both seeds that are left; c has none left."""
    rows = rows_of(a=(0.5, 0.6, 0.7), b=(0.6, 0.1, 0.8), c=(0.1, 0.1, 0.1))
    for row in rows:
        row |= {"epe": None, "diverged": row["dice"] < 0.2}
    assert ablation_sentence(rows) == (
        "On t, Dice against 'a', better: b +0.100 [+0.100, +0.100]; worse: none; not told apart: none. On t, worse "
        "than doing nothing and left out: b (seed 1), c (seed 0), c (seed 1), c (seed 2)."
    )


def test_seeds_that_have_no_sound_partner_are_not_compared():
    rows = rows_of(a=(0.1, 0.6), b=(0.6, 0.1))
    for row in rows:
        row |= {"diverged": row["dice"] < 0.2}
    assert ablation_sentence(rows) == "On t, worse than doing nothing and left out: a (seed 0), b (seed 1)."


def test_a_training_diverged_where_doing_nothing_overlaps_better(tasks, fitted, toys_err, no_surfaces):
    """The second task needs one voxel: doing nothing has Dice 7/8, one of one and a half as well, of three less."""
    toys_err(lambda toy, _: 1 + toy.sizes.shift)
    rows = ablation(tasks[1:], PROTOCOL, variants=SHIFTED | {"level": Variant({"shift": 1.5})}).rows
    assert {row["variant"]: row["diverged"] for row in rows} == {"first": False, "shifted": True, "level": False}


def test_further_columns_are_measured_on_the_test_pairs(tasks, fitted, toys_err, no_surfaces):
    told = []
    more = lambda model, pairs: told.append(pairs) or {"width": model.sizes.shift}  # noqa: E731
    rows = ablation(tasks[1:], PROTOCOL, variants=SHIFTED, more=more).rows
    assert [row["width"] for row in rows] == [0, 0, 3, 3]
    assert told == [tasks[1].test] * 4


def test_every_task_is_judged_by_itself():
    rows = rows_of("first", a=(0.5, 0.6), b=(0.6, 0.7)) + rows_of("second", a=(0.5, 0.6), b=(0.4, 0.5))
    assert ablation_sentence(rows) == (
        "On first, Dice against 'a', better: b +0.100 [+0.100, +0.100]; worse: none; not told apart: none. "
        "On first, endpoint error against 'a', better: none; worse: none; not told apart: b +0.000 [+0.000, +0.000]. "
        "On second, Dice against 'a', better: none; worse: b -0.100 [-0.100, -0.100]; not told apart: none. "
        "On second, endpoint error against 'a', better: none; worse: none; not told apart: b +0.000 [+0.000, +0.000]."
    )


def test_variants_have_near_equal_parameters():
    counts = {
        name: sum(p.numel() for p in build("shmoareg", dims=2, **variant.sizes).parameters())
        for name, variant in VARIANTS.items()
    }
    reference = counts["per direction"]
    assert next(iter(VARIANTS)) == "per direction"  # what the others are compared with
    assert all(abs(count - reference) / reference < 0.1 for count in counts.values()), counts


def differences(finding_of):
    """What each variant's sizes differ in from the defaults, of the networks that an ablation made."""
    made = {}
    usual = vars(build("shmoareg", dims=2).sizes)
    finding_of(lambda task, name, seed, model: made.update({name: vars(model.sizes)}))
    return {name: {key: own[key] for key in own if own[key] != usual[key]} for name, own in made.items()}


@pytest.fixture
def unmeasured(monkeypatch):
    """Networks of the usual sizes are made and neither trained nor run."""
    module = importlib.import_module("moereg.experiments.ablation")
    nothing = {"dice": 1.0, "epe": 0.0, "fold_fraction": 0.0, "pairs": []}
    monkeypatch.setattr(module, "evaluate", lambda methods, pairs, surfaces: dict.fromkeys(methods, nothing))
    monkeypatch.setattr(module, "indecision", lambda model, pairs: 1.0)
    return Protocol(TrainingConfig(steps=1), seeds=(0,))


def test_a_variant_differs_in_what_its_name_says(tasks, fitted, unmeasured):
    assert differences(lambda keep: ablation(tasks[:1], unmeasured, keep=keep)) == {
        "per direction": {},
        "joint router": {"routers": "joint"},
        "owned experts": {"experts": "owned", "decoder_widths": (12, 20, 27)},
        "soft gates": {"gate": "soft"},
        "uniform gates": {"gate": "uniform"},
        "frozen routers": {},
        "plain head": {"kernel_sizes": (7,), "active_experts": 1},
        "all heads": {"head_gate": "uniform"},
    }


def test_kinds_differ_in_the_kind_of_expert_alone(tasks, fitted, unmeasured):
    assert differences(lambda keep: ablation(tasks[:1], unmeasured, variants=KINDS, keep=keep)) == {
        "nested": {},
        "full": {"expert_kind": "full"},
        "separable": {"expert_kind": "separable"},
    }


def test_parts_of_drivenmorph_differ_in_what_their_name_says(tasks, fitted, unmeasured):
    start = {"sigma": 1.0}
    protocol = replace(unmeasured, model="drivenmorph", sizes=start, training=TrainingConfig(steps=1, force=0.25))
    made = {}
    ablation(tasks[:1], protocol, variants=DRIVING, keep=lambda _, name, __, model: made.update({name: model.sizes}))
    usual = vars(build("drivenmorph", dims=2, **start).sizes)
    found = {
        name: {key: value for key, value in vars(own).items() if value != usual[key]} for name, own in made.items()
    }
    assert found == {
        "complete": {},
        "no attention": {"attention_levels": ()},
        "no force loss": {},
        "one round": {"rounds": 1},
        "three rounds": {"rounds": 3},
        "narrow start": {"sigma": 0.5},
        "wide start": {"sigma": 2.0},
        "quick widths": {},
        "wide start, quick widths": {"sigma": 2.0},
    }
    assert [call.config.force for call in fitted.calls] == [0.25, 0.25, 0.0, *[0.25] * 6]


def test_quick_widths_start_alike_and_move_ten_times_as_far():
    """One step of Adam, whose length does not know the gradient's."""
    moved = {}
    for name in ("complete", "quick widths"):
        model = DRIVING[name].prepare(build("drivenmorph", dims=2))
        before = [layer.width.detach().clone() for layer in model.deformation.layers]
        assert all(layer.sigma.tolist() == pytest.approx([2.0, 2.0]) for layer in model.deformation.layers)
        adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        sum(layer.sigma.sum() for layer in model.deformation.layers).backward()
        adam.step()
        moved[name] = [
            (layer.width - old).abs().max().item() for layer, old in zip(model.deformation.layers, before, strict=True)
        ]
    assert moved["complete"] == pytest.approx([1e-3] * 3, rel=1e-3)
    assert moved["quick widths"] == pytest.approx([1e-2] * 3, rel=1e-3)


def test_heads_differ_in_the_attention_of_the_encoder_alone(tasks, fitted, unmeasured):
    assert differences(lambda keep: ablation(tasks[:1], unmeasured, variants=HEADS, keep=keep)) == {
        "two heads of eight": {},
        "all heads": {"head_gate": "uniform"},
        "two heads, other image": {"context": "cross"},
        "all heads, other image": {"context": "cross", "head_gate": "uniform"},
        "no attention": {"moa_levels": ()},
    }


def test_decisions_differ_in_how_routers_are_trained(tasks, fitted, unmeasured):
    found = differences(lambda keep: ablation(tasks[:1], unmeasured, variants=DECISIONS, keep=keep))
    one = {"active_experts": 1, "gate": "raw"}
    assert found == {
        "balance": {},
        "nothing asked of routers": {},
        "information": {},
        "one expert": one,
        "one expert, information": one,
        "frozen routers": {},
    }
    weights = [(call.config.balance, call.config.z, call.config.information) for call in fitted.calls]
    usual, informed = (0.01, 0.001, 0.0), (0.0, 0.001, 0.1)
    assert weights == [usual, (0.0, 0.0, 0.0), informed, usual, informed, usual]
    frozen = [sum(not p.requires_grad for p in call.model.parameters()) for call in fitted.calls]
    assert frozen == [0, 0, 0, 0, 0, 5]  # routers of three decoder and two encoder layers


def test_frozen_routers_stay_as_they_were_drawn_and_the_rest_learns():
    torch.manual_seed(0)
    model = with_frozen_routers(
        build("shmoareg", dims=2, widths=(4, 6), decoder_widths=(4, 4), moa_levels=(1,), heads=2)
    )
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    pair = organ_pair((2, 3))
    fit(model, [pair], TrainingConfig(steps=2, device="cpu", similarity="mse"), progress=False)
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {name for name in before if ".router." in name}
    assert len(same) == 3


def test_indecision_is_the_share_of_the_largest_entropy():
    """Logits -50, 0, -10 in the body and the background, -50, 0, 10 in the organ: all but sure."""
    sure, even = RoutesByOrgan(), RoutesByOrgan()
    with torch.no_grad():
        for router in (even.fine, even.coarse):
            router.weight.zero_()
        even.encoder.weight.mul_(100)  # is not asked
    pairs = [organ_pair((2, 3)), organ_pair((15, 8))]
    assert indecision(sure, pairs) == pytest.approx(0, abs=1e-3)
    assert indecision(even, pairs) == pytest.approx(1)
    with torch.no_grad():
        even.fine.weight.copy_(sure.fine.weight)
    assert indecision(even, pairs) == pytest.approx(0.5, abs=1e-3)
