"""Experiments side by side, for `make experiments`: a process of one thread for each core, the longest ones first."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def groups_of(names: Iterable[str], shared: Mapping[str, str]) -> list[list[str]]:
    """What one process does in turn: an experiment, then those that take its networks."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: name in shared):
        groups.setdefault(shared.get(name, name), []).append(name)
    return list(groups.values())


def longest_first(groups: Iterable[list[str]], records: Path) -> list[list[str]]:
    """By the seconds of the recorded runs; what has no record goes first, it may be long."""
    return sorted(groups, key=lambda group: -sum(_seconds(records / f"{name}.json") for name in group))


def _seconds(record: Path) -> float:
    return json.loads(record.read_text(encoding="utf-8"))["seconds"] if record.exists() else float("inf")


def side_by_side(groups: Sequence[list[str]], options: Sequence[str], workers: int) -> None:
    """`python -m tools.experiments GROUP OPTIONS` for every group, so many at a time.

    Raises:
        SystemExit: naming the groups that failed, when all are done; what they had trained is kept.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def ask(group: list[str]) -> int:
        command = [sys.executable, "-m", "tools.experiments", *group, "--workers", "1", *options]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    with ThreadPoolExecutor(workers) as pool:
        codes = list(pool.map(ask, groups))
    if failed := [", ".join(group) for group, code in zip(groups, codes, strict=True) if code]:
        raise SystemExit(f"failed: {'; '.join(failed)} (see above)")
