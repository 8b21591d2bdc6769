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
#       smoke_seconds: 25
#       full_seconds: 25
#       peak_memory_mb: 1000
# ---

# %% [markdown]
# # Fields: where every voxel looks
#
# You will be able to
#
# * say what a displacement field means, and move an image with one, by hand and with the library,
# * put two fields into one, follow a velocity, and undo a field,
# * read a Jacobian determinant, and find folds.
#
# The code is `moereg/fields.py`; the convention card of the site says the same on one page.

# %%
import matplotlib.pyplot as plt
import torch
from ipywidgets import interact

from moereg import fields
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.regularity import fold_fraction
from moereg.viz.dragfield import DragField, bumps
from moereg.viz.figures import show_grid, show_image

budget = Budget.from_env()
shape = budget.pick(smoke=(96, 96), full=(96, 96))
pair = phantoms.make("abdomen", shape, seed=9000)
moving, labels = pair.moving[None], pair.moving_labels[None]
print("image", tuple(moving.shape), "= (batch, channel, rows, columns)")

# %% [markdown]
# ## The grid
#
# Voxel centres are whole numbers. `identity_grid` says where each voxel is: channel 0 along rows, channel 1 along columns,
# in the order of the tensor's axes.

# %%
grid = fields.identity_grid(shape)
print("grid", tuple(grid.shape), "  voxel in row 3, column 7:", grid[:, 3, 7].tolist())

# %% [markdown]
# A displacement $u$ has the same shape, in voxels. It *pulls*: to fill voxel $x$ of the result, look at $x + u(x)$ in the
# moving image.
#
# $$\text{warped}(x) = \text{moving}(x + u(x))$$
#
# **Every voxel looks 12 rows further down. Will the picture move up or down?**

# %% mystnb={"image": {"alt": "The moving image, and the same image shifted up by twelve rows, the lowest row repeated below."}}
down = torch.zeros(1, 2, *shape)
down[:, 0] = 12
shifted = fields.warp(moving, down)
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.3), layout="constrained")
show_image(axes[0], moving[0, 0], title="moving")
show_image(axes[1], shifted[0, 0], title="u = 12 rows down, everywhere")
plt.show()
assert torch.allclose(shifted[..., :-12, :], moving[..., 12:, :], atol=1e-5)
# %% [markdown]
# Up: the row that shows the liver now is the row whose gaze, 12 rows down, meets it.
#
# ## Why pull?
#
# Pushing sounds more natural: send the value of each voxel along a field. **What will go wrong where the field spreads out?**

# %% mystnb={"image": {"alt": "Left: the image pushed through a field that spreads out, with black holes. Right: the same motion by pulling, without holes."}}
centre = (shape[0] - 1) / 2
apart = 0.4 * (grid - centre)  # where a voxel is sent: away from the middle
target = (grid + apart).round().long()
inside = ((target >= 0) & (target < shape[0])).all(0)
pushed = torch.zeros(shape)
pushed[tuple(target[:, inside])] = moving[0, 0][inside]
pulled = fields.warp(moving, -(grid - centre)[None] * 0.4 / 1.4)  # the inverse: from where a voxel came
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.3), layout="constrained")
show_image(axes[0], pushed, title=f"pushed: {(pushed == 0).float().mean():.0%} of the voxels are black")
show_image(axes[1], pulled[0, 0], title=f"pulled: {(pulled == 0).float().mean():.0%} are black")
plt.show()
assert (pushed == 0).float().mean() > (pulled == 0).float().mean() + 0.2

# %% [markdown]
# A pulled image has a value everywhere. The price: the field lives on the *fixed* grid and points backwards.
#
# ## A warp by hand
#
# $x + u(x)$ is rarely a whole number. Take the four voxels around it, and weigh each by the area opposite to it.


# %%
def warp_by_hand(image, u):
    """image (rows, columns), u (2, rows, columns); border values outside."""
    rows, columns = image.shape
    y, x = fields.identity_grid(image.shape) + u
    y, x = y.clamp(0, rows - 1), x.clamp(0, columns - 1)
    top, left = y.long().clamp(max=rows - 2), x.long().clamp(max=columns - 2)
    below, right = y - top, x - left  # how far from the upper left voxel, 0 to 1
    upper = (1 - right) * image[top, left] + right * image[top, left + 1]
    lower = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - below) * upper + below * lower


