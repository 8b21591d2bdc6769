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
# # SHMoAReg: trained, opened, doubted, judged
#
# The parts of chapters 05 to 08 make one network, SHMoAReg (Zheng, Feng, Li, Staring, Qiao, arXiv 2509.20073). This chapter
# opens a trained one and ends with a verdict. You will be able to
#
# * name the parts of the network with their shapes, and follow a pair through it, level by level,
# * open every decision along a guided path, and watch the decisions arise in training,
# * ask a trained mixture whether its specialisation is real, with a control for every question,
# * say what makes routers decide here, and what of all that was tried does not,
# * give a verdict on routing: what holds, what does not, and how sure that is.
#
# The code is `moereg/models/shmoareg.py` and `moereg/experiments/`.

# %%
import json
import math
import re
import textwrap
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display

from moereg import classical, experiments, fields, metrics, models, similarity, viz
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.models.storage import find_weights
from moereg.nn.observe import find_routers, intervene, rerouted
from moereg.nn.routing import choose
from moereg.viz.explorer import Explorer
from moereg.viz.figures import expert_legend, show_experts, show_grid, show_image
from moereg.viz.snapshots import read_snapshots

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## The network
#
# Both images go through the same encoder; at the coarser levels each token picks two of eight attention heads (MoA). The
# decoder goes from coarse to fine. At each level it warps the moving features by the field so far, compares them with the
# fixed ones, and SHMoE makes a residual $r$ of the comparison, which is composed with the field so far:
#
# $$u \leftarrow r(x) + \mathrm{up}(u)(x + r(x))$$
#
# `abdomen-flat`, which comes with the library, is such a network for sections of 64 × 64 voxels. Its own shapes follow, and how it
# was trained: *balance* asks that all experts are used, *z* that logits stay small (chapter 06), *information* is explained below.

# %%
network = models.load_model("abdomen-flat")
test = [phantoms.make("abdomen", (64, 64), seed) for seed in range(9000, 9012)]
pair = test[0]  # none of them among the training pairs


def register(pair):
    with torch.no_grad():
        return network(pair.moving[None], pair.fixed[None])


result = register(pair)
card = json.loads(find_weights("abdomen-flat").with_suffix(".json").read_text())
for name, routing in result.routing.items():
    shape, k = tuple(routing.gates.shape), routing.indices.shape[2]
    print(f"{name:17} gates {shape!s:20} k = {k}, every {routing.stride} voxels")
