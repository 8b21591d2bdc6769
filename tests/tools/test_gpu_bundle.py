"""The wheels that a GPU machine needs: everything but torch, in the versions that are tested here."""

import re
from importlib import metadata

from tools import gpu_bundle as tool


def test_everything_but_torch_and_what_only_torch_needs():
    names = tool.needed()
    assert {"monai", "nibabel", "lightning-fabric", "safetensors", "jaxtyping", "scipy", "kiwisolver"} <= set(names)
    assert not {"torch", "simpleitk", "sympy", "jupyterlab", "pytest", "moereg"} & set(names)
    assert names == sorted(set(names))


def test_requirements_are_followed_once(monkeypatch):
    """Through another package, in another spelling, in a circle; not of an extra, not of another system."""
    tree = {
        "moereg": ["torch>=2", "Some_Thing>1; python_version > '3'", "absent", "more; extra == 'test'"],
        "some-thing": ["deep.er", "torch"],
        "deep-er": ["some-thing"],
    }
    monkeypatch.setattr(tool.metadata, "requires", lambda name: tree.get(name))
    monkeypatch.setattr(tool, "_is_installed", lambda name: name != "absent")
    assert tool.needed() == ["deep-er", "some-thing"]


def test_versions_are_those_that_are_installed(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        tool.subprocess, "run", lambda command, check: asked.extend(command) or type("Done", (), {"returncode": 3})
    )
    assert tool.main(["--out", str(tmp_path / "wheels")]) == 3
    assert (tmp_path / "wheels").is_dir()
    assert asked[asked.index("-d") + 1] == str(tmp_path / "wheels")
    assert f"monai=={metadata.version('monai')}" in asked
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+", name) for name in asked[asked.index("-d") + 2 :])
    assert "--no-deps" in asked
