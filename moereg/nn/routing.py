"""Routers: which experts work on which voxel, and with what weight. And `Routing`, the record of what was decided.

A router is one linear map from features to `N` logits, followed by a rule that keeps `k` of them:

    x = W h                    logits, one per expert
    p = softmax(x)             probabilities
    G = top-k(p)               the chosen experts
    g_i = rule(p_i), i in G    gates, zero elsewhere

| `gate`         | rule                                | source                                         |
|----------------|-------------------------------------|------------------------------------------------|
| "raw"          | p_i                                 | released code of MoA (Zhang et al. 2022)       |
| "renormalised" | p_i / sum_G p                       | common                                         |
| "stopped"      | p_i / stopgrad(sum_G p)             | MoA, the paper: every logit still gets gradient |
| "topk_softmax" | softmax over the k chosen logits    | JetMoE                                         |
| "soft"         | p_i for all, k = N                  | dense mixture                                  |
| "uniform"      | 1 / N for all, whatever p says      | no routing: the control of every comparison    |

Nothing is kept in the module: a forward pass returns a `Routing`, and whoever wants to look into the experts asks it.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moereg.checks import check_channels, check_choice
from moereg.processes import over_processes

GATES = ("raw", "renormalised", "stopped", "topk_softmax", "soft", "uniform")


@dataclass(frozen=True)
class Site:
    """Where in a network a routed layer sits. A layer used by itself has the default."""

    name: str = ""  # key of its routing in `Registration.routing`
    role: str = ""  # "encoder" or "decoder"
    stride: int = 1  # voxels of the image from one voxel of its grid to the next; its voxel i sits on voxel stride * i


@dataclass(frozen=True)
class Routing:
    """What one layer decided. All maps live on the layer's own grid.

    Axes: `router` counts independent decisions at one place (one per displacement direction in SHMoE, one in MoA),
    `expert` the N experts, `k` the chosen ones, largest gate first.
    """

    logits: Float[Tensor, "batch router expert *space"]
    gates: Float[Tensor, "batch router expert *space"]  # zero where an expert was not chosen
    indices: Int[Tensor, "batch router k *space"]
    experts: tuple[str, ...]  # names, "5³" or "head 2"
    routers: tuple[str, ...]  # names, "z" "y" "x" or "token"
    # What each expert would have added to the result of each direction, where experts' shares are numbers that add up.
    proposals: Float[Tensor, "batch direction expert *space"] | None = None
    site: Site = Site()

    @property
    def name(self) -> str:
        """Of the layer, as in `Registration.routing`."""
        return self.site.name

    @property
    def role(self) -> str:
        """ "encoder" or "decoder"; empty for a layer outside of a network."""
        return self.site.role

    @property
    def stride(self) -> int:
        """Voxels of the image from one voxel of the layer's grid to the next."""
        return self.site.stride

    @property
    def probabilities(self) -> Float[Tensor, "batch router expert *space"]:
        """Softmax of the logits over the experts."""
        return self.logits.softmax(2)

    @property
    def contributions(self) -> Float[Tensor, "batch direction expert *space"]:
        """Gate times proposal: what each expert did add. The sum over the experts is the layer's output.

        One router for all directions is broadcast over them.
        """
        if self.proposals is None:
            raise ValueError("proposals are not known for this layer: its experts' shares are vectors, not numbers.")
        return self.gates.to(self.proposals.dtype) * self.proposals  # step: shares

    def with_proposals(self, proposals: Float[Tensor, "batch direction expert *space"]) -> "Routing":
        """The same decisions with the experts' proposals beside them."""
        return replace(self, proposals=proposals)

    def load(self) -> Float[Tensor, "router expert"]:
        """Share of assignments that each expert got, `f_i`. Sums to one over the experts."""
        chosen = F.one_hot(self.indices, len(self.experts)).to(self.gates.dtype)  # (B, R, k, *S, N)
        return chosen.movedim(1, 0).flatten(1, -2).mean(1)

    def importance(self) -> Float[Tensor, "router expert"]:
        """Mean probability of each expert, `P_i`. Sums to one over the experts."""
        return self.probabilities.movedim((1, 2), (0, 1)).flatten(2).mean(2)

    def entropy(self) -> Float[Tensor, "batch router *space"]:
        """Entropy of the probabilities in nats, 0 (certain) to log N (uniform)."""
        log_p = self.logits.log_softmax(2)
        return -(log_p.exp() * log_p).sum(2)

    def first(self) -> Int[Tensor, "batch router *space"]:
        """Index of the expert with the largest gate."""
        return self.indices[:, :, 0]

    def balance_loss(self) -> Float[Tensor, ""]:
        """`N sum_i f_i P_i`, one when load is even (Switch Transformer); only `P` has gradient. Mean over routers.

        Load and importance are those of the batch of all devices in a training on several.
        """
        load, importance = over_processes(self.load().detach()), over_processes(self.importance())
        return len(self.experts) * (load * importance).sum(1).mean()

    def z_loss(self) -> Float[Tensor, ""]:
        """`mean (log sum_i exp x_i)^2`: keeps logits small (ST-MoE)."""
        return self.logits.logsumexp(2).square().mean()

    def information_loss(self) -> Float[Tensor, ""]:
        """`-MI(expert; place) = mean entropy - entropy of the mean`, between `-log N` and 0, mean over routers.

        Low where each place is sure and places differ, so it does the work of the balance loss too (ModuleFormer, Shen
        et al. 2023). `P` is the mean over the batch of all devices in a training on several.
        """
        importance = over_processes(self.importance())
        of_mean = -torch.special.xlogy(importance, importance).sum(1)
        # -MI = mean_x H(p(x)) - H(P)
        return (self.entropy().movedim(1, 0).flatten(1).mean(1) - of_mean).mean()

    def agreement(self, other: "Routing") -> Float[Tensor, " router"]:
        """Share of places where both routings give the largest gate to the same expert."""
        if self.first().shape != other.first().shape:
            raise ValueError(
                f"other must come from the same layer and grid, expected indices {tuple(self.first().shape)}, "
                f"got {tuple(other.first().shape)}."
            )
        return (self.first() == other.first()).movedim(1, 0).flatten(1).to(self.gates.dtype).mean(1)

    def detach(self) -> "Routing":
        """The same record without a graph, for keeping."""
        proposals = None if self.proposals is None else self.proposals.detach()
        return replace(self, logits=self.logits.detach(), gates=self.gates.detach(), proposals=proposals)


