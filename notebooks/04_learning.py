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
# * tell too few pairs from too short a training, and motion that is hard from motion that is unfamiliar.
#
# The code is `moereg/training/`. Every network of the later chapters is trained by it.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from moereg import fields, models
from moereg.classical import demons
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.metrics import paired_effect
from moereg.models import Registration
from moereg.regularity import diffusion, fold_fraction
from moereg.similarity import lncc
from moereg.training import TrainingConfig, choose_pairs, fit, learning_rate
from moereg.viz import draw
from moereg.viz.figures import show_grid, show_image
from moereg.viz.stills import stills

budget = Budget.from_env()
plt.rcParams["figure.dpi"] = 110
shape = budget.pick(smoke=(48, 48), full=(64, 64))
count = budget.pick(smoke=48, full=300)
train = [phantoms.make("abdomen", shape, seed) for seed in range(count)]
test = [phantoms.make("abdomen", shape, seed) for seed in range(9000, 9008)]


# %% [markdown]
# Training pairs and test pairs are different patients. The true displacement is known of both; **it is used to measure, never to
# train.**


# %%
def stack(pairs):
    """Moving and fixed images of pairs, each (B, 1, rows, columns)."""
    moving = torch.stack([pair.moving for pair in pairs])
    return moving, torch.stack([pair.fixed for pair in pairs])


def error(u, pairs):
    """Mean distance to the true displacement within the body, in voxels, over pairs."""
    distances = []
    for v, pair in zip(u.cpu(), pairs, strict=True):
        distances.append((v - pair.displacement).norm(dim=0)[pair.region[0]].mean())
    return torch.stack(distances).mean().item()


moving, fixed = stack(test)
still = torch.zeros(len(test), 2, *shape)
before = error(still, test)
print(f"{len(train)} training pairs; {len(test)} test pairs, {before:.2f} voxels off")

# %% [markdown]
# ## One pair, one search
#
# The loss of chapter 02, local correlation and diffusion. Its unknowns are the values of the field, two for each
# voxel. A step of descent, by hand: on one row let $M(x) = 2x$ and $F(x) = 2x + 2$, so that the truth is $u = 1$, and let the loss at a voxel
# be $(M(x + u) - F(x))^2 = (2u - 2)^2$. Its slope at $u = 0$ is $2 \cdot (-2) \cdot 2 = -8$; a step of rate $0.1$ goes to $u = 0.8$. There the
# slope is $-1.6$, and the next step goes to $0.96$.

# %%
u, path = torch.zeros(3, requires_grad=True), []  # three voxels
for _ in range(2):
    loss = (2 * u - 2).square().sum()
    (slope,) = torch.autograd.grad(loss, u)
    u = (u - 0.1 * slope).detach().requires_grad_()
    path.append(u[0].item())
print(", then ".join(f"{value:.2f}" for value in path))
assert torch.allclose(torch.tensor(path), torch.tensor([0.8, 0.96]))

# %% [markdown]
# The same on images. Adam is descent whose step has about the same length for every unknown (exercise 2 writes it).
# **After 400 steps, will the loss lie above or below that of the true displacement? And will the field be the true one?**

# %%
smoothness = 0.5


def loss_of(moving, fixed, u):
    return lncc(fields.sample(moving, u), fixed) + smoothness * diffusion(u)


def optimise(moving, fixed, pairs, start, *, steps=400, rate=0.1, apart=1):
    """Adam on the values of the field: the field, and loss and error at each step.

    apart: unknowns lie on every so many voxels, those between follow.
    """
    values = start[..., ::apart, ::apart].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([values], lr=rate)
    losses, errors, between = [], [], {"mode": "bilinear", "align_corners": True}
    for step in range(steps + 1):
        u = F.interpolate(values, start.shape[2:], **between) if apart > 1 else values
        errors.append(error(u.detach(), pairs))
        loss = loss_of(moving, fixed, u)
        losses.append(loss.item())
        if step < steps:
            optimiser.zero_grad()
            # each pair's own loss: several searches side by side
            (len(moving) * loss).backward()
            optimiser.step()
    return u.detach(), losses, errors


