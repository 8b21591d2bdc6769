"""What a function makes for itself, it makes where its input lies.

On the device "meta" tensors have shapes and no data, and operations refuse to mix it with the CPU: as on a GPU.
"""

import pytest
import torch

from moereg import fields, filters, models
from moereg.classical.step import demons_force, lie_bracket, stays_inside
from moereg.models.segmentation import classes
from moereg.models.segreg import group_labels
from moereg.nn import MixtureOfAttentionHeads, MutualAttention, Router, SpatialHeterogeneousMoE
from moereg.nn.demons import feature_demons_force
from moereg.nn.observe import reroute

META = torch.device("meta")


def maps(*shape, dtype=torch.float32):
    return torch.empty(shape, device=META, dtype=dtype)


IMAGE, FIELD = (2, 1, 7, 6), (2, 2, 7, 6)

CASES = {
    "identity_grid": lambda: fields.identity_grid((3, 4), device=META),
    "sample": lambda: fields.sample(maps(*IMAGE), maps(*FIELD)),
    "sample one volume": lambda: fields.sample(maps(1, 1, 4, 5, 6), maps(1, 3, 4, 5, 6), mode="nearest"),
    "upsample_field": lambda: fields.upsample_field(maps(*FIELD), (13, 12)),
    "spatial_gradient": lambda: filters.spatial_gradient(maps(*IMAGE), border="zero"),
    "gaussian_taps": lambda: filters.gaussian_taps(maps(3), 4),
    "smoothing_matrix": lambda: filters.smoothing_matrix(maps(3, 5), 6),
    "halve": lambda: filters.halve(maps(*IMAGE)),
    "feature_demons_force": lambda: feature_demons_force(maps(*IMAGE), maps(*IMAGE)),
    "demons_force": lambda: demons_force(maps(*IMAGE), maps(2, 1, 2, 7, 6), spacing=(1.0, 2.0)),
    "lie_bracket": lambda: lie_bracket(maps(*FIELD), maps(*FIELD)),
    "stays_inside": lambda: stays_inside(maps(*FIELD)),
    "group_labels": lambda: group_labels(maps(*IMAGE, dtype=torch.int64), ((1, 2),)),
    "classes": lambda: classes(maps(*IMAGE, dtype=torch.int64), (0, 2)),
    "router": lambda: Router(2, ("a", "b", "c"), k=2, noise=True).to(META)(maps(*FIELD)).gates,
    "reroute": lambda: reroute(
        Router(2, ("a", "b", "c"), k=2).to(META)(maps(*FIELD)), "stopped", without=(1,)
    ).gates,
    "dense heads": lambda: MixtureOfAttentionHeads(2, window=4, compute="dense").to(META)(maps(*FIELD))[0],
    "convolution experts": lambda: SpatialHeterogeneousMoE(2, dims=2).to(META)(maps(*FIELD))[0],
    "mutual attention": lambda: MutualAttention(2, window=4).to(META)(maps(*FIELD), maps(*FIELD))[1],
    "looking block": lambda: models.build("rman", dims=2, widths=(2, 2, 2, 2)).to(META).looking[0](
        maps(*FIELD), maps(*FIELD)
    )[1],
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_results_lie_where_the_input_does(name):
    assert CASES[name]().device == META
