# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   moereg:
#     budget:
#       smoke_seconds: 40
#       full_seconds: 60
#       peak_memory_mb: 1000
# ---

# %% [markdown]
# # Demons from scratch
#
# You will be able to
#
# * derive Thirion's force from optical flow, and say what bounds it,
# * build a registration out of it: force, add, smooth, again,
# * tell elastic from fluid smoothing by what each can and cannot do,
# * choose among the variants: symmetric, diffeomorphic, log.
#
# The code is `moereg/classical/`. Chapter 10 puts features of a network in the place of intensities.

# %%
import importlib.util

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import interact

from moereg import fields
from moereg.classical import VARIANTS, demons, demons_force
from moereg.classical.step import stays_inside
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.filters import gaussian_radius, gaussian_taps
from moereg.regularity import fold_fraction
from moereg.similarity import mse
from moereg.viz.figures import show_grid, show_image

budget = Budget.from_env()
plt.rcParams["figure.dpi"] = 75  # small pictures, a small notebook
shape = (96, 96)
pair = phantoms.make("abdomen", shape, seed=9000, motion=phantoms.Motion(amplitude=(0.09, 0.045, 0.045)))
moving, fixed, truth, region = pair.moving[None], pair.fixed[None], pair.displacement[None], pair.region[None]


def error(u):
    """Mean distance to the true displacement within the body, in voxels."""
    return (u - truth).norm(dim=1, keepdim=True)[region].mean().item()


# %% [markdown]
# ## One equation, two unknowns
#
# Let $s$ be the field so far and $M_s$ the moving image warped by it. Which small step $u$ makes the images equal? To first
# order, with $J$ the image gradient:
#
# $$M(x + s + u) \approx M_s + J \cdot u \overset{!}{=} F \qquad\Rightarrow\qquad J \cdot u = d, \quad d = F - M_s$$
#
# This is optical flow. The shortest step that solves it is $u = d\,J / |J|^2$. **Where will that go wrong?**

# %% mystnb={"image": {"alt": "The difference of the images, the size of the fixed image's gradient, and the length of the optical-flow step: beyond ten voxels at many places in air and within even tissue."}}


