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
#       smoke_seconds: 35
#       full_seconds: 30
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # MoA: every token picks its heads
#
# Chapter 05 wrote multi-head attention as a sum of heads, chapter 06 built a router. Put together they are a *mixture of
# attention heads* (MoA). You will be able to
#
# * turn multi-head attention into a mixture, step by step, and back, with equal value and gradient,
# * count what choosing saves, and what it does not,
# * follow tokens of a trained encoder to the heads they picked,
# * ask whether the choice matters, and tell *relied on* from *needed*.
#
# The code is `moereg/nn/moa.py`; the idea is from Zhang et al. 2022 (MoA) and used by SHMoAReg for image tokens.

# %%
import contextlib
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from moereg import experiments, metrics, models
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.nn.attention import MultiHeadAttention, Windows, attend
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.observe import find_routers, intervene, observe, reroute
from moereg.nn.routing import choose
from moereg.viz.explorer import RouterSteps
from moereg.viz.figures import expert_legend, show_experts, show_image, show_load
from moereg.viz.palette import expert_colours
from moereg.viz.stills import stills

plt.rcParams["figure.dpi"] = 110
_ = torch.manual_seed(0)

# %% [markdown]
# ## The idea
#
# Multi-head attention adds up its heads. MoA adds up *some* of them, chosen by a router for each token $t$ (the set
# $G(q_t)$), weighted with its gates $w_{i,t}$ (the paper's letter; $g$ in chapter 06):
#
# $$y_t = \sum_{i \in G(q_t)} w_{i,t}\, E_i(q_t; K, V), \qquad E_i = \mathrm{softmax}\Big(\frac{q_t W_i^q (K W^k)^\top}{\sqrt d}\Big) V W^v W_i^o$$
#
# $q_t$ is the token itself; $K$ and $V$ are both the $T$ tokens of its window (the paper's letters; in chapter 05 they
# were projected already); $N$ heads of width $d$, tokens of $C$ features. $W^k$ and $W^v$ carry no index: all heads
# share them.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram: a token of C features goes to the router, which picks k of N heads with gates. The token goes through the chosen heads' query matrices, C by d each. All T tokens of the window go through one key and one value matrix to keys and values, T by d, used by every head. The heads' results go through their output matrices, d by C, are weighted with the gates and added to C features."}}
figure, ax = plt.subplots(figsize=(10, 3.2))
frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
style = {"ha": "center", "va": "center", "fontsize": 9}
boxes = {
    "token q\n(C)": (0, 2),
    "window\n(T, C)": (0, 0.3),
    "router\n(N) logits": (2.6, 3),
    "k queries\n(k, d)": (2.6, 1.8),
    "keys, values\n(T, d) twice": (2.6, 0.3),
    "k gates": (7.8, 3),
    "attention\n(k, d)": (5.8, 1.3),
    "k answers\n(k, C)": (8.4, 1.3),
    "output y\n(C)": (11.2, 2),
}
for text, (x, y) in boxes.items():
    ax.text(x, y, text, bbox=frame, **style)
arrows = [(0, 2, 2.6, 3, "W"), (0, 2, 2.6, 1.8, "chosen $W_i^q$")]
arrows += [(0, 0.3, 2.6, 0.3, "$W^k, W^v$"), (2.6, 3, 7.8, 3, "softmax, top-k")]
arrows += [(2.6, 1.8, 5.8, 1.3, ""), (2.6, 0.3, 5.8, 1.3, "")]
arrows += [(5.8, 1.3, 8.4, 1.3, "chosen $W_i^o$"), (8.4, 1.3, 11.2, 2, "")]
arrows += [(7.8, 3, 11.2, 2, "")]
for x0, y0, x1, y1, text in arrows:
    tip = {"arrowstyle": "->", "shrinkA": 36, "shrinkB": 36}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=tip)
    ax.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.22, text, **style)
ax.text(5, 0.3, "shared by all heads", **style)
ax.text(10.4, 2.8, "weighted sum", **style)
ax.set(xlim=(-0.9, 12), ylim=(-0.3, 3.5))
ax.set_axis_off()
plt.show()

# %% [markdown]
# By hand: one token, three heads that would answer 8, 16 and 100 (one number each), probabilities 5/10, 3/10, 2/10, k = 2.
# Heads 0 and 1 are chosen; their gates are 5/8 and 3/8; $y = 5/8 \cdot 8 + 3/8 \cdot 16 = 5 + 6 = 11$. Head 2 is not asked,
# and 100 never computed.

