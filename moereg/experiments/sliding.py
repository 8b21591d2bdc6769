"""Smooth everywhere, or within regions, where tissue slides? Adaptive against uniform regularity of SegReg."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.data.phantoms.interface import distance_to_interface
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.protocol import OnRows, Task, nothing, train_one
from moereg.experiments.regions import RegionProtocol, mean_of, over_pairs, region_wrapper
from moereg.metrics import UNDECIDED, endpoint_error
from moereg.models import SegmentedRegistration, SegReg, SegRegSizes
from moereg.models.registration import Similarity, labels_for
from moereg.regularity import diffusion

NEAR = 3.0  # voxels from an interface
METHODS = ("backbone", "uniform", "adaptive")


class GloballySmooth(SegReg):
    """The control for regularity: regions and labels as in SegReg, but the *merged* field is smooth, seams included."""

    def forward(self, *images: Tensor, **labels: Tensor) -> SegmentedRegistration:
        """As SegReg; the result asks for uniform smoothness when it is trained on."""
        return _GloballySmoothRegistration(**vars(super().forward(*images, **labels)))


class _GloballySmoothRegistration(SegmentedRegistration):
    def regional_loss(self, moving: Tensor, fixed: Tensor, similarity: Similarity) -> tuple[Tensor, Tensor]:
        return super().regional_loss(moving, fixed, similarity)[0], diffusion(self.displacement)


def wrapper(method: str, task: Task, protocol: RegionProtocol):
    """ "backbone" alone, "adaptive" (SegReg), or "uniform" (SegReg with globally uniform smoothness)."""
    if method == "backbone":
        return lambda backbone: backbone
    if method == "adaptive":
        return region_wrapper(task, protocol)
    sizes = SegRegSizes(dims=task.dims, groups=protocol.groups)
    return lambda backbone: GloballySmooth(sizes, backbone=backbone)


def sliding(task: Task, protocol: RegionProtocol, *, on_rows: OnRows = nothing) -> Finding:
    """Adaptive against uniform smoothness where tissue slides, for every weight of the smoothness.

    Three methods: the backbone alone; "uniform", with regions and labels but one smoothness for the whole field; and
    "adaptive", SegReg itself. The first differs from the second by what labels tell, the second from the third by the
    regularity alone.

    Args:
        task: lung phantoms; the interface is that of `distance_to_interface`. Of the test pairs, the first half
            chooses the weights and the second half judges.

    Raises:
        ValueError: fewer than two test pairs.
    """
    if len(task.test) < 2:
        raise ValueError(f"task must have at least two test pairs, to choose and to judge, got {len(task.test)}.")
    rows = []
    for seed in protocol.seeds:
        for weight in protocol.smoothness:
            for method in METHODS:
                wrap = wrapper(method, task, protocol)
                model = train_one(task, protocol, seed, wrap=wrap, training={"smoothness": weight})
                measured = over_pairs([near_and_far(model, pair) for pair in task.test])
                rows.append({"regularity": method, "smoothness": weight, "seed": seed, **measured})
                on_rows(rows[-1:])
    return Finding("Smooth everywhere, or within regions, where tissue slides?", rows, sliding_sentence(rows))


@torch.no_grad()
def near_and_far(model: nn.Module, pair: Pair) -> dict[str, float]:
    """Endpoint error in voxels within `NEAR` voxels of the interface and elsewhere, and that of not moving at all."""
    moving_labels, fixed_labels = pair.require("moving_labels"), pair.require("fixed_labels")
    truth, region = pair.require("displacement"), pair.require("region")
    given = labels_for(model, moving_labels[None], fixed_labels[None])
    displacement = model(pair.moving[None], pair.fixed[None], **given).displacement[0]
    near = distance_to_interface(fixed_labels) <= NEAR
    still = torch.zeros_like(displacement)
    return {
        "near": endpoint_error(displacement, truth, region & near),
        "elsewhere": endpoint_error(displacement, truth, region & ~near),
        "near_before": endpoint_error(still, truth, region & near),
        "elsewhere_before": endpoint_error(still, truth, region & ~near),
    }


def sliding_sentence(rows: Sequence[dict]) -> str:
    """Each method with its best weight, near the interface and elsewhere, by the one rule.

    Weights are chosen on the first half of the pairs, everything else is said of the second half.
    """
    choosing, judging = _half(rows, first=True), _half(rows, first=False)
    parts, picked = [], []
    for place in ("near", "elsewhere"):
        best = {method: _best_weight(choosing, method, place) for method in METHODS}
        picked.append(", ".join(f"{weight:g} for '{method}'" for method, weight in best.items()))
        chosen = {method: {"regularity": method, "smoothness": best[method]} for method in METHODS}
        compared = []
        for other in METHODS[:-1]:
            effect = effect_between(judging, chosen["adaptive"], chosen[other], place)
            said = {"lower": "smaller than", "higher": "larger than", UNDECIDED: f"{UNDECIDED} from"}
            compared.append(f"{said[effect.direction]} '{other}' ({effect.text(2)})")
        before = mean_of(row[f"{place}_before"] for row in judging)
        own = _mean_error(judging, "adaptive", best["adaptive"], place)
        where = f"within {NEAR:g} voxels of the sliding interface" if place == "near" else "elsewhere"
        parts.append(
            f"{where} the error of 'adaptive' is {own:.2f} voxels ({before:.2f} before), {' and '.join(compared)}"
        )
    weights = sorted({row["smoothness"] for row in rows})
    return (
        f"Of the weights {', '.join(map(str, weights))} half of the pairs chose, near the interface {picked[0]}, "
        f"elsewhere {picked[1]}. On the other half: {'; '.join(parts)}."
    )


def _half(rows: Sequence[dict], *, first: bool) -> list[dict]:
    """The same rows over the first or the second half of their pairs."""
    halves = []
    for row in rows:
        count = len(row["per_pair"]["near"]) // 2
        own = {key: values[:count] if first else values[count:] for key, values in row["per_pair"].items()}
        halves.append(row | {key: mean_of(values) for key, values in own.items()} | {"per_pair": own})
    return halves


def _best_weight(rows: Sequence[dict], method: str, place: str) -> float:
    weights = sorted({row["smoothness"] for row in rows})
    return min(weights, key=lambda weight: _mean_error(rows, method, weight, place))


def _mean_error(rows: Sequence[dict], method: str, weight: float, place: str) -> float:
    return mean_of(row[place] for row in rows if (row["regularity"], row["smoothness"]) == (method, weight))
