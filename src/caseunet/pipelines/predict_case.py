"""One image or video → its mask, and what goes with it."""

import shutil
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from caseunet.bundle import Quality
from caseunet.config import PredictionOutputs
from caseunet.data.grid import place
from caseunet.data.transforms import case_standard
from caseunet.errors import UserError
from caseunet.files import content_hash, written_whole
from caseunet.inference.cleaning import clean
from caseunet.inference.confidence import ConfidenceMeter
from caseunet.inference.fingerprint import LOOKED_AT, image_features
from caseunet.inference.measurements import Timeline, measure_volume, to_rows
from caseunet.inference.overlay import case_sheet, overlaid
from caseunet.inference.predictor import Group, Predictor, match_range, read_picture
from caseunet.inference.quality import CaseQuality, judge
from caseunet.inference.shares import Shares
from caseunet.inference.slices import Slices
from caseunet.io import images, nifti, raster, video
from caseunet.io.dicom_seg import Algorithm, write_segmentation
from caseunet.io.geometry import voxel_steps
from caseunet.pipelines.inputs import Input
from caseunet.pipelines.predictions import PredictedCase
from caseunet.types import Geometry, Picture


@dataclass(frozen=True)
class Work:
    """With what cases are segmented, and where to."""

    predictor: Predictor
    folder: Path
    outputs: PredictionOutputs
    out_of_fold: bool


@dataclass(frozen=True)
class _Identity:
    """Hash of an image's files, whether training saw it, and the networks that may segment it (None: all)."""

    image_hash: str
    in_training: bool
    voting: list[int] | None


def predict_case(work: Work, item: Input, advance: Callable[[float], None]) -> PredictedCase:
    """Segment one image or video and write its files; on failure none of them is left.

    Args:
        work: with what.
        item: the image.
        advance: told the share of the case that was done since the last time.

    Raises:
        UserError: it cannot be read or segmented; names the file.
    """
    if item.error:
        raise UserError(item.error)
    target = work.folder / (item.id + ("" if item.is_video else item.suffix))
    if not target.resolve().is_relative_to(work.folder.resolve()):
        raise UserError(f'{item.path}: its name "{item.id}" would be written outside the output folder.')
    written: list[Path] = []
    try:
        if item.is_video:
            return _predict_video(work, item, target, written, advance)
        return _predict_image(work, item, target, written, advance)
    except BaseException as error:
        for path in written:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if isinstance(error, UserError):
            raise UserError(item.told(str(error))) from error
        raise


def _predict_image(
    work: Work, item: Input, target: Path, written: list[Path], advance: Callable[[float], None]
) -> PredictedCase:
    predictor, info = work.predictor, work.predictor.info
    began = time.monotonic()
    identity = _identity(work, item)
    picture = match_range(item.path, item.read(info.preprocessing, read_picture), info.preprocessing)
    item.check_spacing(picture.geometry.spacing, info.preprocessing)
    pixels, geometry = picture.pixels, picture.geometry
    S, H, W = len(pixels), *pixels.shape[-2:]
    temperature = info.quality.temperature if info.quality else 1.0
    meter = ConfidenceMeter(info.label_map, S)
    shares = Shares((S, H, W), len(info.label_map), temperature) if work.outputs.probabilities else None

    def look(group: Group) -> None:
        if info.quality:
            meter.add((group.logits / temperature).softmax(1), group.slices.start)
        if shares:
            shares.add(group)
        advance(len(group.slices) / S)

    with closing(shares) if shares else nullcontext():
        case = predictor.cut(pixels, geometry.spacing)
        labels = predictor.label(case, None, identity.voting, look)
        if info.quality and predictor.settings.clean:
            clean(labels, info.quality.cleaning, info.label_map, voxel_steps(geometry))
        others = _write_shares(shares, item, geometry, work, written) if shares else {}
    written.append(target)
    images.write_labels(target, labels, geometry, info.label_map.colors, item.files[0])
    if work.outputs.dicom_seg and item.is_dicom:
        path = _beside(target, item, ".seg.dcm")
        written.append(path)
        algorithm = Algorithm(info.architecture.name, version("caseunet"), info.weights_hash)
        write_segmentation(path, labels, geometry, item.files, info.label_map, algorithm)
        others["dicom_seg"] = path.relative_to(work.folder).as_posix()
    measured = measure_volume(labels, voxel_steps(geometry), info.label_map) if work.outputs.measurements else []
    if work.outputs.overlay:
        path = _beside(target, item, "-overlay.png")
        written.append(path)
        window, plane = _window(predictor), geometry.plane
        sheet = case_sheet(pixels, labels, info.label_map, window, geometry.spacing, item.id, plane)
        raster.write_image(path, sheet)
        others["overlay"] = path.relative_to(work.folder).as_posix()
    return PredictedCase(
        id=item.id,
        image=str(item.path),
        image_hash=identity.image_hash,
        in_training=identity.in_training,
        file=target.relative_to(work.folder).as_posix(),
        slices=S,
        seconds=round(time.monotonic() - began, 3),
        others=others,
        quality=_judged(predictor, picture, meter, info.quality) if info.quality else None,
        measurements=tuple(to_rows(item.id, measured)),
        remarks=(*geometry.remarks, *filter(None, [case.placement.remark])),
    )


