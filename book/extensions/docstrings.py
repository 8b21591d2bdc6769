"""The library's docstrings are Markdown-like plain text with Google sections; Sphinx reads reStructuredText.

Runs before napoleon. Code in single backticks stays code, blocks that are indented deeper than the text around them
become literal blocks, tables with pipes become tables, and characters that would be markup lose that meaning.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples):\s*$")
BULLET = re.compile(r"\s*(?:[-*+]|\d[.)]) ")  # 2026) in the middle of a sentence is none
RULE = re.compile(r"\|[|\s:-]+")  # the line under a table's head
STRESSED = re.compile(r"(?<![\w*])\*[^\s*](?:[^*]*[^\s*])?\*(?![\w*])")
CODE = re.compile(r"(`+)(.+?)\1")


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", convert, priority=100)  # napoleon has 500
    app.connect("autodoc-process-docstring", add_library, priority=900)  # after napoleon
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


LIBRARY = Path(__file__).with_name("library.json")  # of the build: formula, example, chapters of every name


@cache
def library() -> dict[str, dict]:
    """What the build wrote down of every name, read once; nothing where it wrote nothing."""
    return json.loads(LIBRARY.read_text(encoding="utf-8")) if LIBRARY.exists() else {}


def add_library(app, what, name, obj, options, lines):
    """Below a docstring: its formula, an example, the chapters that build and use it."""
    if what in ("function", "class") and name in library():
        lines += library_lines(library()[name])


def library_lines(entry: dict) -> list[str]:
    """What is known of a name -> reStructuredText."""
    lines = []
    for tex in entry["formulas"]:
        lines += ["", ".. math::", "", f"   {tex}", ""]
    if entry["example"]:
        lines += ["", ".. code-block:: python", ""]
        lines += [f"   {line}" if line else "" for line in entry["example"].rstrip().splitlines()]
    said = []
    for verb, places in (("Built in", entry["built"]), ("Used in", entry["used"])):
        links = ", ".join(f"`{title.replace('`', '')} <{address}>`__" for title, address in places)
        said += [f"{verb} {links}."] if links else []
    return [*lines, "", " ".join(said), ""]


def convert(app, what, name, obj, options, lines):
    lines[:] = to_rst(lines)


def shorten(app, what, name, obj, options, signature, returned):
    """`~package.Name` -> `Name` where Sphinx would not do it, because a default such as `<object>` is no Python."""
    try:
        ast.parse(f"def _{(signature or '()').replace('~', '')}: ...")
    except SyntaxError:
        signature = re.sub(r"~(?:\w+\.)*", "", signature)
    return signature, returned


def to_rst(lines: list[str]) -> list[str]:
    """Docstring lines, already dedented -> reStructuredText with the Google sections left in place."""
    result: list[str] = []
    position, in_section, in_list = 0, False, False
    while position < len(lines):
        line = lines[position]
        indent, blank_before = len(line) - len(line.lstrip()), not result or not result[-1].strip()
        block = [line]
        if not line.strip():
            result.append("")
        elif indent >= 2 and not in_section and (not in_list or (blank_before and indent >= 4)):
            block = take(lines, position, lambda other: not other.strip() or other.startswith("  "))
            result += ["", ".. code-block:: text", "", *block, ""]
        elif line.startswith("|") and position + 1 < len(lines) and RULE.fullmatch(lines[position + 1]):
            block = take(lines, position, lambda other: other.startswith("|"))
            result += table(block)
        else:
            if indent == 0:
                in_section, was_list, in_list = bool(SECTION.match(line)), in_list, bool(BULLET.match(line))
                if was_list != in_list and not blank_before:
                    result.append("")  # a list and its paragraph need an empty line between them
            result.append(text(line))
        position += len(block)
    return result


def take(lines: list[str], start: int, belongs) -> list[str]:
    block = []
    for line in lines[start:]:
        if not belongs(line):
            break
        block.append(line)
    return block


def table(rows: list[str]) -> list[str]:
    cells = [split_row(row) for row in rows if not RULE.fullmatch(row)]
    width = max(map(len, cells))
    result = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in cells:
        for number, cell in enumerate([*row, *[""] * (width - len(row))]):
            result.append(f"   {'* -' if number == 0 else '  -'} {text(cell)}".rstrip())
    return [*result, ""]


def split_row(row: str) -> list[str]:
    """Cells between pipes; a pipe inside backticks is part of the code."""
    hidden = CODE.sub(lambda code: code[0].replace("|", "\0"), row.strip().strip("|"))
    return [cell.strip().replace("\0", "|") for cell in hidden.split("|")]


def text(line: str) -> str:
    """Running text: `code` -> ``code``, stray markup characters escaped, a list's marker kept."""
    bullet = BULLET.match(line)
    position = bullet.end() if bullet else 0
    parts = [line[:position]]
    for code in CODE.finditer(line, position):
        parts += [escape(line[position : code.start()]), f"``{code[2]}``"]
        position = code.end()
        if position < len(line) and line[position].isalnum():
            parts.append("\\ ")  # reStructuredText wants a boundary after code
    return "".join([*parts, escape(line[position:])])


def escape(plain: str) -> str:
    """Without the meaning of stray markup; *a few words* stay stressed."""
    parts, position = [], 0
    for stressed in STRESSED.finditer(plain):
        parts += [_escape(plain[position : stressed.start()]), stressed[0]]
        position = stressed.end()
    return "".join([*parts, _escape(plain[position:])])


def _escape(plain: str) -> str:
    plain = re.sub(r"([*|\\])", r"\\\1", plain)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", plain)
