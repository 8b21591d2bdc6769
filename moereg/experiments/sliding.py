"""Smooth everywhere, or within regions, where tissue slides? Adaptive against uniform regularity of SegReg."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moereg.data.pairs import Pair
from moereg.data.phantoms.interface import distance_to_interface
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.protocol import OnRows, Task, nothing, train_one
from moereg.experiments.regions import RegionProtocol, mean_of, over_pairs, region_wrapper
from moereg.metrics import endpoint_error
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
        task: lung phantoms; the interface is that of `distance_to_interface`.
    """
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
    """'adaptive' against the others near the interface and elsewhere, at every weight by the one rule.

    No weight is picked: the best one on test pairs would flatter whichever method varies most.
    """
    weights = sorted({row["smoothness"] for row in rows})
    parts = []
    for place, where in (("near", f"within {NEAR:g} voxels of the sliding interface"), ("elsewhere", "elsewhere")):
        compared = []
        for other in METHODS[:-1]:
            effects = [
                effect_between(
                    rows,
                    {"regularity": "adaptive", "smoothness": weight},
                    {"regularity": other, "smoothness": weight},
                    place,
                )
                for weight in weights
            ]
            counts = [sum(effect.direction == found for effect in effects) for found in ("lower", "higher")]
            least, most = min(effect.mean for effect in effects), max(effect.mean for effect in effects)
            compared.append(
                f"against '{other}' smaller at {counts[0]} and larger at {counts[1]} of {len(weights)} weights "
                f"(differences {least:+.2f} to {most:+.2f})"
            )
        before = mean_of(row[f"{place}_before"] for row in rows)
        parts.append(f"{where} ({before:.2f} voxels before) it is {' and '.join(compared)}")
    return f"The error of 'adaptive', with weights {', '.join(map(str, weights))}: {'; '.join(parts)}."
