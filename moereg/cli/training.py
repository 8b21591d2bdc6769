"""`moereg train`: what the command line and the file of a run ask for, checked before any work; then the work."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moereg.cli.options import command, inputs, say, say_of_table
from moereg.cli.trainingoptions import AUGMENTATION, RUN, SWITCHES, TRAINING, add_options

if TYPE_CHECKING:
    from torch import nn

    from moereg.data.pairs import Pairs
    from moereg.training import TrainingConfig
    from moereg.training.configfile import Run


def add_command(commands) -> None:
    """`train`, with its options."""
    add_options(command(commands, "train", run_train, "train one model"))


def run_train(options: argparse.Namespace) -> None:
    """`moereg train`"""
    import torch

    from moereg.demo import plan_for
    from moereg.files import check_folder, check_target
    from moereg.models import load_model
    from moereg.processes import use_own_gpu
    from moereg.training import best_device, check_precision

    # Whatever can be wrong is found here, before any data is read or a folder made.
    run = asked_for(options)
    plan = plan_for(run.data, run.training.get("device", "auto"))
    config = run.config(plan.training)
    check_precision(config.precision, best_device(config.device))
    if config.checkpointing and config.compile:
        raise ValueError("--checkpointing and --compile must not both be on, for torch.compile chooses what to keep.")
    check_folder(options.out)
    use_own_gpu()
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    checkpoint = options.out / "checkpoint.safetensors"
    going_on = options.resume and checkpoint.exists()
    started = None if run.init_weights is None or going_on else load_model(run.init_weights)
    _check_model(run, started)

    pairs = _pairs(run, plan)
    if config.augmentation is not None:
        config.augmentation.check_axes(len(pairs[0].shape))
    torch.manual_seed(config.seed)
    model = _model(run, started, pairs, plan)
    for name in ("checkpoint.safetensors", f"{run.model}.safetensors", RUN):
        check_target(options.out / name, [*inputs(run.data, pairs), *filter(None, [run.init_weights, options.config])])
    said = [*_about_labels(run, config, pairs), *_about_resuming(options, config, model, pairs)]
    say_of_table(run.data, pairs)
    for sentence in said:
        say(sentence)
    _train(options, run, config, model, pairs, fresh=started is None and not going_on)


def _train(
    options: argparse.Namespace,
    run: "Run",
    config: "TrainingConfig",
    model: "nn.Module",
    pairs: "Pairs",
    *,
    fresh: bool,
) -> None:
    """The work, once everything is known to be right, and its weights with where they come from."""
    from dataclasses import asdict, replace

    from moereg.data.datasets import licence_of
    from moereg.models import look_at, save_weights
    from moereg.processes import this_process
    from moereg.training import fit, prepare, provenance
    from moereg.training.checkpoint import as_json
    from moereg.training.configfile import write_run

    own, name = this_process(), run.model
    kept = replace(run, training=as_json(config), sizes=asdict(vars(model)["sizes"]), **_found_anywhere(run))

    def keep_run(step: int, trained: "nn.Module") -> None:
        """What the run was asked for, as soon as OUT is its own."""
        if not written:
            written.append(write_run(options.out / RUN, kept))

    written: list[Path] = []
    if fresh:
        prepare(model, pairs, config, progress=own.first)
    history = fit(model, pairs, config, out=options.out, resume=options.resume, title=name, on_step=keep_run)
    if own.first:
        origin = provenance(
            pairs,
            config,
            history,
            data=run.data,
            licence=run.licence or licence_of(run.data),
            started_from=run.init_weights,
            processes=own.count,
        )
        trained = look_at(pairs, Path(run.data).name)
        save_weights(options.out / f"{name}.safetensors", model.float(), provenance=origin, trained=trained)
        print(options.out / f"{name}.safetensors")


def _found_anywhere(run: "Run") -> dict[str, str]:
    """Entries that are files, by paths that hold from any folder."""
    named = {name: getattr(run, name) for name in ("data", "init_weights")}
    return {name: str(Path(path).resolve()) for name, path in named.items() if path and Path(path).is_file()}


def asked_for(options: argparse.Namespace) -> "Run":
    """The file of a run, if one is named or goes on, and on top of it what the command line says.

    Raises:
        ValueError: neither says the model or the data; a number that cannot be.
    """
    from moereg.checks import check_positive
    from moereg.training.configfile import Run, read_run

    file = options.config or (options.out / RUN if options.resume and (options.out / RUN).is_file() else None)
    run = Run() if file is None else read_run(file)
    if file is not None and run.data.endswith(".csv"):
        run.data = str(file.parent / run.data)
    if options.model not in (None, run.model):
        run.sizes = {}  # of another model
    for name in ("model", "data", "init_weights", "shape", "pairs", "threads", "licence"):
        given = getattr(options, name)
        if given is not None:
            setattr(run, name, given)
    names = [name for name, *_ in TRAINING.values()] + [*SWITCHES, "device"]
    run.training |= {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    changes = {name: getattr(options, f"augment_{name}") for name in (*AUGMENTATION, "mirror", "exchange")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        run.training["augmentation"] = (run.training.get("augmentation") or {}) | changes
    for name, flag in (("model", "model"), ("data", "--data")):
        if not getattr(run, name):
            raise ValueError(f"{flag} must be named, on the command line or in the file of --config, got nothing.")
    for name in ("pairs", "threads"):
        if getattr(run, name) is not None:
            check_positive(f"--{name}", getattr(run, name), integer=True)
    return run


def _check_model(run: "Run", started: "nn.Module | None") -> None:
    from moereg.checks import check_choice
    from moereg.models import MODELS

    check_choice("name", run.model, tuple(MODELS))
    if started is not None and started.name != run.model:
        raise ValueError(f"--init-weights must be of {run.model}, got weights of {started.name}.")


def _pairs(run: "Run", plan) -> "Pairs":
    from moereg.data import datasets

    shape = plan.shape if run.shape is None else tuple(run.shape)
    options: dict[str, Any] = {} if run.pairs is None else {"count": run.pairs}
    return datasets.load(run.data, "train", shape=shape, seed=run.training.get("seed", 0), **options)


def _model(run: "Run", started: "nn.Module | None", pairs: "Pairs", plan) -> "nn.Module":
    """The one to train: that of the weights to begin with, or a new one of these sizes."""
    from moereg.models import build_for

    if started is None:
        return build_for(run.model, pairs, **(run.sizes or plan.sizes_of(run.model)))
    dims = vars(started)["sizes"].dims
    if dims != len(pairs[0].shape):
        raise ValueError(f"--init-weights must be of images with {len(pairs[0].shape)} axes, got weights for {dims}.")
    return started


def _about_labels(run: "Run", config: "TrainingConfig", pairs: "Pairs") -> list[str]:
    """Whether labels of files are used, which is said either way.

    Raises:
        ValueError: a weight was asked for, for which no pair has what it weighs.
    """
    from moereg.data.tables import labels_told

    files = getattr(pairs, "files", None)
    if files is None:  # phantoms have everything
        return []
    labelled = any(entry.labelled for entry in files)
    if run.training.get("labels") and not labelled:
        raise ValueError(f"--labels-weight must have labels to weigh, got none of both images in {run.data}.")
    if run.training.get("motion"):
        raise ValueError(f"--motion-weight must have pairs of known displacement, as phantoms are, got {run.data}.")
    how = "" if config.labels else "; --labels-weight uses them"
    return [sentence + how for sentence in labels_told(run.data, pairs, config.labels)]


def _about_resuming(
    options: argparse.Namespace, config: "TrainingConfig", model: "nn.Module", pairs: "Pairs"
) -> list[str]:
    """What becomes of a checkpoint in OUT.

    Raises:
        ValueError: it cannot be gone on from.
    """
    from moereg.processes import this_process
    from moereg.training.checkpoint import Origin, identity_of, load_checkpoint
    from moereg.training.drawing import pairs_of_a_step
    from moereg.training.schedule import independent_of_length

    path = options.out / "checkpoint.safetensors"
    if not options.resume:
        return []
    if not path.exists():
        return [f"nothing to resume: {options.out} holds no checkpoint; starting from the beginning"]
    origin = Origin(identity_of(pairs), pairs_of_a_step(config, this_process().count))
    found = load_checkpoint(path, model, config, origin)
    if found.step == config.steps:
        return [f"nothing left to do: {options.out} holds all {found.step} steps; more --steps lengthen it"]
    if not found.history.lengthened or found.history.lengthened[-1][0] != found.step:
        return []
    before = found.history.lengthened[-1][1]
    how = (
        "as if it had been long from the start"
        if independent_of_length(config)
        else f"at the rate that {config.steps} steps have there: not as if it had been long from the start, which "
        "--schedule constant is"
    )
    return [f"lengthened from {before} to {config.steps} steps: goes on at step {found.step} {how}"]
