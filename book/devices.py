"""The page on several devices: its tables are computed when the site is built, from a stated model and from counts."""

from pathlib import Path

import torch

from moereg.data import phantoms
from moereg.models import build
from moereg.training import TrainingConfig, collate
from moereg.training.memory import kept_bytes

SHAPE = (32, 32, 32)  # at which bytes are counted; they grow in proportion to the voxels
MEMORY = {"12 GB": 12e9, "24 GB": 24e9, "80 GB": 80e9, "141 GB": 141e9}
LINKS = {"10 Gbit Ethernet": 1.25e9, "PCIe 4.0 x16": 25e9, "NVLink": 300e9}  # bytes per second and direction, nominal
SECONDS = (1.0, 0.1, 0.02)  # of a step on one device
SPARE = 0.5  # of the memory: for what operations need for a moment, weights, moments, the driver


def speed_up(devices: int, *, seconds: float, gradient: float, bandwidth: float) -> float:
    """Pairs per second on so many devices, in those of one, by the model of the page.

        n t / (t + 2 (n - 1) / n * g / b)

    Args:
        seconds: `t` of a step on one device.
        gradient: `g`, bytes.
        bandwidth: `b`, bytes per second that a device sends.
    """
    # A ring sends (n - 1) / n of the gradient twice: once to add up, once to hand round.
    exchange = 2 * (devices - 1) / devices * gradient / bandwidth
    return devices * seconds / (seconds + exchange)


def largest_edge(memory: float, bytes_per_voxel: float) -> int:
    """Edge of the largest cube whose training fits, in voxels, a multiple of 8 below."""
    return int((SPARE * memory / bytes_per_voxel) ** (1 / 3)) // 8 * 8


def network(**sizes) -> torch.nn.Module:
    """SHMoAReg for volumes, with its default sizes."""
    torch.manual_seed(0)
    return build("shmoareg", dims=3, **sizes)


def bytes_per_voxel(*, checkpointing: bool, stem_stride: int) -> float:
    """What a training of one pair (a batch of two: both directions) keeps, per voxel of the image."""
    batch = collate([phantoms.make("abdomen", SHAPE, 0)], "cpu")
    config = TrainingConfig(checkpointing=checkpointing)
    return kept_bytes(network(stem_stride=stem_stride), batch, config) / torch.Size(SHAPE).numel()


def speed_table() -> str:
    """Speed-up of 8 devices by link and length of a step, Markdown."""
    gradient = 4 * sum(parameter.numel() for parameter in network().parameters())
    head = "| between devices | " + " | ".join(f"step of {seconds:g} s" for seconds in SECONDS) + " |"
    rows = [head, "|---|" + "---:|" * len(SECONDS)]
    for link, bandwidth in LINKS.items():
        found = [speed_up(8, seconds=seconds, gradient=gradient, bandwidth=bandwidth) for seconds in SECONDS]
        rows.append(f"| {link} | " + " | ".join(f"{value:.2f}" for value in found) + " |")
    return "\n".join([f"Gradient: {gradient / 1e6:.2f} MB.", "", *rows])


def memory_table() -> str:
    """Bytes per voxel and largest cube for a field at every second voxel and at every voxel, Markdown."""
    rows = ["| field | kept, bytes per voxel | " + " | ".join(MEMORY) + " |", "|---|---:|" + "---:|" * len(MEMORY)]
    for stride, field in ((2, "every 2nd voxel"), (1, "every voxel")):
        for checkpointing in (False, True):
            counted = bytes_per_voxel(checkpointing=checkpointing, stem_stride=stride)
            cubes = " | ".join(f"{largest_edge(memory, counted)}³" for memory in MEMORY.values())
            rows.append(f"| {field}{', `--checkpointing`' if checkpointing else ''} | {counted:,.0f} | {cubes} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page, Markdown."""
    text = (Path(__file__).resolve().parent / "devices.md").read_text(encoding="utf-8")
    return text.replace("<!-- speed -->", speed_table()).replace("<!-- memory -->", memory_table())
