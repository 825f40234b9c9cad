"""Segmentation objects and contours on the grid of their image; expected voxels are by hand or by matplotlib."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from caseunet.datasets.generate.series import segmentation, series
from caseunet.errors import CaseUNetError
from caseunet.io import dicom, dicom_contours
from caseunet.types import Geometry

COLUMNS, ROWS, SLICES = 9, 7, 4
AFFINE = np.array([[-0.7, 0, 0, 20], [0, -0.8, 0, 10], [0, 0, 2.5, -400], [0, 0, 0, 1.0]])
GEOMETRY = Geometry(shape=(COLUMNS, ROWS, SLICES), affine=AFFINE, spacing=(2.5, 0.8, 0.7))
IDS = {"body": 1, "liver": 2, "tumour": 3}


def slices_of() -> list[Any]:
    return series(np.zeros((COLUMNS, ROWS, SLICES), np.int16), AFFINE, patient="P1", entropy="masks")


def box(columns: slice, rows: slice, slices: slice) -> np.ndarray:
    """(columns, rows, slices), True within."""
    inside = np.zeros((COLUMNS, ROWS, SLICES), bool)
    inside[columns, rows, slices] = True
    return inside


BODY = box(slice(0, 9), slice(0, 7), slice(0, 4))
LIVER = box(slice(2, 8), slice(1, 6), slice(1, 3))
TUMOUR = box(slice(3, 5), slice(2, 4), slice(1, 2))


def put(folder: Path, values: np.ndarray, names: Sequence[str], kind: str, **options: Any) -> Path:
    """A segmentation of a kind, from a label map (columns, rows, slices) or a layer for each segment at the end."""
    category, code = pydicom.sr.codedict.codes.SCT.Organ, pydicom.sr.codedict.codes.SCT.Liver
    described = [
        highdicom.seg.SegmentDescription(n, name, category, code, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n, name in enumerate(names, start=1)
    ]
    axes = (2, 1, 0, 3) if values.ndim == 4 else (2, 1, 0)
    made = highdicom.seg.Segmentation(
        source_images=slices_of(),
        pixel_array=np.ascontiguousarray(values.transpose(axes)),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="caseunet",
        manufacturer_model_name="made-up",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    path = folder / f"{'-'.join(names)}.dcm"
    made.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_every_kind_of_segmentation_is_read(kind: str, tmp_path: Path) -> None:
    labels = np.where(TUMOUR, 2, np.where(LIVER, 1, 0)).astype(np.uint8)
    values = np.stack([labels == 1, labels == 2], -1).astype(float) if kind == "FRACTIONAL" else labels
    path = put(tmp_path, values, ["liver", "tumour"], kind)
    header = dicom.read_header(path)
    assert (header.kind, dict(header.segments)) == ("segmentation", {1: "liver", 2: "tumour"})
    mask = dicom.read_dicom_segmentation([path], IDS, GEOMETRY)
    np.testing.assert_array_equal(mask.label_values, np.array([0, 2, 3])[labels.T])
    assert bool(mask.geometry.remarks) == (kind == "FRACTIONAL")


def test_half_of_a_fractional_segment_counts(tmp_path: Path) -> None:
    """0.498 and 0.502 of 255 are 127 and 128; half is 127.5."""
    shares = np.zeros((COLUMNS, ROWS, SLICES, 1))
    shares[2, 3, 1], shares[2, 3, 2], shares[4, 4, 1] = 127 / 255, 128 / 255, 1
    path = put(tmp_path, shares, ["liver"], "FRACTIONAL", fractional_type="PROBABILITY")
    mask = dicom.read_dicom_segmentation([path], IDS, GEOMETRY)
    assert sorted(map(tuple, np.argwhere(mask.label_values))) == [(1, 4, 4), (2, 3, 2)]
    assert mask.geometry.remarks == ("its segments are FRACTIONAL (PROBABILITY): voxels of 50% or more count",)


@pytest.mark.parametrize("together", [True, False], ids=["one file", "files"])
def test_of_nested_segments_the_inner_one_counts(together: bool, tmp_path: Path) -> None:
    layers = {"tumour": TUMOUR, "body": BODY, "liver": LIVER}
    if together:
        values = np.stack(list(layers.values()), -1).astype(np.uint8)
        paths = [put(tmp_path, values, list(layers), "BINARY")]
    else:
        paths = [put(tmp_path, layer.astype(np.uint8), [name], "BINARY") for name, layer in layers.items()]
    mask = dicom.read_dicom_segmentation(paths, IDS, GEOMETRY)
    np.testing.assert_array_equal(mask.label_values, np.where(TUMOUR, 3, np.where(LIVER, 2, 1)).T)
    assert mask.geometry.remarks == (
        '"liver" lies within "body": there the inner one counts',
        '"tumour" lies within "liver": there the inner one counts',
    )


@pytest.mark.parametrize(
    ("other", "shared"),
    [(box(slice(7, 9), slice(1, 3), slice(1, 2)), 2), (LIVER, LIVER.sum())],
    ids=["across", "the same"],
)
def test_segments_that_overlap_otherwise_are_named(other: np.ndarray, shared: int, tmp_path: Path) -> None:
    values = np.stack([LIVER, other], -1).astype(np.uint8)
    path = put(tmp_path, values, ["liver", "tumour"], "BINARY")
    with pytest.raises(CaseUNetError, match=rf'"tumour" and "liver" overlap on {shared} voxels'):
        dicom.read_dicom_segmentation([path], IDS, GEOMETRY)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0)], ids=["same", "transposed", "across"])
@pytest.mark.parametrize("flip", [False, True], ids=["", "flipped"])
def test_a_segmentation_in_other_axes_lies_right(axes: tuple[int, int, int], flip: bool) -> None:
    """The image's axes run otherwise than those of its segmentation; the voxels are the same."""
    labels = (LIVER * 2).astype(np.uint8)
    turned, affine = labels.transpose(axes), AFFINE[:, [*axes, 3]].copy()
    if flip:
        turned = turned[::-1]
        affine[:, 3] += (len(turned) - 1) * affine[:, 0]
        affine[:, 0] *= -1
    made = segmentation(slices_of(), LIVER.astype(np.uint8), ["liver"])
    found = _read(made, Geometry(shape=turned.shape, affine=affine, spacing=(1, 1, 1)))
    here = _read(made, GEOMETRY)
    assert np.count_nonzero(here) == np.count_nonzero(labels)
    np.testing.assert_array_equal(found, here)  # canonical order is one, however the file's axes run


