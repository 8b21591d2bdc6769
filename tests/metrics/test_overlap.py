"""Overlap and surface distances by hand, and against MONAI on whole images."""

import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_generalized_dice,
    compute_hausdorff_distance,
    compute_iou,
)

from moereg.metrics import dice, endpoint_error, shared_labels, surface_distances


def cube(start, size=8, edge=4):
    labels = torch.zeros(1, size, size, size, dtype=torch.int64)
    labels[0, start : start + edge, 2:6, 2:6] = 1
    return labels


def test_dice_by_hand():
    warped = torch.tensor([[[1, 1, 0, 2]]])
    fixed = torch.tensor([[[1, 0, 3, 0]]])
    # label 1: 2*1/(2+1); label 3 was lost: 0; label 2 is not in the fixed image
    assert dice(warped, fixed) == {1: pytest.approx(2 / 3), 3: 0.0}


def test_dice_where_labels_meet_each_other():
    """Six voxels of 1 and 2 in each map: 1 meets 1 twice, 2 meets 2 once."""
    warped = torch.tensor([[[1, 1, 1, 2, 2, 5]]])
    fixed = torch.tensor([[[1, 1, 2, 2, 1, 1]]])
    assert dice(warped, fixed) == {1: pytest.approx(2 * 2 / (3 + 4)), 2: pytest.approx(2 * 1 / (2 + 2))}
    assert dice(fixed, warped) == dice(warped, fixed) | {5: 0.0}


def test_dice_is_monais(generator):
    warped, fixed = (torch.randint(0, 4, (1, 7, 6, 5), generator=generator) for _ in range(2))
    for label, value in dice(warped, fixed).items():
        masks = [(labels == label)[None].float() for labels in (warped, fixed)]
        assert value == pytest.approx(float(compute_generalized_dice(*masks, include_background=True)))
        overlap = float(compute_iou(*masks, include_background=True))
        assert value == pytest.approx(2 * overlap / (1 + overlap))
    assert list(dice(warped, fixed)) == [1, 2, 3]


def test_shared_labels_are_those_of_both_maps_above_zero():
    first, second = torch.tensor([[0, 5, 3, 9]]), torch.tensor([[3, 0, 5, 7]])
    assert shared_labels(first, second) == [3, 5]
    assert shared_labels(first, 0 * second) == []
    assert shared_labels(torch.tensor([[-1, 2]]), torch.tensor([[-1, 2]])) == [2]


def test_endpoint_error_by_hand():
    displacement = torch.zeros(2, 4, 4)
    truth = displacement.clone()
    truth[0, 0, 0], truth[1, 0, 0] = 3, 4
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0, :2] = True
    assert endpoint_error(displacement, truth) == pytest.approx(5 / 16)
    assert endpoint_error(displacement, truth, region) == pytest.approx(5 / 2)
    assert endpoint_error(-truth, truth, region) == pytest.approx(5)


@pytest.mark.parametrize("axis", range(3))
def test_a_shifted_cube_is_one_voxel_off_along_its_axis(axis):
    """An edge of 4, moved by one voxel of 2, 3 or 5 millimetres: 56 surface voxels in each cube."""
    spacing = (2.0, 3.0, 5.0)
    first, second = (cube(start).transpose(1, 1 + axis) for start in (1, 2))
    hd95, asd = surface_distances(first, second, spacing)
    assert hd95 == {1: pytest.approx(spacing[axis])}
    # 16 voxels of the far face are one voxel away, those of the near face at most as far, and no other is
    assert list(asd) == [1]
    assert 16 / 56 * spacing[axis] <= asd[1] <= 32 / 56 * spacing[axis]
    assert surface_distances(first, first, spacing) == ({1: 0.0}, {1: 0.0})


def test_distances_of_two_lines_by_hand():
    """A row of 20 voxels and the same row with one end cut by 4: distances 0 but 1, 2, 3, 4 at the end, and back 0.

    The 95th percentile of twenty sorted distances lies at place 18.05: 3 + 0.05 (4 - 3), times the spacing.
    """
    long, short = torch.zeros(1, 5, 30, dtype=torch.int64), torch.zeros(1, 5, 30, dtype=torch.int64)
    long[0, 2, 5:25] = 7
    short[0, 2, 5:21] = 7
    hd95, asd = surface_distances(long, short, (1.0, 2.5))
    assert hd95 == {7: pytest.approx(2.5 * 3.05)}
    assert asd == {7: pytest.approx(2.5 * 10 / 36)}  # over the voxels of both


@pytest.mark.parametrize(("shape", "spacing"), [((12, 11, 10), (0.7, 1.0, 3.0)), ((20, 17), (2.0, 0.5))])
def test_whole_images_measured_by_monai(shape, spacing, generator):
    """Ours looks at a box around each label: the same numbers, for two labels, with voxels that are no cubes."""
    first, second = (torch.randint(0, 60, (1, *shape), generator=generator) for _ in range(2))
    first, second = (labels * (labels < 3) for labels in (first, second))
    hd95, asd = surface_distances(first, second, spacing)
    assert list(hd95) == list(asd) == [1, 2]
    options = {"include_background": True, "spacing": list(spacing)}
    for label in (1, 2):
        masks = [(labels == label)[None].float() for labels in (first, second)]
        assert hd95[label] == pytest.approx(float(compute_hausdorff_distance(*masks, percentile=95, **options)))
        assert asd[label] == pytest.approx(float(compute_average_surface_distance(*masks, symmetric=True, **options)))
        cubes = compute_hausdorff_distance(*masks, percentile=95, include_background=True)
        assert hd95[label] != pytest.approx(float(cubes), rel=0.05)


def test_a_label_that_one_map_lacks_has_no_distance():
    first, second = cube(1), cube(2)
    first[0, 7, 7, 7] = 2
    second[0, 0, 0, 0] = 3
    hd95, asd = surface_distances(first, second, (1.0, 1.0, 1.0))
    assert list(hd95) == list(asd) == [1]


def test_labels_of_any_size_are_measured_by_their_own_names():
    """Far above what is counted one by one, and below zero, which is no label; the same distances as of 1."""
    first, second = cube(1).long(), cube(2).long()
    plain = surface_distances(first, second, (1.0, 2.0, 3.0))
    named = [labels * 70_000 - (labels == 0) * 5 for labels in (first, second)]
    assert surface_distances(*named, (1.0, 2.0, 3.0)) == tuple({70_000: found[1]} for found in plain)


def test_organs_at_the_border_of_the_image():
    first = torch.zeros(1, 6, 6, dtype=torch.int64)
    second = first.clone()
    first[0, 0, 0] = second[0, 5, 5] = 1
    hd95, asd = surface_distances(first, second, (3.0, 4.0))
    assert hd95 == asd == {1: pytest.approx(25.0)}
