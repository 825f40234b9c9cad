"""What there is to segment: files, folders, archives and raw data sets, each image with the name of its result."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from caseunet.bundle import BundleInfo
from caseunet.datasets import Finding, Layout, SourceCase, files_below, matching
from caseunet.datasets.bids import BidsLayout
from caseunet.datasets.channels import Item, join_channels
from caseunet.datasets.dicom import DICOM, DicomImage, find_images, is_mask
from caseunet.datasets.folder import FOLDER, survey_files
from caseunet.datasets.named_files import NamedLayout
from caseunet.datasets.roles import Choice
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError
from caseunet.files import MARKER, content_hash
from caseunet.io import archive, dicom, images, raster, video
from caseunet.io.images import read_file_geometry
from caseunet.prediction.planes import cut_as_trained
from caseunet.prediction.store import DESCRIPTION, JOURNAL
from caseunet.progress import LOG, Display, count_text
from caseunet.types import Geometry, ImageVolume, Modality, Preprocessing

SUFFIXES = (*images.SUFFIXES, *dicom.SUFFIXES, *video.SUFFIXES, ".zip")

MAX_RESIZING = 16
"""Times that an image's pixels may be larger, or smaller, than those of the training data."""

MAX_NAME = 200
"""Bytes of a result's name: most disks take 255, and endings are added, and more while it is written."""

TAKEN = (
    *(MARKER, LOG, DESCRIPTION, JOURNAL, "preview.html"),
    *(f"{table}.{kind}" for table in ("measurements", "timeline") for kind in ("csv", "json")),
)
"""Files of the predictions as a whole: the folder of a video's masks cannot be called so."""


class Channels(NamedTuple):
    """By which files of one image are known.

    Attributes:
        number: of the channels.
        names: how the files' names end, in order; () for numbers as nnU-Net has them.
    """

    number: int
    names: tuple[str, ...] = ()


def channels_of(info: BundleInfo) -> Channels | None:
    """By which files of one image are known; None where a model's images are one file."""
    number = info.preprocessing.channels
    several = number > 1 and info.preprocessing.modality != "rgb"
    return Channels(number, info.training_data.channel_names) if several else None


