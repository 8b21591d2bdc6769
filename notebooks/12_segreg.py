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
#       full_seconds: 600
#       peak_memory_mb: 2500
# ---

# %% [markdown]
# # SegReg: every region its own registration
#
# You will be able to
#
# * split a pair into regions, register all of them with one backbone, and merge what comes out,
# * say where a smooth field must be wrong, and what regions change about it,
# * count what happens at the seams,
# * read how accuracy follows the quality of a segmentation, and when it does not.
#
# Paper: Chen et al., *SegReg*, arXiv 2509.15784. Code: `moereg/models/segreg.py`, `moereg/models/segmentation.py`.

# %%
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from moereg import classical, models, viz
from moereg.course.budget import Budget
from moereg.course.exercises import check
from moereg.course.recorded import recorded
from moereg.data import phantoms
from moereg.data.phantoms.interface import distance_to_interface
from moereg.data.phantoms.lung import SLIDING
from moereg.experiments.degradation import boundary_noise, grown
from moereg.experiments.regions import measure
from moereg.metrics import endpoint_error
from moereg.models import SMALL_BACKBONE, SegReg, SegRegSizes, seam_folds
from moereg.training import TrainingConfig, fit, fit_segmenter
from moereg.viz.figures import show_image

budget = Budget.from_env()

# %% [markdown]
# ## Where tissue slides
#
# Lungs slide along the ribs when we breathe. On one side of the pleura the tissue moves by many voxels, on the other by
# hardly any: the true field jumps. **Every chapter so far asked for a field that is smooth everywhere. Where will it be
# wrong?**

# %% mystnb={"image": {"alt": "Fixed chest, moving chest, regions inside and outside the pleura, and the true vertical displacement, which jumps at the pleura."}}
shape = budget.pick(smoke=(64, 64), full=(160, 160))
train = [phantoms.make("lung", shape, seed) for seed in range(budget.pick(smoke=16, full=150))]
test = [phantoms.make("lung", shape, seed) for seed in range(9000, 9000 + budget.pick(smoke=6, full=20))]
pair = test[0]
inside = torch.isin(pair.fixed_labels, torch.tensor(SLIDING))
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
show_image(axes[0], pair.fixed[0], title="fixed (exhale)")
show_image(axes[1], pair.moving[0], title="moving (inhale)")
show_image(axes[2], inside[0].float(), title="inside the pleura")
limit = float(pair.displacement[0].abs().max())
vertical = torch.where(pair.region[0], pair.displacement[0], torch.nan)
drawn = axes[3].imshow(vertical, cmap="RdBu", vmin=-limit, vmax=limit)
axes[3].set_title("true displacement, up and down", fontsize=9)
axes[3].set_axis_off()
figure.colorbar(drawn, ax=axes[3], label="voxels")
plt.show()

# %% [markdown]
# ## The naive version
#
# For each region: blank out everything else in both images, register, and keep the field where the *fixed* image shows
# that region.
#
# $$\phi_r = \text{backbone}(m \cdot M_r,\ f \cdot F_r) \qquad \phi = \sum_r F_r\,\phi_r$$

# %%
torch.manual_seed(0)
backbone = models.build("shmoareg", dims=2, **SMALL_BACKBONE).eval()
groups = (SLIDING,)  # one region inside the pleura; all else is the background, which is a region as well
moving, fixed = pair.moving[None], pair.fixed[None]
naive = torch.zeros(1, 2, *shape)
for wanted in (False, True):
    masks = [torch.isin(lab[None], torch.tensor(SLIDING)) == wanted for lab in (pair.moving_labels, pair.fixed_labels)]
    images = [torch.where(mask, image, -0.5) for mask, image in zip(masks, (moving, fixed), strict=True)]
    with torch.no_grad():
        naive += masks[1] * backbone(*images).displacement

# %% [markdown]
# The library's version puts all regions of all pairs into one batch: one call of the backbone, whatever their number.

