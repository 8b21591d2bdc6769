"""A comparison's rows and words against what can be worked out by hand."""

import pytest
import torch

from moereg.classical import identity
from moereg.data import phantoms
from moereg.experiments import comparing
from moereg.experiments.comparing import Contestant, compare_row, verdicts
from moereg.models import Registration


def shifted(amount):
    def run(moving, fixed):
        field = torch.full((1, 2, *fixed.shape[2:]), float(amount))
        return Registration(field, moving)

    return run


def test_what_is_left_after_coming_back():
    forth, back = (shifted(amount)(torch.zeros(1, 1, 8, 9), torch.zeros(1, 1, 8, 9)) for amount in (3, -1))
    assert comparing.inverse_consistency(forth, back) == pytest.approx(2 * 2**0.5)


def test_a_row_holds_every_measure_of_every_pair():
    pairs = [phantoms.make("abdomen", (24, 24), seed) for seed in (1, 2)]
    row = compare_row(Contestant("identity", identity), "abdomen", pairs)
    assert {key: row[key] for key in ("task", "method", "seed", "budget", "refined")} == {
        "task": "abdomen", "method": "identity", "seed": None, "budget": None, "refined": False,
    }  # fmt: skip
    for key in comparing.MEASURES:
        assert len(row["per_pair"][key]) == 2
        assert row[key] == pytest.approx(sum(row["per_pair"][key]) / 2)
    assert (row["inverse_consistency"], row["fold_fraction"], row["sd_log_jacobian"]) == (0, 0, 0)
    assert row["epe"] > 0
    assert set(row["dice_per_label"]) <= set(pairs[0].label_names.values())


def test_equal_seconds_give_cheap_networks_more_steps():
    found = comparing.steps_of_equal_seconds({"a": 0.03, "b": 0.02, "c": 100.0}, "a", 400)
    assert found == {"a": 400, "b": 600, "c": 1}


def made_up(method, dice, epe, seed=None):
    pairs = {key: [None] * 4 for key in comparing.MEASURES} | {"dice": dice, "epe": epe}
    means = dict.fromkeys(comparing.MEASURES) | {"dice": sum(dice) / 4, "epe": sum(epe) / 4}
    labels = {"task": "t", "method": method, "seed": seed, "budget": None, "refined": False}
    return labels | means | {"per_pair": pairs}


def test_the_words_mind_which_way_is_better():
    rows = [
        made_up("ours", [0.80, 0.70, 0.61, 0.90], [2.0, 2.1, 1.9, 2.0]),
        made_up("theirs", [0.70, 0.61, 0.50, 0.80], [1.0, 1.1, 0.9, 1.0]),
    ]
    found = verdicts(rows, {"method": "ours"}, [{"method": "theirs"}])
    assert [(one["measure"], one["word"]) for one in found] == [("dice", "better"), ("epe", "worse")]
    found = verdicts(rows, {"method": "theirs"}, [{"method": "ours"}])
    assert [one["word"] for one in found] == ["worse", "better"]
    rows[1]["per_pair"]["dice"] = [0.9, 0.6, 0.7, 0.85]
    assert verdicts(rows, {"method": "ours"}, [{"method": "theirs"}])[0]["word"] == "not told apart"


def test_rivals_are_every_other_kind_once():
    rows = [made_up("a", [1.0] * 4, [1.0] * 4, seed) for seed in (0, 1)] + [made_up("b", [1.0] * 4, [1.0] * 4)]
    champion = {"method": "a", "budget": None, "refined": False}
    assert comparing.rivals_of(rows, champion) == [{"method": "b", "budget": None, "refined": False}]
    assert comparing.row_name(champion | {"budget": "steps", "refined": True}) == "a, equal steps, refined"


def test_the_largest_volume_follows_the_line():
    costs = [{"method": "a", "edge": edge, "step_bytes": 1000 * edge**3} for edge in (16, 32, 48)]
    assert comparing.largest_volumes(costs, [0.262144, 8]) == {"a": [64, 200]}