def central(image):
    """(rows, columns) -> (2, rows, columns): half the difference of both neighbours, zero at the border."""
    gradient = image.new_zeros(2, *image.shape)
    gradient[0, 1:-1] = (image[2:] - image[:-2]) / 2
    gradient[1, :, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return gradient


d, J = (fixed - moving)[0, 0], central(fixed[0, 0])
flow = (d.abs() / J.norm(dim=0)).nan_to_num(posinf=99)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
for ax, (values, title, style) in zip(
    axes,
    (
        (d, "difference d", {"cmap": "RdBu", "vmin": -0.5, "vmax": 0.5}),
        (J.norm(dim=0), "gradient |J|", {"cmap": "gray"}),
        (flow, "step |d| / |J|, voxels", {"cmap": "magma", "vmin": 0, "vmax": 10}),
    ),
    strict=True,
):
    figure.colorbar(ax.imshow(values, **style), ax=ax, shrink=0.8)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()
plt.show()
print(f"longer than 2 voxels: {(flow > 2).float().mean():.0%} of all steps, the longest {flow.max():.0f} voxels")
print(f"no true motion is longer than {truth.norm(dim=1).max():.1f} voxels")
assert flow.max() > 50

# %% [markdown]
# Wherever the image is flat, noise divided by nearly nothing. Thirion adds $d^2$ to the denominator. With the bound $L$ in
# voxels written out (his is $L = 1/2$):
#
# $$u = \frac{d\,J}{|J|^2 + d^2 / (4 L^2)}$$
#
# Where the gradient is strong this is optical flow; where it is weak the step goes to zero. **How long can it get?**

# %% mystnb={"image": {"alt": "Length of the step against the gradient for a difference of 0.2: optical flow grows without bound towards zero gradient, the Demons force rises to L and falls back to zero."}}
gradients = torch.linspace(0.002, 1, 500)
_, ax = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
ax.plot(gradients, 0.2 / gradients, color="grey", linestyle=":", label="optical flow")
for L, colour in ((0.25, "#52d6ea"), (0.5, "#3952c5"), (1.0, "#b70b60")):
    length = 0.2 * gradients / (gradients**2 + 0.2**2 / (4 * L**2))
    ax.plot(gradients, length, color=colour, label=f"Demons, L = {L:g}")
    assert 0.99 * L < length.max() <= L + 1e-6
ax.set(ylim=(0, 1.6), xlabel="gradient |J|", ylabel="step for d = 0.2, voxels")
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# Never longer than $L$. The force by hand, and the library's:


# %%
def force_by_hand(fixed, warped, L=0.5):
    d = fixed - warped
    d = torch.where(d.abs() < 1e-3, 0, d)  # equal enough
    J = central(fixed)
    denominator = J.square().sum(0) + d**2 / (4 * L**2)
    return torch.where(d == 0, 0, d * J / denominator.clamp_min(1e-12))


u = force_by_hand(fixed[0, 0], moving[0, 0])
torch.testing.assert_close(u, demons_force(fixed - moving, central(fixed[0, 0])[None, None], threshold=1e-3)[0])
assert u.norm(dim=0).max() <= 0.5 + 1e-5

# %% mystnb={"image": {"alt": "Left: the first force as arrows on the fixed image, along the borders of organs, of many directions. Right: the true displacement, smooth."}}
grid = fields.identity_grid(shape)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
for ax, field, title in ((axes[0], 4 * u, "first force, four times as long"), (axes[1], truth[0], "true displacement")):
    show_image(ax, fixed[0, 0], title=title)
    every = (slice(None, None, 3),) * 2
    arrows = {"color": "#e8a53a", "angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.005}
    ax.quiver(grid[1][every], grid[0][every], field[1][every], field[0][every], **arrows)
plt.show()

# %% [markdown]
# ## Smooth, and again
#
# Arrows stand on edges and across them (the aperture problem of chapter 02), and noise has its say. Smoothing the field
# lets neighbours agree. Then warp, look at what is left, and repeat.


# %%
def smooth_by_hand(field, sigma):
    """Gaussian along rows, then along columns; outside the image the border is repeated."""
    if sigma == 0:
        return field
    taps = gaussian_taps(torch.tensor(sigma, dtype=field.dtype), gaussian_radius(sigma, missing=0.1))
    radius = len(taps) // 2
    padded = F.pad(field, (radius,) * 4, mode="replicate").movedim(1, 0)  # channels as a batch
    along_rows = F.conv2d(padded, taps.view(1, 1, -1, 1))
    return F.conv2d(along_rows, taps.view(1, 1, 1, -1)).movedim(0, 1)


def demons_by_hand(moving, fixed, *, iterations=60, elastic=1.0, fluid=0.0, L=0.5, keep=()):
    s = fixed.new_zeros(1, 2, *fixed.shape[2:])
    history, kept = [], {}
    for iteration in range(iterations):
        warped = fields.warp(moving, s)
        warped = torch.where(stays_inside(s), warped, fixed)  # nothing pulls from beyond the image
        history.append(mse(warped, fixed).item())
        update = smooth_by_hand(force_by_hand(fixed[0, 0], warped[0, 0], L)[None], fluid)
        s = smooth_by_hand(s + update, elastic)
        if iteration + 1 in keep:
            kept[iteration + 1] = s
    return s, history, kept


s, history, kept = demons_by_hand(moving, fixed, keep=(1, 5, 20, 60))

# %% mystnb={"image": {"alt": "After 1, 5, 20 and 60 iterations: the deformed grid over the moving image bends more and more, and the difference that is left fades."}}
figure, axes = plt.subplots(2, 4, figsize=(9.5, 5), layout="constrained")
for (above, below), (iteration, field) in zip(axes.T, kept.items(), strict=True):
    show_grid(show_image(above, moving[0, 0], title=f"iteration {iteration}"), field[0], every=5)
    above.set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
    left = (fixed - fields.warp(moving, field))[0, 0]
    below.imshow(left, cmap="RdBu", vmin=-0.5, vmax=0.5)
    below.set_title(f"mse {mse(fields.warp(moving, field), fixed):.4f}, {error(field):.2f} voxels off", fontsize=9)
    below.set_axis_off()
plt.show()
assert history[-1] < 0.4 * history[0]
assert error(s) < 0.7 * error(0 * s)

# %% [markdown]
# The same from the library. In double precision: a threshold turns a rounding error into a small difference.

# %%
result = demons(moving.double(), fixed.double(), "thirion", iterations=60, levels=1, elastic_sigma=1.0)
by_hand, history, _ = demons_by_hand(moving.double(), fixed.double())
torch.testing.assert_close(result.displacement, by_hand, rtol=0, atol=1e-5)

# %% [markdown]
# ## Two knobs
#
# More smoothing makes neighbours agree, and takes away what only a few of them want. A longer step arrives sooner, and
# overshoots. **Which corner of the map below will fold?**

# %% mystnb={"image": {"alt": "Two maps over smoothing and step: distance to the truth, large without smoothing and small with much of it, and share of folded voxels, highest without smoothing and with long steps."}}
sigmas, steps = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0), (0.25, 0.5, 1.0, 2.0)
table = {
    (sigma, L): demons(moving, fixed, iterations=60, levels=1, elastic_sigma=sigma, max_step=L).displacement
    for sigma in sigmas
    for L in steps
}
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), layout="constrained")
measures = (("distance to the truth, voxels", error, "{:.2f}"), ("folded", lambda u: fold_fraction(u).item(), "{:.1%}"))
for ax, (title, measure, form) in zip(axes, measures, strict=True):
    values = torch.tensor([[measure(table[sigma, L]) for sigma in sigmas] for L in steps])
    ax.imshow(values, cmap="magma", aspect="auto", vmax=1.6 * values.max())
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            ax.text(column, row, form.format(value), ha="center", va="center", fontsize=7, color="white")
    ax.set_xticks(range(len(sigmas)), sigmas)
    ax.set_yticks(range(len(steps)), steps)
    ax.set(xlabel="smoothing σ of the field, voxels", ylabel="step L", title=title)
