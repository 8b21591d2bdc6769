"""Registration networks, each `model(moving, fixed) -> Registration`."""

from moereg.models.baselines import VoxelMorph, VoxelMorphSizes
from moereg.models.drivenmorph import DrivenMorph, DrivenMorphSizes, DrivenRegistration, DrivenStep
from moereg.models.registration import Registration
from moereg.models.rman import RecursiveRegistration, RMAn, RMAnSizes
from moereg.models.segmentation import Segmenter, fit_segmenter
from moereg.models.segreg import SegmentedRegistration, SegReg, SegRegSizes, seam_folds
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes
from moereg.models.storage import build, load_model, save_weights

__all__ = [
    "DrivenMorph",
    "DrivenMorphSizes",
    "DrivenRegistration",
    "DrivenStep",
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
    "VoxelMorph",
    "VoxelMorphSizes",
    "build",
    "fit_segmenter",
    "load_model",
    "save_weights",
    "seam_folds",
]
