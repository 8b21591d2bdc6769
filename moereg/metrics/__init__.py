"""What is measured of a registration, and the one rule for "better"."""

from moereg.metrics.comparison import MORE_IS_BETTER, UNDECIDED, Effect, method_effects, paired_effect
from moereg.metrics.measure import Method, PairScore, evaluate, knows_mask, score, summarise
from moereg.metrics.overlap import dice, endpoint_error, shared_labels
from moereg.metrics.surface import surface_distances
from moereg.metrics.table import TABLE_ROWS, text_table

__all__ = [
    "MORE_IS_BETTER",
    "TABLE_ROWS",
    "UNDECIDED",
    "Effect",
    "Method",
    "PairScore",
    "dice",
    "endpoint_error",
    "evaluate",
    "knows_mask",
    "method_effects",
    "paired_effect",
    "score",
    "shared_labels",
    "summarise",
    "surface_distances",
    "text_table",
]
