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
#       smoke_seconds: 60
#       full_seconds: 120
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # Tour: register a pair, open the experts
#
# In five minutes you will
#
# * see what deformable registration is asked to do, on a pair whose true motion is known,
# * move an image with a displacement field,
# * train a network with mixtures of experts and measure it on pairs it has never seen,
# * open it: which expert moved which voxel, in which direction, and what is lost without it.
#
# Everything here is two-dimensional, so that it trains while you read. The command `moereg demo` does the same in 3-D.

# %%
import matplotlib.pyplot as plt
import torch
from ipywidgets import interact

from moereg import classical, fields, metrics, models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.nn.observe import find_routers, rerouted
from moereg.training import TrainingConfig, fit
from moereg.viz.explorer import Explorer
from moereg.viz.figures import expert_legend, show_experts, show_grid, show_image, show_load

budget = Budget.from_env()
# %% [markdown]
# ## A pair
#
# A phantom of an abdomen, cut from front to back: rows run from head to foot, columns from the patient's right to the
# left. Between the two images it has breathed in. **Before you look: which direction will show the larger motion?**

# %% mystnb={"image": {"alt": "Three grey slices of an abdominal phantom: fixed, moving, and their difference, which is bright along the borders of liver, spleen and stomach."}}
shape = budget.pick(smoke=(80, 80), full=(160, 160))
pair = phantoms.make("abdomen", shape, seed=9000)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_image(axes[1], pair.moving[0], title="moving")
show_image(axes[2], (pair.moving - pair.fixed)[0].abs(), title="|moving - fixed|")
plt.show()
# %%
for direction, component in zip("yx", pair.displacement, strict=True):
    print(f"true motion along {direction}: {component[pair.region[0]].abs().mean():.1f} voxels on average")

# %% [markdown]
# ## A warp
#
# A displacement field $u$ says, for every voxel $x$ of the fixed image, where to fetch its value in the moving one:
#
# $$\text{warped}(x) = \text{moving}(x + u(x))$$
#
# Drag the slider from no motion to all of the true one. **Where does the difference vanish first?**


# %% mystnb={"image": {"alt": "The moving image warped by half of the true displacement with the deformed grid over it, and what still differs from the fixed image."}}
def show_part(share=0.5):
    part = share * pair.displacement
    warped = fields.warp(pair.moving[None], part[None])[0]
    _, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
    show_grid(show_image(axes[0], warped[0], title=f"moved by {share:.0%}"), part)
    axes[1].imshow((warped - pair.fixed)[0].abs(), cmap="gray", vmin=0, vmax=0.5)
    axes[1].set_title("what still differs", fontsize=9, loc="left")
    axes[1].set_axis_off()
    plt.show()


_ = interact(show_part, share=(0.0, 1.0, 0.1))
# %%
warped = fields.warp(pair.moving[None], pair.displacement[None])
before, after = ((image - pair.fixed[None]).square().mean() for image in (pair.moving[None], warped))
assert after < 0.3 * before, "the true field must undo most of the difference; the rest is noise"
print(f"mean squared difference: {before:.4f} before, {after:.4f} after")

# %% [markdown]
# ## A network that finds the field
#
# In practice nobody knows $u$. **SHMoAReg** guesses it from the two images. Two of its parts are mixtures:
#
# * in the *encoder*, every token picks 2 of 8 attention heads (**MoA**),
# * in the *decoder*, every voxel picks 2 of 4 convolutions, of 1, 3, 5 and 7 voxels across, *once for each
#   direction* (**SHMoE**).
#
# It learns from the images alone: make `warped` look like `fixed`, keep $u$ smooth.

# %%
train = [phantoms.make("abdomen", shape, seed) for seed in range(budget.pick(smoke=24, full=200))]
config = TrainingConfig(steps=budget.pick(smoke=150, full=3000), pairs_per_step=2, device=budget.device.type)
torch.manual_seed(0)
model = models.build("shmoareg", dims=2)
history = fit(model, train, config, progress=False)
model = model.cpu()

# %% mystnb={"image": {"alt": "Two curves over training steps: the loss falls, the Dice overlap of the training pairs rises."}}
measured = [(step, dice) for step, dice in enumerate(history.dice) if dice is not None]
figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
axes[0].plot(history.loss, color="#3b6fb6")
axes[0].set(title="loss", xlabel="step")
axes[1].plot(*zip(*measured, strict=True), color="#3b6fb6")
axes[1].set(title="Dice of the step's pairs", xlabel="step")
# %% [markdown]
# ## Did it learn? Ask pairs it has never seen
#
# *Dice* is the overlap of each organ after warping, 1 is perfect. The *endpoint error* is the distance to the true
# motion in voxels. A *fold* is a place where tissue would be turned inside out.

