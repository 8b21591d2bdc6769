"""`moereg`: the command line. Every command imports what it needs when it runs, so `--help` answers at once."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moereg.cli import registering
from moereg.cli.options import command as _command
from moereg.cli.options import device_option as _device_option
from moereg.cli.registering import run_apply, run_compose, run_invert, run_register

__all__ = [
    "main",
    "parser",
    "run_apply",
    "run_compose",
    "run_demo",
    "run_doctor",
    "run_evaluate",
    "run_explore",
    "run_invert",
    "run_register",
    "run_train",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input ends in one sentence and exit code 2."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, TypeError, FileNotFoundError) as error:
        print(f"moereg {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(prog="moereg", description="Deformable image registration with mixture-of-experts.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(commands, "demo", run_demo, "train SHMoAReg and a yardstick, compare, open the experts")
    demo.add_argument("--data", default="abdomen", help="abdomen, brain, cardiac, lung, hippocampus, or PAIRS.csv")
    demo.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for what comes out")
    demo.add_argument("--steps", type=int, help="training steps of each model (default: by data and device)")
    _training_options(demo)

    train = _command(commands, "train", run_train, "train one model")
    train.add_argument("model", help="a row of moereg.models.MODELS, for instance shmoareg; a wrong name lists them")
    train.add_argument("--data", required=True, help="name of a data set, or PAIRS.csv")
    train.add_argument("--out", type=Path, required=True, help="folder for checkpoint and weights")
    train.add_argument("--steps", type=int, help="training steps")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    _training_options(train)

    registering.add_commands(commands)

    evaluate = _command(commands, "evaluate", run_evaluate, "measure methods on pairs")
    evaluate.add_argument("--weights", nargs="+", default=[], help="weights files, or names in data/weights")
    evaluate.add_argument("--method", nargs="+", default=[], help="methods without weights: identity, demons-VARIANT")
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

    _command(commands, "doctor", run_doctor, "say what is installed, what is missing, how to mend it")
    return top


def run_demo(options: argparse.Namespace) -> None:
    """`moereg demo`"""
    from dataclasses import replace

    from moereg import demo

    plan = demo.plan_for(options.data, options.device)
    if options.steps is not None:
        plan = replace(plan, training=replace(plan.training, steps=options.steps))
    result = demo.run(options.out, data=options.data, plan=plan, seed=options.seed)
    print(demo.as_text(result))
    print(f"\n{options.out / 'report.html'}   open it in a browser: the experts, voxel by voxel")


def run_train(options: argparse.Namespace) -> None:
    """`moereg train`"""
    from dataclasses import replace

    import torch

    from moereg import demo
    from moereg.data import datasets
    from moereg.models import build_for, save_weights
    from moereg.training import fit, prepare

    plan = demo.plan_for(options.data, options.device)
    config = replace(plan.training, seed=options.seed)
    config = config if options.steps is None else replace(config, steps=options.steps)
    pairs = datasets.load(options.data, "train", shape=plan.shape, seed=options.seed)
    torch.manual_seed(options.seed)
    model = build_for(options.model, pairs, **plan.sizes_of(options.model))
    prepare(model, pairs, config, progress=True)
    fit(model, pairs, config, out=options.out, resume=options.resume, title=options.model)
    save_weights(options.out / f"{options.model}.safetensors", model)
    print(options.out / f"{options.model}.safetensors")


def run_evaluate(options: argparse.Namespace) -> None:
    """`moereg evaluate`"""
    from moereg.classical import METHODS
    from moereg.data import datasets
    from moereg.files import write_json_whole
    from moereg.metrics import evaluate, text_table
    from moereg.models import load_model
    from moereg.training import Refined, best_device

    device = best_device(options.device)
    _check_refine(options.refine)
    for name in options.method:
        if name not in METHODS:
            raise ValueError(f"--method must be among {', '.join(METHODS)}, got {name!r}.")
    methods = {name: METHODS[name] for name in options.method}
    networks = {weights: load_model(weights).to(device) for weights in options.weights}
    methods |= networks
    if options.refine:
        methods |= {f"{name}, refined": Refined(model, options.refine) for name, model in networks.items()}
    if not methods:
        raise ValueError("--weights or --method must name something to evaluate, got neither.")
    pairs = datasets.load(options.data, "test", count=options.pairs)
    table = evaluate(methods, pairs, device=device, progress=True)
    print(text_table(table))
    if options.json is not None:
        print(write_json_whole(options.json, table))


def run_explore(options: argparse.Namespace) -> None:
    """`moereg explore`"""
    from moereg.data import datasets
    from moereg.models import load_model
    from moereg.training import best_device
    from moereg.viz.payload import explorer_payload
    from moereg.viz.report import write_report

    pairs = datasets.load(options.data, "test")
    if not 0 <= options.pair < len(pairs):
        raise ValueError(f"--pair must be between 0 and {len(pairs) - 1}, got {options.pair}.")
    model = load_model(options.weights).to(best_device(options.device))
    payload = explorer_payload(model, pairs[options.pair])
    print(write_report(options.out, title=f"Routing of {Path(options.weights).name}", payload=payload))


def run_doctor(options: argparse.Namespace) -> None:
    """`moereg doctor`"""
    from moereg.doctor import report

    print(report())


def _check_refine(steps: int) -> None:
    if steps < 0:
        raise ValueError(f"--refine must be zero or more, got {steps}.")


def _weights_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", required=True, help="file of a trained model, or a name in data/weights")


def _training_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of phantoms, first weights and the order of pairs")
    _device_option(command)
