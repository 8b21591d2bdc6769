"""ANTs' SyN as a method among ours: which way its field points."""

import pytest
import torch

from moereg.data import phantoms
from moereg.metrics import endpoint_error
from tools import compare_entries, syn

pytestmark = pytest.mark.skipif(not syn.there(), reason="antspyx is not installed (extra compare)")


@pytest.mark.parametrize("shape", [(48, 40), (32, 28, 30)])
def test_its_field_pulls_as_ours_do(shape):
    """Nearer to the truth than no field, than the same field turned round, and than one with its axes exchanged."""
    pair = phantoms.make("abdomen", shape, 3)
    found = syn.syn(pair.moving[None], pair.fixed[None])
    assert found.displacement.shape == (1, len(shape), *shape)
    field = found.displacement[0]
    wrong = {"none": torch.zeros_like(field), "pushed": -field, "exchanged": field.flip(0)}
    error = endpoint_error(field, pair.displacement, pair.region)
    for name, other in wrong.items():
        assert error < 0.8 * endpoint_error(other, pair.displacement, pair.region), name
    assert (found.warped - pair.fixed).square().mean() < 0.5 * (pair.moving - pair.fixed).square().mean()


def test_it_is_one_of_the_methods(tmp_path):
    scale = compare_entries.Scale((24, 24), 1, 1, 1, (0,), 1, (16,), families=("abdomen",), scans=0)
    budgets = {"steps": dict.fromkeys(compare_entries.MODELS, 1), "seconds": dict.fromkeys(compare_entries.MODELS, 1)}
    (entry,) = [one for one in compare_entries.entries(scale, budgets)[1] if one.name == "ants-syn"]
    assert compare_entries.contestant(entry, scale, tmp_path).run is syn.syn
