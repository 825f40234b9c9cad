"""Operations in the layouts of frames."""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from caseunet.datasets.generate.drawings import CLASPER, SCENE, SHAFT, WRIST, Frame, draw_operation, simple
from caseunet.io import raster

SEQUENCES = (*range(1, 8), *range(9, 17))
"""Numbers of the sequences of EndoVis 2018; there is no 8."""

VALIDATION = (2, 5, 9, 15)
"""Of them, those by which ISINet validates."""

TYPES = (1, 2, 3, 6, 7, 8, 9)
"""Ids of the instrument types as released."""

RECORDED, CAMERA, CORNER = (1080, 1920), (1024, 1280), (28, 320)
"""Frames of EndoVis 2017 (rows, columns), the camera's picture in them, and where its first pixel lies."""

COARSE = 4
"""Large frames are drawn at a quarter of their size, which is quick and compresses well."""

ENCODINGS = {"ids": [0, 1, 2, 3], "0/255": [0, 0, 0, 255]}
"""Grey values of the simple classes; "0/255" has the instrument alone."""

COLORS = [(0, 0, 0), (255, 55, 0), (124, 155, 5), (0, 255, 0)]


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
    classes = [{"name": name, "color": list(color), "classid": i} for i, (name, color) in enumerate(SCENE)]
    (folder / "labels.json").write_text(json.dumps(classes, indent=1))
    colors = np.array([color for _, color in SCENE], np.uint8)
    for n in range(1, sequences + 1):
        _write_calibration(folder / f"seq_{n}", shape)
        for number, frame in enumerate(draw_operation(seed, n, frames, shape)):
            right = np.roll(frame.image, -3, axis=1)
            views = {"left_frames": frame.image, "right_frames": right, "labels": colors[frame.ids]}
            for part, pixels in views.items():
                raster.write_image(folder / f"seq_{n}" / part / f"frame{number:03d}.png", pixels)


def write_endovis2018_types(
    folder: Path, sequences: int = 5, frames: int = 4, shape: tuple[int, int] = (96, 120), seed: int = 0
) -> None:
    """Write the instrument types' layout, ``{train,val}/{images,annotations}/seqN_frameNNN.png``.

    Two instruments are in each operation; four operations or more have all seven types. Masks hold the ids of the
    release, 1, 2, 3, 6, 7, 8 and 9. Sequences 2, 5, 9 and 15 validate.

    Args:
        folder: created if missing.
        sequences: how many operations, at most 15; their numbers are the release's.
        frames: frames in each.
        shape: (rows, columns).
        seed: draws everything.
    """
    for n in SEQUENCES[:sequences]:
        part = folder / ("val" if n in VALIDATION else "train")
        for number, frame in enumerate(draw_operation(seed, n, frames, shape, instruments=2)):
            name = f"seq{n}_frame{number:03d}.png"
            raster.write_image(part / "images" / name, frame.image)
            raster.write_image(part / "annotations" / name, types_of(frame, n))


def types_of(frame: Frame, sequence: int) -> np.ndarray:
    """The ids of the instrument types in a frame, uint8, (H, W); each sequence has its own two."""
    first = 2 * SEQUENCES.index(sequence)
    return np.array([0, TYPES[first % 7], TYPES[(first + 1) % 7]], np.uint8)[frame.instruments]


def write_endovis2017(
    folder: Path, sequences: int = 2, frames: int = 2, shape: tuple[int, int] = RECORDED, seed: int = 0
) -> None:
    """Write the instrument parts' layout of EndoVis 2017: two instruments, their masks in a folder each.

    ``instrument_dataset_N/left_frames``, ``ground_truth/Left_Prograsp_Forceps_labels``,
    ``ground_truth/Right_Prograsp_Forceps_labels`` and ``camera_calibration.txt``.

    Args:
        folder: created if missing.
        sequences: how many operations.
        frames: frames in each.
        shape: (rows, columns). The release's, 1080×1920, has the camera's picture of 1024×1280 between black borders;
            any other shape is the camera's picture alone.
        seed: draws everything.
    """
    bordered = shape == RECORDED
    for n in range(1, sequences + 1):
        sequence = folder / f"instrument_dataset_{n}"
        _write_calibration(sequence, shape)
        picture = (CAMERA[0] // COARSE, CAMERA[1] // COARSE) if bordered else shape
        for number, frame in enumerate(draw_operation(seed, n, frames, picture, instruments=2)):
            views = {"left_frames": frame.image}
            for side, instrument in (("Left", 2), ("Right", 1)):
                views[f"ground_truth/{side}_Prograsp_Forceps_labels"] = parts_of(frame, instrument)
            for part, pixels in views.items():
                path = sequence / part / f"frame{number:03d}.png"
                raster.write_image(path, _between_borders(pixels) if bordered else pixels)


def parts_of(frame: Frame, instrument: int) -> np.ndarray:
    """The parts of one instrument as EndoVis 2017 numbers them, uint8, (H, W)."""
    table = np.zeros(len(SCENE), np.uint8)
    table[[SHAFT, WRIST, CLASPER]] = (10, 20, 30)
    return np.where(frame.instruments == instrument, table[frame.ids], 0).astype(np.uint8)


def write_folder(
    folder: Path,
    groups: int = 4,
    frames: int = 3,
    encoding: Literal["ids", "0/255", "colors"] = "ids",
    shape: tuple[int, int] = (64, 80),
    seed: int = 0,
) -> None:
    """Write ``images/`` and ``masks/`` with files of the same names, ``video1_000.png``.

    Args:
        folder: created if missing.
        groups: how many operations.
        frames: frames in each.
        encoding: what the masks hold: the ids 0 to 3 of kidney, intestine and instrument; 255 for the instrument; or
            a colour for each class.
        shape: (rows, columns).
        seed: draws everything.
    """
    values = np.array(COLORS if encoding == "colors" else ENCODINGS[encoding], np.uint8)
    for n in range(1, groups + 1):
        for number, frame in enumerate(draw_operation(seed, n, frames, shape)):
            name = f"video{n}_{number:03d}.png"
            raster.write_image(folder / "images" / name, frame.image)
            raster.write_image(folder / "masks" / name, values[simple(frame.ids)])


def _between_borders(picture: np.ndarray) -> np.ndarray:
    """A coarse camera picture (h, w, …) enlarged, at its place in a black frame of EndoVis 2017."""
    frame = np.zeros((*RECORDED, *picture.shape[2:]), np.uint8)
    large = picture.repeat(COARSE, axis=0).repeat(COARSE, axis=1)
    frame[CORNER[0] : CORNER[0] + CAMERA[0], CORNER[1] : CORNER[1] + CAMERA[1]] = large
    return frame


def _write_calibration(sequence: Path, shape: tuple[int, int]) -> None:
    sequence.mkdir(parents=True, exist_ok=True)
    text = f"// made-up camera\nWidth: {shape[1]}\nHeight: {shape[0]}\n"
    (sequence / "camera_calibration.txt").write_text(text)