# %%
logits = torch.tensor([5.0, 3, 2]).log().reshape(1, 1, 3, 1)
gates, chosen = choose(logits, 2, "renormalised")
answers = torch.tensor([8.0, 16, 100])
assert chosen.flatten().tolist() == [0, 1]
torch.testing.assert_close(gates.flatten(), torch.tensor([5 / 8, 3 / 8, 0]))
torch.testing.assert_close(gates.flatten() @ answers, torch.tensor(11.0))

# %% [markdown]
# ## From a sum to a mixture
#
# One window of 36 tokens, and the library's layer with its parameters. **What does a head own, and what do all heads
# share? Say it before you look at the shapes.**

# %% tags=["hide-output"]
layer = MixtureOfAttentionHeads(32, heads=8, k=2, head_dim=16, window=6).double()
for name, parameter in layer.named_parameters():
    print(f"{name:14} {tuple(parameter.shape)}")

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# `query` and `output` have a first axis of 8: a matrix for each head. `key` and `value` have none: they are computed once
# for all heads. The router has a row for each head.
#
# </details>
#
# **First version**: the sum of chapter 05, all heads for all tokens. **Second**: a gate before each term. It is a
# mixture, but nothing is saved: most terms are computed, then multiplied by zero. **Third**: only the rows that chose
# the head ask. Keys and values stay those of *all* tokens. The second and the third must give what the library's layer
# gives, in value and gradient.


# %%
def all_heads(layer, tokens):
    keys, values = tokens @ layer.key, tokens @ layer.value
    parts = [attend(tokens @ q, keys, values)[0] for q in layer.query]
    return sum(part @ o for part, o in zip(parts, layer.output, strict=True))


def gated(layer, tokens, gates):
    """gates (T, N), zero where a head was not chosen."""
    keys, values = tokens @ layer.key, tokens @ layer.value
    parts = [attend(tokens @ q, keys, values)[0] for q in layer.query]
    triples = zip(gates.T, parts, layer.output, strict=True)
    return sum(gate[:, None] * (part @ o) for gate, part, o in triples)


def chosen_rows(layer, tokens, gates):
    keys, values = tokens @ layer.key, tokens @ layer.value
    total = torch.zeros_like(tokens)
    for i, (q, o) in enumerate(zip(layer.query, layer.output, strict=True)):
        rows = gates[:, i].nonzero()[:, 0]
        part = attend(tokens[rows] @ q, keys, values)[0] @ o
        total = total.index_add(0, rows, gates[rows, i, None] * part)
    return total


# %%
features = torch.randn(1, 32, 6, 6, dtype=torch.float64, requires_grad=True)
mixed, routing = layer(features)
tokens = features.flatten(2)[0].T  # (36, 32)
gates = routing.gates[0, 0].flatten(1).T  # (36, 8)
results = [f(layer, tokens, gates).T.reshape(mixed.shape) for f in (gated, chosen_rows)]
for result in results:
    torch.testing.assert_close(result, mixed)
ones = torch.ones_like(gates)  # the first is the second with every gate at one
torch.testing.assert_close(all_heads(layer, tokens), gated(layer, tokens, ones))
slopes = []
for result in (mixed, *results):
    loss = result.square().sum()
    slopes += torch.autograd.grad(loss, features, retain_graph=True)
torch.testing.assert_close(slopes[1], slopes[0])
torch.testing.assert_close(slopes[2], slopes[0])
print("three ways, one value and one gradient")

# %% [markdown]
# **Predict: with k = 2 of 8 heads, which share of the products is left?** torch counts multiplications for us.

