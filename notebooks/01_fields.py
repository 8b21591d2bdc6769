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
# * read a Jacobian determinant: whose volume it measures, and where a field folds,
# * put two fields into one, in the right order, and say why an image is warped once,
# * follow a velocity, and undo a field.
#
# *Registration* brings one scan onto another: the **moving** image is changed until its organs lie where they lie in the
# **fixed** image. What changes it is a field with one vector per *voxel* (a pixel, in two or three dimensions). This chapter
# is about that field alone; where it comes from is the matter of the chapters that follow.
#
# The code is `moereg/fields.py`; the convention card of the site says the same on one page.

# %%
import math

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import ConnectionPatch

from moereg import fields
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.data.phantoms.motion import border_window
from moereg.filters import smooth, smoothing_matrices
from moereg.regularity import fold_fraction
from moereg.similarity import mse
from moereg.viz.dragfield import DragField, bumps
from moereg.viz.figures import show_grid, show_image

plt.rcParams["figure.dpi"] = 110
budget = Budget.from_env()
shape = budget.pick(smoke=(96, 96), full=(96, 96))
pair = phantoms.make("abdomen", shape, seed=9000)
moving, fixed = pair.moving[None], pair.fixed[None]
truth = pair.displacement[None]
print("image", tuple(moving.shape), "= (batch, channel, rows, columns)")
print("field", tuple(truth.shape), "= (batch, direction, rows, columns)")

# %% [markdown]
# ## The grid, and what a field says
#
# Voxel centres are whole numbers. `identity_grid` says where each voxel is: channel 0 along rows, channel 1 along columns,
# in the order of the tensor's axes.

# %%
grid = fields.identity_grid(shape)
print("grid", tuple(grid.shape), "  row 3, column 7:", grid[:, 3, 7].tolist())

# %% [markdown]
# A *displacement field* $u$ has one such pair of numbers per voxel of the fixed image, in voxels. It *pulls*: to fill voxel
# $x$ of the result, the *warped* image, look at $x + u(x)$ in the moving image.
#
# $$\text{warped}(x) = \text{moving}(x + u(x))$$
#
# **Every voxel looks 12 rows further down. Will the picture move up or down?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "The moving image, and the same image shifted up by twelve rows, the lowest row repeated below."}}
down = torch.zeros(1, 2, *shape)
down[:, 0] = 12
shifted = fields.warp(moving, down)
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.3), layout="constrained")
show_image(axes[0], moving[0, 0], title="moving")
show_image(axes[1], shifted[0, 0], title="warped: every voxel looks 12 rows down")
plt.show()
assert torch.allclose(shifted[..., :-12, :], moving[..., 12:, :], atol=1e-5)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Up. Each row now shows what lay 12 rows below it. Content moves against the field.
# The lowest rows look outside of the image and read its border.
#
# </details>
#
# ## Why pull?
#
# Pushing sounds more natural: send the value of each voxel along a field. Here is a push that shifts everything by 12 rows,
# and one that sends every voxel 1.4 times as far from the middle; beside it the same enlargement by pulling. **In which
# picture will voxels get no value?** (The lowest 12 rows are not counted.)

# %% tags=["hide-output"] mystnb={"image": {"alt": "Three pictures. Pushed by a shift: no holes. Pushed apart: a regular pattern of black holes. The same enlargement by pulling: no holes."}}
centre = (shape[0] - 1) / 2
apart = 0.4 * (grid - centre)  # away from the middle


def push(image, u):
    """Send each voxel along u (2, rows, columns); voxels that got no value are NaN."""
    target = (grid + u).round().long()
    inside = ((target >= 0) & (target < shape[0])).all(0)
    pushed = torch.full(shape, torch.nan)
    pushed[tuple(target[:, inside])] = image[inside]
    return pushed


results = {
    "pushed 12 rows up": push(moving[0, 0], -down[0]),
    "pushed apart": push(moving[0, 0], apart),
    "pulled apart": fields.warp(moving, -apart[None] / 1.4)[0, 0],
}
holes = [image[:-12].isnan().double().mean().item() for image in results.values()]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for ax, (name, image), share in zip(axes, results.items(), holes, strict=True):
    show_image(ax, image.nan_to_num(), title=f"{name}: {share:.0%} without a value")
plt.show()
assert holes[0] == holes[2] == 0
assert holes[1] > 0.3

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# In the second. A shift may be pushed: each voxel gets one value. Where a push spreads out there are more voxels than values,
# and holes stay. Pulling asks every voxel of the result, so none is left out. The price: the field lives on the *fixed* grid and points
# to where a value comes from, not to where it goes.
#
# </details>
#
# ## Between the voxels
#
# $x + u(x)$ is rarely a whole number. The simplest way out is to round it to the nearest voxel. The true motion of our pair
# is smooth. **What will rounding do to the borders of the organs?** (These two images are drawn without noise, which
# interpolation would average and so flatter itself.)


