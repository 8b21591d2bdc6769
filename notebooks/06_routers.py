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
#       full_seconds: 45
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # Routers: who works where
#
# A *mixture of experts* holds several small networks, its experts, and lets only a few of them work on each voxel. The
# *router* decides which, and with what weight. You will be able to
#
# * compute logits, choice and gates of a voxel by hand, and write four rules for the gates,
# * say who hears of a decision, and what a gradient asks of a router,
# * produce a collapse, tell it from a training that was stopped early, cure it, and say what the cure costs,
# * send every voxel to its own experts and nowhere else,
# * read load, importance and entropy, and follow decisions of a trained network.
#
# The code is `moereg/nn/routing.py`, and for dispatch `moereg/nn/dispatch.py`.

# %%
import json
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from moereg import models
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.models.storage import find_weights
from moereg.nn.dispatch import Assignment
from moereg.nn.routing import Router, Routing, choose
from moereg.training import TrainingConfig
from moereg.viz.explorer import RouterSteps
from moereg.viz.figures import expert_legend, show_experts, show_image
from moereg.viz.palette import expert_colours
from moereg.viz.stills import stills

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## A router is one linear map
#
# A voxel comes with $C$ *features* $h$, numbers that describe its surroundings. For $N$ experts the router multiplies them
# with a matrix $W$ of one row per expert. The products are *logits* $x$; softmax makes probabilities $p$ of them; the $k$
# largest are *chosen* (the set $G$); the weight of a chosen expert is its *gate* $g$. Expert $i$ *proposes* $E_i(h)$, and
# the answer is the sum of the proposals, times the gates.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram, left to right: features of C numbers, times W of N by C, give N logits; softmax gives N probabilities; top-k gives k chosen; a rule gives N gates, zero for the others. A second path leads from the features to N experts, of which k run and propose. Gates times proposals, summed, are the answer."}}
figure, ax = plt.subplots(figsize=(10, 2.6))
boxes = ["features h", "logits x", "probabilities p", "chosen G", "gates g", "answer"]
arrows = ["W, (N, C)", "softmax", "top-k", "rule", "Σ g E(h)"]
shapes = ["(C)", "(N)", "(N)", "(k)", "(N), N−k zeros", "as E(h)"]
frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "black"}
arrow = {"arrowstyle": "->"}
centred = {"ha": "center", "va": "center", "fontsize": 9}
for x, (box, shape) in enumerate(zip(boxes, shapes, strict=True)):
    ax.text(2.9 * x, 1, f"{box}\n{shape}", bbox=frame, **centred)
for x, text in enumerate(arrows):
    ax.annotate("", (2.9 * x + 1.85, 1), (2.9 * x + 1.05, 1), arrowprops=arrow)
    ax.text(2.9 * x + 1.45, 1.5, text, fontsize=9, ha="center")
ax.text(5.8, -0.4, "experts $E_1, …, E_N$, of which k run", bbox=frame, **centred)
ax.annotate("", (3.2, -0.4), (0, 0.45), arrowprops=arrow)
ax.annotate("", (14.2, 0.45), (8.4, -0.4), arrowprops=arrow)
ax.text(11.5, -0.35, "proposals E(h)", fontsize=9)
ax.set(xlim=(-1.2, 15.6), ylim=(-0.9, 1.9))
ax.set_axis_off()
plt.show()

# %% [markdown]
# One voxel by hand. Two features, $h = (\log 2, \log 3)$; four experts with the rows $(2, 0)$, $(0, 1)$, $(1, 0)$,
# $(0, 0)$; they propose 1, 2, 3 and 4.
#
# | | expert 0 | expert 1 | expert 2 | expert 3 |
# |---|---|---|---|---|
# | logit $x = W h$ | log 4 | log 3 | log 2 | 0 = log 1 |
# | $e^x$ | 4 | 3 | 2 | 1 |
# | probability | 4/10 | 3/10 | 2/10 | 1/10 |
# | chosen, k = 2 | yes | yes | | |
# | gate, chosen probabilities over their sum | 4/7 | 3/7 | 0 | 0 |
# | gate × proposal | 4/7 | 6/7 | 0 | 0 |
#
# The answer is 10/7.

# %%
experts = tuple(f"expert {i}" for i in range(4))
router = Router(2, experts, k=2, gate="renormalised")
with torch.no_grad():
    router.weight.copy_(torch.tensor([[2.0, 0], [0, 1], [1, 0], [0, 0]]))
voxel = torch.tensor([math.log(2), math.log(3)]).reshape(1, 2, 1, 1)
decided = router(voxel).detach()
gates = decided.gates.flatten()
probabilities = decided.probabilities.flatten()
torch.testing.assert_close(probabilities, torch.tensor([0.4, 0.3, 0.2, 0.1]))
torch.testing.assert_close(gates, torch.tensor([4 / 7, 3 / 7, 0, 0]))
torch.testing.assert_close(gates @ torch.tensor([1.0, 2, 3, 4]), torch.tensor(10 / 7))

