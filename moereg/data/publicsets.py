"""Public sets: what to know about each, where its files lie below a folder, and where that folder is looked for.

A set is known by its files' names. Two distributions of one set (Learn2Reg's and the original's) are two `Layout`s of
one `Card`. What is said of checksums here is what others list, and who lists it; where nobody does, a set is held to
its structure and to the checksums of its first use (`moereg.data.verifying`).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

GIGABYTE = 10**9


@dataclass(frozen=True)
class Layout:
    """Where files lie: `{subject}` and `{phase}` stand for what `subject` and `phase` match."""

    images: str
    labels: str
    subject: str
    phase: str = ""

    def pattern(self) -> re.Pattern[str]:
        """Of an image's path below the set's folder."""
        parts = re.split(r"(\{subject\}|\{phase\})", self.images)
        named = {"{subject}": "subject", "{phase}": "phase"}
        seen: set[str] = set()
        text = ""
        for part in parts:
            name = named.get(part)
            if name is None:
                text += re.escape(part)
            elif name in seen:
                text += f"(?P={name})"
            else:
                seen.add(name)
                text += f"(?P<{name}>{getattr(self, name)})"
        return re.compile(text)

    def images_in(self, folder: Path) -> dict[str, list[Path]]:
        """Subject -> its images in order of their phases; subjects by name."""
        pattern, found = self.pattern(), {}
        for path in sorted(folder.glob(re.sub(r"\{\w+\}", "*", self.images))):
            match = pattern.fullmatch(path.relative_to(folder).as_posix())
            if match:
                found.setdefault(match["subject"], []).append(path)
        return found

    def labels_of(self, folder: Path, image: Path) -> Path:
        """Where the label map of an image lies, whether or not it is there."""
        match = self.pattern().fullmatch(image.relative_to(folder).as_posix())
        assert match is not None
        return folder / self.labels.format(**match.groupdict())


@dataclass(frozen=True)
class Card:
    """What to know about a public set, and what to fetch.

    Attributes:
        title: whose set it is.
        archive: name of the file to fetch.
        md5: of the archive; empty where nobody lists one.
        licence, cite, caveat: to be shown.
        listed_by: who says the checksum.
        name: by which `load` and the command line know it.
        page: where a person reads about it, and registers where that is asked for.
        address: of the archive; empty where only a person can fetch it.
        terms: what has to be agreed to before fetching; empty where the licence is all.
        folders: names under which its folder may lie, the first is made by `moereg data get`.
        layouts: of its files.
        subjects: how many there are in the whole set.
        within: pairs are two images of one subject, the first phase fixed; else images of two subjects.
        label_names: of its label maps; empty where they go by number.
        archive_bytes, unpacked_bytes: more than that is not taken.
    """

    title: str
    archive: str
    md5: str
    licence: str
    cite: str
    caveat: str
    listed_by: str = ""
    name: str = ""
    page: str = ""
    address: str = ""
    terms: str = ""
    folders: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()
    subjects: int = 0
    within: bool = False
    label_names: tuple[tuple[int, str], ...] = ()
    archive_bytes: int = GIGABYTE
    unpacked_bytes: int = GIGABYTE

    def layout_in(self, folder: Path) -> Layout | None:
        """The layout whose files lie in a folder, if any."""
        return next((layout for layout in self.layouts if layout.images_in(folder)), None)

    @property
    def checksum(self) -> str:
        """What is known of the archive, in words."""
        return f"md5 {self.md5}, as {self.listed_by} lists it" if self.md5 else "none is listed; that of the first use"


def _learn2reg(prefix: str, labels: str = "labelsTr", phase: str = "0000") -> Layout:
    return Layout(
        "imagesTr/{subject}_{phase}.nii.gz", labels + "/{subject}_{phase}.nii.gz", rf"{prefix}_\d{{4}}", phase
    )


LEARN2REG = "https://learn2reg.grand-challenge.org/Datasets/"
HIPPOCAMPUS = Card(
    name="hippocampus",
    title="Medical Segmentation Decathlon",
    archive="Task04_Hippocampus.tar",
    md5="9d24dba78a72977dbd1d2e110310f31b",
    listed_by="MONAI",
    licence="CC-BY-SA 4.0",
    cite="Simpson et al. 2019, arXiv 1902.09063; Antonelli et al. 2022, doi 10.1038/s41467-022-30695-9",
    caveat="Several scans may come from one person, so subjects of two splits are different files, perhaps not people.",
    page="http://medicaldecathlon.com",
    address="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
    folders=("hippocampus", "Task04_Hippocampus"),
    layouts=(Layout("imagesTr/{subject}.nii.gz", "labelsTr/{subject}.nii.gz", r"hippocampus_\d+"),),
    subjects=260,
    label_names=((1, "anterior"), (2, "posterior")),
)
OASIS = Card(
    name="oasis",
    title="OASIS-1, prepared by neurite (FreeSurfer), as in Learn2Reg 2021 task 3",
    archive="neurite-oasis.v1.0.tar",
    md5="081392a8150ff99ab7a64a9ded377835",
    listed_by="the publisher, quoted by others",
    licence="OASIS data use agreement",
    cite="Marcus et al. 2007, doi 10.1162/jocn.2007.19.9.1498; Hoopes et al. 2021, doi 10.1007/978-3-030-78191-0_1",
    caveat="Labels come from FreeSurfer, not from a person's hand.",
    page="https://github.com/adalca/medical-datasets/blob/master/neurite-oasis.md",
    address="https://surfer.nmr.mgh.harvard.edu/ftp/data/neurite/data/neurite-oasis.v1.0.tar",
    terms="the OASIS data use agreement, https://www.oasis-brains.org/#access",
    folders=("oasis", "OASIS", "neurite-oasis.v1.0"),
    layouts=(
        Layout("{subject}/aligned_norm.nii.gz", "{subject}/aligned_seg35.nii.gz", r"OASIS_OAS1_\d{4}_MR\d"),
        _learn2reg("OASIS"),
    ),
    subjects=414,
    archive_bytes=10 * GIGABYTE,
    unpacked_bytes=40 * GIGABYTE,
)
ABDOMEN_CT = Card(
    name="abdomen-ct",
    title="Learn2Reg, AbdomenCTCT",
    archive="AbdomenCTCT.zip",
    md5="",
    licence="as the page of Learn2Reg says",
    cite="Xu et al. 2016, doi 10.1109/TBME.2016.2574816; Hering et al. 2023, doi 10.1109/TMI.2022.3213983",
    caveat="30 of 50 scans have labels; different people, so bowels do not correspond.",
    page=LEARN2REG,
    address="https://cloud.imi.uni-luebeck.de/s/32WaSRaTnFk2JeT/download/AbdomenCTCT.zip",
    terms=f"the terms on {LEARN2REG}",
    folders=("abdomen-ct", "AbdomenCTCT"),
    layouts=(_learn2reg("AbdomenCTCT"),),
    subjects=30,
    archive_bytes=5 * GIGABYTE,
    unpacked_bytes=20 * GIGABYTE,
)
LUNG_CT = Card(
    name="lung-ct",
    title="Learn2Reg, lung CT, inspiration and expiration",
    archive="training.zip",
    md5="",
    licence="as its Zenodo record says",
    cite="Hering, Murphy, van Ginneken 2020, doi 10.5281/zenodo.3835682; Hering et al. 2023, doi "
    "10.1109/TMI.2022.3213983",
    caveat="The lungs are not fully visible at expiration; the only labels are masks of the lungs, made by a program.",
    page="https://zenodo.org/record/3835682",
    address="https://zenodo.org/record/3835682/files/training.zip",
    terms="the licence on https://zenodo.org/record/3835682",
    folders=("lung-ct", "LungCT"),
    layouts=(
        Layout("scans/{subject}_{phase}.nii.gz", "lungMasks/{subject}_{phase}.nii.gz", r"case_\d{3}", "exp|insp"),
        _learn2reg("LungCT", "masksTr", "0000|0001"),
    ),
    subjects=20,
    within=True,
    label_names=((1, "lungs"),),
    archive_bytes=5 * GIGABYTE,
    unpacked_bytes=20 * GIGABYTE,
)
ACDC = Card(
    name="acdc",
    title="Automated Cardiac Diagnosis Challenge, cine MR",
    archive="ACDC.zip",
    md5="",
    licence="as the page of the Human Heart Project says",
    cite="Bernard et al. 2018, doi 10.1109/TMI.2018.2837502",
    caveat="Slices are about 10 mm thick. The frame with the lower number is fixed: end-diastole in most patients.",
    page="https://humanheart-project.creatis.insa-lyon.fr/database/#collection/637218c173e9f0047faa00fb",
    folders=("acdc", "ACDC/database", "ACDC"),
    layouts=(
        Layout(
            "training/{subject}/{subject}_frame{phase}.nii.gz",
            "training/{subject}/{subject}_frame{phase}_gt.nii.gz",
            r"patient\d{3}",
            r"\d{2}",
        ),
    ),
    subjects=100,
    within=True,
    label_names=((1, "right ventricle"), (2, "myocardium"), (3, "left ventricle")),
    archive_bytes=10 * GIGABYTE,
    unpacked_bytes=20 * GIGABYTE,
)
CARDS = {card.name: card for card in (HIPPOCAMPUS, OASIS, ABDOMEN_CT, LUNG_CT, ACDC)}


def cache_folder() -> Path:
    """Where data is looked for when `MOEREG_DATA` does not name a folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moereg"