wanted = ("steps", "similarity", "smoothness", "balance", "z", "information")
print("trained with", {name: card["training"][name] for name in wanted})
print("on", card["split"]["train pairs"], "pairs,", card["parameters"], "parameters")
for level in (0, 1, 2):
    gates = result.routing[f"decoder.{level}.shmoe"].gates
    assert gates.shape == (1, 2, 4, 32 // 2**level, 32 // 2**level)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram. Moving and fixed image, 1 by 64 by 64, enter one encoder of three levels: 16 by 32 by 32, 32 by 16 by 16 and 48 by 8 by 8 features, the two coarser ones with mixtures of attention heads. From coarse to fine, each level has a block that compares fixed and warped moving features, then SHMoE, which gives a residual of 2 by 8 by 8, 2 by 16 by 16 and 2 by 32 by 32. Each residual is composed with the field from the coarser level; the finest is brought to 2 by 64 by 64."}}
figure, ax = plt.subplots(figsize=(10.5, 4))
frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
style = {"ha": "center", "va": "center", "fontsize": 8.5}
sizes = network.sizes
ax.text(0, 2, "moving\nfixed\n(1, 64, 64)", bbox=frame, **style)
for level in (0, 1, 2):
    n, y = 32 // 2**level, 3.6 - 1.6 * level
    c, h = sizes.widths[level], sizes.decoder_widths[level]
    moa = "\n+ MoA" if level in sizes.moa_levels else ""
    steps = [f"encoder {level}{moa}", "warp,\nblock", "SHMoE", "compose"]
    places = (2.6, 6.2, 9.3, 12.2)
    for x, text in zip(places, steps, strict=True):
        ax.text(x, y, text, bbox=frame, **style)
    passed = [f"2 × ({c}, {n}, {n})", f"({h}, {n}, {n})", f"r (2, {n}, {n})"]
    for x, then, text in zip(places, places[1:], passed, strict=False):
        tip = {"arrowstyle": "->", "shrinkA": 34, "shrinkB": 30}
        ax.annotate("", (then, y), (x, y), arrowprops=tip)
        ax.text((x + then) / 2, y + 0.33, text, **style)
tip = {"arrowstyle": "->"}
ax.annotate("", (1.8, 3.4), (0.5, 2.6), arrowprops=tip)
for y in (0.4, 2):
    ax.annotate("", (2.6, y + 0.4), (2.6, y + 1.25), arrowprops=tip)
    ax.annotate("", (12.2, y + 1.3), (12.2, y + 0.3), arrowprops=tip)
    ax.annotate("", (6.6, y + 1.25), (12.15, y + 0.85), arrowprops=tip)
    ax.text(12.4, y + 0.8, "up(u)", fontsize=8.5)
ax.annotate("", (14.2, 3.6), (12.95, 3.6), arrowprops=tip)
ax.text(14.9, 3.6, "u\n(2, 64, 64)", **style)
ax.set(xlim=(-0.9, 15.8), ylim=(-0.1, 4.2))
ax.set_axis_off()
plt.show()

# %% [markdown]
# ### Level by level
#
# **Predict: at which level is most of the motion found, the coarsest or the finest?** After each level the field is
# brought to the full grid, so that its error can be measured; twelve pairs.

# %% tags=["hide-output"]
left = []
for one in test:
    states = [torch.zeros_like(one.displacement), *(u[0] for u in register(one).steps)]
    measured = [metrics.endpoint_error(u, one.displacement, one.region) for u in states]
    left.append(measured)
left = torch.tensor(left)
names = ("before", "level 2", "level 1", "level 0")
for name, error in zip(names, left.mean(0).tolist(), strict=True):
    print(f"{name:8} endpoint error {error:.2f} voxels")
for earlier, later in zip(left.T, left.T[1:], strict=False):
    effect = metrics.paired_effect(later.tolist(), earlier.tolist())
    print("    changed by", effect.text(2), effect.judged("epe"))
    assert effect.judged("epe") == "better"
gains = -left.diff(dim=1)  # what each level takes away, (pairs, levels)
for name, two in (("level 2 than level 1", (0, 1)), ("level 1 than level 0", (1, 2))):
    more = metrics.paired_effect(*(gains[:, level].tolist() for level in two))
    print(f"more found by {name}: {more.text(2)}")
    assert (more.direction == "higher") == (two == (1, 2))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Above: fixed image and the moving image with the grid x + u(x) after levels 2, 1 and 0. Below: maps of the endpoint error before and after each level, on one colour scale; they grow darker from level to level."}}
states = [torch.zeros_like(pair.displacement), *(u[0] for u in result.steps)]
figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
show_image(axes[0, 0], pair.fixed[0], title="fixed")
for ax, u, name in zip(axes[0, 1:], states[1:], names[1:], strict=True):
    show_grid(show_image(ax, pair.moving[0], title=f"moving, {name}"), u)
    ax.set(xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
for ax, u, name in zip(axes[1], states, names, strict=True):
    error = (u - pair.displacement).norm(dim=0)
    picture = ax.imshow(error, cmap="magma", vmin=0, vmax=6)
    mean = metrics.endpoint_error(u, pair.displacement, pair.region)
    ax.set_title(f"{name}: {mean:.2f}", fontsize=9, loc="left")
    ax.set_axis_off()
figure.colorbar(picture, ax=axes[1], label="error, voxels; 6 and above white")
plt.show()
shown = [(u - pair.displacement).norm(dim=0).mean() for u in states]
assert shown == sorted(shown, reverse=True)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The coarse levels. Each level improves on those before it, the finest by least; which of the other two finds more, twelve pairs do not
# tell. Remarkable enough: the coarsest has decisions at 8 × 8 places only.
#
# </details>
#
# Where do the numbers come from? From nowhere but the experts' contributions: added up at each level, brought to the next
# grid (a step of one coarse voxel is a step of two fine ones), composed. By hand, at one place: the coarse field says
# 1.5 everywhere, the residual 0.25: $0.25 + 2 \cdot 1.5 = 3.25$ fine voxels.

# %%
u = None
for level in (2, 1, 0):
    r = result.routing[f"decoder.{level}.shmoe"].contributions.sum(2)
    u = r if u is None else fields.compose(fields.upsample_field(u, r.shape[2:]), r)
u = fields.upsample_field(u, pair.shape)
torch.testing.assert_close(u, result.displacement)
print("the field is the experts' contributions, added per level and composed")
coarse, fine = torch.full((1, 2, 4, 4), 1.5), torch.full((1, 2, 8, 8), 0.25)
stepped = fields.compose(fields.upsample_field(coarse, (8, 8)), fine)
torch.testing.assert_close(stepped, torch.full((1, 2, 8, 8), 3.25))

# %% [markdown]
# ### Along which direction?
#
# *A first reading may leave this section out.*
#
# The coarsest field looks as if it went along y alone. **Does it, in all pairs? And the others?** How far each level's residual goes along
# either direction, in voxels of its own grid:

# %% tags=["hide-output"]
for level in (2, 1, 0):
    steps = []
    for one in test:
        added = register(one).routing[f"decoder.{level}.shmoe"].contributions.sum(2)
        steps.append(added[0].abs().mean((1, 2)))
    down, across = torch.stack(steps).T.tolist()
    apart = metrics.paired_effect(down, across)
    along = f"y {np.mean(down):.3f}, x {np.mean(across):.3f}"
    print(f"level {level}: {along}, difference {apart.text()}")
    assert apart.direction == ("higher" if level else "lower")
    assert level < 2 or max(across) < 0.05 * min(down), "in every pair"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The coarsest level moves along y and leaves x alone, in every pair; the middle one moves along both, more along y; the finest more along x.
# Whoever reads its decisions for x on the coarsest level reads decisions about nothing: remember it below.
#
# </details>

# %% [markdown]
# ### Does it register?
#
# Beside it: doing nothing, and classical Demons (chapter 03), which is not trained and searches anew for every pair. How to
# compare networks fairly with each other is chapter 13.

# %%
demons = classical.METHODS["demons-symmetric"]
methods = {"nothing": classical.identity, "Demons": demons, "SHMoAReg": network}
table = metrics.evaluate(methods, test, surfaces=False)
print(f"{'':12}{'Dice':>7}{'endpoint error':>16}{'folds':>8}")
for name, row in table.items():
    shown = f"{row['dice']:7.3f}{row['epe']:16.2f}{row['fold_fraction']:8.2%}"
    print(f"{name:12}{shown}")
for other in ("nothing", "Demons"):
    for key in ("dice_mean", "epe"):
        both = [[one[key] for one in table[n]["pairs"]] for n in ("SHMoAReg", other)]
        effect = metrics.paired_effect(*both)
        word = effect.judged(key.removesuffix("_mean"))
        print(f"SHMoAReg less {other}, {key}: {effect.text()}, {word}")
        assert word == "better"

# %% [markdown]
# ## Opened, and watched in training
#
# The first 250 steps of its training were made again (`make snapshots`), and this pair registered before them and after ever
# more of them; the last state is the network that ships, after all of its steps. (One training and one pair: a film, no experiment. The
# record of growth, below, has five trainings.) First as a strip, then in the explorer,
# where the slider *Training* goes through the same states. *Entropy* is given as a share of $\log N$: one where a router calls all
# experts equal, zero where it is sure. **Predict: which comes first, good fields or sure routers?**

# %% tags=["hide-output"]
kept = read_snapshots("../data/snapshots/abdomen-flat.npz", network, pair)
decoders = [name for name in result.routing if name.startswith("decoder")]
when, errors, sure = [], [], []
for step, state in kept:
    routings = [state.routing[name] for name in decoders]
    u = state.displacement[0]
    when.append(step)
    errors.append(metrics.endpoint_error(u, pair.displacement, pair.region))
    sure.append([float(r.entropy().mean()) / math.log(4) for r in routings])
    entropies = [round(value, 2) for value in sure[-1]]
    print(f"step {step:5}: endpoint error {errors[-1]:.2f}, entropy {entropies}")
sure = torch.tensor(sure).mean(1)
first = torch.tensor(errors)
assert sure[0] > 0.99 > 0.25 > sure[-1]
found = (first[0] - first) / (first[0] - first[-1])
decided = (sure[0] - sure) / (sure[0] - sure[-1])
shares = f"{found[-2]:.0%} of the fall in error, {decided[-2]:.0%} of that in entropy"
print(f"after {when[-2]} of {when[-1]} steps: {shares}")
assert found[-2] > 0.5 > 0.2 > decided[-2], "fields first"

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows, columns for states of training: before, three early steps, and the network that ships. First row: map of the largest gate of the finest decoder layer for direction y, nearly one colour before training and patches of four at the end. Second row: entropy of that router, bright in all columns but the last. Below, against steps: the endpoint error is a little larger at step 30 than before, and falls most up to step 250; the entropy falls after it."}}
columns = (0, 3, 5, 6, 7)
figure = plt.figure(figsize=(10, 6.2))
for column, number in enumerate(columns):
    step, state = kept[number]
    routing = state.routing["decoder.0.shmoe"]
    ax = figure.add_axes((0.04 + 0.17 * column, 0.68, 0.15, 0.25))
    show_experts(ax, routing, title=f"step {step}, y")
    ax = figure.add_axes((0.04 + 0.17 * column, 0.41, 0.15, 0.25))
    entropy = routing.entropy()[0, 0] / math.log(4)
    picture = ax.imshow(entropy, vmin=0, vmax=1, cmap="viridis")
    ax.set_axis_off()
scale = figure.add_axes((0.9, 0.43, 0.015, 0.2))
figure.colorbar(picture, cax=scale, label="entropy / log N")
expert_legend(figure, routing.experts, bbox_to_anchor=(0.45, 0.335))
for left_edge, values, title in (
    (0.08, errors, "endpoint error, voxels"),
    (0.56, sure, "entropy / log N"),
):
    ax = figure.add_axes((left_edge, 0.09, 0.38, 0.22))
    ax.plot(range(len(when)), values, "o-", color="black")
    ax.set_xticks(range(len(when)), when, fontsize=8)
    ax.set(xlabel="steps of training", ylabel=title)
    ax.set_ylim(bottom=0)
plt.show()
assert errors[3] > errors[0] > errors[-2] > errors[-1]

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Good fields come first, after some tens of steps with worse ones. After 250 steps this network has found most of what it will ever find of
# the motion, while its routers have hardly begun to decide: they colour near-ties, and a map that looks like anatomy is decided by a hair.
# When they decide after that, this strip does not say; the record of growth looks further. Keep that for the verdict.
#
# </details>
#
# ### A guided path
#
# The explorer shows every decision of the trained network on this pair. It works without a kernel; what needs one says so.

# %%
history = {"entropy / log N": {"step": when, "entropy": sure.tolist()}}
history["endpoint error"] = {"step": when, "endpoint error": errors}
Explorer(
    network,
    pair,
    title="SHMoAReg, trained, on a pair it has not seen",
    snapshots=kept,
    history=history,
    voxel=(40, 22),
    layer="decoder.0.shmoe",
    direction="y",
)

# %% [markdown]
# 1. **The right kidney's lower edge.** It is open at voxel (40, 22), layer `decoder.0.shmoe`, direction y. *At this voxel* shows
#    one gate of one. Change the direction to x: another expert.
# 2. **Doubt.** Under *Routing*, show the entropy, and click the brightest voxel of the vena cava, (40, 28). Two gates are nearly
#    equal there.
# 3. **The coarse level.** Change the layer to `decoder.2.shmoe`, direction y. The map is a stack of bands: one row, one expert. In
#    another subject the bands lie where they lie here. This router knows the place, not the patient.
# 4. **Who is missed.** Under *Knock-out* take away 1² in this layer: the error of this pair grows by a third. Then 7²: nothing.
# 5. **While it was trained.** Move the slider *Training* from its left end to the right: the field of this pair is found by step 250,
#    and the maps change once more after it, while routers make up their minds.
#
# What the five stations claim, checked (the code is folded):

# %% tags=["hide-input"]
layer = result.routing["decoder.0.shmoe"]
y, x = layer.gates[0, :, :, 20, 11]
assert y.max() > 0.99
assert y.argmax() != x.argmax()
torn = layer.gates[0, 0, :, 20, 14].topk(2).values
inside = pair.fixed_labels[0, ::2, ::2] == 9  # the vena cava
assert torn[0] - torn[1] < 0.1
assert layer.entropy()[0, 0, 20, 14] == layer.entropy()[0, 0][inside].max()

coarsest = [register(one).routing["decoder.2.shmoe"] for one in test]
bands = torch.stack([routing.first()[0, 0] for routing in coarsest])
same = (bands[:, None] == bands[None]).float().mean().item()
share = torch.bincount(bands.flatten(), minlength=4) / bands.numel()
chance = share.square().sum()
print(f"two subjects' bands are equal at {same:.0%}, by chance {chance:.0%}")
assert (bands[0] == bands[0][:, :1]).all()
assert same > 0.9

routers = find_routers(network)
truth = pair.displacement, pair.region
complete = metrics.endpoint_error(result.displacement[0], *truth)
without = []
for expert in range(4):
    with rerouted(routers, without={"decoder.2.shmoe": (expert,)}):
        u = register(pair).displacement[0]
    without.append(metrics.endpoint_error(u, *truth) / complete)
print("error without each expert of decoder.2:", [round(share, 2) for share in without])
assert without[0] == max(without) > 1.3
assert abs(without[3] - 1) < 0.02

# %% [markdown]
# ## Doubted
#
# Maps of chosen experts look like anatomy. So do many smooth maps. The audit asks four questions that can come out
# either way. Each has controls of two kinds: some that must *not* be found (other subjects, the network before training,
# the network with random routers), and an oracle that *must*: if even that stays hidden, the question cannot be answered
# with these pairs.


# %%
def show(finding):
    print(textwrap.fill(finding.sentence, 88))
    display(viz.draw(finding))


controls = experiments.control_networks(network)
audited = experiments.audit(network, test[:8], controls=controls)
findings = {finding.question: finding for finding in audited}
print(list(findings))

# %% mystnb={"image": {"alt": "Stacked bars: share of assignments of every expert, for each routed layer and router."}}
show(findings["How is the load shared?"])
assert min(row["load"] for row in findings["How is the load shared?"].rows) > 0.02

# %% [markdown]
# **If I tell you the organ, how much do you know about the expert? More than another subject's organs at the same places would
# tell you?** Any two smooth maps share some information. The oracle takes this network's gates and deals them out by organ.
# "More by chance" says how many of as many routers would be found if there were nothing to find.

# %% tags=["hide-output"] mystnb={"image": {"alt": "Matrices of organs against experts, one per direction: how the gates of the finest layer are shared inside each organ, with bits of information above."}}
show(findings["Do experts know the organs?"])
organs = findings["Do experts know the organs?"].rows
gained = {}
for row in organs:
    if row["role"] == "decoder":
        gained.setdefault(row["network"], []).append(row["own"] - row["other"])
for name, values in gained.items():
    print(f"{name:15} {float(np.mean(values)):+.3f} bit more, mean of six routers")
told = " ".join(findings["Do experts know the organs?"].sentence.split())
assert told.startswith("In 0 of 6")
assert "untrained network: 0 of 6. The random-router network: 0 of 6" in told

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# In no router of the decoder do a subject's own organs tell more about the expert than another subject's do, in the trained network as
# little as in its two controls. So a map that looks like anatomy may owe it to what all subjects share: smooth organs at like places. Mind
# the oracle: with eight sections it is not found everywhere, and where it stays hidden, knowledge could too. The recorded audits below have
# volumes, and find it everywhere.
#
# </details>
#
# Used is not relied on. **Take away an expert, or put uniform or random gates in a router's place: which hurts most?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Bars: change of the endpoint error without each expert and with uniform or random gates in each direction."}}
show(findings["Who is missed?"])
missed = findings["Who is missed?"].rows
random = [row for row in missed if row["change"] == "random gates"]
gates_cost = {row["what"]: row["epe_change"] for row in random}
two = ({"change": "random gates", "what": what} for what in ("y", "x"))
dearer = experiments.effect_between(missed, *two, "epe")
print(f"\nrandom gates for y less random gates for x: {dearer.text(2)}")
assert dearer.judged("epe") == "worse"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# This network relies on its decisions: random gates cost it more than half of a voxel, and nearly all of that for y, the direction of
# breathing. For x, random gates cost next to nothing (one draw of them). Whether a network *needs* its decisions is another question, for
# networks trained without: it comes below.
#
# </details>
#
# **Is a router less sure where the field is wrong?** Where motion is large, errors are large, and features that differ much make
# any router less sure. So the size of the motion is held fixed: the partial correlation is what is left. The oracle is the error itself,
# half of it drowned in noise: a router that knew so much would be found.

# %% tags=["hide-output"] mystnb={"image": {"alt": "Bars: partial rank correlation between router entropy and endpoint error for each decoder router, with the spread over pairs and marks for the controls."}}
show(findings["Does doubt mark error?"])
doubts = findings["Does doubt mark error?"].rows
strongest = max(r["partial"] for r in doubts if r["network"] == "trained")
rises = re.compile(r"rises\s+with the error in (\d+) of (\d+)")
doubting = int(rises.search(findings["Does doubt mark error?"].sentence)[1])
assert 0 < doubting <= 3
assert strongest < 0.2

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# In some routers a little; the strongest rank correlation is below a fifth. A router's doubt is about experts, and experts
# may agree. Do not read an entropy map as a map of errors. (In volumes, below, no router does.)
#
# </details>
#
# ## What makes routers decide?
#
# The balance loss asks that all experts are used, and nothing more: a router that calls all of them nearly equal is content.
# The information loss, $\overline{H(p)} - H(\bar p)$, asks for two things at once: be sure at each place, and differ between
# places. By hand: two experts, two places with $p = (1, 0)$ and $(0, 1)$: the mean entropy is 0, the entropy of the mean
# $\log 2$, the loss $-\log 2$, its least. With $(1/2, 1/2)$ at both places: $\log 2 - \log 2 = 0$, its most. And the registration
# itself? **Multiply all logits by a number a little above one, so that every router becomes surer. How does each loss change?**


# %% tags=["hide-output"]
def asks(network, pairs):
    """Derivative of each loss after a common factor on all decoder logits, by pair."""
    factor = torch.ones((), requires_grad=True)

    def scaled(routing):
        logits = routing.logits * factor
        gates, chosen = choose(logits, 2, "stopped")
        return replace(routing, logits=logits, gates=gates, indices=chosen)

    inside = {n: r for n, r in find_routers(network).items() if n.startswith("decoder")}
    slopes = {"similarity": [], "balance": [], "information": []}
    for one in pairs:
        with intervene(dict.fromkeys(inside.values(), scaled)):
            state = network(one.moving[None], one.fixed[None])
        own = [state.routing[name] for name in inside]
        losses = {"similarity": similarity.lncc(state.warped, one.fixed[None])}
        losses["balance"] = torch.stack([r.balance_loss() for r in own]).mean()
        losses["information"] = torch.stack([r.information_loss() for r in own]).mean()
        for name, loss in losses.items():
            (slope,) = torch.autograd.grad(loss, factor, retain_graph=True)
            slopes[name].append(float(slope))
    return slopes


def drawn(seed):
    torch.manual_seed(seed)
    return models.build("shmoareg", dims=2).eval()


# %% tags=["hide-output"]
weights = {"similarity": 1.0, "balance": 0.01, "information": 0.1}
states = {f"as drawn, seed {seed}": drawn(seed) for seed in range(3)}
every = states | {"trained": network}
slope = {name: asks(one, test[:4]) for name, one in every.items()}
print("weight times slope, mean of four pairs; negative: be surer")
for name, by_loss in slope.items():
    shown = {key: weights[key] * sum(v) / len(v) for key, v in by_loss.items()}
    print(f"{name:17}", {key: f"{value:+.5f}" for key, value in shown.items()})
    assert max(by_loss["information"]) < 0, "in every network and for every pair"
signs = {v > 0 for name in states for v in slope[name]["similarity"]}
assert signs == {True, False}, "as drawn, registration asks now this, now that"
assert all(sum(slope[name]["balance"]) > 0 for name in states), "balance: be less sure"
similar, informed = (slope["trained"][name] for name in ("similarity", "information"))
effect = metrics.paired_effect(similar, [0.0] * len(similar))
print(f"trained, slope of the similarity: {effect.text(5)}")
assert effect.direction == "higher", "it asks to be less sure"
assert -0.1 * sum(informed) > 10 * sum(similar), "and is outweighed"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# As drawn, everybody asks for next to nothing: the similarity with either sign from pair to pair, and the balance loss takes
# back what it asks on average. In the trained network the similarity would have routers *less* sure, on average over four pairs; the
# information loss outweighs it more than tenfold and is the only one that asks every network, on every pair, to decide. A slope at two
# moments does not explain a training; but it says where to look: not at an obstacle (without the balance loss routers stay
# as undecided, see below), but at how little there is to gain.
#
# </details>
#
# What came of whole trainings, `make experiments` has recorded: five seeds each, the same pairs in the same order. *Balance* is the
# default; *nothing asked of routers* drops that loss; *information* has the information loss in its place; *one expert* is k = 1; *frozen
# routers* stay as they were drawn. **Do decided routers register better? Do two seeds decide alike?**

# %% tags=["hide-input", "hide-output"] mystnb={"image": {"alt": "For each way of asking routers to decide: entropy of routers, share of voxels given to the same expert by two seeds beside independent maps, Dice and endpoint error, one dot per seed. The two settings with information have the lowest entropies."}}
record = recorded("decisions")
rows, (protocol,) = record.finding.rows, record.protocols
steps, seeds = protocol["training"]["steps"], len(protocol["seeds"])
print(f"{steps} steps, {seeds} seeds")
settings = list(dict.fromkeys(row["setting"] for row in rows))
entropy = {}
for name in settings:
    own = [row for row in rows if row["setting"] == name]
    entropy[name] = float(np.mean([row["entropy"] for row in own]))
    alike, chance = own[0]["same_expert"], own[0]["same_by_chance"]
    shown = f"entropy {entropy[name]:.2f}, alike {alike:.0%} (chance {chance:.0%})"
    print(f"{name:24} {shown}")
    if name != settings[0]:
        two = ({"setting": name}, {"setting": settings[0]})
        for key in ("dice", "epe"):
            effect = experiments.effect_between(rows, *two, key)
            print(f"{'':26}{key:5} {effect.text()} {effect.judged(key)}")
display(viz.draw(record.finding))
alike = {row["setting"]: row["same_expert"] - row["same_by_chance"] for row in rows}
assert alike["frozen routers"] > 0.05, "who never learned agrees above chance, too"
assert entropy["balance"] > 0.95, "balance leaves them undecided"
lowest = sorted(entropy, key=entropy.get)[:2]
assert all("information" in name for name in lowest)
two = [{"setting": "information"}, {"setting": settings[0]}]
assert experiments.effect_between(rows, *two, "dice").judged("dice") == "not told apart"
surer = experiments.effect_between(rows, *two, "entropy").direction == "lower"
price = {key: experiments.effect_between(rows, *two, key) for key in ("dice", "epe")}
assert price["dice"].low > -0.01, "if decisions cost Dice, then less than a hundredth"
assert price["epe"].high < 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# With information routers are surer, and accuracy is not told apart: if decisions cost Dice, then less than a hundredth, and if they bring
# any, no more. Frozen routers, which never learn at all, are not told apart from learned ones. One expert per voxel is worse in endpoint error
# however it is asked. Two seeds agree on more voxels than independent maps of the same loads would. But so do *frozen* ones: that much is
# there before anything is learned (the same pairs, and experts matched after the fact), and how much of the rest is learned this record,
# without an interval for it, does not say.
#
# </details>
#
# ### How does specialisation grow?
#
# *A first reading may leave this section out.*
#
# The same question over time, networks of the information loss. **Is the endpoint error flat at the last look?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Against steps of training on a logarithmic axis: endpoint error falls, entropy of routers falls late, costs of the most missed expert and of random gates rise, and agreement of two seeds stays a little above independent maps."}}
growth = recorded("growth").finding
show(growth)
looks = sorted({row["step"] for row in growth.rows})
last = ({"step": look} for look in (looks[-1], looks[-2]))
middle = experiments.effect_between(growth.rows, *last, "epe")
print(f"endpoint error, step {looks[-1]} less {looks[-2]}: {middle.text(2)}")
assert middle.judged("epe") == "better", "still falling"
by_step = [[r for r in growth.rows if r["step"] == look] for look in looks]
unsure = [float(np.mean([row["entropy"] for row in own])) for own in by_step]
at = [({"step": look}, {"step": looks[-1]}) for look in looks]
less = [experiments.effect_between(growth.rows, *two, "gates_cost") for two in at]
leans = next(i for i, effect in enumerate(less) if effect.direction != "lower")
print(f"reliance (random gates), step {looks[leans]} less {looks[-1]}:", end=" ")
print(f"{less[leans].text(2)}, entropy then {unsure[leans]:.2f}")
assert less[leans - 1].direction == "lower"
assert leans < len(looks) - 3
assert unsure[leans] > 0.95

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# It still falls, so these recordings speak of networks of so many steps. Reliance (what random gates in place of its own cost) comes
# early: from the printed step on it is not told apart from that at the end, while the routers are hardly surer than when they were drawn. A
# network leans on the gates it grows up with before they are decided. That is no sign that they were needed.
#
# </details>
#
# ### Motion or axis? Do seeds agree?
#
# *A first reading may leave this section out.*
#
# If a direction's experts followed its motion, exchanging the motion of two directions would exchange their experts. And one
# network is an anecdote: would another seed decide alike? **Guess both before you unfold.**

# %% tags=["hide-output"] mystnb={"image": {"alt": "First, mean kernel extent that each direction asks for after training on the original and on the permuted motion, one dot per seed. Second, share of voxels where two seeds choose the same expert after matching, per decoder router, beside the share of independent maps."}}
for name in ("axis", "stability"):
    record = recorded(name)
    (protocol,) = record.protocols
    steps, seeds = protocol["training"]["steps"], len(protocol["seeds"])
    print(f"{name}: {steps} steps, {seeds} seeds")
    show(record.finding)
assert "routing follows neither" in recorded("axis").finding.sentence
agreed = recorded("stability").finding.rows
above = float(np.mean([row["agreement"] - row["chance"] for row in agreed]))
by_name = float(np.mean([row["by_name"] - row["chance"] for row in agreed]))
print(f"agreement above chance: {above:+.2f},", end=" ")
print(f"experts of one name {by_name:+.2f},", end=" ")
print(f"frozen routers of the record above {alike['frozen routers']:+.2f}")
assert above > 3 * max(by_name, alike["frozen routers"])

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Kernels follow neither the motion nor the axis so that three seeds could tell. Two seeds agree at more than half of the voxels, once experts
# are matched after the fact: *where* the choice changes seems to repeat. *Which* kernel is chosen there hardly does, as the share without matching says. So do
# not tell a story about the size of a kernel. The agreement is several times that of frozen routers in the record above, but those had another task and
# fewer steps: the control that belongs here, frozen routers trained as long on these pairs, is missing, and the interval is too narrow, as its own
# sentence says.
#
# </details>
#
# ### In volumes, and on real scans
#
# *A first reading may leave this section out.*
#
# The same audit of the networks for abdominal volumes and for hippocampus MR, recorded. On real scans the true motion is
# unknown, so the measure is Dice. **In how many of nine decoder routers do experts know the organs, and in how many with routers
# drawn at random?**


# %% tags=["hide-output"]
def organ_counts(data):
    """Decoder routers that know organs: trained, untrained, random routers."""
    (finding,) = [f for f in recorded(data).findings if "organs" in f.question]
    decoder = finding.sentence.split(" In ")[0]
    trained = int(re.search(r"In (\d+) of (\d+)", finding.sentence)[1])
    others = re.findall(r"The (untrained|random-router) network: (\d+)", decoder)
    return {"trained": trained} | {name: int(count) for name, count in others}


counts = {data: organ_counts(data) for data in ("abdomen", "hippocampus")}
for data, found in counts.items():
    print(f"{data:12} of nine decoder routers: {found}")
for data in counts:
    for finding in recorded(data).findings:
        print(f"\n{data.upper()}. {finding.question}")
        print(textwrap.fill(finding.sentence, 88))
assert counts["abdomen"]["trained"] == 0
(about,) = [f for f in recorded("abdomen").findings if "doubt" in f.question]
in_volumes = int(rises.search(about.sentence)[1])
assert in_volumes == 0
assert counts["hippocampus"]["random-router"] >= counts["hippocampus"]["trained"] > 0

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# In volumes of the abdomen in none. On hippocampus in some, but the network with random routers on the same features knows as
# many: the *features* know the anatomy. A map that follows the anatomy says nothing about what a router has learned.
#
# </details>
#
# ## The verdict
#
# Knock-outs say what a network relies on. What it *needs*, trainings without it say. Everything that is recorded about that,
# each variant against the same reference, three seeds or more, by one rule: the words are those of a 95 % interval over seeds
# and pairs. *Per direction* is the layer as the chapters built it; *uniform gates* mix all experts alike everywhere; a *joint router*
# decides once for all directions; a *plain head* is the widest kernel alone, without a router. **Before you unfold: which of these
# differences will be told apart?**


# %% tags=["hide-output"]
def against(name, variants, reference, key="variant"):
    """Words for each variant of a record against the reference: {variant: words}."""
    record = recorded(name)
    rows, (protocol,) = record.finding.rows, record.protocols
    steps, seeds = protocol["training"]["steps"], len(protocol["seeds"])
    print(f"{name}: {steps} steps, {seeds} seeds, against '{reference}'")
    rows = [r for r in rows if r["task"] == rows[0]["task"] and not r.get("diverged")]
    words = {}
    for variant in variants:
        two = ({key: variant}, {key: reference})
        between = experiments.effect_between
        effects = {m: between(rows, *two, m) for m in ("dice", "epe")}
        words[variant] = {m: effect.judged(m) for m, effect in effects.items()}
        said = [f"{m} {e.text()} {words[variant][m]}" for m, e in effects.items()]
        print(f"   {variant:24} {said[0]}")
        print(f"   {'':24} {said[1]}")
    return words


short = ("uniform gates", "joint router", "plain head")
ablation = against("ablation", short, "per direction")
asked = ("frozen routers", "information")
decisions = against("decisions", asked, "balance", "setting")
heads = against("heads", ("all heads", "no attention"), "two heads of eight")
undecided = {"dice": "not told apart", "epe": "not told apart"}
assert ablation["uniform gates"]["dice"] == "worse"
assert ablation["joint router"] == ablation["plain head"] == undecided
assert decisions["frozen routers"] == decisions["information"] == undecided
assert heads["all heads"] == heads["no attention"] == undecided

# %% [markdown]
# And the comparison that all of this asks for: learned routing against frozen routers, uniform gates, one router for all
# directions and a plain head, by the recipe of the network that we opened and for far more steps than above. The last line says what its
# training still gained after as many.

# %% tags=["hide-output"]
controls = ("frozen routers", "uniform gates", "joint router")
controls = (*controls, "joint router, eight experts", "plain head")
routing = against("routing", controls, "per direction")
assert all(words == undecided for words in routing.values())
share = {}
for name in ("per direction", "frozen routers"):
    own = (r for r in recorded("routing").finding.rows if r["variant"] == name)
    share[name] = [row["entropy"] for row in own]
    print(f"{name}: entropy {min(share[name]):.2f} to {max(share[name]):.2f} of log N")
assert max(share["per direction"]) < 0.2 < 0.9 < min(share["frozen routers"])
steps = recorded("routing").protocols[0]["training"]["steps"]
curve = {point["step"]: point for point in card["made"]["validation"]}
there, last = min(curve, key=lambda step: abs(step - steps)), max(curve)
more = {m: curve[last][m] - curve[there][m] for m in ("dice", "epe")}
print(f"the shipped network from step {there} to {last}:", end=" ")
print(f"Dice {more['dice']:+.3f}, error {more['epe']:+.2f} voxels")
assert abs(more["dice"]) < 0.01
assert more["epe"] < -0.02

# %% [markdown]
# So, row by row:

# %% tags=["hide-output"]
early, frozen = ablation["uniform gates"]["dice"], decisions["frozen routers"]
scans = counts["hippocampus"]
said = {
    "Routers can be made to decide": surer,
    "Decisions cost less than a hundredth of Dice": price["dice"].low > -0.01,
    "A trained network relies on its decisions": gates_cost["y"] > 0.1,
    "Reliance comes before decisions": unsure[leans] > 0.95,
    "A choice beats a uniform mixture, early": early == "worse",
    "Learned choices are better than frozen ones": frozen != undecided,
    "A router per direction is better than one": ablation["joint router"] != undecided,
    "Several kernels are better than one wide": ablation["plain head"] != undecided,
    "Attention heads are needed": heads["no attention"] != undecided,
    "Routers learn the organs": scans["trained"] > scans["random-router"],
    "Doubt marks error, flat and in volumes": doubting > 0 and in_volumes > 0,
}
for name in controls:
    worse = "worse" in routing[name].values()
    said[f"After a long training, learned routing beats {name}"] = worse
for claim, holds in said.items():
    print(f"{'holds    ' if holds else 'not shown'}  {claim}")

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# **What holds.** Routers can be made to decide, and accuracy is not told apart. A trained network relies on its gates, long before
# they are decided, and most on those of the direction along which tissue moves. In short trainings a choice that differs
# from place to place is worth more than the same mixture everywhere; in long ones that is not told apart.
#
# **What is not shown.** That choices must be *learned*: frozen routers do as well in the trainings of the decisions record. That
# each direction needs its own. That several kernels are better than the widest. That attention heads are needed. That routers
# learn organs: where they seem to, random routers on the same features do too. That doubt marks error: a little in some
# flat routers, in none of those for volumes. And the longest trainings took back what the short ones had shown: there even the same
# mixture everywhere is not told apart from routers that learn and decide, nor are routers that were drawn and stay undecided, one router
# with as many experts or with twice as many, or one wide kernel without any choice. Dice had levelled off in them; the endpoint error
# would have fallen further, so what it says is said of a long training and not of a finished one. Not shown is not refuted: the
# intervals above say how large an advantage could still hide.
#
# **Why** that is so is not known. What was found and fits together: at the moments that were looked at, registration gains nothing from surer
# routers; networks whose routers never learn, or whose gates are all alike, catch up in training; and a network leans on the gates it grew up
# with. The explanation that suggests itself, experts that grow up with their gates and learn to do whatever they are given, has had no
# experiment of its own. Chapter 08 has the counterexample, a task in which choices pay: there are fewer experts than kinds of work. Whether
# scans of mild motion and one contrast, like these phantoms, have too few kinds of work is one more guess.
#
# **Before and after.** As drawn, routers are undecided. Trained with the balance loss, or with nothing asked of them, they are so still
# after the steps of the record. Trained with the information loss they decide, after the field has been found.
#
# </details>
#
# | fixed by the paper | chosen here |
# |---|---|
# | encoder with MoA, decoder with SHMoE at several resolutions, three directions | siamese pyramid of three levels, fields composed |
# | heads per token, experts per voxel and direction, of varying kernel size | 8 heads and k = 2; 1, 3, 5, 7 as a nested chain and k = 2 |
# | Dice on abdominal CT, against other methods | nothing here reproduces it: other data, other sizes |
#
# The paper's claims, each with our figure, stand in the ledger of claims on the site.
#
# ## Exercises
#
# **1.** Write one level of the decoder: the coarse field `(B, D, *half)` in coarse voxels and the residual `(B, D, *S)` give the new
# field. `fields.upsample(coarse, shape)` brings values to the finer grid, `fields.warp` reads one field where another leads.


# %% tags=["solution"]
def next_level(coarse, residual):
    """(B, D, *S): the coarse field, in fine voxels, read at x + r, and r added."""
    up = 2 * fields.upsample(coarse, residual.shape[2:])
    return residual + fields.warp(up, residual)


# %% tags=["hide-output"]
check("shmoareg-residual", next_level)

# %% [markdown]
# **2.** Write the information loss of one router: logits `(B, N, *S)`, natural logarithm, the mean over batch and places.


# %% tags=["solution"]
def information_of(logits):
    """Mean entropy less entropy of the mean; a number with gradient."""
    p = logits.softmax(1).movedim(1, -1).flatten(0, -2)
    mean = p.mean(0)
    each = -torch.special.xlogy(p, p).sum(1)
    return each.mean() + torch.special.xlogy(mean, mean).sum()


# %% tags=["hide-output"]
check("shmoareg-information", information_of)

# %% [markdown]
# **3.** The field so far is u(x) = 0.1 x, the residual is 1 everywhere. What is the new displacement at x = 10?

# %% tags=["solution"]
check("shmoareg-compose", 2.1)

# %% [markdown]
# **4.** Which control does "experts know the organs" need: `"shuffled"` labels, or those of an `"other"` subject?

# %% tags=["solution"]
check("shmoareg-control", "other")

# %% [markdown]
# **5.** Random gates in which direction cost most?

# %% tags=["solution"]
check("shmoareg-missed", "y", rows=findings["Who is missed?"].rows)

# %% [markdown]
# ## To remember
#
# * Coarse to fine, residual by residual: the field is a composition of sums of experts' contributions.
# * Fields come first, decisions later, and only if a loss asks for them.
# * Load, maps and information describe use; knock-outs, reliance; trainings without a part, need. They are three answers.
# * Every question needs a control that must not be found, and one that must.
# * "Not told apart" is a result, with an interval that says how much could hide.
