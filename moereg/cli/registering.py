"""`moereg register`: one pair of files."""

import argparse
from pathlib import Path

from moereg.cli.options import command, device_option


def add_commands(commands) -> None:
    """`register`, with its options."""
    register = command(commands, "register", run_register, "register one image to another")
    register.add_argument("moving", type=Path, help="NIfTI image that is moved")
    register.add_argument("fixed", type=Path, help="NIfTI image that stays")
    register.add_argument("--weights", required=True, help="file of a trained model, or a name in data/weights")
    register.add_argument(
        "--refine", type=int, default=0, metavar="N", help="steps of instance optimisation (default: 0)"
    )
    register.add_argument("--out", type=Path, required=True, help="folder for warped image, field and report")
    device_option(register)


def run_register(options: argparse.Namespace) -> None:
    """`moereg register`"""
    from moereg.apply import register_files

    if options.refine < 0:
        raise ValueError(f"--refine must be zero or more, got {options.refine}.")
    for path in register_files(
        options.moving,
        options.fixed,
        weights=options.weights,
        out=options.out,
        device=options.device,
        refine_steps=options.refine,
    ):
        print(path)
