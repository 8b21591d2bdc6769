"""Exercises whose answer is a function: it runs beside the right one on inputs that the notebook does not show.

A `Task` holds the right function, the hidden inputs and the usual mistakes. A mistake is a function too: whoever wrote
it gets words of their own, because their function gives what the mistake gives. Values are compared first, then
gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-4, 1e-5  # how far a value may be off
Inputs = dict[str, tuple]  # by a name that the reader will read, for instance "in 3-D": the arguments


@dataclass(frozen=True)
class Task:
    """One function to write.

    Attributes:
        right: the function.
        inputs: makes the hidden arguments of each case, the same at every call, tried in order: 2-D first.
        mistakes: functions that readers write in its place, by the words that explain what is wrong.
        praise: for the right function.
        hint: for one that is wrong in no known way.
        gradient: whether gradients with respect to all floating-point arguments are compared as well.
    """

    right: Callable
    inputs: Callable[[], Inputs]
    praise: str
    hint: str
    mistakes: dict[str, Callable] = field(default_factory=dict)
    gradient: bool = True

    def __call__(self, answer: Any) -> tuple[bool | None, str]:
        """Judge a function: (right, text); right is None while it is the stub."""
        return judge(answer, self)


def judge(answer: Any, task: Task) -> tuple[bool | None, str]:
    """Whether `answer` does what `task.right` does, and if not, why."""
    if not callable(answer):
        return False, f"The answer is a function: hand over its name without calling it. Got {_kind(answer)}."
    for case, arguments in task.inputs().items():
        outcome = _run(answer, arguments)
        if outcome is None:
            return None, "Write the function's body and run both cells again."
        if isinstance(outcome, str):
            return False, f"{_case(case)} {outcome}"
    for words, mistake in task.mistakes.items():
        if _same_everywhere(answer, mistake, task):
            return False, words
    for case, arguments in task.inputs().items():
        problem = _compare(answer, task.right, arguments, gradient=task.gradient)
        if problem:
            return False, f"{_case(case)} {problem} {task.hint}"
    return True, task.praise


def _run(function: Callable, arguments: tuple) -> Any:
    """What it returns for copies of `arguments`; None from a stub; a sentence (a string) where it cannot be judged."""
    copies = [_copy(argument) for argument in arguments]
    try:
        result = function(*copies)
    except NotImplementedError:
        return None
    except Exception as error:  # a reader's code: whatever it raises is shown
        return f"the function stops with {type(error).__name__}: {error}"
    if result is None or result is ...:
        return None
    changed = [
        number
        for number, (before, after) in enumerate(zip(arguments, copies, strict=True), start=1)
        if isinstance(before, Tensor) and not torch.equal(before, after.detach())
    ]
    if changed:
        return f"the function changes its argument number {changed[0]}; make a new tensor."
    return result


def _same_everywhere(answer: Callable, other: Callable, task: Task) -> bool:
    """Whether both give the same value and, where it counts, the same gradient in all cases."""
    return all(not _compare(answer, other, arguments, gradient=task.gradient) for arguments in task.inputs().values())


def _compare(answer: Callable, right: Callable, arguments: tuple, *, gradient: bool) -> str:
    """How the two differ on these arguments, one sentence; empty if they do not."""
    mine, theirs = ([_copy(argument, gradient=gradient) for argument in arguments] for _ in range(2))
    got, expected = _tensors(answer(*mine)), _tensors(right(*theirs))
    if len(got) != len(expected):
        return f"{len(expected)} values should come back, got {len(got)}."
    for ours, wanted in zip(got, expected, strict=True):
        if ours.shape != wanted.shape:
            return f"the result should have shape {tuple(wanted.shape)}, got {tuple(ours.shape)}."
        if not torch.isfinite(ours).all() and torch.isfinite(wanted).all():
            return "the result is not finite everywhere."
        off = ~torch.isclose(ours.double(), wanted.double(), RELATIVE, ABSOLUTE, equal_nan=True)
        if off.any():
            place = tuple(off.nonzero()[0].tolist())
            where = f"at {place} " if place else ""
            return f"{where}the result should be {wanted[place].item():.4g}, got {ours[place].item():.4g}."
    return _compare_gradients(got, expected, mine, theirs) if gradient else ""


def _compare_gradients(got: list[Tensor], expected: list[Tensor], mine: list, theirs: list) -> str:
    wanted = _gradients(expected, theirs)
    if wanted is None:
        return ""
    ours = _gradients(got, mine)
    if ours is None:
        return "the value is right, but no gradient comes back: only torch's operations, no `.item()`, no `.detach()`."
    for number, (one, other) in enumerate(zip(ours, wanted, strict=True), start=1):
        if not torch.allclose(one.double(), other.double(), 10 * RELATIVE, 10 * ABSOLUTE):
            return f"the value is right, the gradient with respect to argument number {number} is not."
    return ""


def _gradients(results: list[Tensor], arguments: list) -> list[Tensor] | None:
    """Of a fixed random sum of the results with respect to each tensor that takes part; None where nothing does."""
    leaves = [argument for argument in arguments if isinstance(argument, Tensor) and argument.requires_grad]
    joined = [result for result in results if result.requires_grad]
    if not joined or not leaves:
        return None
    draw = torch.Generator().manual_seed(1)
    total = torch.stack([(one * torch.rand(one.shape, generator=draw)).sum() for one in joined]).sum()
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


def _tensors(result: Any) -> list[Tensor]:
    """A result as a list of tensors, numbers among them."""
    return [torch.as_tensor(one) for one in (result if isinstance(result, list | tuple) else (result,))]


def _copy(argument: Any, *, gradient: bool = False) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    copy = argument.clone()
    return copy.requires_grad_() if gradient and copy.is_floating_point() else copy


def _case(name: str) -> str:
    return f"{name[:1].upper()}{name[1:]}:"


def _kind(answer: Any) -> str:
    return f"{answer!r}" if isinstance(answer, int | float | str | bool) else f"a {type(answer).__name__}"
