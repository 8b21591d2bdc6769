"""Run mutants: one process per mutant, forked from one that has imported everything and collected the tests.

Two ways. A mutant inside a function is put into the collected session: the live functions of its module get the mutated
code objects, decorators and all, in milliseconds. A mutant of a constant, a default or of code that runs on import is
written into the working copy, and the library and the tests are imported anew, which takes seconds.
"""

import contextlib
import ctypes
import gc
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from multiprocessing import connection, get_context
from pathlib import Path

import pytest

from tools.mutants.settings import OPTIONS, Project
from tools.mutants.sources import Mutant

GIGABYTES = 4  # that a mutant may take on top of what its parent holds
Result = tuple[str, str, str]  # mutant's key, status, the test that failed
Job = tuple[Mutant, list[str], float]  # mutant, its tests, the seconds they usually take


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


# ---- inside functions: swap the code ----


def run_swapped(project: Project, jobs: list[Job], slot: int, send: Callable) -> None:
    """Mutants of one module, in one collected session. Those that need an import come back as "import"."""
    enter(project, slot)
    files = sorted({test.split("::")[0] for _, tests, _ in jobs for test in tests})
    code = pytest.main([*options(project, slot), *files], plugins=[_Swapping(project, jobs, send)])
    if code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {code}")


class _Swapping:
    def __init__(self, project: Project, jobs: list[Job], send: Callable) -> None:
        self.project, self.jobs, self.send = project, jobs, send

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        items = {item.nodeid: item for item in session.items}
        source = Path(self.jobs[0][0].module).read_bytes()
        functions = _Functions(self.jobs[0][0].module, source)
        gc.freeze()  # a collection in a forked process would copy every page it looks at
        broken = self._broken(items)
        for mutant, tests, usual in self.jobs:
            swap = functions.swap(mutant.apply(source))
            if swap is None:
                self.send((mutant.key, "import", ""))
                continue
            own = [items[test] for test in tests if test in items and test not in broken]
            self.send(
                (mutant.key, *_in_fork(lambda report, swap=swap, own=own: _run(own, report, swap), 10 + 5 * usual))
            )
        return True

    def _broken(self, items: dict) -> set[str]:
        """Tests that fail without any mutant once they run in this order. They do not count."""
        faced = dict.fromkeys(test for _, tests, _ in self.jobs for test in tests if test in items)
        broken = set()
        while True:
            left = [items[test] for test in faced if test not in broken]
            status, test = _in_fork(lambda report, left=left: _run(left, report, {}), 600)
            if status == "survived" or not test:
                return broken
            broken.add(test)
            self.send((test, "broken", ""))


def _run(items: list, report: Callable, swap: dict) -> None:
    for function, code in swap.items():
        function.__code__ = code
    items[:1] and items[0].config.pluginmanager.register(_FirstFailure(report))
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)


class _FirstFailure:
    def __init__(self, report: Callable) -> None:
        self.report = report

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.report(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        """An ordinary failure is known before pytest has written it up."""
        if call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
            return
        if item.get_closest_marker("xfail") is None:
            self.report(item.nodeid)


class _Functions:
    """The live functions of a module, by their place in its code."""

    def __init__(self, module: str, source: bytes) -> None:
        name = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.loader, self.path = sys.modules[name].__spec__.loader, sys.modules[name].__file__
        self.codes = self._codes(source)
        places = {(code.co_qualname, code.co_firstlineno): key for key, code in self.codes.items()}
        self.live = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == self.path:
                key = places.get((thing.__code__.co_qualname, thing.__code__.co_firstlineno))
                if key is not None:
                    self.live[key].append(thing)

    def swap(self, mutated: bytes) -> dict | None:
        """Function -> its mutated code. None where that cannot be done: other closures, or no live function changes."""
        found, codes = {}, self._codes(mutated)
        for key, functions in self.live.items():
            for function in functions:
                if key not in codes or codes[key].co_freevars != function.__code__.co_freevars:
                    return None
                if codes[key] != self.codes[key]:
                    found[function] = codes[key]
        return found or None

    def _codes(self, source: bytes) -> dict:
        """(Qualified name, how many of that name came before) -> code."""
        found, count = {}, defaultdict(int)

        def walk(code):
            for inner in code.co_consts:
                if isinstance(inner, types.CodeType):
                    found[inner.co_qualname, count[inner.co_qualname]] = inner
                    count[inner.co_qualname] += 1
                    walk(inner)

        walk(self.loader.source_to_code(source, self.path))
        return found


# ---- on import: a fresh session for every mutant ----


def run_imported(project: Project, jobs: list[Job], slot: int, send: Callable) -> None:
    """Mutants of one module, each with the library imported anew."""
    enter(project, slot)
    for mutant, tests, usual in jobs:
        path = Path(mutant.module)
        source, times = path.read_bytes(), path.stat()
        path.write_bytes(mutant.apply(source))
        os.utime(path, (0, 0))  # no compiled file is as old as that
        try:
            near = [test for test in tests if test.startswith(project.mirrored(mutant.module))]
            far = [test for test in tests if test not in near]
            for part in filter(None, (near, far)):
                command = [*options(project, slot), *dict.fromkeys(test.split("::")[0] for test in part)]
                limit = 5 * (project.patience + usual)  # collecting takes its time
                outcome = _in_fork(lambda report, c=command, p=part: _fresh(c, p, report), limit)
                if outcome[0] != "survived":
                    break
            send((mutant.key, *outcome))
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _fresh(command: list[str], tests: list[str], report: Callable) -> None:
    sys.dont_write_bytecode = True
    if pytest.main(command, plugins=[_Chosen(tests, report)]) not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        report("while importing")


class _Chosen:
    def __init__(self, tests: list[str], report: Callable) -> None:
        self.tests, self.report = tests, report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            self.report("while importing")
        items = {item.nodeid: item for item in session.items}
        if missing := [test for test in self.tests if test not in items]:
            self.report(missing[0])  # its parameters come from the library, and are others now
        _run([items[test] for test in self.tests], self.report, {})
        return True


# ---- one process ----


def _in_fork(work: Callable, limit: float) -> tuple[str, str]:
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
