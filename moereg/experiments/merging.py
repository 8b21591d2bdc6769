"""Where does the endpoint error of SegReg come from? Its steps exchanged one at a time.

The same trained networks with their partial fields put together in other ways, and one training more, in which every
region counts alike.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.protocol import OnRows, Task, nothing, train_one
from moereg.experiments.regions import RegionProtocol, measure, over_pairs, region_wrapper
from moereg.fields import sample
from moereg.models import Registration, SegmentedRegistration, SegReg, SegRegSizes
from moereg.models.masks import diffusion_within, dilated, masked, region_masks
from moereg.models.registration import Similarity

QUESTION = "Where does the endpoint error come from?"


class EqualRegions(SegReg):
    """SegReg, trained so that every region counts alike, however few voxels it has."""

    def forward(self, *images: Tensor, **labels: Tensor) -> SegmentedRegistration:
        """As SegReg; the result weighs its regions by their size when it is trained on."""
        return _EqualRegistration(**vars(super().forward(*images, **labels)))


class _EqualRegistration(SegmentedRegistration):
    def regional_loss(self, moving: Tensor, fixed: Tensor, similarity: Similarity) -> tuple[Tensor, Tensor]:
        inputs = [
            masked(image, regions, self.regions, self.present, self.outside)
            for image, regions in ((moving, self.moving_regions), (fixed, self.fixed_regions))
        ]
        if not self.present.any():
            return self.displacement.sum() * 0, self.displacement.sum() * 0
        phi, batch = self.partial[self.present], moving.shape[0]
        own = region_masks(self.fixed_regions, self.regions)[self.present].to(phi.dtype)
        # w = voxels / (regions * voxels of the region): one for regions of equal size
        weights = batch / (len(phi) * own.flatten(1).mean(1))
        warped, inside = sample(inputs[0], phi), dilated(own, self.rim)
        items = range(len(phi))
        alike = torch.stack([similarity(warped[i : i + 1], inputs[1][i : i + 1]) for i in items])
        rough = torch.stack([diffusion_within(phi[i : i + 1], inside[i : i + 1]) for i in items])
        return (weights * alike).sum() / batch, (weights * rough).sum() / batch


class OrgansAlone(nn.Module):
    """SegReg's field in the organs, that of a network on whole images between them: two trained networks, merged."""

    needs_labels = True

    def __init__(self, model: SegReg, whole: nn.Module):
        super().__init__()
        self.model, self.whole = model, whole

    def forward(self, moving: Tensor, fixed: Tensor, **labels: Tensor) -> Registration:
        """Register the pair in both ways and take either field where it is asked for."""
        regions = self.model(moving, fixed, **labels)
        between = regions.fixed_regions == 0
        displacement = torch.where(between, self.whole(moving, fixed).displacement, regions.displacement)
        return Registration(displacement, sample(moving, displacement), (displacement,))


def merges(task: Task, protocol: RegionProtocol, *, softness: float = 2.0, on_rows: OnRows = nothing) -> Finding:
    """Where does the endpoint error of SegReg come from? Its steps exchanged one at a time, true labels throughout.

    "both" is the third and the last exchange together: every region counts alike, and whole images between organs.

    Args:
        softness: sigma in voxels of the soft seams.
    """
    rows = []
    sizes = SegRegSizes(dims=task.dims, groups=protocol.groups)
    for seed in protocol.seeds:
        whole = train_one(task, protocol, seed)
        model = cast(SegReg, train_one(task, protocol, seed, wrap=region_wrapper(task, protocol)))
        alike = train_one(task, protocol, seed, wrap=lambda backbone: EqualRegions(sizes, backbone=backbone))
        equal = cast(SegReg, alike)
        soft = SegReg(replace(sizes, softness=softness), backbone=model.backbone).eval()
        methods = {
            "whole images": whole,
            "regions": model,
            "every region counts alike": equal,
            "soft seams": soft,
            "whole images between organs": OrgansAlone(model, whole),
            "both": OrgansAlone(equal, whole),
        }
        made = [
            {"merge": name, "seed": seed, **over_pairs([measure(method, pair) for pair in task.test])}
            for name, method in methods.items()
        ]
        rows += made
        on_rows(made)
    return Finding(QUESTION, rows, merges_sentence(rows))


def merges_sentence(rows: Sequence[dict]) -> str:
    """In organs and between them, regions against whole images; then what each exchange does to regions."""
    places = {"in organs": "organ_epe", "between them": "between_epe"}
    first = {"merge": "regions"}
    parts = []
    for place, key in places.items():
        effect = effect_between(rows, first, {"merge": "whole images"}, key)
        parts.append(f"{effect.judged('epe')} {place} ({effect.text(2)})")
    changes = []
    for name in dict.fromkeys(row["merge"] for row in rows):
        if name not in ("regions", "whole images"):
            error, overlap = (effect_between(rows, {"merge": name}, first, key) for key in ("epe", "dice"))
            changes.append(
                f"{name}: error {error.judged('epe')} ({error.text(2)}), Dice {overlap.judged('dice')} "
                f"({overlap.text()})"
            )
    return (
        f"Against whole images the endpoint error of regions, in voxels, is {' and '.join(parts)}. "
        f"Against regions as they are, {'; '.join(changes)}."
    )
