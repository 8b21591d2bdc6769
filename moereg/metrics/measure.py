"""Measure methods on pairs: overlap, surface distance, true error, regularity, cost."""

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from moereg.data.pairs import Pair, Pairs
from moereg.fields import warp_labels
from moereg.metrics.overlap import dice, endpoint_error
from moereg.metrics.surface import surface_distances
from moereg.models.registration import Registration, labels_for
from moereg.processes import ALONE, Process, share, whole_again
from moereg.regularity import fold_fraction, sd_log_jacobian

Method = Callable[..., Registration]  # (moving, fixed), and label maps for models that need them


@dataclass(frozen=True)
class PairScore:
    """One method on one pair. What is not known for the pair is None or empty."""

    pair: str
    dice: dict[int, float]
    hd95: dict[int, float]  # mm
    asd: dict[int, float]  # mm
    epe: float | None  # voxels
    fold_fraction: float
    sd_log_jacobian: float
    seconds: float


@torch.no_grad()
def score(method: Method, pair: Pair, *, device: torch.device | str = "cpu", surfaces: bool = True) -> PairScore:
    """Register one pair and measure the result. Seconds are those of the registration alone.

    A model without a segmenter that needs label maps (SegReg) gets the pair's own; a method that knows a mask gets that
    of the fixed image, where there is one; a method that says `needs_spacing` gets the size of the voxels.
    """
    moving, fixed = pair.moving[None].to(device), pair.fixed[None].to(device)
    known = [None if lab is None else lab[None].to(device) for lab in (pair.moving_labels, pair.fixed_labels)]
    more: dict[str, Any] = {**labels_for(method, *known)}
    if getattr(method, "needs_spacing", False):
        more |= {"spacing": pair.spacing}
    if pair.fixed_mask is not None and knows_mask(method):
        more |= {"mask": pair.fixed_mask[None].to(device)}
    _synchronise(device)
    started = time.perf_counter()
    registration = method(moving, fixed, **more)
    _synchronise(device)
    seconds = time.perf_counter() - started
    displacement = registration.displacement.float().cpu()
    overlap, hd95, asd = {}, {}, {}
    if pair.moving_labels is not None and pair.fixed_labels is not None:
        warped = warp_labels(pair.moving_labels[None], displacement)[0]
        overlap = dice(warped, pair.fixed_labels)
        if surfaces:
            hd95, asd = surface_distances(warped, pair.fixed_labels, pair.spacing or (1.0,) * (moving.ndim - 2))
    epe = None if pair.displacement is None else endpoint_error(displacement[0], pair.displacement, pair.region)
    folds, spread = float(fold_fraction(displacement)), float(sd_log_jacobian(displacement))
    return PairScore(pair.name, overlap, hd95, asd, epe, folds, spread, seconds)


def knows_mask(method: Method) -> bool:
    """Whether it takes `mask`, where the fixed image counts, beside the two images."""
    return "mask" in inspect.signature(method).parameters


def evaluate(
    methods: dict[str, Method],
    pairs: Pairs,
    *,
    device: torch.device | str = "cpu",
    surfaces: bool = True,
    progress: bool = False,
    own: Process = ALONE,
) -> dict[str, dict]:
    """Every method on every pair: a plain nested dictionary, ready for JSON.

    Args:
        own: of several processes that are `joined`, each measures its share of the pairs; all return the whole.

    Returns:
        For each method `dice` (mean over labels, then pairs), `dice_per_label` by label name, `hd95`, `asd` (mm),
        `epe` (voxels), `fold_fraction`, `sd_log_jacobian`, `seconds_per_pair` (median), `pairs`. The mean of nothing
        is None.
    """
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    table = {}
    for name, method in methods.items():
        with tqdm(share(range(len(pairs)), own), desc=f"measure {name}", disable=not progress) as bar:
            scores = [score(method, pairs[i], device=device, surfaces=surfaces) for i in bar]
        scores = whole_again(scores, own)
        table[name] = summarise(scores, pairs[0].label_names)
    return table


def summarise(scores: Sequence[PairScore], label_names: dict[int, str]) -> dict:
    """Means over pairs of one method's scores."""
    labels = sorted({label for s in scores for label in s.dice})
    names = own_names(labels, label_names)
    per_label = {names[label]: _mean([s.dice[label] for s in scores if label in s.dice]) for label in labels}
    return {
        "dice": _mean([_mean(list(s.dice.values())) for s in scores]),
        "dice_per_label": per_label,
        "hd95": _mean([_mean(list(s.hd95.values())) for s in scores]),
        "asd": _mean([_mean(list(s.asd.values())) for s in scores]),
        "epe": _mean([s.epe for s in scores]),
        "fold_fraction": _mean([s.fold_fraction for s in scores]),
        "sd_log_jacobian": _mean([s.sd_log_jacobian for s in scores]),
        "seconds_per_pair": float(np.median([s.seconds for s in scores])),
        "pairs": [asdict(s) | {"dice_mean": _mean(list(s.dice.values()))} for s in scores],
    }


def own_names(labels: Sequence[int], label_names: dict[int, str]) -> dict[int, str]:
    """A name for each label, its number behind it where another label has the same name."""
    names = {label: label_names.get(label, str(label)) for label in {*labels, *label_names}}
    taken = list(names.values())
    return {label: name if taken.count(name) == 1 else f"{name} ({label})" for label, name in names.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _synchronise(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