def _predict_video(
    work: Work, item: Input, target: Path, written: list[Path], advance: Callable[[float], None]
) -> PredictedCase:
    """Frame after frame: their masks in a folder, and the video with its overlay."""
    predictor, info = work.predictor, work.predictor.info
    if info.preprocessing.modality != "rgb":
        raise UserError(
            f"{item.path}: a video; this model was trained on {info.preprocessing.modality} images, not colour ones."
        )
    began = time.monotonic()
    identity = _identity(work, item)
    facts = video.read_facts(item.path)
    overlay = _beside(target, item, "-overlay.mp4")
    timeline = Timeline(info.label_map, facts.rate)
    meter = ConfidenceMeter(info.label_map, max(1, facts.frames))
    temperature = info.quality.temperature if info.quality else 1.0
    every = max(1, facts.frames // LOOKED_AT)
    looked: list[np.ndarray] = []
    written += [target, overlay]
    with (
        written_whole(target) as masks,
        video.written_video(overlay, facts.rate, facts.height, facts.width) as film,
    ):
        masks.mkdir(parents=True)
        number = -1
        for number, frame in enumerate(video.read_frames(item.path)):
            pixels = frame.transpose(2, 0, 1)[None]
            first = number  # of the meter's slices

            def look(group: Group) -> None:
                meter.add((group.logits / temperature).softmax(1), first)  # noqa: B023  (called at once)

            try:
                labels = predictor.predict_slices(pixels, None, identity.voting, look)
            except UserError as error:
                raise UserError(f"{item.path}: frame {number}: {error}") from error
            if info.quality and predictor.settings.clean:
                clean(labels, info.quality.cleaning, info.label_map, None)
            raster.write_ids(masks / f"frame_{number:06d}.png", labels[0], info.label_map.colors)
            film.write(overlaid(frame, labels[0], info.label_map.colors))
            timeline.add(labels[0])
            if number % every == 0 and len(looked) < LOOKED_AT:
                looked.append(Slices(pixels, place(pixels, None, info.preprocessing), 1)[0])
            advance(1 / max(1, facts.frames))
    quality = None
    if info.quality:
        features = image_features(looked, info.preprocessing, case_standard(looked), None)
        quality = judge(info.quality, features, meter.result())
    return PredictedCase(
        id=item.id,
        image=str(item.path),
        image_hash=identity.image_hash,
        in_training=identity.in_training,
        file=target.relative_to(work.folder).as_posix(),
        slices=number + 1,
        seconds=round(time.monotonic() - began, 3),
        others={"overlay": overlay.relative_to(work.folder).as_posix()},
        quality=quality,
        measurements=tuple({"case": item.id} | row for row in timeline.rows()),
    )


def _identity(work: Work, item: Input) -> _Identity:
    """Whether training saw an image, and who may segment it.

    Raises:
        UserError: nobody may.
    """
    try:
        image_hash = content_hash(*item.files)
    except OSError as error:
        raise UserError(f"{item.path}: cannot be read: {error.strerror}.") from error
    knowing = [image_hash in data.image_hashes for data in work.predictor.training_data]
    voting = [n for n, knows in enumerate(knowing) if not (work.out_of_fold and knows)]
    if not voting:
        raise UserError(f"{item.path}: every network of {work.predictor.folder} was trained on it.")
    return _Identity(image_hash, any(knowing[n] for n in voting), voting if len(voting) < len(knowing) else None)


def _write_shares(shares: Shares, item: Input, geometry: Geometry, work: Work, written: list[Path]) -> dict[str, str]:
    """A file for each class: NIfTI of 0 to 1 for volumes, grey PNG of 0 to 65,535 for images."""
    others = {}
    for number, values in shares.each():
        name = work.predictor.info.label_map.names[number]
        plain = "".join(character if character.isalnum() or character in "-_" else "_" for character in name)
        stem = f"-probability-{number}-{plain}"
        path = _beside(work.folder / item.id, item, stem + (".png" if geometry.affine is None else ".nii.gz"))
        written.append(path)
        if geometry.affine is None:
            raster.write_shares(path, values[0])
        else:
            nifti.write_shares(path, values, geometry)
        others[f"probability of {name}"] = path.relative_to(work.folder).as_posix()
    return others


def _judged(predictor: Predictor, picture: Picture, meter: ConfidenceMeter, quality: Quality) -> CaseQuality:
    """What to think of the masks of an image."""
    preprocessing, spacing = predictor.info.preprocessing, picture.geometry.spacing
    slices = Slices(picture.pixels, place(picture.pixels, spacing, preprocessing), 2)
    standard = case_standard(slices)
    return judge(quality, image_features(slices, preprocessing, standard, spacing), meter.result())


def _beside(target: Path, item: Input, ending: str) -> Path:
    """A path beside the mask, called by the image with another ending."""
    return target.parent / (Path(item.id).name + ending)


def _window(predictor: Predictor) -> tuple[float, float] | None:
    """In which a person looks at the images."""
    preprocessing = predictor.info.preprocessing
    return preprocessing.clip or ((0.0, 255.0) if preprocessing.modality == "rgb" else None)