# %% tags=["hide-output"]
counts = {}
for window in (6, 8, 16):  # T = window squared
    draw = torch.Generator().manual_seed(window)
    tokens = torch.randn(window**2, 32, dtype=torch.float64, generator=draw)
    scores, picked = (tokens @ layer.router.weight.T).topk(2, dim=1)
    gates = torch.zeros(len(tokens), 8, dtype=torch.float64)
    gates = gates.scatter(1, picked, scores.softmax(1))
    for name, function in (("all", gated), ("chosen", chosen_rows)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            tokens @ layer.router.weight.T
            function(layer, tokens, gates)
        counts[window, name] = counter.get_total_flops()
    share = counts[window, "chosen"] / counts[window, "all"]
    print(f"windows of {window:2}²: {share:.3f} of the products of all heads")
    t, c, d, n, k = window**2, 32, 16, 8, 2
    once, per_head = t * c * (2 * d + n), 2 * t * c * d + 2 * t * t * d
    assert math.isclose(share, (once + k * per_head) / (once + n * per_head))
    assert k / n < share < 0.35

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# More than k/N = 1/4. What a head does by itself shrinks to a quarter: a query and an output product ($2 T C d$) and
# two products with keys and values ($2 T^2 d$). Keys, values ($2 T C d$) and the router ($T C N$) are computed once
# whatever k is. Their part fades as windows grow. Time is another matter: sorting and gathering rows costs too, and
# small products use a processor badly.
#
# </details>
#
# ## Back to where we came from
#
# All heads on with equal gates must be multi-head attention with shared keys, divided by N. Not roughly: to the last
# digits, and in the gradient too.

# %%
everyone = MixtureOfAttentionHeads(12, heads=8, k=8, head_dim=4, window=5).double()
torch.nn.init.zeros_(everyone.router.weight)
classic = MultiHeadAttention(12, heads=8, head_dim=4, shared_keys=True).double()
with torch.no_grad():
    classic.query.copy_(everyone.query)
    classic.key.copy_(everyone.key[None])
    classic.value.copy_(everyone.value[None])
    classic.output.copy_(everyone.output / 8)

maps = torch.randn(2, 12, 10, 10, dtype=torch.float64, requires_grad=True)
windows = Windows.of(maps, 5)
expected = windows.join(classic(windows.split(maps)))
mixed, _ = everyone(maps)
slopes = [torch.autograd.grad(y.square().sum(), maps)[0] for y in (mixed, expected)]
torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-9)
torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-9)

# %% [markdown]
# ## In a trained encoder
#
# `abdomen-flat` comes with the library: SHMoAReg, with MoA at its two coarser levels, 8 heads and k = 2, trained on
# thousands of phantom pairs. What follows shows how *this* network works, and not that it had to: whether choosing is
# needed, the end of the chapter asks. To which head does each token of the fixed image give its largest gate? Beside
# the trained network stands one that was only drawn.


# %%
network = models.load_model("abdomen-flat")
test = [phantoms.make("abdomen", (64, 64), seed) for seed in range(9000, 9012)]
pair = test[0]  # none of them among the training pairs


def routings(network, pair=pair):
    with torch.no_grad():
        return network(pair.moving[None], pair.fixed[None]).routing


def drawn(seed):
    torch.manual_seed(seed)
    return models.build("shmoareg", dims=2).eval()


before, after = [routings(drawn(seed)) for seed in range(3)], routings(network)


# %% mystnb={"image": {"alt": "Fixed image, the map of the head with the largest gate at each token as drawn and trained, and the trained load of the eight heads as one stacked bar: near even when trained; in the trained map single heads run along the margins."}}
def show_heads(level=1):
    name = f"encoder.{level}.moa"
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.3))
    show_image(axes[0], pair.fixed[0], title="fixed")
    show_experts(axes[1], before[0][name], item=1, title="as drawn")  # item 0: moving
    show_experts(axes[2], after[name], item=1, title="trained")
    show_load(axes[3], after[name], title="load, trained")
    axes[3].set_yticks([])
    figure.subplots_adjust(bottom=0.2)
    expert_legend(figure, after[name].experts)
    plt.show()


stills(show_heads, alt="Heads as drawn and trained.", level=[1, 2])

# %% [markdown]
# Level 2 has half as many tokens along each axis and shows the same: the trained network shares out its heads (the
# information loss on its card asks for that, chapter 06). As drawn, with three seeds, some head is all but idle.

# %%
for name in ("encoder.1.moa", "encoder.2.moa"):
    *least, trained = (r[name].load().min().item() for r in (*before, after))
    shown = [round(load, 3) for load in least]
    print(f"{name}: smallest load as drawn {shown}, trained {trained:.3f}")
    assert max(least) < 0.02 < 0.05 < trained

# %% [markdown]
# It is tempting to read anatomy in such a map . Look at its margin first: one head along the top, one along the bottom,
# two down the sides. **In how many tokens do two different subjects pick the same head, at the margin and inside?** By
# chance it would be the sum of the squared loads.

