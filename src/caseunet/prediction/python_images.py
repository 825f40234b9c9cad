"""Images as Python has them, read as the command reads files, and the way back to their axes for the masks."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.spatialimages import SpatialImage
from PIL import Image

from caseunet.errors import CaseUNetError, InvalidInputError, InvalidOptionError
from caseunet.io.geometry import length_remarks, to_source
from caseunet.io.values import as_integers
from caseunet.prediction.channels import Channels, join_arrays
from caseunet.prediction.inputs import Input, find_inputs
from caseunet.prediction.predictor import match_range, read_model_input
from caseunet.progress import Display, count_text
from caseunet.types import Geometry, ImageVolume, Preprocessing

SIDES = ("LR", "PA", "SI")
"""Letters of the two ways in which each axis of a volume can run in the patient."""

CONVERTED = {"RGBX": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}
"""Modes of Pillow that PNG has not, and which holds the same colours."""

UNPLACED = "its file (ANALYZE) states no position, so left and right are not known"

KINDS = (
    "a path, an image of nibabel, SimpleITK or Pillow, a numpy array, a torch tensor, a list of these, or a dict of "
    "channels, {name: array}"
)


@dataclass(frozen=True)
class PythonImage:
    """An image that was given to :meth:`caseunet.Predictor.predict`.

    Attributes:
        name: to call it by in messages.
        picture: its pixels, in canonical order.
        turn: class ids in canonical order (S, H, W) → in the axes in which it was given.
        geometry: where it lies; None where nothing tells.
        source: the file, where it is one that stays.
    """

    name: str
    picture: ImageVolume
    turn: Callable[[np.ndarray], np.ndarray]
    geometry: Geometry | None = None
    source: Path | None = None


def read_python_image(
    image: Any,
    preprocessing: Preprocessing,
    axes: str | Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    channels: Channels | None = None,
    *,
    display: Display | None = None,
) -> PythonImage:
    """Read whatever holds one image.

    Args:
        image: one of :data:`KINDS`, but no list.
        preprocessing: of the model.
        axes: of an array, see :meth:`caseunet.Predictor.predict`.
        spacing: of an array.
        channels: by which files of one image are known, as :func:`caseunet.prediction.inputs.channels_of` tells.
        display: is told what is left out beside the image.

    Raises:
        CaseUNetError: it cannot be read, is nothing for the model, or nothing tells which way its axes run.
    """
    if isinstance(image, Mapping) and channels is not None:
        stacked, missing = join_arrays({name: _to_array(array) for name, array in image.items()}, channels)
        axes = None if axes is None else "".join(map(str, axes)) + ("C" if preprocessing.channels > 1 else "")
        stacked = stacked if preprocessing.channels > 1 else stacked[..., 0]
        given = _from_array(stacked, preprocessing, axes, spacing)
        return replace(given, picture=replace(given.picture, missing=missing))
    if isinstance(image, torch.Tensor | np.ndarray):
        return _fit(_from_array(_to_array(image), preprocessing, axes, spacing), channels)
    if axes is not None or spacing is not None:
        raise InvalidOptionError(
            "axes and spacing are of arrays and tensors alone: a file or an image object tells its own."
        )
    if isinstance(image, str | os.PathLike):
        return _from_path(Path(image), preprocessing, channels, display)
    if isinstance(image, SpatialImage):
        return _fit(_from_nibabel(image, preprocessing, "the nibabel image"), channels)
    if isinstance(image, Image.Image):
        return _from_pillow(image, preprocessing)
    if type(image).__module__.split(".")[0] == "SimpleITK" and hasattr(image, "GetDirection"):
        return _fit(_from_sitk(image, preprocessing), channels)
    raise InvalidOptionError(f"Expected {KINDS}; found {type(image).__module__}.{type(image).__qualname__}.")


def _to_array(image: Any) -> np.ndarray:
    """The values of an array or tensor.

    Raises:
        CaseUNetError: it is none, or a masked one.
    """
    if isinstance(image, torch.Tensor):
        if image.layout is not torch.strided or image.is_quantized:
            raise InvalidInputError("the tensor: sparse or quantized. Give tensor.to_dense() or tensor.dequantize().")
        tensor = image.detach().cpu()
        image = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    if isinstance(image, np.ma.MaskedArray):
        raise InvalidInputError(
            "the array: a masked one, whose mask says nothing to a network. Give array.filled(value)."
        )
    if not isinstance(image, np.ndarray):
        raise InvalidOptionError(f"Expected a numpy array or a torch tensor; found {type(image).__qualname__}.")
    return image


def _fit(given: PythonImage, channels: Channels | None) -> PythonImage:
    """The image with a remark on the order of its channels, where those of the model have names."""
    return given if channels is None else replace(given, picture=channels.fit(given.picture, ()))


def _from_path(
    path: Path, preprocessing: Preprocessing, channels: Channels | None = None, display: Display | None = None
) -> PythonImage:
    """A file, or a folder or zip with one image."""
    with ExitStack() as unpacked:
        modality = preprocessing.modality
        found = find_inputs([path], display=display, unpacked=unpacked, channels=channels, modality=modality)
        if len(found) > 1:
            raise InvalidInputError(
                f"{path}: holds {len(found)} images, {found[0].id} and {found[1].id} among them. Give one of them, or "
                "segment all with caseunet.predict."
            )
        item = found[0]
        if item.error:
            raise InvalidInputError(item.explain(item.error))
        if item.is_video:
            raise InvalidInputError(
                f"{path}: a video. Segment it with caseunet.predict, which writes a mask for each frame."
            )
        try:
            picture = match_range(item.path, item.read(preprocessing, read_model_input), preprocessing)
            item.check_spacing(picture.geometry.spacing, preprocessing)
        except CaseUNetError as error:
            raise error.with_message(item.explain(str(error))) from error
        source = None if item.given is not None or item.is_dicom else item.files[0]
    return PythonImage(str(path), picture, _file_axes(picture.geometry), picture.geometry, source)


def _file_axes(geometry: Geometry) -> Callable[[np.ndarray], np.ndarray]:
    """Of a volume its file's axes, as nibabel gives them; of a single image (H, W)."""
    if geometry.affine is None:
        return lambda labels: labels[0] if len(labels) == 1 else labels
    return lambda labels: to_source(labels, geometry)


