"""Shape-typed signatures are checked in every test; small seeds and tensors that many tests share."""

import pytest
import torch
from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

# Must be installed before the first import of a checked module. An int is a float here, as everywhere in Python.
install_import_hook("moereg", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


def pytest_configure(config):
    config.addinivalue_line("markers", "plain_errors: call with wrong shapes on purpose, jaxtyping checks are off")


@pytest.fixture(autouse=True)
def _plain_errors(request):
    if request.node.get_closest_marker("plain_errors") is None:
        yield
        return
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh random stream, the same in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def hippocampus() -> None:
    """Skips where the real scans are not."""
    from moereg.data import datasets

    try:
        datasets.hippocampus(split="test", count=1)
    except FileNotFoundError as missing:
        pytest.skip(f"real scans are not here: {missing}")
