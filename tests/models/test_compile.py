"""Layers and network under torch.compile, as one graph each, and under autocast."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compiled import CASES

from moereg import models
from moereg.similarity import lncc


@pytest.fixture(scope="module")
def differences():
    """Case -> largest difference from the plain call, or what went wrong."""
    script = Path(__file__).parent / "compiled.py"
    run = subprocess.run([sys.executable, "-W", "ignore", script, "aot_eager"], capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("case", CASES)
def test_one_graph_with_the_same_value_and_gradient(case, differences):
    assert not differences[case].startswith("failed"), differences[case]
    assert float(differences[case]) < 1e-4


def test_autocast_keeps_gates_and_displacements_in_float32(generator):
    torch.manual_seed(0)
    # All experts and heads: rounding cannot choose another one.
    sizes = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 3, "active_heads": 3}
    model = models.build("shmoareg", dims=2, active_experts=4, **sizes)
    with torch.no_grad():
        for mixture in model.mixtures:
            mixture.readout.mul_(100)  # move by voxels, as a trained network does
    moving, fixed = torch.rand(2, 2, 1, 20, 18, generator=generator).unbind()
    exact = model(moving, fixed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(moving, fixed)
    assert low.displacement.dtype == low.warped.dtype == torch.float32
    assert all(routing.gates.dtype == torch.float32 for routing in low.routing.values())
    assert exact.displacement.abs().max() > 1
    assert (low.displacement - exact.displacement).norm() / exact.displacement.norm() < 0.03
    lncc(low.warped, fixed).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
