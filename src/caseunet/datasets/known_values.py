"""What values mean in public data sets without a file of names, where names and values of files tell which it is."""

import re
from collections.abc import Mapping, Sequence

from caseunet.datasets.coding import BACKGROUND, coding_of
from caseunet.datasets.layout import SourceCase
from caseunet.io import images
from caseunet.types import LabelCoding

BTCV: Mapping[int, str] = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "inferior vena cava",
    10: "portal vein and splenic vein",
    11: "pancreas",
    12: "right adrenal gland",
    13: "left adrenal gland",
}
"""Landman et al., "Multi-Atlas Labeling Beyond the Cranial Vault", Synapse 2015."""

_IMAGE, _LABEL = re.compile(r"img(\d{4})$", re.IGNORECASE), re.compile(r"label(\d{4})$", re.IGNORECASE)


def find_known_values(cases: Sequence[SourceCase], modality: str) -> Mapping[int, str]:
    """What values mean if they are those of the data set whose names the files have; {} where they have no such names.

    BTCV: volumes of CT, ``img0001.nii.gz`` with ``label0001.nii.gz``.
    """
    labelled = [case for case in cases if case.label]
    if modality != "ct" or not labelled:
        return {}
    for case in labelled:
        image, label = _IMAGE.match(images.stem(case.image[0])), _LABEL.match(images.stem(case.label[0]))
        if len(case.label) > 1 or not image or not label or image[1] != label[1]:
            return {}
    return BTCV


def name_known(coding: LabelCoding | None, names: Mapping[int, str]) -> LabelCoding | None:
    """The classes that masks show, by their known names if they hold most of the values that have one and no others."""
    found = set() if coding is None or coding.colored else set(coding.codes) - {0}
    if coding is None or not found or not found <= names.keys() or 2 * len(found) <= len(names):
        return coding
    return coding_of({0: BACKGROUND, **names})