# %% tags=["hide-output"] mystnb={"image": {"alt": "Loss and distance to the truth fall over the steps; the loss ends close to that of the true displacement. The deformed grid that was found over the moving image, and the true one."}}
one = test[:1]
u, losses, errors = optimise(*stack(one), one, still[:1])
at_truth = loss_of(*stack(one), one[0].displacement[None]).item()
figure, axes = plt.subplots(1, 4, figsize=(11.5, 2.9), layout="constrained")
axes[0].plot(losses)
axes[0].axhline(at_truth, color="grey", linestyle=":", label="true displacement")
axes[0].set(xlabel="step", title="loss")
axes[0].legend(fontsize=8, loc="upper right")
axes[1].plot(errors)
axes[1].set(xlabel="step", title="voxels off", ylim=(0, None))
two = {"found": u[0], "truth": one[0].displacement}
for ax, (title, field) in zip(axes[2:], two.items(), strict=True):
    show_grid(show_image(ax, one[0].moving[0], title=title), field, every=3)
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
plt.show()
print(f"{u.numel()} unknowns: {errors[0]:.2f} voxels off, then {errors[-1]:.2f}")
print(f"loss {losses[0]:.3f}, then {losses[-1]:.3f}; of the truth {at_truth:.3f}")
assert errors[-1] < 0.8 * errors[0]
assert abs(losses[-1] - at_truth) < 0.1 * abs(losses[0] - at_truth)
assert losses[-1] > at_truth
assert errors[-1] > 0.5

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The loss comes close to that of the true displacement and rests a little above it, and the field is still far from the true
# one: fields that lie far apart explain the images about equally well. A low loss is no proof (chapter 02).
#
# </details>
#
# The next pair starts from nothing again.
#
# ## One pair, a network
#
# Let a network make the field. What is searched for is now the network's weights; the loss stays.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of boxes. Above: field values, two per voxel, enter the warp with the moving image, the loss compares with the fixed image, and a red arrow labelled slope leads back to the field values. Below: both images enter the network with its weights, which makes the field; warp and loss follow, and the red arrow leads back to the weights."}}
rows = {
    1.0: ["values of u\n(the unknowns)", "field u", "warp(M, u)", "loss"],
    0.0: ["weights\n(the unknowns)", "network(M, F)", "field u", "warp(M, u)", "loss"],
}
shapes = {1.0: ["(2, H, W)", "(2, H, W)", "(1, H, W)"]}
shapes[0.0] = ["67 586 here", "(2, H, W)", "(2, H, W)", "(1, H, W)"]
filled, red = {"fc": "#eef2ff"}, "#b70b60"
_, ax = plt.subplots(figsize=(10, 3), layout="constrained")
for y, names in rows.items():
    places = [2.2 * i for i in range(len(names))]
    for x, name in zip(places, names, strict=True):
        ax.text(x, y, name, ha="center", va="center", fontsize=8, bbox=filled)
    for x, label in zip(places[:-1], shapes[y], strict=True):
        ax.annotate("", (x + 1.65, y), (x + 0.6, y), arrowprops={"arrowstyle": "->"})
        ax.text(x + 1.1, y + 0.08, label, ha="center", fontsize=7)
    bend = {"arrowstyle": "->", "color": red, "connectionstyle": "arc3,rad=-0.12"}
    ax.annotate("", (0.2, y - 0.17), (places[-1], y - 0.12), arrowprops=bend)
    ax.text(places[-1] / 2, y - 0.46, "slope of the loss", color=red, fontsize=8)