class Router(nn.Module):
    """Linear router on a feature map, `R` decisions per voxel, each over `N` experts.

    The weight has no bias (MoA). MoA starts it at zero; here it starts small and random, because with equal logits
    top-k would send *every* voxel to the same k experts (our choice).

    Args:
        channels: of the feature map.
        experts: their names; N is the number of names.
        k: how many are chosen at each place.
        gate: rule for the weights, a row of the table above.
        routers: names of the R independent decisions.
        noise: add `normal * (softplus(h W_n) + 0.01)` to the logits while training (noisy top-k, Shazeer et al. 2017).
        site: where the layer sits in its network; every `Routing` carries it.
    """

    def __init__(
        self,
        channels: int,
        experts: tuple[str, ...],
        *,
        k: int,
        gate: str = "stopped",
        routers: tuple[str, ...] = ("token",),
        noise: bool = False,
        site: Site = Site(),
    ):
        super().__init__()
        check_choice("gate", gate, GATES)
        if not 1 <= k <= len(experts):
            raise ValueError(f"k must be between 1 and the number of experts ({len(experts)}), got {k}.")
        self.experts, self.routers = tuple(experts), tuple(routers)
        self.k = len(experts) if gate in ("soft", "uniform") else k
        self.gate, self.site = gate, site
        outputs = len(routers) * len(experts)
        self.weight = nn.Parameter(torch.randn(outputs, channels) * 0.1 / math.sqrt(channels))
        self.noise_weight = nn.Parameter(torch.zeros(outputs, channels)) if noise else None

    def forward(
        self, features: Float[Tensor, "batch channel *space"], generator: torch.Generator | None = None
    ) -> Routing:
        """Route every voxel. `generator` draws the noise, where the router has any and is in training mode.

        Raises:
            ValueError: features of other channels.
        """
        check_channels("features", features, self.weight.shape[1], weights=self.weight)
        logits = self._linear(self.weight, features)  # step: logits
        if self.noise_weight is not None and self.training:
            # x + normal * (softplus(h W_n) + 0.01)
            spread = F.softplus(self._linear(self.noise_weight, features)) + 0.01
            normal = torch.randn(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
            logits = logits + normal * spread
        gates, indices = choose(logits, self.k, self.gate)
        return Routing(logits, gates, indices, self.experts, self.routers, site=self.site)

    def _linear(self, weight: Tensor, features: Tensor) -> Tensor:
        """`(B, C, *S) -> (B, R, N, *S)`"""
        # Tokens times matrix, so that the gradient comes back channels last, as the encoder stores its features.
        maps = (features.movedim(1, -1) @ weight.T).movedim(-1, 1).contiguous()
        return maps.unflatten(1, (len(self.routers), len(self.experts)))


def choose(
    logits: Float[Tensor, "batch router expert *space"], k: int, gate: str
) -> tuple[Float[Tensor, "batch router expert *space"], Int[Tensor, "batch router k *space"]]:
    """Logits -> gates and indices of the k chosen experts, by one row of the module's table.

    Raises:
        ValueError: a rule that the table does not have, or k that is not among the experts' numbers.
    """
    check_choice("gate", gate, GATES)
    if not 1 <= k <= logits.shape[2]:
        raise ValueError(f"k must be between 1 and the number of experts ({logits.shape[2]}), got {k}.")
    # Softmax and its sums in float32 also under autocast: gates of nearly equal experts would tie in bf16.
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    scores, indices = logits.topk(k, dim=2)  # step: top-k
    if gate == "uniform":
        kept = torch.full_like(scores, 1 / logits.shape[2])  # step: uniform gates
    elif gate == "topk_softmax":
        kept = scores.softmax(2)  # step: softmax of the chosen
    else:
        kept = logits.softmax(2).gather(2, indices)  # step: softmax
        if gate == "renormalised":
            kept = kept / kept.sum(2, keepdim=True)  # step: renormalised gates
        elif gate == "stopped":
            kept = kept / kept.sum(2, keepdim=True).detach()  # step: stopped gates
    return torch.zeros_like(logits).scatter(2, indices, kept), indices  # step: zeros elsewhere
