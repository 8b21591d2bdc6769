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
#       smoke_seconds: 55
#       full_seconds: 55
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # SHMoE: every voxel, every direction, its own mixture
#
# The decoder of SHMoAReg answers one question per voxel and *direction*: how far to move? Its experts are convolutions
# of different extent. A *router* scores them at each place; softmax makes *gates* of the scores (the *logits*), shares
# that add up to one, and with k = 2 only the two largest count (chapter 06). SHMoAReg's paper fixes that each voxel and
# each direction has its own mixture; the formulas are our instance. You will be able to
#
# * produce a task that one decision for all directions cannot solve, and mend it in three lines,
# * say how many more experts would have done instead, and tell missing routers from missing experts,
# * compute one voxel's step by hand, and build the layer so that it is cheap,
# * choose among three kinds of experts, and say why the one with the fewest products is not the fastest,
# * follow decisions of a trained network, and ask what its separate decisions are worth.
#
# The code is `moereg/nn/shmoe.py`.

# %%
import contextlib
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from moereg import experiments, metrics, models
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.nn.observe import find_routers, intervene
from moereg.nn.routing import choose
from moereg.nn.shmoe import ConvolutionExperts, SpatialHeterogeneousMoE
from moereg.viz.explorer import RouterSteps
from moereg.viz.figures import expert_legend, show_experts, show_image
from moereg.viz.palette import expert_colours

plt.rcParams["figure.dpi"] = 110
_ = torch.manual_seed(0)

# %% [markdown]
# ## From failure: one kernel for everything
#
# A toy in which the truth is known. The features are independent noise of variance one; the field has two directions, y
# (down) and x (right). In one half of the image it is the *mean* of the features over 7 × 7 voxels, in the other an
# *edge* filter of 3 × 3; three tasks differ in which half that is, for y and for x. As the noise is independent, a
# layer that uses kernel $K$ where $K^*$ is right has the mean squared error $\|K - K^*\|^2$: a distance between
# kernels. Both kernels are scaled to length one, and they are orthogonal.

# %%
size, seeds, steps = 16, 5, 600
halves = torch.linspace(-1, 1, size).sign()
# -1 in one half of the image, 1 in the other
down, right = torch.meshgrid(halves, halves, indexing="ij")
places = torch.stack([down, right, torch.ones_like(down)])  # what a router sees

mean = torch.full((7, 7), 1 / 7)
edge = F.pad(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]) - 1 / 9, [2] * 4)
edge = edge / edge.norm()
torch.testing.assert_close(mean.norm(), torch.tensor(1.0))
torch.testing.assert_close((mean * edge).sum(), torch.tensor(0.0))

# Where each task wants `edge` (1) and where `mean` (-1), for the directions y and x.
tasks = {"agree": (right, right), "opposed": (right, -right), "crossed": (down, right)}


def field(task, signal):
    """The field to learn, (batch, direction, y, x)."""
    kernels = torch.stack([mean, edge])[:, None]
    smooth, sharp = F.conv2d(signal, kernels, padding=3).unbind(1)
    wanted = [torch.where(half > 0, sharp, smooth) for half in tasks[task]]
    return torch.stack(wanted, 1)


# %% tags=["hide-input"] mystnb={"image": {"alt": "Three tasks in two rows, directions y and x. Agree: edge on the right half for both. Opposed: y wants edge on the right, x on the left. Crossed: y wants edge in the lower half, x in the right half."}}
figure, axes = plt.subplots(2, 3, figsize=(6, 4), layout="constrained")
for column, (task, wanted) in zip(axes.T, tasks.items(), strict=True):
    for ax, half, direction in zip(column, wanted, "yx", strict=True):
        picture = ax.imshow(half, cmap="cividis", vmin=-1, vmax=1)
        ax.set_title(f"{task}, {direction}", fontsize=9, loc="left")
        ax.set_axis_off()
bar = figure.colorbar(picture, ax=axes, ticks=[-1, 1], shrink=0.6)
bar.ax.set_yticklabels(["mean", "edge"])
plt.show()

# %% [markdown]
# A layer of $N$ experts makes a *proposal* for each direction and expert, a convolution of the features. A router gives
# gates that depend on the place, and the field is their sum. First the usual mixture: **one decision**, the same gates for
# y and x. Five seeds train at once, each with kernels and router of its own.


# %%
def one_decision(logits, proposals):
    """Logits (seed, N, y, x), proposals (batch, seed, direction, N, y, x)."""
    gates = logits.softmax(1)
    return (gates[:, None] * proposals).sum(3)