# %%
test = [phantoms.make("abdomen", shape, seed) for seed in range(9000, 9006)]
table = metrics.evaluate({"before": classical.identity, "SHMoAReg": model}, test, surfaces=False)
print(f"{'':10}{'Dice':>8}{'endpoint error':>17}{'folds':>9}")
for name, row in table.items():
    print(f"{name:10}{row['dice']:8.3f}{row['epe']:17.2f}{row['fold_fraction']:9.2%}")
assert table["SHMoAReg"]["dice"] > table["before"]["dice"] + 0.05
assert table["SHMoAReg"]["epe"] < table["before"]["epe"]

# %% mystnb={"image": {"alt": "Fixed, moving and warped image of a test pair; the warped one lies under its deformed grid and resembles the fixed one."}}
with torch.no_grad():
    result = model(pair.moving[None], pair.fixed[None])
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_image(axes[1], pair.moving[0], title="moving")
show_grid(show_image(axes[2], result.warped[0, 0], title="warped, with its grid"), result.displacement[0])
# %% [markdown]
# ## Open the experts
#
# A forward pass returns what every layer decided: `result.routing`, a dictionary of layer name to `Routing`.

# %%
for name, routing in result.routing.items():
    print(f"{name:16} routers {', '.join(routing.routers):6} experts {', '.join(routing.experts)}")

# %% [markdown]
# Choose a layer. The maps show the expert with the largest gate at every voxel; the bars how often each was picked.
# **Do the two directions of one decoder layer ask the same experts?**


# %% mystnb={"image": {"alt": "For the finest decoder layer, one map per direction of the expert that each voxel chose first, and the load of every expert as stacked bars."}}
def show_layer(layer="decoder.0.shmoe"):
    routing = result.routing[layer]
    count = len(routing.routers)
    figure, axes = plt.subplots(1, count + 1, figsize=(3.2 * (count + 1), 3.6))
    for i, router in enumerate(routing.routers):
        show_experts(axes[i], routing, router=i, title=f"first expert, {router}")
    show_load(axes[-1], routing, title="load")
    expert_legend(figure, routing.experts)
    plt.show()


_ = interact(show_layer, layer=list(reversed(result.routing)))
# %% [markdown]
# ### One voxel, all the numbers
#
# In an SHMoE layer every expert proposes a displacement, the gate says how much of it counts, and what the experts
# contribute adds up to the residual of that level exactly.

# %%
routing = result.routing["decoder.0.shmoe"]
row, column = (size // 2 for size in routing.gates.shape[3:])
residual = routing.contributions.sum(2)
for d, direction in enumerate(routing.routers):
    gates, parts = routing.gates[0, d, :, row, column], routing.contributions[0, d, :, row, column]
    shares = "  ".join(f"{e}: {g:.2f} -> {p:+.3f}" for e, g, p in zip(routing.experts, gates, parts, strict=True))
    print(f"{direction}   {shares}   sum {residual[0, d, row, column]:+.3f} voxels of this level")
assert ((routing.gates > 0).sum(2) == 2).all(), "two experts at every voxel, for every direction"

# %% [markdown]
# ### Take one away
#
# Maps show what is used, not what is needed. So leave an expert out of all decoder layers, let the routers choose among
# the others, and measure again. **Which one will be missed most?**

# %%
routers = find_routers(model)
decoder = [name for name, router in routers.items() if router.site.role == "decoder"]
errors = {}
for index, expert in enumerate(routing.experts):
    with rerouted(routers, without=dict.fromkeys(decoder, (index,))):
        errors[expert] = metrics.evaluate({"m": model}, test, surfaces=False)["m"]["epe"]
complete = table["SHMoAReg"]["epe"]
for expert, error in errors.items():
    print(f"without {expert}: endpoint error {error:.2f} voxels ({error - complete:+.2f})")

# %% [markdown]
# ## The explorer
#
# The same, under your finger. Move over the image: bars show how this voxel was routed, squares the reach of the chosen
# kernels, the arrow what they add up to. It needs no running Python; in JupyterLab the controls also run the network
# again.

# %%
Explorer(model, pair, title="A test pair, registered in one pass")

# %% [markdown]
# ## Exercises
#
# **1.** The moving image is the fixed one shifted down by three rows. Which constant field $(u_y, u_x)$ undoes it?

# %%
check("tour-shift", ...)

# %% [markdown]
# **2.** How many gates of the finest decoder layer are not zero? Work it out from the shape of the layer's grid, the
# directions and $k$, then compare with `(routing.gates > 0).sum()`.

# %%
grid = tuple(routing.gates.shape[3:])
check("tour-gates", ..., shape=grid, k=2)

# %% [markdown]
# **3.** Without which expert does the error grow most? Is it the one with the largest load?

# %%
check("tour-knockout", ..., errors=errors, complete=complete)

# %% [markdown]
# ## To remember
#
# * A displacement lives on the fixed grid, is measured in voxels and *pulls*: `warped(x) = moving(x + u(x))`.
# * A registration network is judged on pairs it has never seen, by overlap, by error where the truth is known, and by
#   folds.
# * A mixture layer returns what it decided. Load says how often an expert is asked; only taking it away says whether it
#   is needed.
