"""Methods that need no training, compared on the same pairs: what `tools/untrained.py` records becomes sentences."""

from collections.abc import Sequence

import numpy as np

from moereg.metrics import paired_effect

MEASURES = {"dice": "Dice", "epe": "endpoint error"}


def untrained_sentences(rows: Sequence[dict], default: str) -> list[str]:
    """For every set and every other method: the default against it, in Dice, endpoint error and CPU time.

    Args:
        rows: "set", "pair", "method", "dice", "epe" (None where the truth is not known), "folds", "seconds".
        default: the method that the others are compared with.
    """
    sentences = []
    for name in dict.fromkeys(row["set"] for row in rows):
        for method in dict.fromkeys(row["method"] for row in rows):
            own, other = (_by_pair(rows, name, which) for which in (default, method))
            shared = [pair for pair in own if pair in other]
            if method != default and shared:
                pairs = [[of[pair] for pair in shared] for of in (own, other)]
                sentences.append(f"{name}: {default} against {method}, {_compared(*pairs)}")
    return sentences


def means(rows: Sequence[dict]) -> list[dict]:
    """A row for each set and method: means over its pairs, and how many there are."""
    found = []
    for name in dict.fromkeys(row["set"] for row in rows):
        for method in dict.fromkeys(row["method"] for row in rows):
            of = list(_by_pair(rows, name, method).values())
            if of:
                keys = [key for key in ("dice", "epe", "folds", "seconds") if all(row[key] is not None for row in of)]
                mean = {key: float(np.mean([row[key] for row in of])) for key in keys}
                found.append({"set": name, "method": method, "pairs": len(of)} | mean)
    return found


def _by_pair(rows: Sequence[dict], name: str, method: str) -> dict[str, dict]:
    return {row["pair"]: row for row in rows if (row["set"], row["method"]) == (name, method)}


def _compared(own: list[dict], other: list[dict]) -> str:
    parts = []
    for key, title in MEASURES.items():
        if all(row[key] is not None for row in (*own, *other)):
            values = [[row[key] for row in of] for of in (own, other)]
            effect = paired_effect(*values)
            judged = "" if len(own) == 1 else f", {effect.judged(key)}"
            parts.append(f"{title} {np.mean(values[0]):.3f} and {np.mean(values[1]):.3f}{judged} ({effect.text()})")
    seconds = [sum(row["seconds"] for row in of) for of in (own, other)]
    count = f"{len(own)} pair{'s' if len(own) > 1 else ''}"
    return f"{count}: {'; '.join(parts)}; {seconds[0] / seconds[1]:.2g} of its CPU seconds."
