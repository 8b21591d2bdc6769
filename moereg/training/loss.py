"""The loss of a training.

    loss = sum over terms of weight * term

The terms are those that the model's result offers (`Registration.loss_terms`), "labels", which needs label maps, and
"motion", which needs the true displacement: phantoms have it, scans do not. `TrainingConfig` holds a weight of the same
name for each; "similarity" has weight one.

| term         | of                     | formula                                                    |
|--------------|------------------------|------------------------------------------------------------|
| "similarity" | every model            | `similarity(warped, fixed)`                                |
| "smoothness" | every model            | `diffusion(u)`                                             |
| "labels"     | every labelled pair    | `1 - soft Dice`                                            |
| "motion"     | every known motion     | `mean |u - u*|` over the pair's region                     |
| "balance"    | models that route      | `N sum_i f_i P_i`, mean over layers                        |
| "z"          | models that route      | `mean logsumexp(x)^2`, mean over layers                    |
| "information" | models that route     | `-MI(expert; voxel)`, mean over layers                     |
| "folds"      | every model            | `mean max(0, -det(I + grad u))`                            |
| "inverse"    | every model            | `mean |v(x) + u(x + v(x))|^2`, `v` of the other direction  |
| "force"      | DrivenMorph            | how far each force by itself fails to align                |

For SegReg, similarity and smoothness are sums over regions.

Where pairs have masks, similarity sees the fixed image alone outside of the fixed image's mask, as if the warped one
were equal to it there: nothing pulls at such voxels, and the smooth field goes on across the border.

Most terms are means over pairs, so a step may be computed in several passes or on several devices. "balance" and
"information" are statistics of a whole batch: devices exchange them (but for SegReg), passes have each their own.
"labels" is a mean over the labels that a batch has, of every pass on every device its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moereg.data.pairs import Pairs
from moereg.fields import sample, warp_labels
from moereg.metrics import dice, shared_labels
from moereg.models.registration import Registration
from moereg.regularity import folding, inverse_error
from moereg.training.config import TrainingConfig
from moereg.training.schedule import similarity_at


@dataclass(frozen=True)
class Batch:
    """Pairs stacked along the batch axis, each in both directions."""

    moving: Float[Tensor, "batch channel *space"]
    fixed: Float[Tensor, "batch channel *space"]
    moving_labels: Int[Tensor, "batch 1 *space"] | None
    fixed_labels: Int[Tensor, "batch 1 *space"] | None
    motion: Float[Tensor, "pair dims *space"] | None = None  # the truth of the first half of the batch
    region: Bool[Tensor, "pair 1 *space"] | None = None  # where it means something
    fixed_mask: Bool[Tensor, "batch 1 *space"] | None = None  # where the fixed images count; None: everywhere

    @property
    def labels(self) -> tuple[Tensor, Tensor] | None:
        """Label maps of moving and fixed images, where every pair has both."""
        if self.moving_labels is None or self.fixed_labels is None:
            return None
        return self.moving_labels, self.fixed_labels


def collate(pairs: Pairs, device: torch.device | str) -> Batch:
    """Stack pairs: first all moving -> fixed, then all fixed -> moving."""

    def stacked(name: str) -> Tensor | None:
        """One thing of all pairs, where every pair has it."""
        values = [getattr(pair, name) for pair in pairs]
        return None if any(value is None for value in values) else torch.stack(values).to(device)

    def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
        """One thing of both directions."""
        return None if first is None or second is None else torch.cat([first, second])

    moving, fixed = (torch.stack([getattr(pair, name) for pair in pairs]).to(device) for name in ("moving", "fixed"))

    def masks(name: str) -> Tensor:
        everywhere = torch.ones_like(moving[0, :1], dtype=torch.bool)
        return torch.stack([everywhere if (mask := getattr(pair, name)) is None else mask.to(device) for pair in pairs])

    masked = any(getattr(pair, name) is not None for pair in pairs for name in ("moving_mask", "fixed_mask"))
    labels = stacked("moving_labels"), stacked("fixed_labels")
    return Batch(
        torch.cat([moving, fixed]),
        torch.cat([fixed, moving]),
        both(*labels),
        both(*reversed(labels)),
        stacked("displacement"),
        stacked("region"),
        torch.cat([masks("fixed_mask"), masks("moving_mask")]) if masked else None,
    )


def registration_loss(
    registration: Registration, batch: Batch, config: TrainingConfig, *, step: int = 0
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss of the module's text, and its unweighted terms by name. Terms of weight zero are left out.

    Args:
        step: of the training, on which the window of the similarity may depend.
    """
    weights = {"similarity": 1.0, **{name: getattr(config, name) for name in config.WEIGHTS}}
    unwanted = [name for name, weight in weights.items() if weight == 0]
    similarity = similarity_at(step, config)
    if batch.fixed_mask is not None:
        similarity = within(batch.fixed_mask, similarity)
    terms = registration.loss_terms(batch.moving, batch.fixed, similarity, skip=unwanted)
    if config.labels and batch.labels is not None:
        terms["labels"] = soft_dice_loss(*batch.labels, registration.displacement)
    if config.motion and batch.motion is not None:
        terms["motion"] = motion_loss(registration.displacement[: len(batch.motion)], batch.motion, batch.region)
    if config.folds:
        terms["folds"] = folding(registration.displacement)
    if config.inverse:
        # A batch holds both directions, see `collate`.
        terms["inverse"] = inverse_error(*registration.displacement.chunk(2))
    nothing = registration.displacement.new_zeros(())
    return sum((weights[name] * term for name, term in terms.items()), start=nothing), terms


