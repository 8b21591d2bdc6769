"""The sweep over recursions: a model whose error is known at every K, and what the sentences say of known numbers."""

import json
from pathlib import Path

from moereg.experiments import RecursionProtocol, Task, recursion_sweep
from moereg.experiments.recursion import statements
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import slab_pair

ATTENTION = ("mutual", "self", "none")


def rows_of(dice, trained=(1, 2, 3), recursions=(1, 2, 3), seeds=(0, 1)):
    """Rows whose Dice is `dice(attention, trained, recursions, seed)`, with a level that differs by seed."""
    return [
        {
            "attention": kind, "trained": t, "recursions": k, "seed": seed, "asd": 1.0, "epe": 1.0,
            "dice": dice(kind, t, k, seed) + 0.1 * seed, "seconds_per_pair": 0.01 * k * (5 if kind == "self" else 1),
        }
        for kind in ATTENTION for t in trained for k in recursions for seed in seeds
    ]  # fmt: skip


def test_every_network_is_measured_with_every_recursion(fitted, toys_err):
    """The error is 8 voxels, less K, less 2 K_train, less one with mutual attention, and half a voxel more per seed."""
    toys_err(
        lambda toy, k: 8 - k - 2 * toy.sizes.recursions - (toy.sizes.attention == "mutual") + (toy.born == 1) * 0.5
    )
    pairs = [slab_pair(shape=(20, 5, 4))]
    protocol = RecursionProtocol(
        TrainingConfig(steps=1, device="cpu"), seeds=(0, 1), model="toy", trained=(1, 2), recursions=(1, 3),
        attention=("mutual", "self"),
    )  # fmt: skip
    usual = RecursionProtocol()  # the paper's figure
    assert (usual.model, usual.trained, usual.recursions) == ("rman", (1, 2, 3, 4), (1, 2, 3, 4))
    assert usual.attention == ATTENTION
    seen, calls = [], []
    finding = recursion_sweep(
        Task("slabs", [slab_pair(1)], pairs),
        protocol,
        on_rows=lambda rows: (seen.extend(rows), calls.append(len(rows))),
    )
    rows = [(r["seed"], r["trained"], r["attention"], r["recursions"], r["epe"]) for r in finding.rows]
    assert rows == [
        (seed, trained, kind, k, 8 - k - 2 * trained - (kind == "mutual") + seed / 2)
        for seed in (0, 1)
        for trained in (1, 2)
        for kind in ("mutual", "self")
        for k in (1, 3)
    ]
    assert seen == finding.rows
    assert calls == [2] * 8
    assert all(row["parameters"] == 1 and row["fold_fraction"] == 0 for row in finding.rows)
    dice = {(r["trained"], r["attention"], r["recursions"]): r["dice"] for r in finding.rows if r["seed"] == 0}
    assert dice[2, "mutual", 1] == 1 - 2 / 8
    assert dice[2, "self", 1] == 1 - 3 / 8
    assert finding.rows[0]["asd"] > finding.rows[1]["asd"] > 0  # millimetres, measured too
    assert set(finding.rows[0]["per_pair"]) == {"dice", "epe", "fold_fraction"}
    assert all(call.pairs[0].name == "slab" and call.pairs[0].displacement[0].max() == 1 for call in fitted.calls)
    assert finding.sentence == " ".join(statements(finding.rows).values())
    assert finding.question == "How many recursions, and does mutual attention help?"
    figure = draw(finding)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == [
        "Dice", "surface distance, mm", "endpoint error, voxels", "share of folds",
    ]  # fmt: skip


def test_controls_may_be_trained_with_some_recursions_only(fitted, toys_err):
    toys_err(lambda toy, k: 8 - k)
    protocol = RecursionProtocol(
        TrainingConfig(steps=1, device="cpu"), seeds=(0,), model="toy", trained=(1, 2), controlled=(2,),
        recursions=(1,), attention=("mutual", "none"),
    )  # fmt: skip
    rows = recursion_sweep(Task("slabs", [slab_pair(1)], [slab_pair(shape=(20, 5, 4))]), protocol).rows
    assert [(r["trained"], r["attention"]) for r in rows] == [(1, "mutual"), (2, "mutual"), (2, "none")]


