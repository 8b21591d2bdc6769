"""Does routing follow the motion or the axis? The same anatomy, its motion statistics exchanged between directions."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from moereg.data.pairs import Pairs
from moereg.experiments.finding import Finding
from moereg.experiments.protocol import OnRows, Protocol, Task, nothing, train_one
from moereg.metrics import UNDECIDED, paired_effect
from moereg.models import SHMoARegSizes


def axis_test(
    original: Task, permuted: Task, protocol: Protocol, *, order: Sequence[int], on_rows: OnRows = nothing
) -> Finding:
    """Train on both, with every seed, and compare what the directions' routers ask for.

    Direction `d` of `permuted` moves as direction `order[d]` of `original`. The profile of a direction is the mean
    kernel extent its routers ask for (gates as weights, mean over decoder layers). If routing follows the motion, the
    permuted network's direction d has the profile of the original's `order[d]`; if it follows the axis, that of d.
    """
    rows = []
    for seed in protocol.seeds:
        for task in (original, permuted):
            profile, routers = extent_profile(train_one(task, protocol, seed), task.test)
            rows += [
                {"motion": task.name, "seed": seed, "router": router, "extent": float(value)}
                for router, value in zip(routers, profile, strict=True)
            ]
            on_rows(rows[-len(routers) :])
    sentence = axis_sentence(rows, original=original.name, permuted=permuted.name, order=order)
    return Finding("Does routing follow the motion or the axis?", rows, sentence)


def axis_sentence(rows: Sequence[dict], *, original: str, permuted: str, order: Sequence[int]) -> str:
    """Distance of the profiles matched by motion against matched by axis, paired by seed."""
    by_motion, by_axis = [], []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        first, second = (
            np.array([row["extent"] for row in rows if (row["motion"], row["seed"]) == (name, seed)])
            for name in (original, permuted)
        )
        by_motion.append([np.abs(second - first[list(order)]).mean()])
        by_axis.append([np.abs(second - first).mean()])
    effect = paired_effect(by_axis, by_motion)
    follows = {"higher": "the motion", "lower": "the axis", UNDECIDED: f"neither ({UNDECIDED})"}[effect.direction]
    return (
        f"Kernel extents per direction differ by {np.mean(by_motion):.2f} voxels if matched by motion and by "
        f"{np.mean(by_axis):.2f} if matched by axis ({effect.seeds} seeds, difference {effect.text(2)}): "
        f"routing follows {follows}."
    )


def extent_profile(model: nn.Module, pairs: Pairs) -> tuple[np.ndarray, tuple[str, ...]]:
    """Mean kernel extent in voxels of the layer's grid that each direction asks for, and the directions' names.

    Args:
        model: whose decoder routes among convolutions of `model.sizes.kernel_sizes`.
    """
    sizes = torch.tensor([float(size) for size in cast(SHMoARegSizes, model.sizes).kernel_sizes])
    profiles, routers = [], ()
    for pair in pairs:
        with torch.no_grad():
            result = model(pair.moving[None], pair.fixed[None])
        for routing in result.routing.values():
            if routing.role == "decoder":
                shares = routing.gates / routing.gates.sum(2, keepdim=True)
                # mean over voxels x of sum_e share_{d,e}(x) k_e
                profiles.append(torch.einsum("rep,e->rp", shares[0].flatten(2), sizes).mean(1))
                routers = routing.routers
    return torch.stack(profiles).mean(0).numpy(), routers
