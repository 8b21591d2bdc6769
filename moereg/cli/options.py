"""What several commands have in common."""

import argparse
from collections.abc import Callable


def command(commands, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """A new command with its line of help and what runs it."""
    made = commands.add_parser(name, help=text, description=text)
    made.set_defaults(run=run)
    return made


def device_option(command: argparse.ArgumentParser) -> None:
    """`--device`, as everywhere."""
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