# %% tags=["hide-output"] mystnb={"image": {"alt": "A cut-out around an organ, three times: fixed, warped by rounding with jagged borders, warped between voxels with borders as smooth as in the fixed image."}}
def warp_by_rounding(image, u):
    """image (rows, columns), u (2, rows, columns) -> (rows, columns)."""
    y, x = (fields.identity_grid(image.shape) + u).round().long()
    rows, columns = image.shape
    return image[y.clamp(0, rows - 1), x.clamp(0, columns - 1)]


clean = phantoms.make("abdomen", shape, seed=9000, noise=0.0)
assert torch.equal(clean.displacement, truth[0])
rounded = warp_by_rounding(clean.moving[0], truth[0])
between = fields.warp(clean.moving[None], truth)[0, 0]
cut, off = (slice(40, 76), slice(8, 44)), {}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
show_image(axes[0], clean.fixed[0][cut], title="fixed")
for ax, name, image in ((axes[1], "rounded", rounded), (axes[2], "between", between)):
    off[name] = (image - clean.fixed[0]).square().mean()
    show_image(ax, image[cut], title=f"{name}: squared error {off[name]:.4f}")
plt.show()
assert off["rounded"] > 1.2 * off["between"]

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Borders become stairs: neighbours read the same voxel, then one jumps to the next. Reading between the voxels leaves the
# borders as they are, and comes closer to the fixed image.
#
# </details>
#
# Rounding has a second fault, and it is worse. A network that learns $u$ needs to know what a little more of $u$ would
# change. After rounding: nothing.

# %%
for mode in ("nearest", "linear"):
    u = truth.clone().requires_grad_()
    mse(fields.warp(moving, u, mode=mode), fixed).backward()
    told = (u.grad != 0).any(1).double().mean().item()
    print(f"{mode:8} {told:4.0%} of the voxels learn where the error falls")
    assert told == 0 if mode == "nearest" else told > 0.9

# %% [markdown]
# So take the four voxels around $x + u(x)$, and weigh each by how near it is: *linear interpolation*. An example for a
# pencil: voxel $x = (2, 1)$ has $u = (-0.75,\ 1.5)$ and looks at $(1.25,\ 2.5)$.

# %%
small = torch.tensor(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 8.0, 4.0, 0.0],
        [0.0, 0.0, 0.0, 4.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
upper = 0.5 * 8 + 0.5 * 4  # in row 1, half way from column 2 to column 3
lower = 0.5 * 0 + 0.5 * 4  # in row 2
value = 0.75 * upper + 0.25 * lower  # a quarter of the way from row 1 to row 2
u = torch.zeros(1, 2, 4, 5)
u[0, :, 2, 1] = torch.tensor([-0.75, 1.5])
looked_up = fields.warp(small[None, None], u)[0, 0]
print(f"by hand {value}, by the library {looked_up[2, 1]}")
assert value == looked_up[2, 1] == 5


# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram of one voxel being warped. Left the warped image of 4 by 5 voxels, voxel (2, 1) marked with the value 5. An arrow labelled u leads to the point (1.25, 2.5) of the moving image on the right, between the voxels with values 8, 4, 0 and 4, which are outlined."}}
def cells(ax, values, title):
    """A small image as squares with their numbers in them."""
    ax.imshow(values, cmap="Blues", vmin=0, vmax=16)
    for row, column in torch.cartesian_prod(torch.arange(4), torch.arange(5)).tolist():
        ax.text(column, row, f"{values[row][column]:g}", ha="center", va="center")
    ax.set_xticks(range(5))
    ax.set_yticks(range(4))
    ax.set_title(title, fontsize=9)


figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6))
figure.subplots_adjust(wspace=0.45, bottom=0.2)
cells(axes[0], looked_up, "warped (1, 1, 4, 5)")
cells(axes[1], small, "moving (1, 1, 4, 5)")
for corner in ((1, 2), (1, 3), (2, 2), (2, 3)):
    place = (corner[1] - 0.5, corner[0] - 0.5)
    axes[1].add_patch(plt.Rectangle(place, 1, 1, fill=False, ec="#b70b60", lw=2))
