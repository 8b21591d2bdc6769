"""`make book`: the site in book/_build/html, from the executed notebooks. Warnings are errors, nothing is executed.

Sources are copied to book/_work first and changed only there: chapters are put in order, an API page is written for
every public module, and the few scripts that pages need are fetched from npm once (pinned by hash) so that a reader's
browser never asks another host. After that first fetch the build needs no network.
"""

import ast
import hashlib
import json
import pkgutil
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
import yaml

from book import chapters as added
from book import (
    command_line,
    comparison,
    decks,
    devices,
    formula_page,
    glossary,
    live,
    made,
    missing,
    pictures,
    previews,
    reading,
    subjects,
    trim,
    uses,
    views,
)
from moereg import cli
from moereg.viz.report import fragment
from tools import claims, node
from tools.notebooks import WIDGET_VIEW, outputs_below, widget_state

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
WORK = BOOK / "_work"
SOURCE = WORK / "source"  # made anew by every build
VENDOR = WORK / "vendor"  # kept: what npm delivered
SITE = BOOK / "_build" / "html"

PAGES = (
    "index.md",
    "explore.md",
    "instructors.md",
    "coming-from.md",
    "conventions.md",
    "notation.md",
    "errors.md",
    "references.md",
    "references.bib",
    "_config.yml",
    "extensions",
    "assets",
)
# Pages of the part "Reference", in this order; the API, references and how the site was made come after them.
REFERENCE = (
    "explore",
    "take-away",
    "instructors",
    "conventions",
    "notation",
    "formulas",
    "glossary",
    "errors",
    "claims",
    "networks",
    "comparison",
    "devices",
    "command-line",
    "coming-from",
    "subjects",
)
# The ladder of chapters: title of a part, numbers of its chapters.
PARTS = {
    "Start": range(0, 1),
    "Registration": range(1, 5),
    "Experts": range(5, 10),
    "Neighbours": range(10, 13),
    "For real": range(13, 100),
}

MOST_USES = 6  # sections that an API page names for one function

OPENING = "00_tour"  # its explorer has a page of its own

# npm package -> {file in it: (name below the vendor folder, SHA-256)}: what draws the formulas.
FROM_NPM = {
    "mathjax@3.2.2": {
        "es5/node-main.js": (
            "mathjax/es5/node-main.js",
            "a3e6f8f69fb7a786f4b4d08f0f17781381996ec2c278a0f406f9e812ffa809b2",
        ),
        "es5/core.js": (
            "mathjax/es5/core.js",
            "44d9c29f77d89537e024d165e2c0d7e981a98d75ed53b6c236fac899ed631abb",
        ),
        "es5/startup.js": (
            "mathjax/es5/startup.js",
            "84f4ec49041b12a6dadc5d1689babc80f417435cfcbd890ec712e374152bbb88",
        ),
        "es5/loader.js": (
            "mathjax/es5/loader.js",
            "a413bc18c77eda7b5d29d44c4d3311de78742cb5c9751b70e29b013eacfbb56f",
        ),
        "es5/adaptors/liteDOM.js": (
            "mathjax/es5/adaptors/liteDOM.js",
            "30e7d3f231e5c86b0c6ecdc283e5b6f2a46d6ddee140745a050bd5ccfe62b3ef",
        ),
        "es5/input/tex-full.js": (
            "mathjax/es5/input/tex-full.js",
            "de76b151355304bde8217d8056264d9c2bec2f47acb7ffd4d142cbe14f5b0035",
        ),
        "es5/output/svg.js": (
            "mathjax/es5/output/svg.js",
            "6fdee599b240851fd27b31017e1a18802d99743ac4fae8204998997176647609",
        ),
        "es5/output/svg/fonts/tex.js": (
            "mathjax/es5/output/svg/fonts/tex.js",
            "6afb8e7f4f7f19255c4b111f4a00c06716b70ea9b977516127c054e7799d2da4",
        ),
    },
}


class BookError(Exception):
    """One sentence that says why there is no book."""


def main() -> None:
    try:
        build()
    except BookError as error:
        sys.exit(f"make book: {error}")


