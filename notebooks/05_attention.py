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
#       full_seconds: 60
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # Attention heads, from one to a mixture's parts
#
# You will be able to
#
# * compute attention by hand and check the library against it,
# * say what a head owns, and write multi-head attention as a *sum* of heads,
# * cut a volume into windows, and say what that costs and what it saves,
# * let one image ask the other where its tissue has gone.
#
# The code is `moereg/nn/attention.py`. The next chapter but one turns the sum of heads into a choice among them.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import interact

from moereg import models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.nn.attention import AttentionHead, MultiHeadAttention, MutualAttention, Windows, attend
from moereg.viz.explorer import Explorer
from moereg.viz.figures import show_image

budget = Budget.from_env()
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## One query, three tokens, by hand
#
# A *query* asks, every token answers with its *key*; the better they fit, the more of that token's *value* comes back:
#
# $$w = \mathrm{softmax}\left(\frac{q K^\top}{\sqrt d}\right), \qquad y = w V$$
#
# **Predict:** the query is (1, 0). Which of the keys (2, 0), (0, 2), (1, 1) gets the largest weight?

# %%
query = torch.tensor([[1.0, 0.0]])
keys = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
values = torch.tensor([[10.0], [20.0], [30.0]])

scores = [float(query[0] @ key) / 2**0.5 for key in keys]
total = sum(2.718281828**score for score in scores)
weights = [2.718281828**score / total for score in scores]
by_hand = sum(weight * float(value) for weight, value in zip(weights, values, strict=True))

mixed, library_weights = attend(query, keys, values)
print("weights", [round(weight, 3) for weight in weights], " result", round(by_hand, 3))
torch.testing.assert_close(mixed.item(), by_hand, rtol=1e-5, atol=1e-5)

# %% [markdown]
# ## One voxel asks an image
#
# Tokens are voxels now. The feature of a voxel is the 5 x 5 patch around it; queries and keys are the patches
# themselves. Which voxels look like the one in the liver? Move the temperature: **what happens when it gets large?**

# %%
shape = (48, 48)
pair = phantoms.make("abdomen", shape, seed=3)


def patches(image):
    """(1, *S) -> (25, *S): the neighbourhood of every voxel, mean removed, unit length."""
    columns = F.unfold(F.pad(image[None], (2, 2, 2, 2), mode="replicate"), 5)[0]
    columns = columns - columns.mean(0)
    return F.normalize(columns, dim=0).reshape(25, *shape)


fixed_features, moving_features = patches(pair.fixed), patches(pair.moving)
tokens = fixed_features.flatten(1).T
print("tokens", tuple(tokens.shape), " weights of all of them", tokens.shape[0] ** 2)


# %% mystnb={"image": {"alt": "Left, a phantom slice with the asking voxel marked; right, a map of how much attention each voxel gets, brightest where tissue looks alike."}}
def show_attention(row=20, column=14, temperature=0.1):
    asked = tokens[row * shape[1] + column][None]
    weight = attend(asked / temperature * 5, tokens, tokens)[1].reshape(shape)
    _, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
    show_image(axes[0], pair.fixed[0], title="the voxel that asks").plot(column, row, "o", color="#e8a53a")
    axes[1].imshow(weight, cmap="magma")
    axes[1].set_title(f"weights, largest {weight.max():.2%}", fontsize=9, loc="left")
    axes[1].set_axis_off()
    plt.show()


_ = interact(show_attention, row=(0, 47), column=(0, 47), temperature=[0.03, 0.1, 0.3, 1.0])

# %% [markdown]
# Limit cases first, they never lie. Equal keys: the mean of the values. One key far ahead: that token alone.

# %%
anything = torch.randn(1, 4, generator=generator)
values = torch.randn(6, 3, generator=generator)
torch.testing.assert_close(attend(anything, torch.ones(6, 4), values)[0], values.mean(0, keepdim=True))
sharp = torch.eye(6)[:, :4] * 1000
torch.testing.assert_close(attend(torch.eye(4)[:1], sharp, values)[0], values[:1])

# %% [markdown]
# ## Many heads are a sum
#
# A *head* projects tokens to queries, keys and values of a few channels, attends, and projects back with its own output
# matrix. Textbooks concatenate the heads and multiply by one large matrix. Cut that matrix into rows per head, and the
# same thing is a sum. **Why does it matter here?** Because a sum can leave terms out.

# %%
layer = MultiHeadAttention(25, heads=4, head_dim=8)
few = tokens[None, :100]
total = 0
for i in range(4):
    head = AttentionHead(25, 8)
    for name in ("query", "key", "value"):
        getattr(head, name).weight.data = getattr(layer, name)[i].T
    total = total + head(few) @ layer.output[i]
torch.testing.assert_close(layer(few), total, rtol=1e-4, atol=1e-5)

# %% [markdown]
# MoA shares one key and one value projection among all heads (*multi-query attention*). A head then differs from
# another in its query and output projection only.

# %%
shared = MultiHeadAttention(25, heads=4, head_dim=8, shared_keys=True)
for name, module in (("own keys and values", layer), ("shared", shared)):
    print(f"{name:20} {sum(parameter.numel() for parameter in module.parameters())} parameters")

