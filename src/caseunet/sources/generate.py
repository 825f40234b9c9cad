"""Made-up patients and operations in the exact raw layouts, for trying the software without the real data.

The pictures are drawn from simple shapes with plausible intensities; no real person's data enters them. Everything
follows from the seed.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from caseunet.io import raster

_SCENE = (
    ("background-tissue", (0, 0, 0)),
    ("instrument-shaft", (0, 255, 0)),
    ("instrument-clasper", (0, 255, 255)),
    ("instrument-wrist", (125, 255, 12)),
    ("kidney-parenchyma", (255, 55, 0)),
    ("covered-kidney", (24, 55, 125)),
    ("thread", (187, 155, 25)),
    ("clamps", (0, 255, 125)),
    ("suturing-needle", (255, 255, 125)),
    ("suction-instrument", (123, 15, 175)),
    ("small-intestine", (124, 155, 5)),
    ("ultrasound-probe", (12, 255, 141)),
)
_ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR")


def write_lits(folder: Path, patients: int = 5, shape: tuple[int, int, int] = (24, 64, 64), seed: int = 0) -> None:
    """Write ``volume-N.nii`` and ``segmentation-N.nii`` of made-up patients: a body with a liver, and tumours in most.

    As in LiTS the files' orientations vary, one patient has no tumour, and intensities are HU in int16.

    Args:
        folder: created if missing.
        patients: how many.
        shape: (slices, rows, columns) in the anatomical order; the files' axes are permuted.
        seed: draws everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(patients):
        rng = np.random.default_rng([seed, n])
        hounsfield, labels = _patient(rng, shape, tumours=0 if n == 1 else int(rng.integers(2, 5)))
        spacing = (2.5, 0.8 + 0.05 * n, 0.8 + 0.05 * n)
        code = _ORIENTATIONS[n % len(_ORIENTATIONS)]
        for name, array in (("volume", hounsfield), ("segmentation", labels)):
            nib.save(_oriented(array, spacing, code), folder / f"{name}-{n}.nii")


def write_endovis2018(
    folder: Path, sequences: int = 3, frames: int = 6, shape: tuple[int, int] = (96, 120), seed: int = 0
) -> None:
    """Write the scene release's layout: kidney, intestine and one moving instrument.

    ``labels.json``, and for each operation ``seq_N/left_frames``, ``right_frames`` (the left one shifted), ``labels``
    and ``camera_calibration.txt``.

    Args:
        folder: created if missing.
        sequences: how many operations.
        frames: frames in each, the instrument moving a little from one to the next.
        shape: (rows, columns).
        seed: draws everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = [{"name": name, "color": list(color), "classid": i} for i, (name, color) in enumerate(_SCENE)]
    (folder / "labels.json").write_text(json.dumps(classes, indent=1))
    colors = np.array([color for _, color in _SCENE], np.uint8)
    for n in range(1, sequences + 1):
        rng = np.random.default_rng([seed, n])
        anatomy = rng.uniform(-0.1, 0.1, 6)
        calibration = folder / f"seq_{n}" / "camera_calibration.txt"
        calibration.parent.mkdir(exist_ok=True)
        calibration.write_text(f"// made-up camera\nWidth: {shape[1]}\nHeight: {shape[0]}\n")
        for frame in range(frames):
            image, ids = _frame(rng, shape, anatomy, time=frame / max(frames - 1, 1))
            views = {"left_frames": image, "right_frames": np.roll(image, -3, axis=1), "labels": colors[ids]}
            for part, pixels in views.items():
                raster.write_image(folder / f"seq_{n}" / part / f"frame{frame:03d}.png", pixels)


def _patient(rng: np.random.Generator, shape: tuple[int, int, int], tumours: int) -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and labels (uint8), axes Superior, Posterior, Left."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")

    def ellipsoid(center: np.ndarray, radii: np.ndarray) -> np.ndarray:
        cz, cy, cx = center
        rz, ry, rx = radii
        return np.asarray(((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)

    hounsfield = np.full(shape, -1000.0)
    body = ellipsoid(np.zeros(3), np.array([3.0, 0.75, 0.92]))
    hounsfield[body] = -90  # fat
    hounsfield[ellipsoid(np.zeros(3), np.array([3.0, 0.66, 0.83]))] = 45  # muscle and gut
    hounsfield[ellipsoid(np.array([0, 0.45, 0]), np.array([3.0, 0.13, 0.13]))] = 320  # spine
    hounsfield[ellipsoid(np.array([0.1, 0.05, 0.45]), np.array([0.5, 0.25, 0.22]))] = 10  # stomach, patient's left
    center = np.array([0.0, -0.05, -0.32]) + rng.uniform(-0.05, 0.05, 3)  # the patient's right
    radii = np.array([0.75, 0.42, 0.4]) * rng.uniform(0.9, 1.1, 3)
    liver = ellipsoid(center, radii) & body
    hounsfield[liver] = rng.uniform(95, 115)
    labels = liver.astype(np.uint8)
    for _ in range(tumours):
        offset = rng.uniform(-0.5, 0.5, 3) * radii
        tumour = ellipsoid(center + offset, np.array([0.3, 0.12, 0.12]) * rng.uniform(0.8, 1.5)) & liver
        hounsfield[tumour] = rng.uniform(35, 55)
        labels[tumour] = 2
    hounsfield += rng.normal(0, 12, shape)
    return np.clip(hounsfield, -1024, 3071).round().astype(np.int16), labels


def _oriented(array: np.ndarray, spacing: tuple[float, float, float], code: str) -> nib.Nifti1Image:
    """A NIfTI image of an array in (Superior, Posterior, Left) order, its axes turned to ``code``."""
    slices, rows, columns = spacing
    affine = np.diag([-columns, -rows, slices, 1.0])  # array axes Left, Posterior, Superior
    affine[:3, 3] = (120, 90, -400)
    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine)
    turn = orientations.ornt_transform(orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(code))
    return image.as_reoriented(turn)


def _frame(
    rng: np.random.Generator, shape: tuple[int, int], anatomy: np.ndarray, time: float
) -> tuple[np.ndarray, np.ndarray]:
    """RGB (uint8) and class ids of one frame; ``time`` runs from 0 to 1 through the sequence."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ids = np.zeros(shape, np.uint8)
    ids[((x + 0.3 + anatomy[0]) / 0.55) ** 2 + ((y - 0.1 + anatomy[1]) / 0.6) ** 2 < 1] = 4  # kidney
    ids[((x - 0.6 + anatomy[2]) / 0.45) ** 2 + ((y - 0.6 + anatomy[3]) / 0.4) ** 2 < 1] = 10  # intestine
    tip_x, tip_y = -0.4 + 0.5 * time + anatomy[4], 0.2 - 0.4 * time + anatomy[5]
    along = (x - tip_x) * 0.8 - (y - tip_y) * 0.6  # distance from the tip up the shaft
    across = np.abs((x - tip_x) * 0.6 + (y - tip_y) * 0.8)
    ids[(across < 0.12) & (along > 0.35)] = 1
    ids[(across < 0.10) & (along > 0.2) & (along <= 0.35)] = 3
    ids[(across < 0.07) & (along > 0) & (along <= 0.2)] = 2
    look = np.zeros((len(_SCENE), 3))
    look[[0, 1, 2, 3, 4, 10]] = [
        (150, 60, 55), (90, 95, 105), (190, 195, 205), (140, 145, 150), (120, 35, 40), (205, 140, 125)
    ]  # fmt: skip
    light = 1.1 - 0.35 * (x**2 + y**2)[..., None]
    image = look[ids] * light + rng.normal(0, 6, (*shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8), ids
