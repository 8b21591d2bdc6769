"""What registration by regions is worth: with true labels, with worse and worse ones, and where tissue slides.

The claims of SegReg's paper as experiments. Every method sees the same pairs in the same order for the same steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.data.phantoms.interface import distance_to_interface
from moereg.data.phantoms.motion import smooth_pattern
from moereg.evaluation.experiments import Task
from moereg.evaluation.metrics import dice, endpoint_error
from moereg.evaluation.recursion import change, verdict
from moereg.evaluation.specialisation import Finding
from moereg.fields import warp_labels
from moereg.models import Registration, Segmenter, SegReg, SegRegSizes, build, fit_segmenter, seam_folds
from moereg.models.segreg import SegmentedRegistration
from moereg.regularity import diffusion
from moereg.training import TrainingConfig, fit

NOISE = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # voxels by which boundaries are displaced
GROWTH = (-3, -2, -1, 0, 1, 2, 3)  # voxels by which organs are grown, or shrunk
NEAR = 3.0  # voxels from an interface
LINEAR = 0.9  # a fit whose R^2 is at least this is called near-linear


@dataclass(frozen=True)
class RegionProtocol:
    """What all runs of an experiment have in common."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    backbone: str = "shmoareg"
    sizes: dict = field(default_factory=dict)  # of the backbone
    segmenter_steps: int = 200
    groups: tuple[tuple[int, ...], ...] = ()  # of SegReg
    smoothness: tuple[float, ...] = (0.1,)  # weights that are tried where they are the question


class GloballySmooth(SegReg):
    """The control for regularity: regions and labels as in SegReg, but the *merged* field is smooth, seams included."""

    def forward(self, *images: Tensor, **labels: Tensor) -> SegmentedRegistration:
        """As SegReg; the result asks for uniform smoothness when it is trained on."""
        return _GloballySmoothRegistration(**vars(super().forward(*images, **labels)))


class _GloballySmoothRegistration(SegmentedRegistration):
    def regional_loss(self, moving: Tensor, fixed: Tensor, similarity: Callable) -> tuple[Tensor, Tensor]:
        return super().regional_loss(moving, fixed, similarity)[0], diffusion(self.displacement)


def train_method(method: str, task: Task, protocol: RegionProtocol, seed: int, **changed) -> nn.Module:
    """ "backbone" alone, "adaptive" (SegReg), or "uniform" (SegReg with globally uniform smoothness)."""
    dims = len(task.test[0].shape)
    torch.manual_seed(seed)
    model = build(protocol.backbone, dims=dims, **protocol.sizes)
    if method != "backbone":
        wrapper = {"adaptive": SegReg, "uniform": GloballySmooth}[method]
        model = wrapper(SegRegSizes(dims=dims, groups=protocol.groups), backbone=model)
    fit(model, task.train, replace(protocol.training, seed=seed, **changed), progress=False)
    return model.cpu()


def true_labels(
    task: Task, protocol: RegionProtocol, *, on_rows: Callable[[list[dict]], None] = lambda rows: None
) -> tuple[Finding, list[SegReg]]:
    """The backbone alone, SegReg with true labels, SegReg with its own segmentation; and the trained SegRegs."""
    rows, trained = [], []
    known = sorted({value for pair in task.train for value in pair.fixed_labels.unique().tolist()} | {0})
    for seed in protocol.seeds:
        backbone, model = (train_method(method, task, protocol, seed) for method in ("backbone", "adaptive"))
        torch.manual_seed(seed)
        segmenter = Segmenter(known, dims=len(task.test[0].shape))
        fit_segmenter(segmenter, task.train, steps=protocol.segmenter_steps, seed=seed)
        automatic = SegReg(model.sizes, backbone=model.backbone, segmenter=segmenter).eval()
        made = []
        for name, method in (("backbone alone", backbone), ("true labels", model), ("own segmentation", automatic)):
            measured = [measure(method, pair) for pair in task.test]
            made.append({"labels": name, "seed": seed, **_means(measured)})
        rows += made
        on_rows(made)
        trained.append(model)
    return Finding("What do regions add?", rows, _labels_sentence(rows)), trained


@torch.no_grad()
def measure(model: nn.Module, pair: Pair, *, labels: tuple[Tensor, Tensor] | None = None) -> dict[str, float]:
    """One pair: Dice of the *true* labels, endpoint error, folds at the seams of the true labels and elsewhere, and the
    quality (Dice against the truth) of the label maps that were used.

    Args:
        model: any; SegReg without a segmenter gets `labels`, or the pair's own.
        labels: label maps `(1, *S)` of moving and fixed image to register with, instead of the true ones.
    """
    truth = (pair.moving_labels, pair.fixed_labels)
    used = truth if labels is None else labels
    given = {}
    if isinstance(model, SegReg) and model.segmenter is not None:
        used = tuple(model.segmenter.segment(image[None])[0] for image in (pair.moving, pair.fixed))
    elif isinstance(model, SegReg):
        given = {"moving_labels": used[0][None], "fixed_labels": used[1][None]}
    registration: Registration = model(pair.moving[None], pair.fixed[None], **given)
    displacement = registration.displacement
    warped = warp_labels(pair.moving_labels[None], displacement)[0]
    folds = seam_folds(displacement, pair.fixed_labels[None])
    return {
        "dice": _mean(dice(warped, pair.fixed_labels).values()),
        "epe": endpoint_error(displacement[0], pair.displacement, pair.region),
        "seam_fold_fraction": folds["seam_folds"] / max(folds["seam_voxels"], 1),
        "other_fold_fraction": folds["other_folds"] / max(folds["other_voxels"], 1),
        "quality": _mean(_mean(dice(u, t).values()) for u, t in zip(used, truth, strict=True)),
    }


