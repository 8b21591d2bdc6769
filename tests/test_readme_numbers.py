"""The README's sentence on when a network is not worth it says what the card of the network says."""

import json
import re
from pathlib import Path

from moereg import cli

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_its_numbers_are_those_of_the_card():
    card = json.loads((ROOT / "data" / "weights" / "hippocampus.json").read_text(encoding="utf-8"))
    before, demons, network = (card["methods"][name] for name in ("identity", "demons-symmetric", "hippocampus"))
    first, minutes = card["made"]["validation"][0], card["made"]["seconds"] / 60
    share = network["seconds_per_pair"] / demons["seconds_per_pair"]
    for words in (
        f"classical Demons reaches Dice {demons['dice']:.3f} without any training ({before['dice']:.3f} before)",
        f"had {first['dice']:.3f} after {first['step']} steps",
        f"has {network['dice']:.3f} after {card['training']['steps']:,}: {minutes:.0f} minutes",
        f"Per pair it takes {share:.2f} of Demons' time",
    ):
        assert words in README, words
    assert first["dice"] < demons["dice"] < network["dice"]


def test_its_commands_are_understood():
    commands = re.findall(r"^\.venv/bin/moereg (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        cli.parser().parse_args(command.split())
