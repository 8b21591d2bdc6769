"""The report of a registered pair: findings, pictures, numbers, and last, where a network did it, its experts."""

from pathlib import Path

import torch
from torch import Tensor, nn

from moereg.apply import measures
from moereg.apply.verdict import Findings
from moereg.data.pairs import Pair
from moereg.fields import warp
from moereg.viz.clinical import clinical_pictures
from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report
from moereg.viz.tables import Table


def write_page(
    path: Path,
    pair: Pair,
    displacement: Tensor,
    model: nn.Module | None,
    seen: Pair,
    *,
    said: list[str],
    findings: Findings,
    dices: dict[str, dict[int, float]],
    seconds: float,
) -> Path:
    """Write `report.html`.

    Args:
        pair: the aligned moving image and the fixed one, normalised.
        displacement: the deformation between them, `(1, D, *S)` in voxels.
        seen: the pair as the network knows images, for its routing.
        said: lines that were printed; the last is the verdict.
        dices: stage -> label -> Dice.
    """
    warped = warp(pair.moving[None], displacement)[0]
    spacing = pair.spacing or (1.0,) * len(pair.shape)
    pictures = clinical_pictures(pair.fixed, pair.moving, warped, displacement[0], spacing)
    return write_report(
        path,
        title=pair.name,
        subtitle=said[-1],
        findings=said[:-1],
        figures=pictures,
        tables=_tables(findings, dices),
        payload=() if model is None else explorer_payload(model, seen),
        facts={"seconds": f"{seconds:.1f}", "torch": torch.__version__},
    )


def _tables(found: Findings, dices: dict[str, dict[int, float]]) -> list[Table]:
    columns = ["", *measures.STAGES]
    tables = [Table("Similarity", columns, [["local correlation", *found.similarity]])]
    if dices:
        labels = sorted(dices[measures.STAGES[0]])
        rows = [[f"label {label}", *(dices[stage][label] for stage in measures.STAGES)] for label in labels]
        rows.append(["mean", *(measures.mean(dices[stage]) for stage in measures.STAGES)])
        tables.append(Table("Dice", columns, rows))
    return tables