axes[1].plot(2.5, 1.25, "o", color="#b70b60")
between_axes = {
    "coordsA": "data",
    "coordsB": "data",
    "axesA": axes[0],
    "axesB": axes[1],
}
arrow = ConnectionPatch((1.3, 1.9), (2.4, 1.25), **between_axes)
arrow.set(arrowstyle="-|>", color="#b70b60", lw=2, mutation_scale=16)
figure.add_artist(arrow)
figure.text(0.5, 0.07, "u (1, 2, 4, 5): from voxel (2, 1) to (1.25, 2.5)", ha="center")
plt.show()

# %% [markdown]
# For a whole image, three lines replace the rounding.


# %%
def warp_by_hand(image, u):
    """image (rows, columns), u (2, rows, columns) -> (rows, columns)."""
    rows, columns = image.shape
    y, x = fields.identity_grid(image.shape) + u
    y, x = y.clamp(0, rows - 1), x.clamp(0, columns - 1)
    top = y.long().clamp(max=rows - 2)
    left = x.long().clamp(max=columns - 2)
    below, right = y - top, x - left  # from the upper left voxel, 0 to 1
    upper = (1 - right) * image[top, left] + right * image[top, left + 1]
    lower = (1 - right) * image[top + 1, left] + right * image[top + 1, left + 1]
    return (1 - below) * upper + below * lower


by_hand = warp_by_hand(moving[0, 0], truth[0])
warped = fields.warp(moving, truth)
torch.testing.assert_close(by_hand, warped[0, 0], rtol=0, atol=1e-4)

# %% mystnb={"image": {"alt": "The fixed image, the moving image with the grid of the true displacement over it, and the warped image, which looks like the fixed one."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], fixed[0, 0], title="fixed")
show_image(axes[1], moving[0, 0], title="moving, and x + u(x)")
show_grid(axes[1], truth[0])
show_image(axes[2], by_hand, title="warped by hand")
plt.show()
before, after = mse(moving, fixed), mse(warped, fixed)
print(f"squared error {before:.4f} before, {after:.4f} after")
assert after < 0.3 * before

# %% [markdown]
# The grid lies on the *moving* image: its knots are the places $x + u(x)$ at which the voxels of the fixed grid look.
#
# Labels are names, not numbers: halfway between liver (1) and left kidney (3) there is no spleen (2). **What comes out if a
# label map is warped linearly, and what if each voxel takes the nearest label?**

# %% tags=["hide-output"]
labels = pair.moving_labels[None]
linear = fields.warp(labels.float(), truth)
nearest = fields.warp_labels(labels, truth)
strange = (linear - linear.round()).abs() > 1e-3
print(f"linear:  {int(strange.sum())} voxels with a value that is no label")
print(f"nearest: labels {sorted(nearest.unique().tolist())}")
assert strange.any()
assert set(nearest.unique().tolist()) <= set(labels.unique().tolist())

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Linear interpolation makes fractions along every border, and halfway it can hit the label of an organ that is not there. The
# nearest voxel keeps to the labels there are: for labels, rounding is right.
#
# </details>
#
# ## A field to drag
#
# In the view below you drag handles. Each makes one bump with middle $c$: there the field is the vector $m$, and it fades over
# some $\sigma$ voxels. All bumps add up to the field:
#
# $$u(x) = \sum_k m_k \exp\left(-\frac{|x - c_k|^2}{2\sigma^2}\right)$$


# %%
def bumps_by_hand(shape, centres, moves, sigma):
    """Fields (1, 2, rows, columns) of bumps at `centres`, (down, right) long."""
    grid = fields.identity_grid(shape)
    u = torch.zeros(1, 2, *shape)
    for centre, move in zip(centres, moves, strict=True):
        distance = (grid - torch.tensor(centre).view(2, 1, 1)).square().sum(0)
        u[0] += torch.tensor(move).view(2, 1, 1) * torch.exp(-distance / (2 * sigma**2))
    return u


centres, moves = [(20.0, 18.0), (34.0, 38.0)], [(5.0, 0.0), (0.0, -4.0)]
ours = bumps_by_hand((56, 56), centres, moves, 6.0)
torch.testing.assert_close(ours, bumps((56, 56), centres, moves, 6.0))

# %% [markdown]
# A handle stands where its voxel looks. Purple voxels are *folded*: the grid has turned over there. **Drag handle 1 down
# slowly. Where does the first voxel turn purple: behind the bump, on top of it, or in front of it?** Then make the bump
# wider, then read it as a velocity (what that means comes below). All of this runs in the page itself, without Python.

# %%
view = DragField(
    phantoms.make("abdomen", (56, 56), seed=9000).moving,
    centres=centres,
    moves=moves,
    sigma=6.0,
)
view

