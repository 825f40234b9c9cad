"""DICOM: series of slices as volumes, and segmentation objects, through pydicom and highdicom."""

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import UserError
from caseunet.io.geometry import to_canonical, volume_geometry
from caseunet.io.limits import check_declared_size
from caseunet.io.values import as_integers
from caseunet.types import Geometry, Mask, Picture

SUFFIXES = (".dcm", ".ima", ".dicom")

GRID_TOLERANCE = 0.01
"""Of a voxel, by which a segmentation's grid may differ from its image's: what writers round."""

ORIENTATION_TOLERANCE = 1e-4
"""By which the direction cosines of slices may differ: what writers round."""

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
"""Its pixels have no rescale, but a real-world value map."""

MOST_DEFLATED = 100
"""Times the size of a deflated file that it may be when it is unpacked, which is done at once."""

HARMLESS = 2**24
"""Bytes up to which that does not matter: air compresses well."""

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

REVERSED = [2, 1, 0, 3]
"""Columns of an affine whose array has its axes the other way round: highdicom's are (slices, rows, columns)."""

_TAGS = [
    *("SeriesInstanceUID", "SOPInstanceUID", "Modality", "PatientID", "SeriesNumber", "SeriesDescription"),
    *("ReferencedSeriesSequence", "SegmentSequence", "ImageType", "Rows"),
]


