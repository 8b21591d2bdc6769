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
# # Routers: who works where
#
# You will be able to
#
# * turn features into logits, probabilities, choices and gates, by five rules of the literature,
# * say which rule sends gradient to experts that were not chosen,
# * produce a collapse, see it in the load, and cure it,
# * read load, importance and entropy.
#
# The code is `moereg/nn/routing.py`.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from ipywidgets import interact

from moereg import models
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.data import phantoms
from moereg.nn.routing import Router, Routing, choose
from moereg.viz.explorer import RouterSteps
from moereg.viz.figures import expert_legend, show_experts, show_image
from moereg.viz.palette import expert_colours

budget = Budget.from_env()

# %% [markdown]
# ## A router is one linear map
#
# Features of the phantom: intensity, a blurred copy, and a constant. Four experts, one row of weights each.

# %%
pair = phantoms.make("abdomen", (64, 64), seed=3)
image = pair.fixed[None]
features = torch.cat([image, F.avg_pool2d(image, 9, 1, 4, count_include_pad=False), torch.ones_like(image)], 1)

experts = tuple(f"expert {i}" for i in range(4))
router = Router(3, experts, k=1)
with torch.no_grad():
    router.weight.copy_(torch.tensor([[-12.0, 0, 3], [0, -6, 2], [9, 0, -3], [0, 9, -4]]))
routing = router(features).detach()
print("logits", tuple(routing.logits.shape), "= (batch, routers, experts, rows, columns)")

# %% mystnb={"image": {"alt": "A phantom slice and, beside it, the map of the expert that each voxel chose: air, fat, and bright organs go to different experts."}}
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.6))
show_image(axes[0], image[0, 0], title="image")
show_experts(axes[1], routing, title="chosen expert")
expert_legend(figure, experts)
plt.show()

# %% [markdown]
# ## From logits to gates
#
# Softmax gives probabilities, top-k the choice. What remains is the *weight* of a chosen expert. **Predict: for logits
# 2, 1, 0, -1 and k = 2, which rules give the same gates?**

# %%
logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).reshape(1, 1, 4, 1, 1)
for rule in ("raw", "renormalised", "stopped", "topk_softmax", "soft"):
    gates, _ = choose(logits, 4 if rule == "soft" else 2, rule)
    print(f"{rule:13}", [round(gate, 3) for gate in gates.flatten().tolist()])

# %%
kept = [choose(logits, 2, rule)[0] for rule in ("renormalised", "stopped", "topk_softmax")]
torch.testing.assert_close(kept[0], kept[1])
torch.testing.assert_close(kept[0], kept[2])

# %% [markdown]
# ## Who hears of it?
#
# Three rules give equal values and not equal gradients. An expert that was not chosen can only ever be chosen later if
# its logit moves. The table shows the derivative of the first gate after each logit.

# %%
for rule in ("raw", "renormalised", "stopped", "topk_softmax"):
    leaf = logits.clone().requires_grad_()
    choose(leaf, 2, rule)[0][0, 0, 0].sum().backward()
    print(f"{rule:13}", [round(value, 3) for value in leaf.grad.flatten().tolist()])
    heard = (leaf.grad.flatten()[2:].abs() > 1e-6).all()
    assert bool(heard) == (rule in ("raw", "stopped"))

# %% [markdown]
# ## Collapse
#
# Four tissues, four experts, each a pair of numbers that should learn its tissue's mapping. All mappings resemble each
# other, so the first expert to learn *something* is better than the others everywhere. It is asked more, so it learns
# more. **Predict the load after training without any balance.**

# %%
size = 24
rows, columns = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
tissue = (rows > 0).long() * 2 + (columns > 0).long()
steps = budget.pick(smoke=250, full=1000)
seen = torch.cat([F.one_hot(tissue, 4).permute(2, 0, 1).float(), torch.ones(1, size, size)])[None]


def train(balance, *, k=1, gate="raw", seed=2):
    """Fit experts and router together; returns load and error after every step, and the last routing."""
    torch.manual_seed(seed)
    truth = 1 + 0.6 * torch.randn(4, 2)
    learner, numbers = Router(5, experts, k=k, gate=gate), torch.nn.Parameter(torch.zeros(4, 2))
    optimiser = torch.optim.Adam([*learner.parameters(), numbers], lr=0.02)
    loads, errors = [], []
    for _ in range(steps):
        signal = torch.randn(1, 2, size, size)
        target = (truth[tissue].permute(2, 0, 1) * signal).sum(1)
        decided = learner(seen + 0.3 * torch.randn_like(seen))
        answer = torch.einsum("bnyx,nc,bcyx->byx", decided.gates[:, 0], numbers, signal)
        error = (answer - target).square().mean()
        (error + balance * decided.balance_loss()).backward()
        optimiser.step()
        optimiser.zero_grad()
        loads.append(decided.load()[0].detach())
        errors.append(error.item())
    return torch.stack(loads), errors, decided.detach()


runs = {balance: train(balance) for balance in (0.0, 0.5)}

# %% mystnb={"image": {"alt": "Load of four experts over training: without balance one or more experts fall to zero and stay there; with balance all four end near one quarter. Beside it the map of who works where."}}
figure, axes = plt.subplots(2, 2, figsize=(8, 4.6), width_ratios=(3, 1), layout="constrained")
for (balance, (loads, _, decided)), row in zip(runs.items(), axes, strict=True):
    for expert, colour, load in zip(experts, expert_colours(experts), loads.T, strict=True):
        row[0].plot(load, color=colour, label=expert)
    row[0].set(title=f"load, balance weight {balance}", ylim=(0, 1), xlabel="step")
    show_experts(row[1], decided, title="who works where")
