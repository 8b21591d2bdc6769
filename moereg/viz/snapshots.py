"""Keep what a model does with one pair while it is trained, for the explorer's training slider.

A file of snapshots (`data/snapshots`, written by `tools/snapshots.py`) holds rounded logits and fields, and no weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from moereg.data.pairs import Pair
from moereg.fields import warp
from moereg.files import whole
from moereg.models.registration import Registration, labels_for
from moereg.nn.observe import find_routers
from moereg.nn.routing import Routing, choose

FINEST = 40  # a field is kept in steps of 1/40 voxel, as the explorer draws it


def on_device(routing: Routing, device: torch.device | str) -> Routing:
    """The decisions of a layer on another device, without the experts' proposals."""
    return replace(
        routing,
        logits=routing.logits.to(device),
        gates=routing.gates.to(device),
        indices=routing.indices.to(device),
        proposals=None,
    )


class Snapshots:
    """A callback for `fit(..., on_step=snapshots)`; afterwards `snapshots.kept` is what `explorer_payload` takes.

    Args:
        pair: the pair that is registered again and again; the one that will be explored.
        steps: after which numbers of finished steps.
    """

    def __init__(self, pair: Pair, steps: Iterable[int]):
        self.pair, self.steps = pair, frozenset(steps)
        self.kept: list[tuple[int, Registration]] = []

    @classmethod
    def spread(cls, pair: Pair, total: int, count: int = 10) -> "Snapshots":
        """About `count` of `total` steps, close together at first, when most happens; the last step is among them."""
        return cls(pair, {max(1, round(total * (i / count) ** 2)) for i in range(1, count + 1)})

    @torch.no_grad()
    def __call__(self, step: int, model: nn.Module) -> None:
        if step not in self.steps:
            return
        training, device = model.training, next(model.parameters()).device
        model.eval()
        pair = self.pair.to(device)
        known = (None if labels is None else labels[None] for labels in (pair.moving_labels, pair.fixed_labels))
        result = model(pair.moving[None], pair.fixed[None], **labels_for(model, *known))
        model.train(training)
        routing = {name: on_device(record, "cpu") for name, record in result.routing.items()}
        self.kept.append((step, Registration(result.displacement.cpu(), result.warped.cpu(), (), routing)))


def write_snapshots(path: str | Path, kept: Sequence[tuple[int, Registration]]) -> Path:
    """Write what `Snapshots` has kept of one pair, as `.npz`: steps, fields in 1/40 voxel, logits of every router."""
    arrays = {"step": np.array([step for step, _ in kept])}
    fields = torch.cat([result.displacement for _, result in kept])
    arrays["displacement"] = (fields * FINEST).round().to(torch.int16).numpy()
    for name in kept[0][1].routing:
        arrays[name] = torch.stack([result.routing[name].logits for _, result in kept]).half().numpy()
    with whole(path) as unfinished:
        np.savez_compressed(unfinished, allow_pickle=False, **arrays)
    return Path(path)


@torch.no_grad()
def read_snapshots(path: str | Path, model: nn.Module, pair: Pair) -> list[tuple[int, Registration]]:
    """What `write_snapshots` wrote, for `Explorer(model, pair, snapshots=...)`.

    Args:
        model: a network of the same sizes; its routers say how logits become gates. Its weights do not matter.
        pair: the pair that was registered.

    Raises:
        ValueError: the file is of another kind of network or another pair.
    """
    with np.load(path) as arrays:
        kept = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    routers, steps, fields = find_routers(model), kept.pop("step"), kept.pop("displacement")
    if set(kept) != set(routers):
        raise ValueError(f"model must have the routers of {path}, {sorted(kept)}, got {sorted(routers)}.")
    if fields.shape[2:] != pair.shape:
        raise ValueError(f"pair must have the shape of the one in {path}, {tuple(fields.shape[2:])}, got {pair.shape}.")
    found = []
    for number, step in enumerate(steps.tolist()):
        routing = {}
        for name, router in routers.items():
            logits = kept[name][number].float()
            gates, indices = choose(logits, router.k, router.gate)
            routing[name] = Routing(logits, gates, indices, router.experts, router.routers, site=router.site)
        field = fields[number : number + 1].float() / FINEST
        found.append((step, Registration(field, warp(pair.moving[None], field), (), routing)))
    return found
