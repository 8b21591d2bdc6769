"""What every model returns."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from moereg.nn.routing import Routing


@dataclass(frozen=True)
class Registration:
    """Result of `model(moving, fixed)`.

    `steps` are intermediate results in the order in which they were made, coarse to fine or recursion by recursion:
    displacements of the *full* image in full-resolution voxels, so that each can be warped with and compared.
    `routing` maps a layer's name, for instance "decoder.1.shmoe", to what it decided.
    """

    displacement: Float[Tensor, "batch dims *space"]
    warped: Float[Tensor, "batch channel *space"]
    steps: tuple[Float[Tensor, "batch dims *space"], ...] = ()
    routing: dict[str, Routing] = field(default_factory=dict)


def labels_for(model: Callable, moving_labels: Tensor | None, fixed_labels: Tensor | None) -> dict[str, Tensor | None]:
    """Keywords for models that register with label maps (`model.needs_labels`), nothing for all others."""
    if not getattr(model, "needs_labels", False):
        return {}
    return {"moving_labels": moving_labels, "fixed_labels": fixed_labels}
