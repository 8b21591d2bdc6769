"""The statistics of an audit, on plain tensors."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def mutual_information(joint: Float[Tensor, "expert region"]) -> float:
    """`I = sum p(e, r) log2 p(e, r) / (p(e) p(r))` of a table of weights, in bits."""
    p = joint / joint.sum()
    independent = torch.outer(p.sum(1), p.sum(0))
    return max(0.0, float((torch.special.xlogy(p, p) - torch.special.xlogy(p, independent)).sum() / np.log(2)))


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
