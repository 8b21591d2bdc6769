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
#       smoke_seconds: 50
#       full_seconds: 300
#       peak_memory_mb: 1000
# ---

# %% [markdown]
# # Learning to register
#
# You will be able to
#
# * find a displacement by descending a loss, and say what each new pair costs,
# * replace the search by a network that answers in one pass, and train it without a single true displacement,
# * combine both: the network's answer as a start, a few steps of descent after it,
# * read from training and test error whether there were enough pairs, and find motion that the network cannot follow.
#
# The code is `moereg/training.py`. Every network of the later chapters is trained by it.

# %%
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import interact
from torch import nn

from moereg import fields, models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.models import Registration
from moereg.regularity import diffusion, fold_fraction
from moereg.similarity import lncc
from moereg.training import TrainingConfig, choose_pairs, fit, learning_rate
from moereg.viz.figures import show_grid, show_image

budget = Budget.from_env()
plt.rcParams["figure.dpi"] = 75  # small pictures, a small notebook
shape = budget.pick(smoke=(48, 48), full=(64, 64))
count = budget.pick(smoke=48, full=300)
train = [phantoms.make("abdomen", shape, seed) for seed in range(count)]
test = [phantoms.make("abdomen", shape, seed) for seed in range(9000, 9008)]


def stack(pairs):
    """Moving and fixed images of pairs, each (B, 1, rows, columns)."""
    return torch.stack([pair.moving for pair in pairs]), torch.stack([pair.fixed for pair in pairs])


def error(u, pairs):
    """Mean distance to the true displacement within the body, in voxels, over pairs."""
    distances = [
        (v - pair.displacement).norm(dim=0)[pair.region[0]].mean() for v, pair in zip(u.cpu(), pairs, strict=True)
    ]
    return torch.stack(distances).mean().item()


moving, fixed = stack(test)
still = torch.zeros(len(test), 2, *shape)
before = error(still, test)

# %% [markdown]
# ## One pair, one search
#
# The loss of chapter 02, local correlation and diffusion. Its unknowns are the values of the field, two for each
# voxel. Adam lowers it, starting from no motion. **After 200 steps, will the loss lie above or below that of the
# true displacement?**

# %%
smoothness = 0.5


def loss_of(moving, fixed, u):
    return lncc(fields.sample(moving, u), fixed) + smoothness * diffusion(u)


def optimise(moving, fixed, pairs, start, *, steps=200, rate=0.1):
    """Adam on the values of the field. Returns the field, loss and error at each step, seconds without measuring."""
    u = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([u], lr=rate)
    losses, errors, seconds = [], [], 0.0
    for step in range(steps + 1):
        errors.append(error(u.detach(), pairs))
        began = time.perf_counter()
        loss = loss_of(moving, fixed, u)
        if step < steps:
            optimiser.zero_grad()
            (len(moving) * loss).backward()  # each pair's own loss: a batch is several searches side by side
            optimiser.step()
        seconds += time.perf_counter() - began
        losses.append(loss.item())
    return u.detach(), losses, errors, seconds


one = test[:1]
u, losses, errors, seconds = optimise(*stack(one), one, still[:1])
at_truth = loss_of(*stack(one), one[0].displacement[None]).item()
print(f"{u.numel()} unknowns, {seconds:.1f} s: {errors[0]:.2f} voxels off, then {errors[-1]:.2f}")
print(f"loss {losses[0]:.3f}, then {losses[-1]:.3f}; of the true displacement {at_truth:.3f}")
assert losses[-1] < losses[0]
assert errors[-1] < 0.8 * errors[0]

# %% mystnb={"image": {"alt": "Loss and distance to the truth fall over the steps; the deformed grid that was found over the moving image, and the true one."}}
figure, axes = plt.subplots(1, 4, figsize=(11.5, 2.9), layout="constrained")
axes[0].plot(losses)
axes[0].axhline(at_truth, color="grey", linestyle=":", label="true displacement")
axes[0].set(xlabel="step", title="loss")
axes[0].legend(fontsize=8)
axes[1].plot(errors)
axes[1].set(xlabel="step", title="voxels off", ylim=(0, None))
for ax, field, title in ((axes[2], u, "found"), (axes[3], one[0].displacement[None], "truth")):
    show_grid(show_image(ax, one[0].moving[0], title=title), field[0], every=3)
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
plt.show()

