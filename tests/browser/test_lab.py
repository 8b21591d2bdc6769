"""The explorer in a running JupyterLab: clicks reach Python, Python moves the view, controls run the network again."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CELL = """
from tests.viz.conftest import SHAPES, small_model
from moereg.data import phantoms
from moereg.viz.explorer import Explorer, RouterSteps
model, pair = small_model(3), phantoms.make("abdomen", SHAPES[3], 1)
explorer = Explorer(model, pair)
explorer
"""
STEPS = "steps = RouterSteps(model, pair, layer='decoder.0.shmoe', voxel=(6, 9, 5))\nsteps"
LAYER_0 = "decoder.0.shmoe"


class Lab:
    """A JupyterLab server in a folder of its own, and a second client to the kernel that the page uses."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.runtime = folder, folder / "runtime"
        home = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("RUNTIME", "CONFIG")}
        environment = {**os.environ, **home, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        options = [
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            "--allow-root",
        ]
        open_doors = ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"]
        # No news from jupyter.org, and no look at PyPI for extensions.
        quiet = ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        self.log = (folder / "lab.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options, *open_doors, *quiet],
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.client = None

    def wait(self) -> None:
        for _ in range(300):
            try:
                self.get("api/status")
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "lab.log").read_text()[-2000:]
                time.sleep(0.2)
        raise AssertionError("JupyterLab did not answer")

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return json.load(answer)

    def python(self, expression: str):
        """Evaluate in the page's kernel, JSON back."""
        if self.client is None:
            from jupyter_client import BlockingKernelClient

            kernel = self.get("api/kernels")[0]["id"]
            self.client = BlockingKernelClient(connection_file=str(self.runtime / f"kernel-{kernel}.json"))
            self.client.load_connection_file()
            self.client.start_channels()
            self.client.wait_for_ready(timeout=60)
        code = f"import json as _json\n_answer = _json.dumps({expression})"
        reply = self.client.execute_interactive(
            code, user_expressions={"answer": "_answer"}, timeout=60, output_hook=lambda _: None
        )["content"]
        assert reply["status"] == "ok", reply
        text = reply["user_expressions"]["answer"]["data"]["text/plain"]
        return json.loads(eval(text))

    def run(self, statement: str) -> None:
        self.python(f"[exec({statement!r}, globals()), None][1]")

    def until(self, expression: str, expected) -> None:
        """Wait until Python says so."""
        for _ in range(100):
            value = self.python(expression)
            if value == expected:
                return
            time.sleep(0.1)
        raise AssertionError(f"{expression} is {value}, not {expected}")

    def stop(self) -> None:
        if self.client:
            self.client.stop_channels()
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    pytest.importorskip("jupyterlab", reason="this test needs JupyterLab: pip install jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip()) for code in (CELL, STEPS)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "explore.ipynb")
    server = Lab(folder)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def page(lab, open_page):
    """The notebook, freshly opened and run. Lab itself logs errors that are none of ours, so only requests count."""
    lab.client = None
    page = open_page(f"http://127.0.0.1:{lab.port}/lab/tree/explore.ipynb?reset", ready=None, console=False)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # "Run" does nothing before the kernel is there
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".moe-columns").wait_for(timeout=90_000)
    page.locator(".moe-walk").wait_for(timeout=60_000)
    return page


def gates(page) -> list[float]:
    return [float(c.get_attribute("data-number")) for c in page.locator(".moe-voxel td[data-value=gate]").all()]


def true_gates(lab, layer: str, direction: int, place: tuple[int, ...], **change) -> list[float]:
    lab.run(
        "import torch\nfrom moereg.nn.observe import find_routers, rerouted\n"
        "m, f = pair.moving[None], pair.fixed[None]\nrouters = find_routers(model)\n"
        f"with torch.no_grad(), rerouted(routers, **{change!r}):\n    routing = model(m, f).routing"
    )
    return lab.python(f"routing[{layer!r}].gates[(0, {direction}, slice(None), *{place})].tolist()")


def test_view_and_python_share_what_is_looked_at(lab, page):
    # A click in the view sets traits.
    page.locator("[data-load='decoder.1.shmoe/x']").click()
    lab.until("[explorer.layer, explorer.direction]", ["decoder.1.shmoe", "x"])
    page.get_by_role("group", name="Expert").get_by_role("radio", name="5³").check()
    lab.until("[explorer.expert, explorer.show]", ["5³", "gate"])
    page.locator("[data-plane=map]").focus()
    page.keyboard.press("ArrowDown")
    lab.until(
        "list(explorer.voxel)",
        page.evaluate("document.querySelector('.moe-voxel').dataset.voxel.split(',').map(Number)"),
    )
    # Python moves the view.
    lab.run("explorer.voxel = (8, 10, 6); explorer.layer = 'decoder.0.shmoe'; explorer.direction = 'y'")
    page.locator(".moe-voxel[data-voxel='8,10,6']").wait_for()
    page.locator(f"[data-load='{LAYER_0}/y'][aria-pressed=true]").wait_for()
    assert gates(page) == pytest.approx(true_gates(lab, LAYER_0, 1, (4, 5, 3)), abs=0.005)


def test_a_control_runs_the_network_again(lab, page):
    lab.run("explorer.voxel = (8, 10, 6); explorer.layer = 'decoder.0.shmoe'; explorer.direction = 'z'")
    page.locator(".moe-voxel[data-voxel='8,10,6']").wait_for()
    panel = page.locator(".moe-again")
    panel.wait_for()  # it appears because a Python answered
    panel.get_by_role("checkbox", name="3³").uncheck()
    page.locator(".moe-voxel tr[data-expert='3³'] td", has_text="out").wait_for()
    assert lab.python("explorer.without") == {LAYER_0: ["3³"]}
    expected = true_gates(lab, LAYER_0, 0, (4, 5, 3), without={LAYER_0: (1,)})
    assert gates(page) == pytest.approx(expected, abs=0.005)
    panel.get_by_label("Experts per voxel, k").fill("1")
    page.get_by_role("columnheader", name="Top‑1").wait_for()
    assert sorted(gates(page)) == pytest.approx([0, 0, 0, 1], abs=0.005)
    panel.get_by_role("button", name="As trained").click()
    page.get_by_role("columnheader", name="Top‑2").wait_for()
    assert lab.python("[explorer.without, explorer.k, explorer.temperature]") == [{}, {}, 1.0]
    assert gates(page) == pytest.approx(true_gates(lab, LAYER_0, 0, (4, 5, 3)), abs=0.005)


def test_temperature_from_python_reaches_the_view(lab, page):
    lab.run("explorer.voxel = (8, 10, 6)\nexplorer.temperature = 8.0")
    expected = true_gates(lab, LAYER_0, 0, (4, 5, 3), temperature=8.0)
    for _ in range(100):
        if gates(page) == pytest.approx(expected, abs=0.005):
            break
        page.wait_for_timeout(100)
    assert gates(page) == pytest.approx(expected, abs=0.005)


def test_the_walk_follows_python_and_back(lab, page):
    page.locator(".moe-walk").get_by_role("button", name="Next").click()
    lab.until("steps.step", 1)
    lab.run("steps.step = 4")
    page.locator(".moe-walk[data-step='4']").wait_for()
    lab.run("steps.voxel = (2, 2, 2)")
    page.get_by_role("heading", name="voxel (2, 2, 2)").wait_for()


def test_it_turns_dark_with_jupyterlab(page):
    before = page.locator(".moe").first.get_attribute("data-theme")
    assert before == "light"
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.locator(".moe[data-theme=dark]").first.wait_for()
