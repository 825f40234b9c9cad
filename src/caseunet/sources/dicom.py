"""A tree of DICOM series, with masks as segmentation objects, NIfTI, NRRD or MetaImage.

Each CT or MR series is a case, named by its folder; scout views and other kinds are left out. A segmentation object
belongs to the series that it references. Without any, a volume file belongs to the series whose folder or patient it is
named after, or to the only one in its folder. The group is the patient (PatientID), for several series of one patient
are alike.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from caseunet.errors import UserError
from caseunet.io import dicom, images
from caseunet.io.dicom import Header
from caseunet.sources import reading
from caseunet.sources.coding import coding_of, read_labels_json
from caseunet.sources.layout import (
    Finding,
    Layout,
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
from caseunet.sources.names import bare_name
from caseunet.types import Geometry, LabelCoding, Mask, Picture

MODALITIES = ("CT", "MR")
MOST_CLASSES = 254


def matches(root: Path) -> bool:
    return any(dicom.is_dicom(path) for path in files_below(root))


def cases(root: Path) -> Listing:
    """List the series under the names of their folders.

    Raises:
        UserError: there is no series of CT or MR.
    """
    return _survey(root)[0]


def discover(root: Path) -> SourceDataset:
    listing, series, segmentations = _survey(root)
    own = root / "labels.json"
    coding: LabelCoding | None = read_labels_json(own, colored=False) if own.is_file() else None
    if segmentations:
        coding = _coding(segmentations)
    modalities = Counter(header.modality for header in series)
    findings = listing.findings
    if len(modalities) > 1:
        text = f"holds series of several modalities: {dict(modalities)}"
        advice = "Train on one of them; move the others away."
        findings = (*findings, Finding(level="warning", kind="modalities", text=text, advice=advice))
    return SourceDataset(
        format="dicom",
        root=root,
        cases=listing.cases,
        coding=coding,
        modality="ct" if modalities.most_common(1)[0][0] == "CT" else "mr",
        group_name="patient",
        licence="",
        findings=findings,
    )


def _coding(segmentations: Sequence[Header]) -> LabelCoding:
    """A class for each label that a segment has.

    Raises:
        UserError: a segment is called as the background is.
    """
    for header in segmentations:
        if "background" in header.segments.values():
            raise UserError(f'{header.path}: has a segment "background"; what no segment covers is the background.')
    names = list(dict.fromkeys(label for header in segmentations for label in header.segments.values()))
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{segmentations[0].path}: with the other segmentations it has {len(names)} segment labels, such as "
            f'"{names[-1]}"; each label becomes a class, and at most {MOST_CLASSES} can be. Give segments of one kind '
            "one label."
        )
    return coding_of({0: "background", **dict(enumerate(names, start=1))})


def read_geometry(case: SourceCase) -> Geometry:
    return dicom.read_geometry(case.image)


def read_image(case: SourceCase, rgb: bool, nan: float | None = None) -> Picture:
    return dicom.read_series(case.image)


def read_mask(case: SourceCase, dataset: SourceDataset, image: Geometry) -> Mask:
    """Segments by their labels, or the values of a volume file.

    Raises:
        UserError: see :func:`caseunet.io.dicom.read_segmentation`.
    """
    if not dicom.is_dicom(case.label[0]):
        return images.read_mask(case.label[0], image, colored=False, same_axes=False)
    coding = reading.known_coding(dataset)
    return dicom.read_segmentation(case.label, {name: i for i, name in enumerate(coding.label_map.names)}, image)


def _survey(root: Path) -> tuple[Listing, list[Header], list[Header]]:
    """The cases, a header of each series that is one, and the segmentations."""
    files = files_below(root)
    headers: list[Header] = []
    findings: list[Finding] = []
    for path in files:
        if dicom.is_dicom(path):
            try:
                headers.append(dicom.read_header(path))
            except UserError as error:
                text, advice = str(error).removeprefix(f"{path}: "), "Export it again, or move it away."
                findings.append(fault("unreadable", path, root, text, advice))
    segmentations = [header for header in headers if header.modality == "SEG"]
    series: dict[str, list[Header]] = {}
    for header in headers:
        if header.modality in MODALITIES and not header.localizer:
            series.setdefault(header.series, []).append(header)
    if not series:
        if findings:
            raise UserError(f"{root}: none of its DICOM files can be read; the first: {findings[0].text}")
        raise no_cases(root, "a DICOM series of CT or MR")
    others = [h.path for h in headers if h.modality != "SEG" and h.series not in series]
    findings += left_out(others, root, "DICOM files that are no slices of CT or MR")
    names = _names(series, root)
    findings += [f for uid, members in series.items() for f in _copies(members, names[uid], root)]
    volumes = [path for path in files if images.is_volume(path)]
    if segmentations:
        labels, problems = _by_reference(segmentations, series, root)
        findings += [*problems, *left_out(volumes, root, "volumes beside DICOM segmentations, which count")]
    else:
        labels, problems = _by_name(volumes, series, names, root)
        findings += problems
    listed = [
        SourceCase(
            id=names[uid],
            image=tuple(header.path for header in members),
            label=tuple(labels.get(uid, ())),
            group=members[0].patient or names[uid],
        )
        for uid, members in series.items()
    ]
    listed.sort(key=lambda case: natural(case.id))
    return Listing(tuple(listed), tuple(findings)), [members[0] for members in series.values()], segmentations


def _names(series: dict[str, list[Header]], root: Path) -> dict[str, str]:
    """{series: name}: its folder, with the series' number where several lie there."""
    folders = {uid: members[0].path.parent for uid, members in series.items()}
    shared = Counter(folders.values())
    names: dict[str, str] = {}
    for uid, folder in folders.items():
        name = root.resolve().name if folder == root else relative(folder, root)
        if shared[folder] > 1:
            name = f"{name}/{series[uid][0].number or uid.rsplit('.', 1)[-1]}"
        names[uid] = name if name not in names.values() else f"{name}-{uid.rsplit('.', 1)[-1]}"
    return names