# %% tags=["hide-output"]
for m in (6.0, 9.0, 11.0, 13.0):
    u = bumps((56, 56), centres[:1], [(m, 0.0)], 6.0)
    folded = (fields.jacobian_determinant(u)[0, 0] <= 0).nonzero()
    rows = folded[:, 0].unique().tolist()
    print(f"{m:4g} voxels down from row 20: folded rows {rows or 'none'}")
assert len(folded)
assert folded[:, 0].min() > 20

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# In front of it. Behind the bump the grid lines are pulled apart, in front they are pushed together until they cross. A wider
# bump can go further. Read as a velocity, the same drag crowds the lines but does not cross them.
# With a kernel, `view.moves` and `view.displacement()` hold what you dragged.
#
# </details>
#
# ## How much room: the Jacobian determinant
#
# $x \mapsto x + u(x)$ sends a small square to a parallelogram. Its sides are the columns of $I + \nabla u$, the identity plus
# the slopes of $u$. Its area is the *Jacobian determinant*. With $u = (u_y, u_x)$ along rows $y$ and columns $x$:
#
# $$\det(I + \nabla u) = \left(1 + \frac{\partial u_y}{\partial y}\right)\left(1 + \frac{\partial u_x}{\partial x}\right)
# - \frac{\partial u_y}{\partial x}\,\frac{\partial u_x}{\partial y}$$
#
# One is unchanged, two is twice the room, zero is crushed. Below zero the square is turned over: a *fold*.
#
# With a pencil: $u_y = -0.5\,y + 0.2\,x$ and $u_x = 0.5\,x$. The slopes are $-0.5$, $0.2$, $0$ and $0.5$, so the determinant
# is $0.5 \cdot 1.5 - 0.2 \cdot 0 = 0.75$. The slope $0.2$ shears the square and leaves its area alone.

# %%
sheared = torch.stack([-0.5 * grid[0] + 0.2 * grid[1], 0.5 * grid[1]])[None]
measured = fields.jacobian_determinant(sheared)
torch.testing.assert_close(measured, torch.full((1, 1, *shape), 0.5 * 1.5 - 0.2 * 0))

# %% [markdown]
# **Exercise 1, in code.** Write the determinant for two *and* three dimensions. `torch.gradient(u, dim=[2, 3])` gives one
# tensor per axis: the slopes of all channels along it, central differences between voxels, one-sided at the border.
# `torch.linalg.det` takes the determinant over the last two axes.


# %% tags=["solution"]
def determinant(u):
    """The Jacobian determinant of x + u(x).

    u: (B, D, *S) in voxels, D = 2 or 3. Returns (B, 1, *S).
    """
    axes = list(range(2, u.dim()))
    slopes = torch.stack(torch.gradient(u, dim=axes), -1)  # (B, i, *S, j): du_i/dx_j
    jacobian = slopes.movedim(1, -2) + torch.eye(len(axes))  # (B, *S, i, j)
    return torch.linalg.det(jacobian)[:, None]


# %% tags=["hide-output"]
check("fields-jacobian", determinant)

# %% [markdown]
# ### Whose room?
#
# A field with determinant 2.25 everywhere, a stretch by 1.5 along both axes: $u(x) = 0.5\,(x - \text{middle})$. **Will a disc
# in the moving image come out larger or smaller?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "A disc in the moving image, and the warped image, in which the disc is smaller."}}
disc = ((grid - centre).norm(dim=0) < 24).float()[None, None]
stretch = 0.5 * (grid - centre)[None]
warped = fields.warp(disc, stretch)
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.3), layout="constrained")
show_image(axes[0], disc[0, 0], title=f"moving: {disc.sum():.0f} voxels")
show_image(axes[1], warped[0, 0], title=f"warped: {warped.sum():.0f} voxels")
plt.show()
volume = fields.jacobian_determinant(stretch)
torch.testing.assert_close(volume, torch.full_like(volume, 2.25))
print(f"{disc.sum():.0f} / {warped.sum():.0f} = {disc.sum() / warped.sum():.2f}")
assert abs(disc.sum() / warped.sum() - 2.25) < 0.03

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Smaller. One voxel of the fixed grid looks at 2.25 voxels of the moving image, so what filled 2.25 voxels there fills one
# here. The determinant says how much room a voxel's tissue takes *in the moving image*, in units of the room that it takes
# in the fixed one. Above one, the way from moving to warped shrinks.
#
# </details>
#
# It holds voxel by voxel: add up the determinants over an organ in the fixed image, and out comes its size in the moving one.

# %%
change = fields.jacobian_determinant(truth)
for name, number in (("liver", 1), ("left kidney", 3)):
    there = (pair.moving_labels == number).sum().item()
    here = (pair.fixed_labels == number)[None]
    total = change[here].sum().item()
    count = int(here.sum())
    print(f"{name:12} moving {there}, fixed {count}, sum of determinants {total:.0f}")
    assert abs(total / there - 1) < 0.03
    assert abs(count / there - 1) > 0.03  # the plain count is not that size

