"""What several commands have in common."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def command(commands, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """A new command with its line of help and what runs it."""
    made = commands.add_parser(name, help=text, description=text)
    made.set_defaults(run=run)
    return made


def device_option(command: argparse.ArgumentParser, default: str | None = "auto") -> None:
    """`--device`, as everywhere."""
    command.add_argument("--device", default=default, help="auto, cpu, cuda or mps")


def inputs(data: str, pairs) -> list[str | Path]:
    """Every file that a set of pairs is read from."""
    return [data, *(path for files in getattr(pairs, "files", ()) for path in files.all)]


def say_of_table(data: str, pairs) -> None:
    """What the user of a table should know of how it was read."""
    from moereg.data.tables import told

    for sentence in told(data, pairs):
        say(sentence)


def say(sentence: str) -> None:
    """Beside the results, from one process alone."""
    from moereg.processes import this_process

    if this_process().first:
        print(sentence, file=sys.stderr)
