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
#       smoke_seconds: 45
#       full_seconds: 120
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # SHMoE: every voxel, every direction, its own mixture
#
# You will be able to
#
# * build the layer from convolutions of different extent, the naive way, and check the library's against it,
# * say why experts can be shared by all directions, and what that saves,
# * choose among three kinds of experts,
# * see routing per direction at work on a task where it must matter, and on one where it must not.
#
# The code is `moereg/nn/shmoe.py`. The paper (SHMoAReg) fixes *what* is routed; the formulas are our instance.

# %%
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from ipywidgets import interact

from moereg import models, viz
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.experiments import effect_between
from moereg.nn.shmoe import ConvolutionExperts, SpatialHeterogeneousMoE
from moereg.training import TrainingConfig, fit
from moereg.viz.explorer import RouterSteps
from moereg.viz.figures import expert_legend, show_experts
from moereg.viz.palette import expert_colours

budget = Budget.from_env()
torch.manual_seed(0)
features = torch.randn(1, 4, 20, 20)

# %% [markdown]
# ## The naive layer
#
# For each direction d and expert e a convolution of extent 1, 3, 5 or 7; gates from a router per direction; a weighted
# sum. That is what the words of the paper say, written down. **Count the convolutions in 3-D.**

# %%
layer = SpatialHeterogeneousMoE(4, dims=2, kind="full", k=2)
routing = layer.router(features)
naive = []
for direction in range(2):
    outputs = torch.stack(
        [convolve(features) for convolve in layer.experts.convolutions], 1
    )  # again for each direction
    naive.append((outputs * routing.gates[:, direction, :, None]).sum(1))
naive = torch.stack(naive, 1)
print("mixtures", tuple(naive.shape), "= (batch, directions, channels, rows, columns)")

# %% [markdown]
# The experts do not depend on the direction, so each is evaluated once. And the readout that turns a mixture into a
# displacement is linear: it may come before the gates, so that the D mixtures of C channels need never be stored.
#
# $$u_d = a_d \cdot \sum_e g_{d,e} E_e = \sum_e g_{d,e}\,(a_d \cdot E_e)$$

# %%
mixture, _ = layer.mixture(features)
displacement, routing = layer(features)
torch.testing.assert_close(mixture, naive, rtol=1e-4, atol=1e-5)
torch.testing.assert_close(displacement, torch.einsum("dc,bdcyx->bdyx", layer.readout, naive), rtol=1e-4, atol=1e-5)
torch.testing.assert_close(displacement, routing.contributions.sum(2))

# %% [markdown]
# A linear readout can even go *into* the kernel: $a_d \cdot (W_e * h) = (a_d W_e) * h$ has one output per direction
# instead of C channels. **How many maps does each form have to store at full resolution, with C = 16, four experts and
# three directions?**

# %%
read = layer.experts.read(features, layer.readout)
plain = [torch.einsum("dc,bcyx->bdyx", layer.readout, expert) for expert in layer.experts(features)]
for folded, expert in zip(read, plain, strict=True):
    torch.testing.assert_close(folded, expert, rtol=1e-4, atol=1e-5)

C, E, D = 16, 4, 3
print(f"naive: {D * E} experts' and {D} mixtures' maps of {C} channels: {(D * E + D) * C} maps")
print(f"shared experts, mixed, then read: {(E + D) * C} maps;  read in the kernels: {D * E} maps")

# %% [markdown]
# `make bench` measures what this is worth in volumes, forward and backward, against the naive form:

# %%
table = Path("../tests/bench/README.md").read_text()
rows = [line for line in table.splitlines() if "SHMoE" in line or line.startswith(("| operation", "|---"))]
heads = [number for number, line in enumerate(rows) if line.startswith("| operation")]
display(Markdown("\n".join(rows[: heads[1]])), Markdown("\n".join(rows[heads[1] :])))

# %% [markdown]
# ## Limit cases
#
# One expert is a plain convolution. Equal gates give the mean of the experts. Equal experts make the gates irrelevant.

# %%
single = SpatialHeterogeneousMoE(4, dims=2, kernel_sizes=(3,), k=1)
(weight, bias) = list(single.experts.parameters())
for mixed in single.mixture(features)[0].unbind(1):
    torch.testing.assert_close(mixed, F.conv2d(features, weight, bias, padding=1))

even = SpatialHeterogeneousMoE(4, dims=2, gate="soft")
torch.nn.init.zeros_(even.router.weight)
mean = torch.stack(even.experts(features)).mean(0)
for mixed in even.mixture(features)[0].unbind(1):
    torch.testing.assert_close(mixed, mean)

