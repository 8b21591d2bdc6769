"""The doctor is content with what fits and names what does not, with the command that mends it."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from moereg import doctor

REQUIREMENTS = [
    "torch>=2.1",
    "numpy<3,>=1.26",
    'jupyterlab>=4; extra == "notebooks"',
    'pytest>=8; extra == "test"',
    'sphinx<8; extra == "book"',
    'nilearn>=0.10; extra == "brain"',  # an extra that the doctor does not look at
    'colorama; sys_platform == "none"',
]
INSTALLED = {"torch": "2.13.0", "numpy": "2.1.0", "jupyterlab": "4.2", "pytest": "8.1", "sphinx": "7.4"}
WELL = ["ok       core       the library", "ok       notebooks  the course in JupyterLab",
        "ok       test       the test suite", "ok       book       the site"]  # fmt: skip


@pytest.fixture
def computer(monkeypatch):
    """A machine on which everything is there; a test takes something away."""
    installed = dict(INSTALLED)

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "requires", lambda package: REQUIREMENTS if package == "moereg" else None)
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    monkeypatch.setattr(doctor.shutil, "which", {"chromium": "/bin/chromium"}.get)
    return installed


def test_all_is_well(computer):
    assert doctor.report().splitlines() == [*WELL, "ok       GPU        H100", "ok       browser    /bin/chromium"]


def test_rows(computer):
    computer["numpy"] = "1.25"
    del computer["pytest"]
    assert doctor.packages() == [
        ("core", "torch>=2.1", "2.13.0", True),
        ("core", "numpy<3,>=1.26", "1.25", False),
        ("notebooks", "jupyterlab>=4", "4.2", True),
        ("test", "pytest>=8", None, False),
        ("book", "sphinx<8", "7.4", True),
    ]


@pytest.mark.parametrize("version", ["1.25.9", "3.0"])
def test_a_core_package_that_does_not_fit(computer, version):
    computer["numpy"] = version
    lines = doctor.report().splitlines()
    assert lines[:3] == [
        "missing  core       the library",
        f"           numpy<3,>=1.26: {version} is installed",
        "           mend it with: pip install moereg",
    ]
    assert lines[3:6] == WELL[1:]


def test_packages_of_an_extra_that_are_not_there(computer):
    del computer["jupyterlab"]
    lines = doctor.report().splitlines()
    assert lines[0] == WELL[0]
    assert lines[1:4] == [
        "missing  notebooks  the course in JupyterLab",
        "           jupyterlab>=4: not installed",
        "           mend it with: pip install 'moereg[notebooks]'",
    ]
    assert lines[4:6] == WELL[2:]


def test_a_version_before_its_release_fits(computer):
    computer["torch"] = "2.14.0rc1"
    assert doctor.report().splitlines()[0] == WELL[0]


def test_neither_gpu_nor_browser(computer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.report().splitlines()[-2:] == [
        "none     GPU        training runs on the CPU with smaller budgets",
        "none     browser    browser tests are skipped; install chromium",
    ]


def test_another_browser_will_do(computer, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", {"google-chrome": "/bin/chrome"}.get)
    assert doctor.report().splitlines()[-1] == "ok       browser    /bin/chrome"


def test_without_metadata_there_is_nothing_to_miss(computer, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda package: None)
    assert doctor.packages() == []


def test_the_extras_of_this_project_are_looked_at():
    """With the real metadata: the core is there, or these tests would not run."""
    rows = doctor.packages()
    assert {"core", "notebooks", "test", "book"} == {group for group, *_ in rows}
    assert all(fits for group, _, _, fits in rows if group == "core")
    assert any(text.startswith("torch") for group, text, _, _ in rows if group == "core")