# %% [markdown]
# The same on an image: three features per voxel (intensity, a blurred copy, a constant one) and weights set by hand.

# %% mystnb={"image": {"alt": "A phantom slice and, beside it, the map of the expert that each voxel chose: air, fat, and bright organs go to different experts."}}
image = phantoms.make("abdomen", (64, 64), seed=3).fixed[None]
blurred = F.avg_pool2d(image, 9, 1, 4, count_include_pad=False)
features = torch.cat([image, blurred, torch.ones_like(image)], 1)
by_hand = Router(3, experts, k=1)
with torch.no_grad():
    rows = [[-12.0, 0, 3], [0, -6, 2], [9, 0, -3], [0, 9, -4]]
    by_hand.weight.copy_(torch.tensor(rows))
routing = by_hand(features).detach()
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.7))
show_image(axes[0], image[0, 0], title="image")
show_experts(axes[1], routing, title="chosen expert")
expert_legend(figure, experts)
plt.show()
print("logits", tuple(routing.logits.shape), "= (batch, router, expert, row, column)")

# %% [markdown]
# ## From probabilities to gates: three tries
#
# **First try: the gate is the probability** (rule `raw`). What is left out is lost: the gates of the chosen add up to
# less than one. How much less depends on how sure the router is.

# %%
logits = voxel.new_tensor([4.0, 3, 2, 1]).log().reshape(1, 1, 4, 1, 1)
for scale, name in ((3.0, "sure"), (1.0, "as above"), (0.0, "undecided")):
    raw = choose(scale * logits, 2, "raw")[0].sum().item()
    print(f"{name:10} gates of two of four add up to {raw:.2f}")
assert choose(0 * logits, 2, "raw")[0].sum().item() == 0.5  # k / N

# %% [markdown]
# An undecided router turns the layer down, whatever its experts say. **Second try: divide by the sum of the chosen**
# (rule `renormalised`). Now the gates add up to one. But look at k = 1: a number divided by itself.

# %%
leaf = logits.clone().requires_grad_()
gate = choose(leaf, 1, "renormalised")[0].sum()
gate.backward()
slopes = [abs(round(slope, 6)) for slope in leaf.grad.flatten().tolist()]
print(f"k = 1, renormalised: gate {gate:.0f}, its gradient {slopes}")
assert gate == 1
assert leaf.grad.abs().max() < 1e-6

# %% [markdown]
# The gate is one whatever the logits are; a router that is trained like this stays as it was drawn. **Third try: divide
# by the same number, but as a constant** (rule `stopped`, the choice of the MoA
# paper; stopgrad lets the value pass and no gradient):
#
# $$g_i = \frac{p_i}{\mathrm{stopgrad}\left(\sum_{j \in G} p_j\right)}$$
#
# The value is that of the second try, the gradient that of the first, over a constant. A fourth rule takes the softmax of
# the chosen logits alone (`topk_softmax`). **Predict: for k = 2, which rules give the same gates?**

# %% tags=["hide-output"]
rules = ("raw", "renormalised", "stopped", "topk_softmax")
kept = {rule: choose(logits, 2, rule)[0] for rule in rules}
for rule, gates in kept.items():
    print(f"{rule:13}", [round(gate, 3) for gate in gates.flatten().tolist()])
for rule in ("stopped", "topk_softmax"):
    torch.testing.assert_close(kept[rule], kept["renormalised"])
assert not torch.allclose(kept["raw"], kept["renormalised"])

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# All but `raw`. The softmax of the chosen logits is $e^{x_i} / \sum_G e^{x_j}$, and so is $p_i / \sum_G p_j$: the
# denominator of the full softmax cancels. Three rules, one value. They differ in what comes back.
#
# </details>
#
# ## Who hears of it?
#
# The derivative of the first gate by each of the four logits, k = 2: experts 0 and 1 are chosen.

# %%
for rule in rules:
    leaf = logits.clone().requires_grad_()
    choose(leaf, 2, rule)[0][0, 0, 0].sum().backward()
    print(f"{rule:13}", [round(value, 3) for value in leaf.grad.flatten().tolist()])
    others = leaf.grad.flatten()[2:].abs()
    assert bool((others > 1e-6).all()) == (rule in ("raw", "stopped"))

# %% [markdown]
# Under `renormalised` and `topk_softmax` the logits of experts 2 and 3 get nothing. That does not lock them out: an
# expert enters when its logit *passes* a chosen one, and of two chosen ones one rises as much as the other falls (their
# slopes add up to zero). Below, the experts propose 1, 2 and 4, and 4 is right. Expert 2 starts last.

# %%
proposals, target = torch.tensor([1.0, 2.0, 4.0]), 4.0
start = torch.tensor([1.0, 0.9, 0.0])
x = start.clone()
while 2 not in x.topk(2).indices:
    leaf = x.reshape(1, 1, 3, 1, 1).clone().requires_grad_()
    answer = choose(leaf, 2, "topk_softmax")[0].flatten() @ proposals
    (slope,) = torch.autograd.grad((answer - target) ** 2, leaf)
    x = x - 0.05 * slope.flatten()
