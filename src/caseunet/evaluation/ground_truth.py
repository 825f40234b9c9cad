"""The true masks that predictions are scored against: those of a raw data set, or masks alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from caseunet.config import PrepareConfig
from caseunet.datasets import Layout, SourceCase, SourceDataset, masks, matching, open_source
from caseunet.datasets.class_files import SAME_PLACE
from caseunet.datasets.coding import declare_regions
from caseunet.datasets.dataset_json import DESCRIPTION
from caseunet.datasets.dicom import DICOM
from caseunet.datasets.layout import files_below
from caseunet.datasets.masks import (
    LABELS,
    MASKS,
    missing_structures,
    names_by_value,
    names_values,
    read_coding,
    read_lesions,
)
from caseunet.datasets.meanings import alone, with_coding
from caseunet.datasets.partial import settle_labelled
from caseunet.datasets.planes import CutLayout, choose_plane
from caseunet.datasets.reading import check_repairs, read_placed_mask, require_coding, to_ids
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.evaluation.evaluator import Pair, Reference
from caseunet.evaluation.prediction_sets import PredictionSet, open_masks, reader
from caseunet.evaluation.shared_classes import SharedClasses, Table, is_unnamed, name_by_predictions, values_text
from caseunet.files import read_json
from caseunet.io import dicom, images, itk
from caseunet.io.geometry import distance_in_voxels, is_identity, reslice
from caseunet.types import Geometry, LabelCoding, LabelMap, PlaneRule, Ranges

MIN_STRUCTURES = 3
"""Masks on one grid from which on they may be structures of one scan."""


@dataclass(frozen=True)
class GroundTruth:
    """The true masks.

    Attributes:
        layout: that reads them.
        dataset: their cases.
        named: whether a file names their classes.
        lesions: the structures that a file calls lesions; None if none tells.
        plane: in which volumes are cut, as the layout does.
    """

    layout: Layout
    dataset: SourceDataset
    named: bool
    lesions: tuple[str, ...] | None = None
    plane: PlaneRule = "axial"

    @property
    def label_map(self) -> LabelMap:
        return require_coding(self.dataset).label_map

    @property
    def labelled(self) -> dict[str, SourceCase]:
        return {case.id: case for case in self.dataset.labelled}

    @property
    def has_images(self) -> bool:
        return self.dataset.format != masks.NAME


def open_ground_truth(root: Path, config: PrepareConfig, labels: Path | None = None) -> GroundTruth:
    """A raw data set, or a folder or file of masks alone, with the meaning of the masks.

    :func:`cut_references` says in which plane it is cut.

    Args:
        root: the folder, or the only mask.
        config: how to read a raw data set; its format "masks" takes the files for masks alone.
        labels: a labels.json that says what the values mean; that of the folder if not given.

    Raises:
        CaseUNetError: it cannot be opened, or has no masks.
    """
    if _are_masks_alone(root, config):
        if config.repair_plan is not None:
            raise InvalidInputError(
                f"{config.repair_plan}: a repair plan is for a raw data set; {root} holds masks alone. "
                "Name the folder of the data set instead."
            )
        dataset = open_masks(root, config.workers)
        layout: Layout = MASKS
    else:
        layout, dataset = open_source(root, config)
    if not dataset.labelled:
        raise InvalidInputError(f"{root}: holds no masks to score against.")
    if labels is not None and names_by_value(dataset):
        dataset = replace(dataset, coding=read_coding(labels, dataset.labelled))
    named = dataset.coding is not None
    dataset = with_coding(layout, dataset, config.workers)
    if config.regions:
        regions = {name: list(members) for name, members in config.regions.items()}
        dataset = replace(dataset, coding=declare_regions(require_coding(dataset), regions, "prepare.regions"))
    check_repairs(dataset, str(config.repair_plan))
    dataset = settle_labelled(dataset, require_coding(dataset).label_map, root)
    told = labels or (root / LABELS)
    named = named or not is_unnamed(require_coding(dataset).label_map)
    return GroundTruth(layout, dataset, named, read_lesions(told) if told.is_file() else None)


def _are_masks_alone(root: Path, config: PrepareConfig) -> bool:
    """Whether a folder holds masks without their images."""
    if config.layout != "auto" or not root.is_dir():
        return root.is_file() or config.layout == MASKS.name
    description = root / DESCRIPTION
    if names_values(description) and not any(root.glob("images*")) and not _lists_images(description):
        return MASKS.matches(root)  # nnU-Net writes such a file beside its predictions
    fitting = matching(root)
    if fitting == [DICOM]:
        headers = [dicom.read_header(path) for path in files_below(root) if dicom.is_dicom(path)]
        return all(header.modality == "SEG" for header in headers)
    if len(fitting) == 1 and not (
        config.images or config.masks or config.channels
    ):  # masks that are named as a layout names its images
        return not any(case.label for case in fitting[0].cases(root).cases)
    return not fitting and not description.is_file() and MASKS.matches(root)


def _lists_images(description: Path) -> bool:
    """Whether a dataset.json lists the files of each case, which may then lie anywhere."""
    content = read_json(description, DESCRIPTION)
    return isinstance(content, dict) and "dataset" in content


def name_references(truth: GroundTruth, prediction_sets: Sequence[PredictionSet]) -> tuple[GroundTruth, str]:
    """The references, named as the predictions name their values where no file names them; and a remark, or "".

    The remark also tells of predictions that name no classes where the references do.
    """
    if truth.named:
        return truth, _warn_of_values(truth, prediction_sets)
    if not names_by_value(truth.dataset):
        return truth, ""
    codings: Mapping[str, LabelCoding | None] = {c.name: c.coding if c.by_value else None for c in prediction_sets}
    coding, remark = name_by_predictions(require_coding(truth.dataset), codings)
    return replace(truth, dataset=replace(truth.dataset, coding=coding)), remark


def _warn_of_values(truth: GroundTruth, prediction_sets: Sequence[PredictionSet]) -> str:
    """A remark on predictions whose values were taken for those of references that a file names, or ""."""
    coding = require_coding(truth.dataset)
    unnamed = [c.name for c in prediction_sets if c.info is None and c.coding is None and c.by_value]
    if not unnamed or coding.colored or len(coding.label_map) == 2 or is_unnamed(coding.label_map):
        return ""
    return (
        f"The predictions of {', '.join(unnamed)} do not name their classes: their values were taken for those of the "
        f"references ({values_text(coding)}). Put a labels.json beside them where they mean something else."
    )


def with_grids(truth: GroundTruth, prediction_sets: Sequence[PredictionSet]) -> GroundTruth:
    """The references; segmentations without an image on the grid of a predicted volume, or of all objects together:
    they leave out slices without a segment."""
    if truth.has_images or names_by_value(truth.dataset):
        return truth
    cases = []
    for case in truth.dataset.cases:
        predicted = [
            prediction_set.masks[case.id].label for prediction_set in prediction_sets if case.id in prediction_set.masks
        ]
        whole = (files[:1] for files in predicted if images.is_volume(files[0]) and not itk.is_segmentation(files[0]))
        if dicom.is_dicom(case.label[0]):
            objects = (path for files in predicted for path in files if dicom.is_dicom(path))
            case = replace(case, image=next(whole, (*case.label, *objects)))
        elif itk.is_segmentation(case.label[0]):
            case = replace(case, image=next(whole, case.label))
        cases.append(case)
    return replace(truth, dataset=replace(truth.dataset, cases=tuple(cases)))


def cut_references(truth: GroundTruth, prediction_sets: Sequence[PredictionSet], config: PrepareConfig) -> GroundTruth:
    """The references in the configured plane; with "auto" in that of the predictions, or as most were acquired.

    Args:
        truth: as opened.
        prediction_sets: the predictions; those of other tools tell no plane.
        config: tells the plane, or "auto".
    """
    told = (prediction_set.info.plane for prediction_set in prediction_sets if prediction_set.info is not None)
    plane = next(told, None) if config.plane == "auto" else config.plane
    if plane is None:
        plane = choose_plane("auto", truth.layout, truth.dataset, config.workers)[0]
    return replace(truth, layout=CutLayout(truth.layout, plane), plane=plane)


def warn_of_structures(truth: GroundTruth) -> str:
    """A remark where the files of a folder are taken for structures of one case, and where masks alone lie on one grid
    and may be structures of one scan; else ""."""
    cases = truth.dataset.labelled
    if not truth.has_images and any(len(case.label) > 1 and not dicom.is_dicom(case.label[0]) for case in cases):
        names = ", ".join(truth.label_map.structures)
        return f"Each folder of the references is taken for a case, and its files for structures: {names}."
    alone = all(len(case.label) == 1 and images.is_volume(case.label[0]) for case in cases)
    if truth.has_images or truth.named or len(cases) < MIN_STRUCTURES or not alone or len(truth.label_map) != 2:
        return ""
    first = images.read_file_geometry(cases[0].label[0])
    if first.affine is None or is_identity(first):
        return ""
    grids = (images.read_file_geometry(case.label[0]) for case in cases[1:])
    if not all(grid.shape == first.shape and distance_in_voxels(first, grid) < SAME_PLACE for grid in grids):
        return ""
    return (
        f"The {len(cases)} references lie on one grid, and each is scored as a case. If they are structures of one "
        "scan, put them into a folder for the case, such as case_1/liver.nii.gz, on both sides."
    )


def pairs_of(
    truth: GroundTruth,
    prediction_set: PredictionSet,
    scope: Sequence[str],
    ranges: Mapping[str, Ranges] | None,
    shared: SharedClasses,
) -> list[Pair]:
    """Cases and a model's predictions of them, as they are scored."""
    cases = truth.labelled
    return [
        Pair(
            model=prediction_set.name,
            case=case,
            group=cases[case].group,
            read_reference=partial(
                read_reference, truth.layout, cases[case], alone(truth.dataset, (cases[case],)), shared.reference
            ),
            read_prediction=reader(prediction_set, case, truth.dataset, shared.predictions[prediction_set.name]),
            missing=prediction_set.why_missing(case),
            ranges=None if ranges is None else ranges.get(case),
        )
        for case in scope
    ]


def read_reference(layout: Layout, case: SourceCase, dataset: SourceDataset, table: Table) -> Reference:
    """The true masks of a case, as shared classes.

    Raises:
        CaseUNetError: they cannot be read.
    """
    image = layout.read_geometry(case)
    try:
        mask = read_placed_mask(layout, case, dataset, image)
        ids = to_ids(mask, case, dataset, require_coding(dataset))
    except CaseUNetError as error:
        if dataset.repairs or dataset.format == masks.NAME:
            raise
        told = error.with_message(f"{error} If you prepared these data with a repair plan, give it here too.")
        told.options = (*error.options, "prepare.repair_plan")
        raise told from error
    file = case.label[0]
    own: Geometry = reslice(images.read_file_geometry(file), image.plane) if images.is_volume(file) else image
    absent = missing_structures(case, dataset)
    remarks = [f"reference: {remark}." for remark in mask.geometry.remarks]
    remarks += [f"the reference has no file of {', '.join(absent)}, which counts as empty."] if absent else []
    return Reference(table[ids], image, own, " ".join(remarks), case.labelled)
