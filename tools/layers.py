"""`make test`: every layer in turn, each in a process of its own, and one closing line for all of them.

A layer that fails does not stop the next one, so that one run tells everything. `python tools/layers.py unit book` runs
only the layers named.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs"]
LAYERS = {
    "style": [[sys.executable, "-m", "ruff", "check", "."], [sys.executable, "-m", "ruff", "format", "--check", "."]],
    "unit": [[*PYTEST, "-m", "not notebook and not book and not browser and not bench", "--ignore=tests/bench"]],
    "notebooks": [[*PYTEST, "-m", "notebook", "tests/test_notebooks.py"]],
    "book": [[*PYTEST, "-m", "book", "tests/test_book.py"]],
    "browser": [[*PYTEST, "-m", "browser", "tests"]],
}
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
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
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    code = process.wait()
    if "pytest" not in command:
        return Counter(passed=1) if code == 0 else Counter(failed=1)
    counts = count(last)
    if code not in (0, NO_TESTS) and not counts["failed"] and not counts["error"]:
        counts["error"] += 1  # pytest itself stopped: a crash, an import error, a wrong option
    return counts


def count(summary: str) -> Counter:
    """Outcomes in pytest's last line: "2 failed, 30 passed in 1.2s"."""
    return Counter({name: int(n) for n, name in re.findall(rf"(\d+) ({'|'.join(OUTCOMES)})", summary)})


def closing_line(total: Counter) -> str:
    shown = [f"{total[outcome]} {outcome}" for outcome in OUTCOMES if total[outcome] or outcome in ("failed", "passed")]
    return ", ".join(shown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
