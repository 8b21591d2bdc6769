"""Chapter 05, attention heads."""

import math

import torch
from torch import Tensor

from moereg.course.exercises.functions import Inputs, Task
from moereg.nn.attention import Windows, attend


def windows(answer: float, *, shape: tuple[int, ...], window: int) -> tuple[bool, str]:
    """By what factor do windows reduce the number of attention weights per head?"""
    tokens, inside = 1, 1
    for size in shape:
        tokens *= size
        inside *= window
    factor = tokens / inside
    if math.isclose(answer, factor, rel_tol=1e-6):
        return True, f"Each of {tokens} tokens has {inside} weights instead of {tokens}."
    if answer == shape[0] / window:
        return False, "That is the factor along one axis."
    if answer in (inside, window ** len(shape)):
        return False, "That is how many weights a token has left. How many did it have before?"
    return False, "Compare the weights of one token: all tokens of the map, against those of its window."


def shared_keys(answer: int, *, heads: int, channels: int, head_dim: int) -> tuple[bool, str]:
    """How many numbers does one shared key and value projection save?"""
    right = 2 * (heads - 1) * channels * head_dim
    if answer == right:
        return True, "All heads but one give up a key and a value matrix; each keeps its own query and output."
    if answer == right // 2:
        return False, "Keys are shared, and so are values: there are two such matrices per head."
    if answer == 2 * heads * channels * head_dim:
        return False, "One pair of matrices is still needed, the shared one."
    return False, "Count the entries of one key matrix (channels x head_dim), then the matrices that are not needed."


def _queries() -> Inputs:
    """Queries, keys and values; more keys than queries, and windows of a map of two and of three axes."""
    draw = torch.Generator().manual_seed(31)
    shapes = {
        "one window": ((3, 8), (5, 8), (5, 2)),
        "windows of a 2-D map": ((4, 6, 16), (4, 6, 16), (4, 6, 3)),
        "heads in windows of a 3-D map": ((2, 3, 8, 4), (2, 3, 8, 4), (2, 3, 8, 5)),
    }
    return {case: tuple(torch.randn(shape, generator=draw) for shape in sizes) for case, sizes in shapes.items()}


def _attention(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float, axis: int = -1) -> Tensor:
    return (queries @ keys.mT / scale).softmax(axis) @ values


scaled = Task(
    right=lambda queries, keys, values: attend(queries, keys, values)[0],
    inputs=_queries,
    mistakes={
        "The scale is missing: scores grow with the root of d, and the softmax saturates. Divide by it.": (
            lambda queries, keys, values: _attention(queries, keys, values, scale=1)
        ),
        "That divides by d. The scores' standard deviation is the root of d.": (
            lambda queries, keys, values: _attention(queries, keys, values, scale=queries.shape[-1])
        ),
        "The softmax runs over the queries. The weights of one query add up to one over the keys, the last axis.": (
            lambda queries, keys, values: _attention(queries, keys, values, scale=queries.shape[-1] ** 0.5, axis=-2)
        ),
        "d is the width of queries and keys, not the number of tokens.": (
            lambda queries, keys, values: _attention(queries, keys, values, scale=keys.shape[-2] ** 0.5)
        ),
    },
    praise="softmax(Q K^T / root d) V, value and gradient, with any axes in front.",
    hint="Scores (..., T, S) are queries times transposed keys over the root of d; softmax over S; times values.",
)


def _maps() -> Inputs:
    """Feature maps whose axes are multiples of the window, in 2-D and in 3-D."""
    draw = torch.Generator().manual_seed(32)
    return {
        f"in {len(shape)}-D": (torch.randn(2, 3, *shape, generator=draw), window)
        for shape, window in (((4, 6), 2), ((2, 4, 6), 2))
    }


def _cut(features: Tensor, window: int) -> Tensor:
    """Axes (B, C, n1, n2, ..., s1, s2, ...)."""
    for axis in range(2, features.dim()):
        features = features.unfold(axis, window, window)
    return features


def _first_axis_fastest(features: Tensor, window: int) -> Tensor:
    """Tokens of a window in the opposite order of axes."""
    dims = features.dim() - 2
    cut = _cut(features, window).movedim(1, -1)
    order = [*range(1 + dims), *reversed(range(1 + dims, 1 + 2 * dims)), 1 + 2 * dims]
    return cut.permute(order).reshape(-1, window**dims, features.shape[1])


split = Task(
    right=lambda features, window: Windows.of(features, window).split(features),
    inputs=_maps,
    mistakes={
        "A reshape alone cuts the rows into pieces one after another; a window is a block. Unfold each axis first.": (
            lambda features, window: features.movedim(1, -1).reshape(
                -1, window ** (features.dim() - 2), features.shape[1]
            )
        ),
        "The channels must come last before the reshape: here numbers of different channels mix in one token.": (
            lambda features, window: _cut(features, window).reshape(
                -1, window ** (features.dim() - 2), features.shape[1]
            )
        ),
        "That is (windows, channels, tokens). A token is a row: channels last.": (
            lambda features, window: Windows.of(features, window).split(features).mT
        ),
        "The tokens of a window stand in the wrong order: rows first, the last axis fastest.": _first_axis_fastest,
    },
    praise="Blocks of neighbours, one row per token, for two and three axes of space.",
    hint="`unfold(axis, window, window)` adds an axis for places inside a window; then channels last, then reshape.",
)


def _projections() -> Inputs:
    """Tokens of one or more windows, and the matrices of N heads."""
    draw = torch.Generator().manual_seed(33)
    found = {}
    for case, (m, t, c, heads, d) in {"one window": (1, 4, 6, 2, 3), "three windows": (3, 8, 5, 3, 4)}.items():
        matrices = [torch.randn(heads, c, d, generator=draw) for _ in range(3)]
        found[case] = (torch.randn(m, t, c, generator=draw), *matrices, torch.randn(heads, d, c, generator=draw))
    return found


def _heads(tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> Tensor:
    """What each head adds, (N, M, T, C)."""
    return torch.stack(
        [
            attend(tokens @ q, tokens @ k, tokens @ v)[0] @ o
            for q, k, v, o in zip(query, key, value, output, strict=True)
        ]
    )


def _one_wide_head(tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> Tensor:
    """All heads' channels in one dot product."""
    wide = [torch.cat(list(matrix), 1) for matrix in (query, key, value)]
    return attend(*(tokens @ matrix for matrix in wide))[0] @ output.flatten(0, 1)


heads = Task(
    right=lambda *given: _heads(*given).sum(0),
    inputs=_projections,
    mistakes={
        "Heads are added, not averaged.": lambda *given: _heads(*given).mean(0),
        "That is one wide head: the channels of all heads share one softmax. Each head has its own.": _one_wide_head,
        "Keys and values are exchanged.": (
            lambda tokens, query, key, value, output: _heads(tokens, query, value, key, output).sum(0)
        ),
        "That is the first head alone.": lambda *given: _heads(*given)[0],
    },
    praise="A sum of heads, each with its own softmax: terms of a sum can be left out, and that is chapter 07.",
    hint="For each head: project with its three matrices, attend, multiply with its output matrix; add up.",
)

EXERCISES = {
    "attention-scaled": scaled,
    "attention-split": split,
    "attention-heads": heads,
    "attention-windows": windows,
    "attention-shared-keys": shared_keys,
}