def test_rman_itself_recurs_as_often_as_it_is_asked_to():
    from moereg.data import phantoms

    pairs = [phantoms.make("abdomen", (16, 16), seed) for seed in range(2)]
    protocol = RecursionProtocol(
        TrainingConfig(steps=1, device="cpu"), seeds=(0,), trained=(1,), recursions=(1, 2),
        attention=("mutual", "none"), sizes={"widths": (4, 4, 4, 4), "heads": 1, "head_dim": 4},
    )  # fmt: skip
    rows = recursion_sweep(Task("small", pairs[:1], pairs[1:]), protocol).rows
    assert [(r["attention"], r["recursions"]) for r in rows] == [("mutual", 1), ("mutual", 2), ("none", 1), ("none", 2)]
    assert rows[0]["epe"] != rows[1]["epe"]
    assert rows[0]["parameters"] == rows[1]["parameters"] > rows[2]["parameters"]


def test_sentences_where_everything_is_as_the_paper_says():
    better = {"mutual": 0.1, "self": 0.0, "none": -0.1}
    said = statements(rows_of(lambda kind, t, k, seed: better[kind] + (0.1 * k if t > 1 else -0.1 * k)))
    one = "[+0.100, +0.100]"
    assert said == {
        "beyond": "'Trained with two or more, further recursions help' holds: Dice from 1 to 3 recursions changes by "
        f"K_train = 2: +0.200 [+0.200, +0.200] (+0.100 {one} of it beyond the 2 of training); "
        "K_train = 3: +0.200 [+0.200, +0.200].",
        "once": "'Trained with one, further recursions hurt' holds: -0.200 [-0.200, -0.200].",
        "three": "Nothing was measured beyond three recursions.",
        "attention": "'Mutual attention is better at each K', at equal K_train: against the same network whose images "
        f"look at themselves holds (+0.100 {one}, +0.100 {one}, +0.100 {one}); against the network without attention "
        "holds (" + ", ".join(["+0.200 [+0.200, +0.200]"] * 3) + ").",
        "time": "'Time grows little': of recursions, 2 take 2.0, 3 take 3.0 times as long as one.",
    }


def test_sentences_where_nothing_is_as_the_paper_says():
    better = {"mutual": 0.0, "self": 0.1, "none": 0.0}
    said = statements(rows_of(lambda kind, t, k, seed: better[kind] + (-0.1 * k if t > 1 else 0.1 * k)))
    assert "further recursions help' does not hold, the opposite does: " in said["beyond"]
    assert said["once"] == (
        "'Trained with one, further recursions hurt' is not seen: Dice is best with 3 recursions and changes by "
        "+0.000 [+0.000, +0.000] from there to 3, by +0.200 [+0.200, +0.200] from 1 to 3."
    )
    assert "themselves does not hold, the opposite does (-0.100" in said["attention"]
    assert "without attention is not seen (+0.000" in said["attention"]


def test_a_network_that_is_best_in_between():
    said = statements(rows_of(lambda kind, t, k, seed: {1: 0.5, 2: 0.6, 3: 0.4}[k]))
    assert said["once"] == (
        "'Trained with one, further recursions hurt' holds beyond 2: Dice is best with 2 recursions and changes by "
        "-0.200 [-0.200, -0.200] from there to 3, by -0.100 [-0.100, -0.100] from 1 to 3."
    )
    # one more than in training is worse for K_train = 2; for 3 there is no more than in training
    assert "further recursions help' does not hold, the opposite does: Dice from 1 to 3" in said["beyond"]


def test_where_the_k_of_training_was_not_measured_the_whole_change_stands_alone():
    rows = rows_of(lambda kind, t, k, seed: 0.1 * k, trained=(2,), recursions=(1, 3))
    assert statements(rows)["beyond"] == (
        "'Trained with two or more, further recursions help' is not seen: Dice from 1 to 3 recursions changes by "
        "K_train = 2: +0.200 [+0.200, +0.200]."
    )


def test_mutual_attention_alone_is_asked_about_recursions():
    """The controls do the opposite, and so does a network of another K_train."""
    said = statements(
        rows_of(lambda kind, t, k, seed: 0.1 * k * (1 if kind == "mutual" else -5) * (1 if t > 1 else -1))
    )
    assert "help' holds: Dice from 1 to 3 recursions changes by K_train = 2: +0.200" in said["beyond"]
    assert "hurt' holds: -0.200 [-0.200, -0.200]." in said["once"]


