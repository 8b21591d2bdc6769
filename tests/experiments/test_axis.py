"""Does routing follow the motion or the axis? Models that follow one, the other, or neither."""

import numpy as np
import pytest
import torch

from moereg.data.pairs import Pair
from moereg.experiments import Protocol, Task, axis_test
from moereg.experiments.axis import axis_sentence, extent_profile
from moereg.models.registration import Registration
from moereg.nn.routing import Routing, Site
from moereg.training import TrainingConfig
from moereg.viz import draw
from tests.oracles import Toy, field_of

SHAPE = (4, 3, 2)
NAMES = ("z", "y", "x")
KERNELS = (1, 5)
PROTOCOL = Protocol(TrainingConfig(steps=1, device="cpu"), seeds=(0, 1, 2), model="toy", sizes={"dims": 3})
ORDER = (1, 2, 0)  # of three, so that it is not its own inverse
MOTION = (8.0, 4.0, 0.0)


def moving_pair(motion):
    image = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Pair(image, image, displacement=field_of(motion, image[None])[0])


def tasks():
    """Direction d of the second moves as direction ORDER[d] of the first."""
    motions = {"original": MOTION, "permuted": tuple(MOTION[d] for d in ORDER)}
    return [Task(name, [moving_pair(motion)], [moving_pair((0.0, 0.0, 0.0))]) for name, motion in motions.items()]


def routing_of(shares, *, name="decoder.0", role="decoder", scale=1.0):
    """Gates (share, 1 - share) of the large and the small kernel, per direction."""
    large = torch.as_tensor(shares, dtype=torch.float32) * scale
    gates = torch.stack([scale - large, large], 1).view(1, 3, 2, 1, 1, 1).expand(-1, -1, -1, *SHAPE)
    indices = gates.argmax(2, keepdim=True)
    return Routing(gates, gates, indices, ("1³", "5³"), NAMES, site=Site(name, role, 1))


FOLLOWS = {
    # mean motion of the training pairs along each direction, as a share of 8 voxels
    "the motion": lambda toy: toy.pairs[0].displacement.flatten(1).mean(1) / 10 + 0.01 * toy.born,
    "the axis": lambda toy: torch.tensor(MOTION) / 10 + 0.01 * toy.born,
    "neither (not told apart)": lambda toy: torch.rand(3, generator=torch.Generator().manual_seed(noise_of(toy))),
}


def noise_of(toy):
    return int(10 * toy.born + toy.pairs[0].displacement[0].mean())


@pytest.mark.parametrize("follows", FOLLOWS)
def test_what_routing_follows_is_found(follows, fitted, monkeypatch):
    def forward(self, moving, fixed):
        field = field_of((0.0,) * 3, moving)
        return Registration(field, moving, (field,), {"decoder.0": routing_of(FOLLOWS[follows](self))})

    monkeypatch.setattr(Toy, "forward", forward)
    told = []
    finding = axis_test(*tasks(), PROTOCOL, order=ORDER, on_rows=lambda rows: told.append(list(rows)))
    assert finding.sentence.endswith(f": routing follows {follows}.")
    assert [(r["motion"], r["seed"], r["router"]) for r in finding.rows] == [
        (name, seed, router) for seed in (0, 1, 2) for name in ("original", "permuted") for router in NAMES
    ]
    assert [len(rows) for rows in told] == [3] * 6
    assert [row for rows in told for row in rows] == finding.rows
    assert finding.question == "Does routing follow the motion or the axis?"
    assert draw(finding).axes
    if follows == "the motion":  # shares 0.8, 0.4, 0 of extent 5, the rest of extent 1
        assert [r["extent"] for r in finding.rows[:6]] == pytest.approx([4.2, 2.6, 1.0, 2.6, 1.0, 4.2])
        assert [r["extent"] for r in finding.rows[6:9]] == pytest.approx([4.24, 2.64, 1.04])


def rows_of(original, permuted):
    """Profiles (seed, direction) -> rows."""
    return [
        {"motion": name, "seed": seed, "router": router, "extent": extent}
        for name, profiles in (("a", original), ("b", permuted))
        for seed, profile in enumerate(profiles)
        for router, extent in zip(NAMES, profile, strict=True)
    ]


