"""Which test executes which line, how long it takes, and so: which tests a mutant has to face.

The record is kept between runs. A test file is run again when its content changed; for a module that changed, lines
move with the text around them, and its mirrored test file is run again.
"""

import ast
import difflib
import hashlib
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import coverage
import pytest

from tools.mutants.settings import Project
from tools.mutants.sources import Mutant

MOST_TESTS, MOST_SECONDS = 60, 20.0  # one mutant faces no more than this
ON_IMPORT = ""  # the context of lines that run while tests are collected


def digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest() if path.exists() else ""


@cache
def digest_of_test(path: Path, test: str) -> str:
    """Of what a test rests on in its file: its own text, and all that is no test. Other tests may come and go."""
    source = path.read_text()
    lines, name = source.splitlines(), test.split("::")[1].split("[")[0]
    kept = set(range(1, len(lines) + 1))
    for node in ast.parse(source).body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and node.name.lower().startswith("test")
            and node.name != name
        ):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            kept -= set(range(first, (node.end_lineno or first) + 1))
    text = "\n".join(line for number, line in enumerate(lines, 1) if number in kept and line.strip())
    return hashlib.sha1(text.encode()).hexdigest()


@dataclass
class Record:
    """Coverage of one or more runs. A context is a test's id, a shared fixture's key, or `ON_IMPORT`."""

    files: dict[str, str] = field(default_factory=dict)  # test file -> digest
    tests: dict[str, dict] = field(default_factory=dict)  # id -> file, seconds, fixtures
    fixtures: dict[str, float] = field(default_factory=dict)  # key -> seconds
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # module -> context -> lines
    sources: dict[str, str] = field(default_factory=dict)  # module -> text to which the lines belong
    failed: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Record":
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.__dict__))

    def follow(self, root: Path) -> set[str]:
        """Bring the lines of modules that changed up to date. Returns those modules."""
        changed = set()
        for module, old in self.sources.items():
            new = (root / module).read_text() if (root / module).exists() else ""
            if new != old:
                moved = moved_lines(old, new)
                self.lines[module] = {
                    context: [moved[line] for line in lines if line in moved]
                    for context, lines in self.lines.get(module, {}).items()
                }
                changed.add(module)
                self.sources[module] = new
        return changed

    def forget(self, files: set[str]) -> None:
        gone = {test for test, about in self.tests.items() if about["file"] in files}
        self.tests = {test: about for test, about in self.tests.items() if test not in gone}
        self.failed = [test for test in self.failed if test not in gone]
        self.files = {file: content for file, content in self.files.items() if file not in files}
        for contexts in self.lines.values():
            for test in gone & contexts.keys():
                del contexts[test]

    def add(self, new: "Record") -> None:
        self.forget(set(new.files))
        self.files |= new.files
        self.tests |= new.tests
        self.fixtures |= new.fixtures
        self.sources |= new.sources
        self.failed += new.failed
        for module, contexts in new.lines.items():
            known = self.lines.setdefault(module, {})
            known[ON_IMPORT] = sorted({*known.get(ON_IMPORT, ()), *contexts.pop(ON_IMPORT, ())})
            known |= contexts

    def executing(self, module: str) -> dict[int, set[str]]:
        """Line -> tests that execute it, through a shared fixture too."""
        users = defaultdict(set)
        for test, about in self.tests.items():
            for fixture in about["fixtures"]:
                users[fixture].add(test)
        found = defaultdict(set)
        for context, lines in self.lines.get(module, {}).items():
            tests = {context} & self.tests.keys() or users[context]
            for line in lines:
                found[line] |= tests
        return found


