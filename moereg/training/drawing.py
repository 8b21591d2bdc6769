"""Which pairs a step sees: a function of seed and step alone, so a resumed run sees the same ones.

A step's pairs are those of all its passes on all its devices. They are drawn as one list and then parted, pass by pass
and device by device: two devices with one pair each see together what one device with two sees.
"""

import torch

from moereg.data.augmentation import augment
from moereg.data.pairs import Pair, Pairs
from moereg.processes import ALONE, Process
from moereg.training.config import TrainingConfig


def pairs_of_a_step(config: TrainingConfig, processes: int = 1) -> int:
    """How many pairs a step has, over its passes and devices."""
    return config.pairs_per_step * config.accumulate * processes


def draw_pairs(step: int, pairs: Pairs, config: TrainingConfig, *, number: int = 0, own: Process = ALONE) -> list[Pair]:
    """The pairs of one pass of a step, augmented where that is asked for.

    Args:
        number: of the pass, below `config.accumulate`.
        own: the process that asks.
    """
    chosen = choose_pairs(step, len(pairs), config, total=pairs_of_a_step(config, own.count))
    start = (number * own.count + own.rank) * config.pairs_per_step
    places = range(start, start + config.pairs_per_step)
    drawn = [pairs[chosen[place]] for place in places]
    if config.augmentation is None:
        return drawn
    options = config.augmentation
    return [augment(pair, options, _generator(step, place, config)) for place, pair in zip(places, drawn, strict=True)]


def _generator(step: int, place: int, config: TrainingConfig) -> torch.Generator:
    """Every pair of a step has a stream of its own, whoever draws it."""
    return torch.Generator().manual_seed(config.seed * 1_000_003 + step + place * 2_654_435_761)


def choose_pairs(step: int, count: int, config: TrainingConfig, *, total: int | None = None) -> list[int]:
    """Indices of all pairs of one step; every pair is seen once an epoch.

    Args:
        count: of pairs that there are.
        total: of pairs that the step has, by default those of one process.
    """
    total = total or pairs_of_a_step(config)
    epoch, within = divmod(step * total, count)
    indices = []
    while len(indices) < total:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)).tolist()
        indices += order[within : within + total - len(indices)]
        epoch, within = epoch + 1, 0
    return indices
