"""From the files of a case to pixels and class ids; what most layouts have in common."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from caseunet.datasets.class_files import SAME_PLACE, read_class_files
from caseunet.datasets.class_names import is_ignored
from caseunet.datasets.coding import coding_of, decode, snap, translate
from caseunet.datasets.layout import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.polygons import is_outline_file, read_outlines
from caseunet.datasets.raters import merge_raters
from caseunet.datasets.repair import EVERY_CASE, CaseRepair, RepairPlan, code_text
from caseunet.datasets.rivals import leave_out
from caseunet.errors import InvalidInputError, SeveralMasksError, did_you_mean
from caseunet.io import images, scratch
from caseunet.io.geometry import (
    canonical_shape,
    distance_in_mm,
    distance_in_voxels,
    orientation_of,
    to_canonical,
    to_source,
)
from caseunet.progress import count_text
from caseunet.types import IGNORE, Geometry, ImageVolume, LabelCoding, Mask

Misplaced = Literal["", "shape", "place"]


class FileLayout:
    """A layout whose images and masks are files that are read as they are; each layout adds how it finds them."""

    def read_geometry(self, case: SourceCase) -> Geometry:
        """Of the first file of an image, from its header.

        Raises:
            CaseUNetError: the file is missing or damaged.
        """
        return images.read_file_geometry(case.image[0])

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        """The pixels of a case, (S, C, H, W). Each file of the image is a channel, or several if it holds several.

        ``nan`` replaces NaN. Without it they are an error.

        Raises:
            CaseUNetError: a file is missing or damaged, or the channels are not on one grid.
        """
        pictures = [images.read_image_file(path, rgb, nan) for path in case.image]
        first = pictures[0]
        for path, other in zip(case.image[1:], pictures[1:], strict=True):
            if distance_in_voxels(first.geometry, other.geometry) > SAME_PLACE or _grid(first) != _grid(other):
                raise InvalidInputError(
                    f"{path}: is not on the grid of {case.image[0]}, the first channel of the same case."
                )
        if len(pictures) == 1:
            return first
        remarks = dict.fromkeys(remark for picture in pictures for remark in picture.geometry.remarks)
        geometry = replace(first.geometry, remarks=tuple(remarks))
        return ImageVolume(scratch.concatenate_channels([picture.pixels for picture in pictures]), geometry)

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """The values of a case's mask, which is one file, one for each class, or outlines.

        Raises:
            CaseUNetError: a file is missing or damaged, or there are several masks.
        """
        if is_outline_file(case.label[0]):
            classes = require_coding(dataset).label_map.names
            return read_outlines(case.label, case.image[0], image, {name: i for i, name in enumerate(classes) if i})
        if dataset.class_files:
            classes = require_coding(dataset).label_map.names
            return read_class_files(case.label, {name: i for i, name in enumerate(classes) if i}, image)
        colored = None if dataset.coding is None or dataset.objects else dataset.coding.colored
        masks = [images.read_mask_file(path, image, colored) for path in case.label]
        if dataset.objects:
            masks = [replace(mask, label_values=(mask.label_values != 0).astype(np.uint8)) for mask in masks]
            return replace(unite([replace(mask, palette={}) for mask in masks], case), colored=False)
        if dataset.repairs.get(case.id, CaseRepair()).union:
            return unite(masks, case)
        if len(masks) > 1 and dataset.raters:
            return merge_raters(masks, case, dataset.raters)
        if len(case.label) > 1:
            names = ", ".join(dataset.relative(path) for path in case.label[:4]) + (" …" if len(case.label) > 4 else "")
            ending = images.stem(case.label[0]).removeprefix(images.stem(case.image[0])) if case.image else ""
            pattern = f"*{ending}.*" if ending.startswith(("_", "-")) else case.label[0].name
            raise SeveralMasksError(
                f"{case.label[0]}: one of {len(case.label)} masks of {case.id} ({names}); they are not merged unasked. "
                f"Say which is meant, such as prepare.masks: '{pattern}', merge those of several people by "
                "prepare.raters: majority, or leave files out by ignore in a plan.",
                options=("prepare.masks", "prepare.raters", "prepare.repair_plan"),
                files=case.label,
            )
        return masks[0]


MANY_VALUES = 32
"""Beyond which a mask was smoothed or saved with loss, so that its values are no classes yet."""


def unite(masks: Sequence[Mask], case: SourceCase) -> Mask:
    """One mask of several: a pixel has the value of the first that is not 0 there.

    Raises:
        CaseUNetError: they differ in shape or place, or in what they say of a pixel.
    """
    first = masks[0]
    codes = first.label_values
    for path, mask in zip(case.label[1:], masks[1:], strict=True):
        if mask.label_values.shape != codes.shape or distance_in_voxels(first.geometry, mask.geometry) > SAME_PLACE:
            raise InvalidInputError(f"{path}: is not on the grid of {case.label[0]}, a mask of the same case.")
        if any(first.palette.get(code, color) != color for code, color in mask.palette.items()) or (
            mask.names != first.names
        ):
            raise InvalidInputError(
                f"{path}: its values mean other classes than those of {case.label[0]}; they cannot be united."
            )
        _check_agreement(codes, mask.label_values, path, case)
        codes = np.where(codes == 0, mask.label_values, codes)
    palette = {code: color for mask in masks for code, color in mask.palette.items()}
    fractional, rounding = sum(mask.fractional for mask in masks), max(mask.rounding for mask in masks)
    return replace(first, label_values=codes, fractional=fractional, rounding=rounding, palette=palette)


def _check_agreement(codes: np.ndarray, others: np.ndarray, path: Path, case: SourceCase) -> None:
    """That no pixel has one class so far and another in a further mask; 255 may lie over both."""
    both = (codes != 0) & (others != 0) & (codes != others) & (codes != IGNORE) & (others != IGNORE)
    if both.any() and len(np.unique(codes)) <= MANY_VALUES >= len(np.unique(others)):
        first = int(np.flatnonzero(both)[0])
        raise InvalidInputError(
            f"{path}: says {others.flat[first]} of pixels of which another mask of {case.id} says {codes.flat[first]} "
            f"({np.count_nonzero(both):,} pixels differ); such masks cannot be united. Name the one that counts, or "
            "call the files like their classes."
        )


def read_repaired_image(layout: Layout, case: SourceCase, dataset: SourceDataset) -> ImageVolume:
    """The pixels of a case, (S, C, H, W), repaired as the plan says.

    Raises:
        CaseUNetError: they cannot be read.
    """
    repair = dataset.repairs.get(case.id, CaseRepair())
    return layout.read_image(case, dataset.modality == "rgb", repair.nan)


def read_labels(layout: Layout, case: SourceCase, dataset: SourceDataset, image: Geometry | None = None) -> np.ndarray:
    """The class ids of a case, (S, H, W), uint8, repaired as the plan says.

    Args:
        layout: that reads it.
        case: has a mask.
        dataset: whose coding is known.
        image: the geometry of the case's image; read if not given.

    Raises:
        CaseUNetError: the mask cannot be read, lies elsewhere than its image, or holds values that are no class.
    """
    return to_ids(read_placed_mask(layout, case, dataset, image), case, dataset, require_coding(dataset))


def read_placed_mask(layout: Layout, case: SourceCase, dataset: SourceDataset, image: Geometry | None = None) -> Mask:
    """The mask of a case on its image, its values as stored; see :func:`read_labels`.

    Raises:
        CaseUNetError: it cannot be read, lies elsewhere than its image, or holds values that are no whole numbers.
    """
    image = layout.read_geometry(case) if image is None else image
    repair = dataset.repairs.get(case.id, CaseRepair())
    mask = read_planned_mask(layout, case, dataset, image)
    misplaced, problem = placement(mask, image, repair)
    if misplaced:
        raise InvalidInputError(f"{case.label[0]}: {problem}.")
    if mask.fractional and not repair.round:
        raise InvalidInputError(
            f"{case.label[0]}: holds {mask.fractional:,} values that are no whole numbers; labels are."
        )
    return mask


def read_planned_mask(layout: Layout, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
    """The mask of a case, laid on its image index on index where the plan says so.

    Raises:
        CaseUNetError: it cannot be read.
    """
    mask = layout.read_mask(case, dataset, image)
    by_index = dataset.repairs.get(case.id, CaseRepair()).affine == "index"
    return lay_on_index(mask, image) if by_index else mask


def to_ids(mask: Mask, case: SourceCase, dataset: SourceDataset, coding: LabelCoding) -> np.ndarray:
    """Class ids of a mask.

    Raises:
        CaseUNetError: values are no class.
    """
    repair = dataset.repairs.get(case.id, CaseRepair())
    translation = translate(mask, coding)
    if translation.problem:
        raise InvalidInputError(f"{case.label[0]}: {translation.problem}.")
    codes = translation.apply(mask.label_values)
    ids, unknown = decode(codes, coding, repair.map)
    if unknown.any():
        if not repair.snap:
            raise InvalidInputError(f"{case.label[0]}: {unknown_text(codes[unknown], coding)}.")
        ids = snap(codes, ids, unknown, coding)
    if case.field is not None:
        ids[find_unjudged(case.field, mask)] = IGNORE
    return ids


def find_unjudged(path: Path, mask: Mask) -> np.ndarray:
    """Where nobody judged an image, (S, H, W), bool: the darker half of the values of its field of view.

    Raises:
        CaseUNetError: it is damaged, all dark, or of another shape than the mask.
    """
    field = images.read_mask_file(path, mask.geometry, False).label_values
    if field.shape != mask.label_values.shape:
        raise InvalidInputError(
            f"{path}: the field of view has shape {field.shape}, its mask {mask.label_values.shape}; expected the same."
        )
    highest = int(field.max())
    if highest <= 0:
        raise InvalidInputError(f"{path}: the field of view is 0 everywhere, so that nothing of its image was judged.")
    return np.asarray(field <= highest // 2)


def require_coding(dataset: SourceDataset) -> LabelCoding:
    if dataset.coding is None:
        raise ValueError("the meaning of the masks must be found first")
    return dataset.coding


def lay_on_index(mask: Mask, image: Geometry) -> Mask:
    """The mask with each voxel of its file on the voxel of its image's file that has the same index.

    A mask of another shape stays as it is, and so does one that lies so already because its own place is lost.
    """
    own = mask.geometry
    if mask.assumed_aligned or own.affine is None or image.affine is None or own.shape != image.shape:
        return mask
    return replace(mask, label_values=to_canonical(to_source(mask.label_values, own), image), assumed_aligned=True)


def placement(mask: Mask, image: Geometry, repair: CaseRepair | None = None) -> tuple[Misplaced, str]:
    """What is wrong with a mask's shape or place, and in words; ("", "") if it lies on its image."""
    own = mask.geometry
    if own.affine is None or image.affine is None:
        shape = own.shape
        if image.affine is None:
            values = mask.label_values
            shape = values.shape if len(values) > 1 or len(image.shape) == 3 else values.shape[-2:]
        return ("", "") if shape == image.shape else ("shape", _shapes(shape, image))
    if mask.assumed_aligned:
        return "", ""
    if sorted(own.shape) != sorted(image.shape):
        return "shape", _shapes(own.shape, image)
    trusted = repair is not None and repair.affine == "image"  # as the file's axes run, but in the image's place
    distance = distance_in_voxels(image, own)
    if distance <= SAME_PLACE or (trusted and canonical_shape(own) == canonical_shape(image)):
        return "", ""
    axes = [orientation_of(geometry) for geometry in (own, image)]
    turned = f"; its axes run {axes[0]}, the image's {axes[1]}" if axes[0] != axes[1] else ""
    if np.isinf(distance):
        return "shape", f"{_shapes(own.shape, image)} once their axes run alike{turned}"
    return "place", f"the mask lies {distance_in_mm(image, own):.3g} mm away from its image{turned}"