# %% [markdown]
# ## Three kinds of experts
#
# A dense 7³ kernel has 343 weights for each pair of channels. A *nested* chain of 3³ convolutions reaches as far: the
# first link is the expert of extent 3, the second makes it 5, the third 7. *Separable* experts filter each channel by
# itself and mix channels afterwards. **Which will be fastest in 3-D?**

# %%
volume = torch.randn(2, 16, *budget.pick(smoke=(24, 24, 24), full=(48, 48, 48)))
for kind in ("full", "nested", "separable"):
    experts = ConvolutionExperts(16, 16, dims=3, kernel_sizes=(1, 3, 5, 7), kind=kind)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        sum(output.square().mean() for output in experts(volume)).backward()
        took.append(time.perf_counter() - began)
    parameters = sum(parameter.numel() for parameter in experts.parameters())
    reference = min(took) if kind == "full" else reference
    print(f"{kind:10} {parameters:7} parameters   {min(took) / reference:.2f} of the time of full kernels")

# %% [markdown]
# And what does a cheaper kind cost in accuracy? Three seeds each, flat images and volumes (`make experiments`):

# %% mystnb={"image": {"alt": "Dice and endpoint error of networks with nested, full and separable experts, one dot per seed, on images and on volumes."}}
kinds = recorded("kinds").finding
display(Markdown(kinds.sentence), viz.draw(kinds))

# %% [markdown]
# Nested is the default: in volumes, where full kernels are expensive, three seeds cannot tell it from them.

# %%
at = {"task": "breathing, 32^3"}
effect = effect_between(kinds.rows, at | {"variant": "full"}, at | {"variant": "nested"})
print(f"full - nested, Dice: {effect.text()}, {effect.direction}")
assert effect.direction != "higher", "else the default would have to be another one"

# %% [markdown]
# What each kind can *be*: the response of every expert to one bright voxel. The squares show how far each one reaches.

# %% mystnb={"image": {"alt": "Responses of four untrained experts to a single bright voxel: patches of 1, 3, 5 and 7 voxels across."}}
bright = torch.zeros(1, 1, 15, 15)
bright[..., 7, 7] = 1
experts = ConvolutionExperts(1, 1, dims=2, kernel_sizes=(1, 3, 5, 7), kind="nested")
with torch.no_grad():
    responses = [a - b for a, b in zip(experts(bright), experts(torch.zeros_like(bright)), strict=True)]
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for ax, response, name, colour in zip(axes, responses, experts.names, expert_colours(experts.names), strict=True):
    limit = float(response.abs().max())
    ax.imshow(response[0, 0], cmap="RdBu", vmin=-limit, vmax=limit)
    edge = int(name[0])
    ax.add_patch(plt.Rectangle((7 - edge / 2, 7 - edge / 2), edge, edge, fill=False, color=colour, linewidth=3))
    ax.set_title(name, fontsize=9, loc="left")
    ax.set_axis_off()
plt.show()

# %% [markdown]
# ## A task where directions differ
#
# Does routing per direction do anything that one decision for all directions would not? Only if directions want
# different things at the same place. Here they do, by construction: in the left half, direction y wants a wide mean of
# the features and x a sharp difference; in the right half the other way round.

