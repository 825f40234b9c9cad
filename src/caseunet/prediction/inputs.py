"""What there is to segment: files, folders, archives and raw data sets, each image with the name of its result."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from caseunet.datasets import Finding, Layout, SourceCase, files_below, matching
from caseunet.datasets.bids import BidsLayout
from caseunet.datasets.channels import SEPARATORS, Item, join_channels, split_channel
from caseunet.datasets.dicom import DICOM, DicomImage, find_images, is_mask
from caseunet.datasets.folder import FOLDER
from caseunet.datasets.named_files import NamedLayout
from caseunet.datasets.nnunet import NnUNetLayout
from caseunet.datasets.roles import Choice
from caseunet.datasets.survey import survey_files
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError
from caseunet.files import MARKER
from caseunet.io import archive, dicom, images, itk, raster, video
from caseunet.io.images import read_file_geometry
from caseunet.io.slides import find_mask_suffix
from caseunet.prediction.channels import DROPOUT_ADVICE, Channels
from caseunet.prediction.planes import cut_as_trained
from caseunet.prediction.store import DESCRIPTION, JOURNAL, FailedCase
from caseunet.progress import LOG, Display
from caseunet.types import Geometry, ImageVolume, Modality, Preprocessing

SUFFIXES = (*images.SUFFIXES, *dicom.SUFFIXES, *video.SUFFIXES, ".zip")

MAX_RESIZING = 16
"""Times that an image's pixels may be larger, or smaller, than those of the training data."""

MAX_NAME = 200
"""Bytes of a result's name: most disks take 255, and endings are added, and more while it is written."""

NUMBERED, MAX_NUMBERED = re.compile(r"(.+)_\d{4}"), 8
"""How the name of a channel ends that is a file of its own, as nnU-Net has it, and up to how many there are."""

TAKEN = (
    *(MARKER, LOG, DESCRIPTION, JOURNAL, "preview.html"),
    *(f"{table}.{kind}" for table in ("measurements", "timeline") for kind in ("csv", "json")),
)
"""Files of the predictions as a whole: the folder of a video's masks cannot be called so."""


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
        channels: that the model takes; None where its images are one file of all it sees.
        present: which of the model's channels the files are, where each is one.
        siblings: files of all channels, where the model takes some of them.
    """

    id: str
    files: tuple[Path, ...]
    case: tuple[Layout, SourceCase] | None = None
    given: Path | None = None
    error: str = ""
    image: DicomImage | None = None
    channels: Channels | None = None
    present: tuple[int, ...] = ()
    siblings: tuple[Path, ...] = ()

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
        """Of its mask: the image's own kind where that holds a mask in one file, NIfTI for DICOM, PNG for JPEG."""
        if self.image is not None:
            return ".png" if self.image.header.kind == "still" else ".nii.gz"
        name = self.files[0].name.lower()
        own = find_mask_suffix(self.files[0]) or next((end for end in images.WRITTEN if name.endswith(end)), None)
        beside = itk.DETACHED.get(self.files[0].suffix.lower(), ".nii.gz")
        return own or (".png" if raster.is_raster(self.files[0]) else beside)

    @property
    def all_files(self) -> tuple[Path, ...]:
        """By which the image is known again: those of channels that the model does not take, too."""
        return self.siblings or self.files

    def hash(self) -> str:
        """Of its files; "" where they cannot be read."""
        try:
            return "" if self.error else images.hash_images(*self.all_files)
        except (OSError, CaseUNetError):
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
            read = cut_as_trained(layout.read_image(source, preprocessing.modality == "rgb", None), preprocessing)
        else:
            read = read_file(self.files[0], preprocessing)
        return read if self.channels is None else self.channels.fit(read, self.present)

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