def build() -> None:
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    copy_pages()
    stems = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    printed = decks.write(WORK / "slides", SOURCE / "extra" / "download" / "slides", stems)
    chapters = copy_notebooks(printed)
    write_computed_pages(chapters, printed)
    (SOURCE / "claims.md").write_text(claims.page(claims.load()), encoding="utf-8")
    (SOURCE / "devices.md").write_text(devices.page(), encoding="utf-8")
    (SOURCE / "command-line.md").write_text(command_line.page(cli.parser()), encoding="utf-8")
    (SOURCE / "glossary.md").write_text(glossary.page(glossary.load()), encoding="utf-8")
    (SOURCE / "formulas.md").write_text(formula_page.page(formula_page.load()), encoding="utf-8")
    comparison.write(SOURCE)
    write_opening()
    modules = write_api_pages()
    write_toc(chapters, modules)
    vendor_scripts()
    (SOURCE / "live.html").write_text(live.page_part(VENDOR), encoding="utf-8")
    run_sphinx()
    try:
        trim.trim(SITE, VENDOR / "mathjax")
    except (trim.TrimError, node.NodeMissing) as error:
        raise BookError(str(error)) from error
    pictures.shrink(SITE)
    address = added.site_settings()["address"]
    (SITE / "404.html").write_text(missing.page(address), encoding="utf-8")
    previews.add_previews(SITE, live.picture(), address)
    print(f"make book: {SITE / 'index.html'}")


def copy_pages() -> None:
    for name in PAGES:
        source = BOOK / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, SOURCE / name)
    shutil.copy(ROOT / "data" / "weights" / "README.md", SOURCE / "networks.md")
    shutil.copy(ROOT / "CHANGELOG.md", SOURCE / "changelog.md")


def copy_notebooks(printed: Sequence[str] = ()) -> list[str]:
    """Executed notebooks, beside the pages: pages with widgets find their scripts relative to the site's root."""
    stems, terms, rows = [], glossary.load(), claims.load()
    settings, built = added.site_settings(), subjects.modules_of(subjects.load())
    called = library_uses()
    write_library(called)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        state = widget_state(notebook)
        # Before anything is changed: the instructor's page counts the notebook as it is.
        added.add_head(notebook, path.stem, settings, printed)
        for cell in notebook.cells:
            added.join_streams(cell)
            move_alt_text(cell)
            refuse_kernel_controls(path, cell, state)
            add_stand_ins(cell, state)
            fold_solution(cell)
        views.embed(notebook, state)
        glossary.link_terms(notebook, terms)
        added.add_foot(notebook, path.stem, rows, built.get(path.stem, ()), uses.chapter_names(called, path.stem))
        nbformat.write(notebook, SOURCE / path.name)
        stems.append(path.stem)
    return stems


def refuse_kernel_controls(path: Path, cell: nbformat.NotebookNode, state: dict) -> None:
    """No page shows a control that does nothing: those of ipywidgets need a kernel, and no page has one.

    Raises:
        BookError: the chapter shows one.
    """
    for output in cell.get("outputs", ()):
        if added.needs_kernel(output, state):
            raise BookError(
                f"{path.name} must show controls that live without a kernel (moereg.viz.stills, DragField, Explorer), "
                f"got one of ipywidgets in the cell that begins {cell.source.strip().splitlines()[0]!r}."
            )


def defined_names() -> dict[str, list[str]]:
    """Public functions and classes of the library: name -> modules that define it."""
    found: dict[str, list[str]] = {}
    for module in public_modules():
        for name in described(module):
            found.setdefault(name, []).append(module)
    return found


def described(module: str) -> list[str]:
    """Public functions and classes that a module defines itself and says something about: those of its API page."""
    return [
        name
        for name, node in subjects.definitions(module).items()
        if not name.startswith("_") and ast.get_docstring(node)
    ]