# %% [markdown]
# A bump that folds: lines cross in front of it, and there the determinant is below zero.

# %% mystnb={"image": {"alt": "Left: a grid in which lines of one bump cross each other. Right: its Jacobian determinant, blue above one behind the bump, red below one in front of it, with a black outline around the fold."}}
folding = bumps(shape, [(48, 40)], [(26, 0)], 9.0)
share = fold_fraction(folding).item()
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.4), layout="constrained")
show_image(axes[0], moving[0, 0], title="one bump, 26 voxels down")
show_grid(axes[0], folding[0], every=5)
room = fields.jacobian_determinant(folding)[0, 0]
drawn = axes[1].imshow(room, cmap="RdBu", vmin=-1, vmax=3)
axes[1].contour(room, levels=[0], colors="black")
axes[1].set_title(f"determinant; {share:.1%} of the voxels fold", fontsize=9)
axes[1].set_axis_off()
figure.colorbar(drawn, ax=axes[1], shrink=0.8, label="room, 1 is unchanged")
plt.show()
assert share > 0
assert (fields.jacobian_determinant(down) == 1).all()  # a translation changes no volume

# %% [markdown]
# **Exercise 2.** One bump of width $\sigma = 6$, alone. How long may its move $m$ be before the field folds? Along the move,
# $1 + \partial u_y / \partial y$ must stay above zero: find where the bump falls most steeply, and how steeply.

# %% tags=["solution"]
check("fields-fold", 6 * math.sqrt(math.e), sigma=6.0)

# %% [markdown]
# ## Two fields in a row
#
# Warp an image with $u$, then the result with $v$. Can one field do both? The easiest guess is $u + v$. **Where will the
# guess be wrong?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Two warps in a row, one warp with the sum of the fields, and their difference: bright between and on the two bumps where they overlap, dark where only one field moves."}}
u = bumps(shape, [(40, 36)], [(9, 0)], 11.0)
v = bumps(shape, [(54, 50)], [(-6, 8)], 11.0)
in_a_row = fields.warp(fields.warp(moving, u), v)
with_sum = fields.warp(moving, u + v)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained")
show_image(axes[0], in_a_row[0, 0], title="warped with u, the result with v")
show_image(axes[1], with_sum[0, 0], title="warped once with u + v")
difference = axes[2].imshow((in_a_row - with_sum)[0, 0].abs(), cmap="magma")
axes[2].contour(u[0].norm(dim=0), levels=[2], colors="white", linestyles="dashed")
axes[2].contour(v[0].norm(dim=0), levels=[2], colors="white")
axes[2].set_title("difference; |u| = 2 dashed, |v| = 2", fontsize=9)
axes[2].set_axis_off()
figure.colorbar(difference, ax=axes[2], shrink=0.8, label="intensity")
plt.show()
only_one = (u.norm(dim=1) < 0.05) | (v.norm(dim=1) < 0.05)
error = (with_sum - in_a_row)[:, 0].square()
assert error.mean() > 10 * error[only_one].mean()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Where both fields move. Where one of them is zero all around, the sum is right.
#
# </details>
#
# Follow one voxel. The result of the second warp shows, at $x$, what the first result shows at $x + v(x)$. That place was
# filled by looking $u$ further, $u$ read *there*:
#
# $$x \;\xrightarrow{\;v(x)\;}\; x + v(x) \;\xrightarrow{\;u(x + v(x))\;}\; x + v(x) + u(x + v(x))$$
#
# So one field does both: the *composition* $v(x) + u(x + v(x))$, in code `compose(u, v)`. Images and places meet the two
# fields in opposite order: the image is warped with $u$ first, a place takes the step $v$ first. `compose(u, v)` names them
# in the order in which the **image** meets them.


# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram of a composition. Three grids from left to right: fixed grid, image between, moving image. An arrow v(x) leads from voxel x to x + v(x), an arrow u read there leads on to the moving image, and one long arrow below, compose(u, v)(x), leads directly from x to the same place. Above, grey arrows in the other direction: the image is warped with u first, then with v."}}
def arrow(start, end, bend, text, height, colour):
    style = {
        "arrowstyle": "-|>",
        "connectionstyle": f"arc3,rad={bend}",
        "color": colour,
    }
    ax.annotate("", end, start, arrowprops=style)
    ax.text((start[0] + end[0]) / 2, height, text, ha="center", color=colour)


