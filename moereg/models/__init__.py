"""Registration networks, each `model(moving, fixed) -> Registration`."""

from moereg.models.baselines import VoxelMorph, VoxelMorphSizes
from moereg.models.drivenmorph import DrivenMorph, DrivenMorphSizes, DrivenRegistration, DrivenStep
from moereg.models.registration import Registration
from moereg.models.rman import RecursiveRegistration, RMAn, RMAnSizes
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
    "VoxelMorph",
    "VoxelMorphSizes",
    "build",
    "load_model",
    "save_weights",
]