def test_verdicts_that_differ_are_counted():
    """K_train = 2 gains beyond its training, 3 loses, 4 says nothing: the most K is 5."""
    gain = {2: 0.1, 3: -0.1, 4: 0.0, 5: 9.0}
    rows = rows_of(lambda kind, t, k, seed: gain[t] * k, trained=(2, 3, 4, 5), recursions=(1, 2, 3, 4, 5))
    said = statements(rows)
    assert "further recursions help' holds in 1 of 3 cases, the opposite in 1: " in said["beyond"]
    assert said["once"] == "Nothing was trained with one recursion."
    some = rows_of(lambda kind, t, k, seed: gain[t] * k, trained=(2, 4), recursions=(1, 2, 3, 4, 5))
    assert "help' holds in 1 of 2 cases: " in statements(some)["beyond"]
    none = rows_of(lambda kind, t, k, seed: 0.0, trained=(4,), recursions=(1, 4))
    assert (
        "help' is not seen: Dice from 1 to 4 recursions changes by K_train = 4: +0.000 [+0.000, +0.000]."
        in (statements(none)["beyond"])
    )


def test_seeds_are_what_the_intervals_stand_on():
    """Gains of 0.1 and 0.3 with two seeds: 0.2 +- 12.706 * 0.1, not told apart from nothing."""
    said = statements(rows_of(lambda kind, t, k, seed: (0.05 + 0.1 * seed) * k * (-1 if t == 1 else 1)))
    assert "hurt' is not seen: -0.200 [-1.471, +1.071]." in said["once"]
    assert "K_train = 3: +0.200 [-1.071, +1.471]" in said["beyond"]


def test_time_is_the_median_of_mutual_networks():
    rows = rows_of(lambda *_: 0.5, seeds=(0, 1, 2))
    for row in rows:
        if (row["attention"], row["trained"]) == ("mutual", 1):
            row["seconds_per_pair"] *= 1000  # three of nine
        row["seconds_per_pair"] *= 200
    said = statements(rows)["time"]
    assert said == "'Time grows little': of recursions, 2 take 2.0, 3 take 3.0 times as long as one."


def test_three_suffice_if_nothing_gets_better_after_them():
    """Of the network with the most recursions in training: what the third brings, what comes after it."""

    def judged(dice, error):
        rows = rows_of(
            lambda kind, t, k, seed: dice[k] if (kind, t) == ("mutual", 2) else 0.1 * k, (1, 2), (1, 2, 3, 5)
        )
        return statements([row | {"epe": 9 - error[row["recursions"]] + row["seed"]} for row in rows])["three"]

    level, rising = {1: 0.5, 2: 0.6, 3: 0.7, 5: 0.7}, {1: 1, 2: 2, 3: 3, 5: 3.5}
    flat = level | dict.fromkeys((3, 5), 3)
    one = "[+0.100, +0.100]"
    assert judged(level, flat) == (
        f"'Three recursions suffice' holds (K_train = 2): Dice +0.100 {one} by the third, +0.000 [+0.000, +0.000] from "
        "there to 5; endpoint error -2.40 [-2.40, -2.40] by the third, +0.00 [+0.00, +0.00] from there to 5."
    )
    assert "suffice' does not hold (K_train = 2)" in judged(level, rising)
    assert "suffice' does not hold" in judged(level | {5: 0.75}, flat)
    assert "suffice' holds" in judged(level | {5: 0.6}, flat)


def test_controls_are_compared_with_networks_of_their_own_k_train():
    rows = rows_of(lambda kind, t, k, seed: (kind == "mutual") * (0.2 if t == 2 else -0.4))
    some = [row for row in rows if row["attention"] == "mutual" or row["trained"] == 2]
    assert "against the network without attention holds (+0.200" in statements(some)["attention"]
    assert "the opposite does" in statements(rows)["attention"]


def test_what_is_recorded_is_a_whole_sweep():
    record = json.loads((Path(__file__).parents[2] / "data" / "experiments" / "rman.json").read_text())
    [finding], [protocol] = record["findings"], record["protocols"]
    runs = len(protocol["seeds"]) * len(protocol["trained"]) * len(protocol["attention"])
    assert len(finding["rows"]) == runs * len(protocol["recursions"])