@dataclass(frozen=True)
class Input:
    """An image to segment and the name of its result.

    Attributes:
        id: name of the result.
        files: of the image; () where that is none that can be opened.
        case: where a raw layout tells how to read it, that and the case.
        given: what to name it by where that is not its first file: the archive that it came from.
        error: why it cannot be segmented, where that is known already.
        image: of DICOM, what its headers tell.
    """

    id: str
    files: tuple[Path, ...]
    case: tuple[Layout, SourceCase] | None = None
    given: Path | None = None
    error: str = ""
    image: DicomImage | None = None

    @property
    def path(self) -> Path:
        """To name it by."""
        return self.given or self.files[0]

    @property
    def is_dicom(self) -> bool:
        return self.error == "" and dicom.is_dicom(self.files[0])

    @property
    def is_video(self) -> bool:
        return self.error == "" and video.is_video(self.files[0])

    @property
    def suffix(self) -> str:
        """Of its mask: the image's own kind where that can hold a mask, NIfTI for DICOM, PNG for JPEG."""
        if self.image is not None:
            return ".png" if self.image.header.kind == "still" else ".nii.gz"
        name = self.files[0].name.lower()
        known = (*images.SUFFIXES[:2], *(s for s in images.SUFFIXES[2:] if s not in (".jpg", ".jpeg", ".gif")))
        own = next((suffix for suffix in known if name.endswith(suffix)), None)
        return own or (".png" if raster.is_raster(self.files[0]) else ".nii.gz")

    def hash(self) -> str:
        """Of its files; "" where they cannot be read."""
        try:
            return "" if self.error else content_hash(*self.files)
        except OSError:
            return ""

    def read(
        self, preprocessing: Preprocessing, read_file: Callable[[Path, Preprocessing], ImageVolume]
    ) -> ImageVolume:
        """Its pixels, cut into slices as the training data were; a file by ``read_file``.

        Raises:
            CaseUNetError: it cannot be read.
        """
        if self.image is not None:
            self._check_modality(self.image, preprocessing)
        if self.case is not None:
            layout, source = self.case
            return cut_as_trained(layout.read_image(source, preprocessing.modality == "rgb", None), preprocessing)
        return read_file(self.files[0], preprocessing)

    def geometry(self) -> Geometry:
        """From its headers alone.

        Raises:
            CaseUNetError: it cannot be read.
        """
        if self.case is not None:
            layout, source = self.case
            return layout.read_geometry(source)
        return read_file_geometry(self.files[0])

    def explain(self, error: str) -> str:
        """What went wrong, in one line, with the name that was given; archives are unpacked to folders of ours."""
        error = "".join("?" if _unwritable(character) else character for character in error)
        if self.given is None:
            return error if any(str(file) in error for file in self.files) else f"{self.path}: {error}"
        for file in self.files:
            error = error.replace(str(file), file.name)
        return error if str(self.given) in error else f"{self.given}: {error}"

    def check_spacing(self, spacing: tuple[float, float, float] | None, preprocessing: Preprocessing) -> None:
        """Make sure that the network can look at the image in its own spacing: one in wrong units would become huge.

        Raises:
            CaseUNetError: it cannot.
        """
        if spacing is None or preprocessing.spacing is None:
            return
        pairs = list(zip(spacing[1:], preprocessing.spacing, strict=True))
        if not all(1 / MAX_RESIZING <= own / wanted <= MAX_RESIZING for own, wanted in pairs):
            own, wanted = (" × ".join(f"{length:.3g}" for length in lengths) for lengths in zip(*pairs, strict=True))
            raise InvalidInputError(
                f"{self.path}: its pixels are {own} mm large, those of the training data {wanted} mm. Its header is "
                "wrong, or it is no image for this model."
            )

    def _check_modality(self, image: DicomImage, preprocessing: Preprocessing) -> None:
        """Make sure that DICOM is what the model was trained on.

        Raises:
            CaseUNetError: it is not.
        """
        if image.suits(preprocessing.modality):
            return
        header, trained = image.header, f"this model was trained on {preprocessing.modality} images."
        if header.localizer:
            raise InvalidInputError(f"{self.path}: a scout view (ImageType LOCALIZER), no slice of a volume; {trained}")
        modality = "".join(character for character in header.modality if character.isprintable())[:16]
        kind = "a volume" if header.kind == "volume" else f"{'a colour' if header.colored else 'a grey'} image"
        raise InvalidInputError(f"{self.path}: DICOM of modality {modality or 'unknown'}, {kind}; {trained}")


def find_inputs(
    inputs: Sequence[Path],
    leave_out: Path | None = None,
    display: Display | None = None,
    unpacked: ExitStack | None = None,
    channels: Channels | None = None,
    modality: Modality | None = None,
) -> list[Input]:
    """The images that files, folders, archives and raw data sets hold.

    A folder in a known raw layout gives its images under their case ids; any other gives every readable file below it,
    under its path without suffix, DICOM series under that of their folder; a file is called by its name. Files below
    ``leave_out``, where earlier results may lie, are no inputs. What a raw data set cannot give, such as an image that
    lacks a channel, is said on ``display``; what cannot be opened, or under a name that cannot be written, is an input
    with an error.

    Args:
        unpacked: until it is closed, what archives hold lies in folders of its own; without one, they are no inputs.
        channels: by which files of one image are known; None where an image is one file.
        modality: of the model; DICOM of other modalities is left out, with a note, where there is some of this.

    Raises:
        CaseUNetError: an input is missing or holds no image, or two would be written to the same name.
    """
    display = display or Display()
    found: list[Input] = []
    for path in inputs:
        if _unwritable(str(path)):
            found.append(_check(Input(_name(path), (path,))))  # is told before anything looks into it
        elif _is(path.is_dir, path):
            inside = _in_folder(path, leave_out, display, unpacked, channels, modality)
            if not inside:
                raise InvalidInputError(f"{path}: holds no image ({', '.join(SUFFIXES)}).")
            found += inside
        elif not _is(path.exists, path):
            raise InputNotFoundError(f"{path}: no such file or folder.")
        elif archive.is_zip(path) and unpacked is not None:
            found += _in_archive(path, images.stem(path), display, unpacked, channels, modality)
        elif dicom.is_dicom(path):
            found += _of_file(path, display)
        else:
            found.append(_check(Input(_name(path), (path,))))
    if channels is not None:
        found = _join_channels(found, channels)
    _check_apart(found)
    return found


