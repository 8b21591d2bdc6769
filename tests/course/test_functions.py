"""Exercises in code: the right function passes, every usual mistake gets words of its own, the stub waits."""

import itertools

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


def gates_by_mask(logits, k, rule):
    """Without `scatter`: what is below the k-th largest logit is taken out."""
    kept = logits >= logits.topk(k, dim=2).values[:, :, -1:]
    if rule == "topk_softmax":
        return logits.masked_fill(~kept, -torch.inf).softmax(2)
    gates = logits.softmax(2) * kept
    total = gates.sum(2, keepdim=True)
    return gates / {"raw": 1.0, "renormalised": total, "stopped": total.detach()}[rule]


def gates_from_exponentials(logits, k, rule):
    """Both sums written out."""
    powers = logits.exp()
    chosen = torch.zeros_like(logits).scatter(2, logits.topk(k, dim=2).indices, 1.0)
    total, kept = powers.sum(2, keepdim=True), (powers * chosen).sum(2, keepdim=True)
    if rule in ("renormalised", "topk_softmax"):
        return powers * chosen / kept
    gates = powers / total * chosen
    return gates / (kept / total).detach() if rule == "stopped" else gates


def balance_by_counting(logits, chosen):
    experts, rest = logits.shape[1], [axis for axis in range(logits.dim()) if axis != 1]
    load = torch.stack([(chosen == i).float().mean() for i in range(experts)])
    return experts * (load * logits.softmax(1).mean(rest)).sum()


def balance_by_voxel(logits, chosen):
    """`f` read at every voxel, where its probability stands."""
    load = chosen.flatten().bincount(minlength=logits.shape[1]) / chosen.numel()
    places = logits.numel() / logits.shape[1]
    return logits.shape[1] * torch.einsum("bn...,n->", logits.softmax(1), load) / places


def dispatch_densely(tokens, weights, chosen, gates):
    all_gates = torch.zeros(len(tokens), len(weights)).scatter(1, chosen, gates)
    return torch.einsum("tc,ncd,tn->td", tokens, weights, all_gates)


def dispatch_by_expert(tokens, weights, chosen, gates):
    out = torch.zeros(len(tokens), weights.shape[2])
    for i, weight in enumerate(weights):
        place, rank = (chosen == i).nonzero(as_tuple=True)
        out = out.index_add(0, place, gates[place, rank, None] * (tokens[place] @ weight))
    return out


ALSO_RIGHT |= {
    "routers-gates": (gates_by_mask, gates_from_exponentials),
    "routers-balance": (balance_by_counting, balance_by_voxel),
    "routers-dispatch": (dispatch_densely, dispatch_by_expert),
}


def attention_by_sums(queries, keys, values):
    weights = torch.einsum("...td,...sd->...ts", queries, keys).div(queries.shape[-1] ** 0.5).exp()
    return torch.einsum("...ts,...sv->...tv", weights / weights.sum(-1, keepdim=True), values)


def windows_by_loops(features, window):
    starts = itertools.product(*[range(0, n, window) for n in features.shape[2:]])
    blocks = [features[(slice(None), slice(None), *(slice(a, a + window) for a in at))] for at in starts]
    return torch.stack([block.flatten(2).mT for block in blocks], 1).flatten(0, 1)


