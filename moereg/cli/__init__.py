"""`moereg`: the command line. Every command imports what it needs when it runs, so `--help` answers at once."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moereg.cli import describing, registering, training
from moereg.cli.datasets import add_commands as _add_data_commands
from moereg.cli.describing import run_describe
from moereg.cli.options import command as _command
from moereg.cli.options import device_option as _device_option
from moereg.cli.options import inputs as _inputs
from moereg.cli.options import say, say_of_table
from moereg.cli.registering import run_apply, run_compose, run_invert, run_register
from moereg.cli.threads import let_threads_sleep
from moereg.cli.training import run_train
from moereg.processes import this_process

if TYPE_CHECKING:
    from moereg.apply.views import SetView

__all__ = [
    "main",
    "parser",
    "run_apply",
    "run_compose",
    "run_demo",
    "run_describe",
    "run_doctor",
    "run_evaluate",
    "run_explore",
    "run_invert",
    "run_register",
    "run_train",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Bad input ends in one sentence and exit code 2, what nobody foresaw in one and code 1.

    The second kind names a file with everything that a report of the fault needs.
    """
    options = parser().parse_args(arguments)
    let_threads_sleep(os.environ)
    own = this_process()
    try:
        with nullcontext() if own.first else redirect_stdout(io.StringIO()):
            options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has read enough
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError) as error:
        place = "" if own.first else f" (process {own.rank})"
        print(f"moereg {options.command}{place}: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except Exception as error:  # the boundary: nobody shall meet a traceback
        what = "ran out of memory" if _out_of_memory(error) else f"met what it did not expect ({type(error).__name__})"
        print(f"moereg {options.command}: {what}; {_write_log(arguments, error)} says where.", file=sys.stderr)
        return 1
    return 0


def _sentence(error: Exception) -> str:
    """What to say of bad input, in one line. The system's own errors know a file and a reason."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename} cannot be used" if error.filename else "a file cannot be read or written"
        return f"{place}: {error.strerror.lower()}."
    return " ".join(str(error).split())


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate" in str(error)


def _write_log(arguments: Sequence[str] | None, error: Exception) -> str:
    """Command line, versions and traceback, in a file of its own; returns its path."""
    import platform
    import tempfile
    import traceback
    from importlib.metadata import version

    facts = {name: version(name) for name in ("torch", "numpy", "nibabel")}
    lines = [
        f"moereg {' '.join(sys.argv[1:] if arguments is None else arguments)}",
        f"Python {platform.python_version()} on {platform.platform()}, {facts}",
        "".join(traceback.format_exception(error)),
    ]
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", prefix="moereg-", suffix=".log", delete=False
        ) as log:
            log.write("\n".join(lines))
        return log.name
    except OSError:  # no place for it: the screen is left
        return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(prog="moereg", description="Deformable image registration with mixture-of-experts.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(commands, "demo", run_demo, "train SHMoAReg and a yardstick, compare, open the experts")
    demo.add_argument("--data", default="abdomen", help="abdomen, brain, cardiac, lung, hippocampus, or PAIRS.csv")
    demo.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for what comes out")
    demo.add_argument("--steps", type=int, help="training steps of each model (default: by data and device)")
    demo.add_argument("--seed", type=int, default=0, help="of phantoms, first weights and the order of pairs")
    _device_option(demo)

    training.add_command(commands)
    describing.add_command(commands)
    registering.add_commands(commands)

    evaluate = _command(commands, "evaluate", run_evaluate, "measure methods on pairs")
    evaluate.add_argument("--weights", nargs="+", default=[], help="weights files, or names in data/weights")
    evaluate.add_argument(
        "--method", nargs="+", default=[], help="methods without weights: identity, greedy, demons-VARIANT"
    )
    evaluate.add_argument("--data", required=True, help="name of a data set, or PAIRS.csv")
    evaluate.add_argument("--pairs", type=int, help="how many pairs (default: all of the test split)")
    evaluate.add_argument(
        "--refine", type=int, default=0, metavar="N", help="each network also with N steps of instance optimisation"
    )
    evaluate.add_argument("--json", type=Path, help="file for all numbers, those of single pairs too")
    _device_option(evaluate)

    explore = _command(commands, "explore", run_explore, "write a page in which a model's routing can be explored")
    _weights_option(explore)
    explore.add_argument("--data", required=True, help="name of a data set, or PAIRS.csv")
    explore.add_argument("--pair", type=int, default=0, help="index of the pair in the test split")
    explore.add_argument("--out", type=Path, required=True, help="the HTML file")
    _device_option(explore)

    _add_data_commands(commands)

    _command(commands, "doctor", run_doctor, "say what is installed, what is missing, how to mend it")
    return top


def run_demo(options: argparse.Namespace) -> None:
    """`moereg demo`"""
    from dataclasses import replace

    from moereg import demo

    _check_seed(options.seed)
    plan = demo.plan_for(options.data, options.device)
    if options.steps is not None:
        plan = replace(plan, training=replace(plan.training, steps=options.steps))
    result = demo.run(options.out, data=options.data, plan=plan, seed=options.seed, tell=say)
    print(demo.as_text(result))
    print(f"\n{options.out / 'report.html'}   open it in a browser: the experts, voxel by voxel")


def run_evaluate(options: argparse.Namespace) -> None:
    """`moereg evaluate`"""
    from moereg.apply.methods import trained_on
    from moereg.apply.views import view_of_set
    from moereg.classical import METHODS
    from moereg.data import datasets
    from moereg.files import check_target, write_json_whole
    from moereg.metrics import evaluate, text_table
    from moereg.models import find_weights, load_model, read_provenance
    from moereg.processes import joined, use_own_gpu
    from moereg.training import Refined, best_device, seen_in_training

    device = best_device(options.device)
    _check_refine(options.refine)
    for name in options.method:
        if name not in METHODS:
            raise ValueError(f"--method must be among {', '.join(METHODS)}, got {name!r}.")
    rows = [*options.method, *options.weights]
    for name in rows:
        if rows.count(name) > 1:
            raise ValueError(f"--method and --weights must name each row once, got {name!r} {rows.count(name)} times.")
    if options.json is not None:
        check_target(options.json, [options.data, *map(find_weights, options.weights)])
    use_own_gpu()
    methods = {name: METHODS[name] for name in options.method}
    networks = {weights: load_model(weights).to(device) for weights in options.weights}
    if not methods | networks:
        raise ValueError("--weights or --method must name something to evaluate, got neither.")
    pairs = datasets.load(options.data, "test", count=options.pairs)
    if options.json is not None:
        check_target(options.json, _inputs(options.data, pairs))
    say_of_table(options.data, pairs)
    views = {weights: view_of_set(pairs, trained_on(weights)[0]) for weights in networks}
    methods |= {weights: views[weights].method(model) for weights, model in networks.items()}
    if options.refine:
        methods |= {f"{name}, refined": Refined(methods[name], options.refine) for name in networks}
        views |= {f"{name}, refined": view for name, view in views.items()}
    for sentence in _about_masks(options.data, pairs, methods):
        say(sentence)
    for weights in networks:
        _say_of_view(weights, views[weights])
        seen = seen_in_training(read_provenance(weights), pairs)
        if seen:
            say(f"{weights} was trained on {seen} of the scans in {options.data}: no test of what it does on new ones")
    with joined() as own:
        table: dict[str, dict] = {}
        for name, method in methods.items():
            seen_by = views[name].pairs if name in views else pairs
            table |= evaluate({name: method}, seen_by, device=device, progress=own.first, own=own)
    if own.first:
        print(text_table(table))
        if options.json is not None:
            print(write_json_whole(options.json, table))


def _about_masks(data: str, pairs, methods: dict) -> list[str]:
    """Which methods use the masks of a table, and which do not; nothing where there are none."""
    from moereg.metrics import knows_mask

    files = getattr(pairs, "files", ())
    count = sum(entry.fixed_mask is not None for entry in files)
    told = [f"{data}: moving_mask is not used by any method"] if any(entry.moving_mask for entry in files) else []
    if not count:
        return told
    able = [name for name, method in methods.items() if knows_mask(method)]
    others = [name for name in methods if name not in able]
    parts = [f"used by {', '.join(able)}"] if able else []
    parts += [f"not by {', '.join(others)}, which see whole images"] if others else []
    return [f"{data}: fixed_mask of {count} pairs is {'; '.join(parts)}; Dice and errors count everywhere", *told]


def _say_of_view(weights: str, view: "SetView", index: int = 0) -> None:
    """What becomes of a pair before this network sees it, and whether it is far from its training."""
    from moereg.apply.preprocessing import far_from_training

    if view.trained is None:
        return
    pair = view.pair(index)
    _, warnings = far_from_training([pair.moving, pair.fixed], pair.spacing or view.trained.spacing or (), view.trained)
    for sentence in filter(None, [view.told(index), *warnings]):
        say(f"{weights}: {sentence}")


def run_explore(options: argparse.Namespace) -> None:
    """`moereg explore`"""
    from moereg.apply.methods import trained_on
    from moereg.apply.views import view_of_set
    from moereg.data import datasets
    from moereg.files import check_target
    from moereg.models import find_weights, load_model
    from moereg.training import best_device
    from moereg.viz.payload import explorer_payload
    from moereg.viz.report import write_report

    check_target(options.out, [options.data, find_weights(options.weights)])
    pairs = datasets.load(options.data, "test")
    check_target(options.out, _inputs(options.data, pairs))
    if not 0 <= options.pair < len(pairs):
        raise ValueError(f"--pair must be between 0 and {len(pairs) - 1}, got {options.pair}.")
    say_of_table(options.data, pairs)
    model = load_model(options.weights).to(best_device(options.device))
    view = view_of_set(pairs, trained_on(options.weights)[0])
    _say_of_view(options.weights, view, options.pair)
    payload = explorer_payload(model, view.seen(options.pair))
    print(write_report(options.out, title=f"Routing of {Path(options.weights).name}", payload=payload))


def run_doctor(options: argparse.Namespace) -> None:
    """`moereg doctor`"""
    from moereg.doctor import report

    print(report())


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be a whole number from zero on, below 2^32, got {seed}.")


def _check_refine(steps: int) -> None:
    if steps < 0:
        raise ValueError(f"--refine must be zero or more, got {steps}.")


def _weights_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", required=True, help="file of a trained model, or a name in data/weights")
