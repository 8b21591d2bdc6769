"""What registration by regions is worth: with true labels and with a segmentation of its own. Claims of SegReg's paper.

Every method sees the same pairs in the same order for the same steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing, train_one
from moereg.fields import warp_labels
from moereg.metrics import dice, endpoint_error
from moereg.models import Registration, Segmenter, SegReg, SegRegSizes, seam_folds
from moereg.models.registration import labels_for
from moereg.training import fit_segmenter


@dataclass(frozen=True)
class RegionProtocol(Protocol):
    """What all runs of an experiment have in common. `model` and `sizes` are those of the backbone."""

    shape: tuple[int, ...] = ()  # of the images
    segmenter_steps: int = 200
    groups: tuple[tuple[int, ...], ...] = ()  # of SegReg
    smoothness: tuple[float, ...] = (0.1,)  # weights that are tried where they are the question


def region_wrapper(task: Task, protocol: RegionProtocol) -> Callable[[nn.Module], SegReg]:
    """What makes a SegReg of a backbone."""
    sizes = SegRegSizes(dims=task.dims, groups=protocol.groups)
    return lambda backbone: SegReg(sizes, backbone=backbone)


def true_labels(task: Task, protocol: RegionProtocol, *, on_rows: OnRows = nothing) -> tuple[Finding, list[SegReg]]:
    """The backbone alone, SegReg with true labels, SegReg with its own segmentation; and the trained SegRegs."""
    rows, trained = [], []
    known = sorted({value for pair in task.train for value in pair.require("fixed_labels").unique().tolist()} | {0})
    for seed in protocol.seeds:
        backbone = train_one(task, protocol, seed)
        model = cast(SegReg, train_one(task, protocol, seed, wrap=region_wrapper(task, protocol)))
        torch.manual_seed(seed)
        segmenter = Segmenter(known, dims=task.dims)
        fit_segmenter(segmenter, task.train, steps=protocol.segmenter_steps, seed=seed)
        automatic = SegReg(model.sizes, backbone=model.backbone, segmenter=segmenter).eval()
        methods = {"backbone alone": backbone, "true labels": model, "own segmentation": automatic}
        made = [
            {"labels": name, "seed": seed, **over_pairs([measure(method, pair) for pair in task.test])}
            for name, method in methods.items()
        ]
        rows += made
        on_rows(made)
        trained.append(model)
    return Finding("What do regions add?", rows, labels_sentence(rows)), trained


@torch.no_grad()
def measure(
    model: Callable[..., Registration], pair: Pair, *, labels: tuple[Tensor, Tensor] | None = None
) -> dict[str, float]:
    """One pair: Dice of the *true* labels, endpoint error (in organs and between them too), folds at the seams of the
    true labels and elsewhere, and the quality (Dice against the truth) of the label maps that were used.

    Args:
        model: any method; SegReg without a segmenter gets `labels`, or the pair's own.
        labels: label maps `(1, *S)` of moving and fixed image to register with, instead of the true ones.
    """
    truth = pair.require("moving_labels"), pair.require("fixed_labels")
    used = truth if labels is None else labels
    segmenter = getattr(model, "segmenter", None)
    if segmenter is not None:
        used = segmenter.segment(pair.moving[None])[0], segmenter.segment(pair.fixed[None])[0]
    given = labels_for(model, used[0][None], used[1][None])
    registration: Registration = model(pair.moving[None], pair.fixed[None], **given)
    displacement = registration.displacement
    warped = warp_labels(truth[0][None], displacement)[0]
    folds = seam_folds(displacement, truth[1][None])
    organ = truth[1] > 0
    between = ~organ if pair.region is None else ~organ & pair.region
    errors = {
        key: endpoint_error(displacement[0], pair.require("displacement"), where)
        for key, where in (("epe", pair.region), ("organ_epe", organ), ("between_epe", between))
    }
    return {
        "dice": mean_of(dice(warped, truth[1]).values()),
        **errors,
        "seam_fold_fraction": folds["seam_folds"] / max(folds["seam_voxels"], 1),
        "other_fold_fraction": folds["other_folds"] / max(folds["other_voxels"], 1),
        "quality": mean_of(mean_of(dice(u, t).values()) for u, t in zip(used, truth, strict=True)),
    }


def over_pairs(measured: Sequence[dict[str, float]]) -> dict:
    """Means over pairs, and under "per_pair" what they are means of."""
    per_pair = {key: [entry[key] for entry in measured] for key in measured[0]}
    return {key: mean_of(values) for key, values in per_pair.items()} | {"per_pair": per_pair}


def mean_over(rows: Sequence[dict], key: str, **choice) -> float:
    """Mean of one measure over the rows of a choice, {"labels": "true labels"} for instance."""
    return mean_of(row[key] for row in rows if all(row[name] == value for name, value in choice.items()))


def mean_of(values) -> float:
    """Arithmetic mean."""
    return float(np.mean(list(values)))


def labels_sentence(rows: Sequence[dict]) -> str:
    """Dice against the backbone alone by the one rule, endpoint errors, folds."""
    first, *others = dict.fromkeys(row["labels"] for row in rows)
    parts = []
    for name in others:
        effect = effect_between(rows, {"labels": name}, {"labels": first})
        parts.append(
            f"{mean_over(rows, 'dice', labels=name):.3f} with {name} ({effect.judged('dice')}, {effect.text()}, "
            f"segmentation Dice {mean_over(rows, 'quality', labels=name):.3f})"
        )
    errors = ", ".join(f"{mean_over(rows, 'epe', labels=name):.2f} {name}" for name in (first, *others))
    judged = effect_between(rows, {"labels": "true labels"}, {"labels": first}, "epe")
    seam, other = (100 * mean_over(rows, f"{place}_fold_fraction", labels="true labels") for place in ("seam", "other"))
    return (
        f"Dice is {mean_over(rows, 'dice', labels=first):.3f} with the {first}, {', '.join(parts)}. Endpoint errors in "
        f"voxels: {errors}; with true labels {judged.judged('epe')} ({judged.text(2)}). "
        f"With true labels {seam:.2f} % of the voxels at seams fold, {other:.2f} % elsewhere."
    )
