"""What needs no training beside what does: known motions are found, prices counted, the sentence follows the rows."""

import numpy as np
import pytest
import torch

from moereg import fields
from moereg.classical import identity
from moereg.data.pairs import Pair
from moereg.experiments import Finding, Protocol, Task, worth
from moereg.experiments.protocol import kept_in
from moereg.experiments.worth import (
    Aligned,
    best_untrained,
    linear,
    simpleitk_demons,
    turned,
    worth_markdown,
    worth_sentence,
    worth_table,
)
from moereg.models.registration import Registration
from moereg.training import TrainingConfig
from moereg.viz import draw

SHAPE = (16, 18, 20)


def blobs(shape=SHAPE):
    """A few smooth blobs without symmetry, `(1, *S)`, and a label for each."""
    grid = fields.identity_grid(shape)
    image, labels = torch.zeros(shape), torch.zeros(shape, dtype=torch.int64)
    for label, (middle, width) in enumerate((((6, 6, 7), 3.0), ((10, 12, 8), 2.0), ((8, 9, 14), 1.5)), start=1):
        blob = torch.exp(-((grid - torch.tensor(middle).view(3, 1, 1, 1)) ** 2).sum(0) / (2 * width**2))
        image, labels = image + blob / label, torch.where(blob > 0.5, label, labels)
    return image[None], labels[None]


@pytest.fixture(scope="module")
def still():
    """A pair of one image with itself."""
    image, labels = blobs()
    zero = torch.zeros(3, *SHAPE)
    return Pair(image, image, labels, labels, displacement=zero, region=torch.ones(1, *SHAPE, dtype=torch.bool))


@pytest.fixture(scope="module")
def lying(still):
    """The same, turned."""
    return turned(still, 3)


def test_the_truth_of_a_turned_pair_brings_it_back(still, lying):
    assert (lying.moving - still.moving).abs().max() > 0.2
    u = lying.displacement[None]
    inside = (slice(None), *[slice(3, -3)] * 3)
    back = fields.warp(lying.moving[None], u)[0]
    assert (back - still.fixed)[inside].abs().max() < 0.12
    assert (back - still.fixed)[inside].abs().mean() < 0.2 * (lying.moving - still.fixed)[inside].abs().mean()
    labels = fields.warp_labels(lying.moving_labels[None], u)[0]
    assert (labels == still.fixed_labels).float().mean() > 0.97


def test_a_turn_is_of_the_size_that_was_asked_for(still):
    shifts = {}
    for size in (2.0, 6.0):
        u = turned(still, 1, degrees=0, scale=0, shift=size).displacement
        assert (u - u[:, :1, :1, :1]).abs().max() < 1e-5
        shifts[size] = float(u[:, 0, 0, 0].norm())
        assert size / 2 <= shifts[size] <= size
    u = turned(still, 2, degrees=20, scale=0, shift=0).displacement
    determinant = fields.jacobian_determinant(u[None])
    torch.testing.assert_close(determinant, torch.ones_like(determinant), atol=1e-3, rtol=0)  # a turn keeps volume
    assert 1 < u.norm(dim=0).max() < np.deg2rad(20) * 17


def test_the_affine_finds_the_turn_and_what_comes_after_it_is_composed(lying):
    moving, fixed = lying.moving[None], lying.fixed[None]
    found = linear(moving, fixed)
    inner = (slice(None), *[slice(3, -3)] * 3)
    before = lying.displacement[inner].norm(dim=0).mean()
    assert (found.displacement[0] - lying.displacement)[inner].norm(dim=0).mean() < 0.4 * before

    def one_to_the_right(moving, fixed):
        u = torch.zeros(1, 3, *SHAPE)
        u[:, 2] = 1
        return Registration(u, fields.warp(moving, u))

    both = Aligned(one_to_the_right)(moving, fixed)
    expected = fields.warp(found.warped, one_to_the_right(moving, fixed).displacement)
    assert (both.warped - expected)[..., 2:-2, 2:-2, 2:-2].abs().max() < 0.1
    torch.testing.assert_close(Aligned(identity)(moving, fixed).displacement, found.displacement)


def test_demons_of_simpleitk_pulls_as_ours_does(still):
    u = torch.zeros(1, 3, *SHAPE)
    u[:, 2] = 1.5
    moved = fields.warp(still.moving[None], -u)
    found = simpleitk_demons(moved, still.fixed[None])
    bright = still.fixed[0] > 0.4
    assert (found.displacement - u)[0, :, bright].abs().mean() < 0.5
    assert (found.warped - still.fixed).abs().mean() < 0.4 * (moved - still.fixed).abs().mean()


