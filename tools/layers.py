"""`make test`: every layer in turn, each in a process of its own, and one closing line for all of them.

A layer that fails does not stop the next one, so that one run tells everything. `python tools/layers.py unit book` runs
only the layers named.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable, "-m"]
PYTEST = [*PYTHON, "pytest", "-q", "-rs"]
BIN = Path(sys.executable).parent
STYLE = [
    [*PYTHON, "ruff", "check", "."],
    [*PYTHON, "ruff", "format", "--check", "."],
    [str(BIN / "lint-imports"), "--no-logo"],  # no circle of imports, no arrow upwards: pyproject.toml
    [*PYTHON, "pyright", "--pythonpath", sys.executable],
    [*PYTHON, "tools.bundle", "--check"],
    [*PYTHON, "tools.course_check"],  # the form of the chapters
]
# Two processes share the unit tests by files; torch takes one thread in each.
UNIT = [
    *PYTEST,
    "-m",
    "not notebook and not book and not browser and not bench and not processes",
    "--ignore=tests/bench",
]
LAYERS = {
    "style": STYLE,
    "unit": [[*UNIT, "-n", "2", "--dist", "loadfile"]],
    "processes": [[*PYTEST, "-m", "processes", "tests/training", "tests/tools/test_compare.py"]],
    "notebooks": [[*PYTEST, "-m", "notebook", "tests/test_notebooks.py", "tests/tools/test_course_rerun.py"]],
    "book": [[*PYTEST, "-m", "book", "tests/test_book.py"]],
    "browser": [[*PYTEST, "-m", "browser", "tests"]],
}
OUTCOMES = ("passed", "failed", "error", "skipped")
NO_TESTS = 5  # pytest's exit code where nothing was selected


def main(names: list[str]) -> int:
    started, total = time.perf_counter(), Counter()
    for name in names or LAYERS:
        print(f"\n===== {name} =====", flush=True)
        began = time.perf_counter()
        for command in LAYERS[name]:
            total += run(command)
        print(f"----- {name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(f"\n===== {closing_line(total)} in {time.perf_counter() - started:.0f}s =====")
    return 1 if total["failed"] or total["error"] or not total["passed"] else 0


def run(command: list[str]) -> Counter:
    """Run one command, show its output as it comes, count its tests. A tool without tests counts as one."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if "pytest" not in command:
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        return Counter(passed=1) if code == 0 else Counter(failed=1)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [*command, f"--junitxml={report}"]
        if "-n" in command:
            environment |= {"OMP_NUM_THREADS": "1"}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        counts = count(report) if report.is_file() else Counter()
    if code not in (0, NO_TESTS) and not counts["failed"] and not counts["error"]:
        counts["error"] += 1  # pytest itself stopped: a crash, an import error, a wrong option
    return counts


def count(report: Path) -> Counter:
    """Outcomes in a report of pytest's in the format of JUnit. What was expected to fail counts as skipped there."""
    counts = Counter()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, failed, error, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
        counts += Counter(passed=tests - failed - error - skipped, failed=failed, error=error, skipped=skipped)
    return counts


def closing_line(total: Counter) -> str:
    shown = [f"{total[outcome]} {outcome}" for outcome in OUTCOMES if total[outcome] or outcome in ("failed", "passed")]
    return ", ".join(shown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
