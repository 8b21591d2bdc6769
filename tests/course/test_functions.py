"""Exercises in code: the right function passes, every usual mistake gets words of its own, the stub waits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from moereg import fields
from moereg.course.exercises import EXERCISES, check
from moereg.course.exercises.functions import Task

TASKS = {name: exercise for name, exercise in EXERCISES.items() if isinstance(exercise, Task)}


def stub(*arguments):
    """What the student's edition holds."""
    ...


def compose_by_sampling(u, v):
    """v + u read at x + v, through torch's own sampler."""
    rows = torch.tensor(u.shape[2:], dtype=u.dtype).view(-1, *[1] * (u.dim() - 2))
    places = (fields.identity_grid(u.shape[2:]) + v) * 2 / (rows - 1) - 1
    order = tuple(reversed(range(u.shape[1])))
    return v + F.grid_sample(u, places[:, order].movedim(1, -1), align_corners=True, padding_mode="border")


def compose_as_maps(u, v):
    """Both as maps x + u(x)."""
    grid = fields.identity_grid(u.shape[2:])
    end = grid + v
    return end + fields.warp(u, v) - grid


def jacobian_of_the_map(u):
    """The slopes of x + u(x) itself, axis by axis."""
    end = u + fields.identity_grid(u.shape[2:])
    rows = [torch.gradient(end, dim=axis)[0] for axis in range(2, u.ndim)]
    return torch.linalg.det(torch.stack(rows, -1).movedim(1, -2)).unsqueeze(1)


def jacobian_as_volume(u):
    """The area that two slopes span, the volume that three do: no matrix."""
    end = u + fields.identity_grid(u.shape[2:])
    sides = torch.gradient(end, dim=list(range(2, u.ndim)))
    if len(sides) == 2:
        down, right = sides
        return down[:, :1] * right[:, 1:] - down[:, 1:] * right[:, :1]
    first, second, third = sides
    return (first * torch.linalg.cross(second, third, dim=1)).sum(1, keepdim=True)