plt.show()
assert fold_fraction(table[0.0, 2.0]) > 0.05
assert fold_fraction(table[2.0, 0.5]) < 0.001
assert min(error(table[sigma, 0.5]) for sigma in (1.0, 1.5, 2.0)) < error(table[0.0, 0.5])


# %% mystnb={"image": {"alt": "For the chosen smoothing, step and number of iterations: the deformed grid, what still differs, and the squared error over the iterations."}}
def show_demons(smoothing=1.5, step=0.5, iterations=40):
    result = demons(moving, fixed, iterations=iterations, levels=1, elastic_sigma=smoothing, max_step=step)
    u = result.displacement
    _, axes = plt.subplots(1, 3, figsize=(9.5, 3), layout="constrained")
    folds = f"{fold_fraction(u).item():.1%} folded"
    show_grid(show_image(axes[0], moving[0, 0], title=f"{error(u):.2f} voxels off, {folds}"), u[0], every=5)
    axes[0].set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
    axes[1].imshow((fixed - result.warped)[0, 0], cmap="RdBu", vmin=-0.5, vmax=0.5)
    axes[1].set_title("what still differs", fontsize=9)
    axes[1].set_axis_off()
    axes[2].plot(result.history[0])
    axes[2].set(xlabel="iteration", ylabel="squared error", ylim=(0, history[0] * 1.1))
    plt.show()


_ = interact(show_demons, smoothing=(0.0, 4.0, 0.25), step=(0.25, 3.0, 0.25), iterations=(1, 100))