# %% [markdown]
# The next pair starts from nothing again: no step of this search is of any use to it.
#
# ## One pair, a network
#
# Let a network make the field: both images in, two channels out. The loss stays. What is searched for is now the
# network's weights. A U-Net on one screen: three times coarser, three times finer, and at each size what the way
# down knew.


# %%
def block(channels, out, stride=1):
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride=stride, padding=1), nn.LeakyReLU(0.2))


class Network(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        wide = 2 * width
        self.down = nn.ModuleList([block(2, width), *(block(c, wide, 2) for c in (width, wide, wide))])
        self.up = nn.ModuleList([block(2 * wide, wide), block(2 * wide, wide), block(wide + width, width)])
        self.last = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, moving, fixed):
        features, skipped = torch.cat([moving, fixed], 1), []
        for layer in self.down:
            features = layer(features)
            skipped.append(features)
        for layer, known in zip(self.up, skipped[-2::-1], strict=True):
            finer = F.interpolate(features, size=known.shape[2:], mode="bilinear")
            features = layer(torch.cat([finer, known], 1))
        u = self.last(features)
        return Registration(u, fields.sample(moving, u))


torch.manual_seed(0)
network = Network()
weights = sum(parameter.numel() for parameter in network.parameters())
print(f"{weights} weights, {u.numel()} values in one field")

# %% [markdown]
# The last layer starts at zero. **What does the network answer before its first step?** Exactly nothing:

# %%
assert network(moving, fixed).displacement.abs().max() == 0
assert torch.allclose(network(moving, fixed).warped, moving, atol=1e-5)

# %% [markdown]
# Training by hand: draw pairs, put both directions of each into one batch, descend the same loss. **No true
# displacement enters. Where does the network learn from?**


# %%
def train_by_hand(network, pairs, config):
    optimiser = torch.optim.Adam(network.parameters())
    history = []
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)  # up over the first twentieth, then down along a cosine
        a, b = stack([pairs[i] for i in choose_pairs(step, len(pairs), config)])
        a, b = torch.cat([a, b]), torch.cat([b, a])  # both directions
        loss = loss_of(a, b, network(a, b).displacement)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    return history


@torch.no_grad()
def ask(network, pairs):
    return network(*stack(pairs)).displacement


config = TrainingConfig(
    steps=budget.pick(smoke=200, full=2000),
    learning_rate=3e-3,
    smoothness=smoothness,
    pairs_per_step=2,
    device=budget.device.type,
)
losses_of_one = train_by_hand(network, one, replace(config, steps=150, pairs_per_step=1))
memorised = ask(network, one)
print(f"search:  {errors[-1]:.2f} voxels off, loss {losses[-1]:.3f} after {len(losses) - 1} steps")
print(
    f"network: {error(memorised, one):.2f} voxels off, loss {loss_of(*stack(one), memorised).item():.3f} "
    f"after {len(losses_of_one)} steps"
)
assert losses_of_one[-1] < losses_of_one[0]
assert error(memorised, one) < errors[-1]
assert abs(loss_of(*stack(one), memorised).item() - losses[-1]) < 0.1

# %% [markdown]
# The losses are close, the distances to the truth are not: once more a low loss proves little. A network is one more
# way to write down a field, and a step takes another way down. On a field it moves each voxel along its own slope;
# on a weight it moves many voxels together.
#
# Unlike the field, the network can be asked about **other** pairs. **What will it say to seven it has never seen?**

# %%
own_share = error(memorised, one) / errors[0]
other_share = error(ask(network, test[1:]), test[1:]) / error(still[1:], test[1:])
print(f"left of the motion: {own_share:.0%} on its own pair, {other_share:.0%} on the others")
assert other_share > 1.3 * own_share

# %% [markdown]
# What it has learnt is largely this pair's field. Not only: it was trained in both directions, and had to look at
# the images to know which of two opposite motions to answer.
#
# ## Many pairs, one network
#
# What all pairs have in common is how images tell of motion. The same weights have to serve every pair, so that is
# what they can hold. Now train on pairs that are **not** the test pairs.