print("logits when expert 2 enters:", [round(value, 2) for value in x.tolist()])
assert x[2] == start[2], "its own logit never moved"
assert x[0] < x[2] < x[1], "a rival fell below it"

# %% [markdown]
# ### What does the gradient ask?
#
# Two experts propose 1 and 2, and 2 is right. The router prefers the wrong one a little. **Predict: with k = 1, will a
# step of descent raise or lower the logit of the wrong expert? And with k = 2?**

# %% tags=["hide-output"]
proposals, target = torch.tensor([1.0, 2.0]), 2.0
for k, rule in ((1, "renormalised"), (1, "raw"), (1, "stopped"), (2, "stopped")):
    leaf = torch.tensor([0.1, 0.0]).reshape(1, 1, 2, 1, 1).requires_grad_()
    answer = choose(leaf, k, rule)[0].flatten() @ proposals
    (slope,) = torch.autograd.grad((answer - target) ** 2, leaf)
    wrong, right = (-slope).flatten().round(decimals=6).tolist()
    print(f"k = {k}, {rule:13} wrong {wrong + 0.0:+.2f}, right {right + 0.0:+.2f}")
    if rule != "renormalised":
        assert (wrong > right) == (k == 1)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# With k = 1 the *wrong* expert rises. Only it has run. Its answer is too small, so the gradient asks for more of it
# (had it been too large, for less, and just as blindly). Whether another expert would be better nobody can tell,
# because no other has run. `renormalised` asks nothing at all. With k = 2 both have run: the answer lies between their
# proposals, and the gradient moves it towards the right one. **A router can only compare experts that ran.**
#
# </details>
#
# ## Collapse
#
# Four tissues, four experts. An expert is a pair of numbers that multiplies a signal of two channels; each tissue has its
# own right pair. A router sees the tissue (with noise) and must find out who is good where, while the experts learn. All
# experts start at zero, routers small and random. Eight seeds train at once: the layer has one router per seed, and each
# seed its own truth.

# %%
size, seeds, steps = 16, 8, 1000
rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")


def tissues(border):
    """Four rectangles meet at (border, border). A channel for each, and a constant."""
    which = (rows > border).long() * 2 + (columns > border).long()
    return torch.cat([F.one_hot(which, 4).permute(2, 0, 1), torch.ones(1, size, size)])


# %%
def train(balance=0.0, *, k=1, gate="raw", border=0.0):
    """Router and experts learn together. Load and error, (steps, seeds, ...)."""
    torch.manual_seed(0)
    seen, truth = tissues(border), 1 + 0.6 * torch.randn(seeds, 4, 2)
    names = tuple(f"seed {i}" for i in range(seeds))
    learner = Router(5, experts, k=k, gate=gate, routers=names)
    pairs = torch.nn.Parameter(torch.zeros(seeds, 4, 2))
    # Adam divides by the size of the gradient. Its usual eps of 1e-8 would let the
    # rounding errors of a router that gets no gradient grow into steps.
    optimiser = torch.optim.Adam([*learner.parameters(), pairs], lr=0.02, eps=1e-5)
    loads, errors = [], []
    for _ in range(steps):
        signal = torch.randn(2, size, size)
        target = torch.einsum("snc,nyx,cyx->syx", truth, seen[:4], signal)
        decided = learner((seen + 0.3 * torch.randn_like(seen))[None])
        answer = torch.einsum("snyx,snc,cyx->syx", decided.gates[0], pairs, signal)
        error = (answer - target).square().mean((1, 2))
        (error.sum() + seeds * balance * decided.balance_loss()).backward()
        optimiser.step()
        optimiser.zero_grad()
        loads.append(decided.load().detach())
        errors.append(error.detach())
    return torch.stack(loads), torch.stack(errors)


# %% [markdown]
# An expert is *idle* if it got less than 2 % of the voxels over the last 50 steps. **Predict: in how many of the eight
# seeds is an expert idle after training with k = 1? With k = 2? And does a look at step 250 tell?**


# %% tags=["hide-output"]
def idle(loads, at=None):
    """Experts without work in each seed, in the 50 steps before step `at`."""
    return (loads[:at][-50:].mean(0) < 0.02).sum(1)


def late(errors):
    """Error of each seed over the last 50 steps."""
    return errors[-50:].mean(0)


variants = {f"k = 1, {rule}": {"gate": rule} for rule in rules[:3]}
variants["k = 2, stopped"] = {"k": 2, "gate": "stopped"}
runs = {name: train(**options) for name, options in variants.items()}
print(f"{'':21}{'idle at step 250':27}{f'at step {steps}':26}error")
for name, (loads, errors) in runs.items():
    early, end = idle(loads, 250).tolist(), idle(loads).tolist()
    print(f"{name:21}{early!s:27}{end!s:26}{late(errors).mean():.3f}")

