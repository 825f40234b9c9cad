"""What there is to segment: files, folders, archives and raw data sets, each image with the name of its result."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from caseunet.errors import UserError
from caseunet.files import content_hash
from caseunet.io import archive, dicom, images, raster, video
from caseunet.io.images import read_geometry as read_file_geometry
from caseunet.progress import Display
from caseunet.sources import Layout, SourceCase, files_below, matching
from caseunet.types import Geometry, Picture, Preprocessing

SUFFIXES = (*images.SUFFIXES, *dicom.SUFFIXES, *video.SUFFIXES, ".zip")


@dataclass(frozen=True)
class Input:
    """An image to segment and the name of its result.

    Attributes:
        id: name of the result.
        files: of the image.
        case: where a raw layout tells how to read it, that and the case.
        archive: that the files came from.
        error: why it cannot be segmented, where that is known already.
    """

    id: str
    files: tuple[Path, ...]
    case: tuple[Layout, SourceCase] | None = None
    archive: Path | None = None
    error: str = ""

    @property
    def path(self) -> Path:
        """To name it by."""
        return self.archive or self.files[0]

    @property
    def is_dicom(self) -> bool:
        return self.error == "" and dicom.is_dicom(self.files[0])

    @property
    def is_video(self) -> bool:
        return video.is_video(self.files[0])

    @property
    def suffix(self) -> str:
        """Of its mask: the image's own kind where that can hold a mask, NIfTI for DICOM, PNG for JPEG."""
        name = self.files[0].name.lower()
        known = (*images.SUFFIXES[:2], *(s for s in images.SUFFIXES[2:] if s not in (".jpg", ".jpeg")))
        own = next((suffix for suffix in known if name.endswith(suffix)), None)
        return own or (".png" if raster.is_raster(self.files[0]) else ".nii.gz")

    def hash(self) -> str:
        """Of its files; "" where they cannot be read."""
        try:
            return content_hash(*self.files)
        except OSError:
            return ""

    def read(self, preprocessing: Preprocessing, read_file: Callable[[Path, Preprocessing], Picture]) -> Picture:
        """Its pixels; a file by ``read_file``.

        Raises:
            UserError: it cannot be read.
        """
        if self.case is not None:
            layout, source = self.case
            return layout.read_image(source, preprocessing.modality == "rgb")
        if self.is_dicom:
            if preprocessing.modality == "rgb":
                raise UserError(f"{self.path}: a DICOM volume; this model was trained on rgb images.")
            return dicom.read_series(self.files)
        return read_file(self.files[0], preprocessing)

    def geometry(self) -> Geometry:
        """From its headers alone.

        Raises:
            UserError: it cannot be read.
        """
        if self.case is not None:
            layout, source = self.case
            return layout.read_geometry(source)
        return dicom.read_geometry(self.files) if self.is_dicom else read_file_geometry(self.files[0])


def find_inputs(
    inputs: Sequence[Path],
    leave_out: Path | None = None,
    display: Display | None = None,
    unpacked: ExitStack | None = None,
) -> list[Input]:
    """The images that files, folders, archives and raw data sets hold.

    A folder in a known raw layout gives its images under their case ids; any other gives every readable file below it,
    under its path without suffix; a file is called by its name. Files below ``leave_out``, where earlier results may
    lie, are no inputs. What a raw data set cannot give, such as an image that lacks a channel, is said on ``display``.

    Args:
        unpacked: until it is closed, what archives hold lies in folders of its own; without one, they are no inputs.

    Raises:
        UserError: an input is missing or holds no image, or two would be written to the same name.
    """
    display = display or Display()
    found: list[Input] = []
    for path in inputs:
        if path.is_dir():
            inside = _in_folder(path, leave_out, display, unpacked)
            if not inside:
                raise UserError(f"{path}: holds no image ({', '.join(SUFFIXES)}).")
            found += inside
        elif not path.exists():
            raise UserError(f"{path}: no such file or folder.")
        elif archive.is_zip(path) and unpacked is not None:
            found += _in_archive(path, images.stem(path), display, unpacked)
        else:
            found.append(Input(_name(path), (path,)))
    seen: dict[str, Input] = {}
    for item in found:
        if item.id in seen:
            raise UserError(
                f'{item.path} and {seen[item.id].path} would both be written as "{item.id}". Predict them apart.'
            )
        seen[item.id] = item
    return found


def _in_folder(folder: Path, leave_out: Path | None, display: Display, unpacked: ExitStack | None) -> list[Input]:
    fitting = matching(folder)
    if len(fitting) == 1:
        layout = fitting[0]
        cases, findings = layout.cases(folder)
        for finding in findings:
            if finding.level == "error" and finding.kind != "extra-mask":
                display.say(f"  left out: {folder / (finding.file or '')}: {finding.text}", "red")
        return [Input(case.id, case.image, (layout, case)) for case in cases]
    out = None if leave_out is None else leave_out.resolve()
    found: list[Input] = []
    for path in files_below(folder):
        if out is not None and path.resolve().is_relative_to(out):
            continue
        name = path.relative_to(folder).with_name(_name(path)).as_posix()
        if archive.is_zip(path) and unpacked is not None:
            found += _in_archive(path, name, display, unpacked)
        elif images.is_image(path) or video.is_video(path) or dicom.is_dicom(path):
            found.append(Input(name, (path,)))
    return found


def _in_archive(path: Path, name: str, display: Display, unpacked: ExitStack) -> list[Input]:
    """The images of an archive, called by its name; one that cannot be used is an input with an error."""
    try:
        folder = unpacked.enter_context(archive.unpacked(path))
        inside = _in_folder(folder, None, display, None)
    except UserError as error:  # what lies in a folder of ours is told as lying in the archive
        told = str(error) if str(path) in str(error) else f"{path}: {error}"
        return [Input(name, (path,), error=told)]
    if not inside:
        return [Input(name, (path,), error=f"{path}: holds no image ({', '.join(SUFFIXES)}).")]
    alone = len(inside) == 1
    return [Input(name if alone else f"{name}/{item.id}", item.files, item.case, path) for item in inside]


def _name(path: Path) -> str:
    return path.stem if archive.is_zip(path) or path.suffix.lower() in dicom.SUFFIXES else images.stem(path)