# %%
networks = {}
torch.manual_seed(0)
networks[count] = Network()
began = time.perf_counter()
losses_of_many = train_by_hand(networks[count], train, config)
training_seconds = time.perf_counter() - began
learned = error(ask(networks[count], test), test)
print(f"{training_seconds:.0f} s of training on {count} pairs; test pairs: {before:.2f} voxels off, then {learned:.2f}")
assert learned < 0.75 * before

# %% [markdown]
# Three ways to register the same unseen pairs: a search from nothing, one pass, and one pass followed by a search
# (*instance optimisation*). All eight side by side, seconds divided by eight. **Which will be closest to the
# truth?**

# %%
start = ask(networks[count], test)  # the first call also warms up
timed, found = {}, {"nothing": still}
began = time.perf_counter()
found["network"] = ask(networks[count], test)
timed["network"] = time.perf_counter() - began
curves = {}
for name, first, steps in (("search", still, 200), ("network, then 40 steps", start, 40)):
    found[name], *curves[name], timed[name] = optimise(moving, fixed, test, first, steps=steps)
timed["network, then 40 steps"] += timed["network"]
table = {
    name: {"error": error(u, test), "loss": loss_of(moving, fixed, u).item(), "folds": fold_fraction(u).mean().item()}
    for name, u in found.items()
}
for name, row in table.items():
    print(
        f"{name:24} {row['error']:.2f} voxels off   loss {row['loss']:.3f}   folded {row['folds']:.2%}   "
        f"{1000 * timed.get(name, 0) / len(test):6.1f} ms a pair"
    )

# %% mystnb={"image": {"alt": "Loss and distance to the truth over the steps of the search: from no motion both fall slowly; from the network's answer they start low and fall further."}}
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), layout="constrained")
for column, title in enumerate(("loss", "voxels off")):
    for (name, lines), colour in zip(curves.items(), ("#3952c5", "#b70b60"), strict=True):
        axes[column].plot(lines[column], color=colour, label=name)
    axes[column].plot(0, list(curves.values())[1][column][0], "o", color="#b70b60", label="network, one pass")
    axes[column].set(xlabel="steps of the search", title=title)
axes[1].set_ylim(0, None)
axes[1].legend(fontsize=8)
plt.show()

# %%
searched, refined = (table[name] for name in ("search", "network, then 40 steps"))
reached = next((step for step, value in enumerate(curves["search"][1]) if value <= learned), None)
print(f"steps the search needs to be as close as one pass: {'more than 200' if reached is None else reached}")
print("closest to the truth:", min(table, key=lambda name: table[name]["error"]))
assert timed["network"] < timed["network, then 40 steps"] < timed["search"]
assert refined["loss"] < table["network"]["loss"]
assert refined["error"] < table["network"]["error"]

# %% [markdown]
# A network pays once, in training, and then hardly at all: it *amortises* the search. What it saves per pair it may
# lose in accuracy: the search has this pair's own loss, the network only what helped on average. The two add up.


# %% mystnb={"image": {"alt": "For the chosen test pair: fixed and moving image, and the moving image warped by the search, by the network and by both, with their deformed grids."}}
def show_ways(pair=0):
    figure, axes = plt.subplots(1, 5, figsize=(12, 2.8), layout="constrained")
    show_image(axes[0], fixed[pair, 0], title="fixed")
    show_image(axes[1], moving[pair, 0], title="moving")
    for ax, name in zip(axes[2:], ("search", "network", "network, then 40 steps"), strict=True):
        u = found[name][pair : pair + 1]
        warped = fields.warp(moving[pair : pair + 1], u)[0, 0]
        show_image(ax, warped, title=f"{name}\n{error(u, test[pair : pair + 1]):.2f} voxels off")
        show_grid(ax, u[0], every=3)
        ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    plt.show()


_ = interact(show_ways, pair=(0, len(test) - 1))

# %% [markdown]
# ## The library's loop
#
# `fit` is the loop above with checkpoints, devices and further parts of the loss. Same weights at the start, same seed:

# %%
short = replace(config, steps=15, device="cpu")
histories = []
for run in (
    lambda network: train_by_hand(network, train, short),
    lambda network: fit(network, train, short, progress=False).loss,
):
    torch.manual_seed(1)
    histories.append(torch.tensor(run(Network())))
print(f"largest difference of {short.steps} losses: {(histories[0] - histories[1]).abs().max():.0e}")
torch.testing.assert_close(*histories, rtol=1e-3, atol=1e-4)

