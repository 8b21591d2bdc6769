"""The ledger of claims: every figure and verdict computed from the evidence that book/claims.yaml names.

    python -m tools.claims        the ledger as text; exit code 1 where a status disagrees with its evidence

`complaints` is what the tests hold the ledger to, `page` is its page on the site.
"""

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import jupytext
import numpy as np
import yaml

from moereg.experiments import effect_between
from moereg.experiments.degradation import line, mean_points
from moereg.metrics import Effect, paired_effect

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "book" / "claims.yaml"
HOLDS = ("holds here", "holds at small scale")
FAILS = ("does not hold here",)
OPEN = ("cannot be tried here", "not tried yet")
EXPECTED: dict[str, Callable[[str], bool]] = {
    "higher": lambda direction: direction == "higher",
    "lower": lambda direction: direction == "lower",
    "not higher": lambda direction: direction != "higher",
}
NEEDED = ("id", "system", "source", "statement", "evidence", "status")
ALLOWED = (*NEEDED, "theirs", "note", "chapter")


@dataclass(frozen=True)
class Outcome:
    """What the evidence says: `holds` is None where there is none."""

    holds: bool | None
    text: str
    effect: Effect | None = None


def load(path: Path = LEDGER) -> list[dict]:
    """The rows of the ledger."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def outcome(row: dict, root: Path = ROOT) -> Outcome:
    """What the evidence of one row says, from the files below `root`.

    Raises:
        ValueError: evidence of no known kind.
    """
    evidence = row["evidence"]
    for kind, judge in KINDS.items():
        if kind in evidence:
            return judge(evidence, root)
    raise ValueError(f"evidence must hold one of {', '.join(KINDS)}, got {', '.join(evidence)}.")


def _compare(evidence: dict, root: Path) -> Outcome:
    rows, measure = _rows(evidence["compare"], evidence, root), evidence["measure"]
    if "change" in evidence["first"]:  # changes of one network are paired over its pairs
        effect = effect_between(rows, evidence["first"], evidence["second"], measure)
    else:
        effect = effect_between(_sound(rows), evidence["first"], evidence["second"], measure)
    return _judged(effect, evidence["expect"], measure)


def _sound(rows: Sequence[dict]) -> list[dict]:
    """Without trainings that diverged."""
    return [row for row in rows if not row.get("diverged")]


def _card(evidence: dict, root: Path) -> Outcome:
    name, key = evidence["card"], {"dice": "dice_mean"}.get(evidence["measure"], evidence["measure"])
    rival = evidence.get("rival", name)  # a network on its own card, or a method on this one
    first, second = (
        _json(root / "data" / "weights" / f"{card}.json")["methods"][method]["pairs"]
        for card, method in ((name, name), (rival, evidence.get("against", rival)))
    )
    if [pair["pair"] for pair in first] != [pair["pair"] for pair in second]:
        raise ValueError(f"the cards of {name} and {rival} were measured on different pairs.")
    first, second = ([pair[key] for pair in pairs] for pairs in (first, second))
    return _judged(paired_effect(first, second), evidence["expect"], evidence["measure"])


def _judged(effect: Effect, expect: str, measure: str) -> Outcome:
    over = f"{effect.seeds} seed{'s' * (effect.seeds > 1)}"
    over += f", {effect.pairs} pairs" if effect.pairs > 1 else ""
    return Outcome(EXPECTED[expect](effect.direction), f"{measure} {effect.text()}, {over}", effect)


def _line(evidence: dict, root: Path) -> Outcome:
    found = line(mean_points(_rows(evidence["line"], evidence, root), evidence["way"]))["r2"]
    return Outcome(found >= evidence["at_least"], f"R² {found:.3f}")


def _mean(evidence: dict, root: Path) -> Outcome:
    wanted = evidence["rows"].items()
    rows = _sound(_rows(evidence["mean"], evidence, root))
    values = [row[evidence["measure"]] for row in rows if all(row[key] == value for key, value in wanted)]
    mean = float(np.mean(values))
    within = evidence.get("at_least", -np.inf) <= mean <= evidence.get("at_most", np.inf)
    return Outcome(bool(within), f"{evidence['measure']} {mean:.4f}, mean of {len(values)}")


def _test(evidence: dict, root: Path) -> Outcome:
    file, name = evidence["test"].split("::")
    functions = [
        n.name for n in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)
    ]
    return Outcome(name in functions, f"a test: {name.removeprefix('test_').replace('_', ' ')}")


def _cell(evidence: dict, root: Path) -> Outcome:
    notebook = jupytext.read(root / "notebooks" / f"{evidence['cell']}.py", fmt="py:percent")
    asserted = [
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code" and "assert" in cell.source and evidence["asserts"] in cell.source
    ]
    return Outcome(bool(asserted), f"asserted in cell {asserted[0]}" if asserted else "no cell asserts it")


def _none(evidence: dict, root: Path) -> Outcome:
    return Outcome(None, evidence["none"])


KINDS: dict[str, Callable[[dict, Path], Outcome]] = {
    "compare": _compare,
    "card": _card,
    "line": _line,
    "mean": _mean,
    "test": _test,
    "cell": _cell,
    "none": _none,
}


def _rows(record: str, evidence: dict, root: Path) -> list[dict]:
    found = _json(root / "data" / "experiments" / f"{record}.json")
    return found.get("findings", [found])[evidence.get("finding", 0)]["rows"]


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def complaints(rows: Sequence[dict], root: Path = ROOT) -> list[str]:
    """What is wrong with the ledger; empty if every status is what the evidence says."""
    wrong, seen = [], set()
    for row in rows:
        name = row.get("id", "?")
        wrong += [f"{name}: {key} is missing" for key in NEEDED if key not in row]
        wrong += [f"{name}: {key} is not known" for key in row if key not in ALLOWED]
        if any(key not in row for key in NEEDED):
            continue
        if name in seen:
            wrong.append(f"{name}: stands there twice")
        seen.add(name)
        found = outcome(row, root)
        fitting = {True: HOLDS, False: FAILS, None: OPEN}[found.holds]
        if row["status"] not in fitting:
            wrong.append(f"{name}: the evidence says {' or '.join(fitting)} ({found.text}), not {row['status']!r}")
    return wrong


HEAD = """# Ledger of claims

