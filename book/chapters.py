"""What the site adds to a chapter: how to take it away, the claims it tries, the library's modules it builds.

Everything is added by the build, so that a chapter's source says nothing of the site.
"""

import json
import os
import re
import shutil
import tomllib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import nbformat
import yaml
from nbformat import NotebookNode

from book import reading
from tools.notebooks import NOTEBOOKS, WIDGET_VIEW
from tools.student import student

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
CONTROLS = re.compile(r"(Slider|Dropdown|RadioButtons|Select|Checkbox|ToggleButtons?|Button|Text|Combobox)Model$")


def site_settings() -> dict:
    """book/site.yml, with the repository that the environment names, if it does."""
    settings = yaml.safe_load((BOOK / "site.yml").read_text(encoding="utf-8"))
    return settings | {"repository": os.environ.get("MOEREG_REPOSITORY") or settings["repository"]}


# ---- controls that need Python ----


def needs_kernel(output: dict, state: dict) -> bool:
    """Whether a saved output shows a control of ipywidgets; views with a module of their own need none."""
    waiting = [output.get("data", {}).get(WIDGET_VIEW, {}).get("model_id")]
    while waiting:
        model = state.get(waiting.pop(), {})
        if model.get("model_module") == "@jupyter-widgets/controls" and CONTROLS.search(model.get("model_name", "")):
            return True
        children = model.get("state", {}).get("children", ())
        waiting += [child.removeprefix("IPY_MODEL_") for child in children]
    return False


# ---- taking a chapter away ----


def hosted(stem: str, settings: dict) -> dict[str, str]:
    """Where a chapter can be run without installing anything: name -> address. Empty without a repository."""
    repository = settings["repository"].rstrip("/")
    owner_and_name = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", repository)
    if not repository:
        return {}
    notebook, pages, places = f"download/{stem}.ipynb", settings["pages_branch"], {}
    if owner_and_name:
        path = owner_and_name[1]
        places["Colab"] = f"https://colab.research.google.com/github/{path}/blob/{pages}/{notebook}"
        places["Binder"] = f"https://mybinder.org/v2/gh/{path}/{pages}?urlpath={quote(f'lab/tree/{notebook}')}"
    if settings["jupyterhub"]:
        folder = repository.rsplit("/", 1)[1]
        inside = quote(f"lab/tree/{folder}/{notebook}", safe="")
        hub = settings["jupyterhub"].rstrip("/")
        where = f"repo={quote(repository, safe='')}&branch={quote(pages, safe='')}&urlpath={inside}"
        places["JupyterHub"] = f"{hub}/hub/user-redirect/git-pull?{where}"
    return places


