"""A fair comparison: every method on the same pairs, every measure, both budgets, every seed.

A row is one method on one family of pairs: trained with which seed and budget, refined or not, and under "per_pair"
what each measure was on each pair, so that any two rows can be compared by the library's one rule (`effect_between`).

Two budgets, because each flatters somebody. "steps": all networks take the same number of optimiser steps, which
favours the slow ones. "seconds": all get the processor time that the reference needs for its steps, which favours the
fast ones. Processor seconds of one thread are counted, not a clock: what else the machine does changes them little.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from moereg.data.pairs import Pair, Pairs
from moereg.experiments.finding import effect_between
from moereg.fields import compose
from moereg.metrics import MORE_IS_BETTER, Method, score
from moereg.metrics.cost import largest_edge
from moereg.models import Registration
from moereg.models.registration import labels_for
from moereg.training import TrainingConfig, fit

# Measure of a row -> (title, unit).
MEASURES = {
    "dice": ("Dice", ""),
    "hd95": ("Hausdorff distance, 95 %", "mm"),
    "asd": ("surface distance", "mm"),
    "epe": ("endpoint error", "voxels"),
    "fold_fraction": ("folded voxels", "share"),
    "sd_log_jacobian": ("sd of log Jacobian", ""),
    "inverse_consistency": ("inverse consistency error", "voxels"),
    "seconds": ("processor seconds per pair", "s"),
}
LESS_IS_BETTER = tuple(key for key in MEASURES if not MORE_IS_BETTER.get(key, False))


@dataclass(frozen=True)
class Contestant:
    """One method as it enters a comparison."""

    name: str
    run: Method
    seed: int | None = None  # of its training; None where nothing is trained
    budget: str | None = None  # "steps", "seconds", "shipped"; None where nothing is trained
    refined: bool = False

    @property
    def labels(self) -> dict:
        """What its rows say of it."""
        return {"method": self.name, "seed": self.seed, "budget": self.budget, "refined": self.refined}


@torch.no_grad()
def inverse_consistency(forward: Registration, backward: Registration) -> float:
    """Mean length, in voxels, of what is left after going from fixed to moving and back: `compose(u_back, u_forth)`."""
    return float(compose(backward.displacement.float(), forward.displacement.float()).norm(dim=1).mean())


def measure_pair(run: Method, pair: Pair) -> dict:
    """Every measure of one method on one pair, and Dice label by label."""
    images = pair.moving[None], pair.fixed[None]
    known = [None if labels is None else labels[None] for labels in (pair.moving_labels, pair.fixed_labels)]
    with torch.no_grad():
        began = time.process_time()
        forth = run(*images, **labels_for(run, *known))
        seconds = time.process_time() - began
        back = run(*images[::-1], **labels_for(run, *known[::-1]))
    found = score(lambda moving, fixed: forth, pair)

    def mean(per_label: dict[int, float]) -> float | None:
        return float(np.mean(list(per_label.values()))) if per_label else None

    return {
        "dice": mean(found.dice),
        "hd95": mean(found.hd95),
        "asd": mean(found.asd),
        "epe": found.epe,
        "fold_fraction": found.fold_fraction,
        "sd_log_jacobian": found.sd_log_jacobian,
        "inverse_consistency": inverse_consistency(forth, back),
        "seconds": seconds,
        "labels": {pair.label_names.get(label, str(label)): value for label, value in found.dice.items()},
    }


def compare_row(contestant: Contestant, family: str, pairs: Pairs) -> dict:
    """One contestant on the pairs of one family."""
    measure_pair(contestant.run, pairs[0])  # what is loaded at the first call is not counted
    single = [measure_pair(contestant.run, pairs[i]) for i in range(len(pairs))]
    per_pair = {key: [values[key] for values in single] for key in MEASURES}
    names = sorted({name for values in single for name in values["labels"]})
    per_label = {name: [values["labels"].get(name) for values in single] for name in names}
    means = {key: _mean(values) for key, values in per_pair.items()}
    dice = {name: _mean(values) for name, values in per_label.items()}
    return {"task": family} | contestant.labels | means | {"dice_per_label": dice, "per_pair": per_pair}


def processor_seconds_per_step(model: nn.Module, pairs: Pairs, config: TrainingConfig, steps: int = 6) -> float:
    """Of a training; the model is changed by it. The first steps are not counted."""
    times: list[float] = []
    fit(
        model, pairs, replace(config, steps=steps), progress=False, on_step=lambda *_: times.append(time.process_time())
    )
    return float(np.median(np.diff(times)))


def steps_of_equal_seconds(seconds_per_step: dict[str, float], reference: str, steps: int) -> dict[str, int]:
    """How many steps each model takes in the time that `reference` needs for `steps`."""
    budget = seconds_per_step[reference] * steps
    return {name: max(1, round(budget / each)) for name, each in seconds_per_step.items()}


def verdicts(rows: Sequence[dict], champion: dict, rivals: Sequence[dict]) -> list[dict]:
    """For every task, measure and rival: is the champion better, worse or not told apart?

    Args:
        champion, rivals: what their rows hold, for instance {"method": "shmoareg", "budget": "steps"}.
    """
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        for rival in rivals:
            for key in MEASURES:
                sides = [[row for row in own if _fits(row, side)] for side in (champion, rival)]
                if not all(sides) or any(row[key] is None for side in sides for row in side):
                    continue
                effect = effect_between(own, champion, rival, key)
                judged = {"higher": "worse", "lower": "better"}.get(effect.direction, effect.direction)
                if key not in LESS_IS_BETTER:
                    judged = {"worse": "better", "better": "worse"}.get(judged, judged)
                found.append({"task": task, "rival": rival, "measure": key, "word": judged, "effect": effect.text()})
    return found


def _fits(row: dict, choice: dict) -> bool:
    return all(row.get(name) == value for name, value in choice.items())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def row_name(row: dict) -> str:
    """What a row is called in figures and tables."""
    budget = row.get("budget") or ""
    budget = {"steps": "equal steps", "seconds": "equal seconds"}.get(budget, budget)
    parts = [row["method"], *([budget] if budget else []), *(["refined"] if row.get("refined") else [])]
    return ", ".join(parts)


def rivals_of(rows: Sequence[dict], champion: dict) -> list[dict]:
    """Every other kind of row, seeds together: what `verdicts` compares a champion with."""
    kinds = [{key: row[key] for key in ("method", "budget", "refined")} for row in rows]
    return [kind for number, kind in enumerate(kinds) if kind not in kinds[:number] and kind != champion]


def largest_volumes(costs: Sequence[dict], gigabytes: Sequence[float], kind: str = "step") -> dict[str, list[int]]:
    """Network -> edges of the largest cubes that fit into each memory, by a straight line through what was measured."""
    found = {}
    for name in dict.fromkeys(row["method"] for row in costs):
        mine = [row for row in costs if row["method"] == name]
        voxels, used = [row["edge"] ** 3 for row in mine], [row[f"{kind}_bytes"] for row in mine]
        found[name] = [largest_edge(voxels, used, 1e9 * size) for size in gigabytes]
    return found
