"""The mutation tool on a library of five lines, where every mutant's fate is known by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutants import running
from tools.mutants.covered import Record, digest_of_test, moved_lines
from tools.mutants.sources import mutants

ROOT = Path(__file__).parents[2]
SETTINGS = """
[tool.mutants]
package = "toy"
patience = 1
groups = [{ name = "all", target = 50, paths = ["toy"] }]
[tool.pytest.ini_options]
pythonpath = ["."]
"""
LIBRARY = '''"""Words that are no code."""

from functools import cache

LIMIT = 3


@cache
def clip(value: int, low: int = 0) -> int:
    if value > LIMIT:
        return LIMIT
    return max(value, low)


def wait(n):
    while n > 0:
        n = n - 1
    return n


def never():
    return 1 + 1
'''
TESTS = """
import pytest
from toy import sizes


@pytest.fixture(scope="module")
def waited():
    return sizes.wait(2)


def test_other(waited):
    assert waited is not None


def test_large():
    assert sizes.clip(5) == 3


def test_wait(waited):
    assert waited == 0


def test_earlier():
    waited.done = True


def test_that_fails_alone():
    sizes.clip(9)
    assert waited.done
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    for name, text in {"pyproject.toml": SETTINGS, "toy/sizes.py": LIBRARY, "tests/test_sizes.py": TESTS}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "toy/__init__.py").touch()
    git(root, "init", "-q", "-b", "main")
    (root / ".gitignore").write_text(".mutants/\n__pycache__/\n")
    commit(root)
    return root


def git(root: Path, *command: str) -> None:
    who = ("-c", "user.name=toy", "-c", "user.email=toy@example.org")
    subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "toy")