# %% [markdown]
# ## MONAI's VoxelMorph
#
# VoxelMorph is this idea with a larger U-Net; its network predicts a velocity, and integrating that gives the field
# (chapter 01). Same pairs, same steps, same loss. **Will the field of its velocity fold?**

# %%
torch.manual_seed(0)
voxelmorph = models.build("voxelmorph", dims=2)
fit(voxelmorph, train, config, progress=False)
voxelmorph.cpu()
table["VoxelMorph"] = {
    "error": error(ask(voxelmorph, test), test),
    "loss": loss_of(moving, fixed, ask(voxelmorph, test)).item(),
    "folds": fold_fraction(ask(voxelmorph, test)).mean().item(),
}
for name, size in (("network", weights), ("VoxelMorph", sum(p.numel() for p in voxelmorph.parameters()))):
    row = table[name]
    print(
        f"{name:11} {size} weights   {row['error']:.2f} voxels off   loss {row['loss']:.3f}   folded {row['folds']:.2%}"
    )
assert table["VoxelMorph"]["error"] < 0.9 * before
assert table["VoxelMorph"]["folds"] < 0.01

# %% [markdown]
# One seed and a short training: no verdict on the two. Chapter 13 compares methods with several seeds and long
# trainings.
#
# ## How many pairs?
#
# The same number of steps, on fewer and on more different pairs. **Where will the error on training pairs be lowest,
# where that on test pairs?**

# %%
for pairs in (1, 4, 16):
    torch.manual_seed(0)
    networks[pairs] = Network()
    fit(networks[pairs], train[:pairs], config, progress=False)
    networks[pairs].cpu()
networks = dict(sorted(networks.items()))
seen = {pairs: error(ask(network, train[:pairs]), train[:pairs]) for pairs, network in networks.items()}
unseen = {pairs: error(ask(network, test), test) for pairs, network in networks.items()}
unmoved = {pairs: error(torch.zeros(pairs, 2, *shape), train[:pairs]) for pairs in networks}
for pairs in networks:
    print(
        f"{pairs:4} pairs: training {seen[pairs]:.2f} (unmoved {unmoved[pairs]:.2f}), "
        f"test {unseen[pairs]:.2f} (unmoved {before:.2f})"
    )

# %% mystnb={"image": {"alt": "Share of the motion that is left, against the number of training pairs: low on training pairs and close to one on test pairs for a single pair; the two meet for many pairs."}}
_, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
ax.semilogx(list(seen), [seen[n] / unmoved[n] for n in seen], "o-", color="#3952c5", label="training pairs")
ax.semilogx(list(unseen), [unseen[n] / before for n in unseen], "o-", color="#b70b60", label="test pairs")
ax.axhline(1, color="grey", linestyle=":", label="doing nothing")
ax.set_xticks(list(seen), list(seen))
ax.minorticks_off()
ax.set(xlabel="pairs in training", ylabel="error left, share of the unmoved", ylim=(0, 1.2))
ax.legend(fontsize=8)
plt.show()
gap = {pairs: unseen[pairs] / before - seen[pairs] / unmoved[pairs] for pairs in networks}
assert gap[1] > 0.3
assert abs(gap[count]) < 0.5 * gap[1]
assert unseen[count] < 0.8 * unseen[1]

# %% [markdown]
# The gap is *overfitting*: weights that hold these pairs' fields. With few pairs the training error says nothing
# about the next patient; only pairs that were kept out do. With the most pairs both errors agree, and what is left
# has another cause: too short a training, or too small a network. More pairs would not help then.
#
# ## Motion it was not trained for
#
# All training pairs move by 0.7 to 1 times the phantoms' full amplitude. The same test patients, with that amplitude
# multiplied. **Where will the network leave the largest share of the motion? And what does it do to a patient who
# lies still?**

# %%
usual = phantoms.Motion()
factors = (0.0, 0.5, 1.0, 1.5, 2.0)
moved = {
    factor: [
        phantoms.make(
            "abdomen", shape, seed, motion=replace(usual, amplitude=tuple(factor * a for a in usual.amplitude))
        )
        for seed in range(9000, 9008)
    ]
    for factor in factors
}
rows = {}
for factor, pairs in moved.items():
    first = ask(networks[count], pairs)
    refined_u, *_ = optimise(*stack(pairs), pairs, first, steps=40)
    rows[factor] = error(still, pairs), error(first, pairs), error(refined_u, pairs)
    print(
        f"{factor:.1f} x amplitude: {rows[factor][0]:.2f} voxels, network leaves {rows[factor][1]:.2f}, "
        f"40 steps more {rows[factor][2]:.2f}"
    )

