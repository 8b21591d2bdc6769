"""The site's page of comparison and speed: every table and figure from the records, nothing typed by hand.

Records: `data/compare/compare.json` (`make compare`) and `tests/bench/speed.json` (`make bench`). What is not there
is said.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moereg.course.recorded import compared
from moereg.experiments.comparing import MEASURES, largest_volumes, rivals_of, row_name, verdicts
from moereg.metrics.cost import growth_exponent
from moereg.viz.comparison import SHORT, draw_costs, draw_measures, draw_pair_costs, draw_verdicts

ROOT = Path(__file__).resolve().parent.parent
SPEED = ROOT / "tests" / "bench" / "speed.json"
OURS = ("shmoareg", "drivenmorph", "rman", "segreg")
GIGABYTES = (8, 24, 80)
ABREAST = 6  # structures in one table
DIGITS = {"fold_fraction": 4, "seconds": 3}


def write(folder: Path, *, speed: Path = SPEED, compare: Path | None = None) -> None:
    """`comparison.md` and its pictures, into the sources of the site."""
    parts = ["# Comparison and speed", ""]
    try:
        parts += of_comparison(compared(folder=compare), folder)
    except FileNotFoundError:
        parts += ["No comparison has been recorded yet: `make compare`.", ""]
    parts += of_speed(json.loads(speed.read_text())) if speed.exists() else ["No speed recorded yet: `make bench`.", ""]
    (folder / "comparison.md").write_text("\n".join(parts), encoding="utf-8")


def of_comparison(record: dict, folder: Path) -> list[str]:
    """All methods, every measure, where each of ours loses, and what fits."""
    rows, scale = record["rows"], record["scale"]
    pictures = folder / "comparison"
    pictures.mkdir(exist_ok=True)
    text = [
        "How to compare is the subject of [chapter 13](13_comparison.ipynb); here is all that was measured.",
        "",
        f"Recorded {record['date']} on {record['machine'].get('processor', 'a CPU')}: {scale['test']} pairs of each "
        f"family of phantoms, images of {' × '.join(map(str, scale['shape']))}, networks trained on {scale['train']} "
        f"pairs of each family together, seeds {', '.join(map(str, scale['seeds']))}. "
        + ("" if record["finished"] else "The run was not finished: rows are missing. ")
        + ("Times were taken beside other work: their ratios count. " if record["beside_other_work"] else ""),
        "",
        "Budgets: "
        + "; ".join(
            f"equal {budget}: " + ", ".join(f"{name} {count} steps" for name, count in counts.items())
            for budget, counts in record["steps"].items()
        )
        + ".",
        "",
        *(f"- {what}: {said}" for what, said in record["explained"].items()),
        "",
    ]
    champion = {"method": "shmoareg", "budget": "steps", "refined": False}
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        text += [f"## {task}", "", *measure_table(own), ""]
        text += [":::{dropdown} Dice of each structure", "", *label_tables(own), ":::", ""]
        alt = f"Every measure of every method on {task}: a line for each method, a dot for each seed."
        text += _picture(draw_measures(rows, task), pictures / f"{task}.png", alt)
    found = verdicts(rows, champion, rivals_of(rows, champion))
    text += ["## Where each of ours loses", "", *losses(rows), ""]
    for task in dict.fromkeys(one["task"] for one in found):
        alt = f"SHMoAReg against every other method on {task}, measure by measure: better, worse or not told apart."
        text += _picture(draw_verdicts(found, task), pictures / f"{task}-verdicts.png", alt)
    alt = "Time and memory of a pair and of a training step against voxels, a line for each network."
    text += ["## Cost", "", *_picture(draw_costs(record["costs"]), pictures / "costs.png", alt)]
    text += [*cost_table(record["costs"]), ""]
    if pairs := record.get("pair_costs"):
        alt = "Processor seconds and peak memory of a pair for every method, networks first, at three sizes."
        figure = draw_pair_costs([*record["costs"], *pairs])
        text += _picture(figure, pictures / "pair-costs.png", alt)
        text += [*pair_cost_table([*record["costs"], *pairs]), ""]
    return text


def pair_cost_table(costs: Sequence[dict]) -> list[str]:
    """Seconds and peak memory of a pair at the largest size, every method."""
    edge = max(row["edge"] for row in costs)
    lines = [f"| method, a pair of {edge}³ | processor s | peak memory, MiB |", "|---|---|---|"]
    for row in costs:
        if row["edge"] == edge:
            lines.append(f"| {row['method']} | {row['pair_seconds']:.2f} | {row['pair_bytes'] / 2**20:,.0f} |")
    return lines


def measure_table(rows: Sequence[dict]) -> list[str]:
    """A row per kind of method, means over seeds and pairs."""
    names = list(dict.fromkeys(row_name(row) for row in rows))
    lines = [f"| method | {' | '.join(SHORT[key] for key in MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for name in names:
        cells = []
        for key in MEASURES:
            values = [row[key] for row in rows if row_name(row) == name and row[key] is not None]
            cells.append(f"{np.mean(values):.{DIGITS.get(key, 3)}f}" if values else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def label_tables(rows: Sequence[dict]) -> list[str]:
    """Dice of each structure, as many to a table as a page is wide."""
    labels = list(dict.fromkeys(name for row in rows for name in row["dice_per_label"]))
    tables = [label_table(rows, labels[first : first + ABREAST]) for first in range(0, len(labels), ABREAST)]
    return [line for table in tables for line in (*table, "")]


def label_table(rows: Sequence[dict], labels: Sequence[str]) -> list[str]:
    """Dice of these structures, a row per kind of method, means over seeds and pairs."""
    lines = [f"| method | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for name in dict.fromkeys(row_name(row) for row in rows):
        own = [row["dice_per_label"] for row in rows if row_name(row) == name]
        known = {label: [one[label] for one in own if one.get(label) is not None] for label in labels}
        cells = [f"{np.mean(values):.3f}" if values else "–" for values in known.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def losses(rows: Sequence[dict]) -> list[str]:
    """How often each system of the course loses, by measure and kind of image; to whom, by the one rule, is folded."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [f"| system | measure | {' | '.join(tasks)} |", "|---" * (2 + len(tasks)) + "|"]
    folded = []
    for name in OURS:
        champion = {"method": name, "budget": "steps", "refined": False}
        found = verdicts(rows, champion, rivals_of(rows, champion))
        folded += [":::{dropdown} " + f"To whom {name} loses", ""]
        for key in MEASURES:
            mine = [one for one in found if one["measure"] == key]
            lost = {task: [row_name(one["rival"]) for one in mine if _lost(one, task)] for task in tasks}
            asked = {task: sum(one["task"] == task for one in mine) for task in tasks}
            cells = [f"{len(lost[task])} of {asked[task]}" if asked[task] else "–" for task in tasks]
            lines.append(f"| {name} | {MEASURES[key][0]} | {' | '.join(cells)} |")
            folded += [f"- {MEASURES[key][0]}, {task}: {'; '.join(lost[task])}" for task in tasks if lost[task]]
        folded += ["", ":::", ""]
    return [*lines, "", *folded]