def learn(task, mix, extents, rows):
    """Train kernels and routers. Error after each step (step, seed); kernels."""
    draw, n = torch.Generator().manual_seed(0), len(extents)
    reach = [F.pad(torch.ones(e, e), [(7 - e) // 2] * 4) for e in extents]
    kernels = 0.1 * torch.randn(seeds, 2, n, 7, 7, generator=draw)
    router = 0.1 * torch.randn(seeds, rows, 3, generator=draw)
    learned = [kernels.requires_grad_(), router.requires_grad_()]
    optimiser = torch.optim.Adam(learned, 0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    errors = []
    for _ in range(steps):
        signal = torch.randn(8, 1, size, size, generator=draw)
        truth = field(task, signal)[:, None]
        flat = (kernels * torch.stack(reach)).reshape(-1, 1, 7, 7)
        proposals = F.conv2d(signal, flat, padding=3).view(8, seeds, 2, n, size, size)
        logits = torch.einsum("srf,fyx->sryx", router, places)
        error = (mix(logits, proposals) - truth).square().mean((0, 2, 3, 4))
        error = error / truth.square().mean()
        error.sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        decay.step()
        errors.append(error.detach())
    return torch.stack(errors), kernels.detach(), router.detach()


# %% [markdown]
# **Predict the errors, as a share of the field's mean square: one expert where directions agree; two; and two where
# they are crossed. Will more steps help?**


# %% tags=["hide-output"]
def late(run, at=steps):
    """Error of each seed, mean of the fifty steps before step `at`."""
    return run[0][at - 50 : at].mean(0)


def report(name, run):
    shown = [round(error, 3) for error in late(run).tolist()]
    print(f"{name:44} {shown}, half way {late(run, steps // 2).mean():.3f}")


runs = {
    "agree, one expert": learn("agree", one_decision, (7,), 1),
    "agree, two experts": learn("agree", one_decision, (7, 7), 2),
    "crossed, two experts": learn("crossed", one_decision, (7, 7), 2),
}
for name, run in runs.items():
    report(name, run)
single, two, crossed = (late(run) for run in runs.values())
assert (single - 0.5).abs().max() < 0.02
assert two.max() < 0.001
assert (crossed - 0.25).abs().max() < 0.02, "the same in all seeds"
assert late(runs["crossed, two experts"], steps // 2).min() > 0.23, "nor was it falling"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# One expert fails: the best single kernel lies half way between the two, and half of the field is lost. Two experts and
# one decision solve the task on which directions agree, exactly. On the crossed task the same layer stops at a quarter,
# whatever the seed, and it was there half way through: no want of steps.
#
# </details>
#
# ## Mended in three lines
#
# A quarter of the image wants *mean* for both directions, a quarter *edge* for both, and in the other two they differ.
# One set of gates over two experts cannot say that. So: a row of logits for each direction, a softmax for each, and
# each direction mixed with its own gates. The proposals stay as they are.


# %%
def per_direction(logits, proposals):
    """Logits (seed, 2 N, y, x), proposals (batch, seed, direction, N, y, x)."""
    logits = logits.unflatten(1, (2, -1))
    gates = logits.softmax(2)
    return (gates * proposals).sum(3)


mended = learn("crossed", per_direction, (7, 7), 4)
agree = learn("agree", per_direction, (7, 7), 4)
report("crossed, two experts, router per direction", mended)
report("agree, two experts, router per direction", agree)
assert late(mended).max() < 0.001
assert (late(agree) - two).abs().max() < 0.001, "the control"

# %% [markdown]
# ### Missing routers, or missing experts?
#
# *A first reading may leave this section out.*
#
# A tempting task for this chapter would have been *opposed*: where y wants the edge, x wants the mean. Directions want
# different things at *every* place. **Predict: does one decision fail there, with two experts of extent 3 and 7? And with two
# of extent 7?**

# %% tags=["hide-output"]
opposed = {
    "one decision, extents 3 and 7": learn("opposed", one_decision, (3, 7), 2),
    "one decision, extents 7 and 7": learn("opposed", one_decision, (7, 7), 2),
    "router per direction, extents 3 and 7": learn("opposed", per_direction, (3, 7), 4),
}
for name, run in opposed.items():
    report(name, run)
narrow, broad, apart = (late(run) for run in opposed.values())
assert narrow.min() > 0.15
assert broad.max() < 0.001
assert apart.max() < 0.001

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# With extents 3 and 7 one decision fails, and a router per direction does not. That is no proof that directions need
# routers: two experts of extent 7 solve the task with one decision, exactly. Expert A makes the mean for y and the edge
# for x, expert B the reverse; there are two kinds of place, and two experts. What was missing was an expert wide
# enough. A comparison in which one side lacks routers *and* something else shows nothing about routers.
#
# </details>
#
# ## How many experts would have done instead?
#
# Draw a layer's proposals as points: across what it proposes for x, from *mean* (0) to *edge* (1), upwards the same for
# y. The crossed task wants all four corners of a square. Gates are positive and add up to one, so one decision reaches
# what lies *between* its points: with two experts a segment, with three a triangle. No segment passes through four
# corners. The mean squared distance of the corners of a unit square from any line through its centre is 1/4 (a corner
# is $(\pm 1/2, \pm 1/2)$ from the centre; its distance from a line with unit normal $n$ is $(\pm n_1 \pm n_2)/2$,
# squared on average $(n_1^2 + n_2^2)/4$), and no line is nearer. The squared side is $\|K_1 - K_2\|^2 = 2$ and the
# field's mean square, over both directions, is 2 as well: an error of 1/4, the one above. But a triangle can *contain*
# a square. **Predict: is one decision with three experts enough?**

# %% tags=["hide-output"]
three = learn("crossed", one_decision, (7, 7, 7), 3)
report("crossed, three experts, one decision", three)
assert late(three).max() < 0.001

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three squares whose corners are what the crossed task wants. Left: two experts with one decision, a segment through the middle of the square. Middle: three experts, a triangle that contains all four corners. Right: two experts with a router per direction; their points are spread so that every corner lies between them along each axis."}}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
shown = {"two experts, one decision": runs["crossed, two experts"]}
shown |= {"three experts, one decision": three, "two, router per direction": mended}
for ax, (name, run) in zip(axes, shown.items(), strict=True):
    along = (edge - mean) / 2  # its product with a kernel: -1/2 for mean, 1/2 for edge
    points = torch.einsum("dnyx,yx->dn", run[1][0], along) + 0.5
    ax.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color="grey", linewidth=0.8)
    ax.plot([0, 0, 1, 1], [0, 1, 0, 1], "s", color="grey", label="wanted")
    y, x = points.tolist()
    if "router" in name:  # all combinations of one expert for y and one for x
        y, x = [y[0], y[0], y[1], y[1], y[0]], [x[0], x[1], x[1], x[0], x[0]]
    ax.plot([*x, x[0]], [*y, y[0]], "o-", color="black", label="experts, and between")
    ax.set(xlabel="x: mean 0, edge 1", ylabel="y: mean 0, edge 1", aspect="equal")
    ax.set_title(name, fontsize=9, loc="left")
names = axes[0].get_legend_handles_labels()
figure.legend(*names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Yes. So a router per direction does nothing that one decision could not do; it does it with fewer *experts*. With $N$
# kernels to choose from and $D$ directions, $N^D$ corners are wanted. One expert per voxel (k = 1) must stand on a
# corner: $N^D$ experts. Free mixtures of all experts need a simplex that contains the corners, in $D (N - 1)$
# dimensions: $D (N - 1) + 1$ experts. A router per direction needs $N$, and $D - 1$ more sets of router weights, which
# are small.
#
# </details>

# %%
print("kernels  directions   per direction   one, mixing   one, k = 1")
for kernels in (2, 4):
    for directions in (2, 3):
        mixing, single = directions * (kernels - 1) + 1, kernels**directions
        print(f"{kernels:7}{directions:12}{kernels:16}{mixing:14}{single:13}")

# %% [markdown]
# The k = 1 column by construction: an expert for each corner, chosen by its quadrant, leaves no error; and with one
# corner less the best that three points can do is to share one between two corners, half a side from each: 2/4 at two
# of four corners, over the field's 2, is an eighth.

# %%
signal = torch.randn(8, 1, size, size)
truth = field("crossed", signal)
pair = F.conv2d(signal, torch.stack([mean, edge])[:, None], padding=3)
corners = [(a, b) for a in (0, 1) for b in (0, 1)]  # kernel for y, kernel for x
proposals = torch.stack([pair[:, corner] for corner in corners], 2)[:, None]
quadrant = (down > 0).long() * 2 + (right > 0).long()
chosen = 50.0 * F.one_hot(quadrant, 4).permute(2, 0, 1)[None]
answer = one_decision(chosen, proposals)[:, 0]
torch.testing.assert_close(answer, truth)
shared = proposals.clone()
shared[:, :, :, :2] = proposals[:, :, :, :2].mean(3, keepdim=True)
answer = one_decision(chosen, shared)[:, 0]
lost = (answer - truth).square().mean() / truth.square().mean()
print(f"four experts: exact; three: {lost:.3f}")
assert abs(lost - 1 / 8) < 0.02

# %% [markdown]
# ## The layer
#
# In the network the features $h$ come from both images, the logits from the features, and the proposals from experts
# $E_e$ of extent 1, 3, 5, 7 and a readout $a_d$ for each direction:
#
# $$u_d(x) = \sum_e g_{d,e}(x)\; a_d \cdot E_e(h)(x), \qquad g_d = \text{rule}(\text{top-}k(\mathrm{softmax}(W_d\, h)))$$

# %% tags=["hide-input"]
boxes = {
    "moving\nfixed": (0, 2.1),
    "pyramid": (2.5, 2.1),
    "block": (5, 2.1),
    "router\n(D N, C)": (7.4, 3.5),
    "top-k, rule": (10.2, 3.5),
    "experts\n1, 3, 5, 7": (7.4, 0.7),
    "readout\n(D, C)": (10.2, 0.7),
    "× and Σ\nover N": (12.5, 2.1),
    "compose": (16, 2.1),
}
arrows = {
    (0, 2.1, 2.5, 2.1): "images\n(B, 1, S)",
    (2.5, 2.1, 5, 2.1): "tokens\n(B, C, S/s)",
    (5, 2.1, 7.4, 3.5): "h (B, C, S/s)",
    (5, 2.1, 7.4, 0.7): "h",
    (7.4, 3.5, 10.2, 3.5): "logits\n(B, D, N, S/s)",
    (7.4, 0.7, 10.2, 0.7): "N maps\n(B, C, S/s)",
    (10.2, 3.5, 12.5, 2.1): "gates\n(B, D, N, S/s)",
    (10.2, 0.7, 12.5, 2.1): "proposals\n(B, D, N, S/s)",
    (12.5, 2.1, 16, 2.1): "residual r\n(B, D, S/s)",
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram. Moving and fixed image, B by 1 by S, go through a pyramid encoder to tokens of C channels per level; moving ones are warped by the field so far. A block makes features h of them, B by C by S. Two paths leave h: a router, D by N logits per voxel, top-k, gates of shape B by D by N by S; and N experts of extent 1, 3, 5 and 7, N maps of C channels, read out by D rows to proposals, B by D by N by S. Gates times proposals, summed over N, are the residual field r, B by D by S, which is composed with the field so far."}}
figure, ax = plt.subplots(figsize=(10.5, 3.9))
frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
style = {"ha": "center", "va": "center", "fontsize": 8.5}
for text, (x, y) in boxes.items():
    ax.text(x, y, text, bbox=frame, **style)
for (x0, y0, x1, y1), text in arrows.items():
    tip = {"arrowstyle": "->", "shrinkA": 34, "shrinkB": 34}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=tip)
    side = 0 if y0 == y1 else 1.35 if x0 > 8 else -0.9
    up = 0.55 if y0 == y1 else 0
    ax.text((x0 + x1) / 2 + side, (y0 + y1) / 2 + up, text, **style)
ax.set(xlim=(-0.8, 17), ylim=(0.1, 4.2))
ax.set_axis_off()
plt.show()

# %% [markdown]
# One voxel by hand, in a row of five with one feature: $h = (1, 3, 9, 0, 2)$. The experts are means over 1, 3 and 5 voxels, the
# readouts $a_y = 1/5$ and $a_x = -2/5$, k = 2.
#
# | | extent 1 | extent 3 | extent 5 |
# |---|---|---|---|
# | $E_e(h)$ in the middle | 9 | (3 + 9 + 0)/3 = 4 | 15/5 = 3 |
# | probabilities for y | 6/10 | 2/10 | 2/10 − a hair |
# | gates for y, chosen over their sum | 3/4 | 1/4 | 0 |
# | probabilities for x | 2/10 | 4/10 | 4/10 |
# | gates for x | 0 | 1/2 | 1/2 |
#
# $u_y = 1/5\,(3/4 \cdot 9 + 1/4 \cdot 4) = 1.55$ and $u_x = -2/5\,(1/2 \cdot 4 + 1/2 \cdot 3) = -1.4$. The experts were
# evaluated once, for both directions; one direction looks closely, the other takes the wide view.

# %%
row = torch.tensor([1.0, 3, 9, 0, 2])
maps = torch.stack([row[2 - reach : 3 + reach].mean() for reach in (0, 1, 2)])
likely = torch.tensor([[0.6, 0.2, 0.2 - 1e-6], [0.2, 0.4, 0.4]])
gates, _ = choose(likely.log()[None, :, :, None], 2, "renormalised")
by_hand = torch.tensor([0.2, -0.4]) * (gates[0, :, :, 0] @ maps)
torch.testing.assert_close(by_hand, torch.tensor([1.55, -1.4]))

# %% [markdown]
# The toy was this layer. With expert *e* holding the learned kernels of both directions in its channels, and a readout that
# takes channel *d* for direction *d*, the library's layer gives the same field.

# %%
wide = {"out_channels": 2, "kernel_sizes": (7, 7), "kind": "full"}
layer = SpatialHeterogeneousMoE(4, dims=2, k=2, gate="soft", **wide)
_, kernels, router = mended
with torch.no_grad():
    for e, convolution in enumerate(layer.experts.convolutions):
        convolution.weight.zero_()
        convolution.weight[:, 0] = kernels[0, :, e]
        convolution.bias.zero_()
    layer.readout.copy_(torch.eye(2))
    layer.router.weight.copy_(F.pad(router[0], (1, 0)))  # the signal is not routed by
    seen = torch.cat([signal, places.expand(8, -1, -1, -1)], 1)
    given, routing = layer(seen)
error = (given - truth).square().mean() / truth.square().mean()
print(f"error of the library's layer with the learned kernels: {error:.4f}")
assert error < 0.001

# %% mystnb={"image": {"alt": "Gates of the first expert on the crossed task, from dark 0 to bright 1: for direction y they divide the image into an upper and a lower half, for x into a left and a right half."}}
figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.8), layout="constrained")
for r, (ax, name) in enumerate(zip(axes, routing.routers, strict=True)):
    picture = ax.imshow(routing.gates[0, r, 0], cmap="viridis", vmin=0, vmax=1)
    ax.set_title(f"gate of expert 0, {name}", fontsize=9, loc="left")
    ax.set_axis_off()
figure.colorbar(picture, ax=axes, shrink=0.8, label="gate")
plt.show()
halves_apart = [(g[0, :8] - g[0, 8:]).abs().mean() for g in routing.gates[0]]
sides_apart = [(g[0, :, :8] - g[0, :, 8:]).abs().mean() for g in routing.gates[0]]
assert halves_apart[0] > 0.3 > 0.01 > halves_apart[1]
assert sides_apart[1] > 0.3 > 0.01 > sides_apart[0]

# %% [markdown]
# ## Cheap: share, read first, fold
#
# Written down as it is said, the layer evaluates $N$ experts for each of $D$ directions, mixes $D$ times $C$ channels, and
# reads. **First**: the experts do not depend on the direction; evaluate each once. **Second**: the readout is linear and may
# come before the gates, $a_d \cdot \sum_e g_{d,e} E_e = \sum_e g_{d,e}\,(a_d \cdot E_e)$; the mixtures are never made.
# **Third**: it may go into the kernel, $a_d \cdot (W_e * h) = (a_d W_e) * h$, with $D$ outputs in place of $C$.

# %%
layer = SpatialHeterogeneousMoE(4, dims=2, kind="full", k=2)
features = torch.randn(1, 4, 20, 20)
routing = layer.router(features)
naive = []
for direction in range(2):
    gates = routing.gates[:, direction, :, None]
    maps = [convolve(features) for convolve in layer.experts.convolutions]  # again
    naive.append((torch.stack(maps, 1) * gates).sum(1))
naive = torch.einsum("dc,bdcyx->bdyx", layer.readout, torch.stack(naive, 1))

maps = layer.experts(features)  # first: once
read = [torch.einsum("dc,bcyx->bdyx", layer.readout, one) for one in maps]  # second
folded = layer.experts.read(features, layer.readout)  # third
close = {"rtol": 1e-4, "atol": 1e-6}
for proposals in (read, folded):
    given = (routing.gates * torch.stack(proposals, 2)).sum(2)
    torch.testing.assert_close(given, naive, **close)
torch.testing.assert_close(layer(features)[0], naive, **close)

# %% [markdown]
# Limit cases: one expert is a plain convolution; equal gates give the mean of the experts.

# %%
single = SpatialHeterogeneousMoE(4, dims=2, kernel_sizes=(3,), k=1)
weight, bias = single.experts.parameters()
for mixed in single.mixture(features)[0].unbind(1):
    torch.testing.assert_close(mixed, F.conv2d(features, weight, bias, padding=1))
even = SpatialHeterogeneousMoE(4, dims=2, gate="soft")
torch.nn.init.zeros_(even.router.weight)
mean_of_maps = torch.stack(even.experts(features)).mean(0)
for mixed in even.mixture(features)[0].unbind(1):
    torch.testing.assert_close(mixed, mean_of_maps)

# %% [markdown]
# ## Three kinds of experts
#
# *Full*: a dense kernel for each pair of channels. *Separable*: one kernel per channel, then a mix of channels.
# *Nested*: a chain of $3^D$ kernels without activation; the first link is the expert of extent 3, the second makes it
# 5, the third 7. What each kind can *be*: the answer to one bright voxel.

# %% mystnb={"image": {"alt": "Responses of untrained experts to one bright voxel, three rows for full, nested and separable experts, four columns for extents 1, 3, 5 and 7: in every row each expert fills a square of its own extent and nothing outside of it."}}
bright = F.pad(torch.ones(1, 1, 1, 1), [7] * 4)
figure, axes = plt.subplots(3, 4, figsize=(7, 5.6), layout="constrained")
for line, kind in zip(axes, ("full", "nested", "separable"), strict=True):
    experts = ConvolutionExperts(1, 1, dims=2, kernel_sizes=(1, 3, 5, 7), kind=kind)
    with torch.no_grad():
        lit, dark = experts(bright), experts(torch.zeros_like(bright))
    colours = expert_colours(experts.names)
    names = experts.names
    for ax, a, b, name, colour in zip(line, lit, dark, names, colours, strict=True):
        response = (a - b)[0, 0] / (a - b).abs().max()
        picture = ax.imshow(response, cmap="RdBu", vmin=-1, vmax=1)
        extent = int(name[0])
        corner = (7 - extent / 2, 7 - extent / 2)
        square = plt.Rectangle(corner, extent, extent, fill=False, color=colour, lw=2)
        ax.add_patch(square)
        ax.set_title(f"{kind}, {name}", fontsize=9, loc="left")
        ax.set_axis_off()
        outside = response.clone()
        side = slice(7 - extent // 2, 8 + extent // 2)
        outside[side, side] = 0
        assert outside.abs().max() < 1e-6
figure.colorbar(picture, ax=axes, label="response over its largest", shrink=0.6)
plt.show()

# %% [markdown]
# Is a chain of two links *one* kernel of extent 5? Its kernel is the convolution of the two. **Predict: equal everywhere?**

# %% tags=["hide-output"]
one, other = torch.randn(3, 2, 3, 3).double(), torch.randn(2, 3, 3, 3).double()
image = torch.randn(1, 2, 12, 12).double()
chain = F.conv2d(F.conv2d(image, one, padding=1), other, padding=1)
# (other * one)[o, i] sums over the channel between; one of two is flipped
taps = F.conv2d(one.transpose(0, 1), other.flip(2, 3), padding=2).transpose(0, 1)
whole = F.conv2d(image, taps, padding=2)
apart = (chain - whole).abs().amax((0, 1))
inside = apart[1:-1, 1:-1].max()
print(f"outermost voxels differ by up to {apart.max():.2f}, others by less than 1e-12")
assert inside < 1e-12
assert apart[0].max() > 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Inside yes, to the last digits. In the outermost voxels no: the chain pads its map *between* the links with zeros,
# where the single kernel sees the image's border only once. So *nested* has less freedom than *full* (each expert is
# built on the narrower one) and other borders.
#
# </details>
#
# ### What they cost
#
# *A first reading may leave this section out.*
#
# Products per voxel, counted, for 16 channels in three dimensions: as experts alone, and as the layer computes them,
# with the readout in the kernels. Beside it the milliseconds of a recorded run of `make bench`, forward and backward,
# 48³ voxels, on the machine that its page names, and the nanoseconds that a thousand products took. **Which kind has
# the fewest products? And which was fastest?**

# %% tags=["hide-output"]
bench = Path("../tests/bench/README.md").read_text()
volume, counted = torch.randn(2, 16, 12, 12, 12), {}
print("           weights   products: experts   in the layer   recorded ms   ns/1000")
for kind in ("full", "nested", "separable"):
    layer = SpatialHeterogeneousMoE(16, dims=3, kind=kind)
    counts = []
    for compute in (layer.experts, layer.proposals):
        with FlopCounterMode(display=False) as counter:
            compute(volume)
        counts.append(counter.get_total_flops() / 2 / (2 * 12**3))
    row = rf"SHMoE, {kind} kernels[^|]*, 48\^3 \| naive[^|]*\|([^|]*)\|([^|]*)\|"
    ((found, naive_found),) = re.findall(row, bench)
    weights = sum(p.numel() for p in layer.experts.parameters())
    per_product = float(found) * 1e6 / 48**3 / counts[1] * 1000
    counted[kind] = (*counts, float(found), per_product)
    assert float(naive_found) > 2.5 * float(found)
    print(f"{kind:10}{weights:8}{counts[0]:20.0f}{counts[1]:15.0f}", end="")
    print(f"{float(found):14.0f}{per_product:10.1f}")
full, nested, separable = counted.values()
print(f"full over nested, in the layer: products {full[1] / nested[1]:.2f}, ", end="")
print(f"milliseconds {full[2] / nested[2]:.2f}")
print("the naive layer, full kernels, milliseconds:", naive_found.strip())
assert separable[1] < nested[1] < full[1]
assert nested[2] < full[2] < separable[2]
assert separable[3] > 3 * max(full[3], nested[3])

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# *Separable* has by far the fewest products and was the slowest. Two reasons, both in the table. Folding the readout in
# helps full kernels most, because all of their outputs become $D$ instead of $C$; separable ones must still spread over all
# $C$ channels. And a product is not a product: those of separable kernels take several times as long as the others, those of
# full kernels with three outputs longer than those of nested links with all 16. The likely reason is memory, which was not
# measured: a kernel that works on one channel alone reuses nothing that it has read. Against the *naive* layer, which
# evaluates everything three times with all channels, each of the three is several times as fast: whoever compares with
# that alone calls separable fast.
#
# </details>
#
# And in accuracy? `make experiments` trained each kind with three seeds, flat and in volumes. **Which would you take?**

# %% tags=["hide-output"]
record = recorded("kinds")
rows, (protocol,) = record.finding.rows, record.protocols
print(f"{protocol['training']['steps']} steps, {len(protocol['seeds'])} seeds")
flat, deep = dict.fromkeys(row["task"] for row in rows)
judged = {}
for task in (flat, deep):
    for kind in ("full", "separable"):
        for key in ("dice", "epe"):
            two = ({"task": task, "variant": name} for name in (kind, "nested"))
            effect = experiments.effect_between(rows, *two, key)
            judged[task, kind, key] = effect.judged(key)
            shown = f"{effect.text():26} {effect.judged(key)}"
            print(f"{task}: {kind:9} - nested, {key:4} {shown}")
assert judged[deep, "full", "dice"] == judged[deep, "full", "epe"] == "not told apart"
assert judged[deep, "separable", "epe"] == "worse"
assert judged[flat, "full", "dice"] == "better"

# %% mystnb={"image": {"alt": "Dice and endpoint error of networks with nested, full and separable experts, one dot per seed, on flat images and in volumes; in volumes nested and full overlap."}}
figure, axes = plt.subplots(2, 2, figsize=(8.5, 3.6), layout="constrained", sharey=True)
for line, task in zip(axes, (flat, deep), strict=True):
    for ax, key in zip(line, ("dice", "epe"), strict=True):
        for place, kind in enumerate(("nested", "full", "separable")):
            chosen = [r[key] for r in rows if (r["task"], r["variant"]) == (task, kind)]
            ax.plot(chosen, [place] * len(chosen), "o", color="black", alpha=0.6)
        ax.set_title(task, fontsize=9, loc="left")
        ax.locator_params(axis="x", nbins=4)
        title = "Dice" if key == "dice" else "endpoint error, voxels"
        ax.set(ylim=(2.5, -0.5), xlabel=title)
    line[0].set_yticks(range(3), ["nested", "full", "separable"])
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# On flat images full kernels are a little better than nested in Dice, and there they are affordable. In volumes, where
# they take several times as long as nested ones, nothing tells the two apart, while separable is worse in endpoint
# error. Hence the default. These are short trainings: longer ones may judge otherwise.
#
# </details>
#
# ## In a trained network
#
# `abdomen-flat` (chapter 09 describes it) has this layer at three levels: `decoder.2` decides on every eighth voxel,
# `decoder.1` on every fourth, `decoder.0` on every second. Do the directions decide apart?

# %%
network = models.load_model("abdomen-flat")
test = [phantoms.make("abdomen", (64, 64), seed) for seed in range(9000, 9012)]
pair = test[0]  # none of them among the training pairs
with torch.no_grad():
    found = network(pair.moving[None], pair.fixed[None]).routing
levels = [found[f"decoder.{level}.shmoe"] for level in (2, 1, 0)]
for layer in levels:
    first = layer.first()[0]
    same = (first[0] == first[1]).float().mean().item()
    chance = (layer.load()[0] * layer.load()[1]).sum().item()
    size_of_steps = layer.contributions[0].sum(1).square().mean((1, 2)).sqrt()
    print(f"{layer.name}: y and x choose the same in {same:.0%} of voxels", end="")
    shown = [round(s, 3) for s in size_of_steps.tolist()]
    print(f" (by chance {chance:.0%}); steps y, x {shown}")

# %% mystnb={"image": {"alt": "Fixed image and maps of the expert with the largest gate at the three decoder levels, above for direction y, below for x: the maps of y and x differ at every level."}}
figure, axes = plt.subplots(2, 4, figsize=(9.5, 5.2))
for line, r, direction in zip(axes, (0, 1), "yx", strict=True):
    show_image(line[0], pair.fixed[0], title=f"fixed; experts for {direction}:")
    for ax, layer in zip(line[1:], levels, strict=True):
        show_experts(ax, layer, router=r, title=layer.name)
expert_legend(figure, levels[0].experts)
plt.show()


# %% [markdown]
# At the coarsest level y and x never agree; whole rows choose alike, and steps along x are next to nothing. At the
# other two they agree more often than by chance, and differ in most voxels.
#
# ### Three decisions, step by step


# %%
def station(level, voxel, direction):
    """Own gates, the other direction's gates, proposals, at a voxel of the image."""
    layer = found[f"decoder.{level}.shmoe"]
    r = layer.routers.index(direction)
    at = (slice(None), *(v // layer.stride for v in voxel))
    return layer.gates[0, r][at], layer.gates[0, 1 - r][at], layer.proposals[0, r][at]


stations = {1: (1, (32, 20), "y"), 2: (2, (32, 48), "x"), 3: (0, (40, 20), "y")}
for number, (level, voxel, direction) in stations.items():
    own, others, proposals = station(level, voxel, direction)
    organ = pair.label_names.get(int(pair.fixed_labels[0][voxel]), "no organ")
    print(f"{number}: decoder.{level}, {voxel}, {direction}, {organ}")
    said = {"own gates": own, "other's": others, "proposals": proposals}
    for name, values in said.items():
        print(f"   {name:10}", [round(v, 2) for v in values.tolist()])
    print(f"   step {own @ proposals:+.2f}, with other's {others @ proposals:+.2f}")

# %% [markdown]
# **Station 1: the right kidney, (32, 20), level 1, direction y.** Press play, and stop at *Proposals*. The narrowest
# expert proposes a step up, all others a step down; the router of y takes one of the others, the router of x (at the
# same place) the narrowest. With the decision of x, direction y would go the other way.

# %%
own, others, proposals = station(1, (32, 20), "y")
assert own.argmax() == 1
assert others.argmax() == 0
assert (own @ proposals) > 0 > (others @ proposals)
RouterSteps(network, pair, layer="decoder.1.shmoe", voxel=(32, 20), direction="y")

# %% [markdown]
# **Station 2: the left kidney, (32, 48), level 2, direction x.** The router is certain again. Look at the proposals:
# none of them reaches a thirtieth of a voxel of this level. Here the network moves along y only; whatever this router
# says changes next to nothing. A sure router is no evidence that its decision matters.

# %%
own, others, proposals = station(2, (32, 48), "x")
assert own.max() > 0.99
assert proposals.abs().max() < 1 / 30
RouterSteps(network, pair, layer="decoder.2.shmoe", voxel=(32, 48), direction="x")

# %% [markdown]
# **Station 3: the right kidney's lower edge, (40, 20), level 0, direction y.** All experts point the same way, the
# largest proposal twice as far as the smallest. The router of x has chosen just the expert with the largest proposal
# for y. The gate sets the length of the step here, not its sign.

# %%
own, others, proposals = station(0, (40, 20), "y")
assert proposals.max() < 0
assert others.argmax() == proposals.abs().argmax() != own.argmax()
assert proposals.abs().max() > 1.9 * proposals.abs().min()
RouterSteps(network, pair, layer="decoder.0.shmoe", voxel=(40, 20), direction="y")

# %% [markdown]
# With a kernel, `steps = RouterSteps(...)` and `steps.voxel = (row, column)` or `steps.direction = "x"` walk through
# any other decision.
#
# ### What are the separate decisions worth?
#
# Over twelve pairs, at all levels: exchange the directions' gates; give y's to both; give x's to both. Controls:
# uniform gates, and the network's own decisions dealt out to other places (three seeds). Then the same at one level
# alone. **Predict the order. And at which level will the exchange cost most?**


# %%
def take(*order):
    """Gates of these directions in place of y's and x's."""
    order = list(order)

    def change(routing):
        gates, chosen = routing.gates[:, order], routing.indices[:, order]
        return replace(routing, gates=gates, indices=chosen)

    return change


def alike(routing):
    gates, chosen = choose(routing.logits, len(routing.experts), "uniform")
    return replace(routing, gates=gates, indices=chosen)


def shuffled(seed):
    def change(routing):
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(routing.gates[0, 0, 0].numel(), generator=draw)
        both = [routing.gates, routing.indices]
        gates, chosen = (t.flatten(3)[..., order].reshape(t.shape) for t in both)
        return replace(routing, gates=gates, indices=chosen)

    return change


# %% tags=["hide-output"]
routers = [r for n, r in find_routers(network).items() if n.startswith("decoder")]


def errors(change=None, at=routers):
    """Endpoint error of every test pair, with decisions of these routers changed."""
    changes = intervene(dict.fromkeys(at, change))
    with changes if change else contextlib.nullcontext():
        row = metrics.evaluate({"one": network}, test, surfaces=False)["one"]
    return [one["epe"] for one in row["pairs"]]


complete = errors()
print(f"complete: endpoint error {sum(complete) / len(complete):.3f} voxels")
draws = {"y's for both": [take(0, 0)], "uniform": [alike]}
draws["places shuffled"] = [shuffled(seed) for seed in range(3)]
draws |= {"x's for both": [take(1, 1)], "exchanged": [take(1, 0)]}
cost, of_pair = {}, {}
for name, changes in draws.items():
    values = torch.tensor([errors(change) for change in changes])
    of_pair[name] = values.mean(0)
    cost[name] = metrics.paired_effect(values.mean(0), complete)
    seeds_of = [round(v, 2) for v in values.mean(1).tolist()]
    said = f"{cost[name].text()}  {cost[name].judged('epe')}"
    print(f"{name:16} {said}, by seed {seeds_of}")
assert cost["exchanged"].low > 0 < cost["x's for both"].low
others = [effect.low for name, effect in cost.items() if name != "y's for both"]
assert cost["y's for both"].high < min(others)
for name in ("x's for both", "exchanged"):
    worse = metrics.paired_effect(of_pair[name], of_pair["places shuffled"])
    assert worse.low > 0, "worse than decisions from other places"

# %% tags=["hide-output"]
at_level, exchanges = {}, ("y's for both", "x's for both", "exchanged")
for layer in levels:
    router = find_routers(network)[layer.name]
    for name in exchanges:
        effect = metrics.paired_effect(errors(draws[name][0], [router]), complete)
        at_level[layer.name, name] = effect
        print(f"{layer.name}, {name:13} {effect.text()}")
coarse, fine = (at_level[f"decoder.{n}.shmoe", "exchanged"] for n in (2, 0))
assert coarse.low > 10 * fine.mean
assert at_level["decoder.2.shmoe", "y's for both"].high < 0.01
assert fine.high < 0.1 * sum(complete) / len(complete)

# %% mystnb={"image": {"alt": "Dots with intervals: change of the endpoint error. Giving y's gates to both directions costs next to nothing, uniform gates and shuffled places more, x's gates for both and exchanged gates most."}}
_, ax = plt.subplots(figsize=(6.5, 2.4), layout="constrained")
for place, effect in enumerate(cost.values()):
    reach = [[effect.mean - effect.low], [effect.high - effect.mean]]
    ax.errorbar(effect.mean, place, xerr=reach, fmt="o", color="black", capsize=3)
ax.axvline(0, color="grey", linewidth=0.8)
ax.set_yticks(range(len(cost)), list(cost))
ax.invert_yaxis()
ax.set_xlabel("change of the endpoint error, voxels (more is worse)")
plt.show()
order = [effect.mean for effect in cost.values()]
assert order[0] == min(order)
assert max(order[3:]) == max(order)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The directions do decide differently: with exchanged gates the network is lost, worse than with decisions from other
# places. But look at *y's for both*: one decision serves both directions nearly as well as two. And level by level,
# most of the loss is at the coarsest, where y takes large steps and x hardly any: there only y's decision matters, and
# x may have any. At the finest level, where both directions move, it costs a few hundredths of a voxel to exchange
# them. This network *uses* the freedom and hardly *relies* on it. Whether networks trained with one decision come out
# worse, chapter 09 asks: the toy shows that they need not, as long as there are experts to spare.
#
# </details>
#
# | fixed by the paper | chosen here |
# |---|---|
# | experts of varying kernel size, per voxel, per direction, in several decoder layers | extents 1, 3, 5, 7; k = 2 |
# | | experts shared by the directions, one router each; a linear readout |
# | | `nested` as the default kind |
#
# ## Exercises
#
# **1.** Write the nested chain: features `(B, C, *S)`, one kernel `(L, C, C, 3, 3)` or `(L, C, C, 3, 3, 3)` and one bias `(L, C)`
# per link. Return L maps of the features' size, extent 3 first.


# %% tags=["solution"]
def nested_chain(features, weights, biases):
    """A list of L maps (B, C, *S): link after link, no activation."""
    convolve = {4: F.conv2d, 5: F.conv3d}[features.dim()]
    maps = []
    for weight, bias in zip(weights, biases, strict=True):
        features = convolve(features, weight, bias, padding=1)
        maps.append(features)
    return maps


# %% tags=["hide-output"]
check("shmoe-nested", nested_chain)

# %% [markdown]
# **2.** Write the layer behind its experts: maps `(B, N, C, *S)`, logits `(B, D, N, *S)`, readout `(D, C)`, and k. The gates are the
# softmax of the k chosen logits.


# %% tags=["solution"]
def displacement_of(maps, logits, readout, k):
    """(B, D, *S): for each direction its own k experts, its own row of the readout."""
    scores, chosen = logits.topk(k, dim=2)
    gates = torch.zeros_like(logits).scatter(2, chosen, scores.softmax(2))
    proposals = torch.einsum("dc,bnc...->bdn...", readout, maps)
    return (gates * proposals).sum(2)


# %% tags=["hide-output"]
check("shmoe-directions", displacement_of)

# %% [markdown]
# **3.** Fold a readout `(D, C)` into a convolution: kernel `(C, I, ...)` and bias `(C,)` become kernel `(D, I, ...)` and bias `(D,)`.


# %% tags=["solution"]
def folded_kernel(weight, bias, readout):
    """Kernel and bias of readout times convolution."""
    return torch.einsum("dc,ci...->di...", readout, weight), readout @ bias


# %% tags=["hide-output"]
check("shmoe-fold", folded_kernel)

# %% [markdown]
# **4.** Full kernels of 1, 3, 5, 7 in 3-D against the nested chain: how many times the products, of the experts alone?

# %% tags=["solution"]
check("shmoe-cost", 496 / 82)

# %% [markdown]
# **5.** Five convolutions of extent 3 in a row, without activation: the extent of the kernel that they make?

# %% tags=["solution"]
check("shmoe-extent", 11)

# %% [markdown]
# **6.** Two experts are chosen with gates 0.3 and 0.7; of the four proposals 0.5, −1, 2, 0.25 the chosen are the first and the last. The
# step of this direction?

# %% tags=["solution"]
check("shmoe-voxel", 0.325, gates=[0.3, 0, 0, 0.7], proposals=[0.5, -1, 2, 0.25])

# %% [markdown]
# ## To remember
#
# * A router per direction is N experts doing the work of up to $N^D$. It is a saving of experts, not a thing that only it can do.
# * Before you credit routers, give the other side the same experts.
# * Experts are evaluated once for all directions; only gates and readouts belong to one. Contributions add up to the step.
# * Fewest products is not fastest.
# * That a network uses a freedom does not show that it relies on it, nor that it needs it.