@dataclass(frozen=True)
class _Search:
    """How images are looked for, and what is found that is none; see :func:`find_inputs`."""

    display: Display
    unpacked: ExitStack | None
    channels: Channels | None
    modality: Modality | None
    out: Path | None = None
    left_out: list[FailedCase] = field(default_factory=list)

    def is_input(self, path: Path) -> bool:
        return images.is_image(path) or video.is_video(path) or self.is_archive(path)

    def is_archive(self, path: Path) -> bool:
        return archive.is_zip(path) and self.unpacked is not None

    def is_below_out(self, path: Path) -> bool:
        return self.out is not None and Path(os.path.realpath(path)).is_relative_to(
            self.out
        )  # links may run in circles

    def leave_out(self, paths: Sequence[Path], folder: Path, why: str, style: str = "yellow") -> None:
        """Tell that files in a folder are no inputs."""
        if paths:
            self.display.caution(f"left out: {_list_inputs(paths, folder)}: {why}", style)
        for path in paths:
            shown = ascii(str(path))[1:-1] if _unwritable(str(path)) else str(path)
            name = ascii(path.name)[1:-1] if shown != str(path) else _inside(path, folder)
            self.left_out.append(FailedCase(id=name, image=shown, error=f"{shown}: {why}"))


def find_inputs(
    inputs: Sequence[Path],
    leave_out: Path | None = None,
    display: Display | None = None,
    unpacked: ExitStack | None = None,
    channels: Channels | None = None,
    modality: Modality | None = None,
    left_out: list[FailedCase] | None = None,
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
        left_out: is given what is no input, and why. Masks beside their images are no more than that.

    Raises:
        CaseUNetError: an input is missing or holds no image, or two would be written to the same name.
    """
    out = None if leave_out is None else leave_out.resolve()
    search = _Search(display or Display(), unpacked, channels, modality, out, [] if left_out is None else left_out)
    found: list[Input] = []
    for path in inputs:
        if _unwritable(str(path)):
            found.append(_check(Input(_name(path), (path,))))  # is told before anything looks into it
        elif _is(path.is_dir, path) and not images.is_readable(path):
            inside = _in_folder(path, search)
            if not inside:
                raise InvalidInputError(f"{path}: holds no image ({', '.join(SUFFIXES)}).")
            found += inside
        elif not _is(path.exists, path):
            raise InputNotFoundError(f"{path}: no such file or folder.")
        elif search.is_archive(path):
            found += _in_archive(path, images.stem(path), search)
        elif dicom.is_dicom(path):
            found += _of_file(path, search)
        else:
            found.append(_check(Input(_name(path), (path,))))
    if channels is not None:
        found = [
            replace(item, channels=channels) if len(item.files) == 1 else item
            for item in _join_channels(found, channels, search)
        ]
    else:
        _warn_of_numbers(found, search.display)
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


def _warn_of_numbers(found: Sequence[Input], display: Display) -> None:
    """Say which images a model of one channel may be given of which each is a channel."""
    named: dict[str, list[Input]] = {}
    for item in found:
        if (match := NUMBERED.fullmatch(item.id)) and item.case is None and not item.error and item.files:
            named.setdefault(match[1], []).append(item)
    groups = [items for items in named.values() if 2 <= len(items) <= MAX_NUMBERED and images.is_volume(items[0].path)]
    if groups:
        names = " and ".join(item.id.rpartition("/")[2] for item in groups[0][:2])
        more = f" (so are those of {len(groups) - 1} more images)" if len(groups) > 1 else ""
        display.caution(
            f"{names} are called like channels of one image{more}. This model takes images of one channel and segments "
            "each by itself: give it only the channel that it was trained on."
        )


def _join_channels(found: Sequence[Input], channels: Channels, search: _Search) -> list[Input]:
    """The inputs, those files as one that hold the channels of one image by their names."""
    single = {
        item.id: item for item in found if item.case is None and not item.error and images.is_image(item.files[0])
    }
    items = [Item(item.files, *_parts(item.id)) for item in single.values()]
    joined: dict[str, Input] = {}
    used: dict[Path, str] = {}
    for names in (channels.all_names, channels.numbers):
        by_key, items = join_channels(items, names) if len(names) > 1 else ({}, items)
        for key, files in by_key.items():
            if channels.order and names is not channels.all_names and len(files) == 1:
                continue  # an image of all channels may have a name that ends so
            joined[key] = _join_files(key, files, channels, is_named=names is channels.all_names)
            used |= {path: key for item in files.values() for path in item.paths}
        if by_key and not channels.order:
            break
    order = {used.get(item.files[0], item.id) if item.files else item.id: item for item in found}
    found = [_check(joined.get(key, item)) for key, item in order.items()]
    several = {item.id for item in found if len(item.all_files) > 1}
    beside = [item for item in found if item.id in single and _is_beside(item.id, several)]
    for item in beside:
        search.leave_out(item.files, item.files[0].parent, "none of the channels of the image that it is called like")
    return [item for item in found if item not in beside]


def _join_files(key: str, files: Mapping[int, Item], channels: Channels, *, is_named: bool) -> Input:
    """The channels of one image, by their places among all; with an error where one is missing, or where numbers do not
    tell which they are."""
    paths = tuple(files[n].paths[0] for n in sorted(files))
    name = _name_image(key)
    if channels.order and not is_named:
        return Input(name, paths, error=_numbered(paths, channels))
    return _select_channels(name, {n: item.paths[0] for n, item in files.items()}, channels)


def _name_image(key: str) -> str:
    """The key, or the folder where that is called like the image in it."""
    folder, last = _parts(key)
    return folder if last in ("", folder.rpartition("/")[2]) and folder else key


def _select_channels(
    name: str, files: Mapping[int, Path], channels: Channels, layout: Layout = FOLDER, group: str = ""
) -> Input:
    """The image of the model's channels, of files by their places among all; with an error where it lacks one."""
    siblings = tuple(files[n] for n in sorted(files))
    present = tuple(c for c, place in enumerate(channels.places) if place in files)
    paths = tuple(files[channels.places[c]] for c in present)
    missing = [channels.name_of(place) for place in channels.places if place not in files]
    if missing and not (channels.fill and present):
        wanted = ", ".join(map(channels.name_of, channels.places))
        error = f"{siblings[0]}: channel {', '.join(missing)} of {name} is missing; each image has {wanted}."
        return Input(name, siblings, error=f"{error} {DROPOUT_ADVICE}")
    case = SourceCase(name, paths, (), group or name)
    return Input(name, paths, (layout, case), channels=channels, present=present, siblings=siblings)


def _numbered(paths: Sequence[Path], channels: Channels) -> str:
    """What is wrong with numbered channels where a model's have names."""
    stem, ending = images.stem(paths[0]), paths[0].name[len(images.stem(paths[0])) :]
    wanted = " and ".join(f"{stem[:-5] or 'image'}-{name}{ending}" for name in channels.names[:2])
    return (
        f"{paths[0]}: its {len(paths)} channels are numbered, which does not tell what each of them shows. This model "
        f"expects {channels.order}. Name each file by its channel, such as {wanted}, or give one file that holds all "
        "channels in this order."
    )


def _is_beside(name: str, several: Collection[str]) -> bool:
    """Whether a file is called like an image of several files, with more at its end."""
    return any(name[:at] in several for at in range(len(name)) if name[at] in SEPARATORS)


def _parts(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


def _of_file(path: Path, search: _Search) -> list[Input]:
    """The images of one DICOM file, called by its name."""
    if not _is(path.is_file, path):
        return [_check(Input(_name(path), (path,)))]
    try:
        (cases, findings), found = find_images(path.parent, [path], None)
    except CaseUNetError as error:
        return [_check(Input(_name(path), (path,), error=_about(path, str(error))))]
    _say_left_out(path.parent, findings, search)
    names = [f"{_name(path)}/{case.volume}" if case.volume else _name(path) for case in cases]
    return [
        _check(Input(name, case.image, (DICOM, case), image=image))
        for name, case, image in zip(names, cases, found, strict=True)
    ]


def _about(path: Path, error: str) -> str:
    """What was said of a folder, said of the only file that was looked at."""
    told = error.removeprefix(f"{path}: ").removeprefix(f"{path.parent}: ")
    return f"{path}: " + told.removeprefix("none of its DICOM files can be read; the first: ")


def _in_folder(folder: Path, search: _Search) -> list[Input]:
    files = [path for path in files_below(folder) if not search.is_below_out(path)]
    search.leave_out([path for path in files if images.is_unread(path)], folder, "of a kind that is not read")
    fitting = matching(folder)
    found: list[Input] = []
    if len(fitting) == 1 and fitting[0] is not DICOM:
        found, files = _in_layout(folder, files, fitting[0], search)
    slices = [path for path in files if dicom.is_dicom(path)]
    others = [path for path in files if path not in set(slices) and search.is_input(path)]
    if slices:
        try:
            series, others = _series(folder, files, others, search)
        except CaseUNetError as error:
            if not found:
                raise
            search.leave_out(slices, folder, _about(folder, str(error)).removeprefix(f"{folder}: "))
            series = []
        found += series
    for path in others:
        name = _inside(path, folder)
        found += _in_archive(path, name, search) if search.is_archive(path) else [_check(Input(name, (path,)))]
    return found


def _in_layout(folder: Path, files: Sequence[Path], layout: Layout, search: _Search) -> tuple[list[Input], list[Path]]:
    """The cases of a raw data set, and files that may be images without being part of it.

    A case that lacks a channel is an input with an error. In a folder of images and masks, images without a mask may
    lie anywhere. Data sets of other layouts have a place for each image, so that what lies elsewhere is left out.
    """
    channels = search.channels
    used: set[Path] = set()
    choice = Choice(channels=channels.all_names if channels is not None and not channels.by_number else ())
    if layout is FOLDER:
        survey = survey_files(folder, choice)
        used.update(survey.masks)
        cases, findings = survey.listing
    elif choice and isinstance(layout, NamedLayout | BidsLayout) and layout.selects(folder, choice):
        cases, findings = layout.cases(folder, choice)
    else:
        cases, findings = layout.cases(folder)
    cases = tuple(case for case in cases if not search.is_below_out(case.image[0]))
    used.update(path for case in cases for path in (*case.image, *case.label))
    found = []
    for case in cases:
        found.append(_check(_of_case(case, layout, channels)))
    for finding in findings:
        paths = [folder / file for file in finding.files or (finding.file,) if file]
        if finding.kind == "channels" and paths:
            error = Input(_inside(paths[0], folder), (paths[0],), error=f"{paths[0]}: {finding.text}.")
            found.append(_check(_of_incomplete(paths, folder, layout, channels) or error))
        elif finding.level == "error" and not paths:
            search.display.caution(f"left out: {folder}: {finding.text}", "red")
        elif finding.level == "error" and not used.issuperset(paths):
            search.leave_out(paths, folder, finding.text, "red")
        elif finding.kind == "extra-mask":
            search.leave_out(paths, folder, finding.text)
        else:
            continue
        used.update(paths)
    others = [path for path in files if path not in used and (search.is_input(path) or dicom.is_dicom(path))]
    if layout is not FOLDER:
        search.leave_out(others, folder, f"no part of the data set, whose layout is {layout.name}")
        return found, []
    archives = [path for path in others if archive.is_zip(path)]
    search.leave_out(archives, folder, "archives beside images and masks. Give them by themselves")
    volumes = bool(cases) and all(images.is_volume(case.image[0]) for case in cases)
    pictures = [path for path in others if volumes and (raster.is_raster(path) or video.is_video(path))]
    search.leave_out(pictures, folder, "pictures beside volumes")
    return found, [path for path in others if path not in {*archives, *pictures}]


def _of_case(case: SourceCase, layout: Layout, channels: Channels | None) -> Input:
    """The image of a case of a raw data set: the model's channels, where its files are one each."""
    whole = Input(case.id, case.image, (layout, case))
    if channels is None or len(case.image) == 1:
        return whole
    if isinstance(layout, NnUNetLayout) and channels.order:
        return replace(whole, error=_numbered(case.image, channels))
    _, files = _split_names(case.image, channels)
    if len(files) < len(case.image) == len(channels.numbers):
        files = dict(enumerate(case.image))  # names do not tell, but the layout has them in order
    if len(files) < len(case.image):
        return whole
    return _select_channels(case.id, files, channels, layout, case.group)


def _of_incomplete(paths: Sequence[Path], folder: Path, layout: Layout, channels: Channels | None) -> Input | None:
    """The image of files of which a raw data set says that one is missing; None where their names do not tell."""
    if channels is None or (isinstance(layout, NnUNetLayout) and channels.order):
        return None
    name, files = _split_names(paths, channels)
    if len(files) < len(paths):
        return None
    if layout is FOLDER:
        name = _name_image(f"{_parts(_inside(paths[0], folder))[0]}/{name}".strip("/"))
    return _select_channels(name, files, channels, layout)


def _split_names(paths: Sequence[Path], channels: Channels) -> tuple[str, dict[int, Path]]:
    """What the files of an image are called without their channels, and {place among all channels: file}."""
    for names in (channels.all_names, channels.numbers):
        split = [split_channel(images.stem(path), names) for path in paths]
        found = {place[1]: path for place, path in zip(split, paths, strict=True) if place is not None}
        if found and split[0] is not None:
            return split[0][0] or paths[0].parent.name, found
    return "", {}


def _series(
    folder: Path, files: Sequence[Path], others: Sequence[Path], search: _Search
) -> tuple[list[Input], list[Path]]:
    """The DICOM images of a folder, and which of its other files are inputs: volumes that are no masks.

    Pictures and videos beside series are what viewers and archives add. A file that cannot be read is an input with an
    error, for a series that lacks a slice at its end looks whole.

    Raises:
        CaseUNetError: there is no DICOM image, and nothing else.
    """
    try:
        (cases, findings), found = find_images(folder, files, search.modality)
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
    _say_left_out(folder, findings, search)
    masks = [path for path in others if images.is_volume(path) and is_mask(path)]
    search.leave_out(masks, folder, f"{_masks(len(masks))} by name or values, no scan")
    left = [path for path in others if raster.is_raster(path) or video.is_video(path)]
    search.leave_out(left, folder, "beside DICOM series")
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


def _say_left_out(folder: Path, findings: Sequence[Finding], search: _Search) -> None:
    """What is no input, and series that are several."""
    for finding in findings:
        if finding.kind == "left-out" and " beside " not in finding.text:
            search.display.caution(f"left out: {finding.text}")
            for file in (finding.file,) if finding.file else ():
                search.left_out.append(FailedCase(id=file, image=str(folder / file), error=finding.text))
        elif finding.kind == "volumes":
            search.display.caution(finding.text)


def _in_archive(path: Path, name: str, search: _Search) -> list[Input]:
    """The images of an archive, called by its name; one that cannot be used is an input with an error."""
    if search.unpacked is None:
        return []
    try:
        folder = search.unpacked.enter_context(archive.unpack_zip(path))
    except CaseUNetError as error:
        return [_check(Input(name, (path,), error=str(error)))]
    own = replace(search, unpacked=None, out=None, left_out=[])
    try:
        inside = _in_folder(folder, own)
        inside = inside if own.channels is None else _join_channels(inside, own.channels, own)
        if not inside:
            raise InvalidInputError(f"{path}: holds no image ({', '.join(SUFFIXES)}).")
    except CaseUNetError as error:
        return [_check(Input(name, (path,), error=_of_archive(path, folder, str(error))))]
    search.left_out.extend(
        FailedCase(id=f"{name}/{left.id}", image=str(path), error=_of_archive(path, folder, left.error))
        for left in own.left_out
    )
    names = [name if len(inside) == 1 else f"{name}/{item.id}" for item in inside]
    return [
        _check(replace(item, id=own_name, given=path, error=_of_archive(path, folder, item.error)))
        for own_name, item in zip(names, inside, strict=True)
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
    if not all(images.is_readable(file) for file in item.files):  # to open a pipe would wait for whoever fills it
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
