"""Formats of other tools, by name, and what writes them."""

from collections.abc import Callable
from pathlib import Path

from caseunet.datasets.exchange.mask_files import (
    convert_to_dicom_seg,
    convert_to_nifti,
    convert_to_png,
    convert_to_seg_nrrd,
)
from caseunet.datasets.exchange.nnunet_raw import convert_to_nnunet
from caseunet.datasets.exchange.source import ExchangeSource
from caseunet.registry import Registry

FORMATS: Registry[Callable[[ExchangeSource, Path], None]] = Registry("format")
FORMATS.add("nnunet", convert_to_nnunet)
FORMATS.add("png", convert_to_png)
FORMATS.add("nifti", convert_to_nifti)
FORMATS.add("seg.nrrd", convert_to_seg_nrrd)
FORMATS.add("dicom-seg", convert_to_dicom_seg)
