"""A small labelled pair and a small network whose routing is not trivial, in 2-D and 3-D."""

import pytest
import torch

from moereg.data import Pair, phantoms
from moereg.models.shmoareg import SHMoAReg, SHMoARegSizes

SHAPES = {2: (24, 20), 3: (13, 16, 14)}


def small_model(dims: int, **sizes) -> SHMoAReg:
    """Two levels, untrained, with readouts and routers enlarged so that experts differ and something moves."""
    torch.manual_seed(0)
    defaults = {"widths": (6, 8), "decoder_widths": (6, 6), "moa_levels": (1,), "heads": 4, "head_dim": 4, "window": 3}
    model = SHMoAReg(SHMoARegSizes(dims=dims, **(defaults | sizes)))
    for mixture in model.mixtures:
        mixture.readout.data *= 30
        mixture.router.weight.data *= 20
    return model.eval()


@pytest.fixture(scope="session")
def pair3() -> Pair:
    return phantoms.make("abdomen", SHAPES[3], 1)


@pytest.fixture(scope="session")
def pair2() -> Pair:
    return phantoms.make("abdomen", SHAPES[2], 1)


@pytest.fixture(scope="session")
def model3() -> SHMoAReg:
    return small_model(3)


@pytest.fixture(scope="session")
def model2() -> SHMoAReg:
    return small_model(2)


@pytest.fixture(scope="session")
def result3(model3, pair3):
    with torch.no_grad():
        return model3(pair3.moving[None], pair3.fixed[None])


@pytest.fixture(scope="session")
def payload3(model3, pair3):
    from moereg.viz.payload import explorer_payload

    return explorer_payload(model3, pair3)