truth = pair.displacement[None]
by_hand = warp_by_hand(moving[0, 0], truth[0])
torch.testing.assert_close(by_hand, fields.warp(moving, truth)[0, 0], rtol=0, atol=1e-4)

# %% mystnb={"image": {"alt": "The fixed image, the moving image with the grid of the true displacement over it, and the warped image, which looks like the fixed one."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_grid(show_image(axes[1], moving[0, 0], title="moving, and where each voxel looks"), truth[0])
show_image(axes[2], by_hand, title="warped by hand")
plt.show()

# %% [markdown]
# Labels are names, not numbers: halfway between liver (1) and left kidney (3) there is no spleen (2). **What else comes out
# if a label map is warped linearly?**

# %%
linear = fields.warp(labels.float(), truth)
nearest = fields.warp_labels(labels, truth)
strange = (linear - linear.round()).abs() > 1e-3
print(f"linear:  {int(strange.sum())} voxels with a value that is no label")
print(f"nearest: {sorted(nearest.unique().tolist())}")
assert strange.any()
assert set(nearest.unique().tolist()) <= set(labels.unique().tolist())

# %% [markdown]
# ## A field to drag
#
# Each handle makes one bump. All bumps add up to the field:
#
# $$u(x) = \sum_k m_k \exp\left(-\frac{|x - c_k|^2}{2\sigma^2}\right)$$


# %%
def bumps_by_hand(shape, centres, moves, sigma):
    grid = fields.identity_grid(shape)
    u = torch.zeros(1, 2, *shape)
    for centre, move in zip(centres, moves, strict=True):
        distance = (grid - torch.tensor(centre).view(2, 1, 1)).square().sum(0)
        u[0] += torch.tensor(move).view(2, 1, 1) * torch.exp(-distance / (2 * sigma**2))
    return u


centres, moves = [(20.0, 18.0), (34.0, 38.0)], [(5.0, 0.0), (0.0, -4.0)]
torch.testing.assert_close(bumps_by_hand((56, 56), centres, moves, 6.0), bumps((56, 56), centres, moves, 6.0))

# %% [markdown]
# A handle is what its voxel looks at. **Drag handle 1 down slowly. When does the first voxel turn purple, and what has the
# grid done there?** Then make the bump wider, and then read it as a velocity. All of this runs in the page itself.

# %%
view = DragField(phantoms.make("abdomen", (56, 56), seed=9000).moving, centres=centres, moves=moves, sigma=6.0)
view

# %% [markdown]
# In a notebook with a kernel, `view.moves` and `view.displacement()` hold what you dragged.
#
# ## How much room: the Jacobian determinant
#
# $x \mapsto x + u(x)$ sends a small square to a parallelogram. Its area is $\det(I + \nabla u)$: one is unchanged, two is
# twice the room, zero is crushed, negative is turned over, a *fold*.


# %%
def determinant_by_hand(u):
    (yy, yx), (xy, xx) = (torch.gradient(channel) for channel in u)  # d u_y / d y, d u_y / d x, ...
    return (1 + yy) * (1 + xx) - yx * xy


folding = bumps(shape, [(48, 40)], [(26, 0)], 9.0)
determinant = fields.jacobian_determinant(folding)
torch.testing.assert_close(determinant_by_hand(folding[0]), determinant[0, 0])

# %% mystnb={"image": {"alt": "Left: a grid in which lines of one bump cross each other. Right: its Jacobian determinant, blue above one behind the bump, red below one in front of it, with a black outline around the fold."}}
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained")
show_grid(show_image(axes[0], moving[0, 0], title="one bump, 26 voxels high"), folding[0], every=5)
drawn = axes[1].imshow(determinant[0, 0], cmap="RdBu", vmin=-1, vmax=3)
axes[1].contour(determinant[0, 0], levels=[0], colors="black")
axes[1].set_title(f"determinant; {fold_fraction(folding).item():.1%} of the voxels fold", fontsize=9)
axes[1].set_axis_off()
figure.colorbar(drawn, ax=axes[1], shrink=0.8)
plt.show()

# %% [markdown]
# Limit cases: a translation leaves 1 everywhere; a stretch by 1.5 along both axes gives 1.5² = 2.25.

