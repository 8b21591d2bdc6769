"""Register pairs, one after another, and see what the network did."""

from collections.abc import Iterator

import torch
from torch import nn

from moereg.data.pairs import Pair, Pairs
from moereg.models import Registration
from moereg.nn.routing import Routing


def registrations(model: nn.Module, pairs: Pairs) -> Iterator[tuple[Pair, Registration]]:
    """Register every pair, in evaluation mode."""
    model.eval()
    for pair in pairs:
        with torch.no_grad():
            result = model(pair.moving[None], pair.fixed[None])
        yield pair, result


def decoders(result: Registration) -> Iterator[Routing]:
    """Routings of the decoder's layers."""
    return (routing for routing in result.routing.values() if routing.role == "decoder")
