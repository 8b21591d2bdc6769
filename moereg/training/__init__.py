"""Training: what a run depends on, the loss, the loop, checkpoints."""

from moereg.training.config import SIMILARITIES, History, TrainingConfig, best_device
from moereg.training.loop import choose_pairs, fit, learning_rate
from moereg.training.loss import Batch, batch_dice, collate, registration_loss, soft_dice_loss
from moereg.training.segmenter import fit_segmenter, prepare

__all__ = [
    "SIMILARITIES",
    "Batch",
    "History",
    "TrainingConfig",
    "batch_dice",
    "best_device",
    "choose_pairs",
    "collate",
    "fit",
    "fit_segmenter",
    "learning_rate",
    "prepare",
    "registration_loss",
    "soft_dice_loss",
]