def boundary_noise(
    labels: Int[Tensor, "1 *space"], voxels: float, generator: torch.Generator
) -> Int[Tensor, "1 *space"]:
    """Every boundary displaced at random by up to so many voxels along each axis, in waves of about 8 voxels."""
    shape = tuple(labels.shape[1:])
    waves = [smooth_pattern(shape, min(1.0, 8 / min(shape)), generator) for _ in shape]
    return warp_labels(labels[None], voxels * torch.stack(waves)[None])[0]


def grown(labels: Int[Tensor, "1 *space"], voxels: int) -> Int[Tensor, "1 *space"]:
    """Over-segmentation: every organ grown into the background by so many voxels; under-segmentation below zero.

    Where two organs meet, the larger label takes the voxel; shrinking leaves background between them.
    """
    pool = F.max_pool3d if labels.ndim == 4 else F.max_pool2d
    values = labels.to(torch.float32)[None]
    for _ in range(abs(voxels)):
        largest, smallest = pool(values, 3, 1, 1), -pool(-values, 3, 1, 1)
        values = torch.where(values == 0, largest, values) if voxels > 0 else values * (largest == smallest)
    return values[0].to(labels.dtype)


def quality_sweep(models: Sequence[SegReg], pairs: Sequence[Pair], *, seeds: Sequence[int] = (0, 1, 2)) -> Finding:
    """Accuracy against the quality of the segmentation, for label maps degraded in two ways. Nothing is trained.

    One row per way, amount and model, means over pairs; `models[i]` was trained with `seeds[i]`.
    """
    rows = []
    for seed, model in zip(seeds, models, strict=True):
        for way, amounts in (("boundary noise", NOISE), ("grown or shrunk", GROWTH)):
            for amount in amounts:
                generator = torch.Generator().manual_seed(seed)  # the same waves at every amount
                measured = []
                for pair in pairs:
                    truth = (pair.moving_labels, pair.fixed_labels)
                    if way == "boundary noise":
                        labels = tuple(boundary_noise(lab, amount, generator) for lab in truth)
                    else:
                        labels = tuple(grown(lab, amount) for lab in truth)
                    measured.append(measure(model, pair, labels=labels))
                rows.append({"way": way, "amount": float(amount), "seed": seed, **_means(measured)})
    return Finding("Is accuracy linear in the quality of the segmentation?", rows, _quality_sentence(rows))


def line(rows: Sequence[dict]) -> dict[str, float]:
    """Least squares `dice = intercept + slope quality` over the rows: slope, intercept, R^2 and largest residual."""
    quality, accuracy = (np.array([row[key] for row in rows]) for key in ("quality", "dice"))
    slope, intercept = np.polyfit(quality, accuracy, 1)
    residuals = accuracy - (intercept + slope * quality)
    spread = float(((accuracy - accuracy.mean()) ** 2).sum())
    r2 = 1 - float((residuals**2).sum()) / spread if spread > 0 else float("nan")
    return {"slope": float(slope), "intercept": float(intercept), "r2": r2, "residual": float(np.abs(residuals).max())}


def sliding(
    task: Task, protocol: RegionProtocol, *, on_rows: Callable[[list[dict]], None] = lambda rows: None
) -> Finding:
    """Adaptive against uniform smoothness where tissue slides, for every weight of the smoothness.

    Three methods: the backbone alone; "uniform", with regions and labels but one smoothness for the whole field; and
    "adaptive", SegReg itself. The first differs from the second by what labels tell, the second from the third by the
    regularity alone.

    Args:
        task: lung phantoms; the interface is that of `distance_to_interface`.
    """
    rows = []
    for seed in protocol.seeds:
        for weight in protocol.smoothness:
            for method in ("backbone", "uniform", "adaptive"):
                model = train_method(method, task, protocol, seed, smoothness=weight)
                measured = [_near_and_far(model, pair) for pair in task.test]
                row = {"regularity": method, "smoothness": weight, "seed": seed, **_means(measured)}
                rows.append(row)
                on_rows([row])
    return Finding("Smooth everywhere, or within regions, where tissue slides?", rows, _sliding_sentence(rows))


