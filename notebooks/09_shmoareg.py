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
#       smoke_seconds: 60
#       full_seconds: 300
#       peak_memory_mb: 2000
# ---

# %% [markdown]
# # SHMoAReg: trained, measured, opened, doubted
#
# You will be able to
#
# * name the parts of the network and follow a pair through it, level by level,
# * train it beside a yardstick and read the comparison,
# * ask a trained mixture whether its specialisation is real, with a control for every question,
# * read an ablation with seeds, and say what it does *not* show.
#
# Paper: Zheng, Feng, Li, Staring, Qiao, *SHMoAReg*, arXiv 2509.20073. Code: `moereg/models/shmoareg.py`,
# `moereg/experiments/`.

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from moereg import classical, experiments, fields, metrics, models, viz
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.training import TrainingConfig, fit
from moereg.viz.explorer import Explorer
from moereg.viz.figures import show_grid, show_image

budget = Budget.from_env()

# %% [markdown]
# ## The network
#
# ```
# moving ─┐ siamese encoder          level 2 ── MoA ──┐  SHMoE ── residual
#         ├─ stride 2 per level      level 1 ── MoA ──┤  SHMoE ── residual     coarse to fine,
# fixed  ─┘                          level 0 ─────────┘  SHMoE ── residual     fields composed
# ```
#
# At each level the moving features are warped by the field so far. The decoder compares them with the fixed ones, and
# its SHMoE layer adds a residual:
#
# $$u \leftarrow \mathrm{compose}(\mathrm{up}(u),\, r)(x) = r(x) + \mathrm{up}(u)(x + r(x))$$
#
# **Predict: where will most of the motion be found, at the coarse or at the fine level?**

# %%
shape = budget.pick(smoke=(64, 64), full=(160, 160))
train = [phantoms.make("abdomen", shape, seed) for seed in range(budget.pick(smoke=24, full=300))]
test = [phantoms.make("abdomen", shape, seed) for seed in range(9000, 9000 + budget.pick(smoke=6, full=30))]
config = TrainingConfig(steps=budget.pick(smoke=120, full=4000), pairs_per_step=2, device=budget.device.type)

torch.manual_seed(0)
model = models.build("shmoareg", dims=2)
fit(model, train, config, progress=False)
model = model.cpu()

torch.manual_seed(0)
yardstick = models.build("voxelmorph", dims=2)
fit(yardstick, train, config, progress=False)
yardstick = yardstick.cpu()

# %% [markdown]
# ## Measured
#
# Two yardsticks. Classical Demons (chapter 03) is not trained at all: it searches anew for every pair. VoxelMorph from
# MONAI is trained on the same pairs, in the same order, with the same loss, for the same number of steps. Equal steps
# are not equal time, and few steps favour a network that searches coarse to fine.

# %%
demons = classical.METHODS["demons-symmetric"]
methods = {"before": classical.identity, "Demons": demons, "VoxelMorph": yardstick, "SHMoAReg": model}
table = metrics.evaluate(methods, test, surfaces=False)
print(f"{'':12}{'Dice':>7}{'endpoint error':>16}{'folds':>8}{'seconds':>9}{'parameters':>12}")
for name, row in table.items():
    size = sum(p.numel() for p in methods[name].parameters()) if isinstance(methods[name], torch.nn.Module) else 0
    seconds = row["seconds_per_pair"]
    print(f"{name:12}{row['dice']:7.3f}{row['epe']:16.2f}{row['fold_fraction']:8.2%}{seconds:9.3f}{size:12}")
for other in ("Demons", "VoxelMorph"):
    for key in ("dice_mean", "epe"):
        ours, theirs = ([pair[key] for pair in table[name]["pairs"]] for name in ("SHMoAReg", other))
        print(f"SHMoAReg less {other}, {key}: {metrics.paired_effect(ours, theirs).text()}")
assert table["SHMoAReg"]["epe"] < table["before"]["epe"], "the network must have learned something"

# %% [markdown]
# ## Level by level

# %% mystnb={"image": {"alt": "Fixed image, then the moving image warped by the field after each level with its grid: the coarse level moves most, the finer ones correct."}}
pair = test[0]
with torch.no_grad():
    result = model(pair.moving[None], pair.fixed[None])
