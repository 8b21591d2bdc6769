"""How many recursions does RMAn need, and what is mutual attention worth? The paper's Figure 5 as an experiment.

Networks are trained with K_train recursions and measured with every K. Each has two controls that see the same pairs in
the same order with the same seeds: "self", where each image looks at itself instead of at the other one (as many
parameters, as much work), and "none", where attention is left out (fewer parameters).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from moereg.evaluation.experiments import Task
from moereg.evaluation.metrics import evaluate
from moereg.evaluation.specialisation import Finding
from moereg.models import build
from moereg.training import TrainingConfig, fit

QUESTION = "How many recursions, and does mutual attention help?"
SMALLEST = 0.005  # Dice: a smaller difference is not called one, however sure


@dataclass(frozen=True)
class RecursionProtocol:
    """What is trained and what is measured."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    trained: tuple[int, ...] = (1, 2, 3, 4)  # K_train
    recursions: tuple[int, ...] = (1, 2, 3, 4)  # K at inference
    attention: tuple[str, ...] = ("mutual", "self", "none")
    sizes: dict = field(default_factory=dict)  # of RMAn, before the others are set


def recursion_sweep(
    task: Task, protocol: RecursionProtocol, *, on_rows: Callable[[list[dict]], None] = lambda rows: None
) -> Finding:
    """Train every kind of attention with every K_train and every seed, measure each network with every K.

    Args:
        task: pairs with large motion, 2-D or 3-D, with labels.
        on_rows: called with the rows of each network as soon as they are known.

    Returns:
        A finding with one row per network and K: Dice, surface distance (mm), endpoint error (voxels), folds, seconds.
    """
    rows = []
    for seed in protocol.seeds:
        for trained in protocol.trained:
            for attention in protocol.attention:
                torch.manual_seed(seed)
                sizes = protocol.sizes | {"attention": attention, "recursions": trained}
                model = build("rman", dims=len(task.test[0].shape), **sizes)
                fit(model, task.train, replace(protocol.training, seed=seed), progress=False)
                model = model.cpu()
                methods = {str(k): partial(model, recursions=k) for k in protocol.recursions}
                made = [
                    {
                        "attention": attention,
                        "trained": trained,
                        "recursions": int(k),
                        "seed": seed,
                        "parameters": sum(parameter.numel() for parameter in model.parameters()),
                        **{key: measured[key] for key in ("dice", "asd", "epe", "fold_fraction", "seconds_per_pair")},
                    }
                    for k, measured in evaluate(methods, task.test).items()
                ]
                rows += made
                on_rows(made)
    return Finding(QUESTION, rows, " ".join(statements(rows).values()))


def statements(rows: Sequence[dict]) -> dict[str, str]:
    """What the paper says about recursion and attention, each with the numbers that decide here."""
    most = max(row["recursions"] for row in rows)
    return {
        "beyond": _beyond_training(rows, most),
        "once": _trained_once(rows, most),
        "attention": _attention(rows),
        "time": _time(rows, most),
    }


def change(rows: Sequence[dict], first: dict, second: dict, key: str = "dice") -> tuple[float, float]:
    """Mean and standard error over seeds of `first - second`, each a choice of rows; other settings are averaged."""

    def by_seed(choice: dict) -> dict[int, float]:
        found: dict[int, list[float]] = {}
        for row in rows:
            if all(row[name] == value for name, value in choice.items()):
                found.setdefault(row["seed"], []).append(row[key])
        return {seed: float(np.mean(values)) for seed, values in found.items()}

    one, other = by_seed(first), by_seed(second)
    differences = np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])
    error = float(differences.std(ddof=1) / len(differences) ** 0.5) if len(differences) > 1 else float("nan")
    return float(differences.mean()), error


def verdict(mean: float, error: float) -> str:
    """ "more", "less" or "open": beyond twice the standard error over seeds, and large enough to matter."""
    if not (abs(mean) > 2 * error and abs(mean) > SMALLEST):
        return "open"
    return "more" if mean > 0 else "less"