# %%
assert (fields.jacobian_determinant(down) == 1).all()
torch.testing.assert_close(fields.jacobian_determinant(0.5 * grid[None]), torch.full((1, 1, *shape), 2.25))

# %% [markdown]
# ## Two fields in a row
#
# Warp with $u$, then the result with $v$. The same in one go: voxel $x$ looks at $x + v(x)$, and what stands *there* was
# fetched from $u$ further on.
#
# $$(u \circ v)(x) = v(x) + u(x + v(x))$$
#
# **Is that $u + v$? Where does it differ most?**

# %%
u = bumps(shape, [(40, 36)], [(9, 0)], 11.0)
v = bumps(shape, [(54, 50)], [(-6, 8)], 11.0)
at_moved = torch.stack([warp_by_hand(channel, v[0]) for channel in u[0]])
both = fields.compose(u, v)
torch.testing.assert_close((v[0] + at_moved)[None], both, rtol=0, atol=1e-4)

# %% mystnb={"image": {"alt": "Three maps. The sum and the composition differ between the two bumps, so do the two orders. Two warps in a row and one warp differ faintly along edges."}}
wrong = {"u + v": u + v - both, "v after u instead": fields.compose(v, u) - both}
twice = fields.warp(fields.warp(moving, u), v) - fields.warp(moving, both)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
for ax, (name, error) in zip(axes, wrong.items(), strict=False):
    length = error[0].norm(dim=0)
    ax.imshow(length, cmap="magma", vmin=0, vmax=3)
    ax.set_title(f"{name}: up to {length.max():.1f} voxels off", fontsize=9)
axes[2].imshow(twice[0, 0].abs(), cmap="magma", vmin=0, vmax=0.15)
axes[2].set_title("two warps against one: blur", fontsize=9)
for ax in axes:
    ax.set_axis_off()
plt.show()
assert wrong["u + v"].abs().max() > 1
assert wrong["v after u instead"].abs().max() > 1

# %% [markdown]
# Order matters, and adding is wrong where both move. The third map is interpolation: each warp blurs once, so it is better
# to combine fields and warp the image a single time.
#
# ## Following a velocity
#
# Many small steps of a smooth velocity $v$ never fold: $u = \exp(v)$ is where a particle is after one unit of time.
# Naively that is $n$ compositions with $v/n$. *Scaling and squaring* doubles instead: after $k$ compositions of a
# field with itself, $2^k$ steps are done. **How many compositions for 128 steps?**


# %%
def follow(velocity, steps):
    """Euler: `steps` small steps, each along the velocity at the place that was reached."""
    u = torch.zeros_like(velocity)
    for _ in range(steps):
        u = fields.compose(velocity / steps, u)
    return u


velocity = bumps(shape, [(48, 40)], [(26, 0)], 9.0)  # as a displacement it folds, see above
flown = fields.exponentiate(velocity, steps=7)
apart = (flown - follow(velocity, 128)).norm(dim=1)
print(f"7 compositions against 128: {apart.mean():.3f} voxels apart on average, {apart.max():.2f} at most")
print(f"the field itself: up to {flown.norm(dim=1).max():.1f} voxels long")
assert apart.mean() < 0.05

# %% mystnb={"image": {"alt": "Grids of the displacement with crossing lines, and of the flow of the same field as a velocity: lines crowd in front of the bump but do not cross."}}
figure, axes = plt.subplots(1, 2, figsize=(7, 3.5), layout="constrained")
for ax, field, title in zip(axes, (velocity, flown), ("u = v", "u = exp(v)"), strict=True):
    least = fields.jacobian_determinant(field).min()
    show_image(ax, moving[0, 0], title=f"{title}, smallest determinant {least:.2f}")
    show_grid(ax, field[0], every=5)
plt.show()
assert fields.jacobian_determinant(velocity).min() < 0 < fields.jacobian_determinant(flown).min()

# %% [markdown]
# Limit cases: a constant velocity is a translation; zero stays zero; running time backwards undoes the flow.

# %%
torch.testing.assert_close(fields.exponentiate(down), down)
assert fields.exponentiate(torch.zeros_like(down)).abs().max() == 0
back = fields.compose(flown, fields.exponentiate(-velocity))
print(f"exp(v) after exp(-v) is off by {back.norm(dim=1).mean():.3f} voxels on average")
assert back.norm(dim=1).mean() < 0.05