def _lost(one: dict, task: str) -> bool:
    return one["task"] == task and one["word"] == "worse"


def cost_table(costs: Sequence[dict]) -> list[str]:
    """Parameters, multiply-adds, exponents, and the largest volume that a training step may have, predicted."""
    fits = largest_volumes(costs, GIGABYTES)
    head = " | ".join(f"largest cube in {size} GB, predicted" for size in GIGABYTES)
    lines = [
        f"| network | parameters | multiply-adds per voxel, a pair | time ~ V^ | memory ~ V^ | {head} |",
        "|---" * (5 + len(GIGABYTES)) + "|",
    ]
    for name, edges in fits.items():
        own = [row for row in costs if row["method"] == name]
        voxels = [row["edge"] ** 3 for row in own]
        time, memory = (
            growth_exponent(voxels, [max(row[f"step_{w}"], 1e-9) for row in own]) for w in ("seconds", "bytes")
        )
        per_voxel = own[0]["multiply_adds"] / voxels[0]
        lines.append(
            f"| {name} | {own[0]['parameters']:,} | {per_voxel:,.0f} | {time:.2f} | {memory:.2f} | "
            + " | ".join(f"{edge}³" for edge in edges)
            + " |"
        )
    return lines


def of_speed(record: dict) -> list[str]:
    """Aims of `make bench`, met and missed."""
    met = sum(aim["met"] for aim in record["aims"])
    lines = [
        "## Speed",
        "",
        f"`make bench` on {record['date']}: {record['machine']} {met} of {len(record['aims'])} aims are met.",
        "",
        "| what | measure | at most | measured | |",
        "|---|---|---|---|---|",
    ]
    for aim in record["aims"]:
        word = "met" if aim["met"] else "**missed**"
        what = re.sub(r"(?<=\d)\^3\b", "³", aim["what"])  # the record writes 96^3
        lines.append(f"| {what} | {aim['kind']} | {aim['aim']:.2f} | {aim['measured']:.2f} | {word} |")
    return [*lines, ""]


def _picture(figure, path: Path, alt: str) -> list[str]:
    figure.savefig(path, dpi=110)
    return [f"![{alt}](comparison/{path.name})", ""]
