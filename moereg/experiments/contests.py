"""Trained models beside methods without weights, on the same pairs: rows, and the sentence that they allow."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from moereg.classical import METHODS
from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.protocol import OnRows, Protocol, Task, count_parameters, nothing, train_one
from moereg.metrics import UNDECIDED, evaluate

KEYS = ("dice", "epe", "fold_fraction", "seconds_per_pair")
WORDS = {"better": "better than", "worse": "worse than", UNDECIDED: "not told apart from"}


def contest_rows(
    task: Task,
    protocol: Protocol,
    models: Sequence[str],
    *,
    sizes: Mapping[str, dict] | None = None,
    methods: Sequence[str] = tuple(METHODS),
    on_rows: OnRows = nothing,
) -> list[dict]:
    """Train every model with every seed for the same steps on the same pairs; measure them and the methods.

    Args:
        sizes: model -> sizes that differ from its default.

    Returns:
        One row per method, and per seed where there is one: task, method, seed, parameters, training seconds, Dice,
        endpoint error (voxels, None if the truth is unknown), share of folds, seconds per pair.
    """
    rows = []
    for name in methods:
        measured = evaluate({name: METHODS[name]}, task.test, surfaces=False)[name]
        rows.append({"task": task.name, "method": name, "seed": None} | kept(measured, KEYS))
        on_rows(rows[-1:])
    for name in models:
        own = replace(protocol, model=name, sizes=(sizes or {}).get(name, {}))
        for seed in own.seeds:
            began = time.perf_counter()
            model = train_one(task, own, seed)
            seconds = round(time.perf_counter() - began, 1)
            measured = evaluate({name: model}, task.test, surfaces=False)[name]
            row = {"task": task.name, "method": name, "seed": seed, "parameters": count_parameters(model)}
            rows.append(row | {"training_seconds": seconds} | kept(measured, KEYS))
            on_rows(rows[-1:])
    return rows


def contest(rows: Sequence[dict], champion: str, rivals: Sequence[str]) -> Finding:
    """How `champion` does against the best classical Demons and against trained rivals, task by task."""
    return Finding(f"Where does {champion} stand?", list(rows), contest_sentence(rows, champion, rivals))


def contest_sentence(rows: Sequence[dict], champion: str, rivals: Sequence[str]) -> str:
    """Dice by the one rule; the best Demons is the one of highest Dice on the task."""
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        best = max((row for row in own if row["method"].startswith("demons")), key=lambda row: row["dice"])
        against = []
        for rival in (best["method"], *rivals):
            effect = effect_between(own, {"method": champion}, {"method": rival})
            dice = _mean_dice(own, rival)
            against.append(f"{WORDS[effect.judged('dice')]} {rival} ({dice:.3f}; difference {effect.text()})")
        folds = max(row["fold_fraction"] for row in own if row["method"] == champion)
        parts.append(
            f"On {task}, {champion} reaches Dice {_mean_dice(own, champion):.3f}: {', '.join(against)}; at most "
            f"{folds:.2%} of voxels fold"
        )
    return ". ".join(parts) + "."


def _mean_dice(rows: Sequence[dict], method: str) -> float:
    return float(np.mean([row["dice"] for row in rows if row["method"] == method]))
