"""What a training keeps from the forward to the backward pass, counted; the clock and the machine do not matter."""

import torch
from torch import Tensor, nn

from moereg.training.config import TrainingConfig
from moereg.training.loss import Batch
from moereg.training.step import TrainingPass


def kept_bytes(model: nn.Module, batch: Batch, config: TrainingConfig) -> int:
    """Bytes that one pass keeps for its gradient, the network's own weights not counted.

    Every stretch of memory counts once, however many tensors look at it. What is allocated for a moment within an
    operation is not counted, so a device needs more.
    """
    kept: list[Tensor] = []  # alive until the end, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = TrainingPass(model, config)(0, False, **vars(batch))
    del loss
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for place, size in sizes.items() if place not in own)