axes[0, 0].legend(fontsize=8, ncols=4)
plt.show()

# %%
for balance, (loads, errors, _) in runs.items():
    idle = int((loads[-1] < 0.02).sum())
    print(
        f"balance {balance}: load {[round(x, 2) for x in loads[-1].tolist()]}, {idle} idle, error {sum(errors[-20:]) / 20:.3f}"
    )
assert (runs[0.0][0][-1] < 0.02).any(), "without balance an expert must have starved"
assert (runs[0.5][0][-1] > 0.15).all(), "with balance all must work"
assert sum(runs[0.5][1][-20:]) < sum(runs[0.0][1][-20:]), "and the error must be smaller for it"

# %% [markdown]
# ## The cure, in one line
#
# $$L_\text{balance} = N \sum_i f_i P_i$$
#
# $f_i$ is the share of voxels that chose expert $i$ (no gradient: a choice is a step), $P_i$ its mean probability. The
# gradient pushes down the probability of whoever is asked too often. A softer cure is to choose two experts, so that
# nobody is alone. The *z loss* keeps logits small, *noise* on the logits lets others have a try.

# %%
for name, options in {"k = 1": {}, "k = 2": {"k": 2, "gate": "stopped"}}.items():
    least = [float(train(0.0, seed=seed, **options)[0][-1].min()) for seed in range(3)]
    print(f"{name}, no balance loss: smallest load over three seeds {[round(x, 2) for x in least]}")

# %% [markdown]
# ## Reading a routing
#
# *Load* counts choices, *importance* averages probabilities, *entropy* says how sure the router is at each voxel: 0 is
# certain, log 4 = 1.39 undecided. Change the temperature. **What happens to load, and what to importance?**


# %% mystnb={"image": {"alt": "Map of the router's entropy and bars of load and importance per expert."}}
def show_routing(temperature=1.0):
    logits = routing.logits / temperature
    decided = Routing(logits, *choose(logits, 1, "raw"), experts, ("token",))
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    picture = axes[0].imshow(decided.entropy()[0, 0], vmin=0, vmax=1.39, cmap="viridis")
    figure.colorbar(picture, ax=axes[0], label="entropy, nats")
    axes[0].set_axis_off()
    place = torch.arange(4)
    axes[1].bar(place - 0.2, decided.load()[0], width=0.4, color=expert_colours(experts), label="load")
    axes[1].bar(place + 0.2, decided.importance()[0], width=0.4, color=expert_colours(experts), alpha=0.4)
    axes[1].set_xticks(place, experts)
    axes[1].set_title("load (full colour), importance (pale)", fontsize=9, loc="left")
    plt.show()


_ = interact(show_routing, temperature=[0.25, 0.5, 1.0, 2.0, 4.0, 16.0])

# %% [markdown]
# ## One decision, step by step
#
# The same four steps in a network: the router of a decoder layer decides for one voxel and one direction. Press play, or
# go step by step with the arrows; every step quotes the line of the library that does it. Other voxels:
# `steps.voxel = (row, column)`.

# %%
torch.manual_seed(0)
pair = phantoms.make("abdomen", (64, 64), 0)
network = models.build("shmoareg", dims=2, widths=(8, 16), decoder_widths=(8, 12), moa_levels=(1,)).eval()
steps = RouterSteps(network, pair, layer="decoder.0.shmoe", voxel=(12, 16), direction="y")
steps

# %% [markdown]
# Two limit cases that tests hold for ever: a zero router is uniform, and with k = N and the rule `soft` nothing is left
# out.

# %%
zero = Router(3, experts, k=4, gate="soft")
torch.nn.init.zeros_(zero.weight)
torch.testing.assert_close(zero(features).gates, torch.full_like(zero(features).gates, 0.25))

# %% [markdown]
# | fixed by a source | chosen here |
# |---|---|
# | MoA: no bias, top-k of a softmax, stopped denominator; its code uses raw p | weights start small and random (MoA's start at zero, where top-k would send every voxel to the same experts) |
# | balance loss in Switch form, z loss, their weights 0.01 and 0.001 in MoA | the toy task, chosen so that collapse happens |
# | which of these SHMoAReg uses is not reported | rule `stopped`, k = 2, balance 0.01, z 0.001 |

# %% [markdown]
# ## Exercises
#
# **1.** Logits 2, 1, 0, -1; k = 2; rule `renormalised`. The gate of the first expert?

# %%
check("routers-gate", ...)

# %% [markdown]
# **2.** All voxels choose the first of four experts, by a hair: all probabilities are almost exactly 1/4. What is the
# balance loss?

# %%
check("routers-collapse", ...)

# %% [markdown]
# **3.** Which of `raw`, `renormalised`, `stopped`, `topk_softmax` give gradient to logits that were not chosen? Answer
# with a set of names.

# %%
check("routers-gradient", ...)

# %% [markdown]
# ## To remember
#
# * A router is linear; rules differ in the weight of the chosen and in who gets gradient.
# * Collapse feeds itself. Look at the load during training, not afterwards.
# * Balance is a loss on probabilities weighted by load; its value alone does not show a collapse, the load does.