_, axes = plt.subplots(1, len(result.steps) + 1, figsize=(11, 3), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed")
for step, ax in zip(result.steps, axes[1:], strict=True):
    error = metrics.endpoint_error(step[0], pair.displacement, pair.region)
    show_grid(show_image(ax, fields.warp(pair.moving[None], step)[0, 0], title=f"endpoint error {error:.2f}"), step[0])
plt.show()

# %%
finest = result.routing["decoder.0.shmoe"].contributions.sum(2)
composed = fields.compose(
    fields.upsample_field(
        result.routing["decoder.2.shmoe"].contributions.sum(2),
        result.routing["decoder.1.shmoe"].contributions.shape[3:],
    ),
    result.routing["decoder.1.shmoe"].contributions.sum(2),
)
composed = fields.compose(fields.upsample_field(composed, finest.shape[2:]), finest)
torch.testing.assert_close(fields.upsample_field(composed, shape), result.displacement)
print("the field is nothing but the experts' contributions, added per level and composed")

# %% [markdown]
# ## Opened
#
# Trained for a hundred steps, a network has hardly begun to choose. The one below comes with the library
# (`abdomen-flat`): the same sizes, trained for thousands of steps on other pairs, and with the information loss, which
# asks routers to decide. **Predict: how sure are its routers, beside those of the short run?**

# %%
trained = models.load_model("abdomen-flat")
unseen = [phantoms.make("abdomen", (64, 64), seed) for seed in range(9000, 9000 + budget.pick(smoke=6, full=30))]
pair = unseen[0]
both = {"this chapter's": model, "trained": trained}
entropy = {name: experiments.indecision(network, unseen) for name, network in both.items()}
for name, row in metrics.evaluate(both, unseen, surfaces=False).items():
    print(f"{name:15} Dice {row['dice']:.3f}, endpoint error {row['epe']:.2f}, entropy {entropy[name]:.2f} of log N")
assert entropy["trained"] < entropy["this chapter's"], "more training and the information loss make routers decide"

# %%
Explorer(trained, pair, title="SHMoAReg, trained, on a pair it has not seen")

# %% [markdown]
# ## Doubted
#
# Maps of chosen experts look like anatomy. So do many smooth maps. The audit asks four questions that can come out
# either way, and words its finding from the numbers. Each has controls of two kinds: some that must not be found (other
# subjects, the network before training, the network with random routers), and an oracle that must: if even that stays
# hidden, the question cannot be answered with these pairs.


# %%
def show(finding):
    display(Markdown(f"**{finding.question}** {finding.sentence}"))
    display(viz.draw(finding))


controls = experiments.control_networks(trained)
findings = {finding.question: finding for finding in experiments.audit(trained, unseen, controls=controls)}
print(list(findings))

# %% mystnb={"image": {"alt": "Stacked bars: share of assignments of every expert, for each routed layer and router."}}
show(findings["How is the load shared?"])

# %% [markdown]
# The next one is about information: if I tell you the organ, how much do you know about the expert? Any two smooth maps
# share some information, so what counts is how much more a subject's own organs tell than *another* subject's at the
# same places. The oracle takes this network's gates and deals them out by organ.

# %% mystnb={"image": {"alt": "Matrices of organs against experts, one per direction: how the gates of the finest layer are shared inside each organ."}}
show(findings["Do experts know the organs?"])

# %% [markdown]
# Used is not relied on. Take away an expert, or put uniform or random gates in a router's place. What is lost is what
# *this* network relies on; whether the expert is *needed* is another question, for a network trained without it.

# %% mystnb={"image": {"alt": "Bars: change of the endpoint error without each expert and with uniform or random gates in each direction."}}
show(findings["Who is missed?"])

# %% [markdown]
# Is a router less sure where the field is wrong? Where motion is large, errors are large, and features that differ much
# make any router less sure. So the size of the motion is held fixed: the partial correlation is what is left.

# %% mystnb={"image": {"alt": "Bars: partial rank correlation between router entropy and endpoint error for each decoder router, with the spread over pairs and marks for the controls."}}
show(findings["Does doubt mark error?"])

# %% [markdown]
# ## Repeated
#
# One network is an anecdote. The experiments below trained every variant with several seeds, on the same pairs in the
# same order (`make experiments`; protocol and machine are in the files). Dots are seeds, the bar is their mean.


# %%
def repeated(name):
    """A finding that `make experiments` has written, and where it comes from."""
    record = recorded(name)
    (protocol,) = record.protocols
    steps, seeds = protocol["training"]["steps"], len(protocol["seeds"])
    print(
        f"{steps} steps, {seeds} seeds, images of {record.shape}, {record.seconds / 60:.0f} minutes on {record.machine['device']}"
    )
    return record.finding


# %% mystnb={"image": {"alt": "Dice and endpoint error of each variant of the network, one dot per seed, on two kinds of motion."}}
ablation = repeated("ablation")
show(ablation)

# %% [markdown]
# ### Motion or axis?
#
# If a direction's experts follow its motion, then exchanging the motion of two directions exchanges their experts.

# %% mystnb={"image": {"alt": "Mean kernel extent that each direction asks for, after training on the original and on the permuted motion, one dot per seed."}}
show(repeated("axis"))

# %% [markdown]
# ### Do seeds agree?

# %% mystnb={"image": {"alt": "Share of voxels where two seeds choose the same expert after matching, per decoder router, beside the share of independent maps."}}
show(repeated("stability"))

# %% [markdown]
# ### What makes routers decide?
#
# The balance loss asks that all experts are used, and nothing more: a router that calls all of them nearly equal is
# content. The information loss asks for two things at once, to be sure at each voxel and to differ between voxels.
# Entropy is a share of log N; crosses are what independent maps of the same loads would agree on.

# %% mystnb={"image": {"alt": "For each way of asking routers to decide: entropy of routers, share of voxels given to the same expert by two seeds beside independent maps, Dice and endpoint error, one dot per seed."}}
show(repeated("decisions"))

# %% [markdown]
# ### How does specialisation grow?
#
# Networks of the information loss, looked at after ever more steps. Is the endpoint error flat at the last look? As
# long as it is not, these two experiments speak of networks of so many steps, and a longer training may answer
# differently: compare the entropy of the network that was opened above.

# %% mystnb={"image": {"alt": "Against steps of training on a logarithmic axis: endpoint error, entropy of routers, cost of the most missed expert and of random gates, and agreement of two seeds beside independent maps."}}
show(repeated("growth"))

# %% [markdown]
# ### In volumes, and on real scans
#
# The same audit of two networks that come with the library, trained for thousands of steps in three dimensions:
# abdominal phantoms, and hippocampus MR with labels, each on test subjects. Their cards are on the page of networks. On
# real scans the true motion is not known, so the measure is Dice; most of their tissue has no label and counts as one
# organ more.
#
# Read the answer about organs with its controls. The random-router network keeps the trained features and draws its
# routers anew. Where it knows as many organs as the trained one, the knowledge is in the features, and a map that
# follows the anatomy says nothing of what the routers have learned.

# %%
for data in ("abdomen", "hippocampus"):
    findings_of_data = [f"**{finding.question}** {finding.sentence}" for finding in recorded(data).findings]
    display(Markdown("\n\n".join([f"**{data.upper()}**", *findings_of_data])))

# %% [markdown]
# | fixed by the paper | chosen here |
# |---|---|
# | encoder with MoA, decoder with SHMoE at several resolutions, three directions | siamese pyramid of three levels, fields composed |
# | heads per token, experts per voxel and direction, of varying kernel size | 8 heads and k = 2; 1, 3, 5, 7 as a nested chain and k = 2 |
# | abdominal CT Dice 60.58 % (best other) to 65.58 % (the paper's numbers) | nothing here reproduces them: other data, other sizes |

# %% [markdown]
# ## Exercises
#
# **1.** The field so far is u(x) = 0.1 x, the residual is 1 everywhere. What is the new displacement at x = 10?

# %%
check("shmoareg-compose", ...)

# %% [markdown]
# **2.** Which control does "experts know the organs" need: `"shuffled"` labels, or those of an `"other"` subject?

# %%
check("shmoareg-control", ...)

# %% [markdown]
# **3.** Random gates in which direction cost most?

# %%
check("shmoareg-missed", ..., rows=findings["Who is missed?"].rows)

# %% [markdown]
# ## To remember
#
# * Coarse to fine, residual by residual: the field is a composition of sums of experts' contributions.
# * Compare at equal pairs, order, loss and steps, and say what is not equal.
# * Load, maps and mutual information describe use. Knock-outs measure need. Seeds tell whether it will be so again.