def test_the_sentence_by_hand():
    """Matched by motion (b's direction d with a's 1, 2, 0) the profiles differ by 0.1 and 0.3, by axis by 2 and 2."""
    rows = rows_of([[1, 3, 4], [1, 3, 4]], [[3.1, 4.1, 1.1], [3.3, 4.3, 1.3]])
    # by axis: mean of 2.1, 1.1, 2.9 and of 2.3, 1.3, 2.7: 2.0333 and 2.1; differences 1.9333 and 1.8, sd 0.0943
    reach = 12.706 * 0.09428 / 2**0.5
    low, high = 1.8667 - reach, 1.8667 + reach
    assert axis_sentence(rows, original="a", permuted="b", order=ORDER) == (
        "Kernel extents per direction differ by 0.20 voxels if matched by motion and by 2.07 if matched by axis "
        f"(2 seeds, difference +1.87 [{low:+.2f}, {high:+.2f}]): routing follows the motion."
    )


def test_the_sentence_pairs_by_seed():
    """Whoever compared seed 0 with seed 1 would find a difference of two voxels."""
    rows = rows_of([[1, 1, 2], [3, 3, 4]], [[1, 1, 2], [3, 3, 4]])
    assert "by 0.67 voxels if matched by motion and by 0.00 if matched by axis" in axis_sentence(
        rows, original="a", permuted="b", order=ORDER
    )
    assert axis_sentence(rows, original="a", permuted="b", order=ORDER).endswith("routing follows the axis.")


def test_extent_profile_by_hand():
    """Two pairs, two decoder layers, gates that add up to less than one, and an encoder that must not count."""

    class Routes(torch.nn.Module):
        sizes = type("Sizes", (), {"kernel_sizes": KERNELS})()

        def forward(self, moving, fixed):
            first = float(fixed.max())  # 1.0 or 0.0
            layers = {
                "encoder.0": routing_of([1.0, 1.0, 1.0], name="encoder.0", role="encoder"),
                "decoder.0": routing_of([first, 0.5, 0.0], scale=0.3 if first else 1.0),
                "decoder.1": routing_of([0.0, 0.5, 1.0], name="decoder.1"),
            }
            field = field_of((0.0,) * 3, moving)
            return Registration(field, moving, (field,), layers)

    pairs = [Pair(torch.zeros(1, *SHAPE), torch.full((1, *SHAPE), value)) for value in (1.0, 0.0)]
    pairs = pairs[:1]
    profile, routers = extent_profile(Routes(), pairs)
    assert routers == NAMES
    # shares of extent 5 as fractions of the gates: mean of the two layers (1, 0.5, 0) and (0, 0.5, 1)
    assert profile.tolist() == pytest.approx([3.0, 3.0, 3.0])
    other = [Pair(torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE))]
    assert extent_profile(Routes(), other)[0].tolist() == pytest.approx([1.0, 3.0, 3.0])
    assert extent_profile(Routes(), [*pairs, *other])[0].tolist() == pytest.approx([2.0, 3.0, 3.0])
    assert isinstance(profile, np.ndarray)


def test_voxels_count_alike():
    """A quarter of the voxels asks for extent 5, the others for extent 1: 2 on average."""
    large = torch.zeros(1, 3, 1, 4, 1, 1)
    large[..., 0, 0, 0] = 1.0
    gates = torch.cat([1 - large, large], 2)
    routing = Routing(gates, gates, gates.argmax(2, keepdim=True), ("1³", "5³"), NAMES, site=Site("d", "decoder", 1))

    class Routes(torch.nn.Module):
        sizes = type("Sizes", (), {"kernel_sizes": KERNELS})()

        def forward(self, moving, fixed):
            return Registration(field_of((0.0,) * 3, moving), moving, (), {"d": routing})

    image = torch.zeros(1, *SHAPE)
    assert extent_profile(Routes(), [Pair(image, image)])[0].tolist() == pytest.approx([2.0] * 3)


def test_extent_profile_of_uniform_gates_is_the_mean_extent():
    from moereg.data import phantoms
    from moereg.models import build

    sizes = {"widths": (4, 6), "decoder_widths": (4, 4), "moa_levels": (1,), "heads": 2, "head_dim": 4}
    model = build("shmoareg", dims=2, gate="uniform", **sizes)
    profile, routers = extent_profile(model, [phantoms.make("abdomen", (24, 24), 0)])
    assert routers == ("y", "x")
    assert profile.tolist() == pytest.approx([4.0, 4.0])