figure, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
stations = {
    0.0: ("result\n(1, 1, rows, columns)", "x"),
    4.0: ("moving warped with u\n(1, 1, rows, columns)", "x + v(x)"),
    8.0: ("moving\n(1, 1, rows, columns)", "x + v(x) + u(x + v(x))"),
}
for left, (name, place) in stations.items():
    ax.add_patch(plt.Rectangle((left, 0), 1.6, 1.6, fill=False))
    ax.plot(left + 0.8, 0.8, "ko")
    ax.text(left + 0.8, 1.75, name, ha="center", fontsize=9)
    ax.text(left + 0.8, 0.45, place, ha="center", fontsize=8)
arrow((3.8, 2), (1.8, 2), 0, "warp with v", 2.1, "grey")
arrow((7.8, 2), (5.8, 2), 0, "warp with u", 2.1, "grey")
arrow((0.9, 0.9), (4.7, 0.9), -0.15, "v(x), first step of a place", 1.3, "#3952c5")
arrow((4.9, 0.9), (8.7, 0.9), -0.15, "u, read at x + v(x)", 1.3, "#b70b60")
arrow((0.8, -0.1), (8.8, -0.1), 0.12, "compose(u, v): (1, 2, rows, columns)", -1, "k")
ax.set(xlim=(-0.3, 9.9), ylim=(-1.15, 2.4))
ax.set_axis_off()
plt.show()

# %% [markdown]
# **Exercise 3, in code.** Write `compose`. `fields.warp` pulls a field as well as an image: its channels are read like
# intensities.


# %% tags=["solution"]
def compose(u, v):
    """The field that warps as u and then v do: v(x) + u(x + v(x)).

    u, v: (B, D, *S) in voxels. Returns (B, D, *S).
    """
    return v + fields.warp(u, v)


# %% tags=["hide-output"]
check("fields-compose", compose)

# %% [markdown]
# **How wrong are the sum, and the other order?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Two maps of the distance to the composition in voxels, for the sum and for the other order: both zero far away and largest where the two bumps overlap."}}
both = fields.compose(u, v)
wrong = {"u + v": u + v - both, "compose(v, u)": fields.compose(v, u) - both}
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), layout="constrained")
for ax, (name, error) in zip(axes, wrong.items(), strict=True):
    length = error[0].norm(dim=0)
    drawn = ax.imshow(length, cmap="magma", vmin=0, vmax=4)
    ax.set_title(f"{name}: up to {length.max():.1f} voxels off", fontsize=9)
    ax.set_axis_off()
    assert length.max() > 1
figure.colorbar(drawn, ax=axes, shrink=0.8, label="voxels")
plt.show()
results = {"compose(u, v)": both, "u + v": u + v, "compose(v, u)": fields.compose(v, u)}
off = {name: mse(fields.warp(moving, f), in_a_row) for name, f in results.items()}
for name, error in off.items():
    print(f"{name:14} squared error {error:.5f} to two warps")
assert off["compose(u, v)"] < 0.1 * min(off["u + v"], off["compose(v, u)"])

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Both are voxels off where the bumps overlap. Adding is wrong where both fields move, and order matters. The composition
# comes closest by far, but not to zero: the rest is the subject of the next section.
#
# </details>
#
# ### Warp an image once
#
# *A first reading may leave this section out.*
#
# Why bother with compositions, if two warps in a row do the same? Here an image is shifted by half a voxel along both axes,
# then back, four times over. Beside it, the same with whole voxels. **All these fields undo each other. Is the image the same in
# the end?**


# %% tags=["hide-output"] mystnb={"image": {"alt": "Left: the image after eight warps by half a voxel, blurred. Middle: after eight warps by a whole voxel, sharp. Right: warped once with the composition of the eight half-voxel fields, sharp."}}
def detail(image):
    """Mean squared difference of neighbours, without the border."""
    inner = image[..., 8:-8, 8:-8]
    return sum(inner.diff(dim=axis).square().mean() for axis in (2, 3)).item()


def to_and_fro(step):
    """The image after eight warps, and warped once with the eight fields composed."""
    image, total = moving, torch.zeros_like(down)
    for sign in (1, -1) * 4:
        field = torch.full_like(down, sign * step)
        image, total = fields.warp(image, field), fields.compose(total, field)
    return image, fields.warp(moving, total)


results = {
    "eight half steps": to_and_fro(0.5)[0],
    "eight whole steps": to_and_fro(1.0)[0],
}
results["half steps, composed"] = to_and_fro(0.5)[1]
left = {name: detail(image) / detail(moving) for name, image in results.items()}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
for ax, (name, image) in zip(axes, results.items(), strict=True):
    show_image(ax, image[0, 0], title=f"{name}: {left[name]:.0%} of the detail")
