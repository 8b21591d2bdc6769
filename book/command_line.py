"""The reference of the command line, written from its parser: every command, argument and option, with its default."""

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

HEAD = """# Command line

Everything that `moereg` takes, written from its own parser when this page is built. `moereg COMMAND --help` says the
same.
"""
WIDTH = 80  # letters of a usage: they fit beside both side bars
HARD = "\0"  # stands for a space at which no line ends
TAIL = """## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | something that nobody foresaw; one sentence names a log with all that a report of the fault needs |
| 2 | bad input: one sentence says what, where, what was expected and what came; nothing was written or changed |
| 130 | stopped from the keyboard |
| 141 | whoever read the output has stopped reading |

## Environment

| variable | meaning |
|---|---|
| `MOEREG_DATA` | folder in which public sets lie, and below which `moereg data get` puts them |
| `XDG_CACHE_HOME` | where the cache is made, `moereg` below it (default: `~/.cache`) |
| `MOEREG_BUDGET` | `smoke` or `full`: how much the notebooks may spend |
| `OMP_NUM_THREADS` | threads of PyTorch on a CPU |
"""


def page(parser: argparse.ArgumentParser) -> str:
    """Markdown text of the whole page."""
    return "\n".join([HEAD, *(part for command in commands(parser) for part in _section(*command)), TAIL])


def commands(parser: argparse.ArgumentParser, level: int = 2) -> Iterator[tuple[int, argparse.ArgumentParser]]:
    """Every command and the actions below it: how deep, and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield level, command
                yield from commands(command, level + 1)


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without `--help` and without the commands below it."""
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, left_out)]


def _section(level: int, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"{'#' * level} {parser.prog}\n"
    yield f"{_sentence(parser.description or '')}\n"
    yield f"```text\n{_usage(parser)}\n```\n"
    rows = arguments(parser)
    if rows:
        yield "| | what | default |\n|---|---|---|"
        yield from (f"| {_names(action)} | {_what(action)} | {_default(action)} |" for action in rows)
        yield ""


def _usage(parser: argparse.ArgumentParser) -> str:
    """Lines that do not depend on how wide a terminal is, and that tear no option apart."""
    words = re.findall(r"\[[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]|\S+", parser.format_usage().removeprefix("usage: "))
    whole = (" ".join(word.split()).replace(" ", HARD) for word in words)
    lines = textwrap.wrap(" ".join(whole), WIDTH, break_on_hyphens=False, subsequent_indent="    ")
    return "\n".join(lines).replace(HARD, " ")


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest.upper()}`"
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    several = " ..." if action.nargs in ("+", "*") else ""
    return ", ".join(f"`{name}{value}{several}`" for name in action.option_strings)


def _what(action: argparse.Action) -> str:
    text = _sentence((action.help or "").replace("|", "\\|"))
    choices = f" One of {', '.join(f'`{choice}`' for choice in action.choices)}." if action.choices else ""
    return text + choices


def _default(action: argparse.Action) -> str:
    if action.required:
        return "needed"
    if action.nargs == 0 or action.default in (None, argparse.SUPPRESS, [], ()):
        return ""
    return f"`{Path(action.default) if isinstance(action.default, Path) else action.default}`"


def _sentence(text: str) -> str:
    """With a capital and a full stop; `%(default)s` and their like are not used."""
    text = " ".join(text.split()).replace("<", "&lt;")
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') or not text else '.'}"
