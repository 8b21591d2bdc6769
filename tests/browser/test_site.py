"""The site in a browser: nothing is asked of another host, nothing fails to load, it fits a phone."""

import functools
import http.server
import threading

import pytest

from book import build

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(path.stem for path in (build.ROOT / "notebooks").glob("*.ipynb"))
PAGES = ["index", "conventions", "references", "search", "api/index", "api/moereg.nn.routing", *NOTEBOOKS]


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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_widgets_of_a_notebook_show_their_saved_state(name, address, open_page):
    page = open_page(f"{address}/{name}.html", ready=None)
    wanted = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    if wanted:
        page.wait_for_selector(".jupyter-widgets, .lm-Widget", state="attached")


def test_text_and_pictures_are_there_without_javascript(address, open_page):
    page = open_page(f"{address}/index.html", ready=None, java_script_enabled=False)
    assert "Deformable image registration" in page.inner_text("article")
    for name in NOTEBOOKS:
        page = open_page(f"{address}/{name}.html", ready=None, java_script_enabled=False)
        for picture in page.locator("noscript img").all():
            assert picture.bounding_box()["height"] > 50
