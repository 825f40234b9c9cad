"""Where slices lie: hand-made planes with the answers worked out by hand."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from caseunet.io.dicom_mixtures import part_projections
from caseunet.io.dicom_planes import Plane, read_planes
from caseunet.io.dicom_stack import fit_stack
from caseunet.io.dicom_volumes import split_volumes

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(height: float, number: int = 1, folder: str = "s", **marks: str) -> Plane:
    return Plane(
        path=Path(folder) / f"{number}.dcm",
        frame=0,
        frames=1,
        number=number,
        position=(10.0, 20.0, height),
        directions=AXIAL,
        spacing=(0.8, 0.7),
        size=(5, 6),
        thickness=3.0,
        expected=0,
        marks=marks,
    )


def stack(heights: list[float]) -> list[Plane]:
    return [plane(height, n + 1) for n, height in enumerate(heights)]


def names(planes: list[Plane]) -> dict[str, list[int | None]]:
    return {part: [p.number for p in own] for part, own in split_volumes(planes)[0].items()}


def test_even_stack_has_the_affine_of_its_headers() -> None:
    found = fit_stack(stack([6, 0, 3]))
    expected = [[0.7, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(found.affine, expected, atol=1e-9)
    assert [p.number for p in found.planes] == [2, 3, 1]
    assert found.remarks == ()


@pytest.mark.parametrize(("distance", "digits"), [(1.25, 1), (0.625, 1), (0.7, 1), (2.5, 1), (0.3333, 2)])
def test_rounded_positions_are_an_even_stack(distance: float, digits: int) -> None:
    heights = [round(k * distance, digits) for k in range(16)]
    found = fit_stack(stack(heights))
    assert found.affine[2, 2] == pytest.approx(distance, rel=5e-3)
    off = np.abs(np.array(heights) - found.affine[2, 3] - found.affine[2, 2] * np.arange(16)).max()
    assert bool(found.remarks) == (off > 0.01 * distance)
    if found.remarks:
        assert f"lies {off:.3g} mm off an even stack of slices" in found.remarks[0]


@given(st.floats(0.3, 5), st.floats(-500, 500), st.lists(st.floats(-0.02, 0.02), min_size=4, max_size=40))
def test_the_fit_is_that_of_least_squares(distance: float, first: float, noise: list[float]) -> None:
    heights = [first + distance * (k + off) for k, off in enumerate(noise)]
    found = fit_stack(stack(heights))
    slope, intercept = np.linalg.lstsq(np.column_stack([np.arange(len(noise)), np.ones(len(noise))]), heights)[0]
    assert found.affine[2, 2] == pytest.approx(slope)
    assert found.affine[2, 3] == pytest.approx(intercept, abs=1e-6)


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        (
            [0, 3, 9, 12],
            r"between 2.dcm \(InstanceNumber 2\) and 3.dcm \(InstanceNumber 3\) a slice is missing: .*6 mm",
        ),
        ([0, 3, 12, 15], r"between 2.dcm .* and 3.dcm .* 2 slices are missing"),
        ([0, 3, 9, 12, 18, 21], r"between 2.dcm .* and 3.dcm .* missing, and at 1 more places"),
        ([0, 3, 3, 6], r"2.dcm .* and 3.dcm .* lie at one position \(10, 20, 3\) with different pixels"),
        ([0, 3, 6.9, 9, 12], r"uneven distances \(2.1 to 3.9 mm\): 3.dcm .* lies 0.\d+ mm off an even stack"),
    ],
    ids=["one", "two", "twice", "same place", "uneven"],
)
def test_what_is_no_stack_is_named(heights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_stack(stack(heights))


def other(**values: Any) -> Plane:
    return Plane(**{**vars(plane(6, 3)), **values})


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (other(size=(4, 6)), r"3.dcm .* has another Rows × Columns \(4, 6\) than most slices \(5, 6\)"),
        (other(spacing=(0.9, 0.7)), r"3.dcm .* has another PixelSpacing \(0.9, 0.7\)"),
        (other(directions=(0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), r"3.dcm .* has another ImageOrientationPatient"),
        (other(directions=(1.0, 0.005, 0.0, 0.0, 1.0, 0.0)), r"3.dcm .* has another ImageOrientationPatient"),
        (other(position=(11.0, 20.0, 6.0)), r"by ImagePositionPatient 3.dcm .* lies 1 mm beside the others"),
    ],
    ids=["size", "spacing", "direction", "small direction", "beside"],
)
def test_the_odd_slice_is_named(odd: Plane, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_stack([plane(0, 1), plane(3, 2), odd, plane(9, 4), plane(12, 5)])


def test_a_jump_is_no_tilted_gantry() -> None:
    def shifted(by: list[float]) -> list[Plane]:
        planes = enumerate(by)
        return [Plane(**{**vars(plane(3.0 * n, n)), "position": (10 + x, 20.0, 3.0 * n)}) for n, x in planes]

    with pytest.raises(ValueError, match=r"slices from 3.dcm .* on lie 10 mm beside those up to 2.dcm .*two series"):
        fit_stack(shifted([0, 0.01, 0, 10, 10, 10.01]))
    with pytest.raises(ValueError, match=r"slices from 5.dcm .* on lie 10 mm beside those up to 4.dcm"):
        fit_stack(shifted([0, 0, 0, 0, 0, 10]))
    with pytest.raises(ValueError, match=r"4.dcm .* lies .* mm beside the others"):
        fit_stack(shifted([0, 0, 0, 0, 10, 0]))
    with pytest.raises(ValueError, match=r"the gantry was tilted by 11.3 degrees"):
        fit_stack(shifted([0, 0.61, 1.2, 1.81, 2.4, 3.01]))


def test_headers_tell_that_an_end_is_missing() -> None:
    """An even stack does not show it."""
    counted = [Plane(**{**vars(p), "expected": 12}) for p in stack([0, 3, 6])]
    assert fit_stack(counted).remarks == (
        "ImagesInAcquisition is 12, 3 slices are here: some may be missing at its ends",
    )
    late = [plane(3.0 * n, n) for n in range(2, 8)]
    assert fit_stack(late).remarks == ("its InstanceNumbers begin at 2: slices before may be missing",)


def twice(mark: str, first: Any, second: Any) -> list[Plane]:
    """Three positions, each with a slice of the one volume and one of the other."""
    return [
        *(plane(3.0 * n, n + 1, **{mark: str(first(n) if callable(first) else first)}) for n in range(3)),
        *(plane(3.0 * n, n + 4, **{mark: str(second(n) if callable(second) else second)}) for n in range(3)),
    ]


@pytest.mark.parametrize(
    ("mark", "first", "second", "expected"),
    [
        ("TemporalPositionIdentifier", 1, 2, ["phase-1", "phase-2"]),
        ("AcquisitionNumber", 3, 12, ["acquisition-3", "acquisition-12"]),
        ("EchoNumbers", 1, 2, ["echo-1", "echo-2"]),
        ("EchoTime", 4.6, 92, ["echo-time-4.6", "echo-time-92"]),
        ("DiffusionBValue", 0, 1000, ["b-0", "b-1000"]),
        ("SiemensBValue", 0, 1000, ["b-0", "b-1000"]),
        ("NominalPercentageOfCardiacPhase", 40, 75, ["phase-40", "phase-75"]),
        ("ConvolutionKernel", "B30f", "B60f", ["kernel-b30f", "kernel-b60f"]),
        ("ImageType", r"ORIGINAL\PRIMARY\M\ND", r"ORIGINAL\PRIMARY\P\ND", ["type-m", "type-p"]),
        ("TriggerTime", lambda n: 10 + n, lambda n: 300 + n, ["phase-1", "phase-2"]),
        ("ContentTime", lambda n: 120000 + n, lambda n: 120100 + n, ["phase-1", "phase-2"]),
    ],
)
def test_volumes_of_a_series_are_told_apart(mark: str, first: Any, second: Any, expected: list[str]) -> None:
    planes = twice(mark, first, second)
    assert names(planes) == dict(zip(expected, [[1, 2, 3], [4, 5, 6]], strict=True))
    assert names(planes[::-1]) == dict(zip(expected, [[3, 2, 1], [6, 5, 4]], strict=True))
    assert split_volumes(planes)[1] == [mark]


def test_two_elements_tell_four_volumes_apart() -> None:
    planes = [
        plane(3.0 * n, 100 * echo + 10 * part + n, EchoNumbers=str(echo), ImageType="M" if part else "P")
        for echo in (1, 2)
        for part in (0, 1)
        for n in range(3)
    ]
    assert {part: len(own) for part, own in split_volumes(planes)[0].items()} == {
        "type-m/echo-1": 3,
        "type-m/echo-2": 3,
        "type-p/echo-1": 3,
        "type-p/echo-2": 3,
    }


def test_one_series_in_two_folders_is_two_volumes() -> None:
    """An anonymiser gave both the same SeriesInstanceUID."""
    planes = [plane(3.0 * n, n, folder) for folder in ("art", "ven") for n in range(3)]
    assert {part: len(own) for part, own in split_volumes(planes)[0].items()} == {"art": 3, "ven": 3}


@pytest.mark.parametrize("folders", [("a", "b"), ("a/ct", "b/ct")])
def test_numbers_that_begin_again_tell_folders(folders: tuple[str, str]) -> None:
    """Their heights follow each other as those of one stack."""
    planes = [plane(3.0 * (n + 4 * i), n, folder) for i, folder in enumerate(folders) for n in range(4)]
    assert [[p.path.parent.as_posix() for p in own] for own in split_volumes(planes)[0].values()] == [
        [folder] * 4 for folder in folders
    ]


def test_numbers_that_begin_again_are_refused() -> None:
    planes = [plane(3.0 * (n + 4 * i), n, "flat") for i in range(2) for n in range(4)]
    with pytest.raises(ValueError, match="4 InstanceNumbers occur more than once, 0 in"):
        fit_stack(planes)
    assert len(fit_stack([plane(3.0 * n, 1) for n in range(4)]).planes) == 4, "one that all share tells nothing"


@pytest.mark.parametrize(
    ("mark", "values", "told"),
    [
        ("EchoTime", ["10", "90", "10", "90"], "EchoTime differs between its slices (10 in 2, 90 in 2)"),
        ("DiffusionBValue", ["", "", "800", "800"], "DiffusionBValue differs between its slices (none in 2, 800 in 2)"),
        ("TemporalPositionIdentifier", list("1212"), "TemporalPositionIdentifier differs between its slices (1 in 2"),
        ("ConvolutionKernel", ["B30f", "B30f", "B30f", "B70f"], "ConvolutionKernel differs between its slices (B30f"),
        ("EchoTime", ["4.601", "4.6", "4.600", "4.6"], None),
        ("AcquisitionNumber", list("1122"), None),
    ],
)
def test_mixed_contrasts_are_told(mark: str, values: list[str], told: str | None) -> None:
    remarks = fit_stack([plane(3.0 * n, n + 1, **{mark: value}) for n, value in enumerate(values)]).remarks
    assert len(remarks) == (told is not None)
    assert all(remark.startswith(told or "") for remark in remarks)


@pytest.mark.parametrize(
    "planes",
    [
        [plane(3.0 * n, n, AcquisitionNumber=str(n), ContentTime=str(n)) for n in range(4)],
        [plane(3.0 * n, n, AcquisitionNumber=str(n // 2)) for n in range(4)],
        [plane(3.0 * n, n, f"part{n // 2}") for n in range(4)],
        twice("AcquisitionNumber", 1, 1),
        [*stack([0, 3, 6]), plane(3, 9, ContentTime="5")],
    ],
    ids=["each its own", "breath holds", "folders of a disc", "nothing differs", "one copy"],
)
def test_what_is_one_volume_stays_one(planes: list[Plane]) -> None:
    assert list(split_volumes(planes)[0]) == [""]


def test_shifted_acquisitions_are_volumes_of_their_own() -> None:
    """Their slices lie between each other's, at uneven distances."""
    planes = [
        plane(3.0 * n + shift, n, AcquisitionNumber=number)
        for number, shift in (("1", 0.0), ("2", 0.7))
        for n in range(4)
    ]
    assert {part: len(own) for part, own in split_volumes(planes)[0].items()} == {
        "acquisition-1": 4,
        "acquisition-2": 4,
    }