def _through_file(
    name: str, ending: str, write: Callable[[Path], object], preprocessing: Preprocessing
) -> tuple[ImageVolume, Geometry]:
    """An object as its file would be read, so that the same masks come out."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"image{ending}"
        try:
            write(path)
            read = _from_path(path, preprocessing)
        except CaseUNetError as error:
            raise error.with_message(str(error).replace(str(path), name)) from error
        except Exception as error:  # each library has its own kinds
            raise InvalidInputError(f"{name}: cannot be read: {error}") from error
    return read.picture, read.picture.geometry


def _from_nibabel(image: Any, preprocessing: Preprocessing, name: str) -> PythonImage:
    def write(path: Path) -> None:
        data = _storable(np.asanyarray(image.dataobj))
        header = image.header if isinstance(image, nib.Nifti1Pair) else None  # which tells the units
        plain = nib.Nifti2Image if max(data.shape) > np.iinfo(np.int16).max else nib.Nifti1Image
        kind = nib.Nifti2Image if isinstance(image, nib.Nifti2Pair) else plain
        nib.save(kind(data, image.affine, header, dtype=data.dtype), path)

    picture, geometry = _through_file(name, ".nii", write, preprocessing)
    if _is_unplaced(image):
        geometry = replace(geometry, remarks=(*geometry.remarks, UNPLACED))
        picture = replace(picture, geometry=geometry)
    return PythonImage(name, picture, _file_axes(geometry), geometry)


def _is_unplaced(image: Any) -> bool:
    """Whether the place of an ANALYZE image is nibabel's invention: none was given, and no .mat file tells one."""
    is_analyze = isinstance(image, nib.AnalyzeImage) and not isinstance(image, nib.Nifti1Pair)
    return is_analyze and np.allclose(image.affine, image.header.get_best_affine())


def _storable(array: np.ndarray) -> np.ndarray:
    """In a type that files have, and in this machine's byte order, the only one that PyTorch takes."""
    kind = np.uint8 if array.dtype == bool else np.float32 if array.dtype == np.float16 else array.dtype
    return array.astype(np.dtype(kind).newbyteorder("="))


def _from_sitk(image: Any, preprocessing: Preprocessing) -> PythonImage:
    import SimpleITK

    name = "the SimpleITK image"
    if image.GetDimension() == 2:  # a photograph, or a slice without a place in a patient
        array = SimpleITK.GetArrayFromImage(image)
        return _from_array(array, preprocessing, "HW" if array.ndim == 2 else "HWC", None, name)
    picture, geometry = _through_file(name, ".nrrd", lambda path: SimpleITK.WriteImage(image, str(path)), preprocessing)
    return PythonImage(name, picture, lambda labels: to_source(labels, geometry).transpose(2, 1, 0), geometry)


def _from_pillow(image: Image.Image, preprocessing: Preprocessing) -> PythonImage:
    """What lies in its memory, however its file says that it is to be turned."""
    if image.mode in ("HSV", "LAB"):
        raise InvalidInputError(
            f"the Pillow image: of mode {image.mode}, which image files do not have. Give it as RGB."
        )
    plain = image.convert(CONVERTED[image.mode]) if image.mode in CONVERTED else image.copy()
    plain.info = {key: value for key, value in image.info.items() if key == "transparency"}
    ending = ".tif" if image.mode in ("I", "F", "CMYK", "YCbCr") else ".png"
    picture, geometry = _through_file("the Pillow image", ending, plain.save, preprocessing)
    return PythonImage("the Pillow image", picture, _file_axes(geometry))