# %% [markdown]
# ## Smooth the field, or smooth the update?
#
# Smoothing the *field* pulls it back a little each time, as a spring would: elastic. Smoothing only the *update* lets the
# field forget what it has been through: fluid. A small disc has to become a large one. **Which of the two gets there?**

# %% mystnb={"image": {"alt": "A small disc, the large goal, and the small disc warped with elastic and with fluid smoothing. The fluid one fills the goal, the elastic one stays much smaller."}}
plane = fields.identity_grid((64, 64)) - 31.5
radius = plane.norm(dim=0)
small, large = ((1 - (radius - r) / 3).clamp(0, 1)[None, None] for r in (6, 22))


def grow(variant, elastic, fluid):
    return demons(small, large, variant, iterations=200, levels=1, elastic_sigma=elastic, fluid_sigma=fluid)


grown = {
    "elastic: the field": grow("diffeomorphic", 2.0, 0.0),
    "fluid: the update": grow("diffeomorphic", 0.0, 2.0),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
show_image(axes[0], small[0, 0], title="moving")
show_image(axes[1], large[0, 0], title="fixed")
for ax, (name, run) in zip(axes[2:], grown.items(), strict=True):
    show_image(ax, run.warped[0, 0], title=f"{name}, mse {mse(run.warped, large):.4f}")
    ax.contour(radius, levels=[23.5], colors="#e8a53a", linestyles="--")
plt.show()
elastic, fluid = (mse(run.warped, large).item() for run in grown.values())
assert fluid < 0.1 * elastic

# %% [markdown]
# The dashed line is the goal's edge. On anatomy the spring is often wanted: a field that forgets gathers noise.
#
# ## Variants
#
# | variant | gradient J | new field |
# |---|---|---|
# | thirion | of the fixed image | $s + u$ |
# | symmetric | mean of fixed and warped | $s + u$ |
# | diffeomorphic | the same | $s \circ \exp(u)$ |
# | log | the same | $\exp(v)$, $v \leftarrow v + u + \tfrac12 [v, u]$ |
#
# Using both gradients makes a step of second order. Composing small flows, in place of adding vectors, keeps the field from
# folding. **The fluid disc above composed its updates. What if they are added?**

# %% mystnb={"image": {"alt": "Grids of the disc's growth: with composed updates the lines spread in order, with added updates they tangle, and folded voxels are marked in purple."}}
both = {"composed (diffeomorphic)": grown["fluid: the update"], "added (symmetric)": grow("symmetric", 0.0, 2.0)}


def show_folds(ax, run, image, title):
    """The deformed grid, places where folded voxels look in purple."""
    u = run.displacement
    rows, columns = u.shape[2:]
    show_grid(show_image(ax, image[0, 0], title=title), u[0], every=columns // 19)
    where = (fields.identity_grid((rows, columns)) + u[0])[:, fields.jacobian_determinant(u)[0, 0] <= 0]
    ax.scatter(where[1], where[0], s=5, color="#d5008f", zorder=3)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
for ax, (name, run) in zip(axes, both.items(), strict=True):
    show_folds(ax, run, small, f"{name}: {fold_fraction(run.displacement).item():.0%} folded")
plt.show()
composed, added = (fold_fraction(run.displacement).item() for run in both.values())
assert composed < 0.01
assert added > 0.05

# %% [markdown]
# On the pair, with gentle settings and with rough ones. **Which variant will still be in order?**

# %%
settings = {"gentle": {"elastic_sigma": 1.5, "max_step": 0.5}, "rough": {"elastic_sigma": 1.0, "max_step": 2.0}}
runs = {
    (name, variant): demons(moving, fixed, variant, iterations=60, levels=1, **options)
    for name, options in settings.items()
    for variant in VARIANTS
}
for (name, variant), run in runs.items():
    print(
        f"{name:7} {variant:14} mse after 20 {run.history[0, 20]:.4f}, after 60 {mse(run.warped, fixed):.4f}   "
        f"{error(run.displacement):.2f} voxels off   folded {fold_fraction(run.displacement).item():.2%}"
    )

# %% mystnb={"image": {"alt": "Grids of the four variants under rough settings with folded voxels marked in purple, and their squared error over the iterations under gentle settings."}}
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained")
for ax, variant in zip(axes, VARIANTS, strict=False):
    show_folds(ax, runs["rough", variant], moving, f"rough, {variant}")
    axes[4].plot(runs["gentle", variant].history[0], label=variant)
axes[4].set_xlabel("iteration")
axes[4].set_title("gentle, squared error", fontsize=9)
axes[4].legend(fontsize=7)
plt.show()

# %%
folds = {run: fold_fraction(result.displacement).item() for run, result in runs.items()}
print("fold under rough settings:", ", ".join(v for v in VARIANTS if folds["rough", v] > 1e-4) or "none")
assert max(folds["gentle", variant] for variant in VARIANTS) < 1e-3
assert folds["rough", "diffeomorphic"] < 0.1 * folds["rough", "thirion"]
assert runs["gentle", "symmetric"].history[0, 20] < runs["gentle", "thirion"].history[0, 20]

# %% [markdown]
# Both gradients get further in as many steps. Composition holds where sums fold. The log variant holds as long as its one
# velocity stays smooth: its flow has an inverse by construction, but samples of a rough velocity do not know that.
#
# That velocity is handed over too, and with it the way back: $\exp(-v)$.

# %%
velocity = demons(moving, fixed, "log", iterations=60, levels=1, elastic_sigma=1.5).velocity
there, back = fields.exponentiate(velocity), fields.exponentiate(-velocity)
print(f"there and back: {fields.compose(there, back).norm(dim=1).mean():.3f} voxels off on average")
print(f"there and -u:   {fields.compose(there, -there).norm(dim=1).mean():.3f}")
assert fields.compose(there, back).norm(dim=1).mean() < 0.2 * fields.compose(there, -there).norm(dim=1).mean()

# %% [markdown]
# ## From coarse to fine
#
# Demons looks no further than a gradient reaches. A pair with the phantoms' full motion needs smaller images first.
# **What does one level make of it?**

# %%
far = phantoms.make("abdomen", shape, seed=9000)
off = {"no motion": far.displacement.norm(dim=0)[far.region[0]].mean().item()}
for levels in (1, 2, 3):
    u = demons(
        far.moving[None], far.fixed[None], "symmetric", iterations=60, levels=levels, elastic_sigma=1.5
    ).displacement
    off[f"{levels} level{'s' * (levels > 1)}"] = (u[0] - far.displacement).norm(dim=0)[far.region[0]].mean().item()
for name, distance in off.items():
    print(f"{name:9} {distance:.2f} voxels off")
assert off["3 levels"] < off["1 level"] < off["no motion"]

# %% [markdown]
# ## Voxels that are not square
#
# Differences count in intensity, gradients per millimetre. With edges $h_d$, the bound is $L h$ with $h^2$ the mean of
# $h_d^2$, and the force in mm is divided by $h_d$ to be stored in voxels. By hand, for voxels of 3 mm by 1 mm:

# %%
edges = torch.tensor([3.0, 1.0]).view(2, 1, 1)
d, per_mm = (fixed - moving)[0, 0], central(fixed[0, 0]) / edges
d = torch.where(d.abs() < 1e-3, 0, d)
in_mm = d * per_mm / (per_mm.square().sum(0) + d**2 / (4 * 0.5**2 * edges.square().mean())).clamp_min(1e-12)
one = demons(moving, fixed, iterations=1, levels=1, elastic_sigma=0.0, spacing=(3.0, 1.0)).displacement[0]
torch.testing.assert_close(one, in_mm / edges, rtol=1e-3, atol=1e-5)
assert in_mm.norm(dim=0).max() <= 0.5 * edges.square().mean().sqrt() + 1e-4
ignored = demons(moving, fixed, iterations=1, levels=1, elastic_sigma=0.0).displacement[0]
rows_share = {
    name: float(u[0].abs().mean() / u.abs().mean((1, 2)).sum()) for name, u in (("with", one), ("without", ignored))
}
print("rows' share of the step:", ", ".join(f"{share:.0%} {name} the spacing" for name, share in rows_share.items()))
assert rows_share["with"] < 0.6 * rows_share["without"]

# %% [markdown]
# A row is three times as thick, so the same change of intensity per voxel is a weaker gradient per mm: the step turns
# towards the columns.
#
# ## Against SimpleITK
#
# SimpleITK has three of the variants. One iteration without smoothing, where it is installed:

# %%
if importlib.util.find_spec("SimpleITK"):
    import SimpleITK as sitk

    filters = {
        "thirion": sitk.DemonsRegistrationFilter,
        "symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
        "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
    }
    for variant, kind in filters.items():
        theirs = kind()
        theirs.SetNumberOfIterations(1)
        theirs.SetSmoothDisplacementField(False)
        field = theirs.Execute(*(sitk.GetImageFromArray(image[0, 0].numpy()) for image in (fixed, moving)))
        field = torch.from_numpy(sitk.GetArrayFromImage(field)).flip(-1).movedim(-1, 0)  # (x, y) -> (y, x)
        ours = demons(moving, fixed, variant, iterations=1, levels=1, elastic_sigma=0.0).displacement[0]
        print(f"{variant:14} largest difference {(ours - field).abs().max():.0e} of {ours.abs().max():.2f} voxels")
        assert (ours - field).abs().max() < 1e-5
else:
    print("SimpleITK is not installed here: pip install SimpleITK")

# %% [markdown]
# ## Limit cases
#
# Equal images: no force, and exactly no displacement. Constant images: a difference without a gradient, and exactly
# nothing again. A bad image is refused in one sentence.

# %%
for variant in VARIANTS:
    assert demons(fixed, fixed, variant, iterations=5).displacement.abs().max() == 0
    flat = demons(torch.zeros_like(fixed), torch.ones_like(fixed), variant, iterations=5).displacement
    assert flat.abs().max() == 0
try:
    demons(moving, torch.full_like(fixed, float("nan")))
except ValueError as problem:
    print(problem)

# %% [markdown]
# | fixed by the sources (Thirion 1998; Vercauteren 2007 to 2009) | chosen here |
# |---|---|
# | the force, and its bound by the difference squared | $L = 1/2$ by default, no force below a difference of 0.001, as in ITK |
# | fluid and elastic smoothing by Gaussians | a discrete Gaussian, its widths, the border repeated |
# | $s + u$, $s \circ \exp(u)$, $\exp(v)$ | up to three levels, smoothing last |

# %% [markdown]
# ## Exercises
#
# **1.** $d = 0.2$, $J = 0.1$ along rows and none along columns, $L = 1/2$. The force along rows, in voxels?

# %%
check("demons-force", ..., difference=0.2, gradient=0.1, step=0.5)

# %% [markdown]
# **2.** $d = 0.3$ and $L = 1$. For which gradient is the force longest?

# %%
check("demons-longest", ..., difference=0.3, step=1.0)

# %% [markdown]
# **3.** A bladder fills and more than doubles its size. What would you smooth, "field" or "update"?

# %%
check("demons-smoothing", ...)

# %% [markdown]
# **4.** All voxel edges turn out to be 2 mm, not 1 mm. By which factor does one force, in voxels, change?

# %%
check("demons-spacing", ...)

# %% [markdown]
# ## To remember
#
# * The force is optical flow with a brake: along the gradient, never longer than $L$.
# * Force, add, smooth, again. Smoothing does the regularising; where it is applied decides what the field may become.
# * Composing flows keeps folds away for as long as steps are small and smooth; $\exp(-v)$ is the inverse that adding lacks.
