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
# # How alike, how smooth
#
# You will be able to
#
# * write mean squared error and local correlation by hand, and say what each of them ignores,
# * read the landscape of a loss: where it leads, and from how far,
# * say why likeness alone does not determine a field, and what a regulariser adds,
# * compare diffusion with bending energy on a pair whose true motion is known.
#
# The code is `moereg/similarity.py` and `moereg/regularity.py`.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import interact

from moereg import fields
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.filters import smooth, smoothing_matrices
from moereg.regularity import bending_energy, diffusion, fold_fraction
from moereg.similarity import lncc, mse
from moereg.viz.figures import show_grid, show_image

budget = Budget.from_env()
plt.rcParams["figure.dpi"] = 75  # small pictures, a small notebook
shape = (96, 96)

# %% [markdown]
# ## Two losses
#
# Two scans of a patient who has not moved. What differs is noise, and a little brightness and contrast.

# %%
still = phantoms.make("abdomen", shape, seed=9000, motion=phantoms.Motion(amplitude=(0, 0, 0)))
moving, fixed = still.moving[None], still.fixed[None]
torch.testing.assert_close((moving - fixed).square().mean(), mse(moving, fixed))

# %% [markdown]
# *Mean squared error* believes that the same tissue has the same intensity in both. *Local normalised cross-correlation*
# believes less: within a small window, one image is a multiple of the other plus a constant.
#
# $$\text{lncc} = -\operatorname{mean}_x \frac{\operatorname{cov}(I, J)^2}{\operatorname{var}(I)\operatorname{var}(J) + \varepsilon}$$
#
# Covariance and variances are taken over the window around each voxel. By hand, `avg_pool2d` is the mean over a window.


# %%
def correlation_by_hand(a, b, window=9, epsilon=1e-5):
    """Map of the squared local correlation."""

    def mean(image):
        return F.avg_pool2d(image, window, stride=1, padding=window // 2, count_include_pad=False)

    covariance = mean(a * b) - mean(a) * mean(b)
    variance_a, variance_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
    return covariance**2 / (variance_a * variance_b + epsilon)


by_hand = correlation_by_hand(moving, fixed)
torch.testing.assert_close(-by_hand.mean(), lncc(moving, fixed), rtol=1e-4, atol=1e-5)

# %% [markdown]
# **Nothing has moved. Where will the local correlation be low all the same?**

# %% mystnb={"image": {"alt": "Fixed image, moving image, squared difference, and the map of local correlation: high along the borders of organs, low in air and within even organs."}}
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
show_image(axes[0], fixed[0, 0], title="fixed")
show_image(axes[1], moving[0, 0], title="moving, nobody moved")
axes[2].imshow((moving - fixed)[0, 0].square(), cmap="magma")
axes[2].set_title(f"squared difference, mean {mse(moving, fixed):.4f}", fontsize=9)
axes[3].imshow(by_hand[0, 0], cmap="magma", vmin=0, vmax=1)
axes[3].set_title(f"squared local correlation, mean {by_hand.mean():.2f}", fontsize=9)
for ax in axes[2:]:
    ax.set_axis_off()
plt.show()

# %% [markdown]
# Where a window holds noise alone, two scans have nothing in common. $\varepsilon$ makes flat windows count as not alike.
#
# ## What each one ignores
#
# Change the intensities of the moving image, and nothing else. **Which change fools which loss?**

# %%
ramp = torch.linspace(0.5, 1.5, shape[1])
changes = {
    "as it is": lambda image: image,
    "darker and flatter, 0.6 I + 0.3": lambda image: 0.6 * image + 0.3,
    "gamma, I²": lambda image: image**2,
    "brighter to the right": lambda image: image * ramp,
    "negative, 1 - I": lambda image: 1 - image,
}
scores = {name: (mse(f(moving), fixed).item(), lncc(f(moving), fixed).item()) for name, f in changes.items()}
for name, (squared, correlated) in scores.items():
    print(f"{name:32} mse {squared:.4f}   lncc {correlated:.3f}")
_, plain = scores["as it is"]
assert all(squared > 3 * scores["as it is"][0] for name, (squared, _) in scores.items() if name != "as it is")
assert all(abs(correlated / plain - 1) < 0.15 for _, correlated in scores.values())
assert abs(scores["negative, 1 - I"][1] - plain) < 1e-4

# %% [markdown]
# Every change multiplies the squared error; the correlation hardly notices, not even a negative. It is a matter of what
# may be trusted: the more a loss ignores, the less it has to go by.
#
# Limit cases: equal images score 0 and, where no window is flat, -1; a gain and an offset change nothing.

# %%
rough = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(1))
other = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(2))
assert mse(rough, rough) == 0
torch.testing.assert_close(lncc(rough, 3 * rough + 5), torch.tensor(-1.0), rtol=0, atol=1e-3)

