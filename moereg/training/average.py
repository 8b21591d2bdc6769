"""A moving average of a network's weights, which often registers better than the last ones.

    a <- d_t a + (1 - d_t) w,    d_t = min(decay, t / (t + 9)),    t = 1, 2, ... steps done

The first decays are small, so that the average soon forgets where the training began (the number 9 is common use).
Source: Polyak and Juditsky 1992 for averaging; exponential weights as in Tarvainen and Valpola 2017 (mean teacher).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of one model's parameters. Buffers are the model's own."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.parameters = dict(model.named_parameters())
        self.values = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after so many steps."""
        decay = min(self.decay, step / (step + 9))
        for name, value in self.values.items():
            # a <- a + (1 - d) (w - a)
            value.lerp_(self.parameters[name], 1 - decay)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Go on from the average of a checkpoint."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights until the block ends."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.values.items():
            own = self.parameters[name]
            kept = own.detach().clone()
            own.copy_(value)
            value.copy_(kept)

    def settle(self) -> None:
        """The average becomes the model's weights, for good."""
        self._exchange()
