"""Tables of experts and organs, by hand."""

import numpy as np
import pytest
import torch

from moereg.experiments.statistics import (
    agreement_table,
    best_match,
    gate_table,
    labels_on_grid,
    mutual_information,
)


def test_mutual_information_by_hand():
    assert mutual_information(torch.eye(2) / 2) == pytest.approx(1)  # one bit
    assert mutual_information(7 * torch.eye(4)) == pytest.approx(2)  # counts as well as shares
    # p = 0.4, 0.1 / 0.1, 0.4: 0.8 log2(0.4 / 0.25) + 0.2 log2(0.1 / 0.25)
    known = 0.8 * np.log2(1.6) + 0.2 * np.log2(0.4)
    assert mutual_information(torch.tensor([[4.0, 1.0], [1.0, 4.0]])) == pytest.approx(known)
    # rows and columns differ: experts 3:1, all of the second in region 1
    joint = torch.tensor([[0.5, 0.25], [0.0, 0.25]])
    known = 0.5 * np.log2(0.5 / 0.375) + 0.25 * np.log2(0.25 / 0.375) + 0.25 * np.log2(0.25 / 0.125)
    assert mutual_information(joint) == pytest.approx(known)


def test_mutual_information_of_what_is_independent_is_zero_never_below():
    assert mutual_information(torch.ones(2, 4)) == pytest.approx(0, abs=1e-7)
    tables = [torch.rand(3, 1, generator=torch.Generator().manual_seed(s)) @ torch.ones(1, 5) for s in range(30)]
    assert all(0 <= mutual_information(table) < 1e-6 for table in tables)


def test_matching_undoes_a_permutation():
    joint = torch.tensor([[0.0, 0.5], [0.4, 0.1]], dtype=torch.float64)
    assert best_match(joint) == pytest.approx(0.9)
    cycle = torch.tensor([[0.1, 0.3, 0.0], [0.0, 0.1, 0.2], [0.3, 0.0, 0.0]], dtype=torch.float64)
    assert best_match(cycle) == pytest.approx(0.8)
    greedy = torch.tensor([[0.5, 0.4], [0.1, 0.0]], dtype=torch.float64)  # not the largest entry first
    assert best_match(greedy) == pytest.approx(0.5)
    assert best_match(torch.tensor([[0.9, 0.8], [0.7, 0.0]], dtype=torch.float64)) == pytest.approx(1.5)


def test_gate_table_by_hand():
    """Two experts on 2 x 3 voxels in three regions; the last voxel is outside, one has no gates at all."""
    gates = torch.tensor([[[0.5, 1.0, 0.0], [0.2, 0.0, 9.0]], [[0.5, 0.0, 3.0], [0.6, 0.0, 9.0]]])
    labels = torch.tensor([[0, 1, 2], [2, 1, 2]])
    inside = torch.tensor([[True, True, True], [True, True, False]])
    table = gate_table(gates, labels, inside, 4)
    expected = torch.tensor([[0.5, 1.0, 0.25, 0.0], [0.5, 0.0, 1.75, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "stride"), [((5, 7), 2), ((6, 4), 3)])
def test_labels_are_read_where_the_level_has_its_voxels(size, stride):
    labels = torch.arange(size[0] * size[1]).reshape(1, *size)
    expected = [[r * size[1] + c for c in range(0, size[1], stride)] for r in range(0, size[0], stride)]
    assert labels_on_grid(labels, stride).tolist() == expected
    volume = torch.arange(4 * 3 * 5).reshape(1, 4, 3, 5)
    assert labels_on_grid(volume, 2).tolist() == [
        [[30 * z + 10 * y + 2 * x for x in range(3)] for y in range(2)] for z in range(2)
    ]
    assert torch.equal(labels_on_grid(labels, 1), labels[0])


def test_agreement_table_counts_who_meets_whom():
    first, second = torch.tensor([[0, 0, 1], [2, 2, 1]]), torch.tensor([[1, 1, 0], [2, 0, 0]])
    table = agreement_table(first, second, 3)
    assert table.tolist() == [[0, 2, 0], [2, 0, 0], [1, 0, 1]]
    assert table.dtype == torch.float64