def bases(root: str | Path | None = None) -> list[Path]:
    """Folders in which sets are looked for, the first one first; `moereg data get` writes into that one."""
    return [Path(root)] if root else [Path(p) for p in (os.environ.get("MOEREG_DATA"), cache_folder()) if p]


def find(card: Card, root: str | Path | None = None) -> Path | None:
    """The folder of a set, the first found below or at `root`, `MOEREG_DATA` or the cache."""
    for base in bases(root):
        for candidate in (*(base / folder for folder in card.folders), base):
            if card.layout_in(candidate):
                return candidate
    return None


def missing(card: Card, root: str | Path | None = None) -> str:
    """One sentence: where a set was looked for, what to fetch, and where to put it."""
    how = f"run `moereg data get {card.name}`, or fetch" if card.address else f"register at {card.page}, fetch"
    layout = card.layouts[0]
    parts = dict.fromkeys(path.split("/")[0] for path in (layout.images, layout.labels))
    files = " and ".join(layout.images.format(subject="SUBJECT", phase="PHASE") if "{" in p else p for p in parts)
    return (
        f"{card.name} must lie in {' or '.join(map(str, bases(root)))}, but no folder {' or '.join(card.folders)} with "
        f"{files} is there: {how} {card.archive} of the {card.title} (licence {card.licence}; checksum: "
        f"{card.checksum}), unpack it and set MOEREG_DATA to the folder that holds what you unpacked."
    )
