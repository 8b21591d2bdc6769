"""The views' JavaScript: bundles in step with their sources, modules in layers, arithmetic by hand-worked numbers."""

import json
import re
import shutil

import pytest

from tools import bundle, node

MODULES = sorted((bundle.SOURCE / "src").rglob("*.mjs"))
# Imports go downwards only, in this order. What stands in src itself is the top.
LAYERS = ("base", "data", "parts", "panels", "dragfield", "live", "stills")


def run_node(program: str, *arguments: str):
    try:
        return node.run(program, list(arguments), bundle.SOURCE)
    except node.NodeMissing as error:
        pytest.skip(f"the views' JavaScript is tested with Node.js: {error}")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of bundles and sources that a test may change."""
    shutil.copytree(bundle.SOURCE, tmp_path / "js", ignore=shutil.ignore_patterns("node_modules"))
    for name in bundle.NAMES:
        shutil.copy(bundle.VIZ / f"{name}.mjs", tmp_path)
    monkeypatch.setattr(bundle, "VIZ", tmp_path)
    monkeypatch.setattr(bundle, "SOURCE", tmp_path / "js")
    return tmp_path


# ---- in step ----


@pytest.mark.parametrize("name", bundle.NAMES)
def test_a_bundle_is_in_step_with_its_sources(name):
    assert bundle.complaint(name) == ""


@pytest.mark.parametrize("changed", ["src/base/numbers.mjs", "package-lock.json", "build.mjs", "src/new.mjs"])
def test_a_changed_source_is_noticed(copied, changed, capsys):
    assert bundle.main(["--check"]) == 0
    with (copied / "js" / changed).open("a") as file:
        file.write(" ")
    assert "explorer.mjs was built from other sources" in bundle.complaint("explorer")
    assert bundle.main(["--check"]) == 1
    assert capsys.readouterr().out.count("run make bundle") == len(bundle.NAMES)


def test_a_bundle_changed_by_hand_is_noticed(copied):
    path = copied / "dragfield.mjs"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n", encoding="utf-8")
    assert "dragfield.mjs was changed by hand" in bundle.complaint("dragfield")
    path.write_text(text.split("\n", 1)[1], encoding="utf-8")
    assert "does not begin with the line" in bundle.complaint("dragfield")


@pytest.mark.browser
def test_building_again_gives_the_same_bytes(copied):
    run_node("npm", "--version")
    try:
        bundle.install()
    except bundle.BundleError as error:
        pytest.skip(f"the bundles are built again where npm can fetch esbuild: {error}")
    for name in bundle.NAMES:
        assert bundle.build(name) == (bundle.VIZ / f"{name}.mjs").read_text(encoding="utf-8")


# ---- what a page may carry ----


@pytest.mark.parametrize("name", bundle.NAMES)
def test_a_bundle_stands_alone_and_writes_no_markup(name):
    source = (bundle.VIZ / f"{name}.mjs").read_text(encoding="utf-8")
    assert "</script" not in source.lower()
    assert "innerHTML" not in source  # not even the view library's own
    assert not re.search(r"\bimport\b\s*[({\"'*\w]", source.split("*/", 1)[1])
    assert "Permission is hereby granted" in source  # preact's licence travels along
    assert len(source) < 81_000


def test_sources_ask_for_no_markup():
    for path in MODULES:
        assert "nnerHTML" not in path.read_text(encoding="utf-8"), path.name


# ---- modules ----


def test_modules_are_small():
    assert len(MODULES) > 20
    assert {path.name: n for path in MODULES if (n := path.read_text(encoding="utf-8").count("\n")) > 300} == {}


def test_imports_go_downwards():
    found = set()
    for path in MODULES:
        layer = path.parent.name
        for target in re.findall(r'from "(\..*?)"', path.read_text(encoding="utf-8")):
            imported = (path.parent / target).resolve()
            assert imported in MODULES, f"{path.name} imports {target}, which is not there"
            found.add((layer, imported.parent.name))
    ranks = {layer: rank for rank, layer in enumerate((*LAYERS, "src"))}
    assert {(a, b) for a, b in found if ranks[a] < ranks[b]} == set()
    assert ("panels", "dragfield") not in found
    assert not {(a, b) for a, b in found if a == "dragfield"} - {
        ("dragfield", x) for x in ("base", "data", "dragfield")
    }


def test_arithmetic_needs_no_package():
    """`data` runs in bare Node.js: that is how its tests stay without npm."""
    for path in MODULES:
        if path.parent.name == "data":
            imported = re.findall(r'from "(.*?)"', path.read_text(encoding="utf-8"))
            assert "../base/view.mjs" not in imported, path.name
            assert all(name.startswith(".") for name in imported), path.name


def test_packages_are_pinned_and_no_registry_is_named():
    manifest = json.loads((bundle.SOURCE / "package.json").read_text())
    lock = json.loads((bundle.SOURCE / "package-lock.json").read_text())["packages"]
    for name, version in (manifest["dependencies"] | manifest["devDependencies"]).items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert lock[f"node_modules/{name}"]["version"] == version
    for name, package in lock.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name


# ---- arithmetic ----


def test_arithmetic_of_the_views():
    """js/test: hand-worked numbers, run by Node.js."""
    done = run_node("node", "--test-reporter=tap", "test/all.mjs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"^# pass (\d+)$", done.stdout, re.M)[1]) > 80
