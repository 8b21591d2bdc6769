"""The site over HTTP, as a reader gets it, and the names of its pages: what the tests of pages share."""

import functools
import http.server
import threading

import pytest

from book import build

NOTEBOOKS = sorted(path.stem for path in (build.ROOT / "notebooks").glob("*.ipynb"))
REFERENCE = [*build.REFERENCE, "references", "made", "changelog"]
PAGES = ["index", *REFERENCE, "search", "api/index", "api/moereg.nn.routing", *NOTEBOOKS]


@pytest.fixture(scope="session")
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
