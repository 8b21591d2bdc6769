"""Costs: multiply-adds by hand, growth laws, and what fits."""

import pytest
import torch

from moereg.metrics.cost import growth_exponent, largest_edge, multiply_adds, peak_bytes, steepest
from moereg.nn import MixtureOfAttentionHeads
from moereg.nn.convolution import Convolution3d


def test_multiply_adds_of_a_convolution_at_batch_one():
    """The library hands such a convolution to oneDNN, which torch's counter does not know."""
    layer, volume = Convolution3d(2, 5, 3, padding=1), torch.rand(1, 2, 4, 5, 6)
    assert multiply_adds(lambda: layer(volume)) == 4 * 5 * 6 * 27 * 2 * 5


def test_chosen_heads_alone_are_counted():
    torch.manual_seed(0)
    counted = {}
    for k in (1, 4):
        layer = MixtureOfAttentionHeads(6, heads=4, k=k, head_dim=3, window=4)
        counted[k] = multiply_adds(lambda layer=layer: layer(torch.rand(1, 6, 4, 4)))
    tokens, once = 16, 16 * 6 * (2 * 3 + 4)  # keys and values, and the router
    head = tokens * (2 * 6 * 3) + 2 * tokens * tokens * 3
    assert counted == {1: once + head, 4: once + 4 * head}


def test_memory_of_a_map_is_at_least_its_size():
    kept = []
    assert peak_bytes(lambda: kept.append(torch.ones(2**24))) >= 0.9 * 2**26


def test_memory_that_was_used_and_freed_before_is_seen():
    def use():
        maps = [torch.ones(2**12) for _ in range(2**10)]  # small blocks, which the allocator keeps when they are freed
        return sum(float(m[0]) for m in maps)

    first, second = peak_bytes(use), peak_bytes(use)
    assert min(first, second) >= 0.8 * 2**24


def test_growth_of_a_power_law_and_of_one_with_a_step():
    voxels = [10.0, 100.0, 1000.0]
    assert growth_exponent(voxels, [v**1.5 for v in voxels]) == pytest.approx(1.5)
    assert steepest(voxels, [1.0, 10.0, 1000.0]) == pytest.approx(2.0)


def test_largest_edge_is_a_multiple_of_eight_that_fits():
    voxels = [16**3, 32**3]
    costs = [100 + 2 * v for v in voxels]
    assert largest_edge(voxels, costs, 100 + 2 * 64**3) == 64
    assert largest_edge(voxels, costs, 99 + 2 * 64**3) == 56
    assert largest_edge(voxels, costs, 0) == 0
