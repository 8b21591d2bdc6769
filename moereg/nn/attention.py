"""Attention from one head upwards: head -> multi-head -> windows of a volume -> mutual attention between two images.

    attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V                      (Vaswani et al. 2017)

Token sequences are `(M, T, C)`: M sequences (windows) of T tokens. Maps `(B, C, *S)` are cut into windows of tokens
(`to_windows`), so that memory grows with the number of voxels and not with its square.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from moereg.checks import check_channels, check_positive, check_same_space


def attend(
    queries: Float[Tensor, "*batch query d"],
    keys: Float[Tensor, "*batch key d"],
    values: Float[Tensor, "*batch key v"],
    valid: Bool[Tensor, "#*batch 1 key"] | None = None,
) -> tuple[Float[Tensor, "*batch query v"], Float[Tensor, "*batch query key"]]:
    """Scaled dot-product attention, and its weights. `valid` is False for keys that are padding."""
    # softmax(Q K^T / sqrt(d)) V
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    if valid is not None:
        scores = scores.masked_fill(~valid, -torch.inf)
    weights = scores.softmax(-1)
    return weights @ values, weights


class AttentionHead(nn.Module):
    """One head: three projections and `attend`. `(M, T, C), (M, T', C) -> (M, T, d)`"""

    def __init__(self, channels: int, head_dim: int):
        super().__init__()
        self.query = nn.Linear(channels, head_dim, bias=False)
        self.key = nn.Linear(channels, head_dim, bias=False)
        self.value = nn.Linear(channels, head_dim, bias=False)

    def forward(self, tokens: Float[Tensor, "m t c"], context: Float[Tensor, "m s c"] | None = None) -> Tensor:
        """Tokens look at the context, or at themselves."""
        context = tokens if context is None else context
        return attend(self.query(tokens), self.key(context), self.value(context))[0]


class MultiHeadAttention(nn.Module):
    """`sum_i Attention_i W_i^o`: heads in parallel, each with its own output projection, added up.

    Adding per-head outputs is the usual "concatenate, then project" written per head: the rows of the big output
    matrix are split among the heads. It is the form that a mixture of heads needs.

    Args:
        channels: of the tokens.
        heads, head_dim: N heads of width d.
        shared_keys: one key and one value projection for all heads (multi-query attention), as MoA has it.
    """

    def __init__(self, channels: int, *, heads: int, head_dim: int, shared_keys: bool = False):
        super().__init__()
        check_positive("heads", heads, integer=True)
        check_positive("head_dim", head_dim, integer=True)
        self.heads, self.head_dim = heads, head_dim
        self.key_heads = 1 if shared_keys else heads
        scale = channels**-0.5
        self.query = nn.Parameter(torch.randn(heads, channels, head_dim) * scale)
        self.key = nn.Parameter(torch.randn(self.key_heads, channels, head_dim) * scale)
        self.value = nn.Parameter(torch.randn(self.key_heads, channels, head_dim) * scale)
        self.output = nn.Parameter(torch.randn(heads, head_dim, channels) * (heads * head_dim) ** -0.5)

    def forward(
        self,
        tokens: Float[Tensor, "m t c"],
        context: Float[Tensor, "m s c"] | None = None,
        valid: Bool[Tensor, "m s"] | None = None,
    ) -> Float[Tensor, "m t c"]:
        """Tokens look at the context, or at themselves; `valid` is False for context tokens that are padding.

        Raises:
            ValueError: other channels.
        """
        context = tokens if context is None else context
        check_channels("tokens", tokens, self.query.shape[1], axis=-1, weights=self.query)
        check_channels("context", context, self.query.shape[1], axis=-1, weights=self.query)
        queries = torch.einsum("mtc,ncd->mntd", tokens, self.query)
        keys = torch.einsum("msc,ncd->mnsd", context, self.key)
        values = torch.einsum("msc,ncd->mnsd", context, self.value)
        mask = None if valid is None else valid[:, None, None]
        # sum_i softmax(Q_i K_i^T / sqrt(d)) V_i W_i^o
        shape = (-1, self.heads, -1, -1)
        mixed = F.scaled_dot_product_attention(queries, keys.expand(*shape), values.expand(*shape), attn_mask=mask)
        return torch.einsum("mntd,ndc->mtc", mixed, self.output)


@dataclass(frozen=True)
class Windows:
    """How a map of size `space` was cut: `counts` windows of `size` tokens along each axis, padded to fit."""

    batch: int
    space: tuple[int, ...]
    size: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, features: Tensor, window: int) -> "Windows":
        """Windows of at most `window` tokens along each axis, as even as possible: 12 is cut 6 + 6, not 8 + 4."""
        space = tuple(features.shape[2:])
        counts = tuple(-(-n // window) for n in space)
        return cls(features.shape[0], space, tuple(-(-n // c) for n, c in zip(space, counts, strict=True)), counts)

    @property
    def padding(self) -> list[int]:
        """Arguments for `F.pad`: voxels missing at the end of each axis, last axis first."""
        missing = [s * c - n for s, c, n in zip(self.size, self.counts, self.space, strict=True)]
        return [amount for m in reversed(missing) for amount in (0, m)]

    def split(self, features: Shaped[Tensor, "batch c *space"]) -> Shaped[Tensor, "m t c"]:
        """`(B, C, *S) -> (M, T, C)` with `M = B prod(counts)` windows of `T = prod(size)` tokens."""
        if any(self.padding):
            features = F.pad(features, self.padding)
        # Channels last throughout, before and after: what is copied are whole tokens, not single numbers.
        dims, channels = len(self.space), features.shape[1]
        shape = [length for pair in zip(self.counts, self.size, strict=True) for length in pair]
        cut = features.movedim(1, -1).reshape(self.batch, *shape, channels)  # (B, n1, s1, n2, s2, ..., C)
        counts, sizes = [1 + 2 * d for d in range(dims)], [2 + 2 * d for d in range(dims)]
        return cut.permute(0, *counts, *sizes, 1 + 2 * dims).reshape(-1, _product(self.size), channels)

    def join(self, tokens: Shaped[Tensor, "m t c"]) -> Shaped[Tensor, "batch c *space"]:
        """`split` undone; padding is cut off. The result is stored channels last."""
        dims = len(self.space)
        cut = tokens.reshape(self.batch, *self.counts, *self.size, tokens.shape[-1])
        order = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]
        padded = [s * c for s, c in zip(self.size, self.counts, strict=True)]
        whole = cut.permute(0, *order, 1 + 2 * dims).reshape(self.batch, *padded, tokens.shape[-1])
        return whole[(slice(None), *(slice(0, n) for n in self.space))].movedim(-1, 1)

    def valid(self, device: torch.device) -> Bool[Tensor, "m t"] | None:
        """False for padding, or None where nothing was padded."""
        if not any(self.padding):
            return None
        inside = torch.ones(self.batch, 1, *self.space, device=device)
        return self.split(inside)[..., 0] > 0


@torch.no_grad()
def attention_at(
    features: Float[Tensor, "1 c *space"],
    context: Float[Tensor, "1 c *space"],
    voxel: tuple[int, ...],
    *,
    window: int,
    query: Float[Tensor, "head c d"],
    key: Float[Tensor, "head c d"],
) -> Float[Tensor, "head *space"]:
    """Where each head of one voxel of `features` looks in `context`: weights on the whole map, zero outside its window.

    What fused attention never stores, computed for one token when it is asked for.
    """
    windows = Windows.of(features, window)
    here = torch.zeros_like(features[:, :1])
    here[(0, 0, *voxel)] = 1
    m, t = windows.split(here)[..., 0].nonzero()[0].tolist()
    queries = torch.einsum("c,ncd->nd", windows.split(features)[m, t], query)[:, None]
    keys = torch.einsum("sc,ncd->nsd", windows.split(context)[m], key)
    valid = windows.valid(features.device)
    weights = attend(queries, keys, keys, None if valid is None else valid[m][None, None])[1][:, 0]  # (N, T)
    everywhere = weights.new_zeros(windows.split(here).shape[0], weights.shape[1], len(weights))
    everywhere[m] = weights.T
    return windows.join(everywhere)[0]


def _product(numbers: tuple[int, ...]) -> int:
    return torch.Size(numbers).numel()


class MutualAttention(nn.Module):
    """Two feature maps look at each other: each takes from the other what resembles its own tokens.

        a' = a + MHA(query a; keys, values b)        b' = b + MHA(query b; keys, values a)

    Windowed: a token sees the window of the other image at its own place. The source of the idea is RMAn (arXiv
    2206.01863), whose equations were not open to us; these are ours.
    """

    def __init__(self, channels: int, *, heads: int = 4, head_dim: int = 16, window: int = 8):
        super().__init__()
        check_positive("window", window, integer=True)
        self.window = window
        self.attention = MultiHeadAttention(channels, heads=heads, head_dim=head_dim)

    def forward(
        self, first: Float[Tensor, "batch c *space"], second: Float[Tensor, "batch c *space"]
    ) -> tuple[Float[Tensor, "batch c *space"], Float[Tensor, "batch c *space"]]:
        """Both maps, each enriched by the other.

        Raises:
            ValueError: other channels, or maps of unequal shapes.
        """
        channels = self.attention.query.shape[1]
        check_channels("first", first, channels, weights=self.attention.query)
        check_channels("second", second, channels, weights=self.attention.query)
        check_same_space("second", second, "first", first, channels=True)
        windows = Windows.of(first, self.window)
        a, b, valid = windows.split(first), windows.split(second), windows.valid(first.device)
        # a' = a + MHA(a; b),   b' = b + MHA(b; a)
        return (
            first + windows.join(self.attention(a, b, valid)),
            second + windows.join(self.attention(b, a, valid)),
        )