def within(mask: Bool[Tensor, "batch 1 *space"], similarity: Callable) -> Callable:
    """A similarity to which the warped image equals the fixed one outside of the mask; at coarser levels too."""

    def compare(warped: Tensor, fixed: Tensor) -> Tensor:
        if len(fixed) != len(mask):
            raise ValueError("masks must go with a model that compares whole images, got one that compares regions.")
        here = mask
        if here.shape[2:] != fixed.shape[2:]:
            here = F.interpolate(mask.to(fixed.dtype), fixed.shape[2:], mode="nearest") > 0.5
        return similarity(torch.where(here, warped, fixed), fixed)

    return compare


def soft_dice_loss(
    moving_labels: Int[Tensor, "batch 1 *space"],
    fixed_labels: Int[Tensor, "batch 1 *space"],
    displacement: Float[Tensor, "batch dims *space"],
) -> Float[Tensor, ""]:
    """`1 - mean Dice` of linearly warped one-hot labels, over labels above zero that both images have."""
    labels = shared_labels(moving_labels, fixed_labels)
    kind = torch.promote_types(displacement.dtype, torch.float32)
    moving, fixed = (torch.cat([lab == value for value in labels], 1).to(kind) for lab in (moving_labels, fixed_labels))
    warped = sample(moving, displacement)
    overlap = 2 * (warped * fixed).flatten(2).sum(2)
    total = (warped + fixed).flatten(2).sum(2)
    return 1 - (overlap / total.clamp_min(1)).mean()


def motion_loss(
    displacement: Float[Tensor, "pair dims *space"],
    truth: Float[Tensor, "pair dims *space"],
    region: Bool[Tensor, "pair 1 *space"] | None = None,
) -> Float[Tensor, ""]:
    """Mean endpoint error in voxels, over `region` where there is one; smooth at zero."""
    error = ((displacement - truth).square().sum(1, keepdim=True) + 1e-6).sqrt()
    return error.mean() if region is None else error[region].mean()


def batch_dice(registration: Registration, batch: Batch) -> float:
    """Mean Dice of a batch after nearest warping.

    Raises:
        ValueError: a batch without label maps.
    """
    values = batch_overlaps(registration, batch)
    return sum(values) / max(len(values), 1)


def batch_overlaps(registration: Registration, batch: Batch) -> list[float]:
    """Dice of every label of every image of a batch. Raises as `batch_dice`."""
    if batch.labels is None:
        raise ValueError("batch must have label maps to be measured by, got none.")
    moving_labels, fixed_labels = batch.labels
    warped = warp_labels(moving_labels, registration.displacement.detach().float())
    scores = [dice(w, f) for w, f in zip(warped, fixed_labels, strict=True)]
    return [value for score in scores for value in score.values()]
