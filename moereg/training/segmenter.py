"""What SegReg learns before it registers: its own segmentation."""

import torch
from torch import nn
from tqdm.auto import tqdm

from moereg.checks import check_positive
from moereg.data.pairs import Pairs
from moereg.models.segmentation import Segmenter, classes
from moereg.training.config import TrainingConfig, best_device


def prepare(model: nn.Module, pairs: Pairs, config: TrainingConfig, *, progress: bool = False) -> None:
    """What a model learns, in place, before it learns to register: its segmenter, where it has one."""
    segmenter = getattr(model, "segmenter", None)
    if segmenter is not None:
        model.to(best_device(config.device))
        fit_segmenter(segmenter, pairs, steps=config.steps, seed=config.seed, progress=progress)


def fit_segmenter(
    segmenter: Segmenter,
    pairs: Pairs,
    *,
    steps: int = 200,
    learning_rate: float = 1e-2,
    seed: int = 0,
    progress: bool = False,
) -> list[float]:
    """Train in place on both images of random pairs: cross-entropy plus soft Dice. Returns the loss of every step.

    Labels that the segmenter does not know count as background.

    Raises:
        ValueError: no pairs, a pair without labels, fewer than one step.
    """
    from monai.losses.dice import DiceCELoss

    check_positive("steps", steps, integer=True)
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair, got none.")
    device = next(segmenter.parameters()).device
    criterion = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.Adam(segmenter.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.Generator().manual_seed(seed)
    segmenter.train()
    losses = []
    for _ in tqdm(range(steps), desc="segment", disable=not progress):
        pair = pairs[int(torch.randint(len(pairs), (), generator=order))].to(device)
        if pair.moving_labels is None or pair.fixed_labels is None:
            raise ValueError(f"pairs must all have labels to learn from, got {pair.name or 'a pair'} without.")
        logits = segmenter(torch.stack([pair.moving, pair.fixed]))
        loss = criterion(logits, classes(torch.stack([pair.moving_labels, pair.fixed_labels]), segmenter.labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    segmenter.eval()
    return losses
