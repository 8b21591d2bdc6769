"""The page of the networks in data/weights, written from their cards. Where a network is behind, that stands first."""

import json
from collections.abc import Sequence
from pathlib import Path

from moereg.metrics import TABLE_ROWS, method_effects

HEAD = """# Networks that come with the library

`NAME.safetensors` holds the weights, `NAME.json` beside it is the card: data, split, steps, seed, seconds, machine, and
every figure on the pairs of the test split, which nobody was trained on. `load_model("NAME")` and `--weights NAME` find
them from anywhere in a clone. `make weights` trains them again, in hours on two cores, and writes this page from the
cards.
"""
MEASURES = {"dice": "Dice", "epe": "endpoint error"}  # that decide who is ahead


def write_page(folder: Path) -> None:
    """`README.md` in a folder of networks and cards."""
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    (folder / "README.md").write_text(page(cards), encoding="utf-8")


def page(cards: Sequence[dict]) -> str:
    """The whole page, Markdown."""
    return "\n".join([HEAD, *(section(card) for card in cards)])


def section(card: dict) -> str:
    """One network: how it was made, whom it is behind and ahead of, every figure, how it got on."""
    return "\n".join(
        [
            f"## {card['name']}",
            "",
            f"{card['title']}. {made(card)}",
            "",
            *(f"- {sentence}" for sentence in compared(card)),
            "",
            *table(card),
            "",
            f"{curve(card)}",
            "",
        ]
    )


def made(card: dict) -> str:
    """Data, steps, time and place of a training, in a sentence or two."""
    training, origin, split = card["training"], card["made"], card["split"]
    labels = "with the labels of the training pairs" if training["labels"] else "on the images alone"
    return (
        f"{card['parameters']:,} parameters, stored as {origin['precision']}, trained {labels}: {training['steps']:,} "
        f"steps of {training['pairs_per_step']} pair in both directions out of {split['train pairs']} pairs, seed "
        f"{training['seed']}, {origin['seconds'] / 60:.0f} minutes on {origin['device']} ({origin['threads']} "
        f"thread{'s' if origin['threads'] > 1 else ''}, torch {origin['torch']}, {origin['date']}). Measured on "
        f"{split['test pairs']} pairs of the test split."
    )


def compared(card: dict) -> list[str]:
    """The network against every other method in Dice and endpoint error, by the one rule; where it is behind, first.

    Last comes what instance optimisation makes of its fields.
    """
    name, refined, answers = card["name"], refined_name(card["name"]), []
    for other in card["methods"]:
        if other not in (name, refined, "identity"):
            judged, said = _against(card["methods"], name, other)
            answers.append(("worse" not in judged, f"Against {other}: {said}"))
    sentences = [sentence for _, sentence in sorted(answers)]
    if refined in card["methods"]:
        said = _against(card["methods"], refined, name)[1]
        sentences.append(f"With {card['refined']} steps of instance optimisation, against itself without: {said}")
    return sentences


def refined_name(name: str) -> str:
    """Of a network whose fields are optimised, among the methods of its card."""
    return f"{name}, refined"


def _against(methods: dict[str, dict], own: str, other: str) -> tuple[list[str], str]:
    """The words of the one rule, and the sentence with the figures."""
    first, second = methods[own], methods[other]
    judged, parts = [], []
    for key, effect in method_effects(first, second, tuple(MEASURES)).items():
        judged.append(effect.judged(key))
        parts.append(f"{MEASURES[key]} {first[key]:.3f} against {second[key]:.3f}, {judged[-1]} ({effect.text()})")
    share = first["seconds_per_pair"] / second["seconds_per_pair"]
    return judged, f"{'; '.join(parts)}; {share:.2f} of its time."


def table(card: dict) -> list[str]:
    """A row per measure and label, a column per method."""
    methods = card["methods"]
    rows = [("", list(methods)), ("---", ["---:"] * len(methods))]
    for label in next(iter(methods.values()))["dice_per_label"]:
        rows.append((f"Dice {label}", [_number(method["dice_per_label"].get(label)) for method in methods.values()]))
    for title, key, factor in TABLE_ROWS:
        if any(method[key] is not None for method in methods.values()):
            rows.append((title, [_number(method[key], factor) for method in methods.values()]))
    return [f"| {title} | {' | '.join(cells)} |" for title, cells in rows]


def curve(card: dict) -> str:
    """Dice on pairs of the validation split while it was trained."""
    points = card["made"]["validation"]
    if not points:
        return ""
    said = ", ".join(f"{point['dice']:.3f} ({point['step']:,})" for point in points)
    return f"Mean Dice on pairs of the validation split after so many steps: {said}."


def _number(value: float | None, factor: float = 1) -> str:
    return "–" if value is None else f"{factor * value:.3f}"
