"""Headless Chromium, pages that may ask nobody, and a report of a 48³ pair to look at."""

import hashlib
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from moereg.data import Pair, phantoms
from moereg.models.registration import Registration
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes
from moereg.viz.payload import explorer_payload
from moereg.viz.report import write_report
from moereg.viz.snapshots import Snapshots
from moereg.viz.steps import router_steps
from moereg.viz.tables import Table
from tests.viz.conftest import small_model
from tools import node

ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = ("axe-core@4.10.3", "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292")


def chromium_path() -> str:
    """Chromium, or a skip that says how to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("browser tests need Chromium: apt-get install chromium")


@pytest.fixture(scope="session")
def browser():
    path = chromium_path()
    sync = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright: pip install playwright")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """`open_page(path_or_url, **options)` -> page. Requests to other hosts, errors and dialogs fail the test."""
    contexts, trouble = [], []

    def guard(route, request):
        if request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1")):
            return route.continue_()
        trouble.append(f"request to {request.url}")
        return route.abort()

    def open_page(target: Path | str, *, ready: str | None = ".moe[data-ready=true]", console: bool = True, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 1000}} | options))
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", guard)
        page.on("pageerror", lambda error: trouble.append(f"error {error}"))
        if console:
            page.on("console", lambda m: trouble.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("response", lambda r: trouble.append(f"{r.status} for {r.url}") if r.status >= 400 else None)
        page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(target.as_uri() if isinstance(target, Path) else target)
        if ready:
            page.wait_for_selector(ready)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@dataclass
class Case:
    """A page, and the tensors it must agree with."""

    path: Path
    pair: Pair
    model: SHMoAReg
    result: Registration
    payload: dict
    snapshots: list = field(default_factory=list)

    def run(self) -> Registration:
        with torch.no_grad():
            return self.model(self.pair.moving[None], self.pair.fixed[None])


def make_case(path: Path, pair: Pair, model: SHMoAReg, *, title: str, **options) -> Case:
    """Write the report of one pair, with a walk through one decision below the explorer."""
    snapshots = Snapshots(pair, range(1, 4))
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    for step in (1, 2, 3):  # a training that turns the routers and ends at the model
        for mixture in model.mixtures:
            mixture.router.weight.data *= (-1.0, -0.5, 2.0)[step - 1]
        snapshots(step, model)
    model.load_state_dict(trained)
    payload = explorer_payload(model, pair, snapshots=snapshots.kept, title=title, **options)
    walk = router_steps(model, pair, layer="decoder.0.shmoe", voxel=tuple(payload["start"])) | {"pace": 500}
    write_report(
        path,
        title=title,
        payload=[payload, walk],
        tables=[Table("Dice", ["Organ", "Before", "After"], [["liver", 0.5, 0.75]])],
        history={"SHMoAReg": {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}},
        facts={"device": "cpu"},
    )
    case = Case(path, pair, model, None, payload, snapshots.kept)
    case.result = case.run()
    return case


@pytest.fixture(scope="session")
def case(tmp_path_factory) -> Case:
    """A 48³ abdomen and a network of the default sizes, untrained, with routers that decide and readouts that move."""
    torch.manual_seed(0)
    model = SHMoAReg(SHMoARegSizes()).eval()
    for mixture in model.mixtures:
        mixture.readout.data *= 20
        mixture.router.weight.data *= 10
    for block in model.attention.values():
        block.moa.query.data *= 3
    pair = phantoms.make("abdomen", (48, 48, 48), 900)
    return make_case(tmp_path_factory.mktemp("report") / "report.html", pair, model, title="Abdomen phantom 900")


@pytest.fixture(scope="session")
def flat_case(tmp_path_factory) -> Case:
    """Two dimensions, keys and values from the other image, names that carry markup."""
    evil = '<img src=x onerror="alert(1)">'
    pair = phantoms.make("abdomen", (40, 32), 3)
    names = {value: f"{name} {evil}" for value, name in pair.label_names.items()}
    pair = Pair(**{**pair.__dict__, "label_names": names, "name": f"{evil}.nii.gz"})
    return make_case(
        tmp_path_factory.mktemp("flat") / "report.html", pair, small_model(2, context="cross"), title=f"{evil}.csv"
    )


@pytest.fixture(scope="session")
def axe_source(tmp_path_factory) -> str:
    """axe-core from npm, checked against its hash; a skip where npm is missing or cannot fetch it."""
    package, expected = AXE
    folder = tmp_path_factory.mktemp("axe")
    try:
        done = node.run("npm", ["pack", package, "--silent"], folder)
    except node.NodeMissing as error:
        pytest.skip(f"accessibility tests need {package}; {error}")
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        pytest.skip(f"accessibility tests need {package}, and npm could not fetch it")
    assert hashlib.sha256(archives[0].read_bytes()).hexdigest() == expected
    with tarfile.open(archives[0]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()
