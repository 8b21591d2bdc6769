"""Trained models beside methods without weights, on the same pairs: rows, and the sentence that they allow."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from moereg.evaluation.experiments import Protocol, Task
from moereg.evaluation.methods import METHODS
from moereg.evaluation.metrics import evaluate
from moereg.evaluation.specialisation import Finding
from moereg.models import build
from moereg.training import fit

KEPT = ("dice", "epe", "fold_fraction", "seconds_per_pair")
MARGIN = 0.005  # of Dice: a smaller difference decides nothing, whatever the seeds say


def versus(
    task: Task, protocol: Protocol, models: Sequence[str], *, methods: Sequence[str] = tuple(METHODS)
) -> list[dict]:
    """Train every model with every seed for the same steps on the same pairs; measure them and the methods.

    Returns:
        One row per method, and per seed where there is one: task, method, seed, parameters, training seconds, Dice,
        endpoint error (voxels, None if the truth is unknown), share of folds, seconds per pair.
    """
    rows = []
    for name in methods:
        measured = evaluate({name: METHODS[name]}, task.test, surfaces=False)[name]
        rows.append({"task": task.name, "method": name, "seed": None} | {key: measured[key] for key in KEPT})
    for name in models:
        for seed in protocol.seeds:
            torch.manual_seed(seed)
            model = build(name, dims=len(task.test[0].shape), **protocol.sizes.get(name, {}))
            history = fit(model, task.train, replace(protocol.training, seed=seed), progress=False)
            measured = evaluate({name: model.cpu()}, task.test, surfaces=False)[name]
            row = {"task": task.name, "method": name, "seed": seed}
            row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
            row["training_seconds"] = round(history.seconds, 1)
            rows.append(row | {key: measured[key] for key in KEPT})
    return rows


def contest(rows: Sequence[dict], champion: str, rivals: Sequence[str]) -> Finding:
    """How `champion` does against the best classical Demons and against trained rivals, task by task."""
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        classical = {row["method"]: [row] for row in own if row["method"].startswith("demons")}
        best = max(classical, key=lambda name: classical[name][0]["dice"])
        ours = [row for row in own if row["method"] == champion]
        others = {best: classical[best]} | {name: [row for row in own if row["method"] == name] for name in rivals}
        against = ", ".join(_judgement(ours, rival, name) for name, rival in others.items())
        folds = max(row["fold_fraction"] for row in ours)
        parts.append(f"On {task}, {champion} reaches Dice {_dice(ours)}: {against}; at most {folds:.2%} of voxels fold")
    return Finding(f"Where does {champion} stand?", list(rows), ". ".join(parts) + ".")


def _dice(rows: Sequence[dict]) -> str:
    values = [row["dice"] for row in rows]
    spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _judgement(ours: Sequence[dict], theirs: Sequence[dict], name: str) -> str:
    first, second = ([row["dice"] for row in rows] for rows in (ours, theirs))
    difference = np.mean(first) - np.mean(second)
    spread = sum(np.var(values, ddof=1) / len(values) for values in (first, second) if len(values) > 1) ** 0.5
    word = "level with" if abs(difference) <= max(2 * spread, MARGIN) else "ahead of" if difference > 0 else "behind"
    return f"{word} {name} ({_dice(theirs)})"
