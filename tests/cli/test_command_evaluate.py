"""`moereg evaluate`: numbers of methods whose answer is known, on boxes whose distance is known."""

import json

import pytest
import torch

from moereg import cli, training
from tests.cli.conftest import SHIFTS, SIZE, SPACING

pytestmark = pytest.mark.plain_errors  # a set of pairs is no Sequence


@pytest.fixture
def evaluate(table, tmp_path, capsys):
    """`evaluate("--method", "identity")` -> what the file holds, what was printed to either stream."""

    def run(*arguments: str) -> tuple[dict, str, str]:
        out = tmp_path / "deep" / "numbers.json"
        assert cli.main(["evaluate", *arguments, "--data", str(table), "--json", str(out)]) == 0
        printed, progress = capsys.readouterr()
        assert printed.endswith(f"\n{out}\n")
        return json.loads(out.read_text()), printed, progress

    return run


def test_before_registration_by_hand(evaluate):
    """The box has 4 voxels along the file's first axis, of 1.5 mm, and is moved by 1, 2 and 3 of them."""
    numbers, _, progress = evaluate("--method", "identity")
    dices = [(SIZE[0] - shift[0]) / SIZE[0] for shift in SHIFTS]
    pairs = numbers["identity"]["pairs"]
    assert [pair["dice_mean"] for pair in pairs] == pytest.approx(dices)
    assert numbers["identity"]["dice"] == pytest.approx(0.5)
    assert [pair["hd95"]["1"] for pair in pairs] == pytest.approx([shift[0] * SPACING[0] for shift in SHIFTS], rel=1e-5)
    assert [pair["pair"] for pair in pairs] == [f"moving{n}-fixed" for n in (1, 2, 3)]
    assert "measure identity: 100%" in progress


def test_every_method_and_weights_file_has_its_own_numbers(evaluate, weights):
    """One model moves the box back, one further away: along the second tensor axis, where the oblique file's first
    axis comes to lie, against its direction."""
    back, away = weights("centres"), weights("shift", voxels=(0.0, 9.0, 0.0))
    arguments = ["--weights", str(back), str(away), "--method", "demons-thirion", "identity"]
    numbers, *_ = evaluate(*arguments, "--device", "cpu")
    assert list(numbers) == ["demons-thirion", "identity", str(back), str(away)]
    assert numbers[str(back)]["dice"] == pytest.approx(1)
    assert numbers[str(back)]["hd95"] == pytest.approx(0)
    assert numbers[str(away)]["dice"] == 0
    assert numbers["demons-thirion"]["dice"] > 0.6


def test_the_figures_are_printed_a_column_for_each_method(table, weights, capsys):
    """Without --json nothing is written."""
    names = ["identity", str(weights("centres"))]
    before = sorted(table.parent.iterdir())
    assert cli.main(["evaluate", "--method", names[0], "--weights", names[1], "--data", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == names
    rows = {line[:30].strip(): line[30:].split() for line in lines[1:]}
    assert rows["Dice, mean"] == rows["Dice 1"] == ["0.500", "1.000"]
    assert rows["endpoint error, voxels"] == ["-", "-"]
    assert sorted(table.parent.iterdir()) == before


def test_networks_are_refined_where_that_is_asked_for(evaluate, weights):
    """Boxes were moved by one, two and three voxels; the network moves all back by one."""
    network = str(weights("shift", voxels=(0.0, 1.0, 0.0)))
    numbers, *_ = evaluate("--method", "identity", "--weights", network, "--refine", "30")
    assert list(numbers) == ["identity", network, f"{network}, refined"]
    assert numbers[f"{network}, refined"]["dice"] != numbers[network]["dice"]
    assert numbers[f"{network}, refined"]["sd_log_jacobian"] > numbers[network]["sd_log_jacobian"]


def test_as_many_pairs_as_asked_for(evaluate):
    assert [len(evaluate("--method", "identity", *some)[0]["identity"]["pairs"]) for some in
            (["--pairs", "1"], ["--pairs", "2"], [])] == [1, 2, 3]  # fmt: skip


def test_models_measure_where_they_are_told_to(evaluate, weights, monkeypatch):
    """The model insists that images come to where it is itself."""
    asked = []

    def best_device(name):
        asked.append(name)
        return torch.device("meta")

    monkeypatch.setattr(training, "best_device", best_device)
    numbers, *_ = evaluate("--weights", str(weights("elsewhere")), "--device", "mps")
    assert next(iter(numbers.values()))["dice"] == pytest.approx(0.5)
    evaluate("--weights", str(weights("elsewhere")))
    assert asked == ["mps", "auto"]


def test_the_pairs_are_those_of_the_test_split(evaluate, monkeypatch):
    from moereg.data import datasets

    real, asked = datasets.load, []

    def load(*arguments, **options):
        asked.append((arguments[1:], options))
        return real(*arguments, **options)

    monkeypatch.setattr(datasets, "load", load)
    evaluate("--method", "identity", "--pairs", "2")
    assert asked == [(("test",), {"count": 2})]


def test_masks_of_a_table_reach_what_knows_them_and_the_rest_is_told(table, weights, tmp_path, capsys, monkeypatch):
    """The mask is the fixed box; the network does not know it, its refinement does, and the greedy method."""
    import moereg.training.refinement as refinement
    from moereg.classical import METHODS

    seen, real = [], refinement.refine

    def refine(*arguments, mask=None, **options):
        seen.append(mask)
        return real(*arguments, mask=mask, **options)

    def knows(moving, fixed, *, mask=None):
        seen.append(mask)
        return METHODS["identity"](moving, fixed)

    monkeypatch.setattr(refinement, "refine", refine)
    monkeypatch.setitem(METHODS, "greedy", knows)
    header, *rows = table.read_text().splitlines()
    masked = table.parent / "masked.csv"
    with_masks = [f"{row},{mask}," for row, mask in zip(rows, ("fixed_labels.nii.gz", "", ""), strict=True)]
    masked.write_text("\n".join([f"{header},fixed_mask,moving_mask", *with_masks]) + "\n")
    network = str(weights("centres"))
    arguments = ["--weights", network, "--refine", "1", "--method", "identity", "greedy", "--data", str(masked)]
    assert cli.main(["evaluate", *arguments]) == 0
    assert (
        f"{masked}: fixed_mask of 1 pairs is used by greedy, {network}, refined; not by identity, {network}, which see "
        "whole images; Dice and errors count everywhere\n"
    ) in capsys.readouterr().err
    assert [None if mask is None else int(mask.sum()) for mask in seen] == [60, None, None] * 2
    masked.write_text("\n".join([f"{header},moving_mask", *(f"{row},fixed_labels.nii.gz" for row in rows)]) + "\n")
    assert cli.main(["evaluate", "--method", "identity", "--data", str(masked)]) == 0
    assert f"{masked}: moving_mask is not used by any method\n" in capsys.readouterr().err
    assert cli.main(["evaluate", "--method", "identity", "--data", str(table)]) == 0
    assert "mask" not in capsys.readouterr().err