def lncc_by_summing(warped, fixed, window):
    """Sums over windows as convolutions with ones, divided by the voxels that are there."""
    dims = warped.ndim - 2
    convolution = F.conv2d if dims == 2 else F.conv3d
    ones = torch.ones(1, 1, *(window,) * dims)

    def mean(image):
        count = convolution(torch.ones_like(image), ones, padding=window // 2)
        return convolution(image, ones, padding=window // 2) / count

    covariance = mean(warped * fixed) - mean(warped) * mean(fixed)
    variances = (mean(warped**2) - mean(warped) ** 2) * (mean(fixed**2) - mean(fixed) ** 2)
    return -(covariance.square() / (variances + 1e-5)).mean()


def lncc_in_float64(warped, fixed, window, epsilon=1e-5):
    """Pooling along one axis after the other, and the mean at the end in another order."""
    warped, fixed = warped.double(), fixed.double()

    def mean(image):
        for axis in range(2, image.ndim):
            lines = image.movedim(axis, -1)
            pooled = F.avg_pool1d(lines.reshape(-1, 1, lines.shape[-1]), window, 1, window // 2, False, False)
            image = pooled.reshape(lines.shape).movedim(-1, axis)
        return image

    c = mean(warped * fixed) - mean(warped) * mean(fixed)
    a, b = (mean(one * one) - mean(one).square() for one in (warped, fixed))
    return (0 - c * c / (a * b + epsilon)).flatten().mean()


def diffusion_by_slices(u):
    total = 0
    for axis in range(2, u.ndim):
        ahead = u.narrow(axis, 1, u.shape[axis] - 1) - u.narrow(axis, 0, u.shape[axis] - 1)
        total = total + (ahead**2).sum(1).mean()  # over directions, then over batch and voxels
    return total


def diffusion_per_item(u):
    axes = range(1, u.ndim - 1)
    return torch.stack([(one.diff(dim=axis) ** 2).mean() * len(one) for one in u for axis in axes]).sum() / len(u)


def dice_by_products(warped, fixed, label):
    a, b = (warped == label).float(), (fixed == label).float()
    return 2 * (a * b).mean() / (a.mean() + b.mean())


def dice_in_plain_python(warped, fixed, label):
    a, b = ({i for i, value in enumerate(one.flatten().tolist()) if value == label} for one in (warped, fixed))
    return 2 * len(a & b) / (len(a) + len(b))


def mixture_by_masking(logits, proposals, k):
    """A softmax over all, with minus infinity where an expert was not chosen."""
    chosen = torch.zeros_like(logits).scatter(1, logits.topk(k, dim=1).indices, 1.0)
    return (logits.masked_fill(chosen == 0, -torch.inf).softmax(1) * proposals).sum(1)


def mixture_renormalised(logits, proposals, k):
    """Probabilities of all, divided by the sum of those that were chosen."""
    probabilities, indices = logits.softmax(1).topk(k, dim=1)
    return (probabilities * proposals.gather(1, indices)).sum(1) / probabilities.sum(1)


# Other right answers than the library's: each exercise in code has two.
ALSO_RIGHT = {
    "fields-compose": (compose_by_sampling, compose_as_maps),
    "fields-jacobian": (jacobian_of_the_map, jacobian_as_volume),
    "tour-dice": (dice_by_products, dice_in_plain_python),
    "tour-mixture": (mixture_by_masking, mixture_renormalised),
    "similarity-lncc": (lncc_by_summing, lncc_in_float64),
    "similarity-diffusion": (diffusion_by_slices, diffusion_per_item),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_right_function_and_others_that_do_the_same(name):
    task = TASKS[name]
    assert check(name, task.right).text == task.praise
    assert len(ALSO_RIGHT[name]) >= 2
    for function in ALSO_RIGHT[name]:
        verdict = check(name, function)
        assert verdict.right is True, verdict.text


@pytest.mark.parametrize("name", TASKS)
def test_mistakes_have_words_of_their_own(name):
    task = TASKS[name]
    assert len(task.mistakes) >= 3
    for words, mistake in task.mistakes.items():
        verdict = check(name, mistake)
        assert verdict.right is False
        assert verdict.text == words


@pytest.mark.parametrize("name", TASKS)
def test_a_stub_waits(name):
    assert check(name).right is None
    assert check(name, stub).right is None
    assert "body" in check(name, stub).text


@pytest.mark.parametrize("name", TASKS)
def test_inputs_are_the_same_every_time_and_in_two_and_three_dimensions(name):
    first, second = TASKS[name].inputs(), TASKS[name].inputs()
    for case, arguments in first.items():
        for one, other in zip(arguments, second[case], strict=True):
            assert not isinstance(one, Tensor) or torch.equal(one, other)
    assert len(first) >= 2


def double(x):
    return 2 * x


def hidden():
    return {"in 2-D": (torch.arange(6.0).view(2, 3),), "in 3-D": (torch.arange(8.0).view(2, 2, 2),)}


TASK = Task(right=double, inputs=hidden, mistakes={"Three times.": lambda x: 3 * x}, praise="Yes.", hint="Twice x.")


def in_place(x):
    return x.mul_(2)


def flat(x):
    return (2 * x).flatten()


def right_in_the_plane(x):
    return 2 * x if x.dim() == 2 else x


def without_gradient(x):
    return torch.tensor((2 * x).tolist())


def wrong_gradient(x):
    return 2 * x.detach() + (x - x.detach())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (7, "hand over its name without calling it. Got 7."),
        (torch.zeros(2), "Got a Tensor."),
        (lambda x: 3 * x, "Three times."),
        (lambda x: x.nothing, "In 2-D: the function stops with AttributeError"),
        (lambda x, y: x, "stops with TypeError"),
        (in_place, "changes its argument number 1"),
        (flat, "In 2-D: the result should have shape (2, 3), got (6,). Twice x."),
        (lambda x: (2 * x, x), "1 values should come back, got 2."),
        (lambda x: 2 * x / 0, "not finite"),
        (lambda x: 2 * x + 1, "In 2-D: at (0, 0) the result should be 0, got 1. Twice x."),
        (right_in_the_plane, "In 3-D: at (0, 0, 1) the result should be 2, got 1."),
        (without_gradient, "no gradient comes back"),
        (wrong_gradient, "the gradient with respect to argument number 1 is not"),
    ],
)
def test_what_else_can_be_wrong_is_said(answer, words):
    right, text = TASK(answer)
    assert right is False
    assert words in text


def test_a_value_alone_can_be_asked_for():
    value = Task(right=double, inputs=hidden, praise="Yes.", hint="", gradient=False)
    assert value(without_gradient) == (True, "Yes.")
    assert value(lambda x: [(2 * x).tolist()][0] and 2 * x) == (True, "Yes.")


def test_the_not_implemented_body_waits_too():
    def body(x):
        raise NotImplementedError

    assert TASK(body)[0] is None


@pytest.mark.parametrize(
    ("exercise", "answer", "right"),
    [
        ("fields-fold", "9.89", True),
        ("fields-fold", " 9,89 ", True),
        ("fields-fold", torch.tensor(9.89), True),
        ("similarity-regulariser", " Bending ", True),
        ("tour-shift", [3, 0], True),
        ("tour-shift", torch.tensor([3, 0]), True),
    ],
)
def test_answers_in_another_spelling(exercise, answer, right):
    given = {"fields-fold": {"sigma": 6.0}}.get(exercise, {})
    assert check(exercise, answer, **given).right is right


@pytest.mark.parametrize("answer", ["about ten", None, True, (1, 2), {}, object(), torch.zeros(3), float("nan"), check])
@pytest.mark.parametrize("name", ["fields-fold", "similarity-regulariser", "tour-shift", "routers-gradient"])
def test_any_kind_of_answer_is_answered_kindly(name, answer):
    given = {"fields-fold": {"sigma": 6.0}}.get(name, {})
    verdict = check(name, answer, **given)
    assert verdict.right is False
    assert verdict.text[-1] in ".?"


def test_what_was_expected_is_said():
    assert check("fields-fold", (1, 2), sigma=6.0).text == "The answer is a number; got a tuple."
    assert check("fields-fold", True, sigma=6.0).text == "The answer is a number; got True."
    assert check("similarity-regulariser", 3).text == "The answer is a word in quotes; got 3."
    assert check("tour-shift", 3).text == "The answer is two numbers; got 3."
    assert check("routers-gradient", 3).text == "The answer is a set of words; got 3."