# %% [markdown]
# ## Landscapes
#
# Slide one image over the other and plot the loss. It is lowest where the images fit. What an optimiser sees is only the
# slope where it stands: **from how far will going downhill lead there?** Call that the capture range.


# %%
def slide(image, columns):
    """The image, every voxel looking `columns` further to the right."""
    u = torch.zeros(1, 2, *shape)
    u[:, 1] = columns
    return fields.warp(image, u)


shifts = list(range(-32, 33))


def landscape(loss, image=moving, other=fixed):
    return [loss(slide(image, shift), other).item() for shift in shifts]


def capture(losses):
    """From which shifts the loss only falls on the way to its minimum."""
    low = min(range(len(losses)), key=losses.__getitem__)
    left = right = low
    while left > 0 and losses[left - 1] > losses[left]:
        left -= 1
    while right < len(losses) - 1 and losses[right + 1] > losses[right]:
        right += 1
    return shifts[left], shifts[right]


windows = {f"lncc, window {w}": landscape(lambda a, b, w=w: lncc(a, b, w)) for w in (3, 9, 31)}
curves = {"mse": landscape(mse)} | windows


# %% mystnb={"image": {"alt": "Four curves of a loss against the shift. Mean squared error is a wide valley; local correlation is a narrow pit for windows 3 and 9 and wider for 31; coloured bands mark capture ranges."}}
def draw(curves):
    figure, axes = plt.subplots(1, len(curves), figsize=(2.8 * len(curves), 2.6), layout="constrained", squeeze=False)
    for ax, (name, losses) in zip(axes[0], curves.items(), strict=True):
        low, high = capture(losses)
        ax.plot(shifts, losses, color="#3952c5")
        ax.axvspan(low, high, color="#e5ba86", alpha=0.5)
        ax.set_title(f"{name}: from {low} to {high}", fontsize=9)
        ax.set_xlabel("shift, voxels", fontsize=8)
    plt.show()


draw(curves)

# %%
widths = {name: capture(losses)[1] - capture(losses)[0] for name, losses in curves.items()}
assert all(abs(shifts[losses.index(min(losses))]) <= 1 for losses in curves.values())
assert widths["mse"] > widths["lncc, window 31"] > widths["lncc, window 9"]
for name, width in widths.items():
    print(f"{name:16} is caught within {width} voxels in all")

# %% [markdown]
# A correlation within small windows is precise at the goal and blind from afar. Two remedies: larger windows, or smooth
# images, and sharper ones later: that is what the levels of a pyramid are for.

# %% mystnb={"image": {"alt": "Curves of local correlation with window 9 for images smoothed with sigma 0, 2 and 4: the pit becomes a valley."}}
blurred = {}
for sigma in (0.0, 2.0, 4.0):
    a, b = (smooth(image, smoothing_matrices((sigma, sigma), image)) for image in (moving, fixed))
    blurred[f"window 9, blur {sigma:g}"] = landscape(lncc, a, b)
draw(blurred)
reach = [capture(losses)[1] - capture(losses)[0] for losses in blurred.values()]
assert reach[1] > 2 * reach[0]

# %% [markdown]
# What a small window costs: **how alike are two images of pure noise?**

# %%
for window in (3, 5, 9, 31):
    print(f"window {window:2}: lncc {lncc(rough, other, window):.4f}")
assert lncc(rough, other, 3) < 5 * lncc(rough, other, 9) < 0

# %% [markdown]
# Two parameters make a surface. Shift and stretch the image, and see which of the two each loss pins down.


# %%
def place(shift, stretch):
    """Looking `shift` columns further right, and `stretch` times as far from the middle."""
    u = (stretch - 1) * (fields.identity_grid(shape) - (shape[0] - 1) / 2)
    u[1] += shift
    return fields.warp(moving, u[None])


