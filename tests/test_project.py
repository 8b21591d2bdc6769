"""The project's own promises: one set of versions everywhere, commands that exist, pages whose code runs."""

import doctest
import os
import re
import subprocess
import tomllib
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import moereg
from moereg.models import registry
from tools import layers

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def constraints() -> dict[str, Version]:
    """Package -> the version that is tested."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


# ---- one set of versions ----


def test_every_dependency_is_constrained_to_a_version_within_its_range():
    tested = constraints()
    for requirement in map(Requirement, chain(PROJECT["dependencies"], *EXTRAS.values())):
        version = tested.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing in constraints.txt"
        assert version in requirement.specifier, (
            f"constraints.txt has {requirement.name} {version}, outside {requirement}"
        )


def test_constraints_name_exact_plain_versions():
    tested = constraints()
    assert len(tested) > 100
    assert all(version.local is None for version in tested.values()), (
        "a local version such as +cpu exists on one index only"
    )


def test_environment_yml_installs_the_same_project_under_the_same_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    python = next(entry.removeprefix("python=") for entry in conda if entry.startswith("python="))
    assert Version(python) in Requirement(f"python{PROJECT['requires-python']}").specifier
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    options = dict(line.split(maxsplit=1) for line in pip)
    assert options.keys() == {"--constraint", "--editable"}, "versions stand in constraints.txt and nowhere else"
    assert options["--constraint"] == "constraints.txt"
    project = re.fullmatch(r"\.\[(.*)\]", options["--editable"])
    assert set(project[1].split(",")) == set(EXTRAS)


def test_make_installs_every_extra_for_its_tests():
    assert set(re.search(r"^ALL := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()) == set(EXTRAS)


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert moereg.__version__ == PROJECT["version"] == citation["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert citation["license"] == PROJECT["license"]


def test_every_file_of_the_library_is_in_the_wheel():
    """Whatever lies beside the modules must match a pattern of package-data, or an installed explorer has no script."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = pyproject["tool"]["setuptools"]["package-data"]
    tracked = subprocess.run(["git", "ls-files", "moereg"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in map(Path, tracked.splitlines()):
        home = next(folder for folder in path.parents if (ROOT / folder / "__init__.py").exists())
        wanted = patterns.get(".".join(home.parts), ())
        assert path.suffix == ".py" or any(path.relative_to(home).match(pattern) for pattern in wanted), path


def test_no_registry_is_named():
    """pip, npm and conda are asked through whatever registry the machine is set up for."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "environment.yml", ".ci/run", "tools/venv.sh"):
        assert not re.search(r"index-url|://|--registry|find-links", (ROOT / name).read_text()), name


# ---- commands and pages ----


def test_readme_and_help_name_only_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for page in (shown, (ROOT / "README.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page, re.MULTILINE))
        assert named
        assert named <= targets
    assert {"demo", "test", "lab", "book", "bench", "lint"} <= targets


def test_continuous_integration_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("\nmake test")
    assert "set -euo pipefail" in script.read_text()


@pytest.mark.parametrize("script", [".ci/run", "tools/venv.sh"])
def test_shell_scripts_parse(script):
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_code_on_a_page_gives_what_the_page_says(page):
    # A page may add a model to the table of models; the next test has it as it was.
    before = dict(registry.MODELS)
    failed, tried = doctest.testfile(str(ROOT / page), module_relative=False)
    for name in registry.MODELS.keys() - before.keys():
        del registry.MODELS[name]
    assert failed == 0
    assert tried >= 4


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "book/conventions.md", "CHANGELOG.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named += re.findall(r"`((?:moereg|tests|book|tools|data|notebooks)/[\w./]*)`", text)
    folder = (ROOT / page).parent
    missing = [name for name in named if not (folder / name).exists() and not (ROOT / name).exists()]
    assert [name for name in missing if not re.search("_build|_work|NN_", name)] == []


def test_hooks_run_tools_of_the_environment_and_download_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    entries = [hook for repository in hooks["repos"] for hook in repository["hooks"]]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in entries)


# ---- set-up, tried on a copy with a python and a pip that only write down what they were asked ----

FAKE_PYTHON = """#!/usr/bin/env bash
# Pretends to be python: makes a "virtual environment" with itself in it, and logs what pip is asked.
case "$*" in
    "-c import sys"*) exit ${FAKE_OLD:-0} ;;
    "-c import ensurepip"*) exit ${FAKE_BARE:-0} ;;
    "--version") echo "Python 3.11.0" ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "VIRTUAL_ENV=$PWD/$3" > "$3/bin/activate" ;;
    "-m pip "*) echo "$*" >> "$FAKE_LOG"; exit ${FAKE_PIP:-0} ;;
    *) exit 9 ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """`setup("notebooks", FAKE_OLD="1")` -> exit code, what it said, what pip was asked in this call."""
    clone = tmp_path / "a clone"
    (clone / "tools").mkdir(parents=True)
    for name in ("tools/venv.sh", "pyproject.toml", "constraints.txt"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    (clone / "tools" / "venv.sh").chmod(0o755)
    python = tmp_path / "python3.11"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    log = tmp_path / "log"

    def run(*extras, folder=clone, **fake):
        log.write_text("")
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "FAKE_LOG": str(log), **fake}
        done = subprocess.run(["tools/venv.sh", *extras], cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr, log.read_text().splitlines()

    run.clone = clone
    return run


def test_setup_installs_torch_first_and_then_costs_nothing(setup):
    code, _, asked = setup()
    assert code == 0
    assert [line.split()[-1] for line in asked] == ["torch", "."]
    assert all("--constraint constraints.txt" in line for line in asked)
    assert setup()[::2] == (0, [])
    assert setup("notebooks", "test")[2][-1].endswith("--editable .[notebooks,test]")
    assert setup("notebooks")[::2] == (0, [])
    assert setup()[::2] == (0, [])


def test_setup_repairs_what_was_interrupted(setup):
    code, _, _ = setup(FAKE_PIP="1")
    assert code != 0
    (setup.clone / ".venv" / "half-installed").touch()
    code, said, asked = setup()
    assert (code, len(asked)) == (0, 2)
    assert "is removed" in said
    assert not (setup.clone / ".venv" / "half-installed").exists()


def test_setup_notices_new_constraints_a_broken_python_and_a_moved_clone(setup, tmp_path):
    setup()
    with (setup.clone / "constraints.txt").open("a") as file:
        file.write("# newer\n")
    assert len(setup()[2]) == 2
    (setup.clone / ".venv" / "bin" / "python").unlink()
    assert len(setup()[2]) == 2
    moved = tmp_path / "elsewhere"
    setup.clone.rename(moved)
    code, said, asked = setup(folder=moved)
    assert (code, len(asked)) == (0, 2)
    assert "is removed" in said


def test_setup_says_in_one_sentence_what_is_missing(setup):
    code, said, asked = setup(FAKE_OLD="1")
    assert (code, asked) == (1, [])
    assert "Python 3.11 or newer is needed" in said
    code, said, asked = setup(FAKE_BARE="1")
    assert (code, asked) == (1, [])
    assert "ensurepip module is missing" in said
    assert "apt-get install python3-venv" in said
    assert not (setup.clone / ".venv").exists()


# ---- the layers of `make test` ----


def junit(path, *, tests, failures=0, errors=0, skipped=0):
    path.write_text(
        f'<testsuites><testsuite name="pytest" tests="{tests}" failures="{failures}" errors="{errors}" '
        f'skipped="{skipped}"/></testsuites>'
    )
    return path


def test_layers_add_up_to_one_closing_line(tmp_path):
    total = layers.count(junit(tmp_path / "a.xml", tests=16, failures=3, skipped=1))
    total += layers.count(junit(tmp_path / "b.xml", tests=2, errors=2))
    total += layers.count(junit(tmp_path / "c.xml", tests=7))
    assert layers.closing_line(total) == "19 passed, 3 failed, 2 error, 1 skipped"
    assert layers.closing_line(layers.count(junit(tmp_path / "d.xml", tests=4))) == "4 passed, 0 failed"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): pass\ndef test_b(): assert False\n", {"passed": 1, "failed": 1}),
        ("import no_such_module_anywhere\n", {"error": 1}),
        ("raise SystemExit(3)\n", {"error": 1}),
        ("import os\nos._exit(3)\n", {"error": 1}),  # dies without a report
        ("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n", {"skipped": 1}),
        ("", {}),
    ],
)
def test_a_layer_is_counted_from_its_report(source, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second instead of three
    file = tmp_path / "test_it.py"
    file.write_text(source)
    pytest_alone = [*layers.PYTHON, "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", str(file)]
    assert +layers.run(pytest_alone) == Counter(expected)


@pytest.mark.parametrize(("code", "expected"), [(0, {"passed": 1}), (1, {"failed": 1})])
def test_a_tool_without_tests_counts_as_one(code, expected):
    assert +layers.run(["bash", "-c", f"exit {code}"]) == Counter(expected)
