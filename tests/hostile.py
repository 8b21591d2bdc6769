"""Reads files that mean harm, in a process whose memory the system bounds: `python -m tests.hostile CASES.json`.

CASES.json holds [name of the loader, path] of every case. Before the first one the process is told that its address
space may grow by no more than `BYTES`, beyond what Python and torch take; whoever asks for more gets a `MemoryError`
or an error of the allocator. For every case a line of JSON says what came of it, and how many seconds of the processor
it cost. A case that takes more than `SECONDS` is broken off.
"""

import json
import re
import resource
import signal
import sys
import time
from pathlib import Path

BYTES, SECONDS = 10**9, 5


def main(cases: str) -> None:
    """All cases, one after another."""
    from moereg.apply.scans import read_field, read_scan
    from moereg.data import datasets, load_displacement, load_grid, load_labels, load_volume
    from moereg.data.tables import read_rows
    from moereg.models import load_model
    from moereg.training.configfile import read_run

    loaders = {
        "image": load_volume, "labels": load_labels, "grid": load_grid, "field": load_displacement,
        "weights": load_model, "table": read_rows, "pairs": datasets.load, "run": read_run,
        "any field": read_field, "any image": read_scan,
    }  # fmt: skip
    signal.signal(signal.SIGPROF, _too_long)
    bound_memory()
    for loader, path in json.loads(Path(cases).read_text(encoding="utf-8")):
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor
        kind, said = None, ""
        try:
            loaders[loader](path)
        except Exception as error:
            kind, said = type(error).__name__, str(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"kind": kind, "said": said, "seconds": time.process_time() - began}), flush=True)


def bound_memory() -> None:
    """From now on the address space may grow by `BYTES`."""
    taken = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _too_long(*_) -> None:
    raise TimeoutError("took too long")


if __name__ == "__main__":
    main(sys.argv[1])
