"""Two threads, no shape checks, and README.md, speed.json and limit.png written at the end of a complete run."""

import os

import pytest
import torch
from cases import CASES
from jaxtyping import config as jaxtyping_config
from report import GROWN, Measured, text, write

THREADS = 2
MEASURED = Measured()


def pytest_collection_modifyitems(config, items):
    """Measure only where asked to by path: a plain `pytest` runs the suite, in which nothing is timed."""
    if not any("bench" in str(argument) for argument in config.args):
        for item in items:
            if item.get_closest_marker("bench"):
                item.add_marker(pytest.mark.skip(reason="measured by `make bench`"))


@pytest.fixture
def rows():
    """Case name -> what was measured so far."""
    return MEASURED.rows


@pytest.fixture
def grown():
    """Model -> rows of its growth."""
    return MEASURED.grown


@pytest.fixture
def beside():
    """Variant of Demons -> seconds of both beside a busy core."""
    return MEASURED.beside


@pytest.fixture
def compiled():
    """What torch.compile makes of a network; empty where there is no compiler."""
    return MEASURED.compiled


@pytest.fixture
def limit():
    """What the machine can do at most."""
    return MEASURED.limit


@pytest.fixture(autouse=True)
def _as_in_use():
    before = torch.get_num_threads()
    torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter):
    """The tables on the screen; on disk only if everything was measured."""
    if not MEASURED.rows:
        return
    terminalreporter.write_line(f"\n{text(MEASURED)}")
    done = all(row.complete for row in MEASURED.rows.values()) and len(MEASURED.rows) == len(CASES)
    if done and set(MEASURED.grown) == set(GROWN) and MEASURED.beside and MEASURED.limit:
        torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
        terminalreporter.write_line(f"Written: {write(MEASURED)}")
