"""The README says of its measurements what cards and records say."""

import json
import re
from pathlib import Path

from moereg import cli
from moereg.experiments import worth_markdown

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


def record(name):
    return json.loads((ROOT / "data" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_table_of_what_is_worth_it_is_that_of_the_record():
    assert worth_markdown(record("experiments/worth")["rows"]) in (ROOT / "README.md").read_text(encoding="utf-8")


def untrained_words():
    """What the README says of the default without training, from the means of `data/registering/untrained.json`."""
    means = {(row["set"], row["method"]): row for row in record("registering/untrained")["means"]}
    own, others = means["hippocampus", "greedy"], ("SyN", "SimpleITK Demons", "demons-diffeomorphic")
    beside = {name: means["hippocampus", name] for name in others}
    names = {"SyN": "ANTs' SyN", "SimpleITK Demons": "SimpleITK's Demons", "demons-diffeomorphic": "our Demons"}
    told = ", ".join(f"{names[name]} {row['dice']:.3f}" for name, row in beside.items())
    slow = [r["dice"] for r in record("registering/untrained")["rows"] if r["method"] == "SyNCC"]
    kept = [score for score in slow if score > 0.1]
    assert (len(kept), len(slow)) == (own["pairs"] - 1, own["pairs"])
    told += f"; ANTs' slow SyNCC loses one pair and has {sum(kept) / len(kept):.3f} on the others"
    brain = {name: means["mni152", name] for name in ("greedy", *others)}
    known = ", ".join(f"{names[name]} {brain[name]['dice']:.3f} and {brain[name]['epe']:.2f}" for name in others)
    return (
        f"the search reaches Dice {own['dice']:.3f} on {own['pairs']} pairs of hippocampi ({told}), in "
        f"{own['seconds'] / beside['SyN']['seconds']:.1f} times SyN's processor time; on {brain['greedy']['pairs']} of "
        f"MNI152 under known motions {brain['greedy']['dice']:.3f}, {brain['greedy']['epe']:.2f} voxels off ({known})."
    )


def trust_words():
    """How often the verdict was right on fresh pairs."""
    told = record("registering/verdict")["sentence"]
    return told[0].lower() + told[1:]


def test_what_it_says_of_registering_is_what_was_recorded():
    for words in (untrained_words(), trust_words()):
        assert words in README, words


def test_its_commands_are_understood():
    commands = re.findall(r"^\.venv/bin/moereg (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        cli.parser().parse_args(command.split())
