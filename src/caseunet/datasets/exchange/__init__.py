"""Formats of other tools, by name, and what writes them."""

from collections.abc import Callable
from pathlib import Path

from caseunet.datasets.exchange.coco import convert_to_coco
from caseunet.datasets.exchange.cvat import convert_to_cvat
from caseunet.datasets.exchange.label_studio import convert_to_label_studio
from caseunet.datasets.exchange.labelme import convert_to_labelme
from caseunet.datasets.exchange.mask_files import (
    convert_to_dicom_seg,
    convert_to_nifti,
    convert_to_png,
    convert_to_seg_nrrd,
)
from caseunet.datasets.exchange.nnunet_raw import convert_to_nnunet
from caseunet.datasets.exchange.rtstruct import convert_to_rtstruct
from caseunet.datasets.exchange.source import ExchangeSource
from caseunet.datasets.exchange.voc import convert_to_voc
from caseunet.datasets.exchange.yolo import convert_to_yolo
from caseunet.registry import Registry

PICTURES = ("png", "coco", "labelme", "yolo", "voc", "cvat", "label-studio")
"""Formats of pictures, in which a volume becomes its slices; the others hold volumes as they are."""

FORMATS: Registry[Callable[[ExchangeSource, Path], None]] = Registry("format")
FORMATS.add("nnunet", convert_to_nnunet)
FORMATS.add("png", convert_to_png)
FORMATS.add("nifti", convert_to_nifti)
FORMATS.add("seg.nrrd", convert_to_seg_nrrd)
FORMATS.add("dicom-seg", convert_to_dicom_seg)
FORMATS.add("rtstruct", convert_to_rtstruct)
FORMATS.add("coco", convert_to_coco)
FORMATS.add("labelme", convert_to_labelme)
FORMATS.add("yolo", convert_to_yolo)
FORMATS.add("voc", convert_to_voc)
FORMATS.add("cvat", convert_to_cvat)
FORMATS.add("label-studio", convert_to_label_studio)