def _said(mean: float, error: float) -> str:
    return f"{mean:+.3f} +- {error:.3f}"


def _beyond_training(rows: Sequence[dict], most: int) -> str:
    """More recursions than in training, for networks that were trained with two or more."""
    parts, verdicts = [], []
    for trained in sorted({row["trained"] for row in rows if row["trained"] >= 2}):
        at = {"attention": "mutual", "trained": trained}
        whole = change(rows, at | {"recursions": most}, at | {"recursions": 1})
        text = f"K_train = {trained}: {_said(*whole)}"
        if trained < most:
            more = change(rows, at | {"recursions": most}, at | {"recursions": trained})
            verdicts.append(verdict(*more))
            text += f" ({_said(*more)} of it beyond the {trained} of training)"
        parts.append(text)
    holds = _holds(verdicts, "more")
    return (
        f"'Trained with two or more, further recursions help' {holds}: Dice from 1 to {most} recursions changes by "
        f"{'; '.join(parts)}."
    )


def _trained_once(rows: Sequence[dict], most: int) -> str:
    at = {"attention": "mutual", "trained": 1}
    if not any(row["trained"] == 1 for row in rows):
        return "Nothing was trained with one recursion."
    means = {
        k: np.mean([r["dice"] for r in rows if (r["attention"], r["trained"], r["recursions"]) == ("mutual", 1, k)])
        for k in sorted({row["recursions"] for row in rows})
    }
    best = max(means, key=means.get)
    whole = change(rows, at | {"recursions": most}, at | {"recursions": 1})
    after = change(rows, at | {"recursions": most}, at | {"recursions": best})
    if best == 1:
        return f"'Trained with one, further recursions hurt' {_holds([verdict(*whole)], 'less')}: {_said(*whole)}."
    found = {"less": f"holds beyond {best}", "open": "is not seen", "more": "does not hold"}[verdict(*after)]
    return (
        f"'Trained with one, further recursions hurt' {found}: Dice is best with {best} recursions and changes by "
        f"{_said(*after)} from there to {most}, by {_said(*whole)} from 1 to {most}."
    )


def _attention(rows: Sequence[dict]) -> str:
    parts, verdicts = [], {}
    for other in [kind for kind in dict.fromkeys(row["attention"] for row in rows) if kind != "mutual"]:
        differences = {
            k: change(rows, {"attention": "mutual", "recursions": k}, {"attention": other, "recursions": k})
            for k in sorted({row["recursions"] for row in rows})
        }
        verdicts[other] = [verdict(*difference) for difference in differences.values()]
        listed = ", ".join(_said(*difference) for difference in differences.values())
        name = {"self": "the same network whose images look at themselves", "none": "the network without attention"}
        parts.append(f"against {name[other]} {_holds(verdicts[other], 'more')} ({listed})")
    return f"'Mutual attention is better at each K', mean over K_train: {'; '.join(parts)}."


def _time(rows: Sequence[dict], most: int) -> str:
    def seconds(k: int) -> float:
        return float(
            np.median([r["seconds_per_pair"] for r in rows if (r["attention"], r["recursions"]) == ("mutual", k)])
        )

    return (
        f"'Time grows little': {most} recursions take {seconds(most) / seconds(1):.1f} times as long as one "
        f"({1000 * seconds(1):.0f} and {1000 * seconds(most):.0f} ms)."
    )


def _holds(verdicts: Sequence[str], wanted: str) -> str:
    count = sum(found == wanted for found in verdicts)
    opposite = sum(found not in (wanted, "open") for found in verdicts)
    if count == len(verdicts) and verdicts:
        return "holds"
    if count:
        return f"holds in {count} of {len(verdicts)} cases" + (f", the opposite in {opposite}" if opposite else "")
    return "does not hold, the opposite does" if opposite == len(verdicts) and verdicts else "is not seen"
