"""Chapter 08, spatially heterogeneous mixture of experts."""

import math


def cost(answer: float) -> tuple[bool, str]:
    """Full kernels 1, 3, 5, 7 in 3-D against the nested chain: how many times the multiplications?"""
    full, nested = 1 + 27 + 125 + 343, 1 + 27 + 27 + 27
    if math.isclose(answer, full / nested, abs_tol=0.05):
        return True, f"{full} against {nested} products per voxel and pair of channels."
    if math.isclose(answer, (1 + 3 + 5 + 7) / (1 + 3 + 3 + 3), abs_tol=0.05):
        return False, "That is in one dimension. A kernel of extent k has k^3 weights in 3-D."
    if math.isclose(answer, 343 / 27, abs_tol=0.05):
        return False, "That compares the largest kernel with one link of the chain. Add up all four experts."
    return False, "Add k^3 over the experts; then add 1 and three times 3^3 for the chain."


def extent(answer: int) -> tuple[bool, str]:
    """Three 3^D convolutions one after the other, without activation: the extent of the kernel that they make?"""
    if answer == 7:
        return True, "Each link adds one voxel on either side: 3, 5, 7. It is one linear convolution of that extent."
    if answer == 9:
        return False, "Extents do not add up: a link of extent 3 reaches one voxel further, not three."
    if answer == 27:
        return False, "That would be three strides of 3, or the weights of one link."
    return False, "How far to the left can the output at x see after one link, after two, after three?"


def voxel(answer: float, *, gates: list[float], proposals: list[float]) -> tuple[bool, str]:
    """The residual displacement of one voxel and direction from its gates and proposals."""
    right = sum(g * p for g, p in zip(gates, proposals, strict=True))
    if math.isclose(answer, right, rel_tol=1e-3, abs_tol=5e-4):
        return True, "Gate times proposal, added up: experts whose gate is zero propose in vain."
    if math.isclose(answer, sum(proposals), rel_tol=1e-3, abs_tol=5e-4):
        return False, "Those are all proposals. Each counts only as much as its gate says."
    return False, "Multiply each proposal by its gate, then add."


EXERCISES = {
    "shmoe-cost": cost,
    "shmoe-extent": extent,
    "shmoe-voxel": voxel,
}