def _is(question: Callable[[], bool], path: Path) -> bool:
    """What the disk answers; a name that is too long for it is an error."""
    try:
        return question()
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}.") from error


def _check_apart(found: Sequence[Input]) -> None:
    """Make sure that no result lies where another does.

    Raises:
        CaseUNetError: two do.
    """
    seen: dict[str, Input] = {}
    for item in found:
        if item.id in seen:
            raise InvalidInputError(
                f'{item.path} and {seen[item.id].path} would both be written as "{item.id}". Predict them apart.'
            )
        seen[item.id] = item
    for item in found:
        for folder in Path(item.id).parents:
            if (other := seen.get(folder.as_posix())) is not None and other.is_video:
                raise CaseUNetError(
                    f"{item.path} would be written among the masks of {other.path}. Predict them apart."
                )


def _join_channels(found: Sequence[Input], channels: Channels) -> list[Input]:
    """The inputs, those files as one that hold the channels of one image by their names."""
    single = {
        item.id: item for item in found if item.case is None and not item.error and images.is_image(item.files[0])
    }
    items = [Item(item.files, *_parts(item.id)) for item in single.values()]
    numbers = [f"{number:04d}" for number in range(channels.number)]  # as nnU-Net has them
    for names in (channels.names, numbers):
        by_key, _ = join_channels(items, names) if len(names) > 1 else ({}, [])
        if by_key:
            break
    else:
        return list(found)
    joined: dict[str, Input] = {}
    used: dict[Path, str] = {}
    for key, files in by_key.items():
        paths = tuple(files[n].paths[0] for n in sorted(files))
        folder, _, last = key.rpartition("/")
        name = folder if last in ("", folder.rpartition("/")[2]) and folder else key  # a folder that is called so
        missing = [channel for n, channel in enumerate(names) if n not in files]
        if missing:
            error = f"{paths[0]}: channel {', '.join(missing)} of {name} is missing; each image has {', '.join(names)}."
            joined[key] = Input(name, paths, error=error)
        else:
            joined[key] = Input(name, paths, (FOLDER, SourceCase(name, paths, (), name)))
        used |= dict.fromkeys(paths, key)
    order = {used.get(item.files[0], item.id) if item.files else item.id: item for item in found}
    return [_check(joined.get(key, item)) for key, item in order.items()]


