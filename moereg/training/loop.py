"""`fit`: the one training loop. Every model of the library, any set of pairs, CPU or GPU, one device or many.

Both directions of a pair form one batch (moving to fixed and fixed to moving), so training is symmetric; on a CPU a
batch of two also avoids a slow path of torch's 3-D convolution.

Started by torchrun, every process computes its share of a step's pairs and the gradients are averaged: one step of
two processes is one step of a single process with twice the pairs. The first process alone writes and speaks.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from tqdm.auto import tqdm

from moereg.data.pairs import Pairs
from moereg.files import check_folder, reserved
from moereg.processes import PATIENCE, Process, this_process
from moereg.training.average import WeightAverage
from moereg.training.checkpoint import Origin, identity_of, load_checkpoint, save_checkpoint
from moereg.training.config import History, TrainingConfig, best_device, check_precision
from moereg.training.drawing import draw_pairs, pairs_of_a_step
from moereg.training.loss import collate
from moereg.training.schedule import learning_rate
from moereg.training.step import Seen, TrainingPass

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MEASURE_EVERY = 5  # steps between two looks at the overlap
CHECKPOINT = "checkpoint.safetensors"


def fit(
    model: nn.Module,
    pairs: Pairs,
    config: TrainingConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    title: str = "train",
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> History:
    """Train `model` in place on random pairs of `pairs`.

    Deterministic on a CPU for a given seed, model and data. With `out`, a checkpoint `OUT/checkpoint.safetensors` is
    written every `checkpoint_every` steps and at the end; `resume=True` continues from it to the same weights that an
    uninterrupted run reaches. With more steps than the checkpoint was made with, it is lengthened: to the weights of a
    training that was long from the start where the schedule does not depend on the steps (`moereg.training.schedule`).

    Args:
        title: of the progress bar.
        on_step: called with the number of finished steps and the model, after each step, in the first process. Where
            weights are averaged, it sees the average.

    Raises:
        ValueError: no pairs; a checkpoint of another model, configuration or data; a folder that another training
            writes into; a loss that is not finite; a precision that the device has not.
        OSError: `out` cannot be written to; found before the first step.
    """
    config = config or TrainingConfig()
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    check_precision(config.precision, best_device(config.device))
    if out is not None:
        check_folder(out)
    own = this_process()
    with nullcontext() if out is None or not own.first else reserved(out):
        training = _Training(model, pairs, config, None if out is None else Path(out) / CHECKPOINT, own)
        first = training.go_on() if resume else 0
        training.run(first, progress=progress and own.first, title=title, on_step=on_step if own.first else None)
    return training.history


def start_fabric(config: TrainingConfig, own: Process) -> "Fabric":
    """Lightning Fabric on this process' device, in touch with the others."""
    from lightning_fabric import Fabric

    kind = best_device(config.device).type
    if own.count == 1:
        return Fabric(accelerator=kind, devices=1, precision=config.precision)
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else it greets from every process
    # A batch may leave an expert or a head without work, and SegReg's segmenter is not trained here.
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), timeout=PATIENCE, find_unused_parameters=True)
    fabric = Fabric(
        accelerator=kind,
        devices=own.local_count,
        num_nodes=own.machines,
        strategy=strategy,
        precision=config.precision,
    )
    fabric.launch()
    return fabric


class _Training:
    """One call of `fit`."""

    def __init__(self, model: nn.Module, pairs: Pairs, config: TrainingConfig, checkpoint: Path | None, own: Process):
        self.model, self.pairs, self.config, self.own = model, pairs, config, own
        self.checkpoint, self.history = checkpoint, History()
        data = None if checkpoint is None else identity_of(pairs)
        self.origin = Origin(data, pairs_of_a_step(config, own.count))
        self.fabric = start_fabric(config, own)
        self.fabric.to_device(model)
        self.network = self.fabric.setup_module(TrainingPass(model, config), move_to_device=False)
        adam = torch.optim.Adam(model.parameters())  # its rate is set before every step
        # One optimiser in, one out, which takes on the class of what it wraps: Fabric says neither in its types.
        self.optimizer = cast(torch.optim.Optimizer, self.fabric.setup_optimizers(adam))
        self.average = WeightAverage(model, config.average) if config.average else None

    def go_on(self) -> int:
        """From the checkpoint, where there is one; the number of steps that are done."""
        if self.checkpoint is None or not self.fabric.broadcast(self.checkpoint.exists()):
            return 0
        found = load_checkpoint(self.checkpoint, self.model, self.config, self.origin)
        if self.fabric.broadcast(found.step) != found.step:
            raise ValueError(f"{self.checkpoint} must be the same file for every process; OUT is not shared.")
        found.restore(self.model, self.optimizer, self.average)
        self.history = found.history
        return found.step

    def run(self, first: int, *, progress: bool, title: str, on_step: Callable[[int, nn.Module], None] | None) -> None:
        """Every step from `first` on; then the model is what shall be used."""
        steps = self.config.steps
        self.model.train()
        # Closed whatever happens, so that no bar is drawn into the sentence that says what did.
        with tqdm(range(first, steps), initial=first, total=steps, disable=not progress, desc=title) as bar:
            for step in bar:
                started = time.perf_counter()
                loss, dice = self.step(step)
                self.history.seconds += time.perf_counter() - started
                if dice is not None:
                    bar.set_postfix(loss=f"{loss:.3f}", dice=f"{dice:.3f}")
                if on_step is not None:
                    with nullcontext() if self.average is None else self.average.in_place():
                        on_step(step + 1, self.model)
                last = step + 1 == steps
                if last or (step + 1) % self.config.checkpoint_every == 0:
                    self.save(step + 1)
        if self.average is not None:
            self.average.settle()
        self.model.eval()

    def step(self, step: int) -> tuple[float, float | None]:
        """One step of the optimiser; loss and, now and then, overlap of its pairs."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        self.optimizer.zero_grad()
        found: list[Seen] = []
        for number in range(self.config.accumulate):
            batch = collate(draw_pairs(step, self.pairs, self.config, number=number, own=self.own), self.fabric.device)
            measure = batch.labels is not None and step % MEASURE_EVERY == 0
            waits = number + 1 < self.config.accumulate
            with self.fabric.no_backward_sync(self.network, enabled=waits and self.own.count > 1):
                value, seen = self.network(step, measure, **vars(batch))
                self.fabric.backward(value / self.config.accumulate)
            found.append(seen)
        loss, similarity, overlap, measured = self._over_processes(found)
        if not math.isfinite(loss):
            raise ValueError(f"loss must stay finite, got {loss} at step {step}; lower the learning rate.")
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step + 1)
        dice = overlap / measured if measured else None
        self.history.loss.append(loss)
        self.history.similarity.append(similarity)
        self.history.dice.append(dice)
        return loss, dice

    def _over_processes(self, found: list[Seen]) -> list[float]:
        """Means over passes and processes."""
        means = [sum(column) / len(found) for column in zip(*found, strict=True)]
        if self.own.count == 1:
            return means
        sent = torch.tensor(means, dtype=torch.float64, device=self.fabric.device)
        return cast(torch.Tensor, self.fabric.all_reduce(sent, reduce_op="mean")).tolist()

    def save(self, step: int) -> None:
        """The checkpoint, where one is kept."""
        if self.checkpoint is not None and self.own.first:
            save_checkpoint(
                self.checkpoint,
                self.model,
                self.optimizer,
                self.config,
                step,
                self.history,
                origin=self.origin,
                average=self.average,
            )
