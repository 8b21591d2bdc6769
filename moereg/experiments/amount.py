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
    counts: Sequence[int],
    steps: Sequence[int],
    on_rows: OnRows = nothing,
) -> Finding:
    """Train on the first `count` pairs of `usual` for each number of steps, and on all of `other` for the most steps.

    Args:
        usual: motion of the training pairs; its own test pairs say what is left of unseen motion.
        other: another motion of the same subjects, the control.
        tests: further test pairs by name, of known motion above zero.
        counts: numbers of training pairs, ascending.
        steps: numbers of steps, ascending.

    Returns:
        Rows of trained (task), pairs, steps, seed, "seen" and "unseen" (share left of the motion of its training pairs
        and of the test pairs of `usual`), "left" (share by name of `tests`), and "folds" on the test pairs.
    """
    runs = [(usual, count, number) for number in steps for count in counts] + [(other, counts[-1], steps[-1])]
    rows = []
    for task, count, number in runs:
        few = Task(task.name, [task.train[i] for i in range(count)], usual.test)
        own = replace(protocol, training=replace(protocol.training, steps=number))
        for seed in protocol.seeds:
            model = train_one(few, own, seed)
            row = {"trained": task.name, "pairs": count, "steps": number, "seed": seed}
            row["seen"], row["unseen"] = share_left(model, few.train[:16]), share_left(model, usual.test)
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
    """What is left of unseen motion with the fewest and the most pairs, after the fewest and the most steps."""
    usual = rows[0]["trained"]
    own = [row for row in rows if row["trained"] == usual]
    counts, steps = (sorted({row[key] for row in own}) for key in ("pairs", "steps"))
    parts = []
    for number in steps:
        left = {count: mean_of(own, "unseen", pairs=count, steps=number) for count in counts}
        best = min(left, key=left.__getitem__)
        shares = ", ".join(f"{share:.0%} with {count}" for count, share in left.items())
        parts.append(f"After {number} steps, of the motion of unseen pairs is left: {shares}; least with {best}")
    controls = []
    for trained in dict.fromkeys(row["trained"] for row in rows):
        last = [r for r in rows if r["trained"] == trained and (r["pairs"], r["steps"]) == (counts[-1], steps[-1])]
        shares = (f"{np.mean([row['left'][name] for row in last]):.0%} of {name}" for name in last[0]["left"])
        controls.append(f"trained on {trained}, the network leaves {', '.join(shares)}")
    return ". ".join([*parts, "; ".join(controls).capitalize()]) + "."
