"""Experiments: questions with controls and seeds, each answered by a `Finding` whose sentence is computed from rows."""

from moereg.experiments.ablation import (
    DECISIONS,
    DRIVING,
    HEADS,
    KINDS,
    ROUTING,
    VARIANTS,
    Variant,
    ablation,
    indecision,
)
from moereg.experiments.amount import amount
from moereg.experiments.audit import audit, control_networks, expert_load
from moereg.experiments.axis import axis_test
from moereg.experiments.contests import contest, contest_rows
from moereg.experiments.decisions import decisions
from moereg.experiments.degradation import quality_sweep
from moereg.experiments.doubt import entropy_against_error
from moereg.experiments.finding import Finding, effect_between
from moereg.experiments.forces import driving_measures, force_against_truth
from moereg.experiments.growth import growth
from moereg.experiments.knockouts import knock_out
from moereg.experiments.merging import merges
from moereg.experiments.organs import usage_by_organ
from moereg.experiments.protocol import Protocol, Task, kept_in, train_one
from moereg.experiments.recursion import RecursionProtocol, recursion_sweep
from moereg.experiments.regions import RegionProtocol, true_labels
from moereg.experiments.sliding import sliding
from moereg.experiments.stability import seed_stability
from moereg.experiments.worth import (
    Aligned,
    best_untrained,
    linear,
    simpleitk_demons,
    turned,
    worth,
    worth_markdown,
)

__all__ = [
    "DECISIONS",
    "DRIVING",
    "HEADS",
    "KINDS",
    "ROUTING",
    "VARIANTS",
    "Aligned",
    "Finding",
    "Protocol",
    "RecursionProtocol",
    "RegionProtocol",
    "Task",
    "Variant",
    "ablation",
    "amount",
    "audit",
    "axis_test",
    "best_untrained",
    "contest",
    "contest_rows",
    "control_networks",
    "decisions",
    "driving_measures",
    "effect_between",
    "entropy_against_error",
    "expert_load",
    "force_against_truth",
    "growth",
    "indecision",
    "kept_in",
    "knock_out",
    "linear",
    "merges",
    "quality_sweep",
    "recursion_sweep",
    "seed_stability",
    "simpleitk_demons",
    "sliding",
    "train_one",
    "true_labels",
    "turned",
    "usage_by_organ",
    "worth",
    "worth_markdown",
]
