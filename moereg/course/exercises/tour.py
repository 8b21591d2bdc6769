"""Chapter 00, the tour."""

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task


def shift(answer: tuple[float, float]) -> tuple[bool, str]:
    """Which constant field (y, x) undoes a shift of the image by three rows downwards?"""
    rows, columns = (float(value) for value in answer)
    if (rows, columns) == (3, 0):
        return True, "The tissue of row y lies in row y + 3 of the moving image, and the field pulls it from there."
    if (rows, columns) == (-3, 0):
        return False, (
            "That would push. The field says where to *fetch* from: row y of the fixed image is found three rows "
            "further down in the moving one."
        )
    if rows == 0 and abs(columns) == 3:
        return (
            False,
            "Channel 0 moves along axis 0, the rows; channel 1 along the columns. There is no x-first order here.",
        )
    return False, "Ask for one voxel: in which row of the moving image is the tissue that you want at row y?"


def gates(answer: int, *, shape: tuple[int, ...], k: int) -> tuple[bool, str]:
    """How many gates of a layer are not zero on a grid of this shape?"""
    places = 1
    for size in shape:
        places *= size
    directions = len(shape)
    if answer == places * directions * k:
        return True, f"{places} places, {directions} directions, {k} experts each: sparse, and decided one by one."
    if answer == places * k:
        return (
            False,
            "Every direction has a router of its own: the two components of one place may use different experts.",
        )
    if answer == places * directions:
        return False, f"Top-k keeps k = {k} experts for each place and direction, not only the first."
    return False, "Count: places of the layer's grid, times directions, times experts kept by top-k."


def right_dice(warped: Tensor, fixed: Tensor, label: int) -> Tensor:
    """`2 |A and B| / (|A| + |B|)` of one label."""
    a, b = warped == label, fixed == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def _label_maps() -> Inputs:
    """Two maps with four labels in unequal shares, in 2-D and in 3-D; the label 2 is asked for."""
    draw = torch.Generator().manual_seed(31)
    inputs = {}
    for shape in ((8, 9), (5, 6, 7)):
        fixed = torch.randint(0, 4, shape, generator=draw)
        warped = torch.where(torch.rand(shape, generator=draw) < 0.4, torch.randint(1, 4, shape, generator=draw), fixed)
        inputs[f"in {len(shape)}-D"] = (warped, fixed, 2)
    return inputs


def _both(a: Tensor, b: Tensor, label: int) -> Tensor:
    return ((a == label) & (b == label)).sum()


def _either(a: Tensor, b: Tensor, label: int) -> Tensor:
    return ((a == label) | (b == label)).sum()


def _sizes(a: Tensor, b: Tensor, label: int) -> Tensor:
    return (a == label).sum() + (b == label).sum()


dice = Task(
    right=right_dice,
    inputs=_label_maps,
    mistakes={
        "That is the Jaccard index, the overlap over the union. Dice divides twice the overlap by both sizes.": (
            lambda a, b, n: _both(a, b, n) / _either(a, b, n)
        ),
        "The factor two is missing: equal maps would score one half.": lambda a, b, n: _both(a, b, n) / _sizes(a, b, n),
        "The two sizes are added, not the size of the union.": lambda a, b, n: 2 * _both(a, b, n) / _either(a, b, n),
        "That counts voxels where both agree, background included. Ask for one label.": (
            lambda a, b, n: (a == b).double().mean()
        ),
        "That divides by the organ in the fixed image alone: a map that is all liver would score one.": (
            lambda a, b, n: _both(a, b, n) / (b == n).sum()
        ),
        "That divides by the organ in the warped image alone: one voxel in the right place would score one.": (
            lambda a, b, n: _both(a, b, n) / (a == n).sum()
        ),
    },
    praise="Twice what both have in common over both sizes.",
    hint="A and B are masks, `warped == label` and `fixed == label`; count with `.sum()`.",
    gradient=False,
)


def right_mixture(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    """`sum_i g_i p_i` over the k experts with the largest logits, `g` the softmax of these logits."""
    best, indices = logits.topk(k, dim=1)
    return (best.softmax(1) * proposals.gather(1, indices)).sum(1)


def _layers() -> Inputs:
    """Logits and proposals of five experts, k = 2 in 2-D and 3 in 3-D."""
    draw = torch.Generator().manual_seed(32)
    return {
        f"in {len(shape)}-D": (*(torch.randn(2, 5, *shape, generator=draw) for _ in range(2)), len(shape))
        for shape in ((3, 4), (2, 3, 4))
    }


def _raw(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    best, indices = logits.softmax(1).topk(k, dim=1)
    return (best * proposals.gather(1, indices)).sum(1)


def _mean(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    return proposals.gather(1, logits.topk(k, dim=1).indices).mean(1)


def _across_places(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    best, indices = logits.topk(k, dim=1)
    return (best.softmax(-1) * proposals.gather(1, indices)).sum(1)


def _unweighted(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    best, indices = logits.topk(k, dim=1)
    return (best * proposals.gather(1, indices)).sum(1)


def _largest_proposals(logits: Tensor, proposals: Tensor, k: int) -> Tensor:
    best, indices = proposals.topk(k, dim=1)
    return (logits.gather(1, indices).softmax(1) * best).sum(1)


mixture = Task(
    right=right_mixture,
    inputs=_layers,
    mistakes={
        "That is the softmax over all experts, nobody left out. Choose the k best first.": (
            lambda x, p, k: (x.softmax(1) * p).sum(1)
        ),
        "The gates do not add up to one: after the choice, the softmax runs over the k chosen logits alone.": _raw,
        "The k best count equally here. Their logits say by how much one is preferred.": _mean,
        "The softmax runs over places. The experts compete, and they stand along axis 1.": _across_places,
        "Logits are scores of any sign. A softmax turns them into gates.": _unweighted,
        "The experts with the largest proposals are chosen. The router decides, by the logits.": _largest_proposals,
        "Only the best expert is kept. k of them count.": lambda x, p, k: right_mixture(x, p, 1),
    },
    praise="The best k, a softmax over their logits, the weighted sum of what they propose.",
    hint="`logits.topk(k, dim=1)` gives values and indices; `proposals.gather(1, indices)` picks the proposals.",
)

EXERCISES = {
    "tour-shift": shift,
    "tour-dice": dice,
    "tour-mixture": mixture,
    "tour-gates": gates,
}
