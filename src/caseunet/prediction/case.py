"""One image or video → its mask, and what goes with it."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np

from caseunet.bundle.info import BundleInfo
from caseunet.data.grid import place_slices
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import replace_when_whole
from caseunet.imaging.slices import case_statistics
from caseunet.io import images, nifti, raster, raster_file, tiff_stack, video
from caseunet.io.dicom_fractional import write_fractional
from caseunet.io.dicom_seg import Algorithm, write_segmentation
from caseunet.io.geometry import voxel_steps
from caseunet.io.overlay import case_sheet, overlaid
from caseunet.prediction.channels import describe_missing
from caseunet.prediction.context import PredictionContext, display_window, find_identity, path_beside, shared_entries
from caseunet.prediction.image_kind import check_kind, check_no_mask
from caseunet.prediction.inputs import Input
from caseunet.prediction.measurements import Timeline, measure_volume, to_rows
from caseunet.prediction.postprocessing import apply_postprocessing
from caseunet.prediction.predictor import SliceBatch, SlicePredictor, match_range, read_model_input
from caseunet.prediction.probabilities import ProbabilityAccumulator
from caseunet.prediction.slices import Slices
from caseunet.prediction.slides import predict_slide, streams
from caseunet.prediction.store import PredictedCase
from caseunet.quality.confidence import ConfidenceMeter
from caseunet.quality.judgement import CaseQuality, judge_case
from caseunet.quality.out_of_distribution import GEOMETRY, LOOKED_AT, image_features
from caseunet.types import Geometry, ImageVolume


def predict_case(work: PredictionContext, item: Input, advance: Callable[[float], None]) -> PredictedCase:
    """Segment one image or video and write its files; on failure none of them is left.

    Args:
        work: with what.
        item: the image.
        advance: told the share of the case that was done since the last time.

    Raises:
        CaseUNetError: it cannot be read or segmented; names the file.
    """
    if item.error:
        raise InvalidInputError(item.error)
    target = work.folder / (item.id + ("" if item.is_video else item.suffix))
    if not target.resolve().is_relative_to(work.folder.resolve()):
        raise CaseUNetError(f'{item.path}: its name "{item.id}" would be written outside the output folder.')
    written: list[Path] = []
    try:
        if item.is_video:
            return _predict_video(work, item, target, written, advance)
        if streams(item, work.predictor.info.preprocessing, work.outputs):
            return predict_slide(work, item, target, written, advance)
        return _predict_image(work, item, target, written, advance)
    except BaseException as error:
        for path in written:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if isinstance(error, CaseUNetError):
            raise error.with_message(item.explain(str(error))) from error
        raise


def _predict_image(
    work: PredictionContext, item: Input, target: Path, written: list[Path], advance: Callable[[float], None]
) -> PredictedCase:
    predictor, info = work.predictor, work.predictor.info
    began = time.monotonic()
    picture = match_range(item.path, item.read(info.preprocessing, read_model_input), info.preprocessing)
    item.check_spacing(picture.geometry.spacing, info.preprocessing)
    if predictor.settings.check_image:
        check_no_mask(picture.pixels, item.files[0], info.training_data)
    identity = find_identity(work, item, picture)
    pixels, geometry = picture.pixels, picture.geometry
    S, H, W = len(pixels), *pixels.shape[-2:]
    temperature = info.quality.temperature if info.quality else 1.0
    accumulator = (
        ProbabilityAccumulator((S, H, W), len(info.label_map), temperature) if work.outputs.probabilities else None
    )

    def on_batch(group: SliceBatch) -> None:
        if accumulator:
            accumulator.add(group)
        advance(len(group.slices) * group.share / S)

    with closing(accumulator) if accumulator else nullcontext():
        labels, quality, doubts = segment_picture(predictor, picture, identity.voting, on_batch)
        others, told = _write_probabilities(accumulator, item, geometry, work, written) if accumulator else ({}, ())
    remarks = (*geometry.remarks, *told)
    written.append(target)
    colors, names = info.label_map.colors, info.label_map.names
    images.write_mask_file(target, labels, geometry, colors, item.files[0], names)
    if work.outputs.dicom_seg and item.is_dicom:
        path = path_beside(target, item, ".seg.dcm")
        if failure := _write_dicom_segmentation(path, labels, geometry, item, info):
            remarks = (*remarks, failure)
        else:
            written.append(path)
            others["dicom_seg"] = path.relative_to(work.folder).as_posix()
    measured = []
    if work.outputs.measurements:
        steps, has_thickness = voxel_steps(geometry), geometry.has_thickness
        measured = measure_volume(labels, steps, info.label_map, has_thickness=has_thickness)
    if work.outputs.overlay:
        path = path_beside(target, item, "-overlay.png")
        written.append(path)
        window, plane = display_window(predictor), geometry.plane
        sheet = case_sheet(pixels, labels, info.label_map, window, geometry.spacing, item.id, plane)
        raster.write_image(path, sheet)
        others["overlay"] = path.relative_to(work.folder).as_posix()
    return PredictedCase(
        **shared_entries(work, item, target, identity),
        slices=S,
        seconds=round(time.monotonic() - began, 3),
        others=others,
        quality=quality,
        measurements=tuple(to_rows(item.id, measured)),
        remarks=(*remarks, *doubts),
        missing_channels=picture.missing,
    )


def _write_dicom_segmentation(
    path: Path, labels: np.ndarray, geometry: Geometry, item: Input, info: BundleInfo
) -> str | None:
    """Write the mask of a series as a segmentation object; gives a remark where that cannot be, None where it can."""
    try:
        write_segmentation(path, labels, geometry, item.files, info.label_map, _algorithm(info))
    except CaseUNetError as error:
        told = item.explain(str(error).removeprefix(f"{path}: ")).removeprefix(f"{item.path}: ").removesuffix(".")
        what = "cannot be written as a DICOM segmentation: "
        return f"its mask is written, but it {what}{told.removeprefix(what)}"
    return None


def _algorithm(info: BundleInfo) -> Algorithm:
    return Algorithm(info.architecture.name, version("caseunet"), info.weights_hash)


def segment_picture(
    predictor: SlicePredictor,
    picture: ImageVolume,
    networks: Sequence[int] | None = None,
    on_batch: Callable[[SliceBatch], None] = lambda group: None,
    postprocess: bool = True,
) -> tuple[np.ndarray, CaseQuality | None, tuple[str, ...]]:
    """Class ids (S, H, W), uint8; what to think of them, None where the bundle cannot tell; and remarks on the image.

    Args:
        predictor: with what.
        picture: in canonical order.
        networks, on_batch: as for :meth:`Predictor.predict_slices`.
        postprocess: whether ids are cleaned as was learned in validation, unless the settings say no.

    Raises:
        CaseUNetError: the image is clearly of another kind than the training data; without its name.
    """
    info, spacing = predictor.info, picture.geometry.spacing
    alarms = check_kind(picture.pixels, info.preprocessing, info.training_data, predictor.settings.check_image)
    alarms += [describe_missing(picture.missing)] if picture.missing else []
    temperature = info.quality.temperature if info.quality else 1.0
    meter = ConfidenceMeter(info.label_map, len(picture.pixels))

    def measure(group: SliceBatch) -> None:
        if info.quality:
            meter.add((group.logits / temperature).softmax(1), group.slices.start, group.first, group.height)
        on_batch(group)

    case = predictor.cut(picture.pixels, spacing)
    labels = predictor.label(case, None, networks, measure)
    remarks = tuple(filter(None, [describe_missing(picture.missing), case.placement.remark]))
    if postprocess:
        apply_postprocessing(labels, predictor.postprocessing, info.label_map, voxel_steps(picture.geometry))
    if info.quality is None:
        return labels, judge_case(None, {}, {}, alarms) if alarms else None, remarks
    features = image_features(case.slices, info.preprocessing, case_statistics(case.slices), spacing)
    if picture.missing:  # what training cases were like says nothing of the intensities of fewer channels
        features = {name: value for name, value in features.items() if name.startswith(GEOMETRY)}
    return labels, judge_case(info.quality, features, meter.result(), alarms), remarks


def _predict_video(
    work: PredictionContext, item: Input, target: Path, written: list[Path], advance: Callable[[float], None]
) -> PredictedCase:
    """Frame after frame: their masks in a folder, and the video with its overlay."""
    predictor, info = work.predictor, work.predictor.info
    if info.preprocessing.modality != "rgb":
        raise InvalidInputError(
            f"{item.path}: a video; this model was trained on {info.preprocessing.modality} images, not colour ones."
        )
    began = time.monotonic()
    identity = find_identity(work, item)
    facts = video.read_facts(item.path)
    overlay = path_beside(target, item, "-overlay.mp4")
    timeline = Timeline(info.label_map, facts.rate)
    meter = ConfidenceMeter(info.label_map, max(1, facts.frames))
    temperature = info.quality.temperature if info.quality else 1.0
    every = max(1, facts.frames // LOOKED_AT)
    looked: list[np.ndarray] = []
    written += [target, overlay]
    with (
        replace_when_whole(target) as masks,
        video.write_video(overlay, facts.rate, facts.height, facts.width) as film,
    ):
        masks.mkdir(parents=True)
        number = -1
        for number, frame in enumerate(video.read_frames(item.path)):
            pixels = frame.transpose(2, 0, 1)[None]
            placement = place_slices(pixels, None, info.preprocessing)
            first = number  # of the meter's slices

            def on_batch(group: SliceBatch) -> None:
                probabilities = (group.logits / temperature).softmax(1)
                meter.add(probabilities, first, group.first, group.height)  # noqa: B023  (called at once)

            try:
                labels = predictor.predict_slices(pixels, None, identity.voting, on_batch)
            except CaseUNetError as error:
                raise error.with_message(f"{item.path}: frame {number}: {error}") from error
            apply_postprocessing(labels, predictor.postprocessing, info.label_map, None)
            raster_file.write_ids(masks / f"frame_{number:06d}.png", labels[0], info.label_map.colors)
            film.write(overlaid(frame, labels[0], info.label_map.colors))
            timeline.add(labels[0])
            if number % every == 0 and len(looked) < LOOKED_AT:
                looked.append(Slices(pixels, placement, 1)[0])
            advance(1 / max(1, facts.frames))
    quality = None
    if info.quality:
        features = image_features(looked, info.preprocessing, case_statistics(looked), None)
        quality = judge_case(info.quality, features, meter.result())
    return PredictedCase(
        **shared_entries(work, item, target, identity),
        slices=number + 1,
        seconds=round(time.monotonic() - began, 3),
        others={"overlay": overlay.relative_to(work.folder).as_posix()},
        quality=quality,
        measurements=tuple({"case": item.id} | row for row in timeline.rows()),
        remarks=tuple(filter(None, [placement.remark])),
    )


def _write_probabilities(
    accumulator: ProbabilityAccumulator, item: Input, geometry: Geometry, work: PredictionContext, written: list[Path]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """A file for each class, and remarks: NIfTI of 0 to 1 for volumes, for others grey PNG or TIFF of 0 to 65,535."""
    others: dict[str, str] = {}
    remarks: list[str] = []
    for number, values in accumulator.each():
        name = work.predictor.info.label_map.names[number]
        plain = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)
        stem = f"-probability-{number}-{plain}"
        path = path_beside(work.folder / item.id, item, stem + _probability_suffix(geometry))
        written.append(path)
        if len(geometry.shape) == 3 and geometry.affine is None:
            tiff_stack.write_stack_probabilities(path, values)
        elif geometry.affine is None:
            raster.write_raster_probabilities(path, values[0])
        else:
            nifti.write_nifti_probabilities(path, values, geometry)
        others[f"probability of {name}"] = path.relative_to(work.folder).as_posix()
        if work.outputs.dicom_seg and item.is_dicom and geometry.affine is not None:
            path = path_beside(work.folder / item.id, item, f"{stem}.seg.dcm")
            segment, algorithm = (name, work.predictor.info.label_map.colors[number]), _algorithm(work.predictor.info)
            try:
                write_fractional(path, values / np.float32(nifti.WHOLE), geometry, item.files, segment, algorithm)
            except CaseUNetError as error:
                remarks.append(f"its mask is written, but {item.explain(str(error).removeprefix(f'{path}: '))}")
            else:
                written.append(path)
                others[f"probability of {name} as DICOM"] = path.relative_to(work.folder).as_posix()
    return others, tuple(remarks)


def _probability_suffix(geometry: Geometry) -> str:
    if geometry.affine is not None:
        return ".nii.gz"
    return ".png" if len(geometry.shape) == 2 else ".tif"
