"""Is the registration good, and is the specialisation of its experts real?"""

from moereg.evaluation.driving import force_against_truth
from moereg.evaluation.methods import METHODS
from moereg.evaluation.metrics import (
    PairScore,
    dice,
    endpoint_error,
    evaluate,
    identity,
    score,
    shared_labels,
    summarise,
    surface_distances,
)
from moereg.evaluation.specialisation import (
    Finding,
    audit,
    entropy_against_error,
    knock_out,
    load,
    seed_stability,
    usage_by_organ,
)

__all__ = [
    "METHODS",
    "Finding",
    "PairScore",
    "audit",
    "dice",
    "endpoint_error",
    "entropy_against_error",
    "evaluate",
    "force_against_truth",
    "identity",
    "knock_out",
    "load",
    "score",
    "seed_stability",
    "shared_labels",
    "summarise",
    "surface_distances",
    "usage_by_organ",
]
