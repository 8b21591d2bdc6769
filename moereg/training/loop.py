"""`fit`: the one training loop. Every model of the library, any set of pairs, CPU or GPU.

Both directions of a pair form one batch (moving to fixed and fixed to moving), so training is symmetric; on a CPU a
batch of two also avoids a slow path of torch's 3-D convolution.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import nn
from tqdm.auto import tqdm

from moereg.data.augmentation import augment
from moereg.data.pairs import Pair, Pairs
from moereg.files import check_folder, reserved
from moereg.models.registration import labels_for
from moereg.training.checkpoint import identity_of, load_checkpoint, save_checkpoint
from moereg.training.config import History, TrainingConfig, best_device
from moereg.training.loss import batch_dice, collate, registration_loss

MEASURE_EVERY = 5  # steps between two looks at the overlap


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
    uninterrupted run reaches.

    Args:
        title: of the progress bar.
        on_step: called with the number of finished steps and the model, after each step.

    Raises:
        ValueError: no pairs; a checkpoint of another model, configuration or data; a folder that another training
            writes into; a loss that is not finite.
        OSError: `out` cannot be written to; found before the first step.
    """
    config = config or TrainingConfig()
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    if out is not None:
        check_folder(out)
    with nullcontext() if out is None else reserved(out):
        return _fit(model, pairs, config, out=out, resume=resume, progress=progress, title=title, on_step=on_step)


def _fit(
    model: nn.Module,
    pairs: Pairs,
    config: TrainingConfig,
    *,
    out: str | Path | None,
    resume: bool,
    progress: bool,
    title: str,
    on_step: Callable[[int, nn.Module], None] | None,
) -> History:
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator=best_device(config.device).type, devices=1, precision=config.precision)
    adam = torch.optim.Adam(model.parameters())  # its rate is set before every step
    checkpoint = None if out is None else Path(out) / "checkpoint.safetensors"
    data = None if out is None else identity_of(pairs)
    history, first = History(), 0
    if resume and checkpoint is not None and checkpoint.exists():
        first, history = load_checkpoint(checkpoint, model, adam, config, data=data)
    # The network is not wrapped: Fabric would copy what it returns, and a Registration is frozen.
    fabric.to_device(model)
    # One optimiser in, one out, which takes on the class of what it wraps: Fabric says neither in its types.
    optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(adam))
    model.train()

    # Closed whatever happens, so that no bar is drawn into the sentence that says what did.
    with tqdm(range(first, config.steps), initial=first, total=config.steps, disable=not progress, desc=title) as bar:
        for step in bar:
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            batch = collate(draw_pairs(step, pairs, config), fabric.device)
            with fabric.autocast():
                registration = model(
                    batch.moving, batch.fixed, **labels_for(model, batch.moving_labels, batch.fixed_labels)
                )
            loss, parts = registration_loss(registration, batch, config)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(f"loss must stay finite, got {value} at step {step}; lower the learning rate.")
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            history.loss.append(value)
            history.similarity.append(float(parts["similarity"].detach()))
            measure = batch.fixed_labels is not None and step % MEASURE_EVERY == 0
            history.dice.append(batch_dice(registration, batch) if measure else None)
            history.seconds += time.perf_counter() - started
            if measure:
                bar.set_postfix(loss=f"{value:.3f}", dice=f"{history.dice[-1]:.3f}")
            if on_step is not None:
                on_step(step + 1, model)
            last = step + 1 == config.steps
            if checkpoint is not None and (last or (step + 1) % config.checkpoint_every == 0):
                save_checkpoint(checkpoint, model, optimizer, config, step + 1, history, data=data)
    model.eval()
    return history


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up over 5 % of the steps, then half a cosine to zero."""
    warmup = max(1, config.steps // 20)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def draw_pairs(step: int, pairs: Pairs, config: TrainingConfig) -> list[Pair]:
    """The pairs of one step, augmented where that is asked for; a function of seed and step alone."""
    chosen = [pairs[i] for i in choose_pairs(step, len(pairs), config)]
    if config.augmentation is None:
        return chosen
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    return [augment(pair, config.augmentation, generator) for pair in chosen]


def choose_pairs(step: int, count: int, config: TrainingConfig) -> list[int]:
    """Indices of the pairs of one step; a function of seed and step alone, so a resumed run sees the same pairs."""
    epoch, within = divmod(step * config.pairs_per_step, count)
    indices = []
    while len(indices) < config.pairs_per_step:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)).tolist()
        indices += order[within : within + config.pairs_per_step - len(indices)]
        epoch, within = epoch + 1, 0
    return indices