What the papers say and what this course says, each with what became of it here. Figures are differences with their 95 %
interval, by [one rule](api/moereg.metrics.comparison.md), computed from the recorded experiments and the cards of the
networks; a status that disagreed with them would fail the tests. *Holds at small scale*: on phantoms or small scans,
with small networks and short trainings. *Does not hold here* may mean that it is not told apart from nothing: the
interval says what could still hide.
"""


def page(rows: Sequence[dict], root: Path = ROOT) -> str:
    """The ledger for the site, a section per system."""
    parts = [HEAD, _summary(rows)]
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        parts += [f"## {system}", "", *(_entry(row, outcome(row, root)) for row in own)]
    return "\n".join(parts)


def _summary(rows: Sequence[dict]) -> str:
    counts = {status: sum(row["status"] == status for row in rows) for status in (*HOLDS, *FAILS, *OPEN)}
    return f"{len(rows)} claims: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count) + ".\n"


def _entry(row: dict, found: Outcome) -> str:
    source = "" if row["source"] == "course" else f" {{cite}}`{row['source']}`"
    said = f" *The source:* {row['theirs']}." if "theirs" in row else ""
    note = f" {row['note']}" if "note" in row else ""
    here = (
        f" [{'Networks' if row['chapter'] == 'networks' else 'Chapter'}]({row['chapter']})" if "chapter" in row else ""
    )
    bar = f" {interval(found.effect)}" if found.effect is not None else ""
    verdict = f"*{row['status']}.*{bar} {found.text.rstrip('.')}.{note}{here}"
    return f"(claim-{row['id']})=\n**{row['statement']}**{source}{said}\n: {verdict}\n"


def interval(effect: Effect) -> str:
    """A small drawing: the interval of a difference, zero in the middle."""
    reach = max(abs(effect.low), abs(effect.high))
    if not np.isfinite(reach) or reach == 0:
        return ""
    low, mean, high = (60 + 54 * value / reach for value in (effect.low, effect.mean, effect.high))
    return (
        f'<svg class="interval" width="120" height="14" role="img" aria-label="{escape(effect.text())}">'
        '<line x1="60" y1="0" x2="60" y2="14" stroke="currentColor" stroke-opacity="0.4"/>'
        f'<line x1="{low:.1f}" y1="7" x2="{high:.1f}" y2="7" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{mean:.1f}" cy="7" r="3.5" fill="currentColor"/></svg>'
    )


def main() -> int:
    rows = load()
    for row in rows:
        print(f"{row['id']}: {row['status']}; {outcome(row).text}")
    wrong = complaints(rows)
    print("\n".join(wrong) or f"{len(rows)} claims, every status as its evidence says")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