def interleaved(**marks: tuple[str, ...]) -> list[Plane]:
    """Scans of five slices 3 mm apart, each 1.5 mm or less beside the one before, numbered from 1, 101 …"""
    scans = max(map(len, marks.values()))
    return [
        plane(3.0 * n + 3 * scan / scans, 100 * scan + n + 1, **{mark: own[scan] for mark, own in marks.items()})
        for scan in range(scans)
        for n in range(5)
    ]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({"AcquisitionNumber": ("1", "2"), "ContrastBolusAgent": ("", "x")}, ["acquisition-1", "acquisition-2"]),
        (
            {"AcquisitionNumber": ("9", "10"), "AcquisitionTime": ("115958", "120030.5"), "Modality": ("CT", "CT")},
            ["acquisition-9", "acquisition-10"],
        ),
        ({"AcquisitionTime": ("120500", "120000"), "Modality": ("CT", "CT")}, ["phase-2", "phase-1"]),
        (
            {"AcquisitionDateTime": ("20000101235959", "20000102000400"), "Modality": ("CT", "CT")},
            ["phase-1", "phase-2"],
        ),
        ({"ContrastBolusAgent": ("", "x")}, ["agent-1", "agent-2"]),
        ({"EchoTime": ("10", "90")}, ["echo-time-10", "echo-time-90"]),
        ({"AcquisitionDate": ("20190101", "20200102")}, ["date-20190101", "date-20200102"]),
        ({"TemporalPositionIdentifier": ("1", "2", "3")}, ["phase-1", "phase-2", "phase-3"]),
    ],
    ids=["agent", "time", "time alone", "midnight", "agent alone", "echoes", "dates", "three"],
)
def test_scans_between_each_other_are_parted(marks: dict[str, tuple[str, ...]], expected: list[str]) -> None:
    """Each by itself is an even stack, as all together are."""
    numbers = {name: [100 * scan + n + 1 for n in range(5)] for scan, name in enumerate(expected)}
    found, elements = split_volumes(interleaved(**marks))
    assert {part: [p.number for p in own] for part, own in found.items()} == numbers
    assert elements == [mark for mark in marks if mark != "Modality"]
    assert fit_stack(found[expected[0]]).affine[2, 2] == pytest.approx(3)


