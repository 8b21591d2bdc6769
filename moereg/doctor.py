"""What is installed, what is missing, and how to mend it."""

import shutil
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement

PURPOSE = {
    "notebooks": "the course in JupyterLab",
    "test": "the test suite",
    "book": "the site",
}


def packages() -> list[tuple[str, str, str | None, bool]]:
    """(group, requirement, installed version or None, whether it fits) of everything the package may need."""
    rows = []
    for text in requires("moereg") or []:
        requirement = Requirement(text)
        group = "core"
        if requirement.marker is not None:
            group = next((extra for extra in PURPOSE if requirement.marker.evaluate({"extra": extra})), None)
        if group is None:
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = None
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
        rows.append((group, f"{requirement.name}{requirement.specifier}", found, fits))
    return rows


def report() -> str:
    """The findings as lines of text."""
    lines, rows = [], packages()
    for group in dict.fromkeys(row[0] for row in rows):
        wrong = [(text, found) for name, text, found, fits in rows if name == group and not fits]
        purpose = "the library" if group == "core" else PURPOSE[group]
        target = "moereg" if group == "core" else f"'moereg[{group}]'"
        lines.append(f"{'ok     ' if not wrong else 'missing'}  {group:10} {purpose}")
        lines += [
            f"           {text}: {'not installed' if found is None else f'{found} is installed'}"
            for text, found in wrong
        ]
        lines += [f"           mend it with: pip install {target}"] if wrong else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    lines.append(_found("GPU", gpu, "training runs on the CPU with smaller budgets"))
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    lines.append(_found("browser", browser, "browser tests are skipped; install chromium"))
    return "\n".join(lines)


def _found(what: str, found: str | None, otherwise: str) -> str:
    return f"{'ok     ' if found else 'none   '}  {what:10} {found or otherwise}"
