"""The statistics of an audit, on plain tensors."""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr
from torch import Tensor


def mutual_information(joint: Float[Tensor, "expert region"]) -> float:
    """`I = sum p(e, r) log2 p(e, r) / (p(e) p(r))` of a table of weights, in bits."""
    p = joint / joint.sum()
    independent = torch.outer(p.sum(1), p.sum(0))
    return max(0.0, float((torch.special.xlogy(p, p) - torch.special.xlogy(p, independent)).sum() / np.log(2)))


def information(joint: Float[Tensor, "expert region"], samples: int) -> float:
    """Mutual information in bits, less the first order of what a finite sample adds; about 0 where nothing is shared.

    `I - (E - 1)(R - 1) / (2 n ln 2)` for `n` samples, `E` experts and `R` regions that occur (Miller 1955).
    """
    if samples == 0:
        return 0.0
    experts, regions = (int((joint.sum(axis) > 0).sum()) for axis in (1, 0))
    return mutual_information(joint) - (experts - 1) * (regions - 1) / (2 * samples * np.log(2))


def rank_correlation(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> float:
    """Spearman's rank correlation; 0 where either is constant."""
    if first.max() == first.min() or second.max() == second.min():
        return 0.0
    statistic, _ = spearmanr(first.numpy(), second.numpy())
    return float(cast(float, statistic))  # SciPy says no more than object


def partial_rank_correlation(
    first: Float[Tensor, " n"], second: Float[Tensor, " n"], given: Float[Tensor, " n"]
) -> float:
    """Spearman's rank correlation with a third map held fixed; 0 where the third explains either of them wholly."""
    a_b, a_m, b_m = (rank_correlation(*pair) for pair in ((first, second), (first, given), (second, given)))
    # r_ab.m = (r_ab - r_am r_bm) / sqrt((1 - r_am^2) (1 - r_bm^2))
    free = (1 - a_m**2) * (1 - b_m**2)
    return (a_b - a_m * b_m) / free**0.5 if free > 1e-9 else 0.0


def best_match(joint: Float[Tensor, "a b"]) -> float:
    """Largest sum of entries with one per row and column: the agreement of two labellings up to names."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(joint.numpy(), maximize=True)
    return float(joint[rows, columns].sum())


def gate_table(
    gates: Float[Tensor, "expert *grid"], labels: Int[Tensor, "*grid"], inside: Bool[Tensor, "*grid"], count: int
) -> Float[Tensor, "expert region"]:
    """Gate weight of every expert in every region, over the voxels inside."""
    weight = (gates / gates.sum(0).clamp_min(1e-12))[:, inside]
    return weight.double() @ F.one_hot(labels[inside], count).double()


def labels_on_grid(labels: Int[Tensor, "1 *space"], stride: int) -> Int[Tensor, "*grid"]:
    """Labels at the voxels of a coarser grid whose voxel i sits on voxel i * stride."""
    return labels[(0, *[slice(None, None, stride)] * (labels.ndim - 1))]


def agreement_table(first: Int[Tensor, "*grid"], second: Int[Tensor, "*grid"], experts: int) -> Float[Tensor, "a b"]:
    """How often expert a of one map meets expert b of the other."""
    pairs = (first * experts + second).flatten().bincount(minlength=experts * experts)
    return pairs.reshape(experts, experts).double()
