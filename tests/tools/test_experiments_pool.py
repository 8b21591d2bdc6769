"""Experiments side by side: who shares a process, who begins, and what is said of one that fails."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from tools import experiments, experiments_pool
from tools.experiments_pool import groups_of, longest_first, side_by_side


def test_those_that_share_networks_share_a_process_and_the_one_that_trains_is_first():
    assert groups_of(["stability", "axis", "heads"], {"stability": "axis"}) == [["axis", "stability"], ["heads"]]
    assert groups_of(["stability"], {"stability": "axis"}) == [["stability"]]
    assert groups_of(["again", "first"], {"again": "first"}) == [["first", "again"]]
    assert sorted(name for group in groups_of(experiments.EXPERIMENTS, experiments.SHARED) for name in group) == sorted(
        experiments.EXPERIMENTS
    )


def test_the_longest_are_first_and_what_was_never_run_before_them(tmp_path):
    for name, seconds in {"brief": 3.0, "long": 50.0, "half": 30.0, "other half": 30.0}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"seconds": seconds}))
    groups = [["brief"], ["long"], ["half", "other half"], ["never"]]
    assert longest_first(groups, tmp_path) == [["never"], ["half", "other half"], ["long"], ["brief"]]


def test_each_group_gets_a_process_of_one_thread_and_a_failure_does_not_stop_the_others(monkeypatch):
    asked = []

    def run(command, *, env, **_):
        asked.append((command[2:], env["OMP_NUM_THREADS"]))
        return SimpleNamespace(returncode=1 if "bad" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"^failed: bad, worse \(see above\)$"):
        side_by_side([["bad", "worse"], ["good"]], ["--quick"], workers=1)
    module = "tools.experiments"
    assert asked == [
        ([module, "bad", "worse", "--workers", "1", "--quick"], "1"),
        ([module, "good", "--workers", "1", "--quick"], "1"),
    ]
    side_by_side([["good"]], [], workers=2)


def test_the_command_hands_its_options_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(experiments, "side_by_side", lambda *given: asked.append(given))
    options = ["--out", str(tmp_path), "--work", str(tmp_path / "w"), "--quick"]
    experiments.main(["stability", "growth", "axis", *options, "--workers", "2"])
    [(groups, passed, workers)] = asked
    assert (sorted(groups), passed, workers) == ([["axis", "stability"], ["growth"]], options, 2)
    assert experiments_pool.ROOT == experiments.ROOT