ax.text(9.3, 1.0, "one search per pair", fontsize=9, va="center")
ax.text(9.5, 0.0, "one for all", fontsize=9, va="center")
ax.set(xlim=(-0.9, 11), ylim=(-0.7, 1.4))
ax.set_axis_off()
plt.show()


# %% [markdown]
# A U-Net on one screen: three times to half the size, three times back, joined at each size by the features of the way down.


# %%
def block(channels, out, stride=1):
    convolution = nn.Conv2d(channels, out, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.LeakyReLU(0.2))


class Network(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        wide = 2 * width
        down = [block(2, width), *(block(c, wide, 2) for c in (width, wide, wide))]
        up = [block(2 * wide, wide), block(2 * wide, wide), block(wide + width, width)]
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
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


# %% [markdown]
# The last layer starts at zero. **What does the network answer before its first step?**

# %% tags=["hide-output"]
torch.manual_seed(0)
network = Network()
weights = sum(parameter.numel() for parameter in network.parameters())
print(f"{weights} weights, {u.numel()} values in one field")
assert weights == 67586
assert network(moving, fixed).displacement.abs().max() == 0
assert torch.allclose(network(moving, fixed).warped, moving, atol=1e-5)

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# No motion at all, exactly: zero weights times any features. The warped image is the moving one.
#
# </details>
#
# Training by hand: draw pairs, put both directions of each into one batch, descend the same loss.


# %%
def train_by_hand(network, pairs, config):
    optimiser = torch.optim.Adam(network.parameters())
    history = []
    for step in range(config.steps):
        for group in optimiser.param_groups:
            # up over the first twentieth, then down along a cosine
            group["lr"] = learning_rate(step, config)
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

# %% [markdown]
# First on the one pair from above. **No true displacement enters. Will it come as close as the search? And the same weights on
# seven pairs that they have never seen?** Two controls. A search whose unknowns lie on every fourth voxel, so that a step moves many voxels
# together, without any network. And the field of the one pair put on the seven others as it is: that is what the network would do if it had
# learned that field by heart.

# %%
alone = replace(config, steps=150, pairs_per_step=1)
learned_alone = []
for seed in range(3):
    torch.manual_seed(seed)
    learned_alone.append(Network())
    train_by_hand(learned_alone[-1], one, alone)

# %% tags=["hide-output"]
together = optimise(*stack(one), one, still[:1], apart=4)[2][-1]
print(f"search on every fourth voxel: {together:.2f} voxels off")
assert together < 0.6 * errors[-1]
others = test[1:]
unmoved = error(still[1:], others)
for seed, network in enumerate(learned_alone):
    own, memorised = error(ask(network, one), one), ask(network, one)
    elsewhere = error(ask(network, others), others) / unmoved
    by_heart = error(memorised.expand(len(others), -1, -1, -1), others) / unmoved
    print(
        f"seed {seed}: own pair {own:.2f} voxels off (search {errors[-1]:.2f}); "
        f"others: {elsewhere:.0%} of the motion left, by heart {by_heart:.0%}"
    )
    assert together < own < errors[-1]
    assert own / errors[0] + 0.2 < elsewhere < 1 < by_heart

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# On its own pair the network ends *closer* to the truth than the search. It need not be a network for that: a step on the field moves each
# voxel along its own slope, a step on a weight many voxels together, and the search that moves voxels together is closer still. On the
# others the network leaves much more motion than on its own pair. But it has not
# learned one field by heart: that would leave more than the whole motion. Even one pair teaches something of how
# images tell of motion.
#
# </details>
#
# ## Many pairs, one network
#
# What all pairs have in common is how images tell of motion. The same weights have to serve every pair, so that is
# what they can hold. Now train on pairs that are **not** the test pairs. (One seed: what is said of this network need not
# hold of another. Where that matters, other networks or the record follow.)

# %%
torch.manual_seed(0)
network = Network()
train_by_hand(network, train, config)
network.eval().cpu()
learned = error(ask(network, test), test)
print(f"{count} training pairs; test pairs {before:.2f} voxels off, then {learned:.2f}")
assert learned < 0.75 * before

# %% [markdown]
# Four ways to register the same unseen pairs: one pass; a long search from nothing; one pass followed by a short search (*instance
# optimisation*); and the control, a search on every fourth voxel. **Which will be closest to the truth? How many steps does a search from
# nothing need to be as close as one pass?**

# %%
start = ask(network, test)
found, curves = {"nothing": still, "network": start}, {}
for name, first, number, apart in (
    ("search, 400 steps", still, 400, 1),
    ("network, then 60 steps", start, 60, 1),
    ("search, every 4th voxel", still, 200, 4),
):
    images = moving, fixed, test, first
    found[name], *curves[name] = optimise(*images, steps=number, apart=apart)

# %% tags=["hide-input", "hide-output"] mystnb={"image": {"alt": "Loss and distance to the truth over the steps of the search. From no motion both fall slowly; from the network's answer they start lower and fall quickly; with unknowns on every fourth voxel the distance ends below both others."}}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
colours = ("#3952c5", red, "#6b5b00")
for column, title in enumerate(("loss", "voxels off")):
    for (name, lines), colour in zip(curves.items(), colours, strict=True):
        axes[column].plot(lines[column], color=colour, label=name)
    axes[column].set(xlabel="steps of the search", title=title)
axes[1].set_ylim(0, None)
axes[1].legend(fontsize=8, loc="upper right")
plt.show()
for name, u in found.items():
    loss, folds = loss_of(moving, fixed, u).item(), fold_fraction(u).mean()
    off = error(u, test)
    print(f"{name:23} {off:.2f} voxels off, loss {loss:.3f}, folds {folds:.2%}")
searched, refined, coarsely = (lines[1] for lines in curves.values())
as_close = next(step for step, value in enumerate(searched) if value <= learned)
print(f"the search is as close as one pass after {as_close} steps")
print(f"after 60 steps: {searched[60]:.2f} off, from the network {refined[60]:.2f}")
assert as_close > 60

# %% tags=["hide-output"]
brief_search = optimise(moving, fixed, test, still, steps=60)[0]
of_pair = {}
for name, u in {**found, "search, 60 steps": brief_search}.items():
    singles = (u[i : i + 1] for i in range(len(test)))
    of_pair[name] = [error(v, [pair]) for v, pair in zip(singles, test, strict=True)]
expected = {"network": "lower", "search, 60 steps": "lower"}
expected |= {"search, 400 steps": "not told apart", "search, every 4th voxel": "higher"}
for name, direction in expected.items():
    effect = paired_effect(of_pair["network, then 60 steps"], of_pair[name])
    print(f"network, then 60 steps, less {name}: {effect.text(2)}, {effect.direction}")
    assert effect.direction == direction

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The pass of this network saves the search many steps. One pass and 60 steps are closer than the pass alone and than 60 steps from nothing; from
# 400 steps they are not told apart. The control says how much of that is the search's own fault: where a step moves voxels
# together, 200 steps from nothing end closer than pass and 60 steps, without any training. What a network buys is the price per
# pair: it pays once, in training, and then hardly at all. It *amortises* the search. (The intervals are over eight pairs, of one short training; chapter 13 asks for more.)
#
# </details>
#
# The same for each test pair:


# %% tags=["hide-input"] mystnb={"image": {"alt": "For the chosen test pair: the fixed image, and the moving image with the grids of the network, of the search, of both, and of the search on every fourth voxel over it."}}
def show_ways(pair=0):
    figure, axes = plt.subplots(1, 5, figsize=(13, 3), layout="constrained")
    show_image(axes[0], fixed[pair, 0], title="fixed")
    for ax, name in zip(axes[1:], list(found)[1:], strict=True):
        u = found[name][pair : pair + 1]
        title = f"{name}\n{error(u, test[pair : pair + 1]):.2f} voxels off"
        show_grid(show_image(ax, moving[pair, 0], title=title), u[0], every=3)
        ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    plt.show()


stills(show_ways, alt="Grids of search, network and both.", pair=range(len(test)))

# %% [markdown]
# ## The library's loop
#
# `fit` is the loop above with checkpoints, devices and further parts of the loss. Same weights at the start, same seed:

# %%
brief = replace(config, steps=15, device="cpu")
histories = []
for run in (
    lambda network: train_by_hand(network, train, brief),
    lambda network: fit(network, train, brief, progress=False).loss,
):
    torch.manual_seed(1)
    histories.append(torch.tensor(run(Network())))
torch.testing.assert_close(*histories, rtol=1e-3, atol=1e-4)
print(f"the same {brief.steps} losses")

# %% [markdown]
# ## Folds, and VoxelMorph
#
# None of the fields above folds much: their motion is gentle. Take the network's fields for the test pairs and make them two, three
# and four times as long; once as displacements, once as velocities that are followed (chapter 01). **Which of the two folds?**

# %% tags=["hide-output"]
folds = {}
for factor in (1, 2, 3, 4):
    longer = factor * start
    flown = fields.exponentiate(longer)
    folds[factor] = [fold_fraction(u).mean().item() for u in (longer, flown)]
    displaced, followed = folds[factor]
    length = flown.norm(dim=1).mean() / longer.norm(dim=1).mean()
    print(f"{factor} times: {displaced:.2%} folded, as a velocity {followed:.2%}")
    assert length > 0.9
assert folds[4][0] > 0.02
assert folds[4][1] < 0.1 * folds[4][0]

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The displacements fold more and more, the flows hardly, and they are on average nearly as long. So a network that predicts a velocity is
# protected where motion is large and steep; here, at factor one, there is nothing to protect from.
#
# </details>
#
# *VoxelMorph*, as MONAI has it, is this idea: a larger U-Net predicts a velocity, and its flow is the field:

# %%
torch.manual_seed(0)
voxelmorph = models.build("voxelmorph", dims=2)
size = sum(parameter.numel() for parameter in voxelmorph.parameters())
print(f"{size} weights, ours {weights}")
assert voxelmorph(moving, fixed).displacement.shape == still.shape

# %% [markdown]
# No single short training says which of the two is better; chapter 13 compares with several seeds and long ones.
#
# ## How many pairs?
#
# A recorded experiment (`tools/experiments.py`, "amount"): a small VoxelMorph that predicts the displacement itself, trained on 1, 16
# and 200 pairs, three seeds each, tested on twelve others. First for 200 steps, as our network. **Do more pairs help?**

# %% tags=["hide-output"]
record = recorded("amount").finding
counts = sorted({row["pairs"] for row in record.rows})
short, long = sorted({row["steps"] for row in record.rows})


def shares(key, pairs, steps, trained="usual motion"):
    """One share per seed."""
    choice = {"pairs": pairs, "steps": steps, "trained": trained}
    return torch.tensor([r[key] for r in record.rows if choice.items() <= r.items()])


early = {pairs: shares("unseen", pairs, short) for pairs in counts}
for pairs, unseen in early.items():
    seeds = ", ".join(f"{share:.0%}" for share in unseen)
    print(f"{pairs:3} pairs, {short} steps: of unseen motion is left {seeds}")
assert early[1].mean() + 0.1 < min(early[16].mean(), early[200].mean())

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# They seem to harm: on average a single pair is best. What is missing from this table?
#
# </details>
#
# What is missing is the error on the pairs that were *seen*, and a longer training. **Look at seen and unseen pairs, left and
# right: which of the six settings have not even learned their own pairs? Which know their own pairs far better than others?**

# %% tags=["hide-output"] mystnb={"image": {"alt": "Share of the motion that is left against the number of training pairs, for seen and unseen pairs, after 200 and after 1000 steps. After 200 steps a single pair is lowest on both and 16 and 200 pairs are near one on both. After 1000 steps 16 and 200 pairs are far below a single pair on unseen pairs, and the distance between seen and unseen shrinks with the number of pairs."}}
draw(record)

# %%
late = {pairs: shares("unseen", pairs, long) for pairs in counts}
seen = {pairs: shares("seen", pairs, long) for pairs in counts}
for pairs in counts:
    own, other = seen[pairs].mean(), late[pairs].mean()
    print(f"{pairs:3} pairs: of seen motion is left {own:.0%}, of unseen {other:.0%}")
gaps = [(late[pairs] - seen[pairs]).mean() for pairs in counts]
assert min(shares("seen", pairs, short).min() for pairs in (16, 200)) > 0.7
assert late[1].min() > max(late[16].max(), late[200].max()) + 0.1  # of three seeds each
assert gaps[0] > 2 * gaps[1] > 2 * gaps[2]
assert seen[1].max() < seen[16].min() < seen[16].max() < seen[200].min()

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# After 200 steps, 16 and 200 pairs have hardly been learned: seen and unseen motion are left alike. It was stopped early. After
# 1000 steps the order is turned round: one pair is the worst in every seed. It shows the largest *gap* between seen and unseen,
# which is *overfitting*: weights that suit that pair and serve others less.
#
# Two numbers, two questions. The **gap** says what more pairs can bring: much for one pair, little for 200. The share left of
# **seen** motion says what more steps may bring: it is largest for 200 pairs, each of which was seen least often. 16 and 200
# pairs are level on unseen pairs here, and this training is still too short to say which is better.
#
# </details>
#
# ## Motion it was not trained for
#
# All training pairs move by 0.7 to 1 times the phantoms' full amplitude. The same test patients, with that amplitude
# multiplied. **Where will the network leave the largest share of the motion? And what does it do to a patient who
# lies still?**

# %% tags=["hide-input", "hide-output"] mystnb={"image": {"alt": "Distance to the truth against the amplitude of the motion, before and after one pass of the network. One pass adds a little motion where there is none, and leaves more and more beyond the amplitude of the training."}}
usual = phantoms.Motion()
factors = (0.0, 0.5, 1.0, 1.5, 2.0)


def patients(factor):
    motion = replace(usual, amplitude=tuple(factor * a for a in usual.amplitude))
    seeds = range(9000, 9008)
    return [phantoms.make("abdomen", shape, seed, motion=motion) for seed in seeds]


moved = {factor: patients(factor) for factor in factors}
lines = {
    "unmoved": [error(still, pairs) for pairs in moved.values()],
    "network": [error(ask(network, pairs), pairs) for pairs in moved.values()],
}
_, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, values), colour in zip(lines.items(), ("grey", "#3952c5"), strict=True):
    ax.plot(factors, values, "o-", color=colour, label=name)
