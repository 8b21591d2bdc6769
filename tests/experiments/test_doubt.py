"""Does doubt mark error: where it does, where size alone makes it look so, and where it does not."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from moereg.data.pairs import Pair
from moereg.experiments import entropy_against_error
from moereg.experiments.doubt import entropy_sentence
from moereg.experiments.statistics import partial_rank_correlation, rank_correlation
from moereg.models.registration import Registration
from moereg.nn.routing import Routing, Site
from moereg.viz import draw


class Doubts(torch.nn.Module):
    """Entropy that falls with the size of a known map, on every voxel and on every second one."""

    def __init__(self, sure, field):
        super().__init__()
        self.sure, self.field = sure, field

    def forward(self, moving, fixed):
        layers = {}
        for level in (0, 1):
            sure = self.sure[::2, ::2] if level else self.sure
            directions = torch.stack([sure, -sure]) if level == 0 else torch.stack([sure, sure])
            logits = torch.stack([torch.zeros_like(directions), 3 + directions], 1)[None]
            site = Site(f"decoder.{level}.shmoe", "decoder", 2**level)
            layers[site.name] = Routing(
                logits, logits, logits.argmax(2, keepdim=True), ("a", "b"), ("y", "x"), site=site
            )
        return Registration(self.field, moving, (self.field,), layers)


@pytest.fixture
def wrong(generator):
    """Where a field is wrong, and by how much: smooth, so that every second voxel says the same."""
    rough = torch.rand(1, 1, 5, 6, generator=generator)
    return torch.nn.functional.interpolate(rough, size=(21, 25), mode="bicubic", align_corners=True)[0, 0]


def blank(region=None):
    image = torch.zeros(1, 21, 25)
    return Pair(image, image, displacement=torch.zeros(2, 21, 25), region=region)


def test_entropy_that_follows_the_error_is_found(wrong):
    field = torch.stack([wrong, 0 * wrong])[None]
    finding = entropy_against_error(Doubts(-wrong, field), [blank(), blank()])
    found = {(row["layer"], row["router"]): row for row in finding.rows}
    for key in ("spearman", "partial", "other"):  # nothing moves, and all pairs are alike
        assert found["decoder.0.shmoe", "y"][key] == pytest.approx(1, abs=1e-4)
        assert found["decoder.0.shmoe", "x"][key] == pytest.approx(-1, abs=1e-4)
        assert found["decoder.1.shmoe", "y"][key] == pytest.approx(1, abs=1e-4)
    for row in finding.rows:
        assert row["network"] == "trained"
        assert all(len(row["per_pair"][key]) == 2 for key in ("spearman", "partial", "other", "oracle"))
        # Ranks and noise of the same variance: 1 / sqrt(2), a little less on ranks.
        assert row["oracle"] == pytest.approx(0.68, abs=0.12)
    assert finding.sentence.startswith(
        "With the size of the motion held fixed, entropy rises with the error in 3 of 4 decoder routers, falls in 1, "
        "and is not told apart from no relation in 0; it rises more than another subject's entropy does in 0. The "
        "strongest partial rank correlation is +1.00 [+1.00, +1.00] in decoder.0.shmoe, direction y (+1.00 with the "
        "motion left free). A half drowned error is found in "
    )
    assert finding.question == "Does doubt mark error?"
    assert draw(finding).axes


def test_what_the_size_of_the_motion_explains_is_no_relation(generator):
    """Entropy and error both follow the motion, each with noise of its own: together without it, apart with it."""
    motion = torch.rand(40, 50, generator=generator)
    own = [motion + 0.3 * torch.rand(40, 50, generator=generator) for _ in range(4)]
    truth = torch.stack([3 * motion, 0 * motion])
    pairs = [Pair(torch.zeros(1, 40, 50), torch.zeros(1, 40, 50), displacement=truth) for _ in range(2)]

    class Turns(Doubts):
        """Another entropy and another error at every second call."""

        calls = 0

        def forward(self, moving, fixed):
            entropy, error = own[2 * (self.calls % 2) : 2 * (self.calls % 2) + 2]
            self.calls += 1
            self.sure, self.field = -entropy, (truth + torch.stack([0 * error, error]))[None]
            return super().forward(moving, fixed)

    rows = entropy_against_error(Turns(None, None), pairs).rows
    assert rows[0]["spearman"] > 0.8
    assert abs(rows[0]["partial"]) < 0.1
    assert abs(rows[0]["other"]) < 0.1

    class Knows(Turns):
        """Entropy is the error of this call: beyond the motion, and of this pair alone."""

        def forward(self, moving, fixed):
            result = super().forward(moving, fixed)
            self.sure = -(result.displacement[0] - truth).norm(dim=0)
            return Doubts.forward(self, moving, fixed)

    rows = entropy_against_error(Knows(None, None), pairs).rows
    assert rows[0]["partial"] > 0.99
    assert abs(rows[0]["other"]) < 0.1
    assert abs(rows[0]["oracle"]) > 0.2


def test_control_networks_are_asked_about_their_own_errors(wrong):
    field = torch.stack([wrong, 0 * wrong])[None]
    controls = {"opposite": Doubts(wrong, field), "constant": Doubts(0 * wrong, field)}
    finding = entropy_against_error(Doubts(-wrong, field), [blank(), blank()], controls=controls)
    assert finding.sentence.endswith(
        " The opposite network: rises in 1, falls in 3 of 4. The constant network: rises in 0, falls in 0 of 4."
    )
    assert len(finding.rows) == 12
    assert draw(finding).axes


def test_the_error_is_the_distance_to_the_truth(wrong, generator):
    """Neither the length of the field nor one of its components."""
    truth = torch.randn(2, 21, 25, generator=generator)
    field = truth + wrong * torch.tensor([0.6, -0.8]).view(2, 1, 1)
    pair = Pair(torch.zeros(1, 21, 25), torch.zeros(1, 21, 25), displacement=truth)
    rows = entropy_against_error(Doubts(-wrong, field[None]), [pair, pair]).rows
    assert rows[0]["spearman"] == pytest.approx(1, abs=1e-4)


def test_only_the_region_counts(wrong):
    """Outside of it entropy falls with the error."""
    region = torch.zeros(1, 21, 25, dtype=torch.bool)
    region[0, :, 4:18] = True
    sure = torch.where(region[0], -wrong, wrong)
    field = torch.stack([wrong, 0 * wrong])[None]
    rows = entropy_against_error(Doubts(sure, field), [blank(region)] * 2).rows
    assert [row["spearman"] for row in rows] == pytest.approx([1, -1, 1, 1], abs=1e-4)
    everywhere = entropy_against_error(Doubts(sure, field), [blank()] * 2).rows
    assert everywhere[0]["spearman"] < 0.9


def test_constant_entropy_says_nothing(wrong):
    finding = entropy_against_error(Doubts(0 * wrong, torch.stack([wrong, wrong])[None]), [blank(), blank()])
    assert all(row["spearman"] == row["partial"] == 0 for row in finding.rows)
    assert "entropy rises with the error in 0 of 4 decoder routers, falls in 0, and is not told" in finding.sentence


def test_volumes_too():
    """Entropy is the error itself: one on the first half, none on the second."""
    half = torch.zeros(8, 6, 4)
    half[:4] = torch.rand(4, 6, 4, generator=torch.Generator().manual_seed(0))
    model = Doubts(-half, torch.stack([half, 0 * half, 0 * half])[None])
    model.forward = lambda moving, fixed: volume_of(half, moving)
    image = torch.zeros(1, 8, 6, 4)
    rows = entropy_against_error(model, [Pair(image, image, displacement=torch.zeros(3, 8, 6, 4))] * 2).rows
    assert [row["spearman"] for row in rows] == [pytest.approx(1, abs=1e-4)]


def volume_of(wrong, moving):
    logits = torch.stack([torch.zeros_like(wrong), 3 - wrong])[None, None]
    routing = Routing(
        logits, logits, logits.argmax(2, keepdim=True), ("a", "b"), ("z",), site=Site("decoder.0", "decoder", 1)
    )
    field = torch.stack([wrong, 0 * wrong, 0 * wrong])[None]
    return Registration(field, moving, (field,), {"decoder.0": routing})


def test_the_sentence_by_hand():
    def row(layer, partial, *, other=(0.0, 0.0), oracle=(0.7, 0.7), network="trained"):
        series = {"partial": partial, "other": list(other), "oracle": list(oracle)}
        return {"network": network, "layer": layer, "router": "y", "spearman": 0.25, "per_pair": series}

    # 0.2 +- 12.706 * 0.1 and -0.8 +- 12.706 * 0.1
    rows = [
        row("a", [0.1, 0.3]),
        row("b", [-0.9, -0.7], oracle=(0.1, 0.9)),
        row("c", [-0.95, -0.95], other=(-0.99, -0.99)),
        row("d", [0.5, 0.5], other=(0.5, 0.6)),
        row("a", [0.4, 0.4], network="untrained"),
        row("b", [0.1, 0.3], network="untrained"),
    ]
    assert entropy_sentence(rows) == (
        "With the size of the motion held fixed, entropy rises with the error in 1 of 4 decoder routers, falls in 1, "
        "and is not told apart from no relation in 2; it rises more than another subject's entropy does in 1. The "
        "strongest partial rank correlation is -0.95 [-0.95, -0.95] in c, direction y (+0.25 with the motion left "
        "free). A half drowned error is found in 3 of 4; where nothing is told apart, up to 2.07 could hide. The "
        "untrained network: rises in 1, falls in 0 of 2."
    )


def test_correlations_of_pairs_are_averaged(wrong):
    class Half(Doubts):
        def forward(self, moving, fixed):
            self.sure = self.sure * (1 if fixed.max() > 0 else -1)
            result = super().forward(moving, fixed)
            self.sure = self.sure * (1 if fixed.max() > 0 else -1)
            return result

    image = torch.ones(1, 21, 25)
    pairs = [Pair(image * value, image * value, displacement=torch.zeros(2, 21, 25)) for value in (1.0, 1.0, 0.0)]
    rows = entropy_against_error(Half(-wrong, torch.stack([wrong, 0 * wrong])[None]), pairs).rows
    assert rows[0]["per_pair"]["spearman"] == pytest.approx([1, 1, -1], abs=1e-4)
    assert rows[0]["spearman"] == pytest.approx(1 / 3, abs=1e-4)


def test_rank_correlation_is_scipys_ties_included(generator):
    first = torch.randint(0, 6, (80,), generator=generator).float()  # many ties
    second = torch.rand(80, generator=generator) + first**3 / 100
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first.numpy(), second.numpy()).statistic)
    assert rank_correlation(second, -torch.exp(second)) == pytest.approx(-1, abs=1e-4)
    assert rank_correlation(torch.zeros(80), first) == rank_correlation(first, torch.ones(80)) == 0


def test_a_partial_correlation_is_that_of_what_is_left_of_the_ranks(generator):
    """Of residuals of a straight line through the ranks, in numpy."""
    given = torch.rand(60, generator=generator)
    first, second = (given + torch.rand(60, generator=generator) for _ in range(2))
    ranks = [np.argsort(np.argsort(values.numpy())) for values in (first, second, given)]
    left = [rank - np.polyval(np.polyfit(ranks[2], rank, 1), ranks[2]) for rank in ranks[:2]]
    assert partial_rank_correlation(first, second, given) == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-5)
    assert partial_rank_correlation(first, second, torch.ones(60)) == pytest.approx(rank_correlation(first, second))
    assert partial_rank_correlation(first, second, 2 * second) == 0
