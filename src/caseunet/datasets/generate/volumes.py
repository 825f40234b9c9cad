"""Patients in the layouts of volumes."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from caseunet.datasets.generate.drawings import (
    SIMPLE,
    Frame,
    Patient,
    channel_names,
    contrasts,
    draw_operation,
    draw_patient,
    orient,
    simple,
)
from caseunet.files import write_json
from caseunet.io import raster

LIVER = ("background", "liver", "tumour")


def write_lits(folder: Path, patients: int = 5, shape: tuple[int, int, int] = (24, 64, 64), seed: int = 0) -> None:
    """Write ``volume-N.nii`` and ``segmentation-N.nii`` of made-up patients: a body with a liver, and tumours in most.

    As in LiTS the files' orientations vary, one patient has no tumour, and intensities are HU in int16.

    Args:
        folder: created if missing.
        patients: how many.
        shape: (slices, rows, columns) in the anatomical order; the files' axes are permuted.
        seed: draws everything.
    """
    for n in range(patients):
        patient = draw_patient(seed, n, shape)
        _save(folder / f"volume-{n}.nii", [patient.hounsfield], patient)
        _save(folder / f"segmentation-{n}.nii", [patient.labels], patient)


def write_nnunet(
    folder: Path,
    cases: int = 5,
    tests: int = 1,
    channels: int = 1,
    file_ending: str = ".nii.gz",
    shape: tuple[int, int, int] = (12, 48, 40),
    seed: int = 0,
) -> None:
    """Write nnU-Net's raw format, ``Dataset901_MadeUp/``: patients, or with ".png" frames of operations.

    Args:
        folder: created if missing; what nnU-Net calls nnUNet_raw.
        cases: with masks.
        tests: further cases, in imagesTs without masks.
        channels: 1 is CT, others are MR sequences; for ".png" 1 is grey, and 3 is RGB, which nnU-Net keeps in one file.
        file_ending: ".nii.gz", ".nii" or ".png".
        shape: (slices, rows, columns) in the anatomical order; frames have the last two.
        seed: draws everything.
    """
    dataset = folder / "Dataset901_MadeUp"
    framed = file_ending == ".png"
    for n in range(cases + tests):
        trained = n < cases
        image = dataset / ("imagesTr" if trained else "imagesTs") / f"case_{n:03d}"
        label = dataset / "labelsTr" / f"case_{n:03d}{file_ending}" if trained else None
        if framed:
            frame = next(draw_operation(seed, n, 1, shape[1:]))
            _save_frame(image.with_name(f"{image.name}_0000.png"), label, frame, channels)
            continue
        patient = draw_patient(seed, n, shape)
        for channel, array in enumerate(contrasts(patient.hounsfield, channels)):
            _save(image.with_name(f"{image.name}_{channel:04d}{file_ending}"), [array], patient)
        if label is not None:
            _save(label, [patient.labels], patient)
    colors = {"0": "R", "1": "G", "2": "B"} if channels == 3 else {"0": "grey"}
    description = {
        "channel_names": colors if framed else channel_names(channels),
        "labels": {name: i for i, name in enumerate(SIMPLE if framed else LIVER)},
        "numTraining": cases,
        "file_ending": file_ending,
    }
    write_json(dataset / "dataset.json", description)


def write_msd(
    folder: Path,
    cases: int = 5,
    tests: int = 1,
    channels: int = 1,
    shape: tuple[int, int, int] = (12, 48, 40),
    seed: int = 0,
) -> None:
    """Write the Medical Segmentation Decathlon's form, one task, into ``folder``; it would be called TaskNN_Name.

    Args:
        folder: created if missing.
        cases: with masks.
        tests: further cases, in imagesTs without masks.
        channels: 1 is CT; others are MR sequences, in the fourth axis of one file.
        shape: (slices, rows, columns) in the anatomical order; the files' axes are permuted.
        seed: draws everything.
    """
    training, test = [], []
    for n in range(cases + tests):
        patient = draw_patient(seed, n, shape)
        image = f"./images{'Tr' if n < cases else 'Ts'}/patient_{n:03d}.nii.gz"
        _save(folder / image, contrasts(patient.hounsfield, channels), patient)
        if n < cases:
            label = image.replace("images", "labels")
            _save(folder / label, [patient.labels], patient)
            training.append({"image": image, "label": label})
        else:
            test.append(image)
    description = {
        "name": "MadeUp",
        "description": "Liver and tumours of made-up patients",
        "licence": "CC0",
        "tensorImageSize": "3D" if channels == 1 else "4D",
        "modality": channel_names(channels),
        "labels": {str(i): label for i, label in enumerate(LIVER)},
        "numTraining": cases,
        "numTest": tests,
        "training": training,
        "test": test,
    }
    write_json(folder / "dataset.json", description)


def _save_frame(image: Path, label: Path | None, frame: Frame, channels: int) -> None:
    raster.write_image(image, frame.image if channels == 3 else frame.image.mean(axis=2).astype(np.uint8))
    if label is not None:
        raster.write_image(label, simple(frame.ids))


def _save(path: Path, arrays: Sequence[np.ndarray], patient: Patient) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(orient(arrays, patient.spacing, patient.code), path)