# %%
model = SegReg(SegRegSizes(dims=2, groups=groups), backbone=backbone)
labels = {"moving_labels": pair.moving_labels[None], "fixed_labels": pair.fixed_labels[None]}
with torch.no_grad():
    result = model(moving, fixed, **labels)
torch.testing.assert_close(result.displacement, naive, atol=1e-4, rtol=1e-3)
print(
    "regions",
    result.regions,
    " partial fields",
    tuple(result.partial.shape),
    "= (region, pair, direction, rows, columns)",
)

# %% [markdown]
# ## Limit cases
#
# One region is the backbone. A region that only one of the images has does not move: nothing can be said about it.

# %%
with torch.no_grad():
    everything = {name: torch.zeros_like(lab) for name, lab in labels.items()}
    assert torch.equal(model(moving, fixed, **everything).displacement, backbone(moving, fixed).displacement)
    only_moving = labels | {"fixed_labels": torch.zeros_like(labels["fixed_labels"])}
    lonely = model(moving, fixed, **only_moving)
assert lonely.present[1].item() is False
assert lonely.partial[1].abs().max() == 0
try:
    model(moving, fixed, moving_labels=labels["moving_labels"])
except ValueError as error:
    print(error)

# %% [markdown]
# ## Trained
#
# The loss is the backbone's, summed over regions. Each partial field is smooth *in its own region*; nothing is asked of
# the seam. The same backbone, without regions, is trained on the same pairs for the same steps.

# %%
config = TrainingConfig(
    steps=budget.pick(smoke=100, full=2000), pairs_per_step=2, learning_rate=2e-3,
    similarity="mse", smoothness=0.03, device=budget.device.type,
)  # fmt: skip
torch.manual_seed(0)
plain = models.build("shmoareg", dims=2, **SMALL_BACKBONE)
torch.manual_seed(0)
model = SegReg(SegRegSizes(dims=2, groups=groups), backbone=models.build("shmoareg", dims=2, **SMALL_BACKBONE))
for network in (plain, model):
    fit(network, train, config, progress=False)
    network.cpu()


# %%
@torch.no_grad()
def near_and_far(network, pair):
    """Endpoint error within 3 voxels of the sliding interface, and elsewhere in the body."""
    given = {"moving_labels": pair.moving_labels[None], "fixed_labels": pair.fixed_labels[None]}
    given = given if network is model else {}
    field = network(pair.moving[None], pair.fixed[None], **given).displacement[0]
    near = distance_to_interface(pair.fixed_labels) <= 3
    return [endpoint_error(field, pair.displacement, pair.region & where) for where in (near, ~near)]


methods = {"Demons": classical.METHODS["demons-symmetric"], "plain": plain, "regions": model}  # Demons: not trained
errors = {name: torch.tensor([near_and_far(n, pair) for pair in test]).mean(0) for name, n in methods.items()}
for name, (near, far) in errors.items():
    print(f"{name:8} near the interface {near:.2f} voxels, elsewhere {far:.2f}")
assert errors["regions"][0] < errors["plain"][0], "near the interface, a field that may jump must be closer"

# %% mystnb={"image": {"alt": "Vertical displacement along one row across the chest wall: the truth jumps, the smooth field bends, the merged field of the regions jumps at the seam."}}
with torch.no_grad():
    found = {"plain": plain(moving, fixed).displacement[0], "regions": model(moving, fixed, **labels).displacement[0]}
row = int(0.62 * shape[0])
figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained", width_ratios=(1, 1, 2))
for ax, (name, field) in zip(axes, found.items(), strict=False):
    ax.imshow(torch.where(pair.region[0], field[0], torch.nan), cmap="RdBu", vmin=-limit, vmax=limit)
    ax.axhline(row, color="black", linewidth=0.8)
    ax.set_title(f"{name}, up and down", fontsize=9)
    ax.set_axis_off()
for name, line, field in (
    ("truth", "-", pair.displacement),
    ("plain", ":", found["plain"]),
    ("regions", "--", found["regions"]),
):
    axes[2].plot(torch.where(pair.region[0, row], field[0, row], torch.nan), line, label=name)