# %% tags=["hide-output"]
raw, frozen, stopped, two = runs.values()
assert torch.equal(idle(frozen[0], 250), idle(frozen[0])), "no gradient, no change"
assert (idle(raw[0], 250) <= idle(raw[0])).all(), "what is lost stays lost"
assert (idle(raw[0]) > 0).sum() >= seeds / 2, "somebody is idle in every second seed"
assert (idle(two[0]) == 0).all(), "two experts per voxel: nobody is"
lost = idle(raw[0]) > 0
assert (late(two[1]) < late(raw[1]))[lost].all(), "the error is smaller in those seeds"
assert late(two[1]).max() > late(raw[1]).max(), "but work for all is not yet good work"
assert idle(stopped[0], 250).sum() < idle(stopped[0]).sum(), "early is not late"
assert (idle(stopped[0]) >= 2).sum() > seeds / 2, "one or two are left"
assert late(stopped[1]).mean() > late(raw[1]).mean()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left three panels: load of four experts over training in one seed. With k = 1 and raw gates two experts fall to zero and stay there; with k = 1 and stopped gates the load looks shared at first and ends with one expert; with k = 2 experts that fell come back. Right: the final error of each of eight seeds for each variant, hollow where an expert is idle; k = 2 has the lowest mean."}}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.3), layout="constrained")
shown = {"k = 1, raw": 1, "k = 1, stopped": 0, "k = 2, stopped": 1}
for ax, (name, seed) in zip(axes, shown.items(), strict=False):
    loads = runs[name][0][:, seed]
    for expert, load in zip(experts, loads.T, strict=True):
        ax.plot(load, color=expert_colours([expert])[0], label=expert)
    ax.set(ylim=(0, 1), xlabel="step", ylabel="load")
    ax.set_title(f"{name}, seed {seed}", fontsize=9, loc="left")
for place, (loads, errors) in enumerate(runs.values()):
    for error, lost in zip(late(errors), idle(loads), strict=True):
        colour = "white" if lost else "black"
        axes[3].plot(error, place, "o", markerfacecolor=colour, color="black")
