"""Training: what a run depends on, the loss, the loop, checkpoints; and instance optimisation after it."""

from moereg.training.config import SIMILARITIES, History, TrainingConfig, best_device, check_precision
from moereg.training.drawing import choose_pairs, draw_pairs
from moereg.training.loop import fit
from moereg.training.loss import Batch, batch_dice, collate, motion_loss, registration_loss, soft_dice_loss
from moereg.training.provenance import provenance, seen_in_training
from moereg.training.refinement import Refined, refine
from moereg.training.schedule import learning_rate
from moereg.training.segmenter import fit_segmenter, prepare

__all__ = [
    "SIMILARITIES",
    "Batch",
    "History",
    "Refined",
    "TrainingConfig",
    "batch_dice",
    "best_device",
    "check_precision",
    "choose_pairs",
    "collate",
    "draw_pairs",
    "fit",
    "fit_segmenter",
    "learning_rate",
    "motion_loss",
    "prepare",
    "provenance",
    "refine",
    "registration_loss",
    "seen_in_training",
    "soft_dice_loss",
]
