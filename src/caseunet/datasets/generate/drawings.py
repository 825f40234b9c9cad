"""What is drawn: patients as volumes, operations as frames."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel import orientations

SCENE = (
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
"""Names and colours of EndoVis 2018; a class id is a place in this list."""

SHAFT, CLASPER, WRIST, KIDNEY, INTESTINE = 1, 2, 3, 4, 10

SIMPLE = ("background", "kidney", "intestine", "instrument")
"""The same scene in four classes."""

_ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR")


class Patient(NamedTuple):
    """A made-up patient: a body with a liver, and tumours in most.

    Attributes:
        hounsfield: HU, int16, (S, H, W) in canonical order.
        labels: 1 liver, 2 tumour, uint8, of the same shape.
        spacing: (between slices, rows, columns) in millimetres.
        code: the orientation in which files store the patient, where they may choose.
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    code: str


class Frame(NamedTuple):
    """A frame of a made-up operation.

    Attributes:
        image: RGB, uint8, (H, W, 3).
        ids: places in :data:`SCENE`, uint8, (H, W).
        instruments: 0 where there is none, else 1 for the one from the right, 2 for the one from the left, (H, W).
    """

    image: np.ndarray
    ids: np.ndarray
    instruments: np.ndarray


def draw_patient(seed: int, n: int, shape: tuple[int, int, int]) -> Patient:
    """The n-th patient of a seed; number 1 has no tumour."""
    rng = np.random.default_rng([seed, n])
    hounsfield, labels = _anatomy(rng, shape, tumours=0 if n == 1 else int(rng.integers(2, 5)))
    in_plane = 0.8 + 0.05 * n
    return Patient(hounsfield, labels, (2.5, in_plane, in_plane), _ORIENTATIONS[n % len(_ORIENTATIONS)])


def contrasts(hounsfield: np.ndarray, channels: int) -> list[np.ndarray]:
    """The patient as CT, or as so many MR sequences, in which the same tissues differ in brightness; int16."""
    if channels == 1:
        return [hounsfield]
    return [np.abs(hounsfield.astype(np.int32) - 150 * channel).astype(np.int16) for channel in range(channels)]


def channel_names(channels: int) -> dict[str, str]:
    """What description files call the channels of :func:`contrasts`."""
    return {"0": "CT"} if channels == 1 else {str(channel): f"MR{channel + 1}" for channel in range(channels)}


def orient(arrays: Sequence[np.ndarray], spacing: tuple[float, float, float], code: str) -> nib.Nifti1Image:
    """A NIfTI image of an array in (Superior, Posterior, Left) order, its axes turned to ``code``.

    Several arrays are the channels, in a fourth axis.
    """
    slices, rows, columns = spacing
    affine = np.diag([-columns, -rows, slices, 1.0])  # array axes Left, Posterior, Superior
    affine[:3, 3] = (120, 90, -400)
    turned = [array.transpose(2, 1, 0) for array in arrays]
    image = nib.Nifti1Image(turned[0] if len(turned) == 1 else np.stack(turned, axis=3), affine)
    turn = orientations.ornt_transform(orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(code))
    return image.as_reoriented(turn)


def draw_operation(seed: int, n: int, frames: int, shape: tuple[int, int], instruments: int = 1) -> Iterator[Frame]:
    """The n-th operation of a seed: kidney, intestine and one or two instruments that move a little in each frame."""
    rng = np.random.default_rng([seed, n])
    anatomy = rng.uniform(-0.1, 0.1, 6)
    for frame in range(frames):
        yield _frame(rng, shape, anatomy, frame / max(frames - 1, 1), instruments)


def simple(ids: np.ndarray) -> np.ndarray:
    """Places in :data:`SCENE` → places in :data:`SIMPLE`."""
    table = np.zeros(len(SCENE), np.uint8)
    table[[KIDNEY, INTESTINE, SHAFT, CLASPER, WRIST]] = (1, 2, 3, 3, 3)
    return table[ids]


def _anatomy(rng: np.random.Generator, shape: tuple[int, int, int], tumours: int) -> tuple[np.ndarray, np.ndarray]:
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


def _frame(
    rng: np.random.Generator, shape: tuple[int, int], anatomy: np.ndarray, time: float, instruments: int
) -> Frame:
    """One frame; ``time`` runs from 0 to 1 through the operation."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ids = np.zeros(shape, np.uint8)
    ids[((x + 0.3 + anatomy[0]) / 0.55) ** 2 + ((y - 0.1 + anatomy[1]) / 0.6) ** 2 < 1] = KIDNEY
    ids[((x - 0.6 + anatomy[2]) / 0.45) ** 2 + ((y - 0.6 + anatomy[3]) / 0.4) ** 2 < 1] = INTESTINE
    tip_x, tip_y = -0.4 + 0.5 * time + anatomy[4], 0.2 - 0.4 * time + anatomy[5]
    held = np.zeros(shape, np.uint8)
    # the second instrument mirrors the first, far enough to its left that they do not cross
    for number, (right, down) in enumerate(((x - tip_x, y - tip_y), (tip_x - 0.15 - x, y - tip_y - 0.1)), start=1):
        if number <= instruments:
            parts = _instrument(right, down)
            ids[parts > 0] = parts[parts > 0]
            held[parts > 0] = number
    look = np.zeros((len(SCENE), 3))
    look[[0, SHAFT, CLASPER, WRIST, KIDNEY, INTESTINE]] = [
        (150, 60, 55), (90, 95, 105), (190, 195, 205), (140, 145, 150), (120, 35, 40), (205, 140, 125)
    ]  # fmt: skip
    light = 1.1 - 0.35 * (x**2 + y**2)[..., None]
    image = look[ids] * light + rng.normal(0, 6, (*shape, 3))
    return Frame(np.clip(image, 0, 255).astype(np.uint8), ids, held)


def _instrument(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The parts of an instrument whose shaft rises to the right, by each pixel's way from the tip; 0 elsewhere."""
    along = right * 0.8 - down * 0.6  # distance from the tip up the shaft
    across = np.abs(right * 0.6 + down * 0.8)
    parts = np.zeros(right.shape, np.uint8)
    parts[(across < 0.12) & (along > 0.35)] = SHAFT
    parts[(across < 0.10) & (along > 0.2) & (along <= 0.35)] = WRIST
    parts[(across < 0.07) & (along > 0) & (along <= 0.2)] = CLASPER
    return parts
