"""Registration networks, each `model(moving, fixed) -> Registration`."""

from moereg.models.baselines import VoxelMorph, VoxelMorphSizes
from moereg.models.drivenmorph import DrivenMorph, DrivenMorphSizes, DrivenRegistration, DrivenStep
from moereg.models.masks import seam_folds
from moereg.models.registration import Registration
from moereg.models.registry import MODELS, Entry, build, build_for
from moereg.models.rman import RecursiveRegistration, RMAn, RMAnSizes
from moereg.models.segmentation import SMALL_BACKBONE, Segmenter
from moereg.models.segreg import SegmentedRegistration, SegReg, SegRegSizes
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes
from moereg.models.storage import (
    WEIGHTS_FOLDER,
    find_weights,
    load_model,
    read_provenance,
    read_trained,
    save_weights,
)
from moereg.models.trained import TrainedOn, look_at

__all__ = [
    "MODELS",
    "SMALL_BACKBONE",
    "WEIGHTS_FOLDER",
    "DrivenMorph",
    "DrivenMorphSizes",
    "DrivenRegistration",
    "DrivenStep",
    "Entry",
    "RMAn",
    "RMAnSizes",
    "RecursiveRegistration",
    "Registration",
    "SHMoAReg",
    "SHMoARegSizes",
    "SegReg",
    "SegRegSizes",
    "SegmentedRegistration",
    "Segmenter",
    "TrainedOn",
    "VoxelMorph",
    "VoxelMorphSizes",
    "build",
    "build_for",
    "find_weights",
    "load_model",
    "look_at",
    "read_provenance",
    "read_trained",
    "save_weights",
    "seam_folds",
]