def test_tools_take_turns_pair_by_pair(still, lying):
    """A machine that becomes slow on the way is slow for all of them."""
    order = []

    def tool(name):
        def run(moving, fixed):
            order.append(name)
            return identity(moving, fixed)

        return run

    finding = worth([(Task("blobs", [still], [still, lying]), {"affine": tool("a"), "other": tool("b")}, {})])
    assert order == ["a", "b", "a", "b"]
    assert [len(row["per_pair"]["dice"]) for row in finding.rows] == [2, 2]


def test_what_was_trained_before_has_no_price(still, tmp_path):
    """A second run finds the network of the first, and does not say that it was trained in no time."""
    sizes = {"widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    protocol = Protocol(TrainingConfig(steps=1, device="cpu"), (0,), sizes=sizes)
    kinds = [(Task("blobs", [still], [still]), {"affine": identity}, {"network": protocol})]
    prices = []
    for _ in range(2):
        with kept_in(tmp_path):
            prices.append([row["cpu_of_training"] for row in worth(kinds).rows if row["seed"] is not None])
    assert prices[0][0] > 0
    assert prices[1] == [None, None]


def test_rows_of_every_tool_and_every_seed(still, lying):
    config = TrainingConfig(steps=1, device="cpu")
    sizes = {"widths": (4, 4), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    task = Task("blobs", [still, lying], [lying, still])
    shown = []
    kinds = [
        (task, {"nothing": identity, "affine": linear}, {"network of 1 step": Protocol(config, (0, 1), sizes=sizes)})
    ]
    finding = worth(kinds, on_rows=shown.extend)
    assert finding.rows == shown
    named = [(row["tool"], row["seed"]) for row in shown]
    assert named == [
        ("nothing", None), ("affine", None),
        ("network of 1 step", 0), ("affine, network of 1 step", 0),
        ("network of 1 step", 1), ("affine, network of 1 step", 1),
    ]  # fmt: skip
    assert all(len(row["per_pair"]["dice"]) == 2 for row in shown)
    assert shown[1]["cpu_per_pair"] > shown[0]["cpu_per_pair"] >= 0
    assert all(row["cpu_of_training"] > 0 for row in shown[2:])
    assert "cpu_of_training" not in shown[0]
    assert finding.sentence == worth_sentence(shown)


def row(tool, dice, time, seed=None, task="scans"):
    pairs = [dice + 0.01 * n for n in (-1, 0, 1)]
    held = {"task": task, "tool": tool, "seed": seed, "dice": dice, "epe": None, "fold_fraction": 0.01}
    return held | {"per_pair": {"dice": pairs}, "cpu_per_pair": time}


ROWS = [
    row("nothing", 0.5, 0.0), row("affine", 0.6, 2.0), row("affine, Demons", 0.7, 3.0),
    row("network that ships", 0.8, 0.5), row("network of 300 steps", 0.55, 0.2, 0),
    row("network of 300 steps", 0.65, 0.4, 1), row("affine", 0.3, 1.0, task="others"),
    row("network of 300 steps", 0.3, 0.1, 0, task="others"),
]  # fmt: skip


def test_the_sentence_and_the_tables_follow_the_rows():
    assert best_untrained(ROWS, "scans") == "affine, Demons"
    assert worth_table(ROWS, "scans")[2] == ("affine, Demons", 0.7, 0.01, 1.5)
    tool, dice, _, time = worth_table(ROWS, "scans")[-1]
    assert (tool, dice, time) == ("network of 300 steps", pytest.approx(0.6), pytest.approx(0.15))
    said = worth_sentence(ROWS)
    assert "On scans, the best without training is affine, Demons, Dice 0.700 for 1.5 times the affine's time" in said
    assert "network that ships is better than that (0.800; difference +0.100 [" in said
    assert "On others, the best without training is affine, Dice 0.300 for 1.0 times" in said
    assert "network of 300 steps is not told apart from that (0.300" in said
    lines = worth_markdown(ROWS).splitlines()
    assert lines[0] == "| | scans: Dice | time | others: Dice | time |"
    assert "| affine | 0.600 | 1.00 | 0.300 | 1.00 |" in lines
    assert "| network that ships | 0.800 | 0.25 | - | - |" in lines


def test_the_figure_has_a_panel_per_task_and_a_mark_per_row():
    figure = draw(Finding("When?", ROWS, "."))
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["scans", "others"]
    places = {line.get_label(): line.get_xydata() for line in panels[0].lines}
    np.testing.assert_allclose(places["network of 300 steps"], [[0.1, 0.55], [0.2, 0.65]])
    np.testing.assert_allclose(places["affine"], [[1.0, 0.6]])
