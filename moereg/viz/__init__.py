"""Looking at results: the explorer of routing, the report, figures in the experts' colours."""

from moereg.viz.experiments import draw
from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report
from moereg.viz.tables import Table

__all__ = ["Table", "draw", "explorer_payload", "write_report"]
