"""Planes of volumes: what they are is nibabel's to say, in which a volume was acquired is derived by hand."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.io import nifti
from caseunet.io.geometry import (
    PLANES,
    canonical_shape,
    distance_in_voxels,
    edge_letters,
    find_acquired_plane,
    left_right_axis,
    plane_of,
    reslice,
    to_canonical,
    to_source,
    volume_geometry,
)
from caseunet.types import DIRECTIONS, Geometry, ImageVolume, Mask, Plane, PlaneRule
from tests.io.test_nifti import AXES, volume_in


def geometry(shape: tuple[int, int, int], spacing: tuple[float, float, float], code: str = "LPS") -> Geometry:
    """Of a volume with so many voxels, so many mm large, to Left, Posterior and Superior, stored in ``code``."""
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), np.diag([-spacing[0], -spacing[1], spacing[2], 1]))
    here, there = (nib.orientations.axcodes2ornt(c) for c in ("LPS", code))
    turned = image.as_reoriented(nib.orientations.ornt_transform(here, there))
    return volume_geometry(turned.shape, turned.affine, "x")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("code", AXES)
def test_slices_run_as_nibabel_turns_them(code: str, plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> None:
    image = volume_in(code, np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5))
    path = tmp_path_factory.getbasetemp() / "turned.nii"
    nib.save(image, path)
    picture = reslice(nifti.read_nifti(path), plane)
    here, there = (nib.orientations.axcodes2ornt(c) for c in (code, DIRECTIONS[plane]))
    expected = image.as_reoriented(nib.orientations.ornt_transform(here, there))
    np.testing.assert_array_equal(picture.pixels[:, 0], np.asarray(expected.dataobj))
    assert picture.geometry.spacing == pytest.approx(expected.header.get_zooms())
    assert canonical_shape(picture.geometry) == expected.shape
    assert picture.pixels.flags.c_contiguous
    np.testing.assert_array_equal(to_source(picture.pixels[:, 0], picture.geometry), np.asarray(image.dataobj))


@given(st.sampled_from(AXES), st.sampled_from(PLANES), st.sampled_from(PLANES), st.tuples(*[st.integers(1, 6)] * 3))
def test_planes_are_turned_into_each_other(code: str, before: Plane, after: Plane, shape: tuple[int, int, int]) -> None:
    image = volume_in(code, np.zeros(shape))
    array = np.random.default_rng(0).random((*image.shape, 2))
    own = volume_geometry(image.shape, image.affine, "x")
    one, other = reslice(own, before), reslice(own, after)

    def pixels(at: Geometry) -> np.ndarray:
        return np.stack([to_canonical(array[..., c], at) for c in range(2)], axis=1)

    turned = reslice(ImageVolume(pixels(one), one), after)
    np.testing.assert_array_equal(turned.pixels, pixels(other))
    assert turned.geometry.spacing == other.spacing
    mask = reslice(Mask(to_canonical(array[..., 0], one), one), after)
    np.testing.assert_array_equal(mask.label_values, pixels(other)[:, 0])
    assert distance_in_voxels(one, other) == 0


def test_a_frame_has_no_planes() -> None:
    frame = ImageVolume(np.zeros((1, 3, 4, 5)), Geometry(shape=(4, 5)))
    assert reslice(frame, "sagittal") is frame
    assert find_acquired_plane(frame.geometry) is None


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "SLA", "AIL"])
@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((512, 512, 90), (0.8, 0.8, 1.0), "axial"),  # a usual CT
        ((12, 64, 64), (4.5, 0.5, 0.5), "sagittal"),
        ((64, 12, 64), (0.5, 4.5, 0.5), "coronal"),
        ((256, 30, 200), (0.94, 1.2, 0.94), "coronal"),
        ((176, 240, 256), (1.0, 0.94, 0.94), None),  # 6 % are no slices
        ((35, 51, 35), (1.0, 1.0, 1.0), None),  # a cut-out of an isotropic brain
        ((181, 217, 181), (1.0001, 0.9999, 1.0), None),
        ((100, 100, 100), (3.0, 3.0, 0.5), None),  # two are large: no slices
        ((12, 64, 64), (1.0, 1.0, 1.0), "sagittal"),  # nobody knew the spacing
        ((512, 512, 200), (1.0, 1.0, 1.0), None),
        ((1024, 1, 1024), (0.4, 0.4, 0.4), "coronal"),  # one slice, thinner than its pixels or not
        ((1, 256, 256), (0.1, 1.0, 1.0), "sagittal"),
        ((256, 256, 1), (1.0, 1.0, 5.0), "axial"),
        ((1, 256, 1), (1.0, 1.0, 1.0), None),  # a line
    ],
)
def test_the_acquired_plane(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], expected: Plane | None, code: str
) -> None:
    own = geometry(shape, spacing, code)
    assert find_acquired_plane(own) == expected
    assert [find_acquired_plane(reslice(own, plane)) for plane in PLANES] == [expected] * 3


@pytest.mark.parametrize("degrees", [10, 25, 40])
def test_an_oblique_slice_is_one_slice(degrees: float) -> None:
    turn = nib.eulerangles.euler2mat(np.radians(degrees), np.radians(degrees / 3), 0)
    coronal = np.array([[-0.5, 0, 0], [0, 0, 4], [0, -0.5, 0]])  # columns to Left, rows to Inferior, slices to Anterior
    own = volume_geometry((1024, 1024, 1), nib.affines.from_matvec(turn @ coronal, (3, 4, 5)), "x")
    for rule in (*PLANES, "acquired"):
        assert canonical_shape(reslice(own, plane_of(own, rule))) == (1, 1024, 1024)


@pytest.mark.parametrize(("rule", "expected"), [("axial", "axial"), ("sagittal", "sagittal"), ("acquired", "coronal")])
def test_a_rule_holds_for_volumes(rule: PlaneRule, expected: Plane) -> None:
    assert plane_of(geometry((64, 12, 64), (0.5, 4.5, 0.5)), rule) == expected


def test_letters_and_left_right() -> None:
    assert {plane: edge_letters(plane) for plane in PLANES} == {
        "axial": ("R", "A", "L", "P"),
        "coronal": ("R", "S", "L", "I"),
        "sagittal": ("A", "S", "P", "I"),
    }
    assert [left_right_axis(plane) for plane in PLANES] == [2, 2, 0]


@pytest.mark.parametrize("plane", PLANES)
def test_left_is_left_in_world_coordinates(plane: Plane) -> None:
    """RAS: more to the left is a smaller first coordinate."""
    own = reslice(geometry((6, 7, 8), (1.5, 2, 3), "PIR"), plane)
    axis = left_right_axis(plane)
    labels = np.zeros(canonical_shape(own), np.uint8)
    low, high = [2, 2, 2], [2, 2, 2]
    low[axis], high[axis] = 1, 4
    labels[tuple(low)], labels[tuple(high)] = 1, 2
    source = to_source(labels, own)
    world = [nib.affines.apply_affine(own.affine, np.argwhere(source == label)[0]) for label in (1, 2)]
    np.testing.assert_allclose(world[1] - world[0], (-4.5, 0, 0), atol=1e-9)