some, sizes = list(range(-16, 17, 2)), [0.7 + 0.05 * i for i in range(13)]
surfaces = {
    loss.__name__: [[loss(place(shift, size), fixed).item() for shift in some] for size in sizes]
    for loss in (mse, lncc)
}


# %% mystnb={"image": {"alt": "Two maps of the loss over shift and stretch: a wide bowl for mean squared error, a small pit for local correlation; a cross marks the chosen shift and stretch, and the two images are drawn over each other in red and cyan."}}
def show_place(shift=6, stretch=1.1):
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3), layout="constrained")
    placed = place(shift, stretch)
    axes[0].imshow(torch.stack([fixed[0, 0], placed[0, 0], placed[0, 0]], -1).clamp(0, 1))
    axes[0].set_title("fixed red, moving cyan", fontsize=9)
    axes[0].set_axis_off()
    for ax, (name, surface) in zip(axes[1:], surfaces.items(), strict=True):
        ax.imshow(surface, extent=(-17, 17, sizes[0] - 0.025, sizes[-1] + 0.025), origin="lower", aspect="auto")
        ax.plot(shift, stretch, "w+", markersize=12)
        loss = {"mse": mse, "lncc": lncc}[name](placed, fixed)
        ax.set_title(f"{name} {loss:.3f}", fontsize=9)
        ax.set_xlabel("shift, voxels", fontsize=8)
    axes[1].set_ylabel("stretch", fontsize=8)
    plt.show()


_ = interact(show_place, shift=(-16, 16), stretch=(0.7, 1.3, 0.05))

# %% [markdown]
# ## The aperture problem
#
# A field has two numbers per voxel, an image difference only one. The slope of the squared error says so:
#
# $$\frac{\partial}{\partial u(x)}\ \tfrac12\bigl(M(x + u) - F(x)\bigr)^2 = \bigl(M(x+u) - F(x)\bigr)\,\nabla M(x + u)$$
#
# It always points along the image gradient. Along an edge, and inside an even region, nothing is known. Here are stripes
# that moved by $(2, 5)$ voxels, and a disc that did. **What will descending this loss find in each?**


# %%
def descend(loss, image, *, steps=300):
    """Lower `loss(warped, u)` from u = 0 with L-BFGS, which copes with stiff regularisers better than Adam does."""
    u = torch.zeros(1, 2, *image.shape[2:], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [u], max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0
    )

    def evaluate():
        optimiser.zero_grad()
        value = loss(fields.sample(image, u), u)
        value.backward()
        return value

    optimiser.step(evaluate)
    return u.detach()


grid = fields.identity_grid((64, 64))


def shapes(offset):
    rows, columns = grid[0] - offset[0], grid[1] - offset[1]
    stripes = 0.5 + 0.5 * torch.sin(rows / 4)
    disc = ((14 - (rows - 31.5).hypot(columns - 31.5)) / 6 + 0.5).clamp(0, 1)
    return {"stripes": stripes[None, None], "disc": disc[None, None]}


before, after = shapes((0, 0)), shapes((2, 5))  # fixed, and moved by (2, 5)
found = {}
for name in before:
    goal = before[name]
    found[name, "mse alone"] = descend(lambda warped, u, goal=goal: mse(warped, goal), after[name])
    found[name, "with diffusion"] = descend(
        lambda warped, u, goal=goal: mse(warped, goal) + 0.003 * diffusion(u), after[name]
    )


# %% mystnb={"image": {"alt": "Arrows of the displacement found for stripes and for a disc, without and with a regulariser. On stripes all arrows are vertical. On the disc, arrows stand at its edge only; with the regulariser they fill it and agree."}}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
for ax, ((name, how), u) in zip(axes, found.items(), strict=True):
    show_image(ax, after[name][0, 0], title=f"{name}, {how}")
    ax.quiver(
        grid[1][::4, ::4],
        grid[0][::4, ::4],
        u[0, 1][::4, ::4],
        u[0, 0][::4, ::4],
        color="#e8a53a",
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.008,
    )
plt.show()

# %%
assert all(found["stripes", how][:, 1].abs().max() < 1e-3 for how in ("mse alone", "with diffusion"))
middle = {how: found["disc", how][0, :, 31, 31].tolist() for how in ("mse alone", "with diffusion")}
for how, (down, right) in middle.items():
    print(f"middle of the disc, {how}: ({down:.1f}, {right:.1f}), the truth is (2, 5)")