def windows_by_view(features, window):
    """(B, C, n1 s1, n2 s2, ...) taken apart and put together by einops' rules, by hand."""
    dims, channels = features.dim() - 2, features.shape[1]
    apart = features.reshape(*features.shape[:2], *[part for n in features.shape[2:] for part in (n // window, window)])
    order = (0, *range(2, 2 + 2 * dims, 2), *range(3, 3 + 2 * dims, 2), 1)
    return apart.permute(order).reshape(-1, window**dims, channels)


def heads_concatenated(tokens, query, key, value, output):
    """As textbooks have it: heads side by side, then one large matrix."""
    project = [torch.einsum("mtc,ncd->nmtd", tokens, matrix) for matrix in (query, key, value)]
    attended = F.scaled_dot_product_attention(*project)
    return torch.cat(list(attended), -1) @ output.flatten(0, 1)


def heads_one_by_one(tokens, query, key, value, output):
    total = 0
    for q, k, v, o in zip(query, key, value, output, strict=True):
        total = total + attention_by_sums(tokens @ q, tokens @ k, tokens @ v) @ o
    return total


ALSO_RIGHT |= {
    "attention-scaled": (attention_by_sums, F.scaled_dot_product_attention),
    "attention-split": (windows_by_loops, windows_by_view),
    "attention-heads": (heads_concatenated, heads_one_by_one),
}


def mixture_at_once(tokens, query, key, value, output, chosen, gates):
    scores = torch.einsum("tc,ncd,sd->nts", tokens, query, tokens @ key) / query.shape[-1] ** 0.5
    gates = torch.zeros(len(tokens), len(query)).scatter(1, chosen, gates)
    return torch.einsum("nts,sd,ndc,tn->tc", scores.softmax(-1), tokens @ value, output, gates)


def mixture_of_chosen_rows(tokens, query, key, value, output, chosen, gates):
    keys, values = tokens @ key, tokens @ value
    out = torch.zeros_like(tokens)
    for i in range(len(query)):
        rows, rank = (chosen == i).nonzero(as_tuple=True)
        part = attention_by_sums(tokens[rows] @ query[i], keys, values) @ output[i]
        out = out.index_add(0, rows, gates[rows, rank, None] * part)
    return out


def without_by_masking(logits, head, k):
    there = torch.arange(logits.shape[2]).view(-1, *[1] * (logits.dim() - 3)) != head
    return gates_by_mask(logits.masked_fill(~there, -torch.inf), k, "topk_softmax")


def without_by_cutting(logits, head, k):
    """The others alone, and a zero put back in the head's place."""
    gates = gates_from_exponentials(torch.cat([logits[:, :, :head], logits[:, :, head + 1 :]], 2), k, "renormalised")
    return torch.cat([gates[:, :, :head], torch.zeros_like(logits[:, :, :1]), gates[:, :, head:]], 2)


ALSO_RIGHT |= {
    "moa-mixture": (mixture_at_once, mixture_of_chosen_rows),
    "moa-knockout": (without_by_masking, without_by_cutting),
}


def force_as_a_share(difference, gradient, L):
    """Optical flow times how much of it the brake lets through."""
    size = gradient.norm(dim=1, keepdim=True)
    return (difference * gradient / size**2) / (1 + (difference / (2 * L * size)) ** 2)


def force_by_direction(difference, gradient, L):
    """One component after the other."""
    size = sum(component**2 for component in gradient.unbind(1))
    scale = difference[:, 0] / (size + difference[:, 0] ** 2 / (4 * L**2))
    return torch.stack([component * scale for component in gradient.unbind(1)], 1)


def smooth_by_shifts(field, taps):
    """Sum of shifted copies, each times its tap."""
    radius = len(taps) // 2
    for axis in range(2, field.dim()):
        size = field.shape[axis]
        field = sum(
            tap * field.index_select(axis, (torch.arange(size) + shift).clamp(0, size - 1))
            for shift, tap in zip(range(-radius, radius + 1), taps, strict=True)
        )
    return field


def smooth_by_windows(field, taps):
    """A padded axis, cut into windows."""
    radius = len(taps) // 2
    for axis in range(2, field.dim()):
        last = field.movedim(axis, -1)
        ends = [last[..., :1].expand(*last.shape[:-1], radius), last, last[..., -1:].expand(*last.shape[:-1], radius)]
        field = (torch.cat(ends, -1).unfold(-1, len(taps), 1) @ taps).movedim(-1, axis)
    return field


def bracket_by_einsum(v, u, gradient_v, gradient_u):
    """Summed over the axis of the derivative."""
    return torch.einsum("bij...,bj...->bi...", gradient_v, u) - torch.einsum("bij...,bj...->bi...", gradient_u, v)


def bracket_by_loops(v, u, gradient_v, gradient_u):
    """Component by component."""
    dims = v.shape[1]
    return torch.stack(
        [sum(gradient_v[:, i, j] * u[:, j] - gradient_u[:, i, j] * v[:, j] for j in range(dims)) for i in range(dims)],
        1,
    )


def loss_by_differences(moving, fixed, u, weight):
    """Differences by slices."""
    roughness = 0
    for axis in range(2, u.dim()):
        size = u.shape[axis]
        step = u.narrow(axis, 1, size - 1) - u.narrow(axis, 0, size - 1)
        roughness = roughness + step.square().sum(1).mean()
    return F.mse_loss(fields.sample(moving, u), fixed) + weight * roughness


def loss_by_components(moving, fixed, u, weight):
    """Each component's derivatives on their own."""
    components = [u[:, d] for d in range(u.shape[1])]
    rough = sum(one.diff(dim=axis).pow(2).mean() for one in components for axis in range(1, one.dim()))
    return ((fixed - fields.warp(moving, u)) ** 2).mean() + rough * weight


def adam_by_torch(values, slope, mean, square, step, rate):
    """torch's own, its state put in place."""
    unknowns = values.clone().requires_grad_()
    optimiser = torch.optim.Adam([unknowns], lr=rate)
    state = {"step": torch.tensor(step - 1.0), "exp_avg": mean.clone(), "exp_avg_sq": square.clone()}
    optimiser.state[unknowns] = state
    unknowns.grad = slope.clone()
    optimiser.step()
    return unknowns.detach(), optimiser.state[unknowns]["exp_avg"], optimiser.state[unknowns]["exp_avg_sq"]


def adam_by_lerp(values, slope, mean, square, step, rate):
    """Running means as interpolations, the corrections in the rate."""
    mean, square = mean.lerp(slope, 0.1), square.lerp(slope.square(), 0.001)
    root = square.sqrt() / (1 - 0.999**step) ** 0.5
    return [values - rate / (1 - 0.9**step) * mean / (root + 1e-8), mean, square]


def squaring_by_warps(velocity, number):
    """Each channel is an image that is read where the field leads."""
    u = velocity * 0.5**number
    for _ in range(number):
        u = u + fields.sample(u, u)
    return u


def squaring_recursively(velocity, number):
    """Half the time twice."""
    if number == 0:
        return velocity
    half = squaring_recursively(velocity / 2, number - 1)
    return fields.compose(half, half)


ALSO_RIGHT |= {
    "demons-force": (force_as_a_share, force_by_direction),
    "demons-smooth": (smooth_by_shifts, smooth_by_windows),
    "demons-bracket": (bracket_by_einsum, bracket_by_loops),
    "learning-loss": (loss_by_differences, loss_by_components),
    "learning-adam": (adam_by_torch, adam_by_lerp),
    "learning-squaring": (squaring_by_warps, squaring_recursively),
}


def place_by_homogeneous(affine, index):
    """A one at the end of every index, and the whole matrix."""
    whole = torch.cat([index.flip(-1), torch.ones(len(index), 1)], 1)
    return (affine @ whole.T).T[:, :-1]


def place_by_steps(affine, index):
    """From the first voxel, step by step along each file axis."""
    dims = index.shape[1]
    steps = [index[:, dims - 1 - axis, None] * affine[:dims, axis] for axis in range(dims)]
    return affine[:dims, dims] + torch.stack(steps).sum(0)


def vectors_by_lps(u, affine):
    """The affine in LPS first."""
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0])[: len(u)])
    return ((turn @ affine[:-1, :-1]) @ u.flip(0).flatten(1)).reshape(u.shape)