ax.axvspan(0.7, 1, color="#52d6ea", alpha=0.3, label="as in training")
ax.set(xlabel="amplitude, as a factor of the training's", ylabel="voxels off")
ax.legend(fontsize=8, loc="upper left")
plt.show()
first, after = (torch.tensor(lines[name][1:]) for name in ("unmoved", "network"))
left = dict(zip(factors[1:], (after / first).tolist(), strict=True))
for factor, share in left.items():
    print(f"{factor:g} times the motion: {share:.0%} is left")
print(f"a patient who lies still is moved by {lines['network'][0]:.2f} voxels")
assert left[2.0] > left[1.5] > left[1.0] > left[0.5] - 0.05
assert lines["network"][0] > 0.1

# %% tags=["hide-output"]
others = [error(ask(one, moved[0.0]), moved[0.0]) for one in learned_alone]
print("and by the three that learned from one pair:", [round(u, 2) for u in others])
assert min(others) > 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The larger the motion, the larger the share that this network leaves (three seeds of another follow); and a patient who lies
# still is moved, by this one and by the three from above.
#
# </details>
#
# The obvious reason for the larger share: the network never saw such motion. (It never saw half the motion either, and leaves no
# larger share of that.) **Is it the right one? What is the control?** The network of the record, trained on usual patients or on
# patients who move twice as far; and a search, and Demons with one level and with three, which have seen nothing at all. If
# unfamiliar motion were the trouble, the network that is familiar with it would leave less of it.

