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
# # Attention heads, from one to a mixture's parts
#
# Attention lets every voxel of an image take from the others what it asks for. You will be able to
#
# * compute attention by hand, and say why scores are divided by $\sqrt d$,
# * write multi-head attention as a *sum* of heads,
# * cut a volume into windows, and say what that saves and what it hides,
# * let one image ask the other where its tissue has gone, and say when the answer means something,
# * look at the heads of a trained network.
#
# The code is `moereg/nn/attention.py`. Chapter 07 turns the sum of heads into a choice among them.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from moereg import models
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.nn.attention import MultiHeadAttention, MutualAttention, Windows, attend
from moereg.nn.observe import observe
from moereg.viz.explorer import Explorer
from moereg.viz.figures import show_image
from moereg.viz.stills import stills

plt.rcParams["figure.dpi"] = 110
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## One query, three tokens, by hand
#
# A *token* is a row of $C$ features; here the $T$ tokens will be voxels. Three matrices $W^q, W^k, W^v$ make three rows of
# width $d$ from it: a *query* (what it asks), a *key* (what it answers to), a *value* (what it gives). With all keys as
# the rows of $K$ and all values as those of $V$, the better a key fits a query $q$, the more of that token's value comes
# back:
#
# $$w = \mathrm{softmax}\left(\frac{q K^\top}{\sqrt d}\right), \qquad y = w V$$
#
# The products $q K^\top / \sqrt d$ are *scores*, $w$ the *attention weights*; they add up to one. A fourth matrix $W^o$
# takes the mixed row $y$ back to $C$ features. Where queries, keys and values come from the same tokens, this is
# *self-attention*.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Diagram, left to right: tokens, T by C, go through W^q, W^k, W^v to queries, keys and values, T by d each; queries and keys give scores, T by T, divided by root d; softmax over keys gives weights, T by T; weights times values give T by d; times W^o, T by C."}}
figure, ax = plt.subplots(figsize=(10, 2.9))
frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "black"}
style = {"ha": "center", "va": "center", "fontsize": 9}
boxes = {
    "tokens\n(T, C)": (0, 1),
    "queries\n(T, d)": (2.6, 2),
    "keys\n(T, d)": (2.6, 1),
    "values\n(T, d)": (2.6, 0),
    "scores\n(T, T)": (5.2, 1.5),
    "weights\n(T, T)": (7.8, 1.5),
    "mixed\n(T, d)": (10.2, 0.7),
    "output\n(T, C)": (12.6, 0.7),
}
for text, (x, y) in boxes.items():
    ax.text(x, y, text, bbox=frame, **style)
arrows = [(0, 1, 2.6, 2, "$W^q$"), (0, 1, 2.6, 1, "$W^k$"), (0, 1, 2.6, 0, "$W^v$")]
arrows += [(2.6, 2, 5.2, 1.5, "$Q K^T / \\sqrt{d}$"), (2.6, 1, 5.2, 1.5, "")]
arrows += [(5.2, 1.5, 7.8, 1.5, "softmax"), (7.8, 1.5, 10.2, 0.7, "$w V$")]
arrows += [(2.6, 0, 10.2, 0.7, ""), (10.2, 0.7, 12.6, 0.7, "$W^o$")]
for x0, y0, x1, y1, text in arrows:
    tip = {"arrowstyle": "->", "shrinkA": 32, "shrinkB": 32}
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=tip)
    aside = 0.18 if y0 == y1 else 0.32  # clear of a slanting arrow
    ax.text((x0 + x1) / 2, (y0 + y1) / 2 + aside, text, **style)
ax.set(xlim=(-0.9, 13.5), ylim=(-0.5, 2.5))
ax.set_axis_off()
plt.show()