# %% mystnb={"image": {"alt": "Distance to the truth against the amplitude of the motion, before, after one pass, and after forty more steps. One pass adds a little motion where there is none, follows up to the amplitude of the training, and falls behind beyond it."}}
_, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
for column, (label, colour, line) in enumerate(
    (("unmoved", "grey", ":"), ("network", "#3952c5", "-"), ("network, then 40 steps", "#b70b60", "-"))
):
    ax.plot(factors, [rows[factor][column] for factor in factors], "o", linestyle=line, color=colour, label=label)
ax.axvline(1, color="#52d6ea", linewidth=6, alpha=0.4, zorder=0, label="as in training")
ax.set(xlabel="amplitude, as a factor of the training's", ylabel="voxels off")
ax.legend(fontsize=8)
plt.show()
share = {factor: rows[factor][1] / rows[factor][0] for factor in factors[1:]}
print("share that the network leaves:", ", ".join(f"{value:.0%} at {factor:g}" for factor, value in share.items()))
print(f"a patient who lies still is moved by {rows[0.0][1]:.2f} voxels on average")
assert share[2.0] > share[1.0]
assert rows[0.0][1] > 0

# %% [markdown]
# ## Limit cases
#
# Equal images. Demons found a zero difference and stayed at exactly zero. **And a network?**

# %%
same = networks[count](fixed, fixed).displacement.detach()
untrained = Network()(fixed, fixed).displacement.detach()
print(
    f"equal images: trained network {same.norm(dim=1).mean():.2f} voxels, untrained {untrained.norm(dim=1).mean():.2f}"
)
assert untrained.abs().max() == 0
assert same.abs().max() > 0

# %% [markdown]
# Nothing in its layers says that equal images mean no motion; it only saw pairs that moved. Chapter 10 builds a
# network that cannot invent motion, because a difference of features drives it.
#
# | fixed by a source (VoxelMorph: Dalca 2018, Balakrishnan 2019) | chosen here |
# |---|---|
# | a U-Net maps both images to a field, trained on similarity and smoothness, without true fields | local correlation with means over a window of 9, diffusion with weight 0.5 |
# | the trained network's field can be refined on the pair itself (instance optimisation) | Adam on the field, step 0.1, 40 and 200 steps |
# | it predicts a displacement (2019), or a velocity that is integrated (2018; MONAI's default) | our small network predicts the displacement itself |
# | the field starts near zero | it starts at exactly zero |
# | | both directions in a batch, the rate, number of pairs and steps |

# %% [markdown]
# ## Exercises
#
# **1.** With these seconds, how many pairs must be registered until training was cheaper than searching each of them?

# %%
costs = {"training": training_seconds, "network": timed["network"] / len(test), "search": timed["search"] / len(test)}
print(", ".join(f"{name}: {value:.4f} s" for name, value in costs.items()))
check("learning-pays", ..., **costs)

# %% [markdown]
# **2.** All weights of the last layer are zero. Which layers get a gradient in the very first step: "all", "last" or
# "none"?

# %%
check("learning-first-step", ...)

# %% [markdown]
# **3.** The network has as many weights as was printed above, a field two values per voxel. From how many pairs on
# are there more values to be found than weights to find them with?

# %%
check("learning-unknowns", ..., weights=weights, shape=shape)

# %% [markdown]
# **4.** Which of the trained networks overfits most? Answer with its number of training pairs.

# %%
check(
    "learning-overfit",
    ...,
    seen={n: seen[n] / unmoved[n] for n in seen},
    unseen={n: unseen[n] / before for n in unseen},
)

# %% [markdown]
# ## To remember
#
# * Search and network descend the same loss; one over the values of a field, the other over weights that pairs share.
# * Trained on one pair a network is a field. What it can do for the next patient shows on pairs that were kept out.
# * One pass, then a few steps: the network brings the start, the pair's own loss the rest.
# * A network answers within what it has seen. Larger motion is cut short, and stillness is not known to it.