def _shapes(shape: tuple[int, ...], image: Geometry) -> str:
    if image.affine is None and 3 in (len(shape), len(image.shape)):
        pages, wanted = ((1, *size)[-3] for size in (shape, image.shape))
        if pages != wanted:
            return f"the mask has {count_text(pages, 'page')}, its image {wanted}; expected a page of each for a slice"
    return f"the mask's shape {shape} is not its image's {image.shape}"


def unknown_text(codes: np.ndarray, coding: LabelCoding) -> str:
    """ "12 pixels have values that are no class, most often 255 (…)"."""
    values, counts = np.unique(codes, return_counts=True)
    worst = code_text(int(values[counts.argmax()]), coding.colored)
    what = "colours" if coding.colored else "values"
    known = describe_codes(coding)
    return f"{codes.size:,} pixels have {what} that are no class, most often {worst}; the classes are {known}"


def describe_codes(coding: LabelCoding, most: int = 8) -> str:
    """The values of the classes in a few words: "0, 1, 2"."""
    shown = ", ".join(str(code_text(code, coding.colored)) for code in list(coding.codes)[:most])
    return shown + (" …" if len(coding.codes) > most else "")


def apply_plan(dataset: SourceDataset, plan: RepairPlan, origin: str) -> SourceDataset:
    """The data set with the plan's repairs; dropped cases and ignored files are gone.

    Args:
        dataset: as discovered.
        plan: what to do.
        origin: the plan's file, for messages.

    Raises:
        CaseUNetError: the plan is for another layout, or names cases or classes that are not there.
    """
    if plan.layout != dataset.format:
        raise InvalidInputError(f"{origin}: is a plan for the layout {plan.layout}; this data set is {dataset.format}.")
    ids = {case.id: None for case in dataset.cases}
    for case in plan.cases:
        if case not in ids and case != EVERY_CASE:
            raise InvalidInputError(f'{origin}: there is no case "{case}". {did_you_mean(case, ids)}')
    told = {finding.file for finding in dataset.findings}
    for name in plan.ignore:
        path = dataset.root / name  # of data sets elsewhere names are absolute
        if name not in told and (dataset.relative(path) != name or not images.is_readable(path)):
            folder = "is a folder; name its files" if path.is_dir() else "is no file"
            raise InvalidInputError(
                f'{origin}: ignore: "{name}" {folder}. Expected paths from {dataset.root}, such as masks/a.png.'
            )
    coding = dataset.coding
    if plan.labels is not None:
        codes = [label.code for label in plan.labels]
        twice = next((code for code, times in Counter(codes).items() if times > 1), None)
        if twice is not None:
            raise InvalidInputError(f"{origin}: labels: the code {code_text(twice, plan.colored)} is there twice.")
        try:
            classes = [label for label in plan.labels if not is_ignored(label.name)]
            coding = coding_of(
                {label.code: label.name for label in classes},
                colors={label.code: label.color for label in classes},
                colored=plan.colored,
                ignore=[label.code for label in plan.labels if label not in classes],
            )
        except ValueError as error:
            raise InvalidInputError(f"{origin}: labels: {error}.") from error
    repairs = dict(plan.cases)
    every = repairs.pop(EVERY_CASE, None)
    if every is not None:
        repairs = dict.fromkeys(ids, every) | repairs
    dropped = frozenset(case for case, repair in repairs.items() if repair.drop)
    notes = [_note(None if case == EVERY_CASE else case, repair) for case, repair in plan.cases.items()]
    united = [case for case, repair in repairs.items() if repair.union]
    dataset = leave_out(dataset, plan.ignore, united=united, dropped=dropped)
    return replace(
        dataset,
        coding=coding,
        repairs={case: repair for case, repair in repairs.items() if not repair.drop},
        dropped=dropped,
        findings=(*dataset.findings, *notes),
    )


def check_repairs(dataset: SourceDataset, origin: str) -> None:
    """Make sure that repairs map values to classes that there are.

    Raises:
        CaseUNetError: one does not.
    """
    classes = len(require_coding(dataset).label_map)
    for case, repair in dataset.repairs.items():
        wrong = [to for to in repair.map.values() if not 0 <= to < classes and to != IGNORE]
        if wrong:
            raise InvalidInputError(
                f"{origin}: maps a value of {case} to class {wrong[0]}; there are 0 to {classes - 1}."
            )


def _note(case: str | None, repair: CaseRepair) -> Finding:
    text = f"repaired as planned: {repair.text}" + (f" ({repair.why})" if repair.why else "")
    return Finding(level="note", kind="repaired", text=text, case=case)


def _grid(picture: ImageVolume) -> tuple[int, ...]:
    return (picture.pixels.shape[0], *picture.pixels.shape[2:])