@dataclass(frozen=True)
class Header:
    """What tells how a DICOM file belongs to others.

    Attributes:
        path: the file.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        modality: "CT", "MR", "SEG" …
        patient: PatientID; may be empty.
        number: SeriesNumber; may be empty.
        localizer: whether it is a scout view.
        references: for a segmentation, the SeriesInstanceUIDs of the images that it is of.
        segments: for a segmentation, {number: label}.
    """

    path: Path
    series: str
    instance: str
    modality: str
    patient: str
    number: str
    localizer: bool
    references: tuple[str, ...]
    segments: Mapping[int, str]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name, or without a suffix by its first bytes."""
    if path.name.upper() == "DICOMDIR":  # the table of contents of an exported disc
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # names such as 1.2.840.113 have a number behind the last dot
        return False
    if not path.is_file():  # to open a pipe would wait for whoever fills it
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """Read what :class:`Header` lists.

    Raises:
        UserError: the file is no DICOM image.
    """
    with _explained(path, "cannot be read as DICOM"):
        d = _dataset(path, pixels=False, tags=_TAGS)
        references = tuple(str(item.SeriesInstanceUID) for item in d.get("ReferencedSeriesSequence", ()))
        segments = {int(s.SegmentNumber): _label(s) for s in d.get("SegmentSequence", ())}
        series, modality = str(d.get("SeriesInstanceUID", "")), str(d.get("Modality", ""))
        header = Header(
            path=path,
            series=series,
            instance=str(d.get("SOPInstanceUID", "")),
            modality=modality,
            patient=str(d.get("PatientID", "") or ""),
            number=str(d.get("SeriesNumber", "") or ""),
            localizer="LOCALIZER" in [str(value).upper() for value in d.get("ImageType", None) or ()],
            references=references,
            segments=segments,
        )
    if not series or not modality or "Rows" not in d:
        raise UserError(f"{path}: cannot be read as DICOM: it has no series, modality or size, or is cut short.")
    return header


def read_geometry(paths: Sequence[Path]) -> Geometry:
    """Of a series, from its headers: shape (columns, rows, slices), as NIfTI and NRRD files of it have.

    Raises:
        UserError: a file is damaged, or the slices are no regular stack.
    """
    import highdicom

    with _explained(paths[0], "the slices of its series make no volume"):
        headers = [_dataset(path, pixels=False) for path in paths]
        if _multi_frame(headers):
            found = highdicom.Image.from_dataset(_dataset(paths[0]), copy=False).get_volume_geometry()
            if found is None:
                raise ValueError("its frames are no regular stack")
            return _geometry(found, paths[0])
        spacing, order = _stack(headers)
        first = headers[order.index(0)]
        stack = highdicom.VolumeGeometry.from_attributes(
            image_position=first.ImagePositionPatient,
            image_orientation=first.ImageOrientationPatient,
            rows=int(first.Rows),
            columns=int(first.Columns),
            pixel_spacing=first.PixelSpacing,
            spacing_between_slices=spacing,
            number_of_frames=len(headers),
            coordinate_system="PATIENT",
        )
        return _geometry(stack, paths[0])


def read_series(paths: Sequence[Path]) -> Picture:
    """A series as a volume in canonical order, (S, 1, H, W), sorted by position, rescaled (HU for CT).

    Args:
        paths: one file for each slice, or one with all frames.

    Raises:
        UserError: a file is damaged or compressed in an unknown way, or the slices are no regular stack.
    """
    import highdicom

    datasets = []
    for path in paths:
        with _explained(path, "cannot be read as DICOM"):
            dataset = _dataset(path)
            _check_pixels(path, dataset)
            datasets.append(dataset)
    with _explained(paths[0], "the slices of its series make no volume"):
        if _multi_frame(datasets):
            volume = highdicom.Image.from_dataset(datasets[0], copy=False).get_volume(
                dtype=np.float32,
                apply_presentation_lut=False,
                apply_real_world_transform=None if datasets[0].SOPClassUID == PARAMETRIC_MAP else False,
            )
        else:
            _stack(datasets)
            volume = highdicom.get_volume_from_series(
                datasets,
                dtype=np.float32,
                orientation_tol=ORIENTATION_TOLERANCE,
                apply_presentation_lut=False,  # that is for screens: it would invert MONOCHROME1
                apply_real_world_transform=False,  # into units other than those of the rescale
            )
        if volume.array.ndim != 3:
            raise ValueError(f"expected grey images, found pixels of shape {volume.array.shape}")
        geometry = _geometry(volume, paths[0])
    return Picture(to_canonical(as_integers(volume.array, paths[0])[::-1].T, geometry)[:, None], geometry)


def read_segmentation(paths: Sequence[Path], ids: Mapping[str, int], image: Geometry) -> Mask:
    """Segmentation objects on the grid of their image, in canonical order.

    Args:
        paths: one object, or several that each hold some of the segments.
        ids: {label of a segment: value to give it}.
        image: the geometry of the image.

    Raises:
        UserError: an object is damaged, its segments overlap, or they lie outside the image or on another grid.
    """
    import highdicom

    affine, shape = _TO_RAS @ np.asarray(image.affine)[:, REVERSED], image.shape[::-1]
    grid = highdicom.VolumeGeometry(affine, shape, coordinate_system="PATIENT")
    codes = np.zeros(shape, np.uint8)
    for path in paths:
        numbers = read_header(path).segments
        with _explained(path, "its segments cannot be laid on its image"):
            dataset = _dataset(path)
            _state_spacing(dataset, float(np.linalg.norm(grid.affine[:3, 0])))
            segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
            volume = segmentation.get_volume(combine_segments=True, dtype=np.uint8)
            placed = volume.match_geometry(grid, tol=GRID_TOLERANCE).array
            if np.count_nonzero(placed) != np.count_nonzero(volume.array):
                raise ValueError("some of their pixels lie outside it")
        table = np.zeros(256, np.uint8)
        for number, label in numbers.items():
            if label not in ids:
                raise UserError(f'{path}: its segment "{label}" is no class; the classes are {", ".join(ids)}.')
            table[number] = ids[label]
        if np.any((placed > 0) & (codes > 0)):
            raise UserError(f"{path}: its segments overlap those of {paths[0]}. Each voxel can have one class.")
        codes = np.maximum(codes, table[placed])
    return Mask(to_canonical(codes.T, image), image, stored="segmentation")


def read_segmentation_geometry(paths: Sequence[Path]) -> Geometry:
    """The smallest grid that holds the frames of segmentation objects; slices without a segment may lie beyond it.

    Raises:
        UserError: an object is damaged, or they lie on different grids.
    """
    import highdicom

    grids = []
    for path in paths:
        with _explained(path, "its segments make no volume"):
            grid = highdicom.seg.Segmentation.from_dataset(_dataset(path), copy=False).get_volume_geometry(
                allow_missing_positions=True
            )
            if grid is None:
                raise ValueError("its frames are no regular stack")
            grids.append(grid)
    first = grids[0]
    lower, upper = np.zeros(3), np.array(first.spatial_shape)
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        start = (np.linalg.inv(first.affine) @ grid.affine[:, 3])[:3]
        if (
            np.abs(start - np.rint(start)).max() > GRID_TOLERANCE
            or not np.allclose(first.affine[:3, :3], grid.affine[:3, :3], rtol=0, atol=GRID_TOLERANCE)
            or grid.spatial_shape[1:] != first.spatial_shape[1:]
        ):
            raise UserError(f"{path}: is not on the grid of {paths[0]}.")
        lower = np.minimum(lower, np.rint(start))
        upper = np.maximum(upper, np.rint(start) + grid.spatial_shape)
    affine = np.array(first.affine)
    affine[:, 3] = affine @ (*lower, 1)
    shape = tuple(int(n) for n in upper - lower)
    return _geometry(highdicom.VolumeGeometry(affine, shape, coordinate_system="PATIENT"), paths[0])


def _geometry(volume: Any, path: Path) -> Geometry:
    """Of a volume or volume geometry of highdicom, (slices, rows, columns), as ITK and converters to NIfTI have it: the
    axes the other way round, and the slices too, so that the three are right-handed again."""
    affine = np.array(volume.affine)
    affine[:3, 3] += (volume.spatial_shape[0] - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    return volume_geometry(tuple(volume.spatial_shape)[::-1], _TO_RAS @ affine[:, REVERSED], str(path))


def _stack(datasets: Sequence[Any]) -> tuple[float, list[int]]:
    """Distance of the slices, and the place of each in the volume.

    Raises:
        ValueError: they are no regular stack.
    """
    import highdicom

    if len(datasets) == 1:  # nothing to measure the distance by
        spacing = float(datasets[0].get("SpacingBetweenSlices") or datasets[0].get("SliceThickness") or 1)
        if not spacing > 0:  # NaN is not
            raise ValueError(f"the slice is {spacing:g} mm thick")
        datasets[0].SpacingBetweenSlices = spacing  # where highdicom looks for it
        return spacing, [0]
    spacing, order = highdicom.spatial.get_series_volume_positions(datasets, orientation_tol=ORIENTATION_TOLERANCE)
    if spacing is None or order is None:
        raise ValueError(
            "they are not parallel at equal distances: one is missing or there twice, has another orientation, or the "
            "gantry was tilted"
        )
    return float(spacing), order


def _state_spacing(segmentation: Any, spacing: float) -> None:
    """Write the image's distance of slices into a segmentation that does not know it: one that leaves it out, so that
    gaps between its slices would be a guess, or has one slice only."""
    shared = segmentation.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    frames = segmentation.get("PerFrameFunctionalGroupsSequence", ())
    positions = {str(f.PlanePositionSequence[0].ImagePositionPatient) for f in frames if "PlanePositionSequence" in f}
    if measures and ("SpacingBetweenSlices" not in measures[0] or len(positions) == 1):
        measures[0].SpacingBetweenSlices = spacing


@contextmanager
def _explained(path: Path, problem: str) -> Iterator[None]:
    """Turn what the DICOM libraries raise for bad bytes, of many kinds, into one message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on values that no step here uses
            yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: {problem}: its pixels do not fit into memory.") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, AttributeError) and str(error.name)[:1].isupper():  # an element, by its keyword
            text = f"it has no {error.name}"
        raise UserError(f"{path}: {problem}: {text.removesuffix('.')}.") from error


