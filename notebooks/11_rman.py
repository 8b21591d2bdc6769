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
#       smoke_seconds: 40
#       full_seconds: 600
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # RMAn: the same network, again and again
#
# You will be able to
#
# * register a pair in K passes of one network, and compose what the passes find,
# * say when a further pass helps and when it hurts, and why training decides that,
# * count what attention between two images costs, with windows and without,
# * ask a voxel where it looks in the other image, in every pass.
#
# Paper: Zheng, Wang, Huang, Lim, Vincent, Papiez, arXiv 2206.01863. Code: `moereg/models/rman.py`.

# %%
from functools import partial

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from moereg import classical, fields, metrics, models, viz
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.data.phantoms import Motion
from moereg.experiments.recursion import statements
from moereg.nn.attention import Windows
from moereg.training import TrainingConfig, fit
from moereg.viz.figures import show_grid, show_image
from moereg.viz.rman import attention_picker, draw_attention

budget = Budget.from_env()

# %% [markdown]
# ## Motion that is too large
#
# A convolution compares what is near. Here the same tissue may stand many voxels away.

# %% mystnb={"image": {"alt": "Fixed image, moving image, and the length of the true displacement: the organs of the two images are far apart."}}
LARGE = Motion(amplitude=(0.35, 0.2, 0.2), length=(0.4, 0.25, 0.25))
shape = budget.pick(smoke=(64, 64), full=(160, 160))
train = [phantoms.make("abdomen", shape, seed, motion=LARGE) for seed in range(budget.pick(smoke=24, full=200))]
test = [
    phantoms.make("abdomen", shape, seed, motion=LARGE) for seed in range(9000, 9000 + budget.pick(smoke=6, full=20))
]
pair = max(test, key=lambda pair: pair.displacement.norm(dim=0).max())
lengths = pair.displacement.norm(dim=0)
figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_image(axes[1], pair.moving[0], title="moving")
drawn = axes[2].imshow(lengths, cmap="viridis")
axes[2].set_title("true displacement", fontsize=9)
axes[2].set_axis_off()
figure.colorbar(drawn, ax=axes[2], label="voxels")
plt.show()

# %% [markdown]
# ## One network, K passes
#
# Each pass sees the *original* moving image, warped by all that was found so far, beside the fixed one. What it finds is
# composed with the rest:
#
# $$\psi_k = \text{network}(m \circ \phi_{k-1}, f) \qquad \phi_k[x] = \psi_k[x] + \phi_{k-1}[x + \psi_k[x]]$$
#
# Two networks, the same but for K in training: one pass, and two. **Predict: a network that only ever saw raw pairs is
# given its own result to improve. What happens at the second pass, and at the fourth?**

# %%
config = TrainingConfig(
    steps=budget.pick(smoke=120, full=3000), pairs_per_step=2, learning_rate=3e-3,
    similarity="mse", smoothness=0.003, device=budget.device.type,
)  # fmt: skip
networks = {}
for trained in (1, 2):
    torch.manual_seed(0)
    networks[trained] = models.build("rman", dims=2, recursions=trained)
    fit(networks[trained], train, config, progress=False)
    networks[trained] = networks[trained].cpu()
sizes = {trained: sum(p.numel() for p in network.parameters()) for trained, network in networks.items()}
assert sizes[1] == sizes[2], "recursion adds no parameters"

# %%
dice, errors = {}, {}
for trained, network in networks.items():
    methods = {str(k): partial(network, recursions=k) for k in (1, 2, 3, 4)}
    table = metrics.evaluate(methods, test, surfaces=False)
    dice[trained] = {int(k): row["dice"] for k, row in table.items()}
    errors[trained] = {int(k): row["epe"] for k, row in table.items()}
untrained = {"before": classical.identity, "Demons": classical.METHODS["demons-symmetric"]}
for name, row in metrics.evaluate(untrained, test, surfaces=False).items():
    print(f"{name:16} Dice {row['dice']:.3f}, endpoint error {row['epe']:.2f} voxels, nothing trained")
for title, measured in (("Dice", dice), ("endpoint error", errors)):
    print(f"{title + ', recursions':26}" + "".join(f"{k:8}" for k in (1, 2, 3, 4)))
    for trained, row in measured.items():
        print(f"{f'  trained with {trained}':26}" + "".join(f"{value:8.3f}" for value in row.values()))
assert dice[2][2] > dice[2][1], "two passes were trained together, so the second must add something"
assert dice[2][4] - dice[2][1] > dice[1][4] - dice[1][1], "training with recursion makes further passes worth more"

# %% [markdown]
# ## The loop, written down
#
# Nothing is hidden in `recursions=4`. Here it is by hand, pass by pass, with `fields.compose`:

