"""The raw layouts, by name, the search for the one that fits, and the way a raw folder is opened."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from caseunet.config import PrepareConfig
from caseunet.datasets.acdc import ACDC
from caseunet.datasets.bids import BIDS, BidsLayout
from caseunet.datasets.brats import BRATS
from caseunet.datasets.busi import BUSI
from caseunet.datasets.channels import channel_name
from caseunet.datasets.chase import CHASE
from caseunet.datasets.dicom import DICOM
from caseunet.datasets.dsb2018 import DSB2018
from caseunet.datasets.endovis2017 import ENDOVIS2017
from caseunet.datasets.endovis2018 import ENDOVIS2018
from caseunet.datasets.endovis2018_types import ENDOVIS2018_TYPES
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.glas import GLAS
from caseunet.datasets.kits import KITS
from caseunet.datasets.layout import Finding, Layout, SourceCase, SourceDataset, files_below
from caseunet.datasets.lits import LITS
from caseunet.datasets.monai_label import MONAI_LABEL
from caseunet.datasets.msd import MSD
from caseunet.datasets.named_files import NamedLayout, describe_nearest
from caseunet.datasets.nnunet import NNUNET
from caseunet.datasets.partial import with_labelled
from caseunet.datasets.reading import apply_plan
from caseunet.datasets.repair import read_plan
from caseunet.datasets.roles import Choice
from caseunet.datasets.survey import describe_alike, describe_files
from caseunet.datasets.union import UnionLayout
from caseunet.datasets.union_file import UNION_FILE
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, InvalidOptionError
from caseunet.files import read_json
from caseunet.io.dicom_file import is_dicom
from caseunet.io.images import is_image
from caseunet.registry import Registry

SOURCES: Registry[Layout] = Registry("raw layout")
SOURCES.add(LITS.name, LITS)
SOURCES.add(ENDOVIS2018.name, ENDOVIS2018)
SOURCES.add(ENDOVIS2018_TYPES.name, ENDOVIS2018_TYPES)
SOURCES.add(ENDOVIS2017.name, ENDOVIS2017)
PUBLIC: tuple[NamedLayout, ...] = (KITS, BRATS, ACDC, GLAS, CHASE, BUSI, DSB2018)
"""Those that the names of their files tell."""

for known in PUBLIC:
    SOURCES.add(known.name, known)
SOURCES.add(NNUNET.name, NNUNET)
SOURCES.add(MSD.name, MSD)
SOURCES.add(BIDS.name, BIDS)
SOURCES.add(MONAI_LABEL.name, MONAI_LABEL)
SOURCES.add(DICOM.name, DICOM)
SOURCES.add(FOLDER.name, FOLDER)

SPLIT_FILES = ("splits_final.json", "splits.json", "splits.csv", "split.csv")
"""Files that may hold a split, which is taken only if it is asked for."""

__all__ = [
    "SOURCES",
    "Finding",
    "Layout",
    "SourceCase",
    "SourceDataset",
    "files_below",
    "find_layout",
    "matching",
    "open_source",
]


def open_source(root: Path, config: PrepareConfig, *, ignored: Collection[str] = ()) -> tuple[Layout, SourceDataset]:
    """The layout of a raw folder and what it holds, grouped and repaired as configured; no pixels are read.

    Args:
        root: the folder.
        config: how it is read.
        ignored: masks that name no class, beside those that the configured plan leaves out, relative to the folder.

    Raises:
        CaseUNetError: see :func:`find_layout`; the layout's description files or the plan cannot be used.
    """
    channels = tuple(map(channel_name, config.channels))
    plan = None if config.repair_plan is None else read_plan(config.repair_plan)
    left = frozenset((*ignored, *(() if plan is None else plan.ignore)))
    choice = Choice(config.images, config.masks, channels, config.field_of_view, left)
    layout, dataset = _discover(root, config.layout, choice)
    for path in (path for case in dataset.cases for path in (*case.image, *case.label)):
        if not path.as_posix().isascii() and any("\ud800" <= character <= "\udfff" for character in path.as_posix()):
            raise CaseUNetError(f"{path.as_posix()!a}: its name is no UTF-8, and cannot be written down. Rename it.")
    if config.modality != "auto":
        told = tuple(finding for finding in dataset.findings if finding.kind != "modality")
        dataset = replace(dataset, modality=config.modality, findings=told)
    if config.group is not None:
        dataset = replace(
            dataset,
            cases=tuple(_regroup(case, config.group) for case in dataset.cases),
            findings=tuple(finding for finding in dataset.findings if finding.kind != "groups"),
        )
    dataset = replace(with_labelled(dataset, root), raters=config.raters)
    unused = [name for name in SPLIT_FILES if (root / name).is_file()] if config.split == "auto" else []
    if unused:
        text, advice = f"a split is there in {unused[0]}, and not used", f"Use it: prepare.split: {root / unused[0]}"
        note = Finding(level="warning", kind="own-split", text=text, advice=advice, file=unused[0])
        dataset = replace(dataset, findings=(*dataset.findings, note))
    if plan is not None:
        dataset = apply_plan(dataset, plan, str(config.repair_plan))
    return layout, dataset


def _discover(root: Path, name: str, choice: Choice) -> tuple[Layout, SourceDataset]:
    """The layout called ``name``, or the one that is found, and what a folder holds by it.

    What a person chooses is for the layout folder, or for one of :data:`PUBLIC` or BIDS whose files it selects among.
    """
    if not choice:
        found = find_layout(root, name)
        if found is FOLDER:
            return found, FOLDER.discover(root, choice)
        return found, UNION.discover(root, choice.ignored) if found is UNION else found.discover(root)
    if UNION.matches(root) and name in ("auto", UNION.name):
        raise InvalidOptionError(
            f"prepare.images, masks, field_of_view and channels are of one data set. Write them into the entry of "
            f"{root / UNION_FILE} that they are for.",
            options=("prepare.images", "prepare.masks", "prepare.channels", "prepare.field_of_view"),
        )
    choosing: tuple[NamedLayout | BidsLayout, ...] = (*PUBLIC, BIDS)
    for layout in choosing:
        if name in ("auto", layout.name) and not choice.fields and layout.selects(root, choice):
            return layout, layout.discover(root, choice)
    if name not in ("auto", FOLDER.name):
        raise InvalidOptionError(
            f"prepare.images, masks, field_of_view and channels are for the layout folder, not for {name}.",
            options=("prepare.layout", "prepare.images", "prepare.masks", "prepare.channels", "prepare.field_of_view"),
        )
    return find_layout(root, FOLDER.name), FOLDER.discover(root, choice)


def _regroup(case: SourceCase, pattern: str) -> SourceCase:
    match = re.search(pattern, case.id)
    if match is None or not match[0]:
        raise InvalidOptionError(
            f'prepare.group: the pattern "{pattern}" finds nothing in the case name "{case.id}".',
            options=("prepare.group",),
        )
    return replace(case, group=match[1] if match.re.groups and match[1] else match[0])


def find_layout(root: Path, name: str = "auto") -> Layout:
    """The layout called ``name``, or with "auto" the most particular one that the folder has.

    Raises:
        CaseUNetError: no such folder or layout, or none fits, or several do equally.
    """
    if root.is_file():
        raise InvalidInputError(f"{root}: is a file; expected the folder of a raw data set. Unpack an archive first.")
    if not root.is_dir():
        hint = " Raw data are read from this machine alone: copy them." if re.match(r"\w+:/", str(root)) else ""
        raise InputNotFoundError(f"{root}: no such folder.{hint}")
    if name != "auto":
        return SOURCES.get(name)
    fitting = matching(root)
    if len(fitting) > 1:
        names = " and ".join(layout.name for layout in fitting)
        raise InvalidInputError(
            f"{root}: fits the layouts {names}. Name the one that is meant.", options=("prepare.layout",)
        )
    description = root / "dataset.json"
    if description.is_file() and all(layout.rank > 1 for layout in fitting):  # one of those who have it, but damaged
        read_json(description, "the dataset.json of nnU-Net or of the Decathlon")
    if fitting:
        return fitting[0]
    nearest = describe_nearest(PUBLIC, root) or describe_nearest([BIDS], root) or describe_nearest([FOLDER], root)
    if nearest:
        expected = f"The other layouts are {', '.join(name for name in SOURCES if f' {name} (' not in nearest)}."
    else:
        forms = "\n".join(f"  {candidate}: {SOURCES.get(candidate).looks_like}" for candidate in SOURCES)
        expected = f"Else one of these is expected:\n{forms}"
    found = " ".join(filter(None, (describe_files(root), describe_alike(root), nearest)))
    raise InvalidInputError(
        f"{root}: none of the known layouts was found. {found}\nIf images and masks are among them, name the folder or "
        f"pattern of each: prepare.images and prepare.masks. {expected}",
        options=("prepare.images", "prepare.masks", "prepare.layout"),
    )


def matching(root: Path) -> list[Layout]:
    """The layouts of the lowest rank that match a folder; files beside at least as many of DICOM are its masks."""
    fitting = [layout for layout in (SOURCES.get(name) for name in SOURCES) if layout.matches(root)]
    if DICOM in fitting and FOLDER in fitting:
        files = files_below(root)
        slices = sum(is_dicom(path) for path in files)
        fitting.remove(FOLDER if slices >= sum(is_image(path) for path in files) else DICOM)
    return [layout for layout in fitting if layout.rank == min(other.rank for other in fitting)]


UNION = UnionLayout(open_source)
SOURCES.add(UNION.name, UNION)