# %% [markdown]
# Four numbers per row, so $\sqrt d = 2$. The query is $(2, 0, 0, 0)$; values have one number.
#
# | | token 0 | token 1 | token 2 |
# |---|---|---|---|
# | key | (log 6, 1, 1, 1) | (log 3, 5, 5, 5) | (0, 9, 9, 9) |
# | score $q k / 2$ | log 6 | log 3 | 0 = log 1 |
# | $e^\text{score}$ | 6 | 3 | 1 |
# | weight | 6/10 | 3/10 | 1/10 |
# | value | 10 | 20 | 30 |
#
# $y = 6 + 6 + 3 = 15$. What the keys hold in their other three places has no effect: this query did not ask.

# %%
query = torch.tensor([[2.0, 0, 0, 0]])
keys = torch.tensor([[math.log(6), 1, 1, 1], [math.log(3), 5, 5, 5], [0, 9, 9, 9]])
values = torch.tensor([[10.0], [20.0], [30.0]])
mixed, weights = attend(query, keys, values)
torch.testing.assert_close(weights, torch.tensor([[0.6, 0.3, 0.1]]))
torch.testing.assert_close(mixed.item(), 15.0)

# %% [markdown]
# ## Why the root of d?
#
# Leave it out first. Queries and keys of independent numbers with mean 0 and variance 1, 64 tokens, ever wider rows.
# **Predict: what happens to the largest weight of a query as d grows? And to the slope of the result by the scores,
# that is, to what a gradient has to work with?**


# %% tags=["hide-output"]
def largest_and_slope(d, scale, draw):
    """Mean largest weight of 200 queries, and mean slope of a result by its scores."""
    queries, keys = (torch.randn(n, d, generator=draw) for n in (200, 64))
    scores = (queries @ keys.T / scale).requires_grad_()
    weights = scores.softmax(-1)
    values = torch.randn(64, generator=draw)  # one number per token
    (slope,) = torch.autograd.grad((weights @ values).sum(), scores)
    return weights.amax(1).mean().item(), slope.norm(dim=1).mean().item()


widths, draw = (4, 16, 64, 256, 1024), torch.Generator().manual_seed(1)
plain = [largest_and_slope(d, 1, draw) for d in widths]
rooted = [largest_and_slope(d, d**0.5, draw) for d in widths]
print("          plain: weight, slope     over the root of d: weight, slope")
for d, (peak, slope), (peak_2, slope_2) in zip(widths, plain, rooted, strict=True):
    print(f"d = {d:4} {peak:13.2f} {slope:6.2f} {peak_2:24.2f} {slope_2:6.2f}")

# %% tags=["hide-output"] mystnb={"image": {"alt": "Two curves against the width d on a logarithmic axis. The largest weight without scale rises towards one; divided by the root of d it stays flat near a tenth."}}
_, ax = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
ax.semilogx(widths, [peak for peak, _ in plain], "o-", label="plain")
ax.semilogx(widths, [peak for peak, _ in rooted], "s--", label="over the root of d")
ax.set(xlabel="d", ylabel="largest weight", ylim=(0, 1))
ax.legend(fontsize=8, loc="center right")
plt.show()
assert [peak for peak, _ in plain] == sorted(peak for peak, _ in plain)
assert plain[-1][0] > 0.9
assert max(peak for peak, _ in rooted) < 0.2
assert plain[-1][1] < plain[0][1] / 3, "a saturated softmax hardly reacts"
assert max(s for _, s in rooted) < 1.5 * min(s for _, s in rooted)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Without the root the largest weight goes to one: the softmax *saturates*, one token takes all, and small changes of
# the scores change hardly anything. In the widest rows the slope is a fraction of the one with the root, though in
# narrow ones it is the larger. Each of the $d$ products $q_c k_c$ of independent numbers has mean 0 and variance $1
# \cdot 1 = 1$; they are independent of each other, so their sum has variance $d$ and standard deviation $\sqrt d$.
# Dividing by $\sqrt d$ keeps scores at variance 1 whatever the width, and weights and slopes stay as they were.
#
# </details>
#
# ## One voxel asks an image
#
# Tokens are voxels now. First try: the feature of a voxel is the 5 × 5 patch around it, mean removed and length one;
# queries and keys are the patches themselves, and a score is their product over a *temperature*. Second try: brightness at
# three scales. A voxel in the liver asks. **Predict: which voxels answer?**