def _by_reference(
    segmentations: list[Header], series: dict[str, list[Header]], root: Path
) -> tuple[dict[str, list[Path]], list[Finding]]:
    """{series: its segmentations}; one that references none belongs to the only series in its folder."""
    found: dict[str, list[Path]] = {}
    findings = []
    for header in segmentations:
        targets = [uid for uid in header.references if uid in series]
        if not header.references:
            targets = [uid for uid, members in series.items() if members[0].path.parent == header.path.parent]
        if len(targets) == 1:
            found.setdefault(targets[0], []).append(header.path)
        else:
            wanted = header.references[0] if header.references else "that it belongs to"
            findings.append(extra_mask(header.path, root, f"the series {wanted}"))
    return found, findings


def _by_name(
    volumes: list[Path], series: dict[str, list[Header]], names: dict[str, str], root: Path
) -> tuple[dict[str, list[Path]], list[Finding]]:
    """{series: its mask}: the volume with its name, or the only one without a series' name in or above its folder."""
    found: dict[str, list[Path]] = {}
    near: dict[str, list[Path]] = {}
    left = []
    for path in volumes:
        stem = bare_name(images.stem(path)).lstrip("/")
        named = [
            uid
            for uid, members in series.items()
            if stem in (names[uid].split("/")[-1], names[uid].replace("/", "_"), members[0].patient)
        ]
        beside = [uid for uid, m in series.items() if path.parent in (m[0].path.parent, m[0].path.parent.parent)]
        if len(named) == 1 and named[0] not in found:
            found[named[0]] = [path]
        elif not named and len(beside) == 1:
            near.setdefault(beside[0], []).append(path)
        else:
            left.append(path)
    for uid, paths in near.items():
        if len(paths) == 1 and uid not in found:
            found[uid] = paths
        else:
            left += paths
    wanted = "a series with its name, or one series in its folder,"
    return found, [extra_mask(path, root, wanted) for path in left]


def _copies(members: Sequence[Header], name: str, root: Path) -> list[Finding]:
    """Slices of a series that are there twice under the same identifier."""
    first: dict[str, Path] = {}
    findings = []
    for header in members:
        if header.instance in first:
            text = f"is the same slice as {relative(first[header.instance], root)}"
            findings.append(fault("twice", header.path, root, text, "Keep one of them.", case=name))
        first.setdefault(header.instance, header.path)
    return findings


DICOM = Layout(
    name="dicom",
    looks_like="folders of DICOM series; masks as DICOM segmentations, or NIfTI named after the series",
    rank=2,
    matches=matches,
    cases=cases,
    discover=discover,
    read_geometry=read_geometry,
    read_image=read_image,
    read_mask=read_mask,
)