# %% tags=["hide-output"]
name = "encoder.1.moa"
maps = torch.stack([routings(network, p)[name].first()[1, 0] for p in test])
inside = torch.zeros(16, 16, dtype=torch.bool)
inside[2:-2, 2:-2] = True
agreement = {}
for where, tokens in (("margin", ~inside), ("inside", inside)):
    heads = maps[:, tokens]  # (subjects, tokens)
    chance = sum((heads == i).float().mean().item() ** 2 for i in range(8))
    same = (heads[:, None] == heads[None]).float().mean(2)
    agreement[where] = same[~torch.eye(len(test), dtype=torch.bool)].mean().item()
    print(f"{where}: {agreement[where]:.2f}, by chance {chance:.2f}")
    assert agreement[where] > 2 * chance
assert agreement["margin"] > 0.9 > agreement["inside"]
assert (maps[:, 0] == maps[0, 0, 0]).float().mean() > 0.9, "one head for the top row"

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# At the margin nearly all subjects agree, and inside far more than by chance. That can be two things. Either heads follow
# the *place*, or they follow what is *shown*: all these subjects have air at the sides and organs at like places.
#
# </details>
#
# So move what is shown, and leave the places. Both images are shifted by 16 voxels, four tokens; what leaves on one
# side comes in on the other. Of the tokens at which the two predictions differ: **do heads stay at their places, or go
# along with the image? In the top and bottom row, at the sides, inside?**

# %% tags=["hide-output"]
outer = torch.zeros(16, 16, dtype=torch.bool)
outer[[0, -1]] = True  # the top and the bottom row; transposed, the sides
groups = {"top and bottom": (outer, 0), "sides": (outer.T, 1)}
groups |= {"inside, shifted down": (inside, 0), "inside, shifted right": (inside, 1)}
follows = {}
for where, (tokens, axis) in groups.items():
    stay, along = [], []
    for one, before_it in zip(test, maps, strict=True):
        images = (image.roll(16, axis + 1)[None] for image in (one.moving, one.fixed))
        with torch.no_grad():
            now = network(*images).routing[name].first()[1, 0]
        carried = before_it.roll(4, axis)  # where the image has taken them
        differ = tokens & (carried != before_it)
        stay.append((now == before_it)[differ].float().mean().item())
        along.append((now == carried)[differ].float().mean().item())
    follows[where] = sum(stay) / len(stay), sum(along) / len(along)
    print(f"{where:22} stay {follows[where][0]:.2f}, go along {follows[where][1]:.2f}")
assert follows["top and bottom"][0] > 0.9
assert all(along > 0.6 > 0.1 > stay for stay, along in list(follows.values())[1:])

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The top and the bottom row stay: these heads follow the *place*, whatever is shown there. Attention knows no places
# (chapter 05), and a convolution moves along with its image, but for its padded border: that is how the network knows
# the rows. At the sides and inside most heads go along with what is *shown*; the sides agreed among subjects because
# all of them have air there. Whether "what is shown" means the organ is another question: chapter 09 asks it with
# another subject's organs at the same places.
#
# </details>

# %% [markdown]
# ### Three tokens, step by step
#
# The picture shows where the two chosen heads look from three tokens; the views below it walk through each decision.

# %% mystnb={"image": {"alt": "Three rows: the fixed image with a marked token, its eight gates as bars, and where its two chosen heads look. Row 1, kidney's lower edge: one gate of one, the head looks at one far token. Row 2, between liver and vessels: two gates of similar size, both heads spread widely. Row 3, the spine below: one head on a few tokens above, the other on a single neighbour."}}
with torch.no_grad(), observe(network) as seen:
    network(pair.moving[None], pair.fixed[None])
level = seen["encoder.1.moa"]
edge, torn, low = (40, 24), (20, 24), (60, 32)