# %% tags=["hide-output"]
motions = ("usual motion", "twice the motion")
left = {}
for trained in motions:
    rows = [r for r in record.rows if r["trained"] == trained]
    rows = [r["left"] for r in rows if (r["pairs"], r["steps"]) == (counts[-1], long)]
    for tested in motions:
        left[trained, tested] = torch.tensor([row[tested] for row in rows])
        seeds = ", ".join(f"{share:.0%}" for share in left[trained, tested])
        print(f"trained on {trained:16}  tested on {tested:16}  left {seeds}")
for factor in (1.0, 2.0):
    pairs, images = moved[factor], stack(moved[factor])
    ways = {"search": optimise(*images, pairs, still, steps=400)[0]}
    for levels in (1, 3):
        options = {"iterations": 60, "levels": levels}
        run = demons(*images, "symmetric", **options)
        ways[f"Demons, levels: {levels}"] = run.displacement
    for name, u in ways.items():
        left[name, factor] = error(u, pairs) / error(still, pairs)
        print(f"{name}, {factor:g} times the motion: left {left[name, factor]:.0%}")
unfamiliar, familiar = (left[trained, "twice the motion"] for trained in motions)
assert familiar.min() > unfamiliar.max()  # three seeds each
assert familiar.min() > left["twice the motion", "usual motion"].max()
for name in ("search", "Demons, levels: 1"):
    assert left[name, 2.0] > left[name, 1.0] + 0.2