# %% [markdown]
# ## Windows
#
# All pairs of voxels of a 96³ volume are 783 billion weights for each head. Voxels of one window of 6³: 191 million. A
# volume is cut, attention runs in each window, and the pieces are joined again.

# %%
features = torch.randn(1, 3, 9, 14, generator=generator)
windows = Windows.of(features, 6)
pieces = windows.split(features)
print(f"9 x 14 with windows of at most 6: {windows.counts} windows of {windows.size}, tokens {tuple(pieces.shape)}")
torch.testing.assert_close(windows.join(pieces), features)

# %%
for size in (24, 48, 96):
    everything, windowed = (size**3) ** 2, size**3 * 6**3
    print(
        f"{size}³ voxels: {4 * everything / 2**30:12.1f} GiB of weights per head, in windows {4 * windowed / 2**30:.3f}"
    )

# %% [markdown]
# ## Two images: who has my tissue?
#
# *Mutual attention* takes queries from one image, keys and values from the other. If features are good, a voxel's
# weights in the other image gather where its tissue went. The phantom knows the truth, so we can ask how well the
# centre of the weights says where that is. **Predict: will raw patches be enough?**

# %%
window = 13  # voxels around the place of the query, so that far-off look-alikes do not count
half = window // 2
neighbours = F.unfold(F.pad(moving_features[None], (half,) * 4), window).reshape(25, window**2, *shape)
offsets = torch.stack(torch.meshgrid(*[torch.arange(window) - half] * 2, indexing="ij")).float().reshape(2, -1)
scores = torch.einsum("cyx,cnyx->nyx", fixed_features, neighbours) * 20
guess = torch.einsum("nyx,dn->dyx", scores.softmax(0), offsets)

organs = (pair.fixed_labels[0] > 0) & (pair.displacement.abs().amax(0) < half)
error = (guess - pair.displacement).norm(dim=0)[organs].mean()
still = pair.displacement.norm(dim=0)[organs].mean()
correlation = torch.corrcoef(torch.stack([guess[0][organs], pair.displacement[0][organs]]))[0, 1]
print(f"in organs: error {error:.2f} voxels, without motion {still:.2f}; correlation along y {correlation:.2f}")

# %% mystnb={"image": {"alt": "Two maps of the displacement along y: the one read off attention is noisy but shows the same large regions as the true one."}}
_, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
for ax, field, title in zip(axes, (guess, pair.displacement), ("read off attention", "true"), strict=True):
    ax.imshow(field[0], cmap="RdBu", vmin=-6, vmax=6)
    ax.set_title(f"displacement along y, {title}", fontsize=9, loc="left")
    ax.set_axis_off()
plt.show()

# %%
assert correlation > 0.3, "attention between raw patches must already know something about the motion"

# %% [markdown]
# Attention *finds*; it does not smooth, and it is misled where tissue repeats itself. A registration network adds
# learned features, coarse-to-fine search and regularisation. `MutualAttention` is the trainable layer:

# %%
mutual = MutualAttention(25, heads=2, head_dim=8, window=12)
first, second = mutual(fixed_features[None], moving_features[None])
print("both maps come back enriched:", tuple(first.shape), tuple(second.shape))

# %% [markdown]
# ## Heads in a network
#
# The explorer opens a registration network of chapter 09, here untrained and with every head switched on for every
# token, which is multi-head attention. Point at a voxel: its window is outlined, and each head's weights are drawn over
# the window. **Do heads that nobody has trained look at different places?**

# %%
torch.manual_seed(0)
sizes = {"widths": (8, 16), "decoder_widths": (8, 12), "moa_levels": (1,), "heads": 4, "head_gate": "uniform"}
network = models.build("shmoareg", dims=2, **sizes).eval()
Explorer(network, pair, layer="encoder.1.moa", title="Four heads of an untrained network")

# %% [markdown]
# | fixed by a source | chosen here |
# |---|---|
# | softmax(QKᵀ/√d)V, multi-head (Vaswani et al. 2017) | windows of equal size, cut as evenly as possible |
# | shared key and value projection in MoA (Zhang et al. 2022) | heads written as a sum |
# | RMAn joins its branches by mutual attention (arXiv 2206.01863) | all of its equations: they were not open to us |

# %% [markdown]
# ## Exercises
#
# **1.** A window has 216 tokens and all keys are equal. What weight does each token get?

# %%
check("attention-equal-keys", ..., tokens=216)

# %% [markdown]
# **2.** A map of 48³ tokens is cut into windows of 6³. By what factor are there fewer attention weights?

# %%
check("attention-windows", ..., shape=(48, 48, 48), window=6)

# %% [markdown]
# **3.** 8 heads of width 16 on 32 channels. How many parameters does one shared key and value projection save?

# %%
check("attention-shared-keys", ..., heads=8, channels=32, head_dim=16)

# %% [markdown]
# ## To remember
#
# * Attention is a weighted mean of values; equal keys make it the plain mean.
# * Multi-head attention is a sum of heads, and a head is its query and output projection once keys are shared.
# * Windows make memory linear in the number of voxels; a token then sees its own window only.
# * Between two images, attention weights are a first guess of where tissue went, without smoothness.