def moved_lines(old: str, new: str) -> dict[int, int]:
    """Old line number -> new one, for lines that stayed; a changed line keeps its place in the changed block."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    moved = {}
    for _, a0, a1, b0, b1 in matcher.get_opcodes():
        moved |= {a + 1: b + 1 for a, b in zip(range(a0, a1), range(b0, b1), strict=False)}
    return moved


def select(project: Project, record: Record, mutants: list[Mutant], only: set[str] | None) -> dict[str, list[str]]:
    """Mutant's key -> tests, nearest first, then quickest; an empty list where no test executes the line."""
    chosen = {}
    for module in {mutant.module for mutant in mutants}:
        executing, near = record.executing(module), project.mirrored(module)
        usable = {
            t for t, about in record.tests.items() if t not in record.failed and (not only or about["file"] in only)
        }
        on_import = set(record.lines.get(module, {}).get(ON_IMPORT, ()))
        anywhere = set().union(*executing.values())
        for mutant in (m for m in mutants if m.module == module):
            tests = set().union(*(executing[line] for line in mutant.related))
            if not tests and (mutant.on_import or on_import.intersection(mutant.related)):
                tests = anywhere
            in_order = sorted(
                tests & usable, key=lambda t: (record.tests[t]["file"] != near, record.tests[t]["seconds"], t)
            )
            chosen[mutant.key] = _capped(record, in_order)
    return chosen


def seconds(record: Record, tests: list[str]) -> float:
    """How long these tests take together, shared fixtures counted once."""
    fixtures = {fixture for test in tests for fixture in record.tests[test]["fixtures"]}
    return sum(record.tests[test]["seconds"] for test in tests) + sum(record.fixtures.get(f, 0) for f in fixtures)


def _capped(record: Record, tests: list[str]) -> list[str]:
    kept = tests[:1]
    for test in tests[1:MOST_TESTS]:
        if seconds(record, [*kept, test]) <= MOST_SECONDS:
            kept.append(test)
    return kept


class Recorder:
    """pytest plugin: a coverage context for every test and every shared fixture."""

    def __init__(self, tracer: coverage.Coverage) -> None:
        self.tracer, self.record = tracer, Record()
        self.context, self.shared = ON_IMPORT, 0.0

    def _enter(self, context: str) -> None:
        self.context = context
        self.tracer.switch_context(context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        definitions = [d for group in item._fixtureinfo.name2fixturedefs.values() for d in group]
        fixtures = sorted({_key(d) for d in definitions if d.scope != "function"})
        self._enter(item.nodeid)
        self.shared, began = 0.0, time.perf_counter()
        result = yield
        spent = time.perf_counter() - began - self.shared
        file = item.nodeid.split("::")[0]
        self.record.tests[item.nodeid] = {"file": file, "seconds": round(spent, 4), "fixtures": fixtures}
        self._enter(ON_IMPORT)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "function":
            return (yield)
        outer, began = self.context, time.perf_counter()
        self._enter(_key(fixturedef))
        try:
            return (yield)
        finally:
            self._enter(outer)
            spent = time.perf_counter() - began
            self.shared += spent
            self.record.fixtures[_key(fixturedef)] = round(spent, 4)

    def pytest_runtest_logreport(self, report):
        if report.outcome != "passed":  # a test that fails or is skipped says nothing about a mutant
            self.record.failed.append(report.nodeid)


def _key(definition) -> str:
    return f"{definition.baseid}::{definition.argname} (fixture)"


def record_here(project: Project, files: list[str], options: list[str]) -> Record:
    """Run test files under coverage, in this process and working folder."""
    tracer = coverage.Coverage(data_file=None, config_file=False, source=[project.package])
    recorder = Recorder(tracer)
    tracer.start()
    pytest.main([*options, *files], plugins=[recorder])
    tracer.stop()
    data, record, here = tracer.get_data(), recorder.record, Path.cwd()
    for name in data.measured_files():
        path = Path(name)
        module = path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name
        contexts = defaultdict(list)
        for line, names in sorted(data.contexts_by_lineno(name).items()):
            for context in names:
                contexts[context].append(line)
        record.lines[module], record.sources[module] = dict(contexts), path.read_text()
    record.files = {file: digest(here / file) for file in files}
    return record