# %%
shape = (48, 48)


def patches(image, size=5):
    """(1, *S) -> (size², *S): patch around each voxel, mean removed, unit length."""
    pad = (size // 2,) * 4
    columns = F.unfold(F.pad(image[None], pad, mode="replicate"), size)[0]
    return F.normalize(columns - columns.mean(0), dim=0).reshape(-1, *shape)


def brightness(image):
    """(1, *S) -> (3, *S): intensity at three scales, unit length."""
    padded = [F.pad(image[None], (k // 2,) * 4, mode="replicate") for k in (1, 3, 7)]
    maps = [F.avg_pool2d(p, k, 1)[0] for p, k in zip(padded, (1, 3, 7), strict=True)]
    stack = torch.cat(maps).flatten(1)
    centred = (stack - stack.mean(1, keepdim=True)) / stack.std(1, keepdim=True)
    return F.normalize(centred, dim=0).reshape(3, *shape)


def weights_of(features, temperature):
    """(voxels, voxels): how much attention each voxel gives to each."""
    tokens = features.flatten(1).T
    queries = tokens / temperature * tokens.shape[1] ** 0.5  # `attend` divides by it
    return attend(queries, tokens, tokens)[1]


# %% tags=["hide-output"] mystnb={"image": {"alt": "Left, a phantom slice with the asking voxel in the liver marked; middle, weights from patches: one bright pixel, the asking voxel itself; right, weights from brightness at three scales: spread over liver and other bright organs. Colour bars."}}
pair = phantoms.make("abdomen", shape, seed=3)


def show_attention(row=20, column=14, temperature=0.1):
    _, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    asking = show_image(axes[0], pair.fixed[0], title="the voxel that asks")
    asking.plot(column, row, "o", color="#e8a53a")
    for ax, make in zip(axes[1:], (patches, brightness), strict=True):
        every = weights_of(make(pair.fixed), temperature)
        weight = every[row * shape[1] + column].reshape(shape)
        picture = ax.imshow(weight, cmap="magma")
        plt.colorbar(picture, ax=ax, label="weight")
        ax.set_title(make.__name__, fontsize=9, loc="left")
        ax.set_axis_off()
    plt.show()


places = {"row": [10, 20, 30], "column": [8, 14, 24, 36]}
start = {"row": 20, "column": 14, "temperature": 0.1}
alt = "The asking voxel, its weights from patches, and from brightness."
stills(show_attention, alt=alt, start=start, **places, temperature=[0.03, 0.1, 0.3])


# %% [markdown]
# One picture is one voxel of one subject. So ask all voxels of the liver, in six subjects: how much of a voxel's
# attention goes to itself, and how much of the rest stays in the liver? The control is the share of the image that is
# liver. And in case noise makes a patch unlike all others: the same subjects without any.

# %% tags=["hide-output"]
subjects = [phantoms.make("abdomen", shape, seed) for seed in range(6)]


clean = [phantoms.make("abdomen", shape, seed, noise=0.0) for seed in range(6)]


def in_liver(make, subject):
    """Attention of liver voxels: to themselves; of the rest, what is in the liver."""
    liver = subject.fixed_labels.flatten() == 1
    weight = weights_of(make(subject.fixed), 0.1)
    itself = weight.diagonal()[liver].mean()
    rest = weight - weight.diagonal().diag()
    shares = rest[liver][:, liver].sum(1) / rest[liver].sum(1)
    return itself.item(), shares.mean().item()


chance = [(s.fixed_labels == 1).float().mean().item() for s in subjects]
found = {"patches": [in_liver(patches, s) for s in subjects]}
found["patches, no noise"] = [in_liver(patches, s) for s in clean]
found["brightness"] = [in_liver(brightness, s) for s in subjects]
print("liver's share of the image       ", [round(c, 2) for c in chance])
for name, each in found.items():
    print(f"{name:17} to itself      ", [round(own, 2) for own, _ in each])
    print(f"{'':17} rest, in liver ", [round(share, 2) for _, share in each])
for c, *each in zip(chance, *found.values(), strict=True):
    (own, small), (still, quiet), (none, large) = each
    assert min(own, still) > 0.15 > 0.01 > none
    assert max(small, quiet) < 2.2 * c < 2.5 * c < large
warmer = (weights_of(brightness(pair.fixed), t).amax() for t in (0.03, 0.1, 0.3))
assert sorted(peaks := [peak.item() for peak in warmer], reverse=True) == peaks

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# From patches: above all the voxel itself. Without its mean and its length a patch is a pattern, and hardly another
# voxel has the same one. What is left over lands in the liver somewhat more often than chance, up to about twice as
# often. Noise is not the reason: without any, the voxel keeps only somewhat less. From brightness: the liver, at about
# three times its share, and other bright organs too. A large temperature spreads the weights over the image, a small
# one gathers them. Attention compares what the features say.
#
# </details>
#
# ## Limits, and what attention cannot know
#
# Equal keys: the mean of the values. One key far ahead: that token alone. And a question: **if the tokens are shuffled,
# what becomes of the outputs?**

# %% tags=["hide-output"]
anything = torch.randn(1, 4, generator=generator)
values = torch.randn(6, 3, generator=generator)
mean = attend(anything, torch.ones(6, 4), values)[0]
torch.testing.assert_close(mean, values.mean(0, keepdim=True))
sharp = torch.eye(6)[:, :4] * 1000
torch.testing.assert_close(attend(torch.eye(4)[:1], sharp, values)[0], values[:1])

tokens = torch.randn(6, 4, generator=generator)
order = torch.randperm(6, generator=generator)
before, after = (attend(t, t, t)[0] for t in (tokens, tokens[order]))
torch.testing.assert_close(after, before[order])
print("shuffled tokens in, the same outputs out, shuffled alike")

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# They are the same, shuffled alike: attention has no idea where a token *is*. "The one to my left" cannot be asked unless
# the features say where they are. Language models add positions to the tokens. The networks of this course do not; what
# they know of places comes from the convolutions before, which see neighbours and the padded border.
#
# </details>
#
# ## Many heads are a sum
#
# A *head* owns the matrices $W^q, W^k, W^v$ of a few channels, attends, and projects back with its own $W^o$. Textbooks put
# the heads' outputs side by side and multiply with one large matrix. Cut that matrix into rows per head:
#
# $$[A_1, A_2, \dots, A_N] \begin{pmatrix} W_1^o \\ W_2^o \\ \vdots \\ W_N^o \end{pmatrix} = \sum_{i=1}^N A_i W_i^o$$

# %%
layer = MultiHeadAttention(25, heads=4, head_dim=8)
few = patches(pair.fixed).flatten(1).T[None, :100]  # one window of 100 tokens
parts = []
for i in range(4):
    projected = [few @ matrix[i] for matrix in (layer.query, layer.key, layer.value)]
    parts.append(attend(*projected)[0])
textbook = torch.cat(parts, -1) @ torch.cat(list(layer.output), 0)
as_a_sum = sum(part @ layer.output[i] for i, part in enumerate(parts))
torch.testing.assert_close(textbook, as_a_sum, rtol=1e-4, atol=1e-5)
torch.testing.assert_close(layer(few), as_a_sum, rtol=1e-4, atol=1e-5)

# %% [markdown]
# Why write it so? A sum can leave terms out: the idea of chapter 07.
#
# MoA, the layer of that chapter, shares one key and one value matrix among all heads (*multi-query attention*). A head then
# differs from another in $W^q$ and $W^o$ only.

# %%
shared = MultiHeadAttention(25, heads=4, head_dim=8, shared_keys=True)
for name, module in (("own keys and values", layer), ("shared", shared)):
    print(f"{name:20} {sum(p.numel() for p in module.parameters())} parameters")

# %% [markdown]
# ## Windows
#
# Every token has a weight for every token, a number of four bytes. **Predict: how much memory do the weights of one head
# take for a volume of 96³?** A cure: cut the volume into windows, here of 6³, and attend inside each.

# %% tags=["hide-output"]
for size in (24, 48, 96):
    voxels = size**3
    everything, windowed = voxels**2, voxels * 6**3
    gib, less = 4 * everything / 2**30, 4 * windowed / 2**30
    print(f"{size}³: {everything:.1e} weights, {gib:7.1f} GiB; windows {less:.3f} GiB")
    assert everything / windowed == voxels / 6**3

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# Terabytes, against less than one GiB in all windows together. All pairs grow with the square of the voxels, windows with
# their number. (Fused attention, as in `torch.nn.functional.scaled_dot_product_attention`, never stores the weights: that
# saves the memory, not the products.)
#
# </details>

# %%
# 9 x 14 does not divide by 6: even windows of 5 x 5, a row and a column of zeros more
features = torch.randn(1, 3, 9, 14, generator=generator, requires_grad=True)
windows = Windows.of(features, 6)
pieces = windows.split(features)
print(f"9 x 14, windows of at most 6: {windows.counts} windows of {windows.size}")
print("tokens", tuple(pieces.shape), "= (windows, tokens, channels)")
torch.testing.assert_close(windows.join(pieces), features)
fused = F.scaled_dot_product_attention(pieces, pieces, pieces)
spelled = attend(pieces, pieces, pieces)[0]
torch.testing.assert_close(fused, spelled, rtol=1e-4, atol=1e-5)

# %% [markdown]
# The price: voxels of different windows do not see each other, not even neighbours on either side of a cut. The
# derivative of one output by all inputs shows what it has seen.

# %%
out = windows.join(fused)
(seen,) = torch.autograd.grad(out[0, :, 4, 4].sum(), features)
reach = seen[0].abs().sum(0) > 0
rows, columns = (reach.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
print("voxel (4, 4) has seen rows", rows, "and columns", columns)
assert reach.sum() == 5 * 5
assert reach[4, 4]
assert not reach[4, 5]  # its neighbour, in the next window

# %% [markdown]
# ## Two images: who has my tissue?
#
# *Mutual attention* takes queries from one image, keys and values from the other. If the features are good, a voxel's
# weights gather where its tissue went: the mean of the offsets, so weighted, is a displacement. It is compared with the
# true one inside organs, where that stays within the search. **Predict: which features will do better, patches or
# brightness? And patches of 5 or of 9?** The control is the moving image of *another* subject: what is found there has
# nothing to do with this motion.

# %%
window, half = 13, 6  # search around the place of the query
axes_of = [torch.arange(window) - half] * 2
offsets = torch.stack(torch.meshgrid(*axes_of, indexing="ij")).float().reshape(2, -1)


def read_off(make, fixed, moving):
    """Displacement (2, *S): the centre of each voxel's weights in the other image."""
    asked, offered = make(fixed), make(moving)
    near = F.unfold(F.pad(offered[None], (half,) * 4), window)
    near = near.reshape(len(asked), window**2, *shape)
    scores = torch.einsum("cyx,cnyx->nyx", asked, near) / 0.03  # temperature
    weights = scores.softmax(0)
    return torch.einsum("nyx,dn->dyx", weights, offsets)


def wide(image):
    return patches(image, 9)


# %% tags=["hide-output"]
def judged(make, subject, moving):
    """In organs: endpoint error, correlation along y, and the error without motion."""
    truth = subject.displacement
    organs = (subject.fixed_labels[0] > 0) & (truth.abs().amax(0) < half)
    guess = read_off(make, subject.fixed, moving)
    error = (guess - truth).norm(dim=0)[organs].mean().item()
    both = torch.stack([guess[0][organs], truth[0][organs]])
    still = truth.norm(dim=0)[organs].mean().item()
    return error, torch.corrcoef(both)[0, 1].item(), still


kinds = {"brightness": brightness, "patches of 5": patches, "patches of 9": wide}
strangers = [*subjects[1:], subjects[0]]
table = {}
for name, make in kinds.items():
    own = [judged(make, s, s.moving) for s in subjects]
    both = zip(subjects, strangers, strict=True)
    other = [judged(make, s, stranger.moving)[1] for s, stranger in both]
    table[name] = own, other
    print(f"{name:13} error ", [round(error, 2) for error, _, _ in own])
    print(f"{'':13} correlation with the truth ", [round(c, 2) for _, c, _ in own])
    print(f"{'':13} in a stranger's image       ", [round(c, 2) for c in other])
print("without motion, error", [round(still, 2) for _, _, still in own])

# %% tags=["hide-output"]
own, other = table["patches of 9"]
assert all(c > o + 0.3 for (_, c, _), o in zip(own, other, strict=True))
assert all(error < still for error, _, still in own)
for small, large in zip(table["patches of 5"][0], own, strict=True):
    assert large[0] < small[0]
    assert large[1] > small[1]
gap = [c - o for (_, c, _), o in zip(*table["brightness"], strict=True)]
assert min(gap) < 0.1  # brightness: in some subject no more than a stranger gives

# %% mystnb={"image": {"alt": "Maps of the displacement along y with one colour bar: read off patches of 9 it is noisy and shows the same regions inside the organs as the true one; read off brightness it does not."}}
subject = subjects[3]
_, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
shown = {
    "brightness": read_off(brightness, subject.fixed, subject.moving),
    "patches of 9": read_off(wide, subject.fixed, subject.moving),
    "true": subject.displacement,
}
for ax, (title, field) in zip(axes, shown.items(), strict=True):
    picture = ax.imshow(field[0], cmap="RdBu", vmin=-6, vmax=6)
    ax.set_title(title, fontsize=9, loc="left")
    ax.set_axis_off()
plt.colorbar(picture, ax=axes, label="displacement along y, voxels")
plt.show()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The features that found the liver do not find the motion: one place in the liver is as bright as the next, and in most
# subjects the error is larger than without any motion. Patches, which found only themselves, are what a search for
# *one* place needs: a pattern that moves with the tissue. Patches of 9 are better than those of 5, in error and
# correlation, in every subject, and in a stranger's image their correlation is far lower. Which features are good
# depends on the question.
#
# </details>
#
# Attention *finds*; it does not smooth, and it is misled where tissue repeats itself. `MutualAttention` is the layer
# with matrices to train (chapter 11 trains it): both images ask, each gets back its own features plus what it found in
# the other.

# %%
mutual = MutualAttention(25, heads=2, head_dim=8, window=12)
maps = [patches(image)[None] for image in (pair.fixed, pair.moving)]
print("two maps in, two maps of the same shape out:", end=" ")
print([tuple(m.shape) for m in mutual(*maps)])

# %% [markdown]
# ## Heads of a trained network
#
# `abdomen-flat` comes with the library: SHMoAReg (chapter 09), trained on thousands of phantom pairs. Its encoder has
# attention with eight heads at two levels; here is the finer one, on a grid of every fourth voxel, in windows of 6 × 6
# tokens. Two questions to all heads, on three pairs: how much goes to the best token, and how far are two heads apart
# (half the sum of the absolute differences of their weights: 0 if they agree, 1 if they share no token)? The control is
# the network as drawn, with three seeds.


# %%
unseen = [phantoms.make("abdomen", (64, 64), seed) for seed in (9000, 9001, 9002)]
large = unseen[0]  # none of them is among the training pairs


def weights_of_heads(network, pair, layer="encoder.1.moa"):
    """Weights of all heads for every token of the fixed image, (heads, tokens, T)."""
    with torch.no_grad(), observe(network) as seen:
        network(pair.moving[None], pair.fixed[None])
    layer, features = seen[layer].layer, seen[layer].features[1:2]
    windows = Windows.of(features, layer.window)
    tokens = windows.split(features)
    queries = torch.einsum("mtc,ncd->mntd", tokens, layer.query)
    keys = torch.einsum("mtc,cd->mtd", tokens, layer.key)[:, None].expand_as(queries)
    # (windows, T): windows at the border are padded
    valid = windows.valid(features.device)
    weights = attend(queries, keys, keys, valid[:, None, None])[1]
    return weights.transpose(0, 1)[:, valid]


# %%
def drawn(seed):
    torch.manual_seed(seed)
    return models.build("shmoareg", dims=2).eval()


network = models.load_model("abdomen-flat")
measured = {}
networks = {"trained": network} | {f"drawn, seed {s}": drawn(s) for s in range(3)}
for name, one in networks.items():
    w = torch.cat([weights_of_heads(one, pair_of) for pair_of in unseen], 1)
    apart = (w[:, None] - w[None]).abs().sum(-1).mean(-1) / 2
    others = apart[~torch.eye(8, dtype=torch.bool)].mean().item()
    measured[name] = w.amax(-1).mean().item(), others
    print(f"{name:14} best token {measured[name][0]:.2f}, two heads apart {others:.2f}")
for one in list(measured)[1:]:
    assert measured["trained"][0] > 2 * measured[one][0]
    assert measured["trained"][1] > 2 * measured[one][1]

# %% [markdown]
# In this network training made the heads sharper and made them differ. (It is one training.) That is a fact about
# weights, not yet about use: chapter 07 asks whether the registration misses a head that is taken away.
#
# ### Three stations
#
# In each row: a token (a cross marks its place) and where four of the eight heads look from it. The last two rows are
# one station.

# %% mystnb={"image": {"alt": "Four rows. Each has the fixed image with a marked token, then where heads 0, 1, 3 and 5 look from there. Row 1, kidney's lower edge: head 0 on one far token, head 5 along the vessels. Row 2, inside the kidney: head 0 spread along the left border of the window. Rows 3 and 4: neighbours on either side of a window's cut, with maps that share no token."}}
with torch.no_grad(), observe(network) as seen:
    network(large.moving[None], large.fixed[None])
attention, tokens = seen["encoder.1.moa"].layer, seen["encoder.1.moa"].features[1:2]


def look(voxel):
    """Where all heads look from a voxel of the fixed image, (heads, 16, 16)."""
    return attention.attention_from(tokens, (voxel[0] // 4, voxel[1] // 4))


edge, inside, left, right = (40, 24), (36, 20), (20, 20), (20, 24)
figure, axes = plt.subplots(4, 5, figsize=(9.5, 7.6), layout="constrained")
for row, voxel in zip(axes, (edge, inside, left, right), strict=True):
    show_image(row[0], large.fixed[0], title=f"token at {voxel}")
    row[0].plot(voxel[1], voxel[0], "o", color="#e8a53a", markersize=4)
    for ax, head in zip(row[1:], (0, 1, 3, 5), strict=True):
        picture = ax.imshow(look(voxel)[head], cmap="magma", vmin=0, vmax=0.3)
        ax.plot(voxel[1] // 4, voxel[0] // 4, "+", color="#52d6ea")
        ax.set_title(f"head {head}", fontsize=9, loc="left")
        ax.set_axis_off()
figure.colorbar(picture, ax=axes, label="weight, 0.3 and above white", shrink=0.5)
plt.show()

# %% [markdown]
# Now in the explorer: point at a voxel, its window is outlined, and each head's weights are drawn over the window. (In
# its place there may be a picture: all eight heads at the first station. *Gate*: how much a head counts there, chapter
# 06.)
#
# 1. **The right kidney's lower edge, (40, 24).** Head 0 gives most of its weight to a single token on the other side of the
#    window. Head 5 spreads along the vessels between the kidneys. Same token, same keys: only the queries differ.
# 2. **Into the kidney, (36, 20).** Head 0 again: now it is spread thin along the left edge of the picture. A head is not
#    sharp or broad by itself; the token decides.
# 3. **Across a cut, (20, 20) and (20, 24).** Neighbours, and they share no token at all: the border of two windows lies
#    between them.

# %%
best = look(edge).flatten(1).max(1).values
assert best[0] > 0.75
assert look(edge)[0].argmax() % 16 > edge[1] // 4  # on the other side
assert best[5] < best[0] / 2
assert look(inside)[0].max() < 0.2 * best[0]
assert (look(inside)[0].sum(0)[:3].sum()) > 0.5  # the left three columns of the grid
assert (look(left) * look(right)).sum() == 0
Explorer(network, large, layer="encoder.1.moa", voxel=edge, title="Eight heads")

# %% [markdown]
# | fixed by a source | chosen here |
# |---|---|
# | softmax(QKᵀ/√d)V, multi-head (Vaswani et al. 2017) | windows of equal size, cut as evenly as possible |
# | shared key and value projection in MoA (Zhang et al. 2022) | heads written as a sum; no positions |
# | RMAn joins its branches by mutual attention (arXiv 2206.01863) | all of its equations: they were not open to us |
#
# ## Exercises
#
# **1.** Write scaled attention for any number of axes in front: windows, heads, nothing.


# %% tags=["solution"]
def attention_of(queries, keys, values):
    """(..., T, d), (..., S, d), (..., S, v) -> (..., T, v)."""
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return scores.softmax(-1) @ values


# %% tags=["hide-output"]
check("attention-scaled", attention_of)

# %% [markdown]
# **2.** Cut maps of two or three axes into windows. The axes are multiples of the window; inside a window, and among windows,
# the last axis runs fastest.


# %% tags=["solution"]
def windows_of(features, window):
    """(B, C, *S) -> (B * windows, window ** D, C)."""
    dims, channels = features.dim() - 2, features.shape[1]
    for axis in range(2, 2 + dims):
        features = features.unfold(axis, window, window)  # one axis more at the end
    return features.movedim(1, -1).reshape(-1, window**dims, channels)


# %% tags=["hide-output"]
check("attention-split", windows_of)

# %% [markdown]
# **3.** Write multi-head attention as a sum. Tokens are `(M, T, C)`, the first three matrices `(N, C, d)`, the last one
# `(N, d, C)`.


# %% tags=["solution"]
def heads_of(tokens, query, key, value, output):
    """(M, T, C) -> (M, T, C): sum over N heads."""
    total = torch.zeros_like(tokens)
    for q, k, v, o in zip(query, key, value, output, strict=True):
        total = total + attend(tokens @ q, tokens @ k, tokens @ v)[0] @ o
    return total


# %% tags=["hide-output"]
check("attention-heads", heads_of)

# %% [markdown]
# **4.** A map of 40 × 48 × 24 tokens is cut into windows of 8³. By what factor are there fewer attention weights?

# %% tags=["solution"]
check("attention-windows", 90, shape=(40, 48, 24), window=8)

# %% [markdown]
# **5.** 8 heads of width 16 on 32 channels. How many parameters does one shared key and value projection save?

# %% tags=["solution"]
check("attention-shared-keys", 7168, heads=8, channels=32, head_dim=16)

# %% [markdown]
# ## To remember
#
# * Attention is a weighted mean of values; equal keys make it the plain mean. The root of d keeps the softmax alive.
# * It compares what the features say, and knows no places.
# * Multi-head attention is a sum of heads; once keys are shared, a head is its query and output projection.
# * Windows make memory linear in the number of voxels; a token then sees its own window only.
# * Between two images, weights can tell where tissue went. Ask the same of a stranger's image before you believe it.