def vectors_as_a_difference(u, affine):
    """Where a place leads minus the place."""
    grid = fields.identity_grid(u.shape[1:])
    there, here = (place_by_steps(affine, x.flatten(1).T).T.reshape(u.shape) for x in (grid + u, grid))
    return torch.cat([here[:2] - there[:2], there[2:] - here[2:]])


def board_by_parity(first, second, size):
    """The parities of the axes multiplied."""
    sign = torch.ones(first.shape)
    for axis, n in enumerate(first.shape):
        along = (1 - 2 * (torch.arange(n) // size % 2)).view(*[-1 if a == axis else 1 for a in range(first.ndim)])
        sign = sign * along
    return first * (sign + 1) / 2 + second * (1 - sign) / 2


def board_by_loops(first, second, size):
    """Voxel by voxel."""
    places = torch.cartesian_prod(*(torch.arange(n) for n in first.shape))
    out = [
        first[tuple(p)] if sum(i // size for i in p.tolist()) % 2 == 0 else second[tuple(p)] for p in places.unbind(0)
    ]
    return torch.stack(out).reshape(first.shape)


ALSO_RIGHT |= {
    "scans-place": (place_by_homogeneous, place_by_steps),
    "scans-vectors": (vectors_by_lps, vectors_as_a_difference),
    "scans-board": (board_by_parity, board_by_loops),
}


def chain_recursively(features, weights, biases):
    """The first map, then the rest of the chain on it."""
    if not len(weights):
        return []
    convolution = F.conv2d if features.dim() == 4 else F.conv3d
    first = convolution(features, weights[0], biases[0], padding="same")
    return [first, *chain_recursively(first, weights[1:], biases[1:])]


def chain_by_shifts(features, weights, biases):
    """Every tap of a kernel as a shifted copy."""
    dims, maps = features.dim() - 2, []
    for weight, bias in zip(weights, biases, strict=True):
        padded = F.pad(features, (1, 1) * dims)
        features = bias.view(-1, *[1] * dims)
        for tap in itertools.product(range(3), repeat=dims):
            at = [slice(t, t + size - 2) for t, size in zip(tap, padded.shape[2:], strict=True)]
            moved = padded[(slice(None), slice(None), *at)]
            features = features + torch.einsum("oi,bi...->bo...", weight[(slice(None), slice(None), *tap)], moved)
        maps.append(features)
    return maps


def directions_read_first(maps, logits, readout, k):
    """Proposals, then gates by a mask."""
    proposals = torch.einsum("dc,bnc...->bdn...", readout, maps)
    return (gates_by_mask(logits, k, "topk_softmax") * proposals).sum(2)


def directions_one_by_one(maps, logits, readout, k):
    answers = []
    for row, own in zip(readout, logits.unbind(1), strict=True):
        scores, chosen = own.topk(k, dim=1)
        gates = torch.zeros_like(own).scatter(1, chosen, scores.softmax(1))
        mixture = (gates[:, :, None] * maps).sum(1)
        answers.append(torch.tensordot(mixture.movedim(1, -1), row, 1))
    return torch.stack(answers, 1)


def fold_as_matrices(weight, bias, readout):
    return (readout @ weight.flatten(1)).view(-1, *weight.shape[1:]), (readout * bias).sum(1)


def fold_by_channels(weight, bias, readout):
    kernels = [sum(a * one for a, one in zip(row, weight, strict=True)) for row in readout]
    return [torch.stack(kernels), torch.mv(readout, bias)]


def level_by_grid_sample(coarse, residual):
    """torch's own up-sampling is another one: the library's, then torch's sampler."""
    return compose_by_sampling(2 * fields.upsample(coarse, residual.shape[2:]), residual)


def level_by_warp(coarse, residual):
    up = fields.upsample(coarse, residual.shape[2:])
    return residual + 2 * fields.warp(up, residual)


def information_as_divergence(logits):
    """Minus the mean divergence of each place from the mean of all."""
    log_p = logits.log_softmax(1).movedim(1, -1).reshape(-1, logits.shape[1])
    p = log_p.exp()
    return -(p * (log_p - p.mean(0).log())).sum(1).mean()


def information_by_categorical(logits):
    flat = logits.movedim(1, -1).flatten(0, -2)
    each = torch.distributions.Categorical(logits=flat, validate_args=False)
    mean = torch.distributions.Categorical(probs=each.probs.mean(0), validate_args=False)
    return each.entropy().mean() - mean.entropy()


ALSO_RIGHT |= {
    "shmoe-nested": (chain_recursively, chain_by_shifts),
    "shmoe-directions": (directions_read_first, directions_one_by_one),
    "shmoe-fold": (fold_as_matrices, fold_by_channels),
    "shmoareg-residual": (level_by_grid_sample, level_by_warp),
    "shmoareg-information": (information_as_divergence, information_by_categorical),
}


def merge_by_gathering(partial, regions, values):
    """The number of each voxel's region, and its field fetched."""
    place = sum(i * (regions == value) for i, value in enumerate(values))
    index = place[None].expand(1, -1, partial.shape[2], *regions.shape[2:])
    return partial.gather(0, index)[0]


def merge_by_where(partial, regions, values):
    merged = torch.zeros_like(partial[0])
    for value, field in zip(values, partial, strict=True):
        merged = torch.where(regions == value, field, merged)
    return merged


def folds_by_shifting(determinant, regions):
    """A voxel against every neighbour, the border repeated."""
    dims = regions.dim() - 2
    padded = F.pad(regions.float(), (1, 1) * dims, mode="replicate")
    seam = torch.zeros_like(regions, dtype=torch.bool)
    for shift in itertools.product(range(3), repeat=dims):
        there = (..., *[slice(s, s + n) for s, n in zip(shift, regions.shape[2:], strict=True)])
        seam |= padded[there] != regions
    return int((seam & (determinant <= 0)).sum()), int(seam.sum())


def folds_by_pooling(determinant, regions):
    pool = F.max_pool2d if regions.dim() == 4 else F.max_pool3d
    labels = regions.float()
    seam = pool(labels, 3, 1, 1) + pool(-labels, 3, 1, 1) > 0
    return (determinant[seam] <= 0).sum(), seam.sum()


def accumulate_by_sampling(residuals):
    phi = residuals[0]
    for psi in residuals[1:]:
        phi = psi + fields.sample(phi, psi)
    return phi


def accumulate_as_maps(residuals):
    """The map x + phi, read by each further pass."""
    grid = fields.identity_grid(residuals.shape[3:])
    phi = residuals[0]
    for psi in residuals[1:]:
        phi = (grid + psi + fields.warp(phi, psi)) - grid
    return phi


def mutual_by_einsum(f, m, query, key, value):
    def look(own, other):
        q, k, v = (
            torch.einsum("bct,cd->btd", x.flatten(2), w) for x, w in ((own, query), (other, key), (other, value))
        )
        weights = (torch.einsum("btd,bsd->bts", q, k) / query.shape[1] ** 0.5).softmax(2)
        return own + torch.einsum("bts,bsc->bct", weights, v).reshape(own.shape)

    return look(f, m), look(m, f)


def mutual_by_torch(f, m, query, key, value):
    a, b = (x.flatten(2).mT for x in (f, m))
    pairs = ((a, b, f), (b, a, m))
    return [
        own + F.scaled_dot_product_attention(x @ query, y @ key, y @ value).mT.reshape(own.shape) for x, y, own in pairs
    ]


def force_by_inverse(difference, gradient, L):
    J = gradient.movedim((1, 2), (-2, -1))  # (B, *S, C, D)
    d = difference.movedim(1, -1)
    lam = d.square().sum(-1)[..., None, None] / (4 * L**2)
    inverse = torch.linalg.inv(J.mT @ J + lam * torch.eye(J.shape[-1]))
    return (inverse @ J.mT @ d[..., None])[..., 0].movedim(-1, 1)


def force_by_the_other_side(difference, gradient, L):
    """J^T (J J^T + lambda I)^-1 d: the same by the push-through identity, C by C."""
    J = gradient.movedim((1, 2), (-2, -1))
    d = difference.movedim(1, -1)
    lam = d.square().sum(-1)[..., None, None] / (4 * L**2)
    return (J.mT @ torch.linalg.solve(J @ J.mT + lam * torch.eye(J.shape[-2]), d[..., None]))[..., 0].movedim(-1, 1)


def round_by_shifts(u, force, taps):
    update = smooth_by_shifts(force, taps)
    return update + fields.sample(u, update)


def round_by_windows(u, force, taps):
    return compose_by_sampling(u, smooth_by_windows(force, taps))


ALSO_RIGHT |= {
    "segreg-merge": (merge_by_gathering, merge_by_where),
    "segreg-folds": (folds_by_shifting, folds_by_pooling),
    "rman-accumulate": (accumulate_by_sampling, accumulate_as_maps),
    "rman-mutual": (mutual_by_einsum, mutual_by_torch),
    "drivenmorph-force": (force_by_inverse, force_by_the_other_side),
    "drivenmorph-round": (round_by_shifts, round_by_windows),
}


def interval_by_scipy(first, second, quantile):
    difference = first - second
    error = difference.var(correction=1).div(difference.numel()).sqrt()
    return difference.mean() + torch.tensor([0.0, -1.0, 1.0]) * quantile * error


def interval_by_sums(first, second, quantile):
    n, difference = len(first), first - second
    mean = difference.sum() / n
    reach = quantile * ((difference - mean).square().sum() / (n - 1) / n) ** 0.5
    return torch.stack((mean, mean - reach, mean + reach))


def back_by_sampling(forth, back):
    left = forth + fields.warp(back, forth)
    return left.square().sum(1).sqrt().mean()


def back_in_one_line(forth, back):
    return torch.linalg.vector_norm(fields.compose(back, forth), dim=1).mean()


ALSO_RIGHT |= {
    "comparison-interval": (interval_by_scipy, interval_by_sums),
    "comparison-consistency": (back_by_sampling, back_in_one_line),
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