def _from_array(
    array: np.ndarray,
    preprocessing: Preprocessing,
    axes: str | Sequence[str] | None,
    spacing: Sequence[float] | None,
    name: str = "the array",
) -> PythonImage:
    letters = _check_axes(array, preprocessing, axes)
    places = letters.replace("C", "")
    if spacing is not None:
        spacing = _check_spacing(spacing, places)
    array = np.moveaxis(array, letters.index("C"), -1) if "C" in letters else array[..., None]
    array = as_integers(_storable(array), Path(name))
    read = _from_frames if "H" in places else _from_volume
    return read(array, preprocessing, places, spacing, name)


def _check_spacing(spacing: Sequence[float], places: str) -> list[float]:
    """Millimetres along each of the axes of an array but C.

    Raises:
        CaseUNetError: they are something else.
    """
    try:
        lengths = np.asarray(spacing, np.float64)
    except (TypeError, ValueError):
        lengths = np.zeros(0)
    if lengths.shape != (len(places),) or not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise InvalidOptionError(
            f"spacing {spacing}: expected {len(places)} lengths in mm, finite and above 0, one for each of the axes "
            f"{places}. Which way an axis runs is said by axes= alone."
        )
    return [float(length) for length in lengths]


def _check_axes(array: np.ndarray, preprocessing: Preprocessing, axes: str | Sequence[str] | None) -> str:
    """A letter for each axis of an array: N, H, W of images, or whereto those of a volume run; C of channels.

    Raises:
        CaseUNetError: they are not given where they must be, or do not fit.
    """
    channels, shape = preprocessing.channels, array.shape
    if axes is None:
        if channels == 1 and array.ndim == 2:
            return "HW"
        if channels > 1 and array.ndim == 3 and shape[-1] == channels:
            return "HWC"
        if preprocessing.modality == "rgb" and array.ndim == 4 and shape[-1] == channels:
            return "NHWC"
        one = "(H, W)" if channels == 1 else f"(H, W, {channels})"
        raise InvalidOptionError(
            f"An array of shape {shape}: expected {one}. More axes do not tell which way they run: give axes=, "
            "a letter for each. A volume as nibabel gives it: axes=nibabel.aff2axcodes(image.affine), "
            'such as "RAS"; an axial one as SimpleITK gives it: "SPL"; '
            'slices or images one after another: "NHW". C stands for channels: "CHW". Or give the file, or the image '
            "object of nibabel or SimpleITK, which tell it themselves."
        )
    axes = "".join(str(letter) for letter in axes)  # None in a tuple of nibabel is no letter, and refused
    letters = axes.upper()
    places = letters.replace("C", "")
    is_volume = len(places) == 3 and all(sum(letter in pair for letter in places) == 1 for pair in SIDES)
    is_image = sorted(places) in (["H", "W"], ["H", "N", "W"])
    if not (is_volume or is_image) or letters.count("C") > 1:
        raise InvalidOptionError(
            f'axes "{axes}": expected a letter for each axis: H, W and, of several images, N; or of a volume whereto '
            'in the patient each axis runs, as nibabel says it: "RAS", "LPS"; and C for channels.'
        )
    found = shape[letters.index("C")] if "C" in letters and len(letters) == array.ndim else 1
    if len(letters) != array.ndim or found != channels:
        raise InvalidInputError(
            f'An array of shape {shape} does not fit axes "{axes}" and a model of {count_text(channels, "channel")}.'
        )
    return letters


def _from_frames(
    array: np.ndarray, preprocessing: Preprocessing, places: str, spacing: Sequence[float] | None, name: str
) -> PythonImage:
    """Images whose axes are called N, H and W in some order, and C at the end; without N it is one."""
    is_one = "N" not in places
    if is_one:
        array, places, spacing = array[None], f"N{places}", None if spacing is None else (1.0, *spacing)
    order = [places.index(letter) for letter in "NHW"]
    pixels = np.ascontiguousarray(array.transpose(order[0], 3, order[1], order[2]))
    own = None
    if spacing is not None:
        slices, rows, columns = (float(spacing[axis]) for axis in order)
        own = slices, rows, columns
    Input(name, (), given=Path(name)).check_spacing(own, preprocessing)

    def turn(labels: np.ndarray) -> np.ndarray:
        turned = np.ascontiguousarray(labels.transpose(np.argsort(order)))
        return turned[0] if is_one else turned

    geometry = Geometry(shape=pixels.shape[-2:], spacing=own, remarks=length_remarks(spacing or ()))
    return PythonImage(name, ImageVolume(pixels, geometry), turn)


def _from_volume(
    array: np.ndarray, preprocessing: Preprocessing, places: str, spacing: Sequence[float] | None, name: str
) -> PythonImage:
    """A volume whose first three axes run in the patient as the letters say."""
    if spacing is None:
        raise InvalidOptionError(
            f'A volume of axes "{places}" needs its spacing too: the millimetres along each of them, such as spacing='
            "(0.8, 0.8, 5.0)."
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(places))):
        affine[int(world), axis] = sign * float(spacing[axis])
    read = _from_nibabel(nib.Nifti1Image(array, affine, dtype=array.dtype), preprocessing, name)
    return PythonImage(name, read.picture, read.turn)  # its place in space is made up