def _parts(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


def _of_file(path: Path, display: Display) -> list[Input]:
    """The images of one DICOM file, called by its name."""
    if not _is(path.is_file, path):
        return [_check(Input(_name(path), (path,)))]
    try:
        (cases, findings), found = find_images(path.parent, [path], None)
    except CaseUNetError as error:
        return [_check(Input(_name(path), (path,), error=_about(path, str(error))))]
    _say_left_out(path.parent, findings, display)
    names = [f"{_name(path)}/{case.volume}" if case.volume else _name(path) for case in cases]
    return [
        _check(Input(name, case.image, (DICOM, case), image=image))
        for name, case, image in zip(names, cases, found, strict=True)
    ]


def _about(path: Path, error: str) -> str:
    """What was said of a folder, said of the only file that was looked at."""
    told = error.removeprefix(f"{path}: ").removeprefix(f"{path.parent}: ")
    return f"{path}: " + told.removeprefix("none of its DICOM files can be read; the first: ")


def _in_folder(
    folder: Path,
    leave_out: Path | None,
    display: Display,
    unpacked: ExitStack | None,
    channels: Channels | None,
    modality: Modality | None,
) -> list[Input]:
    unread = [path for path in files_below(folder) if images.is_unread(path)]
    if unread:
        display.caution(f"left out: {_list_inputs(unread, folder)}: of a kind that is not read")
    fitting = matching(folder)
    if len(fitting) == 1 and fitting[0] is not DICOM:
        return _in_layout(folder, fitting[0], display, channels)
    out = None if leave_out is None else leave_out.resolve()
    files = [
        path
        for path in files_below(folder)
        if out is None or not Path(os.path.realpath(path)).is_relative_to(out)  # unlike resolve, for links in a circle
    ]
    slices = [path for path in files if dicom.is_dicom(path)]
    others = [path for path in files if path not in set(slices) and _is_input(path, unpacked)]
    found: list[Input] = []
    if slices:
        found, others = _series(folder, files, others, display, modality)
    for path in others:
        name = _inside(path, folder)
        if archive.is_zip(path) and unpacked is not None:
            found += _in_archive(path, name, display, unpacked, channels, modality)
        else:
            found.append(_check(Input(name, (path,))))
    return found


def _is_input(path: Path, unpacked: ExitStack | None) -> bool:
    return images.is_image(path) or video.is_video(path) or (archive.is_zip(path) and unpacked is not None)


def _in_layout(folder: Path, layout: Layout, display: Display, channels: Channels | None) -> list[Input]:
    """The cases of a raw data set; one that lacks a channel is an input with an error."""
    choice = Choice(channels=channels.names if channels is not None else ())
    if choice and layout is FOLDER:
        cases, findings = survey_files(folder, choice).listing
    elif choice and isinstance(layout, NamedLayout | BidsLayout) and layout.selects(folder, choice):
        cases, findings = layout.cases(folder, choice)
    else:
        cases, findings = layout.cases(folder)
    broken = []
    for finding in findings:
        if finding.kind == "channels" and finding.file is not None:
            path = folder / finding.file
            broken.append(_check(Input(_inside(path, folder), (path,), error=f"{path}: {finding.text}.")))
        elif finding.level == "error" and finding.kind != "extra-mask":
            display.caution(f"left out: {folder / (finding.file or '')}: {finding.text}", "red")
    return [_check(Input(case.id, case.image, (layout, case))) for case in cases] + broken


def _series(
    folder: Path, files: Sequence[Path], others: Sequence[Path], display: Display, modality: Modality | None
) -> tuple[list[Input], list[Path]]:
    """The DICOM images of a folder, and which of its other files are inputs: volumes that are no masks.

    Pictures and videos beside series are what viewers and archives add. A file that cannot be read is an input with an
    error, for a series that lacks a slice at its end looks whole.

    Raises:
        CaseUNetError: there is no DICOM image, and nothing else.
    """
    try:
        (cases, findings), found = find_images(folder, files, modality)
    except CaseUNetError as error:
        if not others:
            raise
        held = str(error) if "no DICOM image" in str(error) else ""
        return [
            _check(Input(_inside(path, folder), (path,), error=_about(path, held) if held else ""))
            for path in files
            if dicom.is_dicom(path)
        ], list(others)
    unreadable = [finding for finding in findings if finding.kind == "unreadable"]
    _say_left_out(folder, findings, display)
    masks = [path for path in others if images.is_volume(path) and is_mask(path)]
    if masks:
        display.caution(f"left out: {_list_inputs(masks, folder)}: {_masks(len(masks))} by name or values, no scan")
    left = [path for path in others if raster.is_raster(path) or video.is_video(path)]
    if left:
        display.caution(f"left out: {count_text(len(left), 'file')} beside DICOM series, {left[0]} among them")
    inputs = [
        _check(Input(case.id, case.image, (DICOM, case), image=image)) for case, image in zip(cases, found, strict=True)
    ]
    for finding in unreadable:
        path = folder / (finding.file or "")
        inputs.append(_check(Input(_inside(path, folder), (path,), error=f"{path}: {finding.text}")))
    return inputs, [path for path in others if path not in {*masks, *left}]


def _masks(count: int) -> str:
    return "a mask" if count == 1 else "masks"


def _list_inputs(paths: Sequence[Path], folder: Path) -> str:
    names = [path.relative_to(folder).as_posix() for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _say_left_out(folder: Path, findings: Sequence[Finding], display: Display) -> None:
    """What is no input, and series that are several."""
    for finding in findings:
        if finding.kind == "left-out" and " beside " not in finding.text:
            display.caution(f"left out: {finding.text}")
        elif finding.kind == "volumes":
            display.caution(finding.text)


def _in_archive(
    path: Path,
    name: str,
    display: Display,
    unpacked: ExitStack,
    channels: Channels | None,
    modality: Modality | None,
) -> list[Input]:
    """The images of an archive, called by its name; one that cannot be used is an input with an error."""
    try:
        folder = unpacked.enter_context(archive.unpack_zip(path))
    except CaseUNetError as error:
        return [_check(Input(name, (path,), error=str(error)))]
    try:
        inside = _in_folder(folder, None, display, None, channels, modality)
        inside = inside if channels is None else _join_channels(inside, channels)
        if not inside:
            raise InvalidInputError(f"{path}: holds no image ({', '.join(SUFFIXES)}).")
    except CaseUNetError as error:
        return [_check(Input(name, (path,), error=_of_archive(path, folder, str(error))))]
    names = [name if len(inside) == 1 else f"{name}/{item.id}" for item in inside]
    return [
        _check(replace(item, id=own, given=path, error=_of_archive(path, folder, item.error)))
        for own, item in zip(names, inside, strict=True)
    ]


def _of_archive(path: Path, folder: Path, error: str) -> str:
    """An error about what was unpacked to a folder of ours, told as lying in the archive; "" where there is none."""
    told = error.replace(f"{folder}: ", "").replace(f"{folder}{os.sep}", "")
    return told if not told or str(path) in told else f"{path}: {told}"


def _check(item: Input) -> Input:
    """The input, or one with an error where it cannot be opened, or its result not be called like it."""
    path, name = item.path, item.id.rpartition("/")[2]
    if _unwritable(str(path)) or _unwritable(item.id):
        shown = ascii(str(path))
        error = f"{shown}: its name holds a line break or another character that cannot be written down. Rename it."
        return Input(ascii(item.id)[1:-1], (), given=Path(shown[1:-1]), error=error)
    if item.error:
        return item
    if not all(os.path.isfile(file) for file in item.files):  # to open a pipe would wait for whoever fills it
        error = f"{path}: is no file that can be read, but a pipe, a device or a link that leads nowhere."
        return Input(item.id, (), given=path, error=error)
    if name in ("", ".", "..") or (item.is_video and item.id in TAKEN):
        return replace(item, error=f'{path}: its result cannot be called "{item.id}". Rename it.')
    if len(name.encode()) > MAX_NAME:
        return replace(
            item, error=f"{path}: its name is longer than {MAX_NAME} bytes, too long for results. Rename it."
        )
    return item


def _unwritable(text: str) -> bool:
    """Whether it breaks lines, steers a terminal, or is no text at all, so that no table or message can hold it."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def _inside(path: Path, folder: Path) -> str:
    """What a file in a folder is called: its path there without suffix."""
    return path.relative_to(folder).with_name(_name(path)).as_posix()


def _name(path: Path) -> str:
    return path.stem if archive.is_zip(path) or path.suffix.lower() in dicom.SUFFIXES else images.stem(path)
