"""How many recursions does RMAn need, and what is mutual attention worth? The paper's Figure 5 as an experiment.

Networks are trained with K_train recursions and measured with every K. Each has two controls that see the same pairs in
the same order with the same seeds: "self", where each image looks at itself instead of at the other one (as many
parameters, as much work), and "none", where attention is left out (fewer parameters). Controls may be trained with
some K_train only; they are compared with networks of the same K_train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from moereg.experiments.finding import Finding, effect_between, kept
from moereg.experiments.protocol import OnRows, Protocol, Task, count_parameters, nothing, train_one
from moereg.metrics import UNDECIDED, evaluate

QUESTION = "How many recursions, and does mutual attention help?"
KEYS = ("dice", "asd", "epe", "fold_fraction", "seconds_per_pair")


@dataclass(frozen=True)
class RecursionProtocol(Protocol):
    """What is trained and what is measured."""

    model: str = "rman"
    trained: tuple[int, ...] = (1, 2, 3, 4)  # K_train of mutual attention
    controlled: tuple[int, ...] = (1, 2, 3, 4)  # K_train of its controls
    recursions: tuple[int, ...] = (1, 2, 3, 4)  # K at inference
    attention: tuple[str, ...] = ("mutual", "self", "none")


def recursion_sweep(task: Task, protocol: RecursionProtocol, *, on_rows: OnRows = nothing) -> Finding:
    """Train mutual attention with every K_train, its controls with some, each with every seed; measure with every K.

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
                if attention != "mutual" and trained not in protocol.controlled:
                    continue
                model = train_one(task, protocol, seed, attention=attention, recursions=trained)
                own = {"attention": attention, "trained": trained}
                common = {"seed": seed, "parameters": count_parameters(model)}
                methods = {str(k): partial(model, recursions=k) for k in protocol.recursions}
                made = [
                    own | {"recursions": int(k)} | common | kept(measured, KEYS)
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
        "three": _three_suffice(rows, most),
        "attention": _attention(rows),
        "time": _time(rows),
    }


def _beyond_training(rows: Sequence[dict], most: int) -> str:
    """More recursions than in training, for networks that were trained with two or more."""
    parts, verdicts = [], []
    measured = {row["recursions"] for row in rows}
    for trained in sorted({row["trained"] for row in rows if row["trained"] >= 2}):
        at = {"attention": "mutual", "trained": trained}
        whole = effect_between(rows, at | {"recursions": most}, at | {"recursions": 1})
        text = f"K_train = {trained}: {whole.text()}"
        if trained < most and trained in measured:
            more = effect_between(rows, at | {"recursions": most}, at | {"recursions": trained})
            verdicts.append(more.direction)
            text += f" ({more.text()} of it beyond the {trained} of training)"
        parts.append(text)
    holds = _holds(verdicts, "higher")
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
    best = max(means, key=means.__getitem__)
    whole = effect_between(rows, at | {"recursions": most}, at | {"recursions": 1})
    after = effect_between(rows, at | {"recursions": most}, at | {"recursions": best})
    if best == 1:
        return f"'Trained with one, further recursions hurt' {_holds([whole.direction], 'lower')}: {whole.text()}."
    found = {"lower": f"holds beyond {best}", UNDECIDED: "is not seen", "higher": "does not hold"}[after.direction]
    return (
        f"'Trained with one, further recursions hurt' {found}: Dice is best with {best} recursions and changes by "
        f"{after.text()} from there to {most}, by {whole.text()} from 1 to {most}."
    )


def _three_suffice(rows: Sequence[dict], most: int) -> str:
    """What a third recursion still brings, and what comes after it, for the largest K_train."""
    trained = max(row["trained"] for row in rows)
    at = {"attention": "mutual", "trained": trained}
    if not {2, 3} <= {row["recursions"] for row in rows} or most <= 3:
        return "Nothing was measured beyond three recursions."
    parts, after = [], []
    for key, digits in (("dice", 3), ("epe", 2)):
        third, rest = (
            effect_between(rows, at | {"recursions": more}, at | {"recursions": less}, key)
            for more, less in ((3, 2), (most, 3))
        )
        after.append(rest.judged(key))
        name = {"dice": "Dice", "epe": "endpoint error"}[key]
        parts.append(f"{name} {third.text(digits)} by the third, {rest.text(digits)} from there to {most}")
    holds = "does not hold" if "better" in after else "holds"
    return f"'Three recursions suffice' {holds} (K_train = {trained}): {'; '.join(parts)}."


def _attention(rows: Sequence[dict]) -> str:
    parts, verdicts = [], {}
    for other in [kind for kind in dict.fromkeys(row["attention"] for row in rows) if kind != "mutual"]:
        both = {row["trained"] for row in rows if row["attention"] == other}
        alike = [row for row in rows if row["trained"] in both]
        differences = {
            k: effect_between(alike, {"attention": "mutual", "recursions": k}, {"attention": other, "recursions": k})
            for k in sorted({row["recursions"] for row in rows})
        }
        verdicts[other] = [difference.direction for difference in differences.values()]
        listed = ", ".join(difference.text() for difference in differences.values())
        name = {"self": "the same network whose images look at themselves", "none": "the network without attention"}
        parts.append(f"against {name[other]} {_holds(verdicts[other], 'higher')} ({listed})")
    return f"'Mutual attention is better at each K', at equal K_train: {'; '.join(parts)}."


def _time(rows: Sequence[dict]) -> str:
    def seconds(k: int) -> float:
        return float(
            np.median([r["seconds_per_pair"] for r in rows if (r["attention"], r["recursions"]) == ("mutual", k)])
        )

    times = [f"{k} take {seconds(k) / seconds(1):.1f}" for k in sorted({row["recursions"] for row in rows}) if k > 1]
    return f"'Time grows little': of recursions, {', '.join(times)} times as long as one."


def _holds(verdicts: Sequence[str], wanted: str) -> str:
    count = sum(found == wanted for found in verdicts)
    opposite = sum(found not in (wanted, UNDECIDED) for found in verdicts)
    if count == len(verdicts) and verdicts:
        return "holds"
    if count:
        return f"holds in {count} of {len(verdicts)} cases" + (f", the opposite in {opposite}" if opposite else "")
    return "does not hold, the opposite does" if opposite == len(verdicts) and verdicts else "is not seen"
