"""Products with a matrix per row, against their definition."""

import pytest
import torch

from moereg.nn.dispatch import Assignment, from_experts, to_experts

CHOSEN = torch.tensor([[0, 2], [2, 0], [0, 1], [2, 1], [0, 2]])  # of four experts; nobody chose the last


def doubles(*shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_to_experts_is_its_definition(generator):
    rows, weights = doubles(5, 3, generator=generator), doubles(4, 3, 2, generator=generator)
    by_hand = torch.einsum("pa,pkab->pkb", rows, weights[CHOSEN])
    torch.testing.assert_close(to_experts(rows, weights, Assignment.of(CHOSEN, 4)), by_hand)
    assert torch.autograd.gradcheck(lambda r, w: to_experts(r, w, Assignment.of(CHOSEN, 4)), (rows, weights))


def test_from_experts_is_its_definition(generator):
    rows, weights = doubles(5, 2, 3, generator=generator), doubles(4, 3, 2, generator=generator)
    by_hand = torch.einsum("pka,pkab->pb", rows, weights[CHOSEN])
    torch.testing.assert_close(from_experts(rows, weights, Assignment.of(CHOSEN, 4)), by_hand)
    assert torch.autograd.gradcheck(lambda r, w: from_experts(r, w, Assignment.of(CHOSEN, 4)), (rows, weights))


def test_an_expert_that_nobody_chose_gets_a_gradient_of_zero(generator):
    rows, weights = doubles(5, 3, generator=generator), doubles(4, 3, 2, generator=generator)
    gradient = torch.autograd.grad(to_experts(rows, weights, Assignment.of(CHOSEN, 4)).square().sum(), weights)[0]
    assert gradient[3].abs().max() == 0
    assert (gradient[:3].abs().amax((1, 2)) > 0).all()


@pytest.mark.parametrize("back", [False, True])
def test_operators_are_registered_as_torch_wants_them(back, generator):
    """Shapes without data, gradients, no hidden change of inputs: what `torch.compile` relies on."""
    rows = doubles(5, 2, 3, generator=generator) if back else doubles(5, 3, generator=generator)
    arguments = (rows, doubles(4, 3, 2, generator=generator), *Assignment.of(CHOSEN, 4))
    operator = torch.ops.moereg.from_experts if back else torch.ops.moereg.to_experts
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operator.default, arguments, test_utils=checks)


def test_shapes_without_data_are_those_with_data(generator):
    """Of the operator that only backward passes use, too."""
    assignment = Assignment.of(CHOSEN, 4)
    rows, answers = torch.randn(5, 3, generator=generator), torch.randn(5, 2, 6, generator=generator)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.moereg.outer_products.default, (rows, answers, *assignment), test_utils=checks)
    products = torch.einsum("pa,pkb->pkab", rows, answers)
    expected = torch.stack([products[i == CHOSEN].sum(0) for i in range(4)])
    torch.testing.assert_close(torch.ops.moereg.outer_products(rows, answers, *assignment), expected)


def test_autocast_computes_in_bfloat16(generator):
    rows, weights = torch.randn(5, 3, generator=generator), torch.randn(4, 3, 2, generator=generator)
    expected = to_experts(rows, weights, Assignment.of(CHOSEN, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = to_experts(rows, weights, Assignment.of(CHOSEN, 4))
        back = from_experts(low, weights.mT, Assignment.of(CHOSEN, 4))
    assert low.dtype == back.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, rtol=0.02, atol=0.02)


def test_an_assignment_by_hand():
    assignment = Assignment.of(CHOSEN, 4)
    assert assignment.order.tolist() == [0, 3, 4, 8, 5, 7, 1, 2, 6, 9]
    assert assignment.row.tolist() == [0, 1, 2, 4, 2, 3, 0, 1, 3, 4]
    assert assignment.counts.tolist() == [4, 2, 4, 0]


def test_double_precision_stays_under_autocast(generator):
    rows, weights = doubles(5, 3, generator=generator), doubles(4, 3, 2, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert to_experts(rows, weights, Assignment.of(CHOSEN, 4)).dtype == torch.float64


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_gradients_where_only_one_of_both_asks(needs, generator):
    weights = torch.randn(4, 3, 2, generator=generator)
    for product, shape in ((to_experts, (5, 3)), (from_experts, (5, 2, 3))):
        rows = torch.randn(shape, generator=generator)
        both = [rows.clone().requires_grad_(), weights.clone().requires_grad_()]
        expected = torch.autograd.grad(product(*both, Assignment.of(CHOSEN, 4)).square().sum(), both)
        leaves = [t.clone().requires_grad_(n) for t, n in zip((rows, weights), needs, strict=True)]
        product(*leaves, Assignment.of(CHOSEN, 4)).square().sum().backward()
        for leaf, gradient, asks in zip(leaves, expected, needs, strict=True):
            assert (leaf.grad is None) is not asks
            if asks:
                torch.testing.assert_close(leaf.grad, gradient)