axes[2].set_xlabel("column")
axes[2].set_ylabel("voxels")
axes[2].set_title("along the line", fontsize=9, loc="left")
axes[2].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## The price: seams
#
# A field that may jump may also fold. Take two halves, and let the right one move as a block. **Along the seam, away from
# the seam, towards it: which of the three folds?** (A displacement pulls: the right half shows tissue from `x + u`.)

# %%
halves = (torch.arange(shape[1]) >= shape[1] // 2).long().expand(1, 1, *shape)
for name, direction, amount in (("along", 0, 3.0), ("shows tissue from the right", 1, 3.0), ("from the left", 1, -3.0)):
    block = torch.zeros(1, 2, *shape)
    block[:, direction] = amount * halves[:, 0]
    counted = seam_folds(block, halves)
    print(
        f"{name:28} folded at the seam {counted['seam_folds'] / counted['seam_voxels']:.0%}, elsewhere {counted['other_folds']}"
    )
    assert (counted["seam_folds"] > 0) == (name == "from the left")

# %% [markdown]
# Sliding is a shear and folds nothing. What folds is tissue shown twice: both halves lay claim to the same voxels of the
# moving image. The trained model, hard and soft merge; a soft one blends the partial fields at the seam:

# %%
for softness in (0.0, 1.0, 2.0):
    merged = SegReg(SegRegSizes(dims=2, groups=groups, softness=softness), backbone=model.backbone).eval()
    counted, near = [], []
    for p in test:
        given = {"moving_labels": p.moving_labels[None], "fixed_labels": p.fixed_labels[None]}
        with torch.no_grad():
            registration = merged(p.moving[None], p.fixed[None], **given)
        counted.append(seam_folds(registration.displacement, registration.fixed_regions))
        close = distance_to_interface(p.fixed_labels) <= 3
        near.append(endpoint_error(registration.displacement[0], p.displacement, p.region & close))
    total = {key: sum(entry[key] for entry in counted) for key in counted[0]}
    print(
        f"softness {softness:.0f}: folded at seams {total['seam_folds'] / total['seam_voxels']:.2%}, "
        f"elsewhere {total['other_folds'] / total['other_voxels']:.2%}, "
        f"error near the interface {sum(near) / len(near):.2f} voxels"
    )

# %% [markdown]
# ## Without labels
#
# Labels are seldom there for a new patient. A UNet from MONAI learns them from the training pairs, and SegReg with a
# segmenter asks for nothing; whoever has the truth may still hand it over.

# %%
known = sorted({value for p in train for value in p.fixed_labels.unique().tolist()})
torch.manual_seed(0)
segmenter = models.Segmenter(known, dims=2)
fit_segmenter(segmenter, train, steps=budget.pick(smoke=120, full=2000))
automatic = SegReg(model.sizes, backbone=model.backbone, segmenter=segmenter).eval()
demons = classical.METHODS["demons-symmetric"]
methods = {"Demons": demons, "backbone alone": plain, "true labels": model, "own segmentation": automatic}
table = {name: [measure(network, p) for p in test] for name, network in methods.items()}
print(f"{'':18}{'Dice':>7}{'error':>8}{'quality of the labels':>24}")
for name, rows in table.items():
    dice, epe, quality = (sum(r[key] for r in rows) / len(rows) for key in ("dice", "epe", "quality"))
    print(
        f"{name:18}{dice:7.3f}{epe:8.2f}" + (f"{quality:24.3f}" if name in ("true labels", "own segmentation") else "")
    )

# %% [markdown]
# Dice is over all labels of the chest, and two regions know little about most of them. What regions add where every
# organ is one, the recorded experiment below says.
#
# ## How good must a segmentation be?
#
# The paper reports accuracy that follows the quality of the segmentation nearly on a line. Quality can be lost in many
# ways; here are two. **Predict: which one costs the registration more, at the same quality?**

# %% mystnb={"image": {"alt": "Label maps: the truth, with displaced boundaries, with grown organs and with shrunk organs."}}
truth = phantoms.make("abdomen", shape, 9000).fixed_labels
noise = torch.Generator().manual_seed(0)
versions = {
    "truth": truth,
    "boundary noise, 3 voxels": boundary_noise(truth, 3.0, noise),
    "grown by 2": grown(truth, 2),
    "shrunk by 2": grown(truth, -2),
}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
for ax, (name, version) in zip(axes, versions.items(), strict=True):
    ax.imshow(version[0], cmap="cividis", interpolation="nearest", vmin=0, vmax=int(truth.max()))
    ax.set_title(name, fontsize=9)
    ax.set_axis_off()
plt.show()

# %% [markdown]
# ## Recorded
#
# Three experiments on phantoms, three seeds each (`make experiments`). Dots are seeds.

# %%
record = recorded("segreg")
findings = record.findings
print(f"images of {record.shape}, {record.seconds / 60:.0f} minutes on one core")


def show(finding):
    display(Markdown(f"**{finding.question}** {finding.sentence}"))
    display(viz.draw(finding))


# %% [markdown]
# On abdomens every organ is a region. The paper reports 98.23 % Dice on its critical anatomies with true labels; these
# are other data and a small network.

# %% mystnb={"image": {"alt": "Dice, endpoint error and folds at seams of the backbone alone, SegReg with true labels and with its own segmentation, one dot per seed."}}
show(findings[0])

# %% [markdown]
# Dice and endpoint error need not agree: outlines that are given can be matched without knowing what lies between them.

# %% mystnb={"image": {"alt": "Dice of the registration against Dice of the segmentation, with fitted lines: boundary noise on the left, grown or shrunk organs on the right, amounts in voxels beside the dots."}}
show(findings[1])

# %% [markdown]
# Quality alone does not say what a segmentation is worth. An error that both images share leaves outlines that still
# correspond.
#
# Last: is it the *regularity* that helps where tissue slides, or the labels? "uniform" has regions and labels like
# "adaptive" but asks the merged field to be smooth, seams included.

# %% mystnb={"image": {"alt": "Endpoint error within three voxels of the sliding interface and elsewhere, against the weight of smoothness, for the backbone alone, uniform and adaptive smoothness."}}
show(findings[2])

# %% [markdown]
# | fixed by the paper | chosen here |
# |---|---|
# | regions from a segmentation of both images | MONAI's UNet, or given labels; the background is a region |
# | the same backbone for every region | SHMoAReg (any model will do); masks and not crops; one batch |
# | partial fields integrated into one | by the fixed image's regions, hard or soft |
# | adaptive instead of uniform regularisation | each partial field smooth within its region, nothing asked of seams |
# | accuracy near-linear in the quality of the segmentation | two ways to degrade, a line, its R² |

# %% [markdown]
# ## Exercises
#
# **1.** A voxel near a soft seam: three regions weigh 0.7, 0.2 and 0.1 there, their partial fields say 1, 4 and 0 voxels.
# The merged displacement?

# %%
check("segreg-merge", ..., weights=[0.7, 0.2, 0.1], partial=[1.0, 4.0, 0.0])

# %% [markdown]
# **2.** Twelve organs, two pairs per training step. How many items are in the backbone's batch?

# %%
check("segreg-cost", ..., labels=12, pairs=2)

# %% [markdown]
# **3.** Systematic errors, the same in both images: do `"grown"` or `"shrunk"` organs cost the registration more?

# %%
check("segreg-systematic", ..., rows=findings[1].rows)

# %% [markdown]
# ## To remember
#
# * A field that is smooth everywhere is wrong where tissue slides. Regions allow the jump; where they meet, they may fold.
# * One backbone, one batch: regions cost time in proportion to their number, no parameters.
# * Random errors of a segmentation and errors that both images share are not the same loss.
# * Handing labels to a method and then measuring with the same labels is an easy exam: look at the endpoint error too.
