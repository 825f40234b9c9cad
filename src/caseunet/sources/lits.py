"""LiTS 2017: liver and liver tumour in CT.

Layout: ``volume-N.nii`` and ``segmentation-N.nii``, gzipped or not, loose or in folders such as ``Training Batch 1``;
``test-volume-N.nii`` without labels. One volume is one patient. Bilic et al., "The Liver Tumor Segmentation Benchmark
(LiTS)", Medical Image Analysis 2023.
"""

import re
from pathlib import Path

import numpy as np

from caseunet.errors import UserError
from caseunet.io import nifti
from caseunet.sources.layout import Layout, files_below
from caseunet.types import Label, LabelMap, Picture, SourceCase, SourceDataset

LABELS = LabelMap(
    labels=(
        Label(id=0, name="background", color=(0, 0, 0)),
        Label(id=1, name="liver", color=(60, 180, 75)),
        Label(id=2, name="tumour", color=(230, 60, 50)),
    ),
    structures={"liver": (1, 2), "tumour": (2,)},
)
LICENCE = "LiTS 2017: CC BY-NC-ND 4.0 by its organisers; cite Bilic et al. 2023"

_IMAGE = re.compile(r"(test-)?volume-(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)
_LABEL = re.compile(r"segmentation-(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)


def matches(root: Path) -> bool:
    return any(_IMAGE.match(path.name) for path in files_below(root))


def cases(root: Path) -> tuple[SourceCase, ...]:
    """List the cases; ``id`` is "volume-N" or "test-volume-N", and each is a patient of its own.

    Raises:
        UserError: no volumes, a number twice, or a segmentation without its volume.
    """
    files = files_below(root)
    images, labels = _by_number(files, _IMAGE), _by_number(files, _LABEL)
    if not images:
        raise UserError(f"{root}: no volume-N.nii or volume-N.nii.gz was found in it or below.")
    found = []
    for (test, number), image in images.items():
        label = None if test else labels.pop((False, number), None)
        name = nifti.case_name(image)
        found.append(SourceCase(id=name, image=image, label=label, group=name))
    if labels:
        raise UserError(
            f"{next(iter(labels.values()))}: a mask without its image; volume-{next(iter(labels))[1]}.nii was expected "
            f"({len(labels)} such). Add the image or move the mask away."
        )
    return tuple(found)


def discover(root: Path) -> SourceDataset:
    names = [path.name for path in files_below(root) if nifti.is_nifti(path)]
    others = [name for name in names if not _IMAGE.match(name) and not _LABEL.match(name)]
    return SourceDataset(
        format="lits",
        root=root,
        cases=cases(root),
        label_map=LABELS,
        modality="ct",
        group_name="patient",
        licence=LICENCE,
        notes=(f"{len(others)} NIfTI files have other names and are left out: {', '.join(others)}",) if others else (),
    )


def check(case: SourceCase) -> str:
    image = nifti.read_geometry(case.image)
    return nifti.check_labels(case.label, image) if case.label is not None else ""


def read_image(case: SourceCase) -> Picture:
    return nifti.read_volume(case.image)


def read_labels(case: SourceCase, dataset: SourceDataset) -> np.ndarray:
    if case.label is None:
        raise ValueError(f"{case.id} has no label")
    labels = nifti.read_labels(case.label, nifti.read_geometry(case.image))
    if labels.min() < 0 or labels.max() >= len(dataset.label_map):
        unknown = sorted(set(np.unique(labels).tolist()) - set(range(len(dataset.label_map))))
        raise UserError(f"{case.label}: holds the labels {unknown}; LiTS has 0 background, 1 liver and 2 tumour.")
    return labels.astype(np.uint8)


def _by_number(paths: list[Path], pattern: re.Pattern[str]) -> dict[tuple[bool, int], Path]:
    """{(of the test set, N): path} of the names that fit, in order of N."""
    found: dict[tuple[bool, int], Path] = {}
    for path in paths:
        if match := pattern.match(path.name):
            key = (path.name.lower().startswith("test-"), int(match["number"]))
            if key in found:
                raise UserError(f"{path}: case {key[1]} is there twice, also as {found[key]}. Keep one of them.")
            found[key] = path
    return dict(sorted(found.items()))


LITS = Layout(
    name="lits",
    looks_like="volume-N.nii[.gz] and segmentation-N.nii[.gz], at any depth",
    matches=matches,
    cases=cases,
    discover=discover,
    check=check,
    read_image=read_image,
    read_labels=read_labels,
)