assert abs(left["Demons, levels: 3", 2.0] - left["Demons, levels: 3", 1.0]) < 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# The network that was trained on large motion is no better at it: at equal steps it leaves more of it than the one that had never seen it. Each of them, the search and
# Demons with one level included, leaves more of the large motion than of the usual one. So it is not unfamiliar, it is *hard*: where organs
# no longer overlap themselves the loss has no slope towards the truth, and a network that learns by that slope learns little. Demons with three
# levels says that this is the reason: it begins on a coarse image, where organs do overlap, and leaves no more of the large motion than of
# the usual one. Training on large motion is no cure in as many steps; a loss that sees farther, or a recursion (chapter 11),
# may be.
#
# Stillness was not in the training either. Whether that is why a still patient is moved, no control here says.
#
# </details>
#
# ## Limit cases
#
# Equal images. Demons found a zero difference and stayed at exactly zero. **And a network?**

# %% tags=["hide-output"]
same = network(fixed, fixed).displacement.detach()
untrained = Network()(fixed, fixed).displacement.detach()
print(f"equal images: trained network {same.norm(dim=1).mean():.2f} voxels")
others = [one(fixed, fixed).displacement.norm(dim=1).mean() for one in learned_alone]
print("and the three from one pair:", [round(u.item(), 2) for u in others])
assert min(others) > 0.1
assert untrained.abs().max() == 0
assert same.norm(dim=1).mean() > 0.1