def library_uses() -> dict[str, list[uses.Use]]:
    """Where the chapters use the library, by qualified name."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return uses.uses({path.stem: nbformat.read(path, as_version=4) for path in paths}, defined_names())


def write_library(called: dict[str, list[uses.Use]]) -> None:
    """What the API pages add to every docstring, for the extension that adds it."""
    rows, shown = subjects.load(), subjects.examples()
    formulas = formula_page.formula_of(formula_page.load())
    built = {f"{row['module']}.{name}": row["chapter"] for row in rows for name in row["names"]}
    titles = {p.stem: reading.title(nbformat.read(p, as_version=4)) for p in (ROOT / "notebooks").glob("*.ipynb")}
    library = {}
    for name in {*built, *called, *formulas}:
        places = called.get(name, [])
        example = uses.example(places)
        library[name] = {
            "formulas": [entry["tex"] for entry in formulas.get(name, ())],
            "example": shown.get(name) or (example.call if example else ""),
            "built": [[titles[built[name]], f"../{built[name]}.html"]] if name in built else [],
            "used": [
                [f"{use.stem[:2]} {use.section or titles[use.stem]}", f"../{use.address}"] for use in places[:MOST_USES]
            ],
        }
    (SOURCE / "extensions" / "library.json").write_text(json.dumps(library), encoding="utf-8")


def write_computed_pages(stems: Sequence[str], printed: Sequence[str] = ()) -> None:
    """Pages that hold numbers or lists: minutes, downloads, subjects, how the site was made."""
    notebooks = {stem: nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4) for stem in stems}
    titles = {stem: reading.title(notebook) for stem, notebook in notebooks.items()}
    minutes = [reading.rounded(reading.total(notebook)) for notebook in notebooks.values()]
    fill(
        SOURCE / "index.md",
        chapters=len(stems),
        hours=round(sum(minutes) / 60),
        least=min(minutes),
        most=max(minutes),
    )
    fill(SOURCE / "instructors.md", rule=reading.in_words(), minutes=reading.tables(notebooks))
    settings = added.site_settings()
    added.write_downloads(SOURCE / "extra" / "download", settings)
    (SOURCE / "extra" / "binder").mkdir()
    (SOURCE / "extra" / "binder" / "environment.yml").write_text(added.binder_environment(), encoding="utf-8")
    rows = {
        "take-away": added.take_away_page(stems, titles, settings, printed),
        "subjects": subjects.page(
            subjects.load(), titles, formula_page.formula_of(formula_page.load()), subjects.examples()
        ),
        "made": made.page(FROM_NPM | live.FROM_NPM),
    }
    for name, text in rows.items():
        (SOURCE / f"{name}.md").write_text(text, encoding="utf-8")


def fill(path: Path, **values: object) -> None:
    """Put values in place of {{names}}."""
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        if f"{{{{{name}}}}}" not in text:
            raise BookError(f"{path.name} must hold {{{{{name}}}}}.")
        text = text.replace(f"{{{{{name}}}}}", str(value))
    path.write_text(text, encoding="utf-8")


def move_alt_text(cell: nbformat.NotebookNode) -> None:
    """The site takes a picture's alternative text from the cell; notebooks keep it with the output where they can."""
    for output in cell.get("outputs", ()):
        for kind, settings in output.get("metadata", {}).items():
            if kind.startswith("image/") and "alt" in settings:
                image = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
                image.setdefault("alt", settings["alt"])


def fold_solution(cell: nbformat.NotebookNode) -> None:
    """The site shows an exercise's solution, and what its check says, only to a reader who opens it."""
    tags = cell.metadata.get("tags", [])
    if "solution" in tags:
        cell.metadata["tags"] = [*tags, "hide-cell"]
        cell.metadata.setdefault("mystnb", {})["code_prompt_show"] = "Show the solution"


def add_stand_ins(cell: nbformat.NotebookNode, state: dict) -> None:
    """After every widget, what is there without JavaScript: a picture, what was drawn below its controls, or words."""
    alt = escape(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))
    for output in list(cell.get("outputs", ())):
        if WIDGET_VIEW in output.get("data", {}):
            own = [output.data["image/png"]] if "image/png" in output.data else []
            below = [inner.get("data", {}) for inner in outputs_below(output, state)]
            pictures = own or [data["image/png"] for data in below if "image/png" in data]
            tags = [f'<img src="data:image/png;base64,{picture.strip()}" alt="{alt}">' for picture in pictures]
            if not tags:
                model = state.get(output.data[WIDGET_VIEW]["model_id"], {})
                tags = list(filter(None, [views.in_words(model.get("state", {}))]))
            html = f"<noscript>{''.join(tags)}</noscript>"
            cell.outputs += [nbformat.v4.new_output("display_data", data={"text/html": html})] if tags else []


