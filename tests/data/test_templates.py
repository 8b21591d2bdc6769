"""The MNI152 template under known diffeomorphisms; skipped without nilearn, which carries it."""

import sys

import pytest
import torch

from moereg.data import templates
from moereg.fields import jacobian_determinant, warp, warp_labels


@pytest.mark.parametrize("shape", [(48, 56, 48), (97, 80)])
def test_truth_aligns_the_template(shape):
    pytest.importorskip("nilearn", reason="nilearn, which carries the MNI152 template, is not installed")
    pair, again = (templates.mni152(shape, 3) for _ in range(2))
    assert pair.shape == shape
    assert torch.equal(pair.moving, again.moving)
    assert pair.fixed_labels.unique().tolist() == [0, 1, 2, 3]
    warped = warp(pair.moving[None], pair.displacement[None])[0]
    assert (warped - pair.fixed).square().mean() < 0.5 * (pair.moving - pair.fixed).square().mean()
    agree = (warp_labels(pair.moving_labels[None], pair.displacement[None])[0] == pair.fixed_labels).float().mean()
    assert agree > (pair.moving_labels == pair.fixed_labels).float().mean() + 0.03
    assert (jacobian_determinant(pair.displacement[None]) > 0).all()


def test_head_is_the_right_way_up():
    pytest.importorskip("nilearn", reason="nilearn, which carries the MNI152 template, is not installed")
    pair = templates.mni152((64, 72, 64), 0)
    white = (pair.fixed_labels[0] == 2).nonzero().float().mean(0)
    assert pair.fixed_labels[0, 32].count_nonzero() > 3 * pair.fixed_labels[0, -6].count_nonzero()  # stem below
    assert (white[2] - 31.5).abs() < 2  # left and right alike


@pytest.mark.plain_errors
def test_errors_name_what_is_missing(monkeypatch):
    with pytest.raises(ValueError, match="shape must be two or three sizes"):
        templates.mni152((4, 4, 4), 0)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        templates.mni152((16, 16, 16), -1)
    monkeypatch.setitem(sys.modules, "nilearn", None)
    templates.template.cache_clear()
    with pytest.raises(ImportError, match="templates need nilearn, which is not installed"):
        templates.mni152((16, 16, 16), 0)
