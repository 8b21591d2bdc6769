"""A toy in the table of models, and a training that trains nothing: experiments whose numbers are known by hand."""

import pytest

from moereg.experiments import protocol as protocols
from moereg.models.registry import MODELS, Entry
from tests.oracles import PretendFit, Toy, ToySizes


@pytest.fixture
def fitted(monkeypatch):
    """`PretendFit` in the place of training; `Toy` is known as "toy"."""
    pretend = PretendFit()
    monkeypatch.setattr(protocols, "fit", pretend)
    monkeypatch.setitem(MODELS, "toy", Entry(ToySizes, Toy))
    return pretend


@pytest.fixture
def toys_err(monkeypatch):
    """Say by how many voxels every toy errs: `toys_err(lambda toy, recursions: ...)`."""

    def set_error(error_of):
        made = Toy.__init__

        def init(self, sizes):
            made(self, sizes)
            self.error_of = error_of

        monkeypatch.setattr(Toy, "__init__", init)

    return set_error


@pytest.fixture
def no_surfaces(monkeypatch):
    """Surface distances take long and are not asked for."""

    def refuse(*arguments):
        raise AssertionError("surface distances are measured")

    monkeypatch.setattr("moereg.metrics.measure.surface_distances", refuse)
