"""SHMoE: every voxel picks, separately for each displacement direction, among convolutions of different kernel size.

Source of the idea: SHMoAReg (Zheng, Feng, Li, Staring, Qiao, arXiv 2509.20073). The paper says *what* is routed: per
voxel, per direction, experts of varying kernel size. The formulas are our instance of it:

    E_e(h)        expert e, a convolution of extent k_e, one for all directions                (B, C', *S)
    g_{d,e}(x)    gate of expert e for direction d at voxel x, from one router per direction    (B, D, N, *S)
    y_d           = sum_e g_{d,e} E_e(h)                        mixture                         (B, D, C', *S)
    u_d           = a_d . y_d = sum_e g_{d,e} (a_d . E_e(h))    displacement along direction d  (B, D, *S)

| paper                  | code                                  |
|------------------------|---------------------------------------|
| expert of kernel size k | `ConvolutionExperts`, name "k³" or "k²" |
| three directions        | `routers=("z", "y", "x")`              |
| routing                 | `Router`, one row of logits per direction and expert |

The readout `a_d` is linear and comes after the mixture, so it may as well come before it, or go into the convolution's
kernel: `a_d . (W_e * h) = (a_d W_e) * h` has one output channel per direction instead of C'. `forward` uses this: the
mixtures and most experts' maps of C' channels are never made, and each expert's share of the displacement,
`g_{d,e} (a_d . E_e)`, is at hand. `mixture` is the plain form.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moereg.checks import check_choice
from moereg.nn.convolution import convolution, convolve
from moereg.nn.routing import Router, Routing, Site

EXPERT_KINDS = ("full", "nested", "separable")
DIRECTIONS = {2: ("y", "x"), 3: ("z", "y", "x")}


class ConvolutionExperts(nn.Module):
    """N convolutions of growing extent on the same features, each evaluated once.

    | kind        | expert of extent k                                            | cost of 1, 3, 5, 7 in 3-D |
    |-------------|---------------------------------------------------------------|---------------------------|
    | "full"      | a dense k^D kernel                                            | 1 + 27 + 125 + 343 = 496  |
    | "nested"    | (k-1)/2 chained 3^D convolutions; expert 5 continues expert 3 | 1 + 27 + 27 + 27 = 82     |
    | "separable" | a k^D kernel per channel, then a 1^D mix of channels          | (1 + 27 + 125 + 343)/C + 4 |

    The chain has no activation in between: every expert is one linear convolution of its extent.
    """

    convolutions: nn.ModuleList | nn.ModuleDict  # by place; by extent where they are "nested"

    def __init__(self, in_channels: int, out_channels: int, *, dims: int, kernel_sizes: tuple[int, ...], kind: str):
        super().__init__()
        check_choice("kind", kind, EXPERT_KINDS)
        if (
            not kernel_sizes
            or any(k < 1 or k % 2 == 0 for k in kernel_sizes)
            or list(kernel_sizes) != sorted(kernel_sizes)
        ):
            raise ValueError(f"kernel_sizes must be odd, positive and in ascending order, got {kernel_sizes}.")
        if kind == "nested" and len(set(kernel_sizes)) < len(kernel_sizes):
            raise ValueError(f"kernel_sizes of nested experts must differ, or two were one, got {kernel_sizes}.")
        self.kernel_sizes, self.kind = tuple(kernel_sizes), kind
        self.names = tuple(f"{k}{'²' if dims == 2 else '³'}" for k in kernel_sizes)
        conv = convolution(dims)
        if kind == "full":
            self.convolutions = nn.ModuleList(conv(in_channels, out_channels, k, padding=k // 2) for k in kernel_sizes)
        elif kind == "separable":
            self.convolutions = nn.ModuleList(
                nn.Sequential(
                    conv(in_channels, in_channels, k, padding=k // 2, groups=in_channels, bias=False),
                    conv(in_channels, out_channels, 1),
                )
                for k in kernel_sizes
            )
        else:
            extents = [1] if kernel_sizes[0] == 1 else []
            extents += range(3, kernel_sizes[-1] + 1, 2)
            self.convolutions = nn.ModuleDict(
                {
                    str(k): conv(
                        in_channels if k <= 3 else out_channels, out_channels, min(k, 3), padding=min(k, 3) // 2
                    )
                    for k in extents
                }
            )

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> list[Tensor]:
        """N maps `(B, C', *S)`, smallest extent first."""
        if isinstance(self.convolutions, nn.ModuleList):
            return [expert(features) for expert in self.convolutions]
        outputs, chained = {}, features
        for extent, conv in self.convolutions.items():
            if extent == "1":
                outputs[1] = conv(features)
            else:
                outputs[int(extent)] = chained = conv(chained)
        return [outputs[k] for k in self.kernel_sizes]

    def read(
        self, features: Float[Tensor, "batch channel *space"], readout: Float[Tensor, "row out"]
    ) -> list[Float[Tensor, "batch row *space"]]:
        """`[readout . E for E in self(features)]`, faster and in less memory: the readout goes into the kernels.

        Only a map that a longer chain of "nested" experts continues is made with all its channels.
        """
        if isinstance(self.convolutions, nn.ModuleList):
            return [_read_expert(expert, features, readout) for expert in self.convolutions]
        outputs, chained = {}, features
        for extent, conv in self.convolutions.items():
            if extent in ("1", str(self.kernel_sizes[-1])):
                outputs[int(extent)] = _read_convolution(conv, features if extent == "1" else chained, readout)
            else:
                chained = conv(chained)
                outputs[int(extent)] = torch.einsum("rc,bc...->br...", readout, chained)
        return [outputs[k] for k in self.kernel_sizes]


def read_experts(experts: nn.Module, features: Tensor, readout: Tensor) -> list[Tensor]:
    """`ConvolutionExperts.read`; any other module that gives N maps is read map by map."""
    if isinstance(experts, ConvolutionExperts):
        return experts.read(features, readout)
    return [torch.einsum("rc,bc...->br...", readout, expert) for expert in experts(features)]


def _read_expert(expert: nn.Module, features: Tensor, readout: Tensor) -> Tensor:
    """One of "full" or "separable"; of the latter the mix of channels is read."""
    if isinstance(expert, nn.Sequential):
        spread, mix = expert
        return _read_convolution(mix, spread(features), readout)
    return _read_convolution(expert, features, readout)


def _read_convolution(conv: nn.Module, features: Tensor, readout: Tensor) -> Tensor:
    """`readout . conv(features)` as one convolution with the rows of `readout` for output channels."""
    # a . (W * h + b) = (a W) * h + a . b
    weight = torch.einsum("rc,c...->r...", readout, cast(Tensor, conv.weight))
    bias = readout @ cast(Tensor, conv.bias)
    return convolve(features, weight, bias, padding=[extent // 2 for extent in weight.shape[2:]])


class SpatialHeterogeneousMoE(nn.Module):
    """Features -> one displacement component per direction, each voxel and direction with its own mixture of experts.

    Args:
        channels: of the features, and of each expert's output unless `out_channels` says otherwise.
        dims: spatial axes, 2 or 3; also the number of directions.
        kernel_sizes: extents of the experts, odd.
        k: experts used per voxel and direction.
        kind: "full", "nested" or "separable" experts (see `ConvolutionExperts`).
        gate: rule for the gates (see `moereg.nn.routing`).
        routers: "directions" routes each direction by itself; "joint" takes one decision for all, for comparison.
        site: where the layer sits in its network (see `moereg.nn.routing.Site`).
    """

    def __init__(
        self,
        channels: int,
        *,
        dims: int = 3,
        out_channels: int | None = None,
        kernel_sizes: tuple[int, ...] = (1, 3, 5, 7),
        k: int = 2,
        kind: str = "nested",
        gate: str = "stopped",
        routers: str = "directions",
        site: Site = Site(),
    ):
        super().__init__()
        check_choice("routers", routers, ("directions", "joint"))
        self.dims = dims
        out_channels = out_channels or channels
        self.experts = ConvolutionExperts(channels, out_channels, dims=dims, kernel_sizes=kernel_sizes, kind=kind)
        names = DIRECTIONS[dims] if routers == "directions" else ("all",)
        self.router = Router(channels, self.experts.names, k=k, gate=gate, routers=names, site=site)
        # Small, so that an untrained layer moves nothing far.
        self.readout = nn.Parameter(torch.randn(dims, out_channels) * 0.01)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> tuple[Tensor, Routing]:
        """`(B, C, *S) -> (B, D, *S)`, and the routing with every expert's proposal in it."""
        routing = self.router(features)  # step: features
        # Displacements are summed in the precision of the gates, float32 also under autocast: bfloat16 holds 8 bits.
        routing = routing.with_proposals(self.proposals(features).to(routing.gates.dtype))  # step: proposals
        # u_d = sum_e g_{d,e} (a_d . E_e(h))
        return routing.contributions.sum(2), routing  # step: sum

    def proposals(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch dims expert *space"]:
        """What each expert would move the voxel by, for each direction, were its gate one: `a_d . E_e`."""
        return torch.stack(read_experts(self.experts, features, self.readout), dim=2)

    def mixture(self, features: Float[Tensor, "batch channel *space"]) -> tuple[Tensor, Routing]:
        """The mixtures themselves, `y_d`, before the readout: `(B, C, *S) -> (B, D, C', *S)`."""
        routing: Routing = self.router(features)
        experts: list[Tensor] = self.experts(features)
        gates = routing.gates.unbind(2)
        # y_d = sum_e g_{d,e} E_e(h)
        shares = (gate[:, :, None] * expert[:, None] for gate, expert in zip(gates, experts, strict=True))
        mixed = sum(shares, start=gates[0].new_zeros(()))
        return mixed.expand(-1, self.dims, *mixed.shape[2:]), routing


class OwnedExpertsMoE(SpatialHeterogeneousMoE):
    """The comparison to shared experts: each direction owns N convolutions that no other direction uses.

    `proposals` is the only step that differs; there is no `mixture`, because the directions have nothing in common.
    """

    def __init__(self, channels: int, *, dims: int = 3, kernel_sizes: tuple[int, ...] = (1, 3, 5, 7), **options):
        super().__init__(channels, dims=dims, kernel_sizes=kernel_sizes, **options)
        kind, width = self.experts.kind, self.readout.shape[1]
        self.experts = nn.ModuleList(
            ConvolutionExperts(channels, width, dims=dims, kernel_sizes=kernel_sizes, kind=kind) for _ in range(dims)
        )

    def proposals(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch dims expert *space"]:
        """As for shared experts, but direction d asks its own."""
        owners = zip(self.experts, self.readout[:, None], strict=True)
        return torch.cat([torch.stack(read_experts(experts, features, row), dim=2) for experts, row in owners], dim=1)

    def mixture(self, features: Tensor) -> tuple[Tensor, Routing]:
        """Not defined: the directions have no experts in common."""
        raise NotImplementedError("mixture needs experts that all directions share.")