# %% [markdown]
# <details><summary>What you should have seen</summary>
#
# They all move equal images. Nothing in their layers says that equal images mean no motion; they only saw pairs that moved. Chapter 10 builds a
# network that cannot invent motion, because a difference of features drives it.
#
# </details>
#
# | fixed by a source (VoxelMorph: Dalca 2018, Balakrishnan 2019) | chosen here |
# |---|---|
# | a U-Net maps both images to a field, trained on similarity and smoothness, without true fields | local correlation with means over a window of 9, diffusion with weight 0.5 |
# | the trained network's field can be refined on the pair itself (instance optimisation) | Adam on the field, step 0.1, 60 steps |
# | it predicts a displacement (2019), or a velocity that is integrated (2018; MONAI's default) | our small network predicts the displacement itself |
# | the field starts near zero | it starts at exactly zero |
# | | both directions in a batch, the rate, number of pairs and steps |

# %% [markdown]
# ## Exercises
#
# **1.** Write the loss of one pair that no label and no true field enters, for images of any dimension: mean squared difference of the
# warped moving image, plus `weight` times the mean over voxels of the squared differences of neighbours (all components, all axes). You may use
# `fields.warp` and `diffusion`.


# %% tags=["solution"]
def pair_loss(moving, fixed, u, weight):
    """(B, 1, *S), (B, 1, *S), (B, D, *S), number -> number."""
    return (fields.warp(moving, u) - fixed).square().mean() + weight * diffusion(u)


