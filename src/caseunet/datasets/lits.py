"""LiTS 2017: liver and liver tumour in CT.

Layout: ``volume-N.nii`` and ``segmentation-N.nii``, gzipped or not, loose or in folders such as ``Training Batch 1``;
``test-volume-N.nii`` without labels. The Medical Segmentation Decathlon's Task03 has the same scans under the same
numbers: ``imagesTr/liver_N.nii.gz`` with ``labelsTr/liver_N.nii.gz``, and test scans of its own in ``imagesTs``. One
volume is one patient. Bilic et al., "The Liver Tumor Segmentation Benchmark (LiTS)", Medical Image Analysis 2023.
"""

import re
from pathlib import Path

from caseunet.datasets.coding import coding_of
from caseunet.datasets.layout import (
    Listing,
    SourceCase,
    SourceDataset,
    by_key,
    extra_mask,
    files_below,
    left_out,
    no_cases,
    twice,
)
from caseunet.datasets.names import folder_role
from caseunet.datasets.reading import FileLayout
from caseunet.io.images import is_image

CODING = coding_of(
    {0: "background", 1: "liver", 2: "tumour"},
    structures={"liver": (1, 2), "tumour": (2,)},
    colors={0: (0, 0, 0), 1: (60, 180, 75), 2: (230, 60, 50)},
)
LICENCE = "LiTS 2017: CC BY-NC-ND 4.0 by its organisers; cite Bilic et al. 2023"

_IMAGE = re.compile(r"(?P<test>test-)?volume-(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)
_LABEL = re.compile(r"segmentation-(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)
_DECATHLON = re.compile(r"liver_(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)


def _image_name(path: Path) -> str | None:
    """ "volume-7" or "test-volume-7" for an image's file."""
    if match := _IMAGE.match(path.name):
        return f"{(match['test'] or '').lower()}volume-{int(match['number'])}"
    match = _DECATHLON.match(path.name)
    if match and path.parent.name in ("imagesTr", "imagesTs"):
        return f"{'test-' if path.parent.name == 'imagesTs' else ''}volume-{int(match['number'])}"
    return None


def _label_name(path: Path) -> str | None:
    """ "volume-7" for the file of its mask."""
    match = _LABEL.match(path.name) or (_DECATHLON.match(path.name) if path.parent.name == "labelsTr" else None)
    return f"volume-{int(match['number'])}" if match else None


def _is_mask_called_volume(path: Path) -> bool:
    """Whether a mask is called as an image of LiTS is, as in conversions of it."""
    return path.name.lower().startswith(("volume-", "test-volume-")) and folder_role(path.parent.name) == "mask"


class LitsLayout(FileLayout):
    """LiTS and Task03 of the Decathlon, told by the names of their files."""

    name = "lits"
    looks_like = "volume-N.nii[.gz] and segmentation-N.nii[.gz] at any depth, or MSD Task03: imagesTr/liver_N.nii.gz"
    rank = 0

    def matches(self, root: Path) -> bool:
        files = files_below(root)
        return any(map(_image_name, files)) and not any(map(_is_mask_called_volume, files))

    def cases(self, root: Path) -> Listing:
        """List the cases; ``id`` is "volume-N" or "test-volume-N", and each is a patient of its own.

        Raises:
            CaseUNetError: there are no volumes.
        """
        files = files_below(root)
        images, images_twice = by_key(files, _image_name)
        labels, labels_twice = by_key(files, _label_name)
        if not images:
            raise no_cases(root, "volume-N.nii or volume-N.nii.gz")
        masks = dict(labels)
        found = tuple(
            SourceCase(
                id=name,
                image=(image,),
                label=(labels.pop(name),) if name in labels else (),
                group=name,
                part="test" if name.startswith("test-") else "",
            )
            for name, image in images.items()
        )
        findings = [extra_mask(path, root, f"{name}.nii") for name, path in labels.items()]
        for paths, known, first in ((images_twice, _image_name, images), (labels_twice, _label_name, masks)):
            findings += [twice(path, root, first[known(path) or ""]) for path in paths]
        others = [path for path in files if is_image(path) and not _image_name(path) and not _label_name(path)]
        return Listing(found, (*findings, *left_out(others, root, "image files with other names")))

    def discover(self, root: Path) -> SourceDataset:
        listed, findings = self.cases(root)
        return SourceDataset(
            format="lits",
            root=root,
            cases=listed,
            coding=CODING,
            modality="ct",
            group_name="patient",
            licence=LICENCE,
            findings=findings,
        )


LITS = LitsLayout()
