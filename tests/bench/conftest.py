"""Two threads, no shape checks, and the README written at the end of a complete run."""

import os

import pytest
import torch
from cases import CASES
from jaxtyping import config as jaxtyping_config
from report import README, Row, memory_table, readme, speed_table

THREADS = 2
ROWS: dict[str, Row] = {}


def pytest_collection_modifyitems(config, items):
    """Measure only where asked to by path: a plain `pytest` runs the suite, in which nothing is timed."""
    if not any("bench" in str(argument) for argument in config.args):
        for item in items:
            if item.get_closest_marker("bench"):
                item.add_marker(pytest.mark.skip(reason="measured by `make bench`"))


@pytest.fixture
def rows() -> dict[str, Row]:
    """Case name -> what was measured so far."""
    return ROWS


@pytest.fixture(autouse=True)
def _as_in_use():
    before = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter):
    """The table on the screen; in README.md only if every case was measured."""
    rows = [ROWS[case.name] for case in CASES if case.name in ROWS]
    if not rows:
        return
    terminalreporter.write_line(f"\n{speed_table(rows)}\n\n{memory_table(rows)}")
    complete = len(rows) == len(CASES) and all(row.ours and (row.our_bytes or not row.case.memory) for row in rows)
    if complete:
        torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
        README.write_text(readme(rows))
        terminalreporter.write_line(f"Written: {README}")
