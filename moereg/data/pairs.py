"""A pair of images to be registered, small operations on it, and what a set of pairs is."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moereg.checks import check_field, check_image, check_same_space


@dataclass(frozen=True)
class Pair:
    """Two images on one grid, with whatever is known about them. One item, without a batch axis.

    `displacement` is the truth where it is known: `moving[x + u(x)]` shows the same tissue as `fixed[x]`, in voxels.
    `region` marks where that truth means something (the body, not the air around it). A mask marks where an image
    counts when the other one is aligned with it.
    """

    moving: Float[Tensor, "channel *space"]
    fixed: Float[Tensor, "channel *space"]
    moving_labels: Int[Tensor, "1 *space"] | None = None
    fixed_labels: Int[Tensor, "1 *space"] | None = None
    displacement: Float[Tensor, "dims *space"] | None = None
    region: Tensor | None = None  # (1, *S) bool
    label_names: dict[int, str] = field(default_factory=dict)
    spacing: tuple[float, ...] | None = None  # millimetres along each axis
    name: str = ""
    moving_mask: Bool[Tensor, "1 *space"] | None = None
    fixed_mask: Bool[Tensor, "1 *space"] | None = None

    def __post_init__(self):
        check_image("moving", self.moving[None])
        check_image("fixed", self.fixed[None])
        check_same_space("moving", self.moving[None], "fixed", self.fixed[None], channels=True)
        for name in ("moving_labels", "fixed_labels", "region", "moving_mask", "fixed_mask"):
            value = getattr(self, name)
            if value is not None and value.shape != (1, *self.fixed.shape[1:]):
                raise ValueError(
                    f"{name} must have shape {(1, *self.fixed.shape[1:])} like the images, got {tuple(value.shape)}."
                )
        if self.displacement is not None:
            check_field("displacement", self.displacement[None])
            check_same_space("displacement", self.displacement[None], "fixed", self.fixed[None])

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of both images."""
        return tuple(self.fixed.shape[1:])

    def require(self, what: Literal["moving_labels", "fixed_labels", "displacement", "region"]) -> Tensor:
        """What not every pair has, for a caller that cannot do without.

        Raises:
            ValueError: this pair has none.
        """
        value = getattr(self, what)
        if value is None:
            raise ValueError(f"pair {self.name!r} must have {what}, got none.")
        return value

    def to(self, device: torch.device | str) -> "Pair":
        """The same pair with every tensor on `device`."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@runtime_checkable
class Pairs(Protocol):
    """A set of pairs: `len(set)`, `set[i]`, and in a loop one after the other. A list is one, and so is `Phantoms`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pair: ...

    def __iter__(self) -> Iterator[Pair]: ...