# %%
network, moving, fixed = networks[2].eval(), pair.moving[None], pair.fixed[None]
with torch.no_grad():
    result = network(moving, fixed, recursions=4)
    so_far = torch.zeros_like(result.displacement)
    for k in range(4):
        found = network(fields.warp(moving, so_far), fixed, recursions=1).displacement
        so_far = fields.compose(so_far, found)
        assert (so_far - result.steps[k]).norm(dim=1).mean() < 0.05, "voxels"
print("four calls with one recursion, composed, are one call with four")

# %% mystnb={"image": {"alt": "Fixed image, moving image, and the moving image warped after each of four recursions with the deformed grid and the endpoint error."}}
figure, axes = plt.subplots(1, 6, figsize=(13, 2.6), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
show_image(axes[1], pair.moving[0], title="moving")
for k, (ax, step) in enumerate(zip(axes[2:], result.steps, strict=True), start=1):
    error = metrics.endpoint_error(step[0], pair.displacement, pair.region)
    show_image(ax, fields.warp(moving, step)[0, 0], title=f"recursion {k}, error {error:.1f} voxels")
    show_grid(ax, step[0])
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(shape[0] - 0.5, -0.5)
plt.show()

# %% [markdown]
# Composing is not adding. **Where do you expect the difference to be large?**

# %% mystnb={"image": {"alt": "Map of the distance between the composed and the added field: large where the field changes quickly."}}
first = result.steps[0]
second = network(fields.warp(moving, first), fixed, recursions=1).displacement.detach()
gap = (fields.compose(first, second) - (first + second))[0].norm(dim=0)
print(f"composed and added fields differ by up to {gap.max():.1f} voxels, by {gap.mean():.2f} on average")
figure, ax = plt.subplots(figsize=(3.4, 2.8), layout="constrained")
figure.colorbar(ax.imshow(gap, cmap="viridis"), label="voxels")
ax.set_axis_off()
plt.show()
assert gap.max() > 0.1

# %% [markdown]
# ## Mutual attention
#
# Two Siamese branches turn the images into features; without help they would first meet in the decoder. Mutual
# attention lets every token of one image look at the tokens of the other:
#
# $$f' = f + \text{MHA}(Q = f;\ K, V = m) \qquad m' = m + \text{MHA}(Q = m;\ K, V = f)$$
#
# The naive version lets every token look at all others. Count the scores of one head, at 1/8 of the resolution:

# %%
print(f"{'image':>16}{'tokens':>9}{'all with all':>15}{'windows of 8':>15}")
for image in ((64, 64), (256, 256), (96, 96, 96), (192, 192, 192)):
    grid = [-(-size // 8) for size in image]
    windows = Windows.of(torch.empty(1, 1, *grid, device="meta"), 8)
    tokens = torch.Size(grid).numel()
    held = torch.Size(windows.counts).numel() * torch.Size(windows.size).numel() ** 2
    print(f"{' x '.join(map(str, image)):>16}{tokens:9}{tokens**2:15}{held:15}")

# %% [markdown]
# Windows make memory linear in the number of voxels, and they bound how far a token can see: 8 tokens of 8 voxels. What
# comes back from a match says *what* is there. To say *where*, every token carries a linear map of its coordinates.
#
# One row of attention by hand, and what the layer did with it:

# %%
look = result.looks[0][1]  # first recursion, the module at 1/8 of the resolution
attention, token = look.layer.attention, (4, 3)
queries = torch.einsum("c,ncd->nd", look.fixed[0][:, *token], attention.query)
keys = torch.einsum("cs,ncd->nsd", look.moving[0].flatten(1), attention.key)
values = torch.einsum("cs,ncd->nsd", look.moving[0].flatten(1), attention.value)
scores = torch.einsum("nd,nsd->ns", queries, keys) / attention.head_dim**0.5
if shape == (64, 64):  # one window holds all tokens
    weights = scores.softmax(-1)
    torch.testing.assert_close(look.weights(token).flatten(1), weights, atol=1e-5, rtol=1e-4)
    enriched = look.fixed[0][:, *token] + torch.einsum("ns,nsd,ndc->c", weights, values, attention.output)
    torch.testing.assert_close(look.layer(look.fixed, look.moving)[0][0][:, *token], enriched, atol=1e-4, rtol=1e-4)
print(look.weights(token).shape, "= (heads, rows, columns of tokens)")

# %% [markdown]
# ## Ask a voxel
#
# The ring is the voxel that looks, colours are where it looks (mean over heads), the cross is where its tissue truly
# stands. In each recursion the moving image is the one warped so far. **Will the attention sit on the cross?**

# %% mystnb={"image": {"alt": "Fixed image with a ring at one voxel, then the moving image in the first two recursions with that voxel's attention over it and a cross at the true place."}}
draw_attention(pair, result, (32, 20), recursions=(1, 2))

# %% [markdown]
# How far from the truth is the centre of attention, over all tokens inside the body? Two references: looking straight
# ahead (no displacement at all), and attention spread evenly over the window.


# %%
def distances(registration, pair):
    """Per token of the fixed image: distance in voxels of the true place from the centre of attention, and references."""
    grid = registration.looks[0][1].fixed.shape[2:]
    places = 8.0 * fields.identity_grid(grid)
    rows = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            voxel = (min(8 * row, pair.shape[0] - 1), min(8 * column, pair.shape[1] - 1))
            if not pair.region[0][voxel]:
                continue
            truth = torch.tensor(voxel) + pair.displacement[:, *voxel]
            weights = registration.attention_of(voxel).mean(0)
            centre = (places * weights).flatten(1).sum(1)
            rows.append([float((truth - at).norm()) for at in (centre, torch.tensor(voxel), places.flatten(1).mean(1))])
    return torch.tensor(rows).mean(0).tolist()


with torch.no_grad():
    measured = [distances(network(p.moving[None], p.fixed[None]), p) for p in test]
centre, ahead, even = torch.tensor(measured).mean(0).tolist()
verdict = "closer to" if centre < ahead else "farther from"
print(
    f"distance from the true place: centre of attention {centre:.1f} voxels, straight ahead {ahead:.1f}, even {even:.1f}"
)
print(f"read as a map of matches, attention is {verdict} the truth than no displacement")

# %% [markdown]
# Attention weights are no displacement and nobody asked them to be: the decoder makes the field from what they carried
# over. A blurred map can carry enough.
#
# Click a square, or reach it with the tab key and press space: 64 tokens, as grey as the image under them.

# %% mystnb={"image": {"alt": "Fixed image with a ring at the chosen voxel, and the moving image in four recursions with the attention of that voxel."}}
attention_picker(pair, result, start=(32, 24))

# %% [markdown]
# ## The paper's Figure 5, in small
#
# The paper trains with K = 1, 2, 3 and measures with more and with fewer recursions. Here are four values of K_train with
# four K each, three seeds, and two controls for mutual attention: each image looks at *itself* (as many parameters, as
# much work), and no attention at all. Grey bars mark the K of training.


# %% mystnb={"image": {"alt": "Dice and surface distance against the number of recursions, a column for each number in training, lines for mutual attention, self attention and none."}}
record = recorded("rman")
(protocol,) = record.protocols
print(
    f"{protocol['training']['steps']} steps, seeds {protocol['seeds']}, images of {record.shape}, "
    f"{record.seconds / 60:.0f} minutes on one core"
)
finding = record.finding
display(viz.draw(finding))

# %% [markdown]
# **Which of the paper's statements hold here?** Changes of Dice with their 95 % interval over seeds; "holds" means that
# the interval leaves out zero.

# %%
for sentence in statements(finding.rows).values():
    display(Markdown(f"* {sentence}"))

# %% [markdown]
# | fixed by the paper | chosen here |
# |---|---|
# | one weight-shared network, K recursions, fields composed | the original moving image is warped anew for each pass |
# | Siamese encoder, four pairs of Res-down blocks, a Res-up block | widths 8, 16, 16, 32; a joint decoder from 1/8 to 1/2 of the resolution |
# | two mutual-attention modules | their formula, windows of 8 tokens, coordinates in the tokens; before and after Res-up |
# | lung CT: Dice 92 %; abdominal CT: Dice 55 % (the paper's numbers) | phantoms, two dimensions: nothing here reproduces them |

# %% [markdown]
# ## Exercises
#
# **1.** In one dimension: phi_1 is 3 for x >= 10 and 0 before that, psi_2 is 2 everywhere. What is phi_2 at x = 9?

# %%
check("rman-compose", ...)

# %% [markdown]
# **2.** A volume of 96³ voxels, tokens every 8 voxels, windows of at most 8 tokens along an axis. How many scores does one
# head hold? (`Windows.of` cuts windows as even as possible.)

# %%
check("rman-memory", ..., shape=(96, 96, 96), window=8, stride=8)

# %% [markdown]
# **3.** The network with mutual attention that was trained with *one* recursion: with how many would you run it?

# %%
check("rman-recursions", ..., rows=finding.rows)

# %% [markdown]
# ## To remember
#
# * Recursion is composition: warp the original anew, find the rest, compose. It costs time, not parameters.
# * A network can only improve on its own results if it has seen them in training.
# * Windows make attention affordable and short-sighted; coordinates in the tokens let it say where.
# * A control with as many parameters asks whether it is *mutual* attention that helps, or attention.