assert max(map(abs, middle["mse alone"])) < 1e-3
assert abs(middle["with diffusion"][0] - 2) < 1
assert abs(middle["with diffusion"][1] - 5) < 1.5

# %% [markdown]
# No regulariser finds the motion along stripes: it is not in the images. For the disc it carries what the edge knows into
# the even middle.
#
# ## Two regularisers
#
# *Diffusion* adds up squared first derivatives, *bending energy* squared second ones.


# %%
def diffusion_by_hand(u):
    return sum((u[:, c].diff(dim=a) ** 2).mean() for c in (0, 1) for a in (1, 2))


def bending_by_hand(u):
    total = 0
    for c in (0, 1):
        yy, xx = u[:, c].diff(n=2, dim=1), u[:, c].diff(n=2, dim=2)
        xy = u[:, c].diff(dim=1).diff(dim=2)
        total = total + (yy**2).mean() + (xx**2).mean() + 2 * (xy**2).mean()  # xy and yx
    return total


field = found["disc", "mse alone"]
torch.testing.assert_close(diffusion_by_hand(field), diffusion(field))
torch.testing.assert_close(bending_by_hand(field), bending_energy(field))

# %% [markdown]
# Limit cases. **Which of them costs nothing for a translation, which for an even stretch?**

# %%
translation, stretch = torch.full((1, 2, 64, 64), 5.0), 0.1 * grid[None]
for name, u in (("translation", translation), ("stretch", stretch)):
    print(f"{name:12} diffusion {diffusion(u):.3f}   bending energy {bending_energy(u):.1e}")
assert diffusion(translation) == bending_energy(translation) == 0
assert bending_energy(stretch) < 1e-8 < diffusion(stretch)

# %% [markdown]
# ## One pair, with and without
#
# Now the patient breathes, gently, and the true motion is known. Each field is found by descending
# $\text{mse} + \lambda \cdot \text{regulariser}$ for the same number of steps. **Which one will make the images most alike?
# Which will be closest to the truth?**

# %%
pair = phantoms.make("abdomen", shape, seed=9000, motion=phantoms.Motion(amplitude=(0.09, 0.045, 0.045)))
moving, fixed, truth, region = pair.moving[None], pair.fixed[None], pair.displacement[None], pair.region[None]


def error(u):
    """Mean distance to the true displacement within the body, in voxels."""
    return (u - truth).norm(dim=1, keepdim=True)[region].mean().item()


runs = {("none", 0.0): descend(lambda warped, u: mse(warped, fixed), moving)}
for regulariser in (diffusion, bending_energy):
    for weight in budget.pick(smoke=(0.003, 0.03, 0.3, 3.0), full=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)):
        runs[regulariser.__name__, weight] = descend(
            lambda warped, u, r=regulariser, w=weight: mse(warped, fixed) + w * r(u), moving
        )
print(f"{'no motion':15}          mse {mse(moving, fixed):.4f}   error {error(0 * truth):.2f}")
for (name, weight), u in runs.items():
    squared = mse(fields.warp(moving, u), fixed)
    print(f"{name:15} {weight:7g}  mse {squared:.4f}   error {error(u):.2f}   folds {fold_fraction(u).item():.2%}")
print(f"{'true motion':15}          mse {mse(fields.warp(moving, truth), fixed):.4f}")

# %%
errors = {run: error(u) for run, u in runs.items()}
folds = {run: fold_fraction(u).item() for run, u in runs.items()}
best = {name: min((run for run in runs if run[0] == name), key=errors.get) for name in ("diffusion", "bending_energy")}
free = ("none", 0.0)
for run in best.values():
    assert errors[run] < 0.6 * errors[free]
    assert folds[run] < 0.1 * folds[free]
print(f"No regulariser: {errors[free]:.2f} voxels off, {folds[free]:.0%} of the voxels fold.")
for name, run in best.items():
    print(f"Best with {name.replace('_', ' ')}, λ = {run[1]:g}: {errors[run]:.2f} voxels off, {folds[run]:.2%} fold.")

# %% mystnb={"image": {"alt": "Four panels with a deformed grid over the moving image: a torn grid without a regulariser, smooth grids with diffusion and with bending energy, and the true one."}}
figure, axes = plt.subplots(1, 4, figsize=(11.5, 3.3), layout="constrained")
drawn = {
    "no regulariser": runs[free],
    **{f"{n.replace('_', ' ')}, λ = {w:g}": runs[n, w] for n, w in best.values()},
    "truth": truth,
}
for ax, (name, u) in zip(axes, drawn.items(), strict=True):
    show_grid(show_image(ax, moving[0, 0], title=name), u[0], every=5)
    ax.set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
