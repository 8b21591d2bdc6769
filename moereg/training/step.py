"""One pass of a training: images in, loss out."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from moereg.models.registration import labels_for
from moereg.processes import sharing
from moereg.training.config import TrainingConfig
from moereg.training.loss import Batch, batch_overlaps, registration_loss
from moereg.training.recompute import recomputing

Seen = tuple[float, float, float, int]  # loss, similarity, sum of Dice over labels and images, how many they are


class TrainingPass(nn.Module):
    """`(step, measure, **vars(batch)) -> loss, Seen)`, the first with gradient.

    What Fabric wraps, in place of the model: it copies what a wrapped module returns, and a `Registration` is frozen.
    The network runs in the training's precision, its loss outside of autocast.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig):
        super().__init__()
        self.model, self.config = model, config
        # In a tuple, else it would count as a second network.
        self.calls: tuple[Callable] = (torch.compile(model) if config.compile else model,)

    def forward(self, step: int, measure: bool, **images: Tensor | None) -> tuple[Tensor, Seen]:
        """Register the batch and compare."""
        batch = Batch(**images)  # type: ignore[arg-type]
        labels = labels_for(self.model, batch.moving_labels, batch.fixed_labels)
        with recomputing(self.model) if self.config.checkpointing else nullcontext():
            registration = self.calls[0](batch.moving, batch.fixed, **labels)
        # Regions differ from batch to batch: a process may have a layer's routing where another one has none.
        alike = not hasattr(self.model, "segmenter")
        with torch.autocast(batch.moving.device.type, enabled=False), sharing(alike):
            loss, parts = registration_loss(registration, batch, self.config, step=step)
        overlaps = batch_overlaps(registration, batch) if measure else []
        # Numbers, not tensors, which would be rounded to float32.
        return loss, (float(loss.detach()), float(parts["similarity"].detach()), sum(overlaps), len(overlaps))
