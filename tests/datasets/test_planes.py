"""One rule for the planes of a data set: as most volumes were acquired, and said where they differ."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.meanings import with_coding
from caseunet.datasets.planes import CutLayout, choose_plane
from caseunet.datasets.reading import read_labels
from caseunet.io.geometry import PLANES
from caseunet.types import DIRECTIONS, Plane

THICK = {"axial": (0.5, 0.5, 4), "coronal": (0.5, 4, 0.5), "sagittal": (4, 0.5, 0.5), "isotropic": (1, 1, 1)}
"""Millimetres to Left, Posterior and Superior."""


def write_volume(folder: Path, name: str, kind: str, seed: int = 0, single: bool = False) -> None:
    """A volume of 36 × 38 × 40 voxels, or fewer where they are thick, and its mask, in a plane of ``THICK``."""
    rng = np.random.default_rng(seed)
    shape = [n if mm < 2 else 1 if single else 6 for n, mm in zip((36, 38, 40), THICK[kind], strict=True)]
    image = rng.integers(0, 200, shape).astype(np.int16)
    affine = np.diag([-THICK[kind][0], -THICK[kind][1], THICK[kind][2], 1.0])
    for part, array in (("images", image), ("masks", (image > 150).astype(np.uint8))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), folder / part / f"{name}.nii.gz")


def chosen(folder: Path, wanted: str = "auto") -> tuple[str, list[tuple[str, str]]]:
    config = PrepareConfig(plane=wanted)
    rule, findings = choose_plane(config.plane, *open_source(folder, config), 0)
    return rule, [(finding.level, finding.text) for finding in findings]


@pytest.mark.parametrize(
    ("kinds", "expected", "level"),
    [
        (["axial"] * 3, "axial", None),
        (["isotropic"] * 3, "axial", None),
        (["sagittal"] * 3, "sagittal", "note"),
        (["coronal", "isotropic", "isotropic"], "coronal", "note"),
        (["sagittal", "sagittal", "axial"], "sagittal", "warning"),
        (["coronal", "sagittal"], "coronal", "warning"),
        (["sagittal", "axial", "isotropic"], "axial", "warning"),
    ],
)
def test_the_majority_decides(kinds: list[str], expected: str, level: str | None, tmp_path: Path) -> None:
    for n, kind in enumerate(kinds):
        write_volume(tmp_path, f"v{n}", kind, n)
    rule, findings = chosen(tmp_path)
    assert rule == expected
    assert [found for found, _ in findings] == ([] if level is None else [level])
    for plane in set(kinds) if level else ():
        count, example = kinds.count(plane), f"v{kinds.index(plane)}"
        assert f"{plane}: {count} ({example}" in findings[0][1]


@pytest.mark.parametrize("wanted", [*PLANES, "acquired"])
def test_what_is_told_counts(wanted: str, tmp_path: Path) -> None:
    for n, kind in enumerate(("sagittal", "sagittal", "coronal")):
        write_volume(tmp_path, f"v{n}", kind, n)
    rule, [(level, text)] = chosen(tmp_path, wanted)
    assert (rule, level) == (wanted, "warning")
    assert ("its own plane" if wanted == "acquired" else f"into {wanted} slices") in text


def test_single_slices_have_no_say(tmp_path: Path) -> None:
    write_volume(tmp_path, "v0", "axial")
    for n in (1, 2, 3):
        write_volume(tmp_path, f"v{n}", "coronal", n, single=True)
    rule, [(level, text)] = chosen(tmp_path)
    assert (rule, level) == ("axial", "warning")
    assert "single slices stay as they are (3 (v1, v2 …))" in text
    for part in ("images", "masks"):
        (tmp_path / part / "v0.nii.gz").unlink()
    assert chosen(tmp_path)[0] == "coronal"


@pytest.mark.parametrize("rule", PLANES)
def test_masks_are_cut_as_their_images(rule: Plane, tmp_path: Path) -> None:
    write_volume(tmp_path, "v0", "sagittal")
    write_volume(tmp_path, "v1", "coronal", 1, single=True)
    layout, dataset = open_source(tmp_path, PrepareConfig())
    layout = CutLayout(layout, rule)
    dataset = with_coding(layout, dataset, 0)
    for case in dataset.cases:
        picture = layout.read_image(case, False)
        assert layout.read_geometry(case).spacing == picture.geometry.spacing
        labels = read_labels(layout, case, dataset, picture.geometry)
        np.testing.assert_array_equal(labels, picture.pixels[:, 0] > 150)
        there = nib.load(case.image[0])
        own = nib.orientations.axcodes2ornt(nib.aff2axcodes(there.affine))
        plane = rule if case.id == "v0" else "coronal"
        turn = nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(DIRECTIONS[plane]))
        np.testing.assert_array_equal(picture.pixels[:, 0], np.asarray(there.as_reoriented(turn).dataobj))


def test_a_damaged_header_is_passed_over(tmp_path: Path) -> None:
    write_volume(tmp_path, "v0", "sagittal")
    write_volume(tmp_path, "v1", "axial", 1)
    (tmp_path / "images" / "v1.nii.gz").write_bytes(b"damaged")
    assert chosen(tmp_path)[0] == "sagittal"
