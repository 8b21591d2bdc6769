"""Metrics by hand and against MONAI."""

import json

import pytest
import torch

from moereg import classical, metrics
from moereg.data.pairs import Pair
from moereg.models.registration import Registration


def cube(start, size=8, edge=4):
    labels = torch.zeros(1, size, size, size, dtype=torch.int64)
    labels[0, start : start + edge, 2:6, 2:6] = 1
    return labels


def test_dice_by_hand():
    warped = torch.tensor([[[1, 1, 0, 2]]])
    fixed = torch.tensor([[[1, 0, 3, 0]]])
    # label 1: 2*1/(2+1); label 3 was lost: 0; label 2 is not in the fixed image
    assert metrics.dice(warped, fixed) == {1: pytest.approx(2 / 3), 3: 0.0}


def test_endpoint_error_by_hand():
    displacement = torch.zeros(2, 4, 4)
    truth = displacement.clone()
    truth[0, 0, 0], truth[1, 0, 0] = 3, 4
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0, :2] = True
    assert metrics.endpoint_error(displacement, truth) == pytest.approx(5 / 16)
    assert metrics.endpoint_error(displacement, truth, region) == pytest.approx(5 / 2)


def test_surface_distance_of_a_shifted_cube():
    spacing = (2.0, 1.0, 1.0)
    hd95, asd = metrics.surface_distances(cube(1), cube(2), spacing)
    assert hd95 == {1: pytest.approx(2.0)}  # one voxel of two millimetres
    assert 0 < asd[1] < 2
    assert metrics.surface_distances(cube(1), cube(1), spacing) == ({1: 0.0}, {1: 0.0})


def test_cropping_does_not_change_surface_distances(generator):
    from monai.metrics import compute_hausdorff_distance

    first, second = (torch.rand(1, 12, 11, 10, generator=generator) > 0.97 for _ in range(2))
    whole = compute_hausdorff_distance(
        first[None].float(), second[None].float(), percentile=95, include_background=True
    )
    ours = metrics.surface_distances(first.long(), second.long(), (1.0, 1.0, 1.0))[0][1]
    assert ours == pytest.approx(float(whole))


def test_evaluate_is_plain_and_complete():
    image = torch.rand(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(3, 8, 8, 8)
    truth[0] = -1
    pairs = [Pair(image, image, cube(1), cube(2), truth, label_names={1: "cube"}, name="p")]

    def oracle(moving, fixed):
        return Registration(truth[None], moving)

    table = metrics.evaluate({"identity": classical.identity, "oracle": oracle}, pairs)
    json.dumps(table)
    assert table["identity"]["dice"] == pytest.approx(0.75)
    assert table["identity"]["epe"] == pytest.approx(1)
    assert table["oracle"]["dice_per_label"] == {"cube": 1.0}
    assert table["oracle"]["epe"] == 0
    assert table["oracle"]["hd95"] == 0
    assert table["oracle"]["fold_fraction"] == 0
    assert table["oracle"]["pairs"][0]["pair"] == "p"


def test_what_is_not_known_is_none():
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    table = metrics.evaluate({"identity": classical.identity}, [Pair(image, image)])["identity"]
    assert table["dice"] is None
    assert table["epe"] is None
    assert table["dice_per_label"] == {}
