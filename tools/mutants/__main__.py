"""`python -m tools.mutants moereg/fields.py`: which changes of the library does no test notice?"""

import argparse
import contextlib
import hashlib
import importlib
import os
import random
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tools.mutants import covered, processes, report, running
from tools.mutants.covered import Record
from tools.mutants.report import Results, Verdict
from tools.mutants.settings import Project
from tools.mutants.sources import Mutant, mutants

BATCH = 150  # mutants in one collected session


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", help="modules or folders of the library")
    parser.add_argument("--all", action="store_true", help=f"the whole library; writes {report.REPORT}")
    parser.add_argument("--changed", nargs="?", const="", metavar="BASE", help="lines changed since BASE or main")
    parser.add_argument("--tests", nargs="+", default=[], metavar="FILE", help="face only the tests of these files")
    parser.add_argument("--refresh", action="store_true", help="run every test file under coverage again")
    parser.add_argument("--fresh", action="store_true", help="run again what is known from earlier runs")
    parser.add_argument("--list", action="store_true", help="show what is known, run nothing")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants, drawn with seed 0")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--root", type=Path, default=Path.cwd())
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    project, began = Project.read(options.root), time.perf_counter()
    chosen = wanted(project, options)
    if not chosen:
        print("no mutants here")
        return 0
    results = Results(project.store / "results.jsonl")
    notes = []
    if options.list:
        unknown = {"status": "not run", "test": ""}
        fates = [results.known.get(mutant.key, unknown) for mutant in chosen]
        verdicts = [Verdict(m, f["status"], f["test"]) for m, f in zip(chosen, fates, strict=True)]
    else:
        preload(project)
        record = up_to_date(project, options, sorted({mutant.module for mutant in chosen}))
        verdicts = judge(project, options, chosen, record, results, notes)
    stale = report.accept(project.root, verdicts)
    show(project, verdicts, [*stale, *notes])
    minutes = (time.perf_counter() - began) / 60
    print(f"{len(verdicts)} mutants in {minutes:.1f} minutes")
    if options.all and not options.list:
        print(f"written: {report.write(project, verdicts, minutes, [*stale, *notes])}")
    missed = [n for n, (target, own) in report.by_group(project, verdicts).items() if report.rate(own) < target]
    return 1 if missed else 0


# ---- which mutants ----


def wanted(project: Project, options: argparse.Namespace) -> list[Mutant]:
    lines = None
    if options.changed is not None:
        lines = changed_lines(project, options.changed)
        modules = [module for module in project.modules() if module in lines]
    elif options.paths or options.all:
        modules = project.modules(options.paths)
    else:
        raise SystemExit("name modules, or --changed, or --all")
    found = [mutant for module in modules for mutant in mutants(project.root, module)]
    if lines is not None:
        found = [mutant for mutant in found if mutant.line in lines[mutant.module]]
    if options.sample and options.sample < len(found):
        drawn = set(random.Random(0).sample(range(len(found)), options.sample))
        found = [mutant for n, mutant in enumerate(found) if n in drawn]
    return found


def changed_lines(project: Project, base: str) -> dict[str, set[int]]:
    """Module -> lines that differ from `base`: by default where the branch left main, on main the last commit."""
    git = partial(_git, project.root)
    if not base:
        base = git("merge-base", "main", "HEAD").strip()
        base = "HEAD~1" if base == git("rev-parse", "HEAD").strip() else base
    found, module = {}, ""
    for line in git("diff", "-U0", base, "--", project.package).splitlines():
        if line.startswith("+++ "):
            module = line.removeprefix("+++ b/")
        elif hunk := re.match(r"@@ \S+ \+(\d+)(?:,(\d+))? @@", line):
            start, count = int(hunk[1]), int(hunk[2] or 1)
            found.setdefault(module, set()).update(range(start, start + count))
    return found


def _git(root: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=True).stdout


# ---- coverage ----


def preload(project: Project) -> None:
    """Import once what takes seconds, so that a forked process finds it there. Nothing of the library itself."""
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for name in project.preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def up_to_date(project: Project, options: argparse.Namespace, modules: list[str]) -> Record:
    """The coverage record, after running the test files that it does not know in their present form."""
    path = project.store / "coverage.json"
    record = Record.load(path)
    changed = record.follow(project.root)
    files = project_tests(project, options.tests or ["tests"])
    again = {project.mirrored(module) for module in changed & set(modules)} & set(files)
    stale = [
        file
        for file in files
        if options.refresh or file in again or record.files.get(file) != covered.digest(project.root / file)
    ]
    if stale:
        print(f"coverage of {len(stale)} test files", flush=True)
        shares = [stale[n :: options.jobs] for n in range(options.jobs)]
        tasks = [partial(_record, project, share) for share in shares if share]
        for new in processes.pool(project, tasks, options.jobs):
            record.add(Record(**new))
    record.forget({file for file in record.files if not (project.root / file).exists()})
    record.save(path)
    print(f"{len(record.tests)} tests are known; {len(record.failed)} fail or are skipped here, those do not count")
    return record


