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
#       smoke_seconds: 30
#       full_seconds: 30
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # Tour: register a pair, open the experts
#
# You will
#
# * see what deformable registration is asked to do, on a pair whose true motion is known,
# * move an image with a displacement field, and measure by overlap, error and folds how well it fits,
# * let a network with mixtures of experts find the field, on pairs it has never seen,
# * open it: which expert moved which voxel, in which direction, and what is lost without it.
#
# A patient is scanned twice, and between the scans organs move: by breathing, by a meal, by months of treatment. To compare the
# scans, to add up doses of radiation, or to carry outlines of organs from one to the other, each point of the one must be
# found in the other. That is *registration*; *deformable*, because organs bend.
#
# Everything here is two-dimensional, so that it runs while you read. The command `moereg demo` does the same in 3-D.

# %%
import matplotlib.pyplot as plt
import torch

from moereg import classical, fields, metrics, models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.models import load_model
from moereg.nn.observe import find_routers, observe, rerouted
from moereg.training import TrainingConfig, fit
from moereg.viz.explorer import Explorer
from moereg.viz.figures import (
    expert_legend,
    show_experts,
    show_grid,
    show_image,
    show_load,
)
from moereg.viz.stills import stills

plt.rcParams["figure.dpi"] = 110
budget = Budget.from_env()
shape = (64, 64)
test = list(phantoms.Phantoms("abdomen", shape, count=6, split="test"))
pair = test[0]

# %% [markdown]
# ## A pair
#
# A *phantom* is a drawn patient, so that the true motion is known. Here it is a section of an abdomen as seen from the front.
# Rows run from head to foot, columns from the patient's right to the left. The **moving** image is to be brought onto the **fixed** one.
# Between the two the patient has breathed. **Before you look: will the tissue have moved more along the rows or along the
# columns?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Three grey sections of an abdominal phantom: fixed, moving, and their difference, which is bright along the borders of the organs."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_image(axes[1], pair.moving[0], title="moving")
show_image(axes[2], (pair.moving - pair.fixed)[0].abs(), title="|moving - fixed|")
plt.show()
lengths = torch.stack([p.displacement[:, p.region[0]].abs().mean(1) for p in test])
rows, columns = lengths.mean(0).tolist()
print(f"{len(test)} pairs: {rows:.1f} voxels along rows, {columns:.1f} along columns")
assert rows > 2 * columns

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Along the rows, from head to foot: breathing pushes the organs down and lets them up again. Remember it when the two
# directions are decided one by one below.
#
# </details>
#
# ## A warp
#
# A *displacement field* $u$ says, for every voxel $x$ of the fixed image, where to fetch its value in the moving one:
#
# $$\text{warped}(x) = \text{moving}(x + u(x))$$
#
# The control takes a share of the true field, from none to all of it. The grid shows the places $x + u(x)$ on the moving image.
# **With half of the field, is half of the squared difference gone?**


