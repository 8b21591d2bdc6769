"""The page of formulas: each under its name, where the search finds it, with its function and its chapter.

formulas = load()
page(formulas)                  text of formulas.md
formula_of(formulas)            function or class -> its formulas
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

FORMULAS = Path(__file__).resolve().parent / "formulas.yaml"
HEAD = """# Formulas by name

Every formula of the course with the function that computes it and the chapter that builds it. Symbols are those of the
[notation card](notation.md).
"""


def load(path: Path = FORMULAS) -> list[dict]:
    """The formulas, as the file lists them."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def formula_of(formulas: Sequence[dict]) -> dict[str, list[dict]]:
    """Name of a function or class, methods counted to their class -> its formulas."""
    found: dict[str, list[dict]] = {}
    for entry in formulas:
        parts = entry["of"].split(".")
        name = ".".join(parts[:-1] if parts[-2][0].isupper() else parts)
        found.setdefault(name, []).append(entry)
    return found


def page(formulas: Sequence[dict]) -> str:
    """The page, a section per formula. Other names are entries of the index: the search knows them too."""
    parts = [HEAD]
    for entry in formulas:
        also = entry.get("also", ())
        parts += [f"## {entry['name']}", ""]
        parts += [index(also), ""] if also else []
        parts += ["$$", entry["tex"], "$$", "", entry["is"]]
        parts += [f"Also looked for as: {', '.join(also)}."] if also else []
        parts += [f"{_function(entry['of'])}, built in [this chapter]({entry['chapter']}.ipynb).", ""]
    return "\n".join(parts)


def index(names: Sequence[str]) -> str:
    """Entries of the site's index, which the search looks through, at this place of a page."""
    return "\n\n".join(f"```{{index}} single: {name}\n```" for name in names)


def _function(qualified: str) -> str:
    parts = qualified.split(".")
    module = ".".join(parts[:-2] if parts[-2][0].isupper() else parts[:-1])
    return f'<a href="api/{module}.html#{qualified}"><code>{qualified.removeprefix(f"{module}.")}</code></a>'