def project_tests(project: Project, paths: list[str]) -> list[str]:
    places = [project.root / path for path in paths]
    files = {file for place in places for file in (place.rglob("test_*.py") if place.is_dir() else [place])}
    return sorted(file.relative_to(project.root).as_posix() for file in files)


def _record(project: Project, files: list[str], slot: int, send) -> None:
    processes.enter(project, slot)
    send(vars(covered.record_here(project, files, processes.options(project, slot))))


# ---- run ----


def judge(
    project: Project,
    options: argparse.Namespace,
    chosen: list[Mutant],
    record: Record,
    results: Results,
    notes: list[str],
) -> list[Verdict]:
    """The fate of every mutant, from earlier runs where their tests are the same, else by running it."""
    only = set(project_tests(project, options.tests)) if options.tests else None
    tests = covered.select(project, record, chosen, only)
    fates = {mutant.key: ("not executed", "") for mutant in chosen}
    open_ = []
    for mutant in chosen:
        known = None if options.fresh else results.known.get(mutant.key)
        if known and tests[mutant.key] and known["evidence"] == evidence(project, record, known, tests[mutant.key]):
            fates[mutant.key] = (known["status"], known["test"])
        elif tests[mutant.key]:
            open_.append(mutant)
    most = f"at most {covered.MOST_TESTS} tests or {covered.MOST_SECONDS:.0f} seconds of tests each"
    print(f"{len(chosen)} mutants, {len(open_)} to run, {most}", flush=True)
    ran = run_all(project, open_, tests, record, options.jobs, notes)
    for done, (key, status, test) in enumerate(ran, 1):
        fates[key] = (status, test)
        results.keep(key, status, test, evidence(project, record, {"status": status, "test": test}, tests[key]))
        if done % 100 == 0:
            print(f"  {done} of {len(open_)}", flush=True)
    return [Verdict(mutant, *fates[mutant.key]) for mutant in chosen]


def evidence(project: Project, record: Record, known: dict, tests: list[str]) -> str:
    """A kill rests on the test that failed, a survivor on the files of all the tests it faced."""
    if known["status"] in report.DEAD and known["test"] in record.tests:
        return covered.digest_of_test(project.root / record.tests[known["test"]]["file"], known["test"])
    files = sorted({record.tests[test]["file"] for test in tests})
    return hashlib.sha1(repr((tests, [record.files[file] for file in files])).encode()).hexdigest()


def run_all(project: Project, open_: list[Mutant], tests: dict, record: Record, jobs: int, notes: list[str]):
    """(key, status, test) of every mutant: first those that can be swapped, then those that need an import."""
    executed_on_import = {module: set(contexts.get(covered.ON_IMPORT, ())) for module, contexts in record.lines.items()}
    later = [m for m in open_ if m.on_import or executed_on_import[m.module].intersection(m.related)]
    waiting = {m.key for m in later}
    by_key = {mutant.key: mutant for mutant in open_}

    def tasks(of: list[Mutant], run) -> list:
        modules = sorted({mutant.module for mutant in of})
        batches = []
        for module in modules:
            own = [(m, tests[m.key], covered.seconds(record, tests[m.key])) for m in of if m.module == module]
            batches += [own[n : n + BATCH] for n in range(0, len(own), BATCH)]
        batches.sort(key=lambda batch: -sum(1 + usual for _, _, usual in batch))
        return [partial(run, project, batch) for batch in batches]

    for run, of in ((running.run_swapped, [m for m in open_ if m.key not in waiting]), (running.run_imported, later)):
        for key, status, test in processes.pool(project, tasks(of, run), jobs):
            if status == "broken":
                notes.append(f"fails without a mutant, does not count: {key}")
            elif status == "import":
                later.append(by_key[key])
            else:
                yield key, status, test


def show(project: Project, verdicts: list[Verdict], notes: list[str]) -> None:
    for verdict in verdicts:
        if verdict.status not in (*report.DEAD, "accepted"):
            print(verdict.line())
    print("\n".join(["", *report.tables(project, verdicts), "", *notes]))


if __name__ == "__main__":
    sys.exit(main())