def test_scans_between_each_other_by_folder() -> None:
    planes = [plane(1.5 * n, 10 * (n % 2) + n, "ab"[n % 2]) for n in range(8)]
    assert {part: len(own) for part, own in split_volumes(planes)[0].items()} == {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("planes", "told"),
    [
        (interleaved(AcquisitionNumber=("1", "2")), r"AcquisitionNumber alternates along its slices \(1, 2, 1, 2 …\)"),
        (
            interleaved(AcquisitionNumber=("1", "2"), AcquisitionTime=("120000", "120500"), Modality=("MR", "MR")),
            r"AcquisitionNumber alternates .* may be 2 scans",
        ),
        (interleaved(Modality=("CT", "CT")), r"InstanceNumber alternates along its slices \(1, 101, 2, 102 …\)"),
        ([plane(1.5 * n, n // 3 + 50 * (n % 3)) for n in range(12)][::-1], r"\(0, 50, 100, 1, 51, 101 …\).* 3 scans"),
        ([plane(3.0 * n, n, AcquisitionNumber=str(n)) for n in range(1, 12)], None),
        ([plane(3.0 * n, n, AcquisitionNumber=str(n // 4), Modality="CT") for n in range(1, 12)], None),
        ([plane(3.0 * n, 20 - n, AcquisitionTime=f"1200{n:02}", Modality="CT") for n in range(12)], None),
    ],
    ids=["packages", "packages of MR", "numbers", "three", "each its own", "blocks", "one after another"],
)
def test_scans_perhaps_between_each_other_are_told(planes: list[Plane], told: str | None) -> None:
    """Packages of one scan alternate too."""
    assert list(split_volumes(planes)[0]) == [""]
    remarks = fit_stack(planes).remarks
    assert len(remarks) == (told is not None)
    assert all(re.search(told or "", remark) for remark in remarks)


def test_an_odd_image_type_is_told() -> None:
    kinds = [r"ORIGINAL\PRIMARY\AXIAL"] * 5 + [r"DERIVED\SECONDARY\OTHER"]
    remarks = fit_stack([plane(3.0 * n, n, ImageType=kind) for n, kind in enumerate(kinds)]).remarks
    assert remarks == (
        r"ImageType differs between its slices (ORIGINAL\PRIMARY\AXIAL in 5, DERIVED\SECONDARY\OTHER in 1): "
        "some may be no slices of it",
    )


@pytest.mark.parametrize(
    "kind", [r"DERIVED\SECONDARY\MIP", r"DERIVED\PRIMARY\PROJECTION IMAGE", r"DERIVED\SECONDARY\AXIAL\CT_MIP SAG"]
)
def test_projections_are_no_slices(kind: str) -> None:
    planes = [plane(3.0 * n, n, ImageType=r"ORIGINAL\PRIMARY\AXIAL") for n in range(4)]
    extra = plane(12, 4, ImageType=kind)
    assert part_projections([*planes, extra]) == (planes, [extra])
    assert part_projections([extra] * 4) == ([extra] * 4, []), "a series of projections is one"
    assert part_projections(planes) == (planes, [])


def header(**values: Any) -> Dataset:
    d = Dataset()
    d.Rows, d.Columns, d.PixelSpacing, d.InstanceNumber = 5, 6, [0.8, 0.7], 7
    d.ImagePositionPatient, d.ImageOrientationPatient = [1, 2, 3], list(AXIAL)
    for keyword, value in values.items():
        if value is None:
            del d[keyword]
        else:
            setattr(d, keyword, value)
    return d


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"])
def test_missing_element_is_named_with_its_slice(keyword: str) -> None:
    with pytest.raises(ValueError, match=rf"^a.dcm has no {keyword}$"):
        read_planes(Path("x/a.dcm"), header(**{keyword: None}))


def test_detectors_tell_the_spacing_where_nothing_else_does() -> None:
    d = header(PixelSpacing=None)
    d.ImagerPixelSpacing = [0.2, 0.3]
    planes = read_planes(Path("a.dcm"), d)
    assert planes[0].spacing == (0.2, 0.3)
    assert any("measured at the detector" in remark for remark in fit_stack(planes).remarks)
    assert not any("detector" in remark for remark in fit_stack(read_planes(Path("a.dcm"), header())).remarks)


def frames(change: Callable[[int, Dataset], None], count: int = 4) -> Dataset:
    """An enhanced image: directions and spacing for all frames, positions for each."""
    d = Dataset()
    d.Rows, d.Columns, d.NumberOfFrames = 5, 6, count
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing, measures.SliceThickness = list(AXIAL), [0.8, 0.7], 3
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    d.SharedFunctionalGroupsSequence, groups = [shared], []
    for n in range(count):
        position, content, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [10, 20, 3 * n]
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        change(n, group)
        groups.append(group)
    d.PerFrameFunctionalGroupsSequence = groups
    return d


def test_frames_of_an_enhanced_image_have_their_places() -> None:
    found = fit_stack(read_planes(Path("a.dcm"), frames(lambda n, group: None)))
    expected = [[0.7, 0, 0, 10], [0, 0.8, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(found.affine, expected, atol=1e-9)


def test_time_points_of_an_enhanced_image_are_told_apart() -> None:
    def change(n: int, group: Dataset) -> None:
        group.PlanePositionSequence[0].ImagePositionPatient = [10, 20, 3 * (n // 2)]
        group.FrameContentSequence[0].TemporalPositionIndex = n % 2 + 1

    parts, elements = split_volumes(read_planes(Path("a.dcm"), frames(change)))
    assert {part: [p.frame for p in own] for part, own in parts.items()} == {"phase-1": [0, 2], "phase-2": [1, 3]}
    assert elements == ["TemporalPositionIndex"]


@pytest.mark.parametrize(
    ("element", "values", "expected"),
    [
        ("FrameType", [["DERIVED", "PRIMARY", "NONE", part] for part in ("WATER", "FAT")], ["type-water", "type-fat"]),
        ("ComplexImageComponent", ["MAGNITUDE", "PHASE"], ["type-magnitude", "type-phase"]),
        ("EffectiveEchoTime", [4.6, 92.0], ["echo-time-4.6", "echo-time-92"]),
    ],
)
def test_what_differs_between_frames_tells_volumes(element: str, values: list[Any], expected: list[str]) -> None:
    """Whatever else all frames have alike."""

    def change(n: int, group: Dataset) -> None:
        group.PlanePositionSequence[0].ImagePositionPatient = [10, 20, 3 * (n // 2)]
        kind = Dataset()
        kind.FrameType, kind.ComplexImageComponent = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "MIXED"
        setattr(kind, element, values[n % 2])
        group.MRImageFrameTypeSequence = [kind]

    dataset = frames(change)
    dataset.ImageType, dataset.EchoTime = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], 4.6
    parts, elements = split_volumes(read_planes(Path("a.dcm"), dataset))
    assert {part: [p.frame for p in own] for part, own in parts.items()} == dict(
        zip(expected, [[0, 2], [1, 3]], strict=True)
    )
    assert elements == [element]


def test_a_slice_of_unknown_thickness_is_told() -> None:
    """One in a file of its own, and the only frame of an enhanced image."""
    expected = (
        "the thickness of its only slice is not known (it has no SliceThickness or SpacingBetweenSlices), nor are its "
        "volumes in millilitres",
    )
    single = frames(lambda n, group: None, count=1)
    assert fit_stack(read_planes(Path("a.dcm"), single)).remarks == ()
    del single.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    for dataset in (header(), single):
        found = fit_stack(read_planes(Path("a.dcm"), dataset))
        assert found.affine[2, 2] == 1
        assert found.remarks == expected


def test_a_frame_without_a_position_is_named() -> None:
    def change(n: int, group: Dataset) -> None:
        if n == 2:
            del group.PlanePositionSequence

    with pytest.raises(ValueError, match=r"^frame 3 of a.dcm has no ImagePositionPatient$"):
        read_planes(Path("a.dcm"), frames(change))
