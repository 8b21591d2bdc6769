"""What changes from step to step: the learning rate and the window of the similarity.

With `T` steps, `w` of them warm-up and the peak `p`, the rate at step `t` (from 0 on) is

    warm-up      p (t + 1) / w                                      t < w
    "cosine"     p (1 + cos(pi (t - w) / (T - w))) / 2              w = a twentieth of T, unless `warmup` says it
    "constant"   p                                                  w = 100, unless `warmup` says it

A cosine depends on `T`: a training that is lengthened goes on at the rate that the longer cosine has at that step. Its
weights are not those of a training that was long from the start. Under "constant" nothing depends on `T`, and they are.

The window of LNCC shrinks linearly from `first_window` to `window` until half of the steps are done, in odd numbers.
"""

import math
from collections.abc import Callable
from functools import partial

from moereg.similarity import lncc
from moereg.training.config import SIMILARITIES, TrainingConfig

CONSTANT_WARMUP = 100  # steps


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of one step, see the module's text."""
    warmup = _warmup(config)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _warmup(config: TrainingConfig) -> int:
    if config.warmup is not None:
        return config.warmup
    return CONSTANT_WARMUP if config.schedule == "constant" else max(1, config.steps // 20)


def independent_of_length(config: TrainingConfig) -> bool:
    """Whether a step is the same however many follow it, so that a training can be lengthened without a trace."""
    return config.schedule == "constant" and config.first_window is None


def window_at(step: int, config: TrainingConfig) -> int:
    """Edge of LNCC's window at one step, voxels, odd."""
    if config.first_window is None:
        return config.window
    done = min(1.0, 2 * step / config.steps)
    return config.first_window - 2 * round(done * (config.first_window - config.window) / 2)


def similarity_at(step: int, config: TrainingConfig) -> Callable:
    """The similarity of one step's loss, `(warped, fixed) -> loss`."""
    if config.similarity != "lncc":
        return SIMILARITIES[config.similarity]
    return partial(lncc, window=window_at(step, config))
