"""What comes out of the files that pydicom and nibabel ship to test their readers: a table of verdicts.

    python benchmarks/foreign_files.py benchmarks/foreign_files.json [FOLDER ...]

Each file, and each in the FOLDERs, goes by itself through ``predict`` with an untrained network for its kind, and
through ``audit``. What is accepted is compared with what pydicom, SimpleITK or nibabel read. What is refused must name
one of the causes that are written down here. dicom2nifti's source distribution ships no test data.
"""

import argparse
import gzip
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK
from pydicom.misc import is_dicom
from pydicom.pixels import apply_rescale, pixel_array
from untrained import save_untrained

from caseunet.commands.predict import predict
from caseunet.config import ModelConfig, PrepareConfig
from caseunet.datasets.examination import examine
from caseunet.errors import CaseUNetError
from caseunet.options import PredictOptions
from caseunet.prediction.inputs import find_inputs
from caseunet.prediction.predictor import read_model_input
from caseunet.progress import Display
from caseunet.types import Modality, Preprocessing

MODALITIES: dict[str, Modality] = {"CT": "ct", "MR": "mr"}

CAUSES = {
    r"^[01]\.dcm|csa_slice_norm|siemens_dwi": "Siemens mosaic",
    r"rtplan|ExplVR_": "RT (Ion )?Plan|cut short",
    r"rtstruct": "RT Structure Set|1 × mask",
    r"6293|6924": "scout view",
    r"DICOMDIR": "Directory",
    r"rtdose|badVR": "RT Dose",
    r"reportsi|test-SR": "SR",
    r"waveform": "Waveform",
    r"liver_": "1 × mask",
    r"SC_rgb_rle_(16|32)bit": r"bits \(BitsStored\)",
    r"JPEG-lossy|JPGExtended": "12 bits|JPEG Extended",
    r"MR_truncated": "bytes of pixels are declared",
    r"UN_sequence|empty_charset|meta_missing|nested_priv|no_meta|priv_SQ|IM0000": "no Rows|does not begin",
    r"chr": "no Rows|holds no pixels",
    r"JPEG2000-embedded": "damaged",  # pydicom and SimpleITK cannot decode it either
    r"resampled_anat_moved": "NaN",
    r"row_major": "Cifti2Image",
    r"\.(PAR|REC|mnc|mgz|trk|tck|v|HEAD|BRIK|BRIK\.gz)$": "cannot be read; expected a file that ends in",
    r"nifti[12]\.hdr|bad_|analyze\.hdr": "ANALYZE|half of|cannot be read",
    r"functional|example4d|example_nifti2": "fourth axis",
}
"""Names of files → what they are refused for, as regular expressions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        bundles = {modality: write_bundle(folder / modality, modality) for modality in ("ct", "mr", "gray", "rgb")}
        for path in shipped_files(given.folders):
            rows.append(examine_file(path, folder / "work", bundles))
            print("{verdict:9} {file:45} {what:44} {checked}  {said}".format(**rows[-1])[:240], flush=True)
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("read", "refused", "WRONG")}
    print(counts)
    given.out.write_text(json.dumps({"counts": counts, "files": rows}, indent=1) + "\n")


def shipped_files(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for package, places in {
        "pydicom": ("data/test_files", "data/charset_files"),
        "nibabel": ("tests/data", "nicom/tests/data"),
    }.items():
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folders = [*folders, *(Path(spec.origin).parent / place for place in places)]
    for folder in folders:
        found += sorted(path for path in folder.rglob("*") if path.is_file() and is_image_name(path))
    return found


def is_image_name(path: Path) -> bool:
    """Whether a file is no text, script or checksum that lies beside the data."""
    return path.suffix not in (
        ".txt",
        ".py",
        ".pyc",
        ".m",
        ".json",
        ".dump",
        ".rst",
        ".bin",
        ".icc",
    ) and path.name not in (*("csa2_zero_len.bin.gz", "zipMR.gz", "DICOMDIR", "README", ".gitignore"),)


def write_bundle(folder: Path, modality: Modality) -> Path:
    """An untrained network for images of a modality."""
    channels = 3 if modality == "rgb" else 1
    zeros, scale = (0.0,) * channels, (100.0,) * channels
    preprocessing = Preprocessing(modality=modality, channels=channels, mean=zeros, std=scale, per_case_zscore=True)
    return save_untrained(folder, ModelConfig(name="unet", kwargs={"widths": [2, 2]}), preprocessing).folder


def examine_file(path: Path, work: Path, bundles: dict[str, Path]) -> dict[str, str]:
    """A row of the table."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "raw").mkdir(parents=True)
    copy = work / "raw" / path.name
    if path.name.endswith(".dcm.gz"):
        copy = copy.with_suffix("")
        copy.write_bytes(gzip.decompress(path.read_bytes()))
    else:
        shutil.copy(path, copy)
    modality, what = kind_of(copy)
    row = {
        "file": path.name,
        "what": what,
        "model": modality,
        "said": "",
        "checked": "",
        "audit": audited(work / "raw"),
    }
    try:
        done = predict(bundles[modality], copy, out=work / "out", options=PredictOptions(device="cpu"))
        row["verdict"] = "read"
        row["said"] = "; ".join(remark for case in done.cases for remark in case.remarks)
        row["checked"] = checked(copy, modality, work / "out", [case.file for case in done.cases], bundles[modality])
        if row["checked"].startswith("differs"):
            row["verdict"] = "WRONG"
    except CaseUNetError as error:
        row["said"] = str(error).replace(str(work / "raw") + "/", "")
        known = next((cause for names, cause in CAUSES.items() if re.search(names, path.name)), None)
        row["checked"] = f"cause: {known}"
        row["verdict"] = "refused" if known is not None and re.search(known, row["said"]) else "WRONG"
    return row