# %% mystnb={"image": {"alt": "The moving image under the grid of half of the true displacement, the image warped with it, and what still differs from the fixed image."}}
def show_part(share=0.5):
    part = share * pair.displacement
    warped = fields.warp(pair.moving[None], part[None])[0]
    _, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
    show_grid(show_image(axes[0], pair.moving[0], title="moving, and x + u(x)"), part)
    axes[0].set(xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
    show_image(axes[1], warped[0], title=f"warped with {share:.0%} of u")
    axes[2].imshow((warped - pair.fixed)[0].abs(), cmap="gray", vmin=0, vmax=0.5)
    axes[2].set_title("what still differs", fontsize=9)
    axes[2].set_axis_off()
    plt.show()


shares = [0.0, 0.25, 0.5, 0.75, 1.0]
stills(show_part, alt="A share of the true field.", start={"share": 0.5}, share=shares)

# %% tags=["hide-output"]
seed = int(pair.name.split("-")[1])
clean = phantoms.make("abdomen", shape, seed, noise=0, bias=0, contrast=0)
assert torch.equal(clean.displacement, pair.displacement)


def differs(p, share):
    """Mean squared difference that is left with a share of the true field."""
    warped = fields.warp(p.moving[None], share * p.displacement[None])
    return (warped - p.fixed[None]).square().mean().item()


for name, p in (("this pair", pair), ("without noise and brightness", clean)):
    print(f"{name:29}", "  ".join(f"{s:.0%} {differs(p, s):.4f}" for s in (0, 0.5, 1)))
assert differs(pair, 0) > differs(pair, 0.5) > differs(pair, 1) > differs(clean, 1) > 0
assert differs(pair, 1) < 0.3 * differs(pair, 0)
assert 0.4 < differs(pair, 0.5) / differs(pair, 0) < 0.6

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# About half. With all of it the squared difference is not zero. Part of it is noise and brightness, which no field takes away.
# The same pair drawn without them keeps the rest: the price of reading a coarse image between its voxels.
#
# </details>
#
# ## How good is a field?
#
# Three measures. The *endpoint error* is the distance to the true motion in voxels; it needs a truth. *Dice* needs outlines of
# organs only: warp those of the moving image, and compare the voxels $A$ of an organ with the voxels $B$ of the same organ in
# the fixed image.
#
# $$\text{Dice} = \frac{2\,|A \cap B|}{|A| + |B|}$$
#
# One is a perfect overlap, zero none. Six voxels here, four there, three in common: $2 \cdot 3 / (6 + 4) = 0.6$. A *fold* is a
# place where the field turns tissue inside out; a real patient has none.
#
# **Exercise 1, in code.** Write Dice for one label.


# %% tags=["solution"]
def dice(warped, fixed, label):
    """Overlap of one label, a number from 0 to 1.

    warped, fixed: maps of labels, whole numbers, (*S), 2-D or 3-D;
    label: the number of the organ.
    """
    a, b = warped == label, fixed == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


# %% tags=["hide-output"]
check("tour-dice", dice)

# %% [markdown]
# ## A network that finds the field
#
# In practice nobody knows $u$. **SHMoAReg** computes it from the two images. Some words first:
#
# * The *encoder* turns each image into *features*, several numbers per place, on coarser and coarser grids: the *levels*.
#   A place of a coarse grid is a *token*.
# * The *decoder* goes back from the coarsest level to the finest. Each level adds a small displacement, its *residual*.
# * An *expert* is a part of a layer of which there are several to choose from. A *router* scores the experts at each place and
#   picks the best $k$ of them; the scores of those, turned into shares that add up to one, are the *gates*.
#
# Two kinds of layers hold experts. In the encoder every token picks 2 of 8 attention heads (**MoA**). In the decoder every
# place picks 2 of 4 convolutions, named 1² to 7² as they see 1, 3, 5 or 7 voxels across, *once for each direction of its
# displacement* (**SHMoE**).
#
# The network here comes with the library. It was trained on other phantoms from the images alone: make `warped` look like
# `fixed`, keep $u$ smooth. Chapter 04 trains one from the first step.

# %%
model = load_model("abdomen-flat")
with torch.no_grad(), observe(model) as seen:
    result = model(pair.moving[None], pair.fixed[None])
for name, routing in result.routing.items():
    where = "×".join(map(str, routing.gates.shape[3:]))
    print(f"{name:16} grid {where:6} routers {', '.join(routing.routers):6}", end="")
    print(f" experts {', '.join(routing.experts[:3])} ... {routing.experts[-1]}")


# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram of the network. Moving and fixed image, each 1 by 1 by 64 by 64, enter an encoder with three levels on grids of 32, 16 and 8; the two coarser ones hold MoA layers in which a router picks 2 of 8 heads. Arrows lead from every level to the decoder, whose three SHMoE layers run from the coarsest to the finest; each has one router per direction that picks 2 of 4 convolutions and adds a residual field. The result is the field u, 1 by 2 by 64 by 64, which warps the moving image."}}
def box(x, y, text, colour):
    style = {"boxstyle": "round", "facecolor": colour, "edgecolor": "#555555"}
    ax.text(x, y, text, ha="center", va="center", fontsize=8, bbox=style)


def arrow(start, end):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555"})


figure, ax = plt.subplots(figsize=(9.5, 4), layout="constrained")
box(0, 3, f"moving, fixed\n{tuple(pair.moving[None].shape)} each", "#eeeeee")
arrow((0.9, 3), (1.7, 3))
for level in range(3):
    y, routed = 3 - 1.3 * level, result.routing[f"decoder.{level}.shmoe"]
    rows, columns = routed.gates.shape[3:]
    heads = "\nMoA: router, 2 of 8 heads" if level else ""
    box(2.9, y, f"encoder, grid {rows}×{columns}{heads}", "#dfe6fb")
    kernels = "per direction: router, 2 of 4 kernels"
    box(6.3, y, f"SHMoE, grid {rows}×{columns}\n{kernels}", "#fbe3d0")
    arrow((4.05, y), (4.85, y))
    ax.text(4.45, y + 0.1, "features", ha="center", fontsize=7)
    if level:
        arrow((2.9, y + 1.05), (2.9, y + 0.3))
        arrow((6.3, y + 0.3), (6.3, y + 1.0))
        ax.text(6.4, y + 0.6, f"field (1, 2, {rows}, {columns}), doubled", fontsize=7)
arrow((7.75, 3), (8.55, 3))
box(9.4, 3, f"u {tuple(result.displacement.shape)}\nwarps moving", "#eeeeee")
ax.set(xlim=(-1, 10.4), ylim=(0, 3.5))
ax.set_axis_off()
plt.show()

# %% [markdown]
# Beside it, the same network after 40 steps of training, in seconds. **Will either be close to the truth?**

# %%
train = [phantoms.make("abdomen", shape, seed) for seed in range(0, 72, 3)]
torch.manual_seed(0)
beginner = models.build("shmoareg", dims=2)
config = TrainingConfig(steps=40, pairs_per_step=2, device=budget.device.type)
fit(beginner, train, config, progress=False)
beginner = beginner.cpu().eval()

# %% tags=["hide-output"]
methods = {"no field": classical.identity, "40 steps": beginner, "SHMoAReg": model}
table = metrics.evaluate(methods, test, surfaces=False)
print(f"{'':10}{'Dice':>8}{'endpoint error':>17}{'folds':>9}")
for name, row in table.items():
    print(f"{name:10}{row['dice']:8.3f}{row['epe']:17.2f}{row['fold_fraction']:9.2%}")
assert table["SHMoAReg"]["epe"] < 0.3 * table["no field"]["epe"]
assert table["SHMoAReg"]["dice"] > table["no field"]["dice"] + 0.2
assert table["40 steps"]["epe"] > 0.8 * table["no field"]["epe"]

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The trained network is a fraction of a voxel off on patients it has never seen, and does not fold. The other is hardly better
# than no field: forty steps have taught almost nothing. So what follows opens the trained one: what an untrained router picks
# means nothing.
#
# </details>

# %% mystnb={"image": {"alt": "Fixed image, moving image under the grid of the field that the network found, and the warped image, which resembles the fixed one."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_grid(
    show_image(axes[1], pair.moving[0], title="moving, and x + u(x)"),
    result.displacement[0],
)
axes[1].set(xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
show_image(axes[2], result.warped[0, 0], title="warped by the network")
plt.show()

# %% [markdown]
# ## Open the experts
#
# A forward pass returns what every layer decided: `result.routing`, a dictionary of layer name to `Routing`. The finest
# decoder layer works on every second voxel of the image, so its maps have half as many rows and columns.
#
# The maps show the expert with the largest gate at every place; the bars how often each was picked, its *load*. **Do the two
# directions of one layer ask the same experts?** The cell below the control counts; "chance" is how often they would agree if
# each asked the same experts equally often, but without regard to the other.


# %% mystnb={"image": {"alt": "For the finest decoder layer, one map per direction of the expert that each place chose first, and the load of every expert as stacked bars."}}
def show_layer(layer="decoder.0.shmoe"):
    routing = result.routing[layer]
    count = len(routing.routers)
    figure, axes = plt.subplots(1, count + 1, figsize=(3 * (count + 1), 3.4))
    figure.subplots_adjust(bottom=0.25, wspace=0.15)
    for i, router in enumerate(routing.routers):
        show_experts(axes[i], routing, router=i, title=f"first expert, {router}")
    show_load(axes[-1], routing, title="load")
    expert_legend(figure, routing.experts)
    plt.show()


layers = list(reversed(result.routing))
stills(show_layer, alt="First experts and load of one layer.", layer=layers)

# %% tags=["hide-output"]
for name in ("decoder.0.shmoe", "decoder.1.shmoe", "decoder.2.shmoe"):
    first, routing = result.routing[name].first()[0], result.routing[name]
    same = (first[0] == first[1]).double().mean().item()
    y, x = (torch.bincount(f.flatten(), minlength=4) / f.numel() for f in first)
    chance = (y * x).sum().item()
    print(f"{name}: same first expert at {same:.0%} of the places, chance {chance:.0%}")
    assert same < 0.5
    assert same < 0.05 if "2" in name else same > chance + 0.05

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Mostly not: at more than half of the places the two directions put another expert first, in every decoder layer. Yet they do
# not choose independently: in the two finer layers they agree more often than by chance, in the coarsest never. The control
# chooses the layer; the coarser ones show the same section in fewer, larger blocks. Whether the difference between the
# directions matters is another question, and chapter 08 takes it up.
#
# </details>
#
# ### One place, all the numbers
#
# In an SHMoE layer every expert *proposes* a displacement, for each direction one number. A gate says how much of it counts. With four scores (the *logits*)
# $-2, \ln 3, 0, -5$ and proposals $9, 2, 6, 9$, the two best are the second and the third. The exponentials of their logits are
# $3$ and $1$, so the gates are $0.75$ and $0.25$, and the residual is $0.75 \cdot 2 + 0.25 \cdot 6 = 3$. What the other two
# propose does not count.
#
# **Exercise 2, in code.** Write it for whole maps: the best $k$ experts at each place, a softmax over *their* logits, the
# weighted sum of their proposals.


# %% tags=["solution"]
def mixture(logits, proposals, k):
    """The weighted sum of the k experts with the largest logits, at every place.

    logits, proposals: (B, N, *S) for N experts. Returns (B, *S).
    """
    best, indices = logits.topk(k, dim=1)
    return (best.softmax(1) * proposals.gather(1, indices)).sum(1)


# %% tags=["hide-output"]
check("tour-mixture", mixture)

# %% [markdown]
# Is that what the network did? Here are gates and proposals at the place where the two routers are least sure, and what the
# layer put out there, in voxels of its grid.

# %%
routing, output = result.routing["decoder.0.shmoe"], seen["decoder.0.shmoe"].output
largest = routing.gates[0].amax(1).amax(0)  # (32, 32): the surer router's largest gate
row, column = divmod(int(largest.argmin()), largest.shape[1])
print(f"row {row}, column {column}")
for d, direction in enumerate(routing.routers):
    at = (0, d, slice(None), row, column)
    shares = zip(routing.experts, routing.gates[at], routing.proposals[at], strict=True)
    terms = [f"{gate:.2f} × {p:+.3f} ({name})" for name, gate, p in shares if gate > 0]
    print(f"{direction}: {' + '.join(terms)} = {output[0, d, row, column]:+.3f}")
    best, indices = routing.logits[:, d].topk(2, dim=1)
    by_hand = (best.softmax(1) * routing.proposals[:, d].gather(1, indices)).sum(1)
    torch.testing.assert_close(by_hand, output[:, d], rtol=1e-4, atol=1e-5)

# %% [markdown]
# ### Take one away
#
# Maps show what is used, not what is needed. So leave an expert out of all decoder layers, let the routers choose among the
# others, and measure again. **Which one will be missed most? The one with the largest load?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Two bar charts over the four experts: their load, about even, and the growth of the endpoint error without each, which is by far largest for the smallest kernel."}}
routers = find_routers(model)
decoder = [name for name, router in routers.items() if router.site.role == "decoder"]
complete, growth = table["SHMoAReg"]["epe"], {}
for index, expert in enumerate(routing.experts):
    with rerouted(routers, without=dict.fromkeys(decoder, (index,))):
        without = metrics.evaluate({"m": model}, test, surfaces=False)["m"]["epe"]
    growth[expert] = without - complete
with torch.no_grad():
    asked = [model(one.moving[None], one.fixed[None]).routing for one in test]
load = torch.cat([one[name].load() for one in asked for name in decoder])
load = load.mean(0).tolist()
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
axes[0].bar(routing.experts, load, color="#3952c5")
axes[0].set_title("load, mean over the decoder", fontsize=9)
axes[1].bar(list(growth), list(growth.values()), color="#b70b60")
axes[1].set_title("endpoint error without it: growth in voxels", fontsize=9)
plt.show()
for expert, grown in growth.items():
    print(f"without {expert}: {complete + grown:.2f} voxels off ({grown:+.2f})")
order = sorted(growth, key=growth.get)
assert growth[order[-1]] > 3 * growth[order[-2]]  # one is missed most by far
assert max(load) < 2 * min(load)  # though none is asked far more often
assert order[-1] == "1²" != routing.experts[load.index(max(load))]

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The smallest kernel is missed most by far, and it is not the one with the largest load: the loads are about even. How often an
# expert is asked does not say how much it is missed. Chapter 09 asks how much the choice itself is worth.
#
# </details>
#
# ## The explorer
#
# The same, under your finger, without Python. Bars show how the place was routed, squares the reach of the chosen kernels, the
# arrow what they add up to. Four stations; the cell below measures what each is to show (*entropy* is zero where one gate
# takes all, and grows as the gates become even):
#
# 1. The explorer opens where the routers of the finest layer were least sure: two bars of nearly the same height, in both
#    directions. Here the choice is a mixture indeed.
# 2. Move out into the air beside the body. One bar takes all: where there is nothing to see, the routers are surer than within
#    the body.
# 3. Choose the layer decoder.2.shmoe, the coarsest, and the direction x. What the experts add is next to nothing: this layer
#    moves along y, from head to foot.
# 4. Stay in that layer and look at the result without its expert 1², then without 7². The first changes the field far more.
#
# On the site the results of leaving out are computed beforehand. In JupyterLab the controls under "Run again" run the network
# anew.

# %%
coarse, body = result.routing["decoder.2.shmoe"], pair.region[0, ::2, ::2]
unsure = routing.entropy()[0].mean(0)
inside, outside = unsure[body].mean(), unsure[~body].mean()
print(f"how unsure the routers are, entropy: body {inside:.2f}, air {outside:.2f}")
along = coarse.contributions.sum(2).abs().mean((0, 2, 3))
print(f"mean residual of decoder.2: y {along[0]:.3f}, x {along[1]:.3f} of its voxels")
changed = {}
for index, expert in enumerate(coarse.experts):
    with torch.no_grad(), rerouted(routers, without={coarse.name: (index,)}):
        other = model(pair.moving[None], pair.fixed[None]).displacement
    changed[expert] = (other - result.displacement).norm(dim=1).mean().item()
    print(f"decoder.2 without {expert}: the field changes by {changed[expert]:.2f}")
assert largest.min() < 0.6
assert inside > 2 * outside
assert along[0] > 10 * along[1]
assert max(changed, key=changed.get) == "1²"
assert changed["1²"] > 2 * changed["7²"]

# %%
start = (2 * row, 2 * column)  # of the image
Explorer(model, pair, title="A test pair, registered in one pass", voxel=start)

# %% [markdown]
# ## Two more exercises
#
# **3.** The moving image is the fixed one shifted down by three rows. Which constant field $(u_y, u_x)$ undoes it?

# %% tags=["solution"]
check("tour-shift", (3, 0))

# %% [markdown]
# **4.** A decoder layer of a network like this works on a grid of 40 × 30 places, with two directions and $k = 2$. How many of
# its gates are not zero?

# %% tags=["solution"]
check("tour-gates", 4800, shape=(40, 30), k=2)

# %% [markdown]
# ## To remember
#
# * A displacement lives on the fixed grid, is measured in voxels and *pulls*: `warped(x) = moving(x + u(x))`.
# * A registration network is judged on pairs it has never seen, by overlap, by error where the truth is known, and by folds.
# * A mixture layer returns what it decided: scores, gates, proposals. Load says how often an expert is asked; only taking it
#   away says whether it is needed.
