"""How many pairs, how many steps, which motion? What a network leaves of the motion of pairs that it never saw.

The same network is trained on few and on many pairs, for few and for many steps, and, as a control of what is asked of
it beyond its training, on pairs that move more. Shares make motions of different size comparable:

    left = mean endpoint error with the network / mean endpoint error without registration
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from moereg.classical import identity
from moereg.data.pairs import Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing, train_one
from moereg.metrics import evaluate


def amount(
    usual: Task,
    other: Task,
    tests: Mapping[str, Pairs],
    protocol: Protocol,
    *,
    runs: Sequence[tuple[int, int]],
    control: tuple[int, int],
    on_rows: OnRows = nothing,
) -> Finding:
    """Train on the first pairs of `usual`, few and many, for few and for many steps, and once on those of `other`.

    Args:
        usual: motion of the training pairs; its own test pairs say what is left of unseen motion.
        other: another motion of the same subjects, the control.
        tests: further test pairs by name, of known motion above zero.
        runs: number of training pairs and of steps, of each run on `usual`.
        control: the same of the one on `other`; one of `runs`, to be compared with.

    Returns:
        Rows of trained (task), pairs, steps, seed, "seen" and "unseen" (share left of the motion of its training pairs
        and of the test pairs of `usual`), "left" (share by name of `tests`), and "folds" on the test pairs.

    Raises:
        ValueError: a control that is none of the runs.
    """
    if control not in runs:
        raise ValueError(f"control must be one of runs, {tuple(runs)}, got {control}.")
    rows = []
    for task, (count, number) in [*((usual, run) for run in runs), (other, control)]:
        few = Task(task.name, [task.train[i] for i in range(count)], usual.test)
        own = replace(protocol, training=replace(protocol.training, steps=number))
        for seed in protocol.seeds:
            model = train_one(few, own, seed)
            row = {"trained": task.name, "pairs": count, "steps": number, "seed": seed}
            seen = [few.train[i] for i in range(min(16, count))]
            row["seen"], row["unseen"] = share_left(model, seen), share_left(model, usual.test)
            row["left"] = {name: share_left(model, pairs) for name, pairs in tests.items()}
            row["folds"] = evaluate({"": model}, usual.test, surfaces=False)[""]["fold_fraction"]
            rows.append(row)
            on_rows([row])
    return Finding("How many pairs, how many steps, which motion?", rows, amount_sentence(rows))


def share_left(model: nn.Module, pairs: Pairs) -> float:
    """Mean endpoint error with the network over that without registration."""
    measured = evaluate({"model": model, "identity": identity}, pairs, surfaces=False)
    return measured["model"]["epe"] / measured["identity"]["epe"]


def mean_of(rows: Sequence[dict], key: str, **choice) -> float:
    """Mean over seeds of the rows that hold `choice`.

    Raises:
        ValueError: there are none.
    """
    values = [row[key] for row in rows if all(row[name] == value for name, value in choice.items())]
    if not values:
        raise ValueError(f"rows must hold some with {choice}, got none.")
    return float(np.mean(values))


def amount_sentence(rows: Sequence[dict]) -> str:
    """What is left of unseen motion, by steps and pairs; and what a network leaves that has seen the other motion."""
    usual = rows[0]["trained"]
    own = [row for row in rows if row["trained"] == usual]
    parts = []
    for number in sorted({row["steps"] for row in own}):
        counts = sorted({row["pairs"] for row in own if row["steps"] == number})
        left = {count: mean_of(own, "unseen", pairs=count, steps=number) for count in counts}
        best = min(left, key=left.__getitem__)
        shares = ", ".join(f"{share:.0%} with {count}" for count, share in left.items())
        parts.append(f"After {number} steps, of the motion of unseen pairs is left: {shares}; least with {best}")
    control = next((row["pairs"], row["steps"]) for row in rows if row["trained"] != usual)
    compared = [row for row in rows if (row["pairs"], row["steps"]) == control]
    controls = []
    for trained in dict.fromkeys(row["trained"] for row in compared):
        same = [row["left"] for row in compared if row["trained"] == trained]
        shares = (f"{np.mean([left[name] for left in same]):.0%} of {name}" for name in same[0])
        controls.append(f"trained on {trained}, the network leaves {', '.join(shares)}")
    count, number = control
    return ". ".join(parts) + f". With {count} pairs and {number} steps, {'; '.join(controls)}."
