"""The reference of the command line follows the parser; every command on the page for newcomers runs."""

import argparse
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from book import command_line
from moereg import cli
from moereg.apply import page as report
from moereg.data import save_volume

ROOT = Path(__file__).parents[1]
COMING_FROM = (ROOT / "book" / "coming-from.md").read_text(encoding="utf-8")


# ---- the reference ----


def sections() -> dict[str, str]:
    """Heading -> text below it, up to the next one."""
    parts = re.split(r"^#+ (.+)$", command_line.page(cli.parser()), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def every_parser(parser=None):
    """Found independently of the page: by name, through argparse's own table of choices."""
    for action in (parser or cli.parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from every_parser(inner)


def test_every_command_has_a_section_with_every_option():
    found = sections()
    named = [parser.prog for parser in every_parser()]
    assert {"moereg train", "moereg register", "moereg data get", "moereg doctor"} <= set(named)
    for parser in every_parser():
        text = found[parser.prog]
        assert parser.description[1:] in text
        for action in parser._actions:
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert f"`{option}" in text, (parser.prog, option)
            if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                assert action.help, f"{parser.prog} {action.dest} has no help"
                assert action.help[1:].replace("|", "\\|") in text
                for choice in action.choices or ():
                    assert f"`{choice}`" in text


def test_defaults_and_needs_are_said():
    made = argparse.ArgumentParser(prog="tool")
    one = made.add_subparsers().add_parser("cut", description="cut a | b")
    one.add_argument("file", help="what to cut")
    one.add_argument("--out", required=True, type=Path, help="where <to>")
    one.add_argument("--size", type=int, default=3, help="how large")
    one.add_argument("--kind", choices=("a", "b"), default="a", help="which")
    one.add_argument("--names", nargs="+", default=[], metavar="N", help="several")
    one.add_argument("--fast", action="store_true", help="no | yes")
    text = command_line.page(made)
    for line in (
        "## tool cut",
        "Cut a | b.",
        "| `FILE` | What to cut. | needed |",
        "| `--out OUT` | Where &lt;to>. | needed |",
        "| `--size SIZE` | How large. | `3` |",
        "| `--kind KIND` | Which. One of `a`, `b`. | `a` |",
        "| `--names N ...` | Several. |  |",
        "| `--fast` | No \\| yes. |  |",
    ):
        assert line in text.splitlines()


def test_a_usage_tears_no_option_apart(monkeypatch):
    pages = []
    for columns in ("40", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        pages.append(command_line.page(cli.parser()))
    assert pages[0] == pages[1]
    for usage in re.findall(r"```text\n(.*?)\n```", pages[0], re.DOTALL):
        for line in usage.splitlines():
            assert len(line) <= command_line.WIDTH
            assert line.count("[") == line.count("]"), line
            assert not line.endswith("-")
    assert "\n    [--checkpointing | --no-checkpointing] [--compile | --no-compile]\n" in pages[0]


# ---- the page for those who come from elsewhere ----

BLOCKS = re.findall(r"```bash\n(.*?)```", COMING_FROM, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
COMMANDS = [line for line in LINES if line.startswith("moereg ")]


@pytest.mark.plain_errors
def test_every_command_on_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "clinical_pictures", lambda *images: [])
    image, affine = torch.zeros(14, 13, 12), np.diag([2.0, 1.5, 3.0, 1.0])
    image[4:10, 3:9, 3:8] = 1
    image += 0.01 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    save_volume("fixed.nii.gz", image, affine)
    save_volume("moving.nii.gz", 3 * image, affine)  # where it belongs already: no alignment is looked for
    save_volume("labels.nii.gz", (image > 0.5).long(), affine)
    save_volume("mask.nii.gz", torch.ones(image.shape).long(), affine)
    monkeypatch.setattr("moereg.apply.methods.STEPS", (2,))
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        assert cli.main(command.split()[1:]) == 0, (command, capsys.readouterr().err)
    assert nib.load("warped_labels.nii.gz").get_data_dtype().kind == "i"
    assert all(Path(name).exists() for name in ("out/inverse.nii.gz", "out/jacobian.nii.gz", "back.nii.gz"))


def test_options_that_the_page_names_exist():
    """Those of the last column are ours."""
    known = {option for parser in every_parser() for action in parser._actions for option in action.option_strings}
    ours = [line.rsplit("|", 2)[1] for line in COMING_FROM.splitlines() if line.startswith("| ")][1:]
    named = {option for cell in ours for option in re.findall(r"--[a-z][a-z-]*", cell)}
    assert {"--init", "--inverse", "--mask", "--labels"} <= named <= known