def decision(voxel):
    """Gates of all heads, and where each looks, for a token of the fixed image."""
    place = (voxel[0] // 4, voxel[1] // 4)
    gates = level.routing.gates[1, 0][(slice(None), *place)]
    return gates, level.layer.attention_from(level.features[1:2], place)


figure, axes = plt.subplots(3, 4, figsize=(9.5, 6.6), layout="constrained")
for row, voxel in zip(axes, (edge, torn, low), strict=True):
    gates, looks = decision(voxel)
    show_image(row[0], pair.fixed[0], title=f"token at {voxel}")
    row[0].plot(voxel[1], voxel[0], "o", color="#e8a53a", markersize=4)
    row[1].bar(range(8), gates, color=expert_colours(level.routing.experts))
    row[1].set(ylim=(0, 1), xlabel="head", ylabel="gate", xticks=range(8))
    for ax, head in zip(row[2:], gates.topk(2).indices.tolist(), strict=True):
        picture = ax.imshow(looks[head], cmap="magma", vmin=0, vmax=0.3)
        ax.plot(voxel[1] // 4, voxel[0] // 4, "+", color="#52d6ea")
        ax.set_title(f"head {head}, gate {gates[head]:.2f}", fontsize=9, loc="left")
        ax.set_axis_off()
figure.colorbar(picture, ax=axes, label="weight, 0.3 and above white", shrink=0.5)
plt.show()

# %% [markdown]
# **Station 1: the right kidney's lower edge, (40, 24).** One head has all of the gate. Step on to *Attention*: it gives most
# of its weight to a single token. The second head was computed for nothing.

# %%
gates, looks = decision(edge)
assert gates.max() > 0.99
assert looks[gates.argmax()].max() > 0.75
RouterSteps(network, pair, layer="encoder.1.moa", voxel=edge)

# %% [markdown]
# **Station 2: between liver and vessels, (20, 24).** The router is torn between two heads. Go to *Attention*: neither
# gives much to any one token. Both fetch something close to a mean over the window. They may still add different
# things: each has its own $W_i^o$.

# %%
gates, looks = decision(torn)
first, second = gates.topk(2).indices
assert 0.3 < gates[second] <= gates[first] < 0.7
assert max(looks[first].max(), looks[second].max()) < 0.15
RouterSteps(network, pair, layer="encoder.1.moa", voxel=torn)

# %% [markdown]
# **Station 3: low in the spine, (60, 32), at the image's border.** The window is cut off there and has fewer tokens. Look at
# *Top 2* and *Softmax*: here a second head has a say, and each of the two looks at a token or two.

# %%
gates, looks = decision(low)
first, second = gates.topk(2).indices
assert gates[second] > 0.1
assert min(looks[first].max(), looks[second].max()) > 0.5
assert (looks[first] > 0).sum() < 36
RouterSteps(network, pair, layer="encoder.1.moa", voxel=low)

# %% [markdown]
# The views need no kernel. With one, `steps = RouterSteps(...)` and `steps.voxel = (row, column)` walk through any other
# token, `steps.image = "moving"` through those of the moving image.
#
# ## Does the choice matter?
#
# Pictures cannot tell. So take the choice away and register again. In both MoA layers at once:
#
# * *no attention*: all gates zero (the layer's residual path stays),
# * *all heads*: no choice, every head with the gate 1/8,
# * *places shuffled*: the router's own decisions, dealt out to other tokens; and *random*: two random heads with random
#   gates; each with three seeds,
# * *k = 1*: the second head is dropped,
# * each of the 16 heads missing alone: tokens choose among the others, or (the control) nobody takes its place.
#
# **Predict the order: which costs most, which least?**


# %%
def none(routing):
    return replace(routing, gates=torch.zeros_like(routing.gates))


def all_alike(routing):
    gates, chosen = choose(routing.logits, len(routing.experts), "uniform")
    return replace(routing, gates=gates, indices=chosen)


def at_random(seed):
    draw = torch.Generator().manual_seed(seed)

    def change(routing):
        noise = torch.randn(routing.logits.shape, generator=draw) * routing.logits.std()
        gates, chosen = choose(noise, 2, "stopped")
        return replace(routing, gates=gates, indices=chosen)

    return change


def shuffled(seed):
    def change(routing):
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(routing.gates[0, 0, 0].numel(), generator=draw)
        both = [routing.gates, routing.indices]
        gates, chosen = (t.flatten(3)[..., order].reshape(t.shape) for t in both)
        return replace(routing, gates=gates, indices=chosen)

    return change


# %% tags=["hide-output"]
routers = {n: r for n, r in find_routers(network).items() if n.startswith("encoder")}


def errors(changes=None):
    """Endpoint error of every test pair while the routers' decisions are changed."""
    with intervene(changes) if changes else contextlib.nullcontext():
        row = metrics.evaluate({"one": network}, test, surfaces=False)["one"]
    return [one["epe"] for one in row["pairs"]]


def without(head):
    return lambda routing: reroute(routing, "stopped", without=(head,))


complete = errors()
both = {"no attention": [none], "all heads": [all_alike]}
both["places shuffled"] = [shuffled(seed) for seed in range(3)]
both["random"] = [at_random(seed) for seed in range(3)]
both["k = 1"] = [lambda routing: reroute(routing, "stopped", k=1)]
draws, cost = {}, {}
print(f"complete: endpoint error {sum(complete) / len(complete):.3f} voxels")
for name, changes in both.items():
    runs = [errors(dict.fromkeys(routers.values(), change)) for change in changes]
    draws[name] = torch.tensor(runs)  # (seeds, pairs)
    cost[name] = metrics.paired_effect(draws[name].mean(0), complete)
    seeds = [round(value, 2) for value in draws[name].mean(1).tolist()]
    print(f"{name:16} {cost[name].text()}  {cost[name].judged('epe')}, by seed {seeds}")


# %% tags=["hide-output"]
def silent(head):
    """The head's gate is zero, and nobody takes its place."""

    def change(routing):
        gates = routing.gates.clone()
        gates[:, :, head] = 0
        return replace(routing, gates=gates)

    return change


ways = {"others chosen": without, "nobody in its place": silent}
missing = {way: {} for way in ways}
for way, change in ways.items():
    for name, router in routers.items():
        for head, expert in enumerate(router.experts):
            missing[way][name, expert] = errors({router: change(head)})
    single = {k: metrics.paired_effect(v, complete) for k, v in missing[way].items()}
    judged = [effect.judged("epe") for effect in single.values()]
    counts_of = {w: judged.count(w) for w in ("worse", "better", "not told apart")}
    dearest = max(effect.mean for effect in single.values())
    print(f"single heads, {way:20} {counts_of}, the dearest {dearest:+.3f}")
    assert dearest < cost["no attention"].mean / 3
    assert counts_of["not told apart"] > len(single) / 2
chosen_anew, nobody = (missing[way].values() for way in ways)
for anew, none_there in zip(chosen_anew, nobody, strict=True):
    assert metrics.paired_effect(none_there, anew).judged("epe") != "worse"

# %% tags=["hide-output"]
means = {name: effect.mean for name, effect in cost.items()}
order = ["k = 1", "all heads", "no attention", "random"]
assert [means[n] for n in order] == sorted(means[n] for n in order)
mean = {name: runs.mean(0) for name, runs in draws.items()}  # one value per pair
for worse, than in (
    ("random", "no attention"),
    ("no attention", "all heads"),
    ("places shuffled", "all heads"),
):
    assert metrics.paired_effect(mean[worse], mean[than]).low > 0, (worse, than)
    assert draws[worse].mean(1).min() > draws[than].mean(1).max(), "every seed"
assert cost["k = 1"].judged("epe") == "not told apart"

# %% mystnb={"image": {"alt": "Horizontal bars with intervals: change of the endpoint error. Random heads cost by far most, more than no attention and shuffled places; all heads alike cost little, one head instead of two nothing that can be told."}}
_, ax = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
for place, effect in enumerate(cost.values()):
    reach = [[effect.mean - effect.low], [effect.high - effect.mean]]
    ax.errorbar(effect.mean, place, xerr=reach, fmt="o", color="black", capsize=3)
ax.axvline(0, color="grey", linewidth=0.8)
ax.set_yticks(range(len(cost)), list(cost))
ax.invert_yaxis()
ax.set_xlabel("change of the endpoint error, voxels (more is worse)")
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The network *relies* on its attention: without it, errors grow. It relies on not getting the *wrong* heads: two random
# ones cost more than no attention at all, and its own decisions at the wrong places cost far more than all heads alike.
# But the *choice* itself is worth little: the mean of all eight heads does nearly as well as two chosen ones, one does as
# well as two, and hardly any head is missed alone. It is not that another takes its place: where nobody does, no head is
# missed more.
#
# Sixteen heads, each with a 95 % interval: by chance alone one would look worse or better now and then. Do not build a
# story on the dearest of them.
#
# </details>
#
# ### What in it does the network rely on?
#
# *A first reading may leave this section out.*
#
# Attention is there to look elsewhere. Does this network rely on what comes from elsewhere? Put something in the
# layers' place that cannot look: at each token a *linear map of the token's own features*, fitted to what the layers
# gave on sixteen training pairs. Beside it stand a linear map of the 3 × 3 tokens around, and two controls: nothing,
# and the same mean answer at every token. **How much of the loss does each bring back?**


# %%
def around(maps, reach):
    """(B, C, rows, columns) -> (B, rows, columns, features): the tokens near, and 1."""
    if reach is None:
        return torch.ones(len(maps), *maps.shape[2:], 1)
    size = 2 * reach + 1
    near = F.unfold(F.pad(maps, (reach,) * 4, mode="replicate"), size)
    near = near.unflatten(2, maps.shape[2:])
    return F.pad(near, (0, 0, 0, 0, 0, 1), value=1.0).movedim(1, -1)


known = []
for seed in range(16):
    one = phantoms.make("abdomen", (64, 64), seed)
    with torch.no_grad(), observe(network) as seen:
        network(one.moving[None], one.fixed[None])
    known.append(seen)
layers = {name: known[0][name].layer for name in routers}


def fitted(name, reach):
    """The linear map that gives this layer's output best, least squares."""
    pairs = [(around(one[name].features, reach), one[name].output) for one in known]
    given = torch.cat([x.flatten(0, 2) for x, _ in pairs])
    wanted = torch.cat([y.movedim(1, -1).flatten(0, 2) for _, y in pairs])
    # Neighbours are alike: in float32 rounding would decide the error's third digit.
    both = (table.double() for table in (given, wanted))
    return torch.linalg.lstsq(*both).solution.float()


# %% tags=["hide-output"]
def in_its_place(name, reach):
    weights = fitted(name, reach)

    def answer(layer, inputs, result):
        return (around(inputs[0], reach) @ weights).movedim(-1, 1), result[1]

    return layers[name].register_forward_hook(answer)


places = {"one mean answer": None, "own features, linear": 0, "3 × 3, linear": 1}
instead = {"nothing": draws["no attention"][0].tolist()}
for title, reach in places.items():
    hooks = [in_its_place(name, reach) for name in layers]
    instead[title] = errors()
    for hook in hooks:
        hook.remove()
assert errors() == complete
left = {title: metrics.paired_effect(each, complete) for title, each in instead.items()}
for title, effect in left.items():
    back = 1 - effect.mean / left["nothing"].mean
    print(f"{title:22}{effect.text()}, {effect.judged('epe')}; {back:.0%} brought back")
local = metrics.paired_effect(instead["own features, linear"], instead["nothing"])
print(f"own features less nothing: {local.text()}, {local.judged('epe')}")
assert local.judged("epe") == "better"
assert left["nothing"].judged("epe") == left["one mean answer"].judged("epe") == "worse"
assert left["own features, linear"].judged("epe") == "not told apart"
near = left["3 × 3, linear"]
assert near.mean < 0.2 * left["nothing"].mean
assert near.high < 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Most of it. One mean answer, which looks at nothing, already brings back a part; a linear map of the token alone the
# larger part, and with its eight neighbours all but a few hundredths of a voxel. So what the network relies on is
# hardly what heads fetch from afar: it is a transformation of features that a convolution could have learned as well.
# (One network; and a map that was fitted to imitate attention is no proof that training would find it.)
#
# </details>
#
# ## Is it needed?
#
# Knock-outs tell what *this* network relies on. Whether choosing is *needed*, another training must tell: of networks
# that never had a choice, or no attention, on the same pairs in the same order. `make experiments` trained them, three
# seeds each (the first form below is the default: two heads of eight). Two forms take keys and values from the *other*
# image (*cross* attention; which form the paper uses was not open to us). **Predict: which form is best?**

# %% tags=["hide-output"]
record = recorded("heads")
rows = record.finding.rows
(protocol,) = record.protocols
steps, seeds = protocol["training"]["steps"], len(protocol["seeds"])
print(f"{steps} steps, {seeds} seeds, images of {record.shape}")
variants = list(dict.fromkeys(row["variant"] for row in rows))
reference = {"variant": variants[0]}
effects = {}
for name in variants:
    epe = [row["epe"] for row in rows if row["variant"] == name]
    print(f"{name:24} endpoint error {[round(e, 3) for e in epe]}")
    if name != variants[0]:
        effect = experiments.effect_between(rows, {"variant": name}, reference, "epe")
        effects[name] = effect
        print(f"{'':24} {effect.text()}, {effect.judged('epe')}")
assert {effect.judged("epe") for effect in effects.values()} == {"not told apart"}
assert effects["no attention"].high < cost["no attention"].low, "relied on, not needed"

# %% mystnb={"image": {"alt": "Endpoint errors of five forms of the encoder's attention, one dot per seed, on a common axis; the seeds of all forms overlap."}}
_, ax = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
for place, name in enumerate(variants):
    values = [row["epe"] for row in rows if row["variant"] == name]
    ax.plot(values, [place] * len(values), "o", color="black", alpha=0.6)
ax.set_yticks(range(len(variants)), variants)
ax.invert_yaxis()
ax.set_xlabel(f"endpoint error after {steps} steps, voxels; a dot per seed")
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# None of the five can be told from the first, not even the network without attention. And that is not for want of
# precision: the interval of *no attention* ends below the least that its knock-out costs. The trained network leans on
# its attention; one that grew up without finds other ways. Relied on, not needed.
#
# What this does not say: the pairs are phantoms, small and with mild motion, the networks were trained for fewer steps
# than the one above (their errors are larger than its own, they were still learning) and with the balance loss. Where images are large and tissue repeats itself, attention may earn its
# place. What it does say: a picture of attention, or a knock-out, is no evidence that a network needs it.
#
# </details>
#
# | fixed by a source | chosen here |
# |---|---|
# | shared $W^k$, $W^v$; own $W_i^q$, $W_i^o$; top-k of a softmax router per token (MoA) | tokens are voxels of a feature map, attention inside windows |
# | SHMoAReg: MoA in the encoder, a combination of heads per token | levels, 8 heads, k = 2, width, windows of 6 |
# | | keys and values from the same image; the cross form is an option |
#
# ## Exercises
#
# **1.** Write the mixture for one window: tokens `(T, C)`, `query` `(N, C, d)`, shared `key` and `value` `(C, d)`, `output`
# `(N, d, C)`, the chosen heads and their gates `(T, k)`. The chapter's third version took gates for all N; here come k.


# %% tags=["solution"]
def mixture_of_heads(tokens, query, key, value, output, chosen, gates):
    """(T, C): for each token the sum of gate times head over its k chosen heads."""
    keys, values = tokens @ key, tokens @ value
    total = torch.zeros_like(tokens)
    for i in range(len(query)):
        rows, rank = (chosen == i).nonzero(as_tuple=True)
        part = attend(tokens[rows] @ query[i], keys, values)[0] @ output[i]
        total = total.index_add(0, rows, gates[rows, rank, None] * part)
    return total


# %% tags=["hide-output"]
check("moa-mixture", mixture_of_heads)

# %% [markdown]
# **2.** Write the knock-out: gates (rule `renormalised`) as if one head had never been there. Logits are
# `(batch, 1, N, *space)`; N gates come back.


# %% tags=["solution"]
def without_head(logits, head, k):
    """Gates (B, 1, N, *S): k of the other heads, the missing one zero."""
    there = torch.ones(logits.shape[2], dtype=torch.bool)
    there[head] = False
    shape = (-1, *[1] * (logits.dim() - 3))
    left = logits.masked_fill(~there.view(shape), -torch.inf)
    scores, chosen = left.topk(k, dim=2)
    return torch.zeros_like(logits).scatter(2, chosen, scores.softmax(2))


# %% tags=["hide-output"]
check("moa-knockout", without_head)

# %% [markdown]
# **3.** 16 heads, k = 2. By what factor are there fewer query vectors to project and to attend?

# %% tags=["solution"]
check("moa-saved", 8, heads=16, k=2)

# %% [markdown]
# **4.** Heads have no order: rename them, and nothing may change. The router's rows are permuted. Which of `query`, `key`,
# `value`, `output` must be permuted alike? A set of names.

# %% tags=["solution"]
check("moa-permute", {"query", "output"})

# %% [markdown]
# ## To remember
#
# * MoA is multi-query attention whose query heads are picked per token; keys and values cost the same as one head's.
# * Three ways of computing it are one function. Keep the clear one to test the fast one.
# * A map of heads that looks like anatomy may be a map of places: move the image, and see what goes along.
# * Ask what a choice is worth with controls on both sides: no choice, and a wrong one.
# * *Relied on* is a matter of the trained network, *needed* of another training.