plt.show()

# %% [markdown]
# The torn field fetches each value from the next place where it occurs, and tears what belongs together. How alike that
# makes the images, and how wrong it is:

# %%
alike = {run: mse(fields.warp(moving, u), fixed).item() for run, u in runs.items()}
at_truth = mse(fields.warp(moving, truth), fixed).item()
print(f"Squared error: {alike[free]:.4f} torn, {at_truth:.4f} with the true motion.")
print(f"Distance to the truth: {errors[free]:.2f} voxels torn, {error(0 * truth):.2f} without any motion.")
smoothest = min(alike, key=alike.get)
print(f"Most alike of all: {smoothest[0].replace('_', ' ')}, λ = {smoothest[1]:g}, with {alike[smoothest]:.4f}.")
assert alike[free] < 1.5 * at_truth
assert errors[free] > 0.9 * error(0 * truth)

# %% [markdown]
# A low loss is no proof of a right field. And a regulariser need not cost likeness: neighbours that must move together carry
# each other past the wrong places in which a lone voxel gets caught.

# %% mystnb={"image": {"alt": "Squared error and distance to the truth against the weight of the regulariser, for diffusion and bending energy: the distance has a minimum at a middle weight."}}
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for name, colour in (("diffusion", "#3952c5"), ("bending_energy", "#b70b60")):
    weights = [w for n, w in runs if n == name]
    axes[0].semilogx(weights, [mse(fields.warp(moving, runs[name, w]), fixed) for w in weights], "o-", color=colour)
    label = name.replace("_", " ")
    axes[1].semilogx(weights, [errors[name, w] for w in weights], "o-", color=colour, label=label)
axes[0].set_ylabel("squared error")
axes[1].set_ylabel("distance to the truth, voxels")
axes[1].axhline(errors[free], color="grey", linestyle=":", label="no regulariser")
axes[1].legend(fontsize=8)
for ax in axes:
    ax.set_xlabel("weight λ")
plt.show()

# %% [markdown]
# ## The loss decides what may differ
#
# The same pair, the moving image brighter to the right. **Which loss still finds the motion?**

# %%
bright = moving * ramp
shaded = {
    "mse": descend(lambda warped, u: mse(warped, fixed) + 0.03 * diffusion(u), bright),
    "lncc": descend(lambda warped, u: lncc(warped, fixed) + 1.0 * diffusion(u), bright),
}
for name, u in shaded.items():
    print(f"{name:5} error {error(u):.2f} voxels (without the shading, mse: {errors['diffusion', 0.03]:.2f})")
assert error(shaded["lncc"]) < error(shaded["mse"])

# %% [markdown]
# | fixed by the definition | chosen here |
# |---|---|
# | squared error; squared local correlation | windows are cut at the border, means not sums, $\varepsilon$ = 1e-5 |
# | diffusion: first derivatives; bending energy: second | differences between voxels, means over the image |
# | | the optimiser, its steps, and λ: read off a pair with known motion |

# %% [markdown]
# ## Exercises
#
# **1.** The LNCC loss of an image with its negative, where no window is flat?

# %%
check("similarity-inverted", ...)

# %% [markdown]
# **2.** Two 2-D images of independent noise: about what does LNCC with a 5 × 5 window say?

# %%
check("similarity-noise", ..., window=5)

# %% [markdown]
# **3.** A body stretches evenly by a tenth. Which regulariser leaves it alone, "diffusion" or "bending"?

# %%
check("similarity-regulariser", ...)

# %% [markdown]
# **4.** The images are 10 columns apart. Which of the four losses of the first landscape lead downhill to the goal from there?
# Answer with a set of names, as in `curves`.

# %%
check("similarity-capture", ..., ranges={name: capture(losses) for name, losses in curves.items()}, shift=10)

# %% [markdown]
# ## To remember
#
# * A loss is a belief about what the same tissue looks like twice. What it ignores cannot mislead it, nor guide it.
# * Small windows and sharp images: exact, but only from nearby. Smooth first.
# * Images determine the motion across edges only. The rest is the regulariser's, and a low loss proves little.