def _dataset(path: Path, pixels: bool = True, tags: list[str] | None = None) -> Any:
    """What a file holds, with or without its pixels, all or some elements.

    Raises:
        ValueError: it is no file, or deflated and a bomb.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever fills it
        raise ValueError("it is no file")
    try:
        meta = read_file_meta_info(path)
    except InvalidDicomError as error:
        raise ValueError("it does not begin as DICOM files do") from error
    if meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
        if "FileMetaInformationGroupLength" not in meta:
            raise ValueError("it is deflated, and does not say from where on")
        _check_deflated(path, 144 + int(meta.FileMetaInformationGroupLength))
    return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags)


def _check_deflated(path: Path, start: int) -> None:
    """Unpack in pieces what pydicom unpacks at once.

    Raises:
        ValueError: it is far larger than the file.
    """
    most = HARMLESS + MOST_DEFLATED * path.stat().st_size
    unpacker, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as stream:
        stream.seek(start)
        while block := unpacker.unconsumed_tail or stream.read(2**20):
            length += len(unpacker.decompress(block, 2**20))
            if length > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes, {MOST_DEFLATED} times its own size")


def _check_pixels(path: Path, dataset: Any) -> None:
    """Look whether the pixels are there and can be decoded, before memory is taken for what the header claims.

    Raises:
        ValueError: they are not.
        UserError: coded pixels are far fewer bytes than the pixels that are declared.
    """
    if "PixelData" not in dataset:
        raise ValueError("it holds no pixels")
    if ("RescaleSlope" in dataset) != ("RescaleIntercept" in dataset):
        raise ValueError("of its rescale, only the slope or the intercept is there")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    samples = int(dataset.get("SamplesPerPixel", 1))
    declared = frames * samples * int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        check_declared_size(path, declared, compressed=True)
    elif len(dataset.PixelData) < declared:
        raise ValueError(f"{declared:,} bytes of pixels are declared, {len(dataset.PixelData):,} are there")


def _multi_frame(datasets: Sequence[Any]) -> bool:
    return len(datasets) == 1 and int(datasets[0].get("NumberOfFrames", 1) or 1) > 1


def _label(segment: Any) -> str:
    label = str(segment.get("SegmentLabel", "") or "")
    coded = segment.get("SegmentedPropertyTypeCodeSequence", None)
    return label or (str(coded[0].CodeMeaning) if coded else f"segment {segment.SegmentNumber}")