def audited(raw: Path) -> str:
    """The errors of an audit of a folder with this file alone, or why it cannot be audited."""
    try:
        found = examine(raw, PrepareConfig(workers=0), Display())
    except CaseUNetError as error:
        return str(error).replace(str(raw), "")[:200]
    return "; ".join(f"{finding.kind}: {finding.text}" for finding in found.findings if finding.level == "error")[:200]


def looks_like_dicom(path: Path) -> bool:
    return path.suffix == ".dcm" or is_dicom(path)


def kind_of(path: Path) -> tuple[Modality, str]:
    """The model for a file, and what it is, by pydicom alone."""
    if not looks_like_dicom(path):
        return ("rgb" if path.suffix in (".png", ".jpg") else "gray"), path.suffix
    try:
        d = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        name = getattr(d.get("SOPClassUID"), "name", "no SOP class")
        syntax = getattr(getattr(d.file_meta.get("TransferSyntaxUID"), "name", None), "__str__", lambda: "no syntax")()
    except Exception as error:
        return "gray", f"unreadable by pydicom: {type(error).__name__}"
    what = f"{d.get('Modality', '-')}, {name}, {syntax}"
    if int(d.get("SamplesPerPixel", 1) or 1) > 1 or d.get("PhotometricInterpretation") == "PALETTE COLOR":
        return "rgb", what
    placed = "ImagePositionPatient" in d or "PerFrameFunctionalGroupsSequence" in d
    return (MODALITIES.get(str(d.get("Modality")), "gray") if placed else "gray"), what


def checked(path: Path, modality: Modality, out: Path, files: list[str], bundle: Path) -> str:
    """What pixels and geometry were compared with, or how they differ."""
    from caseunet.bundle import load_bundle

    preprocessing = load_bundle(bundle).info.preprocessing
    item = find_inputs([path], modality=modality)[0]
    picture = item.read(preprocessing, read_model_input)
    if not looks_like_dicom(path):
        return compare(
            picture.pixels, np.asarray(nib.load(path).dataobj), "nibabel", out / files[0], nib.load(path).affine
        )
    d = pydicom.dcmread(path, force=True)
    if picture.geometry.affine is None:
        expected = pixel_array(d, index=0)
        if d.PhotometricInterpretation == "PALETTE COLOR":
            expected = pydicom.pixels.apply_color_lut(expected, d) >> 8
        if d.PhotometricInterpretation == "MONOCHROME1":
            expected = apply_rescale(2**d.BitsStored - 1 - expected.astype(int), d)
        same = np.allclose(np.sort(picture.pixels[0].ravel()), np.sort(repeated(expected, picture.pixels)))
        return "pydicom: pixels" if same else "differs from pydicom"
    if int(d.get("NumberOfFrames", 1) or 1) > 1 or "MOSAIC" in (d.get("ImageType") or ()):
        return compare(picture.pixels, pixel_array(d), "pydicom", out / files[0], None)
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:  # SimpleITK cannot decode it
        return compare(picture.pixels, apply_rescale(pixel_array(d), d), "pydicom", out / files[0], None)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image)
    return compare(picture.pixels, array, "SimpleITK", out / files[0], np.diag([-1, -1, 1, 1]) @ affine)


def repeated(expected: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The expected values, as often as there are channels."""
    return np.asarray(np.repeat(expected.ravel(), pixels[0].size // expected.size))


def compare(pixels: np.ndarray, expected: np.ndarray, by: str, mask: Path, affine: np.ndarray | None) -> str:
    """Pixels as a multiset, for axes may run otherwise, and the place of the mask; slices may be as thick as told."""
    found, wanted = np.sort(pixels.ravel().astype(float)), np.sort(np.asarray(expected).ravel().astype(float))
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-6, atol=1e-3):
        return f"differs from {by}: pixels"
    if affine is None:
        return f"{by}: pixels"
    own = nib.load(mask).affine
    flat = [0, 1] if by == "SimpleITK" else [0, 1, 2]
    if not np.allclose(own[:3, flat], affine[:3, flat], atol=1e-3) or not np.allclose(
        own[:3, 3], affine[:3, 3], atol=1e-2
    ):
        return f"differs from {by}: affine {own.round(3).tolist()}, not {np.round(affine, 3).tolist()}"
    return f"{by}: pixels, affine"


if __name__ == "__main__":
    main()
