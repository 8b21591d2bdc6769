"""Snapshots of a training survive on disk, rounded, and are refused by other networks and pairs."""

import pytest
import torch

from moereg import models
from moereg.data import phantoms
from moereg.viz.snapshots import FINEST, Snapshots, read_snapshots, write_snapshots
from tools import snapshots as tool


@pytest.fixture(scope="module")
def kept():
    torch.manual_seed(0)
    model = models.build("shmoareg", dims=2, widths=(4, 8), decoder_widths=(4, 8), moa_levels=(1,)).eval()
    for mixture in model.mixtures:
        torch.nn.init.normal_(mixture.readout, std=1.0)
    pair = phantoms.make("abdomen", (24, 20), 0)
    snapshots = Snapshots(pair, {0, 5})
    for step in (0, 3, 5):
        snapshots(step, model)
        for parameter in model.parameters():
            parameter.data *= 1.1
    return model, pair, snapshots.kept


def test_what_was_written_is_read_again(kept, tmp_path):
    model, pair, before = kept
    after = read_snapshots(write_snapshots(tmp_path / "a.npz", before), model, pair)
    assert [step for step, _ in after] == [0, 5]
    for (_, old), (_, new) in zip(before, after, strict=True):
        assert old.displacement.abs().max() > 0.5, "else rounding would hide everything"
        torch.testing.assert_close(new.displacement, old.displacement, atol=0.5 / FINEST + 1e-6, rtol=0)
        torch.testing.assert_close(new.warped, old.warped, atol=0.05, rtol=0)
        for name, routing in old.routing.items():
            got = new.routing[name]
            torch.testing.assert_close(got.logits, routing.logits, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(got.gates.sum(2), routing.gates.sum(2))
            assert (got.experts, got.routers, got.site) == (routing.experts, routing.routers, routing.site)
            assert float(got.agreement(routing).min()) > 0.9
    assert not torch.equal(after[0][1].displacement, after[1][1].displacement)


def test_another_network_and_another_pair_are_refused(kept, tmp_path):
    model, pair, before = kept
    path = write_snapshots(tmp_path / "a.npz", before)
    with pytest.raises(ValueError, match="model must have the routers of .*decoder.0.shmoe"):
        read_snapshots(path, models.build("shmoareg", dims=2, widths=(4,), decoder_widths=(4,), moa_levels=()), pair)
    with pytest.raises(ValueError, match=r"pair must have the shape .*\(24, 20\), got \(16, 16\)"):
        read_snapshots(path, model, phantoms.make("abdomen", (16, 16), 0))


def test_the_command_in_miniature(tmp_path):
    tool.watch("abdomen-flat", tmp_path, moments=(0, 1, 2), quick=True)
    pair, shipped = phantoms.make("abdomen", (24, 24), tool.SEED), models.load_model("abdomen-flat")
    kept = read_snapshots(tmp_path / "abdomen-flat.npz", shipped, pair)
    assert [step for step, _ in kept] == [0, 1, 2, 7000]
    assert not torch.equal(kept[0][1].displacement, kept[2][1].displacement)
    with torch.no_grad():
        last = shipped(pair.moving[None], pair.fixed[None])
    torch.testing.assert_close(kept[-1][1].displacement, last.displacement, atol=0.5 / FINEST + 1e-6, rtol=0)