@torch.no_grad()
def _near_and_far(model: nn.Module, pair: Pair) -> dict[str, float]:
    given = {}
    if isinstance(model, SegReg):
        given = {"moving_labels": pair.moving_labels[None], "fixed_labels": pair.fixed_labels[None]}
    displacement = model(pair.moving[None], pair.fixed[None], **given).displacement[0]
    near = distance_to_interface(pair.fixed_labels) <= NEAR
    region, still = pair.region, torch.zeros_like(displacement)
    return {
        "near": endpoint_error(displacement, pair.displacement, region & near),
        "elsewhere": endpoint_error(displacement, pair.displacement, region & ~near),
        "near_before": endpoint_error(still, pair.displacement, region & near),
        "elsewhere_before": endpoint_error(still, pair.displacement, region & ~near),
    }


def _labels_sentence(rows: list[dict]) -> str:
    means = {
        name: _means([row for row in rows if row["labels"] == name])
        for name in dict.fromkeys(r["labels"] for r in rows)
    }
    gains = {name: change(rows, {"labels": name}, {"labels": "backbone alone"}) for name in list(means)[1:]}
    parts = ", ".join(
        f"{means[name]['dice']:.3f} with {name} ({mean:+.3f} +- {error:.3f}, "
        f"segmentation Dice {means[name]['quality']:.3f})"
        for name, (mean, error) in gains.items()
    )
    errors = ", ".join(f"{means[name]['epe']:.2f} {name}" for name in means)
    seam, other = (100 * means["true labels"][f"{place}_fold_fraction"] for place in ("seam", "other"))
    return (
        f"Dice is {means['backbone alone']['dice']:.3f} with the backbone alone, {parts}. Endpoint errors in voxels: "
        f"{errors}. With true labels {seam:.1f} % of the voxels at seams fold, {other:.1f} % elsewhere."
    )


def _quality_sentence(rows: list[dict]) -> str:
    parts = []
    for way in dict.fromkeys(row["way"] for row in rows):
        points = mean_points(rows, way)
        found = line(points)
        least, most = (f(point["quality"] for point in points) for f in (min, max))
        linear = "near-linear" if found["r2"] >= LINEAR else "not near-linear"
        parts.append(
            f"{way}, {len(points)} amounts, quality {least:.2f} to {most:.2f}: slope {found['slope']:.2f}, "
            f"R^2 {found['r2']:.3f}, largest distance from the line {found['residual']:.3f} Dice, {linear}"
        )
    return f"{'; '.join(parts)} (near-linear: R^2 of at least {LINEAR}). {_growth_sentence(rows)}"


def _growth_sentence(rows: list[dict]) -> str:
    """A systematic error is the same in both images: does it matter at all?"""
    points = {point["amount"]: point for point in mean_points(rows, "grown or shrunk")}
    truth, most, least = points[0.0], points[max(points)], points[min(points)]
    return (
        f"From {truth['dice']:.3f} with the truth, Dice goes to {most['dice']:.3f} where both images' organs are grown "
        f"by {most['amount']:g} voxels (quality {most['quality']:.2f}), and to {least['dice']:.3f} where they are "
        f"shrunk by {-least['amount']:g} (quality {least['quality']:.2f})."
    )


def mean_points(rows: Sequence[dict], way: str) -> list[dict]:
    """One point per amount, the mean over seeds."""
    own = [row for row in rows if row["way"] == way]
    amounts = dict.fromkeys(row["amount"] for row in own)
    return [_means([row for row in own if row["amount"] == amount]) | {"amount": amount} for amount in amounts]


def _sliding_sentence(rows: list[dict]) -> str:
    methods = list(dict.fromkeys(row["regularity"] for row in rows))
    weights = sorted({row["smoothness"] for row in rows})
    parts = []
    for place in ("near", "elsewhere"):
        best = {}
        for method in methods:
            means = {
                weight: _mean(r[place] for r in rows if (r["regularity"], r["smoothness"]) == (method, weight))
                for weight in weights
            }
            best[method] = min(means, key=means.get)
        compared = []
        for other in [method for method in methods if method != "adaptive"]:
            mean, error = change(
                rows,
                {"regularity": "adaptive", "smoothness": best["adaptive"]},
                {"regularity": other, "smoothness": best[other]},
                key=place,
            )
            said = {"less": "smaller", "more": "larger", "open": "not clearly different"}[verdict(mean, error)]
            compared.append(f"{said} than '{other}' ({mean:+.2f} +- {error:.2f})")
        before = _mean(row[f"{place}_before"] for row in rows)
        own = _mean(r[place] for r in rows if (r["regularity"], r["smoothness"]) == ("adaptive", best["adaptive"]))
        where = f"within {NEAR:g} voxels of the sliding interface" if place == "near" else "elsewhere"
        parts.append(
            f"{where} the error of 'adaptive' is {own:.2f} voxels ({before:.2f} before), {' and '.join(compared)}"
        )
    return f"Each method with its best weight of {', '.join(map(str, weights))}: {'; '.join(parts)}."


def _means(measured: Sequence[dict]) -> dict[str, float]:
    keys = [key for key, value in measured[0].items() if isinstance(value, float)]
    return {key: _mean(entry[key] for entry in measured) for key in keys if key not in ("amount", "smoothness")}


def _mean(values) -> float:
    return float(np.mean(list(values)))