axes[3].set_yticks(range(len(runs)), list(runs))
axes[3].set(xscale="log", xlabel="error", ylim=(3.5, -0.5))
axes[3].set_title("hollow: somebody is idle", fontsize=9, loc="left")
names = axes[0].get_legend_handles_labels()
figure.legend(*names, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# With k = 1 experts starve under every rule. `renormalised` keeps the routers as they were drawn, idle experts
# included. Under `stopped` the gate is always one, and its gradient asks only "should this answer be larger?": at step
# 250 it looks as good as `raw`, and at the end most seeds are left with a single expert. A training that had been
# stopped early would have told another story. `raw` holds what it has, and what it lost it does not find again.
#
# With k = 2 a load that falls can rise again: an expert in second place has run, is compared, and comes back. Nobody is
# idle at the end, and the error is smaller in all seeds in which somebody had been. But two experts per voxel also do
# twice the work. And look at the dot furthest right in the lowest row: all four experts have work there, and yet the
# error is larger than any of `raw`. A full load is not yet a good division of labour, at least not after these steps.
#
# </details>
#
# ## The cure, and its derivation
#
# If one expert per voxel is all we can pay for, the others need another advocate. The *balance loss* (of the Switch
# Transformer) is
#
# $$L = N \sum_i f_i P_i$$
#
# with $f_i$ the *load*, the share of choices that went to expert $i$, and $P_i$ its *importance*, the mean of its
# probability. A count has no gradient, so $f$ is a constant; of $P_j$ one voxel among $T$ holds the share $p_j / T$. With
# $\partial p_j / \partial x_i = p_i (\delta_{ij} - p_j)$, where $\delta_{ij}$ is one for $i = j$ and zero else, the slope by a
# logit of that voxel is $N/T \sum_j f_j\, p_i (\delta_{ij} - p_j)$, which is
#
# $$\frac{\partial L}{\partial x_i} = \frac{N}{T}\, p_i \Big(f_i - \sum_j f_j p_j\Big).$$
#
# An expert whose load is above the mean load that the voxel's probabilities expect is pushed down, the others up, each
# in proportion to its own probability. By hand, with the one voxel of the table above ($T = 1$) and k = 1: $p = (.4,
# .3, .2, .1)$, it chooses expert 0, $f = (1, 0, 0, 0)$, $\sum f p = .4$. The loss is $4 \cdot .4 = 1.6$, the gradient
# $4 \cdot (.4 \cdot .6,\ -.3 \cdot .4,\ -.2 \cdot .4,\ -.1 \cdot .4)$.

# %%
leaf = logits.clone().requires_grad_()
decided = Routing(leaf, *choose(leaf, 1, "raw"), experts, ("token",))
loss = decided.balance_loss()
loss.backward()
print(f"loss {loss:.2f}, gradient", [round(g, 2) for g in leaf.grad.flatten().tolist()])
torch.testing.assert_close(loss.detach(), torch.tensor(1.6))
expected = torch.tensor([0.96, -0.48, -0.32, -0.16])
torch.testing.assert_close(leaf.grad.flatten(), expected)

# %% [markdown]
# How much of it? The library's training takes the weight of the MoA paper, one hundredth, unless told otherwise.
# **Predict: is that enough here?**

# %% tags=["hide-output"]
usual = TrainingConfig().balance
weights = (0.0, usual, 0.5)
cured = {0.0: raw} | {weight: train(weight) for weight in weights[1:]}
for weight, (loads, errors) in cured.items():
    shown = [round(error, 3) for error in late(errors).tolist()]
    print(f"weight {weight:<5} idle {idle(loads).tolist()}, error {shown}")
gain = late(cured[0.0][1]) - late(cured[0.5][1])
starved = idle(cured[0.0][0]) > 0
brought, spared = gain[starved].mean(), gain[~starved].mean()
print(f"gain where somebody was idle {brought:.3f}, elsewhere {spared:.3f}")
assert (idle(cured[usual][0]) > 0).sum() >= seeds / 2, "the usual weight cures little"
assert (idle(cured[0.5][0]) == 0).all()
assert gain[starved].min() > gain[~starved].max(), "no idle expert, no gain"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# No: with the usual weight experts starve as before. With 0.5 nobody is idle, and the error falls in every seed in which
# somebody had been. Seeds that had lost nobody gain nothing: that is the control which says that the gain comes from the
# experts that were brought back. A weight from a paper is an answer to that paper's loss, not to yours; look at the load.
#
# </details>
#
# ### What the cure costs
#
# The loss wants even loads. **What if the truth is uneven?** Tissues of very different size, k = 2 (so that nobody
# starves anyway), with and without a strong balance loss; the same with even tissues as the control.

# %% tags=["hide-output"]
cost = {}
for name, border in (("even", 0.0), ("uneven", 0.5)):
    shares = tissues(border)[:4].float().mean((1, 2)).tolist()
    without, pushed = (train(w, k=2, gate="stopped", border=border) for w in (0.0, 2.0))
    cost[name] = late(pushed[1]) - late(without[1])
    ends = (loads[-50:].mean(0).sort(1).values for loads, _ in (without, pushed))
    smallest, evened = (loads[:, 0].mean().item() for loads in ends)
    print(f"{name:7} tissue shares {[round(share, 2) for share in shares]}")
    print(f"{'':8}smallest load {smallest:.2f} without the loss, {evened:.2f} with it")
    print(f"{'':8}error added: {[round(c, 3) for c in cost[name].tolist()]}")
    assert (idle(without[0]) == 0).all()
    assert (evened > smallest + 0.03) == (name == "uneven")
assert (cost["uneven"] > 0).all()
assert cost["uneven"].median() > 3 * cost["even"].median()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Where tissues are uneven the loss evens out the loads, and the error grows in every seed: voxels are sent to an expert
# that is not theirs. Even tissues, whose loads were even already, suffer less from the same weight, and the seed that
# it helped much is the badly divided one of the last figure.
#
# </details>
#
# ### A start at zero
#
# *A first reading may leave this section out.*
#
# MoA starts its router at zero. **What does top-k make of equal logits?**

# %% tags=["hide-output"]
zero = Router(3, experts, k=2)
torch.nn.init.zeros_(zero.weight)
print("load of a router of zeros    ", zero(features).load()[0].tolist())
drawn = [Router(3, experts, k=2)(features).load()[0].min().item() for _ in range(20)]
print(f"smallest load of a drawn one, mean of 20: {sum(drawn) / 20:.3f}")
assert (zero(features).load()[0] == 0).sum() == 2
assert sum(drawn) > 0

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The same two experts for every voxel; the others do not run, so nothing compares them. That is why the library draws
# small random weights. It is no cure: the least used expert of a drawn router gets next to nothing as well. But
# favourites differ from voxel to voxel: others may run somewhere, and be compared.
#
# </details>
#
# ## Only the chosen run: dispatch
#
# The gates are zero for most experts. The plain way computes all experts everywhere and multiplies with zeros. The
# *sparse* way sorts the pairs of voxel and choice by expert, gives each expert its block of rows in one product, and puts
# the answers back. Five voxels, k = 1, by hand:
#
# | voxel | 0 | 1 | 2 | 3 | 4 |
# |---|---|---|---|---|---|
# | chose expert | 2 | 0 | 1 | 0 | 2 |
#
# Sorted by expert, voxels of the same expert in their old order: **1, 3**, then **2**, then **0, 4**; block lengths 2, 1, 2.

# %%
chosen = torch.tensor([[2], [0], [1], [0], [2]])  # (voxels, k)
assignment = Assignment.of(chosen, experts=3)
print("order", assignment.order.tolist(), " counts", assignment.counts.tolist())
assert assignment.order.tolist() == [1, 3, 2, 0, 4]
assert assignment.counts.tolist() == [2, 1, 2]

rows_in = torch.randn(5, 6)  # five voxels, six features
matrices = torch.randn(3, 6, 4)  # one per expert
everything = torch.einsum("tc,ncd->tnd", rows_in, matrices)  # 5 x 3 products
plain = everything[torch.arange(5), chosen[:, 0]]
blocks = rows_in[assignment.order].split(assignment.counts.tolist())  # 5 x 1 products
answers = torch.cat([b @ matrix for b, matrix in zip(blocks, matrices, strict=True)])
sparse = torch.empty_like(answers)
sparse[assignment.order] = answers
torch.testing.assert_close(sparse, plain)

# %% [markdown]
# ## Reading a routing
#
# *Load* counts choices, *importance* averages probabilities, *entropy* $-\sum p \log p$ says how undecided the router is
# at a voxel: 0 is certain, $\log N$ undecided. Divide all logits by a *temperature*. **What happens to load, and what to
# importance?**


# %% tags=["hide-output"] mystnb={"image": {"alt": "Map of the router's entropy and bars of load and importance per expert, at temperature one."}}
def at_temperature(temperature):
    logits = routing.logits / temperature
    return Routing(logits, *choose(logits, 1, "raw"), experts, ("token",))


def show_routing(temperature=1.0):
    decided = at_temperature(temperature)
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
    entropy = decided.entropy()[0, 0]
    picture = axes[0].imshow(entropy, vmin=0, vmax=math.log(4), cmap="viridis")
    figure.colorbar(picture, ax=axes[0], label="entropy, nats")
    axes[0].set_axis_off()
    place, colours = torch.arange(4), expert_colours(experts)
    axes[1].bar(place - 0.2, decided.load()[0], width=0.4, color=colours)
    pale = {"color": colours, "alpha": 0.4}
    axes[1].bar(place + 0.2, decided.importance()[0], width=0.4, **pale)
    axes[1].set_xticks(place, experts, fontsize=8)
    axes[1].set_title("load (full colour), importance (pale)", fontsize=9, loc="left")
    plt.show()


temperatures = [0.25, 0.5, 1.0, 2.0, 4.0, 16.0]
start = {"temperature": 1.0}
says = "Entropy, load, importance."
stills(show_routing, alt=says, start=start, temperature=temperatures)

# %% tags=["hide-output"]
cold, hot = at_temperature(0.25), at_temperature(16.0)
torch.testing.assert_close(cold.load(), hot.load())
assert (hot.importance() - 0.25).abs().max() < (hot.load() - 0.25).abs().max() / 2
assert (cold.importance() - cold.load()).abs().max() < 0.05
assert cold.entropy().mean() < routing.entropy().mean() < hot.entropy().mean()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The load stays: dividing by a positive number does not change who is largest. Importance goes to the load when it is cold
# and to 1/4 each when it is hot, and the entropy map brightens (the picture above is at temperature 1; the control runs through the other values). So a small entropy alone says little: scale the weights of
# a router up, and it is sure of the same decisions.
#
# </details>
#
# ## Before and after training
#
# `abdomen-flat` comes with the library: SHMoAReg (chapter 09), trained on sections of abdominal phantoms, with routers
# in encoder and decoder. Its card says how, and names two losses beside the balance loss. The *z loss*, the mean of
# $(\log \sum_i e^{x_i})^2$, keeps logits small. The *information loss*, the mean entropy of $p$ less the entropy of its
# mean $P$, asks that a router is sure at each voxel *and* uses all experts, at any share. Chapter 09 sets it against
# the balance loss on registration. Beside it, the same network as drawn, with three seeds.

# %%
card = json.loads(find_weights("abdomen-flat").with_suffix(".json").read_text())
wanted = ("steps", "balance", "z", "information")
print("trained with", {name: card["training"][name] for name in wanted})
print("rule", card["sizes"]["gate"], " k", card["sizes"]["active_experts"])
network = models.load_model("abdomen-flat")
pair = phantoms.make("abdomen", (64, 64), seed=9000)  # not among the training pairs


def routings(network):
    """Decisions of every routed layer on the pair, by name."""
    with torch.no_grad():
        return network(pair.moving[None], pair.fixed[None]).routing


def drawn(seed):
    torch.manual_seed(seed)
    return models.build("shmoareg", dims=2).eval()


def undecided(routing):
    return float(routing.entropy().mean()) / math.log(len(routing.experts))


trained, untrained = routings(network), [routings(drawn(seed)) for seed in range(3)]
print("entropy as a share of log N:   trained, as drawn (three seeds)")
for name, routing_of in trained.items():
    before = [undecided(one[name]) for one in untrained]
    print(f"{name:18}{undecided(routing_of):20.2f}     ", [round(b, 3) for b in before])
    assert undecided(routing_of) < 0.2 < 0.99 < min(before)

# %% mystnb={"image": {"alt": "Fixed image, and maps of the chosen kernel expert of the finest decoder layer: as drawn, the widest kernel nearly everywhere; trained, one map for the direction y and another for x, with stripes along the body wall and patches inside."}}
figure, axes = plt.subplots(1, 4, figsize=(10, 3.3))
layer = trained["decoder.0.shmoe"]
show_image(axes[0], pair.fixed[0], title="fixed")
show_experts(axes[1], untrained[0][layer.name], title="as drawn, y")
for ax, (r, name) in zip(axes[2:], enumerate(layer.routers), strict=True):
    show_experts(ax, layer, router=r, title=f"trained, {name}")
expert_legend(figure, layer.experts)
plt.show()

# %% [markdown]
# The trained routers are sure; those that were drawn are not. What made them sure is the information loss on the card:
# chapter 09 shows that without it they stay undecided. And *sure* is not *right*.
#
# ## Four decisions, step by step
#
# The finest decoder layer decides on a grid of every second voxel, once for the direction y (rows) and once for x
# (columns). Each expert is a convolution, named by its extent, and proposes a step in voxels of that grid.


# %%
def station(voxel, direction):
    """Gates, proposals and step of the finest layer at a voxel of the image."""
    r = layer.routers.index(direction)
    at = (0, r, slice(None), voxel[0] // 2, voxel[1] // 2)
    return layer.gates[at], layer.proposals[at], float(layer.contributions[at].sum())


steps_y = layer.contributions[0, 0].sum(0)
kidney, border, liver, vein = (40, 22), (26, 24), (8, 16), (40, 28)
stations = ((kidney, "y"), (border, "x"), (liver, "y"), (vein, "y"))
for voxel, direction in stations:
    gates, proposals, step = station(voxel, direction)
    organ = pair.label_names.get(int(pair.fixed_labels[0][voxel]), "no organ")
    print(f"{voxel} {direction}, {organ}: step {step:+.2f}")
    print("   gates    ", [round(g, 2) for g in gates.tolist()])
    print("   proposals", [round(p, 2) for p in proposals.tolist()])

# %% tags=["hide-input"] mystnb={"image": {"alt": "Fixed image with four numbered stations, and for each station bars of the four experts' proposals, full colour where the gate is above one tenth: at 1 all proposals point up, at 3 one points the other way, at 4 two experts share the gate."}}
layout = {"width_ratios": (2, 1, 1, 1, 1), "layout": "constrained"}
figure, axes = plt.subplots(1, 5, figsize=(11, 3.4), **layout)
show_image(axes[0], pair.fixed[0], title="fixed")
for number, (voxel, direction) in enumerate(stations, start=1):
    axes[0].plot(voxel[1], voxel[0], "o", color="#e8a53a", markersize=4)
    aside = 2 if number != 1 else -4
    axes[0].text(voxel[1] + aside, voxel[0] + 1, number, color="#e8a53a")
    gates, proposals, step = station(voxel, direction)
    colours = expert_colours(layer.experts)
    bars = axes[number].bar(layer.experts, proposals, color=colours)
    for bar, gate in zip(bars, gates, strict=True):
        bar.set_alpha(1 if gate > 0.1 else 0.25)
    axes[number].axhline(step, color="black", linewidth=0.8, linestyle="--")
    axes[number].axhline(0, color="black", linewidth=0.8)
    axes[number].set(ylim=(-1.4, 0.8))
    axes[number].set_title(f"{number}: {voxel}, {direction}", fontsize=9, loc="left")
axes[1].set_ylabel("proposal, voxels of the layer's grid")
axes[1].text(-0.4, 0.6, "pale: gate below 0.1\ndashed: the step", fontsize=8)
plt.show()

# %% [markdown]
# **Station 1: the right kidney's lower edge, (40, 22), direction y.** Nowhere in the image does this layer take a
# longer step along y. The router is certain, and of the *smallest* kernel. Now compare the proposals: all four point
# the same way. Had the router chosen anybody else, the step would have been of about the same length. Ask the same
# voxel for direction x, and another expert is chosen: the directions decide apart.

# %%
gates, proposals, step = station(kidney, "y")
assert abs(step) == steps_y.abs().max()
assert gates.argmax() == 0
assert gates.max() > 0.99
assert proposals.max() < 0
assert proposals.abs().min() > 0.75 * abs(step)
assert station(kidney, "x")[0].argmax() != gates.argmax()
RouterSteps(network, pair, layer=layer.name, voxel=kidney, direction="y")

# %% [markdown]
# Press play, or go through the steps with the arrows; each quotes the line of the library that does it. The step "Softmax"
# shows what the top-k has cut off.
#
# **Station 2: where liver and kidney meet, (26, 24), direction x.** The longest step along x. Here the choice has a size:
# the chosen expert's proposal is the longest of the four, and a uniform mixture would have moved less.

# %%
gates, proposals, step = station(border, "x")
assert abs(step) == layer.contributions[0, 1].sum(0).abs().max()
assert gates.argmax() == proposals.abs().argmax()
assert proposals.mean().abs() < 0.85 * abs(step)
RouterSteps(network, pair, layer=layer.name, voxel=border, direction="x")

# %% [markdown]
# **Station 3: inside the liver, (8, 16), direction y.** The proposals disagree in *sign*: the narrowest expert points
# up, the others down. The gate decides where this voxel looks.

# %%
gates, proposals, step = station(liver, "y")
assert gates.max() > 0.99
assert proposals.min() < 0 < step
RouterSteps(network, pair, layer=layer.name, voxel=liver, direction="y")

# %% [markdown]
# **Station 4: the vena cava, (40, 28), direction y.** The router is torn: two gates are nearly equal. Look at the proposals
# of the two before you worry: they nearly agree, so it hardly matters who wins.

# %%
gates, proposals, step = station(vein, "y")
first, second = gates.topk(2).indices
assert (gates[first] - gates[second]) < 0.1
assert (proposals[first] - proposals[second]).abs() < 0.05
RouterSteps(network, pair, layer=layer.name, voxel=vein, direction="y")

# %% [markdown]
# The four views above need no kernel. With one, `steps = RouterSteps(...)` in a cell of your own and then
# `steps.voxel = (row, column)` walks through any other voxel. Four stations are examples; what the choice is worth over all voxels is measured in chapter 09, with
# controls.
#
# Two limit cases that tests hold for ever: a zero router is uniform, and with the rule `soft` (the gate is the
# probability, for all N experts) nothing is left out.

# %%
zero = Router(3, experts, k=4, gate="soft")
torch.nn.init.zeros_(zero.weight)
gates = zero(features).gates
torch.testing.assert_close(gates, torch.full_like(gates, 0.25))

# %% [markdown]
# | fixed by a source | chosen here |
# |---|---|
# | MoA: no bias, top-k of a softmax, stopped denominator; its code uses raw p | weights start small and random |
# | balance loss in Switch form, z loss, their weights in MoA | the toy task, chosen so that collapse happens |
# | which of these SHMoAReg uses is not reported | the rule, k and the losses on the card above |
#
# ## Exercises
#
# **1.** Write the four rules. Logits are `(batch, router, expert, *space)`: the experts stand on axis 2, and there may be two
# or three axes of space.


# %% tags=["solution"]
def gates_of(logits, k, rule):
    """Gates (B, R, N, *S) by one of the four rules, zero where not chosen."""
    scores, chosen = logits.topk(k, dim=2)
    if rule == "topk_softmax":
        kept = scores.softmax(2)
    else:
        kept = logits.softmax(2).gather(2, chosen)
        total = kept.sum(2, keepdim=True)
        if rule == "renormalised":
            kept = kept / total
        if rule == "stopped":
            kept = kept / total.detach()
    return torch.zeros_like(logits).scatter(2, chosen, kept)


# %% tags=["hide-output"]
check("routers-gates", gates_of)

# %% [markdown]
# **2.** Write the balance loss, from logits `(batch, expert, *space)` and the indices of the chosen `(batch, k, *space)`.


# %% tags=["solution"]
def balance_of(logits, chosen):
    """N sum_i f_i P_i over all voxels of the batch; a number with gradient."""
    experts = logits.shape[1]
    load = torch.stack([(chosen == i).float().mean() for i in range(experts)])
    probability = logits.softmax(1).movedim(1, -1).reshape(-1, experts)
    return experts * (load * probability.mean(0)).sum()


# %% tags=["hide-output"]
check("routers-balance", balance_of)

# %% [markdown]
# **3.** Write sparse dispatch for any k: tokens `(T, C)`, one matrix per expert `(N, C, D)`, choices and gates `(T, k)`. No
# token may be multiplied with the matrix of an expert that it did not choose.


# %% tags=["solution"]
def dispatch(tokens, matrices, chosen, gates):
    """sum over a token's k choices of gate times tokens @ matrix, (T, D)."""
    out = tokens.new_zeros(len(tokens), matrices.shape[2])
    for i, matrix in enumerate(matrices):
        place, rank = (chosen == i).nonzero(as_tuple=True)
        answers = gates[place, rank, None] * (tokens[place] @ matrix)
        out = out.index_add(0, place, answers)
    return out


# %% tags=["hide-output"]
check("routers-dispatch", dispatch)

# %% [markdown]
# **4.** All voxels choose the first of four experts, by a hair: all probabilities are almost exactly 1/4. What is the
# balance loss?

# %% tags=["solution"]
check("routers-collapse", 1)

# %% [markdown]
# **5.** Rule `stopped`, k = 2 of 4. Which of these get gradient from a voxel? Answer with a set out of `"chosen experts"`,
# `"other experts"` (their weights), `"chosen rows"`, `"other rows"` (of the router).

# %% tags=["solution"]
check("routers-gradient", {"chosen experts", "chosen rows", "other rows"})

# %% [markdown]
# ## To remember
#
# * A router is linear. Rules differ in the weight of the chosen and in who gets gradient.
# * A router compares the experts that ran, no others. That is why k = 1 starves experts and k = 2 brings them back.
# * Look at the load, and late enough. The value of the balance loss alone does not show a collapse.
# * Even loads are a price where the truth is uneven.
# * Sure is not right: ask what the other experts proposed.
