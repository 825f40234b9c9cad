"""Volumes whose axes are not orthogonal: what their voxels measure, and that it is told."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from caseunet.io import images
from caseunet.io.geometry import to_canonical, volume_geometry, voxel_steps
from caseunet.types import step_vectors, voxel_volume


def leaning(degrees: float, axis: int = 0, towards: int = 1) -> np.ndarray:
    """Voxels of 0.7 × 0.8 × 2.5 mm; one axis leans towards another, its length is kept."""
    matrix = np.diag([0.7, 0.8, 2.5])
    length = matrix[axis, axis]
    lean = math.radians(degrees)
    matrix[:, axis] = 0
    matrix[axis, axis], matrix[towards, axis] = length * math.cos(lean), length * math.sin(lean)
    return nib.affines.from_matvec(matrix, (3, 4, 5))


TURNED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.4))
ORDERS = {"xyz": [0, 1, 2], "zyx": [2, 1, 0], "yzx": [1, 2, 0]}


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 0)])
def test_steps_lead_to_the_next_voxel(axes: tuple[int, int], signs: tuple[int, ...], order: str) -> None:
    """By where nibabel says that the voxels lie."""
    affine = TURNED @ leaning(20, *axes)
    affine[:3, :3] = (affine[:3, :3] * signs)[:, ORDERS[order]]
    geometry = volume_geometry((4, 3, 5), affine, "file")
    places = apply_affine(affine, np.moveaxis(np.indices((4, 3, 5)), 0, -1))
    canonical = np.stack([to_canonical(places[..., n], geometry) for n in range(3)], axis=-1)
    steps = step_vectors(voxel_steps(geometry))
    for axis in range(3):
        found = np.diff(canonical, axis=axis).reshape(-1, 3)
        np.testing.assert_allclose(found, np.tile(steps[axis], (len(found), 1)), atol=1e-9)
    assert voxel_volume(steps) == pytest.approx(abs(np.linalg.det(affine)))
    assert voxel_volume(steps) == pytest.approx(0.7 * 0.8 * 2.5 * math.cos(math.radians(20)))
    assert np.linalg.norm(steps, axis=1) == pytest.approx(geometry.spacing)


@pytest.mark.parametrize("degrees", [0.6, -12.5, 45])
def test_skew_is_told(degrees: float) -> None:
    geometry = volume_geometry((4, 3, 5), leaning(degrees), "file")
    angle = f"{90 - degrees:.1f}".removesuffix(".0")
    expected = f"its axes are not orthogonal ({angle}, 90 and 90 degrees between them)"
    assert geometry.remarks == (expected,)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_skew_of_a_file_is_told(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    geometry = volume_geometry((4, 3, 5), leaning(12), str(path))
    images.write_mask_file(path, np.zeros((5, 3, 4), np.uint8), geometry, ())
    for told in (images.read_file_geometry(path).remarks, images.read_image_file(path, rgb=False).geometry.remarks):
        assert any("not orthogonal" in remark for remark in told)


@pytest.mark.parametrize("degrees", [0, 0.01, 0.4])
def test_rounding_is_not_told(degrees: float) -> None:
    geometry = volume_geometry((4, 3, 5), TURNED @ leaning(degrees), "file")
    assert geometry.remarks == ()
    assert voxel_volume(voxel_steps(geometry)) == pytest.approx(np.linalg.det(geometry.affine), rel=1e-6)


def test_an_oblique_volume_has_lengths() -> None:
    geometry = volume_geometry((4, 3, 5), TURNED @ leaning(0), "file")
    assert voxel_steps(geometry) == pytest.approx((2.5, 0.8, 0.7))
    assert isinstance(voxel_steps(geometry), tuple)