# %% tags=["hide-output"]
check("learning-loss", pair_loss)

# %% [markdown]
# **2.** Write one step of Adam for one tensor of unknowns. `mean` and `square` are the running means so far, $m$ and $q$, and `step` counts
# from one: $m \leftarrow 0.9\,m + 0.1\,g$, $q \leftarrow 0.999\,q + 0.001\,g^2$, and the unknowns move by
# $-\text{rate} \cdot \hat m / (\sqrt{\hat q} + 10^{-8})$, where $\hat m = m / (1 - 0.9^\text{step})$ and $\hat q = q / (1 - 0.999^\text{step})$ make up for starting at zero.


# %% tags=["solution"]
def adam_step(values, slope, mean, square, step, rate):
    """Four tensors of one shape, two numbers -> new values, mean, square."""
    mean = 0.9 * mean + 0.1 * slope
    square = 0.999 * square + 0.001 * slope**2
    first, second = mean / (1 - 0.9**step), square / (1 - 0.999**step)
    return values - rate * first / (second.sqrt() + 1e-8), mean, square


# %% tags=["hide-output"]
check("learning-adam", adam_step)

# %% [markdown]
# **3.** VoxelMorph's last layer. Write scaling and squaring: the displacement after unit time along `velocity`, by `number` compositions of a
# field with itself. You may use `fields.compose`.


# %% tags=["solution"]
def follow(velocity, number):
    """(B, D, *S), whole number -> (B, D, *S)."""
    u = velocity / 2**number
    for _ in range(number):
        u = fields.compose(u, u)
    return u


# %% tags=["hide-output"]
check("learning-squaring", follow)

# %% [markdown]
# **4.** A training takes 600 s, one pass 0.05 s, a search 12 s. How many pairs must be registered until training was cheaper than
# searching each of them?

# %% tags=["solution"]
check("learning-pays", 51, training=600.0, network=0.05, search=12.0)

# %% [markdown]
# **5.** All weights of the last layer are zero. Which layers get a gradient in the very first step: "all", "last" or
# "none"?

# %% tags=["solution"]
check("learning-first-step", "last")

# %% [markdown]
# **6.** A network has seen each of its 16 pairs often enough after 1000 steps. After how many steps has it seen each of 200 pairs as often?

# %% tags=["solution"]
check("learning-visits", 12500, pairs=16, steps=1000, more=200)

# %% [markdown]
# ## To remember
#
# * Search and network descend the same loss; one over the values of a field, the other over weights that pairs share.
# * One pass, then a few steps: the network brings the start, the pair's own loss the rest. A search that moves voxels together needs
#   neither start nor training to be closer: compare with a good one.
# * First look at the error on *seen* pairs. While that is high, the number of pairs is not what is missing.
# * Before "it never saw that", train one that did.
# * Equal images are moved unless the layers rule it out: every trained network here moved them.
