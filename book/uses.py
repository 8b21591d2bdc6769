"""Where the chapters use the library: for every public function or class the sections that call it, with one call.

    found = uses(notebooks)         qualified name -> [Use, ...] in the order of the chapters
    chapter_names(found, stem)      qualified names that a chapter uses

A notebook has been executed when the site is built, so a call taken from it is an example that ran. Names are resolved
through the chapter's own imports; nothing is imported here.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from book.reading import Section

LONGEST = 3  # lines of a call that is shown
MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@dataclass(frozen=True)
class Use:
    """One section of a chapter that uses a name; `call` is empty where no short statement shows it."""

    stem: str
    section: str
    call: str = ""

    @property
    def address(self) -> str:
        """Of the section, seen from the site's root."""
        anchor = Section(self.section).anchor if self.section else ""
        return f"{self.stem}.html" + (f"#{anchor}" if anchor else "")


def uses(notebooks: Mapping[str, NotebookNode], defined: Mapping[str, Sequence[str]]) -> dict[str, list[Use]]:
    """Uses of every name in `defined` (name -> modules that define it) by chapters (stem -> notebook)."""
    found: dict[str, list[Use]] = defaultdict(list)
    for stem, notebook in notebooks.items():
        known: dict[str, tuple[str, str]] = {}  # local name -> (module it came from, name there; "" for a module)
        section, seen = "", set()
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                section = ([*re.findall(r"^## (.+)$", cell.source, re.MULTILINE)] or [section])[-1].strip()
            if cell.cell_type != "code":
                continue
            try:
                tree = ast.parse(MAGIC.sub("", cell.source))
            except SyntaxError:
                continue
            known |= dict(_imports(tree))
            for statement in tree.body:
                for name in _names(statement, known, defined):
                    if (name, section) not in seen:
                        seen.add((name, section))
                        found[name].append(Use(stem, section, _call(statement, cell.source)))
    return dict(found)


def chapter_names(found: Mapping[str, Sequence[Use]], stem: str) -> list[str]:
    """Qualified names that a chapter uses, in alphabetical order."""
    return sorted(name for name, places in found.items() if any(use.stem == stem for use in places))


def example(places: Sequence[Use]) -> Use | None:
    """The shortest call among those that are shown."""
    return min((use for use in places if use.call), key=lambda use: len(use.call), default=None)


def _imports(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "moereg":
            yield from ((alias.asname or alias.name, (node.module, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.asname, (a.name, "")) for a in node.names if a.asname and a.name.startswith("moereg"))


def _names(statement: ast.stmt, known: Mapping, defined: Mapping) -> list[str]:
    """Qualified names that a statement uses."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return []
    found = []
    homes = {home for places in defined.values() for home in places}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id in known:
            module, name = known[node.id]
            is_module = any(f"{home}.".startswith(f"{module}.{name}.") for home in homes)
            found += [] if is_module else _qualified(name, module, defined)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            module, name = known[node.value.id]
            found += _qualified(node.attr, f"{module}.{name}".rstrip("."), defined)
    return list(dict.fromkeys(found))


def _qualified(name: str, module: str, defined: Mapping) -> list[str]:
    """The definition that `name` of `module` is: there, or in a module below a package that shows it."""
    homes = [home for home in defined.get(name, ()) if home == module or home.startswith(f"{module}.")]
    return [f"{homes[0]}.{name}"] if len(homes) == 1 else []


def _call(statement: ast.stmt, source: str) -> str:
    """The statement as it is written, if it is short."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.With | ast.For | ast.If):
        return ""
    text = ast.get_source_segment(source, statement) or ""
    return text if text.count("\n") < LONGEST else ""
