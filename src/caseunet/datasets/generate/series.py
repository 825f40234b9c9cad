"""Patients as DICOM series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from caseunet.datasets.generate.drawings import draw_patient, orient

PLANES = ("LPS", "LIP", "PIR")
"""Axial, coronal and sagittal slices: where columns, rows and slices run."""

TILT = (3.0, 12.0)
"""Least and most degrees by which patients are tilted against the scanner."""

OFFSET = -1024
"""RescaleIntercept: stored values start at 0."""

_TO_DICOM = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS ↔ LPS


def write_dicom(
    folder: Path,
    patients: int = 3,
    shape: tuple[int, int, int] = (10, 48, 40),
    masks: Literal["seg", "nifti"] = "seg",
    seed: int = 0,
) -> None:
    """Write CT series of made-up patients, ``patient_N/NNNN.dcm``, and masks of liver and tumour.

    As in archives, file names do not tell the order of the slices. Patients differ in the plane of the slices (axial,
    coronal, sagittal), and each is tilted a little. Values are stored from 0, with a rescale intercept.

    Args:
        folder: created if missing.
        patients: how many.
        shape: (slices, rows, columns) in the anatomical order.
        masks: "seg" writes a DICOM segmentation, ``patient_N/segmentation.dcm``; "nifti" ``masks/patient_N.nii.gz``.
        seed: draws everything, identifiers too; segmentations hold the time at which they were made.
    """
    for n in range(patients):
        patient = draw_patient(seed, n, shape)
        rng = np.random.default_rng([seed, n, 1])
        plane = PLANES[n % len(PLANES)]
        volume = orient([patient.hounsfield], patient.spacing, plane)
        affine = _tilt(volume.affine, degrees=rng.uniform(*TILT))
        labels = np.asarray(orient([patient.labels], patient.spacing, plane).dataobj)
        slices = series(np.asarray(volume.dataobj), affine, patient=f"P{n:03d}", entropy=f"caseunet {seed} {n}")
        target = folder / f"patient_{n}"
        target.mkdir(parents=True, exist_ok=True)
        for dataset, number in zip(slices, rng.permutation(len(slices)), strict=True):
            dataset.save_as(target / f"{number + 1:04d}.dcm", enforce_file_format=True)
        if masks == "seg":
            segmentation(slices, labels).save_as(target / "segmentation.dcm")
        else:
            (folder / "masks").mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(labels, affine), folder / "masks" / f"patient_{n}.nii.gz")


def series(hounsfield: np.ndarray, affine: np.ndarray, patient: str, entropy: str) -> list[Any]:
    """The slices of a CT series as pydicom data sets, in order.

    Args:
        hounsfield: (columns, rows, slices), int16, from −1024.
        affine: voxel index → RAS millimetres.
        patient: PatientID.
        entropy: from which the identifiers follow.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(of: str) -> str:
        return str(generate_uid(entropy_srcs=[entropy, of]))

    place = _TO_DICOM @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = place[:3, :3] / spacing
    slices = []
    for k in range(hounsfield.shape[2]):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID, d.Modality = CTImageStorage, uid(f"slice {k}"), "CT"
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = uid("study"), uid("series"), uid("frame")
        d.PatientID, d.PatientName, d.PatientBirthDate, d.PatientSex = patient, f"Made^{patient}", "", "O"
        d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = "1", "", ""
        d.StudyDate, d.StudyTime, d.SeriesNumber, d.InstanceNumber = "20000101", "120000", 2, k + 1
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.ImagePositionPatient = _decimals(place @ (0, 0, k, 1))[:3]
        d.ImageOrientationPatient = _decimals([*directions[:, 0], *directions[:, 1]])
        d.PixelSpacing, d.SliceThickness = _decimals([spacing[1], spacing[0]]), float(spacing[2])
        d.Rows, d.Columns, d.SamplesPerPixel = hounsfield.shape[1], hounsfield.shape[0], 1
        d.PhotometricInterpretation, d.PixelRepresentation = "MONOCHROME2", 0
        d.BitsAllocated, d.BitsStored, d.HighBit = 16, 16, 15
        d.RescaleIntercept, d.RescaleSlope, d.RescaleType = OFFSET, 1, "HU"
        d.PixelData = (hounsfield[..., k].T - OFFSET).astype("<u2").tobytes()
        slices.append(d)
    return slices


def segmentation(slices: Sequence[Any], labels: np.ndarray, names: Sequence[str] = ("liver", "tumour")) -> Any:
    """A DICOM segmentation of (some of) a series' slices, as highdicom makes it; slices without labels have no frame.

    Args:
        slices: as from :func:`series`.
        labels: (columns, rows, slices), uint8; the value 1 is the first of ``names``.
        names: of the segments, "liver" or "tumour".
    """
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    coded = {
        "liver": (codes.SCT.Organ, codes.SCT.Liver),
        "tumour": (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Tumor),
    }
    segments = [
        highdicom.seg.SegmentDescription(number, name, *coded[name], highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, name in enumerate(names, start=1)
    ]
    entropy = [str(slices[0].SOPInstanceUID), str(len(slices)), *names]
    return highdicom.seg.Segmentation(
        source_images=list(slices),
        pixel_array=np.ascontiguousarray(labels.transpose(2, 1, 0)),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
        series_number=100,
        sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "instance"]),
        instance_number=1,
        manufacturer="caseunet",
        manufacturer_model_name="made-up",
        software_versions="1",
        device_serial_number="1",
    )


def _tilt(affine: np.ndarray, degrees: float) -> np.ndarray:
    """The affine of a patient turned about the axis from right to left."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    return np.asarray(turn @ affine)


def _decimals(values: Sequence[float] | np.ndarray) -> list[float]:
    """Numbers short enough for a DICOM decimal string of 16 characters."""
    return [round(float(value), 8) for value in values]
