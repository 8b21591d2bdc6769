"""`moereg register`, and what is done with its fields: `apply`, `compose`, `invert`."""

import argparse
from pathlib import Path

from moereg.cli.options import command, device_option

INITS = ("auto", "none", "centre", "rigid", "affine")


def add_commands(commands) -> None:
    """`register`, `apply`, `compose` and `invert`, with their options."""
    register = command(commands, "register", run_register, "register one image to another, of any two grids")
    register.add_argument("moving", type=Path, nargs="?", help="image that is moved: NIfTI, .mgz, .nrrd or .mha")
    register.add_argument("fixed", type=Path, nargs="?", help="image that stays")
    register.add_argument(
        "--data",
        type=Path,
        metavar="PAIRS.csv",
        help="in place of the two: a table of pairs, columns moving, fixed, moving_labels, fixed_labels, fixed_mask",
    )
    register.add_argument(
        "--out", type=Path, required=True, help="folder for warped image, field and report; of a table, one a pair"
    )
    register.add_argument("--weights", help="file of a trained model, or a name in data/weights")
    register.add_argument("--method", help="method without weights: greedy or demons-VARIANT (default: greedy)")
    register.add_argument(
        "--init", choices=INITS, default="auto", help="linear alignment before it (default: auto, affine where needed)"
    )
    register.add_argument(
        "--refine", type=int, default=0, metavar="N", help="steps of instance optimisation (default: 0)"
    )
    register.add_argument(
        "--similarity",
        choices=("lncc", "mse", "mi"),
        help="of what optimises (default: lncc); mi for scans of different kinds",
    )
    register.add_argument("--mask", type=Path, help="where the fixed image counts, on its grid")
    register.add_argument("--labels", type=Path, help="labels of the moving image, to be warped too")
    register.add_argument("--fixed-labels", type=Path, help="labels of the fixed image: measure Dice before and after")
    register.add_argument("--inverse", action="store_true", help="also write the field that maps back")
    register.add_argument("--jacobian", action="store_true", help="also write the map of local volume change")
    register.add_argument("--no-report", action="store_true", help="write no report.html")
    device_option(register)

    apply = command(commands, "apply", run_apply, "pull an image or labels through a saved field")
    apply.add_argument("field", type=Path, help="displacement of moereg register, ITK or ANTs")
    apply.add_argument("image", type=Path, help="image in the space of the moving one, on any grid")
    apply.add_argument("--labels", action="store_true", help="the image is a label map: nearest voxel, whole numbers")
    apply.add_argument("--out", type=Path, required=True, help="the NIfTI file to write")

    compose = command(commands, "compose", run_compose, "one field for two that act one after the other")
    compose.add_argument("first", type=Path, help="field that acts first on the moving image")
    compose.add_argument("second", type=Path, help="field that acts on what the first one made; gives the grid")
    compose.add_argument("--out", type=Path, required=True, help="the NIfTI file to write")

    invert = command(commands, "invert", run_invert, "the field that maps back, and how far it misses")
    invert.add_argument("field", type=Path, help="displacement of moereg register, ITK or ANTs")
    invert.add_argument("--like", type=Path, help="image on whose grid to write it, best the moving one")
    invert.add_argument("--out", type=Path, required=True, help="the NIfTI file to write")


def run_register(options: argparse.Namespace) -> None:
    """`moereg register`"""
    from moereg.apply import register_files, register_table

    same = {
        "out": options.out,
        "weights": options.weights,
        "method": options.method,
        "init": options.init,
        "refine_steps": options.refine,
        "similarity": options.similarity,
        "inverse": options.inverse,
        "with_jacobian": options.jacobian,
        "report": not options.no_report,
        "device": options.device,
    }
    own = {"mask": options.mask, "labels": options.labels, "fixed_labels": options.fixed_labels}
    if options.data is None:
        if options.fixed is None:
            raise ValueError("register needs two images, MOVING and FIXED, or a table of pairs, --data PAIRS.csv.")
        done = register_files(options.moving, options.fixed, **same, **own)
        print("\n".join([*done.said, *map(str, done.paths)]))
        return
    if options.moving is not None:
        raise ValueError(f"--data names the pairs; leave {options.moving} out, or --data.")
    for name, value in own.items():
        if value is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for one pair; a table has a column for it.")
    table = register_table(options.data, tell=lambda line: print(line, flush=True), **same)
    print("\n".join(map(str, table.paths)))
    if table.failed:
        raise ValueError(
            f"{len(table.failed)} of {len(table.rows)} pairs could not be registered; {table.paths[0]} says why."
        )


def run_apply(options: argparse.Namespace) -> None:
    """`moereg apply`"""
    from moereg.apply import apply_file

    print("\n".join(apply_file(options.field, options.image, out=options.out, labels=options.labels)))


def run_compose(options: argparse.Namespace) -> None:
    """`moereg compose`"""
    from moereg.apply import compose_files

    print("\n".join(compose_files(options.first, options.second, out=options.out)))


def run_invert(options: argparse.Namespace) -> None:
    """`moereg invert`"""
    from moereg.apply import invert_file

    print("\n".join(invert_file(options.field, out=options.out, like=options.like)))
