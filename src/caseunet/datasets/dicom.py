"""A tree of DICOM series and images, with masks as segmentation objects, contours (RTSTRUCT), or files.

Each CT or MR volume is a case, named by its folder; a series that holds several, such as phases or echoes, is several
cases. Without any volume each still image (DX, MG, US …) is a case, and each of its frames. Scout views, reports and
other kinds are left out, which is told. A mask in DICOM belongs to the series that it references. Without any, a file
belongs to the image whose folder or patient it is named after, the nearest if there are several, or to the only one in
its folder. The group is the patient (PatientID), for several series of one patient are alike; without it the study.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caseunet.datasets import reading
from caseunet.datasets.class_files import tell_absent
from caseunet.datasets.class_names import is_background, spelling_notes, unify_spellings
from caseunet.datasets.coding import coding_of, read_labels_json
from caseunet.datasets.layout import (
    Finding,
    Level,
    Listing,
    SourceCase,
    SourceDataset,
    extra_mask,
    fault,
    files_below,
    left_out,
    natural,
    no_cases,
    relative,
)
from caseunet.datasets.names import MASK_WORDS, bare_name
from caseunet.datasets.repair import CaseRepair
from caseunet.errors import CaseUNetError, InvalidInputError, SeveralMasksError
from caseunet.io import dicom, images, raster
from caseunet.io.dicom import Header
from caseunet.io.dicom_mixtures import part_projections
from caseunet.io.dicom_stack import is_stack
from caseunet.io.dicom_volumes import split_volumes
from caseunet.progress import count_text
from caseunet.types import Geometry, ImageVolume, LabelCoding, Mask, Modality, name_key

MAX_CLASSES = 254

MAX_MASK_VALUES = 32
"""Different values of a volume up to which it is a mask rather than a scan."""

FRAME = "frame_"
"""What the parts of an image with several frames are called, before their numbers."""

_ACCEPTED: dict[Modality, tuple[str, ...]] = {"ct": ("CT", ""), "mr": ("MR", ""), "gray": dicom.VOLUMES, "rgb": ()}
"""Modalities of volumes that a model may look at; "" is one that no element tells."""

_MASK_NAME = re.compile(rf"(?:^|[^a-z]){MASK_WORDS}(?:[^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class DicomImage:
    """A volume, or a frame of a still image.

    Attributes:
        name: of the case.
        headers: of its files.
        part: as of :class:`SourceCase`.
    """

    name: str
    headers: tuple[Header, ...]
    part: str = ""

    @property
    def header(self) -> Header:
        return self.headers[0]

    @property
    def folder(self) -> Path:
        return self.header.path.parent

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(header.path for header in self.headers)

    def suits(self, modality: Modality) -> bool:
        """Whether a model of that modality may look at it."""
        if self.header.localizer:
            return False
        if self.header.kind == "volume":
            return self.header.modality in _ACCEPTED[modality]
        return modality == "rgb" or (modality == "gray" and (not self.header.colored or _looks_gray(self.header.path)))


@lru_cache(maxsize=64)  # each frame of a film asks
def _looks_gray(path: Path) -> bool:
    """Whether the first frame of a colour image is grey that was saved as colours, as much ultrasound is."""
    try:
        dicom.read_still(path, 0, rgb=False)
    except CaseUNetError:
        return False
    return True


class _Survey(NamedTuple):
    """What files hold."""

    files: Sequence[Path]
    images: list[DicomImage]
    masks: list[Header]
    others: dict[str, int]
    findings: list[Finding]


def find_images(root: Path, files: Sequence[Path], modality: Modality | None) -> tuple[Listing, list[DicomImage]]:
    """The cases of some files that a model of a modality may look at, and what the headers of each tell.

    What does not suit it is left out with a note; if nothing does, everything is listed.

    Raises:
        CaseUNetError: there is no image.
    """
    listing, found, _ = _listing(root, _survey(root, files), modality)
    return listing, found


def is_mask(path: Path) -> bool:
    """Whether a volume file is a mask rather than a scan: by its name, or by its values."""
    if _MASK_NAME.search(images.stem(path)) or _MASK_NAME.fullmatch(f" {path.parent.name} "):
        return True
    try:
        pixels = images.read_image_file(path, rgb=False).pixels
    except CaseUNetError:
        return False
    values = np.unique(pixels)
    return len(values) <= MAX_MASK_VALUES and values[0] >= 0 and bool(np.all(values == np.rint(values)))


def _describe_groups(found: Sequence[DicomImage]) -> list[Finding]:
    """What is said where PatientID does not tell the patients apart."""
    what = "series" if found[0].header.kind == "volume" else "images"
    advice = "Give a pattern that finds the patient in the case's name, as the group."
    findings = []
    if nameless := [image for image in found if not image.header.patient]:
        text = f"PatientID is empty in {len(nameless)} of {len(found)} {what}"
        alone = sum(not image.header.study for image in nameless)
        if alone:
            text += (
                f", and StudyInstanceUID too in {alone}, which are groups of their own: one patient may be in several"
            )
            findings.append(Finding(level="warning", kind="groups", text=text, advice=advice))
        else:
            text += ", groups are studies (StudyInstanceUID)"
            findings.append(Finding(level="note", kind="groups", text=text, advice=advice))
    names: dict[str, set[str]] = {}
    studies: dict[str, set[str]] = {}
    for image in found:
        names.setdefault(image.header.patient, set()).add(name_key(image.header.patient_name))
        studies.setdefault(image.header.patient, set()).add(image.header.study)
    for patient in filter(None, names):
        different = len(names[patient] - {""})
        if different > 1:
            text = f'the PatientID "{patient}" stands beside {different} different PatientNames'
        elif len(names) == 1 and len(studies[patient]) > 1:
            text = f'all {len(found)} {what}, of {len(studies[patient])} studies, have the PatientID "{patient}"'
        else:
            continue
        text += ": they are one group, which a split does not part"
        findings.append(Finding(level="warning", kind="groups", text=text, advice=advice))
    return findings


def _modality(found: Sequence[DicomImage], most: str) -> Modality:
    if found[0].header.kind == "still":
        return "rgb" if any(image.header.colored for image in found) else "gray"
    known: dict[str, Modality] = {"CT": "ct", "MR": "mr"}
    return known.get(most, "gray")


def _coding(masks: Sequence[Header]) -> LabelCoding:
    """A class for each label that a segment has.

    Raises:
        CaseUNetError: a segment is called as the background is.
    """
    for header in masks:
        if any(map(is_background, header.segments.values())):
            raise InvalidInputError(
                f'{header.path}: has a segment "background"; what no segment covers is the background.'
            )
    names = list(dict.fromkeys(unify_spellings(_labels(masks)).values()))
    if len(names) > MAX_CLASSES:
        raise InvalidInputError(
            f"{masks[0].path}: with the other segmentations it has {len(names)} segment labels, such as "
            f'"{names[-1]}"; each label becomes a class, and at most {MAX_CLASSES} can be. Give segments of one kind '
            "one label."
        )
    return coding_of({0: "background", **dict(enumerate(names, start=1))})


def _labels(masks: Sequence[Header]) -> list[str]:
    """The labels of all segments, as they are spelt."""
    return [label for header in masks for label in header.segments.values()]


def _tell_absent(cases: Sequence[SourceCase], masks: Sequence[Header]) -> list[Finding]:
    """Warnings on structures that the objects of some patients do not hold."""
    labels = {header.path: {name_key(label) for label in header.segments.values()} for header in masks}
    found = {case.id: set().union(*(labels.get(path, set()) for path in case.label)) for case in cases if case.label}
    names = dict.fromkeys(unify_spellings(_labels(masks)).values())
    return tell_absent(found, {name: name_key(name) for name in names if not is_background(name)}, "segment")


def _is_still(case: SourceCase) -> bool:
    return case.volume.startswith(FRAME) or dicom.read_header(case.image[0]).kind == "still"


def _survey(root: Path, files: Sequence[Path]) -> _Survey:
    """Every image and mask of some files."""
    headers: list[Header] = []
    findings: list[Finding] = []
    for path in files:
        if dicom.is_dicom(path):
            try:
                headers.append(dicom.read_header(path))
            except CaseUNetError as error:
                text, advice = str(error).removeprefix(f"{path}: "), "Export it again, or move it away."
                findings.append(fault("unreadable", path, root, text, advice))
    series: dict[tuple[str, ...], list[Header]] = {}
    for header in headers:
        if header.kind == "volume":
            series.setdefault(_series_key(header), []).append(header)
    findings += _find_shared_uids(list(series.values()), root)
    volumes = _volumes(_join_slices(list(series.values()), root, findings), root, findings)
    stills = _stills([header for header in headers if header.kind == "still"], headers, root)
    masks = [header for header in headers if header.segments]
    empty = [h for h in headers if h.kind in ("segmentation", "contours") and not h.segments]
    others = [header for header in headers if header.kind == "other"]
    kinds = _by_kind([*others, *empty])
    for what, kept in kinds.items():
        findings += left_out([header.path for header in kept], root, f"{what}, no image")
    counts = {what: len(kept) for what, kept in kinds.items()}
    return _Survey(files, [*volumes, *stills], masks, counts, findings)


def _by_kind(headers: Sequence[Header]) -> dict[str, list[Header]]:
    kinds: dict[str, list[Header]] = {}
    for header in headers:
        kinds.setdefault(header.what.removesuffix(" Storage"), []).append(header)
    return kinds


def _series_key(header: Header) -> tuple[str, ...]:
    """Equal for the slices of one series, also where its identifiers were removed; a file of many frames is one.

    Some anonymisers give all series one SeriesInstanceUID, so the study and the frame of reference count too.
    """
    series = header.series or f"{header.path.parent}/{header.number}/{header.description}"
    alone = str(header.path) if header.frames > 1 else ""
    return series, header.study, header.space, header.patient, header.modality, str(header.localizer), alone


def _find_shared_uids(series: Sequence[list[Header]], root: Path) -> list[Finding]:
    """Warnings where one SeriesInstanceUID is that of several studies or frames of reference."""
    places: dict[str, dict[tuple[str, str], Header]] = {}
    for members in series:
        header = members[0]
        if header.series:
            places.setdefault(header.series, {}).setdefault((header.study, header.space), header)
    return [
        Finding(
            level="warning",
            kind="volumes",
            text=f"{len(own)} series have one SeriesInstanceUID, and are told apart by StudyInstanceUID or "
            "FrameOfReferenceUID",
            file=relative(next(iter(own.values())).path, root),
        )
        for own in places.values()
        if len(own) > 1
    ]


def _join_slices(series: Sequence[list[Header]], root: Path, findings: list[Finding]) -> list[list[Header]]:
    """The series, those of one slice each as one where they lie in one folder as an even stack: some anonymisers give
    each file a SeriesInstanceUID of its own."""
    single: dict[tuple[object, ...], list[Header]] = {}
    for members in series:
        header = members[0]
        if len(members) == 1 and len(header.planes) == 1 and header.frames == 1:
            key = (header.path.parent, header.number, header.patient, header.modality, header.localizer)
            single.setdefault((*key, header.planes[0].size), []).append(header)
    stacks = [own for own in single.values() if len(own) > 2 and is_stack([header.planes[0] for header in own])]
    for own in stacks:
        text = f"{len(own)} series of one slice each (SeriesInstanceUID) make one volume and are read as such"
        findings.append(Finding(level="note", kind="volumes", text=text, file=relative(own[0].path, root)))
    taken = {header.path for own in stacks for header in own}
    return [*stacks, *(members for members in series if members[0].path not in taken)]


def _volumes(series: Sequence[list[Header]], root: Path, findings: list[Finding]) -> list[DicomImage]:
    """Each series as its volumes, with a name of its own."""
    found: list[DicomImage] = []
    folders = Counter(members[0].path.parent for members in series)
    for members in series:
        parts: dict[str, list[Path]] = {"": [header.path for header in members]}
        elements: list[str] = []
        if not any(header.problem for header in members):
            planes = [plane for header in members for plane in header.planes]
            slices, projections = part_projections(planes)
            split, elements = split_volumes(slices)
            parts = {part: list(dict.fromkeys(plane.path for plane in own)) for part, own in split.items()}
            if members[0].frames == 1:
                paths = [plane.path for plane in projections]
                findings += left_out(paths, root, "projections by ImageType, no slices of their series")
        several = members[0].frames > 1
        names = []
        for part, paths in parts.items():
            own = [header for header in members if header.path in set(paths)]
            name = _folder_name(own[0].path.parent, root)
            if folders[members[0].path.parent] > 1:
                name += f"/{members[0].number or _last_number(members[0])}"
            name += "".join(f"/{step}" for step in part.split("/") if step and step != own[0].path.parent.name)
            taken = {image.name for image in found}
            if name in taken:
                name += f"-{_last_number(own[0])}"
            if name in taken:
                name = next(other for n in itertools.count(2) if (other := f"{name}-{n}") not in taken)
            names.append(name)
            found.append(DicomImage(name, tuple(own), part if several else ""))
        if len(parts) > 1:
            text = f"a series holds {len(parts)} volumes, told apart by {' and '.join(elements)}: {', '.join(names)}"
            findings.append(Finding(level="note", kind="volumes", text=text, file=relative(members[0].path, root)))
    return found


def _stills(stills: Sequence[Header], headers: Sequence[Header], root: Path) -> list[DicomImage]:
    """Each frame of each still image, named by its file, or by its folder where it is alone there."""
    together = Counter(header.path.parent for header in headers)
    found = []
    for header in stills:
        path = header.path
        name = _folder_name(path.parent, root)
        if together[path.parent] > 1:
            stem = path.stem if path.suffix.lower() in dicom.SUFFIXES else path.name
            name = stem if path.parent == root else f"{name}/{stem}"
        parts = [f"{FRAME}{n + 1:04d}" for n in range(header.frames)] if header.frames > 1 else [""]
        found += [DicomImage(f"{name}/{part}".rstrip("/"), (header,), part) for part in parts]
    return found


def _folder_name(folder: Path, root: Path) -> str:
    return root.resolve().name if folder == root else relative(folder, root)


def _last_number(header: Header) -> str:
    return header.series.rsplit(".", 1)[-1] or header.path.stem


def _listing(root: Path, survey: _Survey, modality: Modality | None) -> tuple[Listing, list[DicomImage], list[Header]]:
    """The images that count as cases with their masks, and the masks among them that are DICOM.

    Raises:
        CaseUNetError: there is no image.
    """
    findings = list(survey.findings)
    kept = _choose(survey.images, modality)
    if not kept:
        if unreadable := [finding for finding in findings if finding.kind == "unreadable"]:
            raise InvalidInputError(f"{root}: none of its DICOM files can be read; the first: {unreadable[0].text}")
        raise _no_images(root, survey)
    names = {image.name for image in kept}
    findings += _left_images([image for image in survey.images if image.name not in names], root)
    suffixes = raster.LOSSLESS if kept[0].header.kind == "still" else ()
    files = [path for path in survey.files if images.is_volume(path) or path.suffix.lower() in suffixes]
    masks = [header for header in survey.masks if header.kind == "segmentation"]
    contours = [header for header in survey.masks if header.kind == "contours"]
    if masks:
        findings += left_out(
            [h.path for h in contours], root, "contours, not used because there are DICOM segmentations"
        )
    masks = masks or contours
    if masks:
        what = "DICOM segmentations" if masks is not contours else "contours in DICOM"
        labels, problems = _by_reference(masks, kept, root)
        findings += [*problems, *left_out(files, root, f"volumes, not used because there are {what}")]
    else:
        labels, problems = _by_name(files, kept, root)
        findings += problems
    if kept[0].header.kind == "volume" and modality is None:  # prediction names them itself
        findings += _pictures_beside(survey.files, root, "note" if len(labels) == len(kept) else "warning")
        packed = [path for path in survey.files if images.is_unread(path) and path.suffix.lower() == ".gz"]
        findings += left_out(packed, root, "compressed by gzip, so not read: unpack them", "warning")
    listed = [
        SourceCase(
            id=image.name,
            image=image.paths,
            label=tuple(labels.get(image.name, ())),
            group=image.header.patient or image.header.study or image.name,
            volume=image.part,
        )
        for image in kept
    ]
    order = sorted(range(len(kept)), key=lambda n: natural(listed[n].id))
    return Listing(tuple(listed[n] for n in order), tuple(findings)), [kept[n] for n in order], masks


def _pictures_beside(files: Sequence[Path], root: Path, level: Level) -> list[Finding]:
    """What is said of pictures beside series, which may be masks of their slices."""
    pictures = [path for path in files if raster.is_raster(path)]
    if not pictures:
        return []
    kinds = " and ".join(sorted({path.suffix[1:].upper() for path in pictures}))
    folders = sorted({relative(path.parent, root) for path in pictures})
    more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
    text = (
        f"{count_text(len(pictures), f'{kinds} file')} beside DICOM series, in {folders[0]}{more}, are not used: "
        "slices as pictures are no masks of a series, for nothing in them tells on which slice each lies"
    )
    advice = "If they are masks, convert them to one NIfTI file on the grid of each series, named after its folder."
    names = tuple(relative(path, root) for path in pictures)
    return [Finding(level=level, kind="left-out", text=text, advice=advice, file=names[0], files=names)]


def _choose(found: Sequence[DicomImage], modality: Modality | None) -> list[DicomImage]:
    """The images that count: those that suit the model, or for training CT and MR before others, volumes before stills.

    Pictures of screens count where there is nothing else.
    """
    if modality is not None:
        suiting = [image for image in found if image.suits(modality)]
        captures = [image for image in suiting if "Secondary Capture" in image.header.what]
        return [image for image in suiting if image not in captures] or captures or list(found)
    volumes = [image for image in found if image.header.kind == "volume" and not image.header.localizer]
    stills = [image for image in found if image.header.kind == "still"]
    usual = [image for image in volumes if image.header.modality in ("CT", "MR", "")]
    return usual or volumes or [i for i in stills if "Secondary Capture" not in i.header.what] or stills


def _no_images(root: Path, survey: _Survey) -> CaseUNetError:
    held = [f"{count} × {what}" for what, count in survey.others.items()]
    held += [f"{len(survey.images)} × scout view"] if survey.images else []
    held += [f"{len(survey.masks)} × mask"] if survey.masks else []
    if not held:
        return no_cases(root, "a DICOM image")
    return InvalidInputError(f"{root}: holds no DICOM image, but {', '.join(held)}.")


def _left_images(left: Sequence[DicomImage], root: Path) -> list[Finding]:
    """Notes on images that are no cases, by kind."""
    kinds: dict[str, list[DicomImage]] = {}
    for image in left:
        header = image.header
        what = "scout view" if header.localizer else header.modality or header.what
        kinds.setdefault(f"{'series' if header.kind == 'volume' else 'image'} of {what}", []).append(image)
    notes: list[Finding] = []
    for what, own in kinds.items():
        notes += left_out([path for image in own for path in image.paths], root, what)
    return notes


def _by_reference(
    masks: list[Header], found: Sequence[DicomImage], root: Path
) -> tuple[dict[str, list[Path]], list[Finding]]:
    """{image: its masks}; one that references none belongs to the only image in its folder, or in its patient's.

    Several of one image are joined where their segments have different labels.
    """
    labels: dict[str, list[Path]] = {}
    drawn: dict[tuple[str, str], list[Path]] = {}
    spelled: dict[str, str] = {}
    findings = []
    for header in masks:
        targets = [image for image in found if image.header.series and image.header.series in header.references]
        if not header.references:
            targets = _beside(header.path, found, root)
        if len(targets) == 1:
            name = targets[0].name
            labels.setdefault(name, []).append(header.path)
            for key, label in {name_key(label): label for label in header.segments.values()}.items():
                drawn.setdefault((name, key), []).append(header.path)
                spelled[key] = label
        else:
            wanted = header.references[0] if header.references else "that it belongs to"
            told = extra_mask(header.path, root, f"the series {wanted}")
            findings.append(told.model_copy(update={"harmless": not targets}))
    several = {(name, tuple(paths)): spelled[key] for (name, key), paths in drawn.items() if len(paths) > 1}
    for (name, paths), label in several.items():
        text = f'has a segment "{label}" of {name}, as {relative(paths[0], root)} has; two people may have drawn it, '
        findings.append(_one_of(paths, name, root, f"{text}and one mask was expected"))
    return labels, findings


def _one_of(paths: Sequence[Path], case: str, root: Path, text: str) -> Finding:
    """An error on the last of several files of which only one can be the mask of a case."""
    advice = "Keep one of them: name the others under ignore in a plan, or move them away."
    told = fault("extra-mask", paths[-1], root, text, advice, case)
    ways = CaseRepair(why=told.kind, drop=True), CaseRepair(why=told.kind, union=True)
    return told.model_copy(update={"rivals": tuple(relative(path, root) for path in paths), "repairs": ways})


def _by_name(files: list[Path], found: Sequence[DicomImage], root: Path) -> tuple[dict[str, list[Path]], list[Finding]]:
    """{image: its mask}: the file with its name, the nearest if there are several, or the only one beside it."""
    labels: dict[str, list[Path]] = {}
    near: dict[str, list[Path]] = {}
    left: list[Finding] = []
    for path in files:
        stem = bare_name(images.stem(path)).lstrip("/")
        named = [image for image in found if stem in _names(image)]
        if len(named) > 1:
            shared = [_count_shared_folders(path, image.folder) for image in named]
            named = [image for image, steps in zip(named, shared, strict=True) if steps == max(shared)]
        beside = _beside(path, found, root)
        if len(named) == 1:
            labels.setdefault(named[0].name, []).append(path)
        elif not named and len(beside) == 1:
            near.setdefault(beside[0].name, []).append(path)
        else:
            told = extra_mask(path, root, "an image with its name, or one image in its folder,")
            left.append(told.model_copy(update={"harmless": not named and not beside}))
    for name, paths in near.items():
        labels.setdefault(name, []).extend(paths)
    several = {name: paths for name, paths in labels.items() if len(paths) > 1}
    findings = [
        _one_of(paths, name, root, f"is one of {len(paths)} masks beside {name}; one was expected")
        for name, paths in several.items()
    ]
    return labels, [*left, *findings]


def _names(image: DicomImage) -> set[str]:
    """What a mask of an image may be called."""
    path = image.header.path
    own = {image.name.split("/")[-1], image.name.replace("/", "_"), image.header.patient}
    return own | ({path.stem, path.name} if image.header.kind == "still" and not image.part else set())


def _count_shared_folders(path: Path, folder: Path) -> int:
    """How many steps from the root on a file and a folder have in common."""
    most = min(len(path.parent.parts), len(folder.parts))
    pairs = zip(path.parent.parts, folder.parts, strict=False)
    return next((n for n, (own, other) in enumerate(pairs) if own != other), most)


def _beside(path: Path, found: Sequence[DicomImage], root: Path) -> list[DicomImage]:
    """The images of the nearest folder above a file that holds any; the root counts for files that lie in it."""
    for folder in path.parents:
        inside = [image for image in found if image.folder == folder or folder in image.folder.parents]
        if folder == root and path.parent != root:
            return []
        if inside:
            return inside
        if folder == root:
            return []
    return []


def _rivals(case: SourceCase) -> tuple[Path, ...]:
    """The objects of a case that have a segment of one label; () where no label is in two."""
    drawn: dict[str, list[Path]] = {}
    if len(case.label) > 1:
        for path in case.label:
            for key in {name_key(label) for label in dicom.read_header(path).segments.values()}:
                drawn.setdefault(key, []).append(path)
    return next((tuple(paths) for paths in drawn.values() if len(paths) > 1), ())


class DicomLayout:
    """DICOM series or still images, with masks in DICOM or in files beside them."""

    name = "dicom"
    looks_like = (
        "folders of DICOM series or images; masks as DICOM segmentations or contours, or NIfTI named after them"
    )
    rank = 2

    def matches(self, root: Path) -> bool:
        return any(dicom.is_dicom(path) for path in files_below(root))

    def cases(self, root: Path) -> Listing:
        """List the volumes under the names of their folders, or the still images where there is no volume.

        Raises:
            CaseUNetError: there is neither.
        """
        return _listing(root, _survey(root, files_below(root)), None)[0]

    def discover(self, root: Path) -> SourceDataset:
        listing, found, masks = _listing(root, _survey(root, files_below(root)), None)
        own = root / "labels.json"
        coding: LabelCoding | None = read_labels_json(own, colored=False) if own.is_file() else None
        if masks:
            coding = _coding(masks)
        modalities = Counter(image.header.modality for image in found)
        spellings = (Finding(level="note", kind="spellings", text=text) for text in spelling_notes(_labels(masks)))
        findings = (*listing.findings, *spellings, *_describe_groups(found), *_tell_absent(listing.cases, masks))
        if len(modalities) > 1:
            text = f"holds images of several modalities: {dict(modalities)}"
            advice = "Train on one of them; move the others away."
            findings = (*findings, Finding(level="warning", kind="modalities", text=text, advice=advice))
        return SourceDataset(
            format="dicom",
            root=root,
            cases=listing.cases,
            coding=coding,
            modality=_modality(found, modalities.most_common(1)[0][0]),
            group_name="patient",
            licence="",
            findings=findings,
        )

    def read_geometry(self, case: SourceCase) -> Geometry:
        if _is_still(case):
            return dicom.read_still_geometry(case.image[0])
        return dicom.read_series_geometry(case.image, case.volume)

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        if _is_still(case):
            frame = int(case.volume.removeprefix(FRAME)) - 1 if case.volume else 0
            return dicom.read_still(case.image[0], frame, rgb, nan)
        return dicom.read_series(case.image, case.volume, nan)

    def read_mask(self, case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
        """Segments by their labels, or the values of a file.

        Raises:
            CaseUNetError: see :func:`caseunet.io.dicom.read_dicom_segmentation`; or several files may be the mask.
        """
        in_files = not dicom.is_dicom(case.label[0])
        united = dataset.repairs.get(case.id, CaseRepair()).union
        rivals = case.label if in_files and len(case.label) > 1 else _rivals(case)
        if rivals and not united:
            names = ", ".join(dataset.relative(path) for path in rivals)
            raise SeveralMasksError(
                f"{rivals[0]}: one of {len(rivals)} masks of {case.id} ({names}); they are not merged unasked. Keep "
                "one of them: name the others under ignore in a plan.",
                options=("prepare.repair_plan",),
                files=rivals,
            )
        if in_files:
            masks = [images.read_mask_file(path, image, colored=False, same_axes=False) for path in case.label]
            return reading.unite(masks, case) if united else masks[0]
        ids = {name: i for i, name in enumerate(reading.require_coding(dataset).label_map.names)}
        if dicom.read_header(case.label[0]).kind == "contours":
            return dicom.read_contours(case.label, ids, image)
        return dicom.read_dicom_segmentation(case.label, ids, image)


DICOM = DicomLayout()