# %%
size = 32
side = (torch.arange(size) >= size // 2).expand(size, size)


def task(differ, batch=8):
    """Features with the side in the last channel, and the field that a layer should learn."""
    signal = torch.randn(batch, 1, size, size)
    wide = 7 * F.avg_pool2d(F.pad(signal, (3,) * 4), 7, 1)[:, 0]
    sharp = signal[:, 0] - F.avg_pool2d(F.pad(signal, (1,) * 4), 3, 1)[:, 0]
    first, second = torch.where(side, sharp, wide), torch.where(side, wide, sharp)
    field = torch.stack([first, second if differ else first], 1)
    features = torch.cat([signal, side.float().expand(batch, 1, -1, -1), torch.ones_like(signal)], 1)
    return features, field


def learn(differ, routers, k=1, seed=0):
    """Train a layer on the task; error over the last steps, relative to the field's size, and the layer."""
    torch.manual_seed(seed)
    layer = SpatialHeterogeneousMoE(3, dims=2, out_channels=4, kernel_sizes=(3, 7), k=k, routers=routers)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    errors = []
    for _ in range(budget.pick(smoke=250, full=2000)):
        features, field = task(differ)
        learned, routing = layer(features)
        loss = (learned - field).square().mean() / field.square().mean()
        (loss + 0.01 * routing.balance_loss()).backward()
        optimiser.step()
        optimiser.zero_grad()
        errors.append(loss.item())
    return sum(errors[-30:]) / 30, layer


results = {}
for differ in (True, False):
    for routers in ("directions", "joint"):
        runs = [learn(differ, routers, seed=seed) for seed in range(budget.pick(smoke=2, full=5))]
        results[differ, routers] = [error for error, _ in runs]
        if differ and routers == "directions":
            specialist = min(runs, key=lambda run: run[0])[1]
for (differ, routers), errors in results.items():
    print(
        f"directions {'differ' if differ else 'agree '}  router per {routers:11} error {[round(e, 3) for e in errors]}"
    )

# %%
best = {key: min(errors) for key, errors in results.items()}
gap_differ = best[True, "joint"] - best[True, "directions"]
gap_agree = best[False, "joint"] - best[False, "directions"]
print(
    f"what a router per direction gains: {gap_differ:+.3f} where directions differ, {gap_agree:+.3f} where they agree"
)

# %% mystnb={"image": {"alt": "For each direction, the map of the expert chosen at every voxel: left and right half differ, and the two directions choose the other way round where training separated them."}}
features, _ = task(True, batch=1)
with torch.no_grad():
    _, routing = specialist(features)
figure, axes = plt.subplots(1, 2, figsize=(6, 3.4))
for direction, ax in enumerate(axes):
    show_experts(ax, routing, router=direction, title=f"expert for {routing.routers[direction]}")
expert_legend(figure, routing.experts)
plt.show()

# %% [markdown]
# The task is a proof that the layer *can* use its freedom. Whether anatomy ever asks for it is another question; chapter
# 09 asks it, with several seeds.

# %% [markdown]
# ## One voxel
#
# Choose a voxel and read the layer's sum for one direction.


# %% mystnb={"image": {"alt": "Bars of the gates and of the contributions of each expert for one voxel and direction."}}
def show_voxel(row=10, column=10, direction=0):
    gates, parts = (m[0, direction, :, row, column] for m in (routing.gates, routing.contributions.detach()))
    _, axes = plt.subplots(1, 2, figsize=(6.5, 2.4), layout="constrained")
    for ax, bars, title in zip(axes, (gates, parts), ("gates", f"contributions, sum {parts.sum():+.3f}"), strict=True):
        ax.bar(routing.experts, bars, color=expert_colours(routing.experts))
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title, fontsize=9, loc="left")
    plt.show()


_ = interact(show_voxel, row=(0, size - 1), column=(0, size - 1), direction=(0, 1))

# %% [markdown]
# In a network the layer sits at every level of the decoder. Here a small one after a few training steps, one voxel of
# its finest layer, from logits to the step it makes:

# %%
pairs = [phantoms.make("abdomen", (48, 48), seed) for seed in range(8)]
torch.manual_seed(0)
network = models.build("shmoareg", dims=2, widths=(8, 16), decoder_widths=(8, 12), moa_levels=(1,))
fit(network, pairs, TrainingConfig(steps=40, device="cpu"), progress=False)
RouterSteps(network, pairs[0], layer="decoder.0.shmoe", voxel=(12, 12), direction="y")

# %% [markdown]
# | fixed by the paper | chosen here |
# |---|---|
# | experts of varying kernel size, per voxel, per direction, in several decoder layers | extents 1, 3, 5, 7; k = 2 |
# | | experts shared by the directions, one router each; a linear readout |
# | | `nested` as the default kind |

# %% [markdown]
# ## Exercises
#
# **1.** Full kernels of 1, 3, 5, 7 in 3-D against the nested chain: how many times the multiplications?

# %%
check("shmoe-cost", ...)

# %% [markdown]
# **2.** Three convolutions of extent 3 in a row, without activation: the extent of the kernel that they make?

# %%
check("shmoe-extent", ...)

# %% [markdown]
# **3.** The residual of direction y at voxel (10, 10), from these gates and proposals?

# %%
gates = routing.gates[0, 0, :, 10, 10].tolist()
proposals = routing.proposals[0, 0, :, 10, 10].tolist()
print("gates", [round(gate, 3) for gate in gates], " proposals", [round(proposal, 4) for proposal in proposals])
check("shmoe-voxel", ..., gates=gates, proposals=proposals)

# %% [markdown]
# ## To remember
#
# * Each expert is evaluated once and shared; only gates and readouts belong to a direction.
# * Contributions are numbers that add up to the displacement: the layer explains itself exactly.
# * Routing per direction is a freedom. That a layer can use it does not show that it needs it.
