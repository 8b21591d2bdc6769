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
# # MoA: every token picks its heads
#
# You will be able to
#
# * turn multi-head attention into a mixture of heads, and back, with equal value and gradient,
# * compute it twice: clearly (all heads, then gates) and sparsely (chosen heads only),
# * let keys and values come from the other image,
# * look at which tokens of a trained encoder pick which heads, and ask whether it matters.
#
# The code is `moereg/nn/moa.py`; the idea is from Zhang et al. 2022 (MoA) and used by SHMoAReg for image tokens.

# %%
import time

import matplotlib.pyplot as plt
import torch
from ipywidgets import interact

from moereg import classical, metrics, models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.nn.attention import MultiHeadAttention, Windows
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.training import TrainingConfig, fit
from moereg.viz.explorer import Explorer
from moereg.viz.figures import expert_legend, show_experts, show_image, show_load

budget = Budget.from_env()
torch.manual_seed(0)
features = torch.randn(2, 12, 10, 10, dtype=torch.float64, requires_grad=True)

# %% [markdown]
# ## The idea
#
# Multi-head attention adds up its heads. MoA adds up *some* of them, chosen by a router for each token, and weighted:
#
# $$y_t = \sum_{i \in G(q_t)} w_{i,t}\, E_i(q_t; K, V), \qquad E_i = \mathrm{softmax}\Big(\frac{q_t W_i^q (K W^k)^\top}{\sqrt d}\Big) V W^v W_i^o$$
#
# $W^k$ and $W^v$ carry no index: keys and values are computed once for all heads. **What then is a head?**

# %%
layer = MixtureOfAttentionHeads(12, heads=8, k=2, head_dim=4, window=5).double()
for name, parameter in layer.named_parameters():
    print(f"{name:14} {tuple(parameter.shape)}")

# %% [markdown]
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

windows = Windows.of(features, 5)
expected = windows.join(classic(windows.split(features)))
mixed, _ = everyone(features)
gradients = [torch.autograd.grad(y.square().sum(), features)[0] for y in (mixed, expected)]
print(
    "largest difference: value",
    (mixed - expected).abs().max().item(),
    " gradient",
    (gradients[0] - gradients[1]).abs().max().item(),
)
torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-9)
torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)

# %% [markdown]
# ## Two computations
#
# *Dense*: every head for every token, times its gate, zeros included. *Sparse*: sort the (token, head) pairs by head,
# one matrix product per head, all chosen queries of a window against its keys at once. **Predict: which share of the
# dense time will the sparse one need, for k = 2 of 8?**

# %%
large = MixtureOfAttentionHeads(96, heads=8, k=2, head_dim=32, window=8)
volume = torch.randn(1, 96, *budget.pick(smoke=(16, 16, 16), full=(24, 24, 24)), requires_grad=True)
seconds, values = {}, {}
for compute in ("dense", "sparse"):
    large.compute = compute
    for _ in range(3):
        began = time.perf_counter()
        mixed, _ = large(volume)
        (gradient,) = torch.autograd.grad(mixed.square().sum(), volume)
        seconds[compute] = min(seconds.get(compute, 1e9), time.perf_counter() - began)
    values[compute] = mixed.detach(), gradient
for dense, sparse in zip(*values.values(), strict=True):
    torch.testing.assert_close(dense, sparse, rtol=1e-3, atol=1e-3)
print(f"sparse takes {seconds['sparse'] / seconds['dense']:.2f} of the dense time here, forward and backward")

# %% [markdown]
# ## Nothing but names
#
# Rename the heads, and the router's rows along with them: nothing may change. (A layer that fails this test has a bug.)

# %%
before, _ = layer(features)
order = torch.randperm(8)
with torch.no_grad():
    for parameter in (layer.router.weight, layer.query, layer.output):
        parameter.copy_(parameter[order].clone())
torch.testing.assert_close(layer(features)[0], before)

# %% [markdown]
# ## In a trained encoder
#
# SHMoAReg has MoA layers at its coarser levels. We train a small one, with keys and values from the image itself, and
# another with keys and values from the *other* image (the cross form; it is ours, the paper's choice was not open to
# us).

# %%
shape = budget.pick(smoke=(64, 64), full=(128, 128))
train = [phantoms.make("abdomen", shape, seed) for seed in range(budget.pick(smoke=16, full=200))]
test = [phantoms.make("abdomen", shape, seed) for seed in range(9000, 9006)]
config = TrainingConfig(steps=budget.pick(smoke=100, full=3000), pairs_per_step=2, device=budget.device.type)
trained = {}
for context in ("self", "cross"):
    torch.manual_seed(0)
    trained[context] = models.build("shmoareg", dims=2, context=context)
    fit(trained[context], train, config, progress=False)
    trained[context].cpu()

# %%
methods = {"before": classical.identity} | trained
for name, row in metrics.evaluate(methods, test, surfaces=False).items():
    print(f"{name:8} Dice {row['dice']:.3f}   endpoint error {row['epe']:.2f} voxels")

# %% [markdown]
# One run each says little about which form is better; chapter 09 repeats runs with several seeds. What can be looked at
# here is who picks whom.


# %% mystnb={"image": {"alt": "Fixed image and, for a layer of the encoder, the map of the head with the largest gate at each token, with the load of each head as bars."}}
def show_heads(context="self", level=1):
    pair, model = test[0], trained[context]
    with torch.no_grad():
        routing = model(pair.moving[None], pair.fixed[None]).routing[f"encoder.{level}.moa"]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
    show_image(axes[0], pair.fixed[0], title="fixed")
    show_experts(axes[1], routing, item=1, title="first head, fixed image")  # item 0 is the moving image
    show_load(axes[2], routing, title="load")
    expert_legend(figure, routing.experts)
    plt.show()


_ = interact(show_heads, context=["self", "cross"], level=[1, 2])

# %% [markdown]
# ### Where does a head look?
#
# `attention_from` gives, for one token, the weights of every head over its window. Ask the explorer for any token: choose
# an encoder layer, move over the image.

# %%
Explorer(trained["cross"], test[0], layer="encoder.1.moa", title="Heads of the cross form")

# %% [markdown]
# | fixed by a source | chosen here |
# |---|---|
# | shared W^k, W^v; own W_i^q, W_i^o; top-k of a softmax router per token (MoA) | tokens are voxels of a feature map, attention inside windows |
# | SHMoAReg: MoA in the encoder, a combination of heads per token | levels, 8 heads, k = 2, width, windows of 6 |
# | | keys and values from the other image |

# %% [markdown]
# ## Exercises
#
# **1.** 8 heads, k = 2. By what factor are there fewer query vectors to project and to attend?

# %%
check("moa-saved", ..., heads=8, k=2)

# %% [markdown]
# **2.** k = N = 8 and a zero router. By what must the output of multi-head attention be multiplied to get MoA's?

# %%
check("moa-all-on", ..., heads=8)

# %% [markdown]
# **3.** The router's rows are permuted. Which of `query`, `key`, `value`, `output` must be permuted alike? A set of names.

# %%
check("moa-permute", ...)

# %% [markdown]
# ## To remember
#
# * MoA is multi-query attention whose query heads are picked per token; keys and values cost the same as one head's.
# * Dense and sparse are one function. Keep the clear one to test the fast one.
# * That heads are used unevenly does not show that the choice matters.
