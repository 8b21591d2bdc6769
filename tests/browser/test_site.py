"""The site in a browser: nothing is asked of another host, nothing fails to load, it fits a phone."""

import functools
import http.server
import json
import re
import threading

import nbformat
import pytest

from book import build
from tools.notebooks import WIDGET_VIEW

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(path.stem for path in (build.ROOT / "notebooks").glob("*.ipynb"))
REFERENCE = [*build.REFERENCE, "references", "made", "changelog"]
PAGES = ["index", *REFERENCE, "search", "api/index", "api/moereg.nn.routing", *NOTEBOOKS]


@pytest.fixture(scope="module")
def address():
    """The site over HTTP, as a reader gets it; built if it is not there or lacks a page."""
    if not all((build.SITE / f"{name}.html").exists() for name in PAGES):
        build.build()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=build.SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_completely_and_fits(name, width, address, open_page):
    # open_page itself fails the test for a request to another host, a file that is not found, or an error on the page.
    page = open_page(f"{address}/{name}.html", ready=None, viewport={"width": width, "height": 900})
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_formulas_are_set(address, open_page):
    page = open_page(f"{address}/conventions.html", ready="mjx-container svg")
    assert page.locator("mjx-container").count() >= 3


def outputs_of(name: str) -> list[dict]:
    """Data of every output of an executed notebook."""
    notebook = nbformat.read(build.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"] for output in outputs if "data" in output]


def widgets_of(name: str) -> int:
    return sum(WIDGET_VIEW in data for data in outputs_of(name))


def pictures_of(name: str) -> int:
    return sum("image/png" in data and WIDGET_VIEW not in data for data in outputs_of(name))


def drawn_by_widgets(name: str) -> int:
    """Pictures that widgets brought along, or drew below their controls when the notebook was executed."""
    notebook = nbformat.read(build.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    state = next(iter(notebook.metadata.get("widgets", {}).values()), {}).get("state", {})
    count = 0
    for data in outputs_of(name):
        if WIDGET_VIEW in data:
            below, todo = set(), [data[WIDGET_VIEW]["model_id"]]
            while todo:
                below.add(todo[-1])
                text = json.dumps(state.get(todo.pop(), {}))
                todo += set(re.findall(r"IPY_MODEL_(\w+)", text)) - below
            drawn = sum(json.dumps(state.get(model, {})).count('"image/png"') for model in below)
            count += 1 if "image/png" in data else drawn
    return count


def test_the_course_has_widgets_and_pictures():
    """Else the tests below would compare nothing with nothing."""
    assert sum(map(widgets_of, NOTEBOOKS)) > 10
    assert sum(map(drawn_by_widgets, NOTEBOOKS)) > 8
    assert all(widgets_of(name) + pictures_of(name) > 0 for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_widget_and_every_picture_of_a_notebook_is_shown(name, address, open_page):
    page = open_page(f"{address}/{name}.html", ready=None)
    of_python = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    assert page.locator(".moereg-view").count() + of_python == widgets_of(name)
    # A view that failed to load leaves its place empty; the manager of Python's widgets puts each beside its script.
    page.wait_for_function(
        "[...document.querySelectorAll('.moereg-view [data-mount]')].every((place) => place.childElementCount)"
    )
    if of_python:
        mounted = "document.querySelectorAll('.cell_output .widget-subarea > *, .cell_output .lm-Widget').length"
        page.wait_for_function(f"{mounted} >= {of_python}")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.cell_output img')]"
        ".filter((i) => !i.closest('.lm-Widget, noscript, .moereg-view'))"
        ".map((i) => [i.naturalWidth, i.getBoundingClientRect().height])"
    )
    assert len(sizes) == pictures_of(name)
    assert all(width > 50 and height > 20 for width, height in sizes), sizes


def test_text_and_pictures_are_there_without_javascript(address, open_page):
    page = open_page(f"{address}/index.html", ready=None, java_script_enabled=False)
    assert "Deformable image registration" in page.inner_text("article")
    assert page.locator("[data-moereg-live] img").bounding_box()["height"] > 100
    page.goto(f"{address}/conventions.html")
    assert page.locator("mjx-container svg").count() >= 3


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_widget_has_a_picture_without_javascript(name, address, open_page):
    page = open_page(f"{address}/{name}.html", ready=None, java_script_enabled=False)
    for folded in page.locator("details:has(noscript) > summary").all():  # an answer that is to be guessed first
        folded.click()
    heights = [picture.bounding_box()["height"] for picture in page.locator("noscript img").all()]
    assert len(heights) == drawn_by_widgets(name)
    assert all(height > 50 for height in heights), heights
