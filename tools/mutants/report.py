"""What became of the mutants: counts by group, survivors, and the survivors that are accepted with a reason."""

import json
import platform
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tools.mutants.covered import MOST_SECONDS, MOST_TESTS
from tools.mutants.settings import Project
from tools.mutants.sources import Mutant

ACCEPTED = "tests/mutants_accepted.toml"
REPORT = "tests/mutants.md"
DEAD = ("killed", "timeout")


@dataclass
class Verdict:
    """One mutant and its fate: killed, timeout, survived, not executed, or accepted."""

    mutant: Mutant
    status: str
    test: str = ""  # that failed
    reason: str = ""  # why a survivor is accepted

    def line(self) -> str:
        mutant = self.mutant
        return f"{mutant.module}:{mutant.line}  [{self.status}]\n    - {mutant.before}\n    + {mutant.after}"


def accept(root: Path, verdicts: list[Verdict]) -> list[str]:
    """Mark accepted survivors. Returns the entries for modules at hand that match no mutant, or one that is killed."""
    path = root / ACCEPTED
    entries = tomllib.loads(path.read_text()).get("accepted", []) if path.exists() else []
    modules, stale = {verdict.mutant.module for verdict in verdicts}, []
    for entry in entries:
        fits = [verdict for verdict in verdicts if _fits(entry, verdict.mutant)]
        survivors = [verdict for verdict in fits if verdict.status not in DEAD]
        for verdict in survivors:
            verdict.status, verdict.reason = "accepted", entry["reason"]
        if entry["module"] in modules and not survivors:
            why = "is killed now" if fits else "matches no mutant"
            stale.append(f"{ACCEPTED}: an entry {why}: {entry['module']}: {entry['before']} -> {entry['after']}")
    return stale


def _fits(entry: dict, mutant: Mutant) -> bool:
    """By text, so that an entry outlives lines added above. `after = "*"` stands for every mutant of the line."""
    same = (mutant.module, mutant.before) == (entry["module"], " ".join(entry["before"].split()))
    return same and entry["after"] in ("*", mutant.after)


def rate(verdicts: list[Verdict]) -> float:
    """Killed share in percent; accepted survivors are left out."""
    counted = [verdict for verdict in verdicts if verdict.status != "accepted"]
    return 100 * sum(verdict.status in DEAD for verdict in counted) / len(counted) if counted else 100.0


def row(name: str, verdicts: list[Verdict], target: str = "") -> str:
    count = Counter(verdict.status for verdict in verdicts)
    shown = [count[status] for status in ("killed", "timeout", "survived", "not executed", "accepted")]
    return f"| {name} | {len(verdicts)} | {' | '.join(map(str, shown))} | {rate(verdicts):.1f} % |{target}"


HEAD = "mutants | killed | timeout | survived | not executed | accepted | rate |"


def by_module(verdicts: list[Verdict]) -> dict[str, list[Verdict]]:
    found = defaultdict(list)
    for verdict in verdicts:
        found[verdict.mutant.module].append(verdict)
    return dict(sorted(found.items()))


def by_group(project: Project, verdicts: list[Verdict]) -> dict[str, tuple[float, list[Verdict]]]:
    found = {}
    for module, own in by_module(verdicts).items():
        group = project.group(module)
        found.setdefault(group["name"], (group["target"], []))[1].extend(own)
    return dict(sorted(found.items()))


def tables(project: Project, verdicts: list[Verdict]) -> list[str]:
    lines = [f"| group | {HEAD} target |", "|---|" + "---:|" * 8]
    for name, (target, own) in by_group(project, verdicts).items():
        lines.append(row(name, own, f" {target} %{'' if rate(own) >= target else ', missed'} |"))
    lines += ["", f"| module | {HEAD}", "|---|" + "---:|" * 7]
    return lines + [row(module, own) for module, own in by_module(verdicts).items()]


def write(project: Project, verdicts: list[Verdict], minutes: float, notes: list[str]) -> Path:
    """tests/mutants.md, the record of a whole run."""
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    lines = [
        "# Mutation testing: the last whole run",
        "",
        f"`make mutants-all`, {date.today()}, {machine}. The last go took {minutes:.0f} minutes; what was known",
        "before stands where neither code nor tests changed. A mutant is one change in one place;",
        f"it is killed if a test of the unit layer fails or does not end. It faces at most {MOST_TESTS} tests or",
        f"{MOST_SECONDS:.0f} seconds of them, nearest first. Accepted survivors do not count.",
        "",
        *tables(project, verdicts),
        *(["", *notes] if notes else []),
    ]
    for title, status in (("Survivors", "survived"), ("Not executed", "not executed"), ("Accepted", "accepted")):
        lines += ["", f"## {title}"]
        for module, own in by_module([v for v in verdicts if v.status == status]).items():
            lines += ["", f"### {module}", ""]
            for verdict in own:
                reason = f" ({verdict.reason})" if verdict.reason else ""
                lines.append(
                    f"- {verdict.mutant.line}: ``{verdict.mutant.before}`` -> ``{verdict.mutant.after}``{reason}"
                )
    path = project.root / REPORT
    path.write_text("\n".join(lines) + "\n")
    return path


class Results:
    """Fates of earlier runs, one JSON line each, with the evidence on which they rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {entry["key"]: entry for entry in map(json.loads, lines)}

    def keep(self, key: str, status: str, test: str, evidence: str) -> None:
        self.known[key] = {"key": key, "status": status, "test": test, "evidence": evidence}
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(self.known[key]) + "\n")
