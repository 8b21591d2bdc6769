"""Processes: a working copy to run in, a pool of tasks, and one fork with limits for every mutant."""

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import connection, get_context
from pathlib import Path

from tools.mutants.settings import OPTIONS, Project

GIGABYTES = 4  # that a mutant may take on top of what its parent holds


def working_copy(project: Project, slot: int) -> Path:
    """A copy of the tracked files, so that a mutant's rubbish stays out of the tree; kept for its compiled files."""
    copy = project.store / f"copy-{slot}"
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False).stdout.splitlines()
    names = listed or [str(p.relative_to(project.root)) for p in project.root.rglob("*") if p.is_file()]
    wanted = {name for name in names if (project.root / name).is_file() and not name.startswith(".mutants")}
    for name in wanted:
        source, target = project.root / name, copy / name
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for stray in copy.rglob("*"):
        if stray.is_file() and "__pycache__" not in stray.parts and str(stray.relative_to(copy)) not in wanted:
            stray.unlink()
    return copy


def pool(project: Project, tasks: list[Callable[[int, Callable], None]], jobs: int) -> Iterator:
    """Run `task(slot, send)` each in a forked process, `jobs` at a time; yields whatever they send."""
    waiting, free, readers = list(tasks), list(range(jobs)), {}
    context = get_context("fork")
    while waiting or readers:
        while waiting and free:
            reader, writer = context.Pipe(duplex=False)
            slot = free.pop()
            process = context.Process(target=_run_task, args=(waiting.pop(0), slot, writer))
            process.start()
            writer.close()
            readers[reader] = (process, slot)
        for reader in connection.wait(list(readers)):
            try:
                yield reader.recv()
            except EOFError:
                process, slot = readers.pop(reader)
                process.join()
                if process.exitcode:
                    log = project.store / f"log-{slot}.txt"
                    raise RuntimeError(f"a session broke off, see {log}:\n{log.read_text()[-2000:]}") from None
                free.append(slot)


def _run_task(task: Callable, slot: int, writer) -> None:
    _end_with_parent()
    task(slot, writer.send)


def _end_with_parent() -> None:
    """A run that is broken off leaves no process behind."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def enter(project: Project, slot: int) -> None:
    """Make the working copy the place from which the library, the tests and the tools are imported."""
    copy = working_copy(project, slot)
    os.chdir(copy)
    roots = {"", str(project.root)}
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in roots)]
    os.environ["PYTHONPATH"] = str(copy)
    for name in [name for name in sys.modules if name.split(".")[0] in ("tools", "tests", project.package)]:
        del sys.modules[name]
    log = os.open(project.store / f"log-{slot}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)


def options(project: Project, slot: int) -> list[str]:
    return [*OPTIONS, f"--basetemp={project.store / f'temp-{slot}'}"]


def in_fork(work: Callable, limit: float) -> tuple[str, str]:
    """Status and failed test of `work(report)`, run in a forked process.

    It ends after `limit` seconds of computing, on a busy machine as on a quiet one, or six times as long of waiting.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _end_with_parent()
        for alarm in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(alarm, signal.SIG_DFL)  # ends even a loop in C
        signal.setitimer(signal.ITIMER_PROF, limit)
        signal.setitimer(signal.ITIMER_REAL, 6 * limit)
        _limit_memory()

        def report(test: str) -> None:
            os.write(writer, test.encode())
            os._exit(1)

        try:
            work(report)
        except BaseException:  # whatever escapes pytest was caused by the mutant
            os._exit(1)
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what its tests left running
    ready, _, _ = select.select([reader], [], [], 0)
    test = os.read(reader, 4096).decode() if ready else ""
    os.close(reader)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF):
        return "timeout", test
    return ("survived" if status == 0 else "killed"), test


def _limit_memory() -> None:
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    most = int(held.split()[1]) * 1024 + GIGABYTES * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