plt.show()
assert left["eight half steps"] < 0.3
assert min(left["eight whole steps"], left["half steps, composed"]) > 0.99

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Half steps blur, whole steps do not: it is not warping that blurs but reading between voxels, where every value is a mean of
# neighbours. Composed first, the eight fields are one field, and the image is read once.
#
# </details>
#
# Two smooth bumps lose less than this worst case, but they lose:

# %%
lost = 1 - detail(in_a_row) / detail(fields.warp(moving, both))
print(f"two warps keep {lost:.1%} less detail than one warp with compose(u, v)")
assert lost > 0

# %% [markdown]
# Fields are smooth and lose little when they are read between voxels. Compose the fields; warp the image a single time.
#
# ## Following a velocity
#
# A bump that is too long folds. Many *short* bumps in a row need not: each step is far from folding, and composing maps that
# do not fold gives one that does not fold. In the limit of many steps a place follows a *velocity* $v$ for one unit of time.
# How far that takes it is the field $u = \exp(v)$: a name for this flow, not the exponential of each number.
#
# Naively that is $n$ compositions with $v / n$. The smallest determinant after a few and many steps:


# %%
def follow(velocity, steps):
    """Euler: `steps` short steps, each along the velocity where one has come to."""
    u = torch.zeros_like(velocity)
    for _ in range(steps):
        u = fields.compose(velocity / steps, u)
    return u


velocity = bumps(shape, [(48, 40)], [(26, 0)], 9.0)  # folds as a displacement
flows = {steps: follow(velocity, steps) for steps in (1, 2, 8, 128)}
least = {n: fields.jacobian_determinant(u).min().item() for n, u in flows.items()}
print(", ".join(f"{steps} steps {value:.2f}" for steps, value in least.items()))
assert least[1] < 0 < least[2]
assert least[128] > 0

# %% [markdown]
# A field composed with itself does two steps. That result, composed with itself, does four. **How many compositions do 128
# steps take that way?**

# %% tags=["hide-output"]
u, compositions = velocity / 128, 0
while 2**compositions < 128:
    u, compositions = fields.compose(u, u), compositions + 1
print(f"{compositions} compositions")
torch.testing.assert_close(u, fields.exponentiate(velocity, steps=7))
distance = (u - follow(velocity, 128)).norm(dim=1)
print(f"128 compositions end {distance.mean():.3f} voxels from there on average,")
print(f"{distance.max():.2f} at most; the way is up to {u.norm(dim=1).max():.1f} long")
assert compositions == 7
assert distance.mean() < 0.01

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Seven, as $2^7 = 128$. This is *scaling and squaring*, `exponentiate` in the library. The two are not the same to the last
# digit: both read fields between voxels, but not the same fields.
#
# </details>

# %% mystnb={"image": {"alt": "Grids of the displacement with crossing lines, and of the flow of the same field as a velocity: lines crowd in front of the bump but do not cross."}}
flown = fields.exponentiate(velocity, steps=7)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.5), layout="constrained")
leasts = []
for ax, title, field in ((axes[0], "u = v", velocity), (axes[1], "u = exp(v)", flown)):
    least = fields.jacobian_determinant(field).min()
    leasts.append(least)
    show_image(ax, moving[0, 0], title=f"{title}, smallest determinant {least:.2f}")
    show_grid(ax, field[0], every=5)
plt.show()
assert leasts[0] < 0 < leasts[1]

# %% [markdown]
# Limit cases: a constant velocity is a translation; zero stays zero; running time backwards undoes the flow.

# %%
torch.testing.assert_close(fields.exponentiate(down), down)
assert fields.exponentiate(torch.zeros_like(down)).abs().max() == 0
undone = fields.compose(flown, fields.exponentiate(-velocity))
length, before = undone.norm(dim=1).mean(), flown.norm(dim=1).mean()
print(f"mean length of compose(exp(v), exp(-v)) {length:.3f}, of exp(v) {before:.2f}")
assert length < 0.05 < before

# %% [markdown]
# That a flow does not fold is a promise about smooth velocities and short steps. Two ways to break it: too few steps, and a
# velocity that changes from voxel to voxel. **Which of the two do more steps mend?**

