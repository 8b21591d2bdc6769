"""What every model returns, and what a training asks of it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from moereg.nn.routing import Routing
from moereg.regularity import diffusion

Similarity = Callable[[Tensor, Tensor], Tensor]  # (warped, fixed) -> loss, lower is better
ROUTING_TERMS: dict[str, Callable[[Routing], Tensor]] = {
    "balance": Routing.balance_loss,
    "z": Routing.z_loss,
    "information": Routing.information_loss,
}


class Steps(Sequence[Tensor]):
    """Intermediate fields on the image's grid, each brought there when somebody reads it, and kept.

    Most forward passes are asked for the last field alone; the others at full resolution cost a tenth of the pass.
    """

    def __init__(self, makers: Sequence[Callable[[], Tensor]], last: Tensor):
        self._makers, self._made = list(makers), {len(makers): last}

    @classmethod
    def of(cls, makers: Sequence[Callable[[], Tensor]], last: Tensor) -> Sequence[Tensor]:
        """Fields that `makers` make, and the last one. Within a compiled graph they are made at once."""
        if torch.compiler.is_compiling():
            return (*(make() for make in makers), last)
        return cls(makers, last)

    def __len__(self) -> int:
        return len(self._makers) + 1

    def __getitem__(self, place):
        if isinstance(place, slice):
            return tuple(self[index] for index in range(*place.indices(len(self))))
        index = range(len(self))[place]
        if index not in self._made:
            self._made[index] = self._makers[index]()
        return self._made[index]


@dataclass(frozen=True)
class Registration:
    """Result of `model(moving, fixed)`.

    `steps` are intermediate results in the order in which they were made, coarse to fine or recursion by recursion:
    displacements of the *full* image in full-resolution voxels, so that each can be warped with and compared.
    `routing` maps a layer's name, for instance "decoder.1.shmoe", to what it decided.
    """

    displacement: Float[Tensor, "batch dims *space"]
    warped: Float[Tensor, "batch channel *space"]
    steps: Sequence[Float[Tensor, "batch dims *space"]] = ()
    routing: dict[str, Routing] = field(default_factory=dict)

    def loss_terms(
        self,
        moving: Float[Tensor, "batch channel *space"],
        fixed: Float[Tensor, "batch channel *space"],
        similarity: Similarity,
        *,
        skip: Collection[str] = (),
    ) -> dict[str, Float[Tensor, ""]]:
        """The parts of a training's loss by name, unweighted, lower is better.

        A model that has more to ask of its result adds a term here; `TrainingConfig` holds a weight of the same name.

        Args:
            moving, fixed: the images of `model(moving, fixed)`.
            similarity: a loss of (warped, fixed).
            skip: terms that are not wanted.

        Returns:
            "similarity", "smoothness", and where there are routed layers "balance", "z" and "information", means over
            the layers.
        """
        terms = self.image_terms(moving, fixed, similarity)
        for name, of_layer in ROUTING_TERMS.items():
            if self.routing and name not in skip:
                terms[name] = torch.stack([of_layer(routing) for routing in self.routing.values()]).mean()
        return {name: term for name, term in terms.items() if name not in skip}

    def image_terms(self, moving: Tensor, fixed: Tensor, similarity: Similarity) -> dict[str, Float[Tensor, ""]]:
        """How alike the images became, and how rough the field is: "similarity" and "smoothness"."""
        return {"similarity": similarity(self.warped, fixed), "smoothness": diffusion(self.displacement)}


def labels_for(model: Callable, moving_labels: Tensor | None, fixed_labels: Tensor | None) -> dict[str, Tensor | None]:
    """Keywords for models that register with label maps (`model.needs_labels`), nothing for all others."""
    if not getattr(model, "needs_labels", False):
        return {}
    return {"moving_labels": moving_labels, "fixed_labels": fixed_labels}
