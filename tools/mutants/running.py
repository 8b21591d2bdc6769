"""Run mutants: one process per mutant, forked from one that has imported everything and collected the tests.

Two ways. A mutant inside a function is put into the collected session: the live functions of its module get the mutated
code objects, decorators and all, in milliseconds. A mutant of a constant, a default or of code that runs on import is
written into the working copy, and the library and the tests are imported anew, which takes seconds.
"""

import gc
import os
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tools.mutants.processes import enter, in_fork, options
from tools.mutants.settings import Project
from tools.mutants.sources import Mutant

Fate = tuple[str, str]  # status, the test that failed
Job = tuple[Mutant, list[str], float]  # mutant, its tests, the seconds they usually take
IMPORTING = "while importing"
ASKED_FIRST = 4


class _Trial:
    """Mutants against their tests; a test that fails without the mutant too does not count.

    Neighbouring mutants mostly fall to the same test, so the tests that killed last are asked first.
    """

    def __init__(self, project: Project, slot: int, send: Callable) -> None:
        self.project, self.slot, self.send = project, slot, send
        self.trusted: set[str] = set()
        self.broken: set[str] = set()
        self.killers: list[str] = []  # the last one first

    def fate(self, tests: list[str], mutated: Callable[[list[str]], Fate], clean: Callable[[list[str]], Fate]) -> Fate:
        """`mutated` and `clean` run tests with and without the mutant. A test is tried clean when it first kills."""
        while True:
            left = self._likeliest_first([test for test in tests if test not in self.broken])
            status, test = mutated(left) if left else ("survived", "")
            if status == "killed" and test:
                self.killers = [test, *(other for other in self.killers if other != test)]
            if status != "killed" or not test or test in self.trusted:
                return status, test
            before = left[: left.index(test) + 1] if test in left else left[:1]
            status, culprit = clean(before)
            if status == "survived":
                self.trusted.add(test)
                return "killed", test
            if culprit not in left:
                raise SystemExit(f"without a mutant: {status} {culprit} {before}")
            self.broken.add(culprit)
            self.send((culprit, "broken", ""))

    def _likeliest_first(self, tests: list[str]) -> list[str]:
        recent = [test for test in self.killers[:ASKED_FIRST] if test in tests]
        return [*recent, *(test for test in tests if test not in recent)]


# ---- inside functions: swap the code ----


def run_swapped(project: Project, jobs: list[Job], slot: int, send: Callable) -> None:
    """Mutants of one module, in one collected session. Those that need an import come back as "import"."""
    enter(project, slot)
    files = sorted({test.split("::")[0] for _, tests, _ in jobs for test in tests})
    swapping = _Swapping(_Trial(project, slot, send), jobs)
    code = pytest.main([*options(project, slot), *files], plugins=[swapping])
    if code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {code}")


class _Swapping:
    def __init__(self, trial: _Trial, jobs: list[Job]) -> None:
        self.trial, self.jobs = trial, jobs

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            raise session.Interrupted("a test file cannot be imported")
        items = {item.nodeid: item for item in session.items}
        source = Path(self.jobs[0][0].module).read_bytes()
        functions = _Functions(self.jobs[0][0].module, source)
        gc.freeze()  # a collection in a forked process would copy every page it looks at
        for mutant, tests, usual in self.jobs:
            swap = functions.swap(mutant.apply(source))
            if swap is None:
                self.trial.send((mutant.key, "import", ""))
                continue
            limit = self.trial.project.patience + 5 * usual
            mutated, clean = (partial(self._attempt, items, change, limit) for change in (swap, {}))
            fate = self.trial.fate([test for test in tests if test in items], mutated, clean)
            self.trial.send((mutant.key, *fate))
        return True

    def _attempt(self, items: dict, swap: dict, limit: float, tests: list[str]) -> Fate:
        return in_fork(lambda report: _run([items[test] for test in tests], report, swap), limit)


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
    trial = _Trial(project, slot, send)
    for mutant, tests, usual in jobs:
        limit = 5 * (project.patience + usual)  # collecting takes its time
        near = [test for test in tests if test.startswith(project.mirrored(mutant.module))]
        far = [test for test in tests if test not in near]
        fate = ("survived", "")
        for part in filter(None, (near, far)):  # the nearest file is often enough, and quicker to collect
            if fate[0] == "survived":
                clean = partial(_fresh, trial, None, limit)
                fate = trial.fate(part, partial(_fresh, trial, mutant, limit), clean)
        send((mutant.key, *fate))


def _fresh(trial: _Trial, mutant: Mutant | None, limit: float, tests: list[str]) -> Fate:
    """Import everything in a forked process, with the mutant in its file, and run the tests."""
    command = [*options(trial.project, trial.slot), *dict.fromkeys(test.split("::")[0] for test in tests)]

    def work(report: Callable) -> None:
        sys.dont_write_bytecode = mutant is not None
        if pytest.main(command, plugins=[_Chosen(tests, report)]) not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            report(IMPORTING)

    if mutant is None:
        return in_fork(work, limit)
    path = Path(mutant.module)
    source, times = path.read_bytes(), path.stat()
    try:
        path.write_bytes(mutant.apply(source))
        os.utime(path, (0, 0))  # no compiled file is as old as that
        return in_fork(work, limit)
    finally:
        path.write_bytes(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


class _Chosen:
    def __init__(self, tests: list[str], report: Callable) -> None:
        self.tests, self.report = tests, report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            self.report(IMPORTING)
        items = {item.nodeid: item for item in session.items}
        if missing := [test for test in self.tests if test not in items]:
            self.report(missing[0])  # its parameters come from the library, and are others now
        _run([items[test] for test in self.tests], self.report, {})
        return True