def _read(made: Any, geometry: Geometry) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        made.save_as(Path(folder) / "seg.dcm")
        return dicom.read_dicom_segmentation([Path(folder) / "seg.dcm"], IDS, geometry).label_values


def test_rounded_slices_hold_their_segments(tmp_path: Path) -> None:
    """A segmentation repeats the rounded positions of its slices, off the even grid by up to a tenth."""
    path = put(tmp_path, LIVER.astype(np.uint8), ["liver"], "BINARY")
    dataset = pydicom.dcmread(path)
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + (0.24 if n else -0.24)]
    dataset.save_as(path)
    np.testing.assert_array_equal(dicom.read_dicom_segmentation([path], IDS, GEOMETRY).label_values, 2 * LIVER.T)
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient[2] += 1
    dataset.save_as(path)
    with pytest.raises(CaseUNetError, match=r"its frame 1 at .* lies 0.\d+ voxels beside the grid of its image"):
        dicom.read_dicom_segmentation([path], IDS, GEOMETRY)


def structure_set(contours: dict[str, list[list[tuple[float, float, float]]]], kind: str = "CLOSED_PLANAR") -> Any:
    """An RTSTRUCT; points are (column, row, slice) of the image, and may lie between its pixels."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID, d.SOPClassUID = ExplicitVRLittleEndian, RTStructureSetStorage
    d.SOPInstanceUID, d.Modality, d.SeriesInstanceUID = generate_uid(), "RTSTRUCT", generate_uid()
    d.StructureSetROISequence, d.ROIContourSequence = [], []
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    for number, (name, outlines) in enumerate(contours.items(), start=1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        item.ReferencedROINumber, item.ContourSequence = number, []
        for outline in outlines:
            contour = Dataset()
            points = np.column_stack([outline, np.ones(len(outline))]) @ to_lps.T
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(outline)
            contour.ContourData = [f"{value:.8g}" for value in points[:, :3].ravel()]
            item.ContourSequence.append(contour)
        d.StructureSetROISequence.append(roi)
        d.ROIContourSequence.append(item)
    return d


def read_contours(folder: Path, made: Any) -> Any:
    made.save_as(folder / "rs.dcm", enforce_file_format=True)
    return dicom.read_contours([folder / "rs.dcm"], IDS, GEOMETRY)


def square(low: float, high: float, k: float) -> list[tuple[float, float, float]]:
    return [(low, low, k), (high, low, k), (high, high, k), (low, high, k)]


def test_contours_cover_the_centres_within(tmp_path: Path) -> None:
    """A square from 0.6 to 4.4 holds the centres 1 to 4; an inner one from 1.5 to 3.5 is a hole of 2 and 3."""
    mask = read_contours(tmp_path, structure_set({"liver": [square(0.6, 4.4, 1), square(1.5, 3.5, 1)]}))
    expected = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    expected[1, 1:5, 1:5] = 2
    expected[1, 2:4, 2:4] = 0
    np.testing.assert_array_equal(mask.label_values, expected)
    assert mask.geometry.remarks == ()
    header = dicom.read_header(tmp_path / "rs.dcm")
    assert (header.kind, dict(header.segments)) == ("contours", {1: "liver"})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-2, 10), st.floats(-2, 8)), min_size=3, max_size=3))
def test_a_triangle_is_filled_as_by_matplotlib(corners: list[tuple[float, float]]) -> None:
    """Also beyond the image. Centres on an edge may fall to either side."""
    found = np.zeros(ROWS * COLUMNS, bool)
    found[dicom_contours._inside([np.array(corners)], COLUMNS, ROWS)] = True
    centres = np.stack(np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)), -1).reshape(-1, 2)
    closed = np.array([*corners, corners[0]])
    inside = Outline(closed, closed=True).contains_points(centres)
    far = np.array([_distance(closed, centre) > 1e-6 for centre in centres])
    np.testing.assert_array_equal(found[far], inside[far])


def _distance(closed: np.ndarray, point: np.ndarray) -> float:
    """Of a point from an outline."""
    nearest = np.inf
    for a, b in itertools.pairwise(closed):
        along = np.clip(np.dot(point - a, b - a) / max(float(np.dot(b - a, b - a)), 1e-30), 0, 1)
        nearest = min(nearest, float(np.linalg.norm(a + along * (b - a) - point)))
    return nearest


def test_structures_within_others_are_inner_class(tmp_path: Path) -> None:
    mask = read_contours(tmp_path, structure_set({"tumour": [square(1.5, 3.5, 1)], "body": [square(-0.4, 5.4, 1)]}))
    expected = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    expected[1, :6, :6] = 1
    expected[1, 2:4, 2:4] = 3
    np.testing.assert_array_equal(mask.label_values, expected)
    assert mask.geometry.remarks == ('"tumour" lies within "body": there the inner one counts',)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        (square(1, 4, 1.5), r'a contour of "liver" at .* lies 0.50 slices off the nearest one'),
        (square(1, 4, 4), r'a contour of "liver" at .* lies beyond the slices'),
        ([(1, 1, 0), (1, 5, 0), (1, 5, 3), (1, 1, 3)], r'a contour of "liver" at .* slices off the nearest one'),
    ],
    ids=["between", "beyond", "another plane"],
)
def test_contours_off_the_slices_are_refused(outline: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=message):
        read_contours(tmp_path, structure_set({"liver": [outline]}))


@pytest.mark.parametrize(
    ("boxes", "kind", "expected"),
    [
        ([(0, 4), (0, 4)], "CLOSED_PLANAR", 25),
        ([(0, 3), (2, 5)], "CLOSED_PLANAR", 16 + 16 - 4),
        ([(0, 3), (2, 5)], "CLOSEDPLANAR_XOR", 16 + 16 - 2 * 4),
        ([(0, 6), (1, 5), (1, 5), (2, 4)], "CLOSED_PLANAR", 49 - 25 + 9),
        ([(0, 1), (4, 5)], "CLOSED_PLANAR", 8),
        ([(0, 3), (2, 6), (2, 3)], "CLOSED_PLANAR", 16 + 25 - 4 - 4),
    ],
    ids=["twice", "overlap", "overlap by XOR", "island in a hole", "apart", "hole where two overlap"],
)
def test_contours_of_a_structure_are_joined(
    boxes: list[tuple[int, int]], kind: str, expected: int, tmp_path: Path
) -> None:
    """Squares from one centre to another, in pixels counted by hand."""
    outlines = [square(low - 0.4, high + 0.4, 1) for low, high in boxes]
    mask = read_contours(tmp_path, structure_set({"liver": outlines}, kind))
    assert np.count_nonzero(mask.label_values == 2) == np.count_nonzero(mask.label_values) == expected


def test_slices_without_a_contour_are_told(tmp_path: Path) -> None:
    mask = read_contours(tmp_path, structure_set({"liver": [square(0.6, 4.4, 0), square(0.6, 4.4, 3)]}))
    assert np.count_nonzero(mask.label_values, axis=(1, 2)).tolist() == [16, 0, 0, 16]
    assert mask.geometry.remarks == (
        '"liver" has no contour on 2 slices between the first and the last with one: it is empty there',
    )


def test_contours_that_enclose_nothing_are_told(tmp_path: Path) -> None:
    mask = read_contours(tmp_path, structure_set({"liver": [[(2, 2, 1)]]}, kind="POINT"))
    assert not mask.label_values.any()
    assert mask.geometry.remarks == ('1 contours of "liver" enclose nothing (POINT) and are left out',)


def test_contours_beyond_picture_are_cut_and_told(tmp_path: Path) -> None:
    mask = read_contours(tmp_path, structure_set({"body": [square(-3, 20, 2)]}))
    assert np.count_nonzero(mask.label_values) == np.count_nonzero(mask.label_values[2]) == ROWS * COLUMNS
    assert mask.geometry.remarks == ('1 contours of "body" reach beyond the image and are cut there',)
