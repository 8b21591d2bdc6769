"""Keep what a model does with one pair while it is trained, for the explorer's training slider."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from moereg.data.pairs import Pair
from moereg.models.registration import Registration, labels_for
from moereg.nn.routing import Routing


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
