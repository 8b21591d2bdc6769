"""Looking at results: the explorer of routing, the report, figures in the experts' colours."""

from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report
from moereg.viz.tables import Table

__all__ = ["Table", "draw", "explorer_payload", "write_report"]


def __getattr__(name: str):
    """`draw` is looked up when it is wanted: matplotlib is slow to import."""
    if name == "draw":
        from moereg.viz.experiments import draw

        return draw
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