def write_opening() -> None:
    """The explorer of the first chapter, model and pair inside, for a page of its own."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{OPENING}.ipynb", as_version=4)
    state = widget_state(notebook)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        widget = state.get(output.get("data", {}).get(WIDGET_VIEW, {}).get("model_id"), {})
        if widget.get("state", {}).get("view") == "explorer":
            (packed,) = (buffer["data"] for buffer in widget["buffers"] if buffer["path"] == ["payload", "data"])
            alt = output.metadata["image/png"]["alt"]
            poster = {"src": f"data:image/png;base64,{output.data['image/png'].strip()}", "alt": alt}
            payload = widget["state"]["payload"] | {"data": packed, "poster": poster}
            (SOURCE / "explorer.html").write_text(fragment(payload))
            return
    raise BookError(f"notebooks/{OPENING}.ipynb must show an Explorer, it shows none; execute it with make notebooks.")


def public_modules() -> dict[str, str]:
    """Every module of the library without a leading underscore -> its docstring. Nothing is imported."""
    package = ROOT / "moereg"
    found = {"moereg": package / "__init__.py"}
    for folder in [package, *sorted(path for path in package.rglob("*") if path.is_dir())]:
        prefix = ".".join(folder.relative_to(ROOT).parts)
        for module in pkgutil.iter_modules([str(folder)]):
            place = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
            found[f"{prefix}.{module.name}"] = place
    public = {name: place for name, place in sorted(found.items()) if not any(p[0] == "_" for p in name.split("."))}
    return {name: ast.get_docstring(ast.parse(place.read_text())) or "" for name, place in public.items()}


def write_api_pages() -> list[str]:
    """One page per module, and a page that lists them with their first sentence."""
    folder = SOURCE / "api"
    folder.mkdir()
    modules = public_modules()
    rows = []
    built_in = {
        module: "Built in " + ", ".join(f"[{stem}](../{stem}.ipynb)" for stem in stems) + ".\n\n"
        for module, stems in subjects.chapters_of(subjects.load()).items()
    }
    for name, docstring in modules.items():
        is_package = (ROOT / Path(*name.split("."))).is_dir()
        # A package re-exports what its modules define; it is described where it is defined.
        members = f" {', '.join(described(name))}" if is_package else ""
        options = "" if is_package and not described(name) else f"   :members:{members}\n"
        page = f"# {name}\n\n{built_in.get(name, '')}```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n"
        (folder / f"{name}.md").write_text(page)
        first = " ".join(docstring.split("\n\n")[0].split())
        rows.append(f"[`{name}`](<{name}.md>)\n: {first or '(no description)'}\n")
    text = (BOOK / "api.md").read_text()
    (folder / "index.md").write_text(text + "\n" + "\n".join(rows))
    return list(modules)


def write_toc(chapters: list[str], modules: list[str]) -> None:
    parts = []
    for title, numbers in PARTS.items():
        files = [{"file": stem} for stem in chapters if int(stem[:2]) in numbers]
        if files:
            parts.append({"caption": title, "chapters": files})
    api = {"file": "api/index", "sections": [api_entry(name) for name in modules]}
    files = [
        *({"file": name} for name in REFERENCE),
        api,
        {"file": "references"},
        {"file": "made"},
        {"file": "changelog"},
    ]
    parts.append({"caption": "Reference", "chapters": files})
    toc = {"format": "jb-book", "root": "index", "parts": parts}
    (SOURCE / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))


def api_entry(module: str) -> dict[str, str]:
    return {"file": f"api/{module}", "title": module.removeprefix("moereg.")}


def vendor_scripts() -> None:
    """Fetch what draws formulas and runs the network; put the latter, and the views, where the pages look for them."""
    VENDOR.mkdir(exist_ok=True)
    for package, files in (FROM_NPM | live.FROM_NPM).items():
        if not all(has_hash(VENDOR / name, expected) for name, expected in files.values()):
            try:
                fetch(package, files)
            except BookError as error:
                if package not in live.FROM_NPM:
                    raise
                print(f"make book: {error} The landing page shows its recorded run.")
    live.copy_files(VENDOR)
    target = SOURCE / "extra" / "_static" / "vendor"  # html_extra_path copies it as it is
    shutil.copytree(VENDOR / "live", target / "live")
    views.copy_files(target.parent / "views")


def fetch(package: str, files: dict[str, tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = run_npm(["pack", "--silent", package], folder)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            reason = (done.stderr.strip() or "no archive came").splitlines()[-1]
            raise BookError(f"npm could not deliver {package} ({reason}); the first build needs the network.")
        with tarfile.open(archives[0]) as archive:
            for member, (name, expected) in files.items():
                content = archive.extractfile(f"package/{member}").read()
                found = hashlib.sha256(content).hexdigest()
                if found != expected:
                    raise BookError(f"{member} of {package} has the SHA-256 {found}, expected {expected}.")
                (VENDOR / name).parent.mkdir(parents=True, exist_ok=True)
                (VENDOR / name).write_bytes(content)


def run_npm(arguments: list[str], folder: str) -> subprocess.CompletedProcess:
    try:
        return node.run("npm", arguments, folder)
    except node.NodeMissing as error:
        raise BookError(str(error)) from error


def has_hash(path: Path, expected: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == expected


# Added to what Jupyter Book makes of _config.yml. Its cells that run on a server and its comments need other hosts.
CONFIGURATION = """
import sys
sys.path.insert(0, "extensions")
extensions = [name for name in extensions if name not in ("sphinx_thebe", "sphinx_comments")]
"""


def run_sphinx() -> None:
    shutil.rmtree(SITE.parent, ignore_errors=True)
    scripts = Path(sys.executable).parent
    quiet = {"cwd": SOURCE, "stdin": subprocess.DEVNULL}
    subprocess.run([scripts / "jupyter-book", "config", "sphinx", "."], **quiet, capture_output=True, check=True)
    with (SOURCE / "conf.py").open("a") as file:
        file.write(CONFIGURATION)
    done = subprocess.run(
        [scripts / "sphinx-build", "-W", "--keep-going", "-q", "-d", WORK / "doctrees", "-E", ".", SITE], **quiet
    )
    if done.returncode:
        raise BookError("the site was not built; warnings are errors, see above.")


if __name__ == "__main__":
    main()