# %% [markdown]
# No fold is a promise about the flow, not about its samples: with steps too few, or a velocity that changes from voxel to
# voxel, the grid may still fold. So count.

# %%
rough = 30 * torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
print(f"a velocity of white noise: {fold_fraction(fields.exponentiate(rough)).item():.0%} of the voxels fold")
assert fold_fraction(fields.exponentiate(rough)) > 0.05

# %% [markdown]
# ## Undoing a field
#
# Given $u$, find $w$ with $x + w(x)$ sent back to $x$: $w(x) = -u(x + w(x))$. Start with $w = -u$ and put the right side in
# for the left. **Is $-u$ itself a good inverse?**

# %%
u = bumps(shape, [(48, 40)], [(9, 0)], 9.0)
w = -u
residuals = []
for _ in range(40):
    residuals.append(fields.compose(u, w).norm(dim=1).max().item())
    w = -torch.stack([warp_by_hand(channel, w[0]) for channel in u[0]])[None]
torch.testing.assert_close(w, fields.invert(u), rtol=0, atol=0.02)

# %% [markdown]
# The step shrinks in each round by the steepest slope of $u$, $m e^{-1/2} / \sigma$ for one bump. Move the slider: **at which
# height does the iteration stop converging?**


# %% mystnb={"image": {"alt": "The largest error of the inverse over the iterations on a logarithmic axis: straight lines falling for flat bumps, no progress for one that folds."}}
def show_inversion(height=9.0):
    _, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
    for m in (4.0, 12.0, 18.0, height):
        u = bumps(shape, [(48, 40)], [(m, 0)], 9.0)
        w, errors = -u, []
        for _ in range(25):
            errors.append(fields.compose(u, w).norm(dim=1).max().item())
            w = -fields.warp(u, w)
        slope = m * 2.718281828**-0.5 / 9
        ax.semilogy(errors, label=f"{m:g} voxels, slope {slope:.2f}", linestyle="--" if m == height else "-")
    ax.set_xlabel("iteration")
    ax.set_ylabel("largest error, voxels")
    ax.set_ylim(1e-5, 30)
    ax.legend(fontsize=8, loc="lower left")
    plt.show()


_ = interact(show_inversion, height=(1.0, 24.0, 1.0))
# %%
print(f"-u is off by up to {residuals[0]:.1f} voxels, after {len(residuals)} rounds {residuals[-1]:.0e} are left")
assert residuals[0] > 1
assert residuals[-1] < 0.01
folded = bumps(shape, [(48, 40)], [(18, 0)], 9.0)
assert fields.compose(folded, fields.invert(folded)).norm(dim=1).max() > 1  # what folds has no inverse

# %% [markdown]
# | what mathematics fixes | what is a convention, and which one holds here |
# |---|---|
# | order matters in a composition | fields pull, on the fixed grid; `compose(u, v)`: $u$ acted first |
# | a fold has a negative determinant | derivatives are central differences between voxels |
# | the flow of a smooth velocity has an inverse | voxels, channel d along tensor axis d, voxel centres are whole numbers |
# | | outside the image the border voxel is read |

# %% [markdown]
# ## Exercises
#
# **1.** A bright spot stands in row 30 of the moving image. $u$ is 4 rows down everywhere. In which row does the warped
# image show it?

# %%
check("fields-pull", ..., row=30, step=4)

# %% [markdown]
# **2.** $u(\text{row}, \text{column}) = (-1.5\,\text{row},\ 0.5\,\text{column})$. The Jacobian determinant?

# %%
check("fields-determinant", ...)

# %% [markdown]
# **3.** One bump of width $\sigma = 6$. How long may its move $m$ be before the field folds? Try it with the view above, then
# derive it.

# %%
check("fields-fold", ..., sigma=6.0)

# %% [markdown]
# **4.** A field sends $x$ to $1.5\,x$. What is the displacement of its inverse at $x = 30$?

# %%
check("fields-inverse", ...)

# %% [markdown]
# ## To remember
#
# * A field says for each voxel of the fixed grid where to look in the moving image; content moves the other way.
# * Fields are composed, not added. Warp an image once.
# * A determinant of zero or less is a fold. A velocity that is smooth on the scale of voxels does not fold; count anyway.