def binder_environment() -> str:
    """What Binder installs for the built site: the library's own needs, so that a notebook's first cell is quick.

    The library itself comes with that cell, from the repository, as everywhere else.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    versions = {_plain(line.split("==")[0]): line for line in tested if "==" in line}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    packages = sorted({versions.get(_plain(need), need) for need in wanted if not need.startswith("moereg")})
    pip = "".join(f"      - {package}\n" for package in packages)
    head = "name: moereg\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - git\n  - pip\n  - pip:\n"
    return head + pip


def _plain(requirement: str) -> str:
    """Name of a package without version and extras, as an index of packages compares names."""
    return re.split(r"[\s<>=!~\[;]", requirement.strip())[0].lower().replace("_", "-").replace(".", "-")


def setup_cell(settings: dict) -> NotebookNode:
    """First cell of a notebook that is taken away: fetches the library where it is missing, and is otherwise silent."""
    repository = settings["repository"].rstrip("/")
    how = (
        [
            f"    !git clone --quiet --depth 1 {repository} moereg-course",
            '    %pip install --quiet --editable "moereg-course[notebooks]"',
            '    sys.path.insert(0, "moereg-course")',
        ]
        if repository
        else ['    raise ModuleNotFoundError("moereg is missing: open this notebook in an environment that has it")']
    )
    lines = ["# Fetches the library where it is missing.", "import importlib.util", "import sys", ""]
    source = "\n".join([*lines, 'if importlib.util.find_spec("moereg") is None:', *how])
    return nbformat.v4.new_code_cell(source, id="fetch-the-library")


def write_downloads(folder: Path, settings: dict) -> list[str]:
    """Notebook, script and edition without solutions of every chapter, into `folder`; the stems."""
    (folder / "student").mkdir(parents=True)
    stems = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)  # a kernel makes them anew; they are most of the file
        without = student(path.with_suffix(".py"))
        for edition, target in ((notebook, folder / path.name), (without, folder / "student" / path.name)):
            edition.cells.insert(0, setup_cell(settings))
            nbformat.write(edition, target)
        shutil.copy(path.with_suffix(".py"), folder)
        stems.append(path.stem)
    return stems


def download_links(stem: str, settings: dict, decks: Sequence[str] = ()) -> str:
    """Links of one chapter, as HTML; `decks` are the chapters that have slides."""
    links = [
        f'<a href="download/{stem}.ipynb" download>notebook</a>',
        f'<a href="download/{stem}.py" download>script</a>',
        f'<a href="download/student/{stem}.ipynb" download>without solutions</a>',
        *([f'<a href="download/slides/{stem}.pdf" download>slides (PDF)</a>'] if stem in decks else []),
        *(f'<a href="{escape(address)}">run in {name}</a>' for name, address in hosted(stem, settings).items()),
    ]
    return " · ".join(links)


# ---- what stands in a chapter's page ----


def join_streams(cell: NotebookNode) -> None:
    """What a cell printed in one go is one output: a kernel cuts it wherever its buffer was sent, within lines too."""
    joined: list[NotebookNode] = []
    for output in cell.get("outputs", ()):
        last = joined[-1] if joined else None
        if output["output_type"] == "stream" and last and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            joined.append(output)
    if "outputs" in cell:
        cell.outputs = [one for one in joined if one["output_type"] != "stream" or one["text"].strip()]


def add_head(notebook: NotebookNode, stem: str, settings: dict, decks: Sequence[str] = ()) -> None:
    """Below the title: how long it takes, and how to take it away."""
    how_long = f"{reading.how_long(notebook).capitalize()}."
    line = f'<p class="take-away">{how_long} Take it away: {download_links(stem, settings, decks)}</p>'
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            heading, _, rest = cell.source.partition("\n")
            cell.source = f"{heading}\n\n{line}\n{rest}"
            return


def add_foot(
    notebook: NotebookNode, stem: str, claims: Sequence[dict], modules: Sequence[str], names: Sequence[str] = ()
) -> None:
    """At the end: rows of the ledger that stand on this chapter, the modules that it builds, the names that it uses."""
    parts = []
    rows = [row for row in claims if stem in (row.get("chapter"), row["evidence"].get("cell"))]
    if rows:
        parts += ["## Claims of this chapter", "", "From the [ledger of claims](claims.md):", ""]
        parts += [
            f'- <a href="claims.html#claim-{row["id"]}">{escape(row["statement"])}</a> *{row["status"]}*'
            for row in rows
        ]
        parts.append("")
    if modules or names:
        parts += ["## In the library", ""]
    if modules:
        parts += ["Built here: " + " · ".join(f"[`{name}`](api/{name}.md)" for name in modules), ""]
    if names:
        links = (
            f'<a href="api/{name.rsplit(".", 1)[0]}.html#{name}"><code>{name.rsplit(".", 1)[1]}</code></a>'
            for name in names
        )
        parts += ["Used here: " + " · ".join(links), ""]
    if parts:
        notebook.cells.append(nbformat.v4.new_markdown_cell("\n".join(parts)))


def take_away_page(stems: Sequence[str], titles: dict[str, str], settings: dict, decks: Sequence[str] = ()) -> str:
    """The page of all downloads."""
    rows = [f"| [{titles[stem]}]({stem}.ipynb) | {download_links(stem, settings, decks)} |" for stem in stems]
    text = (BOOK / "take-away.md").read_text(encoding="utf-8")
    return text + "\n".join(["", "| chapter | take it away |", "| --- | --- |", *rows, ""])


def describe(notebook: NotebookNode) -> str:
    """The first sentence of prose of a chapter, for search engines and previews of links."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for block in re.split(r"\n\s*\n", cell.source):
                plain = " ".join(re.sub(r"[*`$\\]|\[([^\]]*)\]\([^)]*\)|<[^>]+>", r"\1", block).split())
                if len(plain) > 80 and not re.match(r"#|[*-] |\||You will", block.lstrip()):
                    return plain[:200].rsplit(" ", 1)[0] + (" …" if len(plain) > 200 else "")
    return json.dumps(reading.title(notebook))