def run(root: Path, *options: str) -> str:
    command = [sys.executable, "-m", "tools.mutants", "--root", str(root), "--jobs", "1", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fates(toy) -> dict[tuple[str, str], str]:
    """(Line before, line after) -> fate."""
    shown = run(toy, "--all")
    assert "fails without a mutant, does not count: tests/test_sizes.py::test_that_fails_alone" in shown
    return stored(toy)


def stored(toy) -> dict[tuple[str, str], str]:
    known = {e["key"]: e["status"] for e in map(json.loads, (toy / ".mutants/results.jsonl").read_text().splitlines())}
    found = mutants(toy, "toy/sizes.py")
    return {(mutant.before, mutant.after): known.get(mutant.key, "not executed") for mutant in found}


@pytest.mark.parametrize(
    ("before", "after", "fate"),
    [
        ("if value > LIMIT:", "if value <= LIMIT:", None),  # no such operator
        ("if value > LIMIT:", "if value >= LIMIT:", "survived"),  # 3 becomes 3
        ("LIMIT = 3", "LIMIT = 4", "killed"),  # a constant: the module is imported anew
        ("LIMIT = 3", "LIMIT = None", "killed"),
        ("def clip(value: int, low: int = 0) -> int:", "def clip(value: int, low: int = 1) -> int:", "survived"),
        ("return max(value, low)", "return max(value, None)", "not executed"),
        ("return 1 + 1", "return 1 - 1", "not executed"),
        ("n = n - 1", "n = n + 1", "timeout"),
        ("while n > 0:", "while n > 1:", "killed"),  # by the second user of a shared fixture
    ],
)
def test_fate(fates, before, after, fate):
    assert fates.get((before, after)) == fate


def test_words_and_imports_are_left_alone(fates):
    assert not [before for before, _ in fates if "Words" in before or "import" in before]


def test_survivors_are_shown_with_their_place_and_the_file_is_untouched(toy, fates):
    shown = run(toy, "toy/sizes.py", "--list")
    assert "toy/sizes.py:10  [survived]\n    - if value > LIMIT:\n    + if value >= LIMIT:" in shown
    assert (toy / "toy/sizes.py").read_text() == LIBRARY
    count = {fate: list(fates.values()).count(fate) for fate in ("killed", "timeout", "survived")}
    assert f"| {len(fates)} | {count['killed']} | {count['timeout']} | {count['survived']} |" in shown


def test_a_whole_run_is_recorded(toy, fates):
    text = (toy / "tests/mutants.md").read_text()
    assert f"| toy/sizes.py | {len(fates)} |" in text
    assert "## Survivors\n\n### toy/sizes.py" in text
    assert "- 10: ``if value > LIMIT:`` -> ``if value >= LIMIT:``" in text
    assert "- 22: ``return 1 + 1`` -> ``return 1 - 1``" in text.split("## Not executed")[1]


def test_an_accepted_survivor_leaves_the_count_and_a_stale_entry_is_named(toy, fates):
    entry = '[[accepted]]\nmodule = "toy/sizes.py"\nbefore = "{}"\nafter = "{}"\nreason = "3 is 3"\n'
    entries = [("if value > LIMIT:", "if value >= LIMIT:"), ("LIMIT = 3", "LIMIT = 4"), ("gone", "away")]
    path = toy / "tests/mutants_accepted.toml"
    path.write_text("".join(entry.format(*texts) for texts in entries))
    shown = run(toy, "toy/sizes.py", "--list")
    path.unlink()
    assert "if value >= LIMIT:" not in shown
    assert "an entry is killed now: toy/sizes.py: LIMIT = 3 -> LIMIT = 4" in shown
    assert "an entry matches no mutant: toy/sizes.py: gone -> away" in shown


def test_changed_lines_alone_and_only_what_is_new(toy, fates):
    path = toy / "toy/sizes.py"
    path.write_text(LIBRARY.replace("return LIMIT", "return LIMIT + 0"))
    tests = toy / "tests/test_sizes.py"
    tests.write_text(TESTS + "\n\ndef test_never():\n    assert sizes.never() == 2\n")
    commit(toy)
    assert "2 mutants, 2 to run" in run(toy, "--changed")
    shown = run(toy, "--changed")
    assert "2 mutants, 0 to run" in shown
    assert "- return LIMIT + 0\n    + return LIMIT - 0" in shown  # survives
    assert "LIMIT + 1" not in shown  # killed
    run(toy, "toy/sizes.py", "--tests", "tests/test_sizes.py")
    assert stored(toy)["return 1 + 1", "return 1 - 1"] == "killed"


def test_lines_follow_the_text(tmp_path):
    assert moved_lines("a\nb\nc", "new\na\nB\nc") == {1: 2, 2: 3, 3: 4}
    (tmp_path / "m.py").write_text("\na\nb")
    record = Record(lines={"m.py": {"test": [1, 2]}}, sources={"m.py": "a\nb"})
    assert record.follow(tmp_path) == {"m.py"}
    assert record.lines == {"m.py": {"test": [2, 3]}}


def test_a_guard_is_no_choice(tmp_path):
    """`strict=True` says of two lengths what holds anyway: nothing depends on it."""
    (tmp_path / "module.py").write_text("def pairs(a, b):\n    return list(zip(a, b, strict=True))\n")
    after = [mutant.after for mutant in mutants(tmp_path, "module.py")]
    assert "return list(zip(None, b, strict=True))" in after
    assert all("strict=True" in line or "zip" not in line for line in after)


def test_tests_that_killed_last_are_asked_first():
    """Neighbouring mutants mostly fall to the same test; a test that the next mutant does not face is not asked."""
    trial, asked, killers = running._Trial(None, 0, None), [], iter(["c", "b", "", "b"])

    def mutated(tests):
        asked.append(tests)
        killer = next(killers)
        return ("killed", killer) if killer else ("survived", "")

    faced = [list("abcd"), list("abcd"), list("abcd"), list("abd")]
    fates = [trial.fate(tests, mutated, lambda tests: ("survived", "")) for tests in faced]
    assert fates == [("killed", "c"), ("killed", "b"), ("survived", ""), ("killed", "b")]
    assert ["".join(tests) for tests in asked] == ["abcd", "cabd", "bcad", "bad"]


def test_a_kill_rests_on_its_test_and_on_what_all_tests_share(tmp_path):
    path = tmp_path / "test_it.py"
    base = "LIMIT = 3\n\n\ndef helper():\n    return LIMIT\n"
    one = "\n\n@mark\ndef test_one(a):\n    assert helper() == a\n"
    group = "\n\nclass TestGroup:\n    def test_a(self):\n        assert 1\n"

    def digest(text, test):
        path.write_text(text)
        digest_of_test.cache_clear()
        return digest_of_test(path, f"tests/test_it.py::{test}")

    known = digest(base + one, "test_one[3]")
    assert digest(base + "\n\ndef test_other():\n    assert 0\n" + one + group, "test_one[4]") == known
    assert digest(base + one.replace("== a", "<= a"), "test_one[3]") != known
    assert digest(base + one.replace("@mark", "@other"), "test_one[3]") != known
    assert digest(base.replace("3", "4") + one, "test_one[3]") != known
    grouped = digest(base + one + group, "TestGroup::test_a")
    assert digest(base + group, "TestGroup::test_a") == grouped
    assert digest(base + group.replace("assert 1", "assert 2"), "TestGroup::test_a") != grouped