# %% tags=["hide-output"]
draw = torch.Generator().manual_seed(0)
noise = torch.randn(1, 2, *shape, generator=draw) * border_window(shape, 0.25)
soft = smooth(noise, smoothing_matrices((4.0, 4.0), noise))
velocities = {
    "long bump": bumps(shape, [(48, 40)], [(60, 0)], 9.0),
    "white noise": 4 * noise / noise.square().mean().sqrt(),
    "smooth noise": 4 * soft / soft.square().mean().sqrt(),  # as strong
}
folds = {
    (name, steps): fold_fraction(fields.exponentiate(v, steps=steps)).item()
    for name, v in velocities.items()
    for steps in (1, 7, 10)
}
for name in velocities:
    shares = "".join(f"{folds[name, steps]:8.2%}" for steps in (1, 7, 10))
    print(f"{name:12} folded after 2, 128 and 1024 steps: {shares}")
assert folds["long bump", 1] > 0 == folds["long bump", 7]
assert folds["white noise", 10] > 0.05
assert folds["smooth noise", 7] == 0

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# More steps mend the long bump. They do not mend white noise: it changes by voxels from one voxel to the next, and what the
# flow does between two voxels, a field that is kept at voxels cannot say. Noise of the same strength, smoothed over four
# voxels, does not fold. A flow is safe where its velocity is smooth on the scale of voxels; count folds anyway.
#
# </details>
#
# ## Undoing a field
#
# *A first reading may leave this section out.*
#
# Given $u$, find $w$ that leads back: $w(x) + u(x + w(x)) = 0$, that is `compose(u, w)` is zero. Solve for the first $w$:
# $w(x) = -u(x + w(x))$. Start with $w = -u$ and put it in on the right, again and again. **Is $-u$ itself a good inverse?
# And will the rounds mend it for every height of the bump?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "The largest error of the inverse over the rounds on a logarithmic axis: steep straight falls for flat bumps, a slow one for a bump of slope 0.94, and no progress for the bump that folds."}}
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
left, factors = {}, {}
for m in (4.0, 9.0, 14.0, 18.0):
    u = bumps(shape, [(48, 40)], [(m, 0)], 9.0)
    w, errors = -u, []
    for _ in range(25):
        errors.append(fields.compose(u, w).norm(dim=1).max().item())
        w = -fields.warp(u, w)
    slope = (u[:, 0].diff(dim=1)).abs().max().item()
    left[m], factors[m] = errors, slope
    ax.semilogy(errors, label=f"{m:g} voxels, slope {slope:.2f}")
ax.set(xlabel="round", ylabel="largest error, voxels", ylim=(1e-7, 30))
ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
print(f"9 voxels: -u is {left[9][0]:.1f} voxels off, after 24 rounds {left[9][-1]:.0e}")
assert left[9][0] > 1
assert left[9][-1] < 1e-3

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# $-u$ is no good inverse: it reads $u$ where the way back begins, not where the way there began. Rounds mend it as long as $u$
# changes by less than one voxel per voxel. The bump whose slope passes one folds: two places are sent to the same spot, and no
# field can lead back to both.
#
# </details>
#
# Each round reads $u$ at a place that is off by the present error, so the new error is at most the steepest slope times the
# old one. The curves say that it is nearly that much:

# %%
for m in (9.0, 14.0):
    factor = (left[m][20] / left[m][10]) ** (1 / 10)
    slope = factors[m]
    print(f"{m:g} voxels: a round leaves {factor:.2f} of the error, slope {slope:.2f}")
    assert 0.9 * slope < factor < 1.01 * slope
assert factors[18] > 1
assert left[18][-1] > 0.5 * left[18][0]
u = bumps(shape, [(48, 40)], [(9, 0)], 9.0)
assert fields.compose(u, fields.invert(u)).norm(dim=1).max() < 0.02  # the library's

# %% [markdown]
# | what mathematics fixes | what is a convention, and which one holds here |
# |---|---|
# | order matters in a composition | fields pull, on the fixed grid; `compose(u, v)`: the image meets $u$ first |
# | a fold has a negative determinant | derivatives are central differences between voxels |
# | the flow of a smooth velocity has an inverse | voxels, channel d along tensor axis d, centres are whole numbers |
# | | outside the image the border voxel is read |
#
# ## Two more exercises
#
# **4.** A bright spot stands in row 30 of the moving image. $u$ is 4 rows down everywhere. In which row does the warped
# image show it?

# %% tags=["solution"]
check("fields-pull", 26, row=30, step=4)

# %% [markdown]
# **5.** A field sends $x$ to $1.5\,x$. What is the displacement of its inverse at $x = 30$?

# %% tags=["solution"]
check("fields-inverse", -10)

# %% [markdown]
# ## To remember
#
# * A field says for each voxel of the fixed grid where to look in the moving image; content moves the other way.
# * The determinant is the room that a voxel's tissue takes in the moving image. Zero or less is a fold.
# * Fields are composed, not added, and the image is warped once.
# * A velocity that is smooth on the scale of voxels does not fold; count anyway.
