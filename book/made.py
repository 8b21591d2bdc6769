"""How this site was made: versions, machine, run times. Computed by the build and read from records, nothing typed."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch", "numpy", "scipy", "nibabel", "SimpleITK", "monai", "matplotlib", "jupyterlab", "ipywidgets", "anywidget",
    "jupyter-book", "sphinx", "myst-nb", "onnx",
)  # fmt: skip

HEAD = """# How this site was made

Notebooks are executed first, under the small budget and on two CPU cores; the build then takes their outputs as they
are and computes nothing of its own but this page, the estimates of minutes and the recorded run on the
[first page](index.md). Nothing is asked of another host: formulas, views of widgets and the runtime of the network in
the page lie beside the pages.
"""


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Package -> its version here, or "not installed"."""
    found = {"Python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """What the site was built on, in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["", *(f"| {' | '.join(map(str, row))} |" for row in (head, rule, *rows)), ""]


def page(vendored: dict[str, dict]) -> str:
    """The page. `vendored` names the packages of npm whose files lie beside the pages."""
    parts = [HEAD, "## Versions", "", f"Built on {machine()}."]
    parts += _table(("package", "version"), list(versions().items()))
    parts += ["From npm, each file held to its hash: " + ", ".join(f"`{name}`" for name in vendored) + ".", ""]
    parts += [
        "## What a chapter costs",
        "",
        "Declared by each notebook; a test fails where it is exceeded by a quarter, in",
    ]
    parts += ["proportion to the speed of the machine it runs on."]
    rows = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        budget = nbformat.read(path, as_version=4).metadata.get("moereg", {}).get("budget", {})
        rows.append((f"[{path.stem}]({path.name})", *(budget.get(key, "") for key in BUDGET)))
    parts += _table(("chapter", "seconds, CPU", "seconds, one GPU", "peak memory, MB"), rows)
    parts += ["## Networks and experiments", "", "What training took, from the cards of the networks."]
    parts += _table(("network", "steps", "seconds", "device", "threads", "torch"), list(_trainings()))
    return "\n".join(parts)


BUDGET = ("smoke_seconds", "full_seconds", "peak_memory_mb")


def _trainings():
    for path in sorted((ROOT / "data" / "weights").glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        made = card["made"]
        row = (round(made["seconds"]), made["device"], made.get("threads", ""), made["torch"])
        yield (f"[{path.stem}](networks.md)", card["training"]["steps"], *row)
