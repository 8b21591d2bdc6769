"""The pictures that a clinician sees first."""

import base64

import numpy as np
import pytest
import torch

from moereg.viz import clinical
from moereg.viz.clinical import checkerboard, clinical_pictures


def test_a_checkerboard_takes_turns_along_every_axis():
    board = checkerboard(torch.zeros(4, 4), torch.ones(4, 4), tiles=2)
    assert board.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert checkerboard(torch.zeros(2, 2, 2), torch.ones(2, 2, 2), tiles=2).sum() == 4


@pytest.mark.parametrize("shape", [(6, 9), (5, 7, 6)])
def test_the_four_pictures_and_what_they_say(shape, monkeypatch):
    """Every axes is hung the same way; folds are counted in the last caption."""
    kept = []
    monkeypatch.setattr(clinical, "_source", lambda figure: kept.append(figure) or "data:,")
    fixed, aligned, warped = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(0))
    field = torch.zeros(len(shape), *shape)
    field[-1, ..., 3:] = -3.0
    pictures = clinical_pictures(fixed, aligned, warped, field, (2.0, 1.0, 1.0)[: len(shape)])
    titles = ["Checkerboard", "Difference", "Deformed grid", "Local change of volume"]
    assert [picture.title for picture in pictures] == titles
    assert all(picture.caption in picture.alt for picture in pictures)
    assert "Folded: 0.000 %" not in pictures[3].caption
    planes = 1 if len(shape) == 2 else 3
    images = [[axes for axes in figure.axes if axes.images] for figure in kept]
    assert [len(axes) for axes in images] == [2 * planes, 2 * planes, planes, planes]
    for axes in images[0] + images[2]:
        assert axes.xaxis_inverted()  # the patient's right at the left edge
        assert not axes.yaxis_inverted()  # head or front up: row 0 is below
    difference = images[1][0].images[0].get_array()
    index = clinical._cuts(fixed[0])[0][1]
    expected = (aligned - fixed)[0] if len(shape) == 2 else (aligned - fixed)[0, index]
    assert np.allclose(difference, expected)
    assert images[0][-1].get_aspect() == 2.0


def test_a_picture_is_inside_the_page():
    figure, _ = clinical._figure(1, [(0, 0)])
    head, data = clinical._source(figure).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data)[:4] == b"\x89PNG"
