"""MoA: a mixture of attention heads. Every token picks k of N heads.

Source: Zhang et al., "Mixture of Attention Heads: Selecting Attention Heads Per Token", EMNLP 2022, arXiv 2210.05144;
used by SHMoAReg (arXiv 2509.20073) for the tokens of a registration encoder.

    E_i(q; K, V) = softmax(q W_i^q (K W^k)^T / sqrt(d)) V W^v W_i^o          head i
    y_t          = sum over i in G(q_t) of w_{i,t} E_i(q_t; K, V)            G = top-k of the router

| paper            | code             | shape     |
|------------------|------------------|-----------|
| W_i^q, per head  | `query`          | (N, C, d) |
| W^k, W^v, shared | `key`, `value`   | (C, d)    |
| W_i^o, per head  | `output`         | (N, d, C) |
| w_{i,t}          | `Routing.gates`  |           |

There is one W^k and one W^v for all heads: multi-query attention whose *query heads* are picked per token. So keys and
values are computed once, and only the query and output projections need to go to different experts.

Ours, not the paper's: tokens are voxels of a feature map, attention stays inside windows, and keys and values may come
from the other image (`context`).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_channels, check_choice, check_positive, check_same_space
from moereg.nn.attention import Windows, attention_at
from moereg.nn.dispatch import Assignment, from_experts, to_experts
from moereg.nn.routing import Router, Routing, Site

COMPUTE = ("dense", "sparse")


class MixtureOfAttentionHeads(nn.Module):
    """`(B, C, *S) -> (B, C, *S)`: windowed attention in which each token uses k of N heads.

    Args:
        channels: C.
        heads, k, head_dim: N heads of width d, k of them per token.
        window: most tokens along each axis of a window.
        gate: rule for the weights (see `moereg.nn.routing`).
        compute: "dense" evaluates every head and multiplies with the gates, zeros included: clear. "sparse" evaluates
            the chosen heads only, tokens sorted by head. Equal value and gradient.
        noise: noisy routing while training.
        site: where the layer sits in its network (see `moereg.nn.routing.Site`).
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        k: int = 2,
        head_dim: int = 16,
        window: int = 8,
        gate: str = "stopped",
        compute: str = "sparse",
        noise: bool = False,
        site: Site = Site(),
    ):
        super().__init__()
        check_choice("compute", compute, COMPUTE)
        for name, value in (("heads", heads), ("head_dim", head_dim), ("window", window)):
            check_positive(name, value, integer=True)
        self.window, self.compute = window, compute
        names = tuple(f"head {i}" for i in range(heads))
        self.router = Router(channels, names, k=k, gate=gate, noise=noise, site=site)
        scale = channels**-0.5
        self.query = nn.Parameter(torch.randn(heads, channels, head_dim) * scale)
        self.key = nn.Parameter(torch.randn(channels, head_dim) * scale)
        self.value = nn.Parameter(torch.randn(channels, head_dim) * scale)
        self.output = nn.Parameter(torch.randn(heads, head_dim, channels) * (k * head_dim) ** -0.5)

    def forward(
        self, features: Float[Tensor, "batch c *space"], context: Float[Tensor, "batch c *space"] | None = None
    ) -> tuple[Float[Tensor, "batch c *space"], Routing]:
        """Mix the chosen heads of every token. Keys and values come from `context`, or from the features themselves.

        Raises:
            ValueError: other channels, or a context of another shape.
        """
        check_channels("features", features, self.key.shape[0], weights=self.key)
        if context is not None:
            check_same_space("context", context, "features", features, channels=True)
        windows = Windows.of(features, self.window)
        routing = self.router(features)  # step: features
        tokens = windows.split(features)
        source = tokens if context is None else windows.split(context)
        # Once for all heads; one product for both, which halves the way back. (M, T, 2 d) -> twice (M, T, d)
        keys, values = (source @ torch.cat([self.key, self.value], 1)).chunk(2, -1)  # step: keys, values
        valid = windows.valid(features.device)
        gates = windows.split(routing.gates[:, 0]).to(tokens.dtype)  # (M, T, N)
        if self.compute == "dense":
            mixed = self._dense(tokens, keys, values, gates, valid)
        else:
            indices = windows.split(routing.indices[:, 0])  # (M, T, k)
            mixed = self._sparse(tokens, keys, values, gates.gather(2, indices), indices, valid)
        return windows.join(mixed), routing

    def _dense(self, tokens: Tensor, keys: Tensor, values: Tensor, gates: Tensor, valid: Tensor | None) -> Tensor:
        queries = torch.einsum("mtc,ncd->mntd", tokens, self.query)
        mask = None if valid is None else valid[:, None, None]
        heads = queries.shape[1]
        keys, values = (kv[:, None].expand(-1, heads, -1, -1) for kv in (keys, values))
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask
        )  # (M, N, T, d)  # step: attention
        # y_t = sum_i w_{i,t} E_i(q_t; K, V), with w = 0 for heads that were not chosen
        return torch.einsum("mntd,mtn,ndc->mtc", attended, gates, self.output)  # step: sum over heads

    def _sparse(
        self, tokens: Tensor, keys: Tensor, values: Tensor, gates: Tensor, indices: Tensor, valid: Tensor | None
    ) -> Tensor:
        m, t, k = indices.shape
        assignment = Assignment.of(indices.flatten(0, 1), len(self.query))
        queries = to_experts(tokens.flatten(0, 1), self.query, assignment)  # (M T, k, d)
        mask = None if valid is None else valid[:, None, None]
        # All T k queries of a window meet its T keys in one product: the heads differ in queries only.
        attended = F.scaled_dot_product_attention(  # step: attention
            queries.view(m, 1, t * k, -1), keys[:, None], values[:, None], attn_mask=mask
        )
        # y_t = sum over i in G(q_t) of w_{i,t} E_i(q_t; K, V)
        gated = attended.reshape(m * t, k, -1) * gates.reshape(m * t, k, 1)
        return from_experts(gated, self.output, assignment).view(m, t, -1)  # step: sum over heads

    @torch.no_grad()
    def attention_from(
        self,
        features: Float[Tensor, "batch c *space"],
        voxel: tuple[int, ...],
        context: Float[Tensor, "batch c *space"] | None = None,
    ) -> Float[Tensor, "head *space"]:
        """Where each head of one voxel of the first item looks: weights on the whole map, zero outside its window."""
        source = features if context is None else context
        return attention_at(
            features[:1], source[:1], voxel, window=self.window, query=self.query, key=self.key.expand_as(self.query)
        )
