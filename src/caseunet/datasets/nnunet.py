"""nnU-Net's raw format.

Layout: ``DatasetXXX_Name/`` with ``dataset.json`` (channel_names, labels, file_ending), ``imagesTr/CASE_0000.EXT`` for
each channel, ``labelsTr/CASE.EXT``, and ``imagesTs`` without labels. Colour images are one file, whose three channels
``channel_names`` names. A ``dataset`` in dataset.json lists the files of each case, which may then lie anywhere in the
folder. The first version's ``modality`` and ``labels`` by id are read too. ``labels`` maps names to ids, or to lists of
ids for regions that overlap; a class "ignore" marks pixels that nobody labelled. A case is a patient of its own, unless
the names tell of several images of one. Isensee et al., "nnU-Net", Nature Methods 2021.
"""

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from caseunet.datasets.class_names import check_background
from caseunet.datasets.coding import coding_of
from caseunet.datasets.dataset_json import (
    DESCRIPTION,
    find_described_folder,
    has_keys,
    is_first_nnunet,
    licence_of,
    listing,
    read_channel_names,
    read_dataset_json,
)
from caseunet.datasets.layout import (
    Finding,
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
    twice_apart,
)
from caseunet.datasets.names import describe_groups
from caseunet.datasets.reading import FileLayout
from caseunet.errors import InvalidInputError
from caseunet.io import images, raster
from caseunet.types import LabelCoding, Modality

PATTERN = "Dataset*"
KEYS = {"channel_names": dict, "labels": dict, "file_ending": str}

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})$")


def read_classes(description: dict[str, Any], path: Path) -> LabelCoding:
    """The classes; a region, given by several ids, becomes a structure.

    Raises:
        CaseUNetError: names and ids are the wrong way round, or the ids have gaps.
    """
    labels: dict[str, Any] = {str(name): value for name, value in description["labels"].items()}
    if all(name.isdigit() for name in labels):
        raise InvalidInputError(
            f'{path}: "labels" maps ids to names, as the Decathlon does; nnU-Net maps names to ids.'
        )
    ignored = labels.pop("ignore", None)
    values = [v for value in labels.values() for v in (value if isinstance(value, list) else [value])]
    single_ids = [value for value in labels.values() if not isinstance(value, list)]
    if any(isinstance(value, str) and value.isdigit() for value in values):
        raise InvalidInputError(f'{path}: the ids of "labels" must be numbers without quotes; found {labels}.')
    if not all(type(v) is int for v in values) or len(set(single_ids)) < len(single_ids):
        raise InvalidInputError(
            f'{path}: "labels" maps each name to an id of its own, or to a list of ids; found {labels}.'
        )
    ids = sorted(set(values))
    if ids != list(range(len(ids))):
        raise InvalidInputError(f'{path}: the ids of "labels" are {ids}; expected 0, 1, 2 … without a gap.')
    single = {value[0]: name for name, value in labels.items() if isinstance(value, list) and len(value) == 1}
    single |= {value: name for name, value in labels.items() if not isinstance(value, list)}
    check_background(single.items(), path)
    names = {i: single.get(i, "background" if i == 0 else f"class {i}") for i in ids}
    regions = None
    if any(isinstance(value, list) for value in labels.values()):
        regions = {n: tuple(v) if isinstance(v, list) else (v,) for n, v in labels.items() if v not in (0, [0])}
    try:
        coding = coding_of(names, structures=regions, ignore=() if ignored is None else (ignored,))
    except ValueError as error:
        raise InvalidInputError(f'{path}: "labels" cannot be used: {error}.') from error
    if regions is None:
        return coding
    order = description.get("regions_class_order") or ()
    try:
        return coding.model_copy(update={"label_map": coding.label_map.with_regions(tuple(order))})
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f'{path}: "regions_class_order" cannot be used: {_reason(error)}.') from error


def _describe(folder: Path) -> dict[str, Any]:
    """The description, that of the first version as the second has it.

    Raises:
        CaseUNetError: it is of another form.
    """
    if not is_first_nnunet(folder):
        return read_dataset_json(folder, KEYS)
    old = read_dataset_json(folder, {"modality": dict, "labels": dict})
    if not all(str(value).isdigit() for value in old["labels"]):
        raise InvalidInputError(f'{folder / DESCRIPTION}: "labels" maps ids to names here; found {old["labels"]}.')
    names = {str(name): int(value) for value, name in old["labels"].items()}
    return {**old, "channel_names": old["modality"], "labels": names, "file_ending": ".nii.gz"}


def _list_described(folder: Path, root: Path, description: dict[str, Any]) -> Listing:
    """The cases whose files dataset.json lists.

    Raises:
        CaseUNetError: the list is of another form, or a file lies outside the data set.
    """
    listed: list[SourceCase] = []
    findings: list[Finding] = []
    channels = len(description["channel_names"])
    for case, entry in sorted(description["dataset"].items(), key=lambda item: natural(item[0])):
        names = entry.get("images") if isinstance(entry, dict) else None
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in (*names, label or "")):
            raise InvalidInputError(f'{folder / DESCRIPTION}: "dataset" has {case}: {entry!r}; expected images, label.')
        paths = [folder / name for name in (*names, *([label] if label else []))]
        for path in paths:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise InvalidInputError(f"{folder / DESCRIPTION}: {path} lies outside the data set.")
        absent = [path for path in paths if not path.is_file()]
        text = f"is listed in {DESCRIPTION} for {case}, but is not there"
        findings += [fault("missing-file", path, root, text, "Add it, or take the entry out.") for path in absent]
        colors = len(names) == 1 and channels == 3 and raster.is_raster(paths[0])
        if len(names) != channels and not colors:
            text = f"case {case}: lists {len(names)} images; dataset.json names {channels} channels"
            place = paths[0] if names else folder / DESCRIPTION
            findings.append(fault("channels", place, root, text, "Add the channel, or take the case away."))
        elif not set(absent) & set(paths[: len(names)]):
            own = tuple(path for path in paths[len(names) :] if path not in absent)
            listed.append(SourceCase(case, tuple(paths[: len(names)]), own, case))
    used = {path for case in listed for path in (*case.image, *case.label)}
    others = [path for path in files_below(folder) if images.is_image(path) and path not in used]
    findings += left_out(others, root, f"files that {DESCRIPTION} does not list")
    return listing(listed, findings, description, folder, root)


def _reason(error: Exception) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else str(error)


def _modality(channels: dict[str, Any], listed: tuple[SourceCase, ...]) -> tuple[Modality, str]:
    """The modality by the channels' names, and a remark where it had to be guessed."""
    names = [str(name).lower() for name in channels.values()]
    flat = bool(listed) and raster.is_raster(listed[0].image[0])
    if set(names) == {"ct"}:
        return "ct", ""
    if flat and len(names) == 3 and len(listed[0].image) == 1:
        return "rgb", ""
    if flat:
        return "gray", ""
    others = [name for name in names if name in ("us", "pet")]
    return "mr", f"channels {', '.join(others)} are treated as MR" if others else ""


def _channel_files(folder: Path, ending: str) -> dict[str, dict[int, Path]]:
    """{case: {channel: file}} of the files of a folder that are named so."""
    found: dict[str, dict[int, Path]] = {}
    for path in _files(folder):
        match = _CHANNEL.match(path.name.removesuffix(ending)) if path.name.endswith(ending) else None
        if match:
            found.setdefault(match["case"], {})[int(match["channel"])] = path
    return found


def _files_of_a_case(folder: Path, description: dict[str, Any]) -> int:
    """How many files an image has: one for each channel, but colour images are one file."""
    channels, ending = len(description["channel_names"]), str(description["file_ending"])
    if channels == 3 and ending.lower() in raster.SUFFIXES:
        cases = [files for part in ("imagesTr", "imagesTs") for files in _channel_files(folder / part, ending).values()]
        if all(set(files) == {0} for files in cases):
            return 1
    return channels


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: natural(path.name))


def _wrong_channels(
    root: Path, folder: Path, case: str, ending: str, missing: list[int], found: list[int], channels: int
) -> Finding:
    what = f"channel {missing[0]:04d} is missing" if missing else f"has channels {found}"
    path = folder / f"{case}_{found[0] if missing else found[-1]:04d}{ending}"
    text = f"case {case}: {what}; dataset.json names {channels}"
    told = fault("channels", path, root, text, "Add the channel, or take the case away.")
    files = [folder / f"{case}_{number:04d}{ending}" for number in found]
    return told.model_copy(update={"files": tuple(relative(path, root) for path in files)}) if missing else told


class NnUNetLayout(FileLayout):
    """nnU-Net's raw data sets, told by their dataset.json."""

    name = "nnunet"
    looks_like = "dataset.json with file_ending, imagesTr/CASE_0000.EXT and labelsTr/CASE.EXT"
    rank = 1

    def matches(self, root: Path) -> bool:
        folder = find_described_folder(root, PATTERN)
        return has_keys(folder, {"file_ending", "labels"}) or is_first_nnunet(folder)

    def cases(self, root: Path) -> Listing:
        """List the cases of imagesTr and imagesTs under their names.

        Raises:
            CaseUNetError: there are none, or dataset.json is not of this format.
        """
        folder = find_described_folder(root, PATTERN)
        description = _describe(folder)
        if isinstance(description.get("dataset"), dict):
            return _list_described(folder, root, description)
        ending = str(description["file_ending"])
        labels = {
            path.name.removesuffix(ending): path for path in _files(folder / "labelsTr") if path.name.endswith(ending)
        }
        found: list[SourceCase] = []
        findings: list[Finding] = []
        channels = _files_of_a_case(folder, description)
        known: set[str] = set()
        for part in ("imagesTr", "imagesTs"):
            for case, files in _channel_files(folder / part, ending).items():
                if case in known:
                    findings.append(twice_apart(files[min(files)], root, folder / "imagesTr" / files[min(files)].name))
                    continue
                known.add(case)
                missing = sorted(set(range(channels)) - set(files))
                if missing or len(files) > channels:
                    findings.append(
                        _wrong_channels(root, folder / part, case, ending, missing, sorted(files), channels)
                    )
                    labels.pop(case, None)
                    continue
                label = labels.pop(case, None) if part == "imagesTr" else None
                image = tuple(files[channel] for channel in range(channels))
                own = "test" if part == "imagesTs" else ""
                found.append(SourceCase(id=case, image=image, label=(label,) if label else (), group=case, part=own))
        if not found and not findings:
            raise no_cases(root, f"imagesTr/CASE_0000{ending}")
        findings += [extra_mask(path, root, f"imagesTr/{case}_0000{ending}") for case, path in labels.items()]
        used = {
            path
            for part in ("imagesTr", "imagesTs")
            for files in _channel_files(folder / part, ending).values()
            for path in files.values()
        }
        used |= {path for path in _files(folder / "labelsTr") if path.name.endswith(ending)}
        others = [path for path in files_below(folder) if images.is_image(path) and path not in used]
        findings += left_out(others, root, f"not named imagesTr/CASE_0000{ending} or labelsTr/CASE{ending}")
        return listing(found, findings, description, folder, root)

    def discover(self, root: Path) -> SourceDataset:
        folder = find_described_folder(root, PATTERN)
        description = _describe(folder)
        listed, findings = self.cases(root)
        modality, remark = _modality(description["channel_names"], listed)
        file = relative(folder / DESCRIPTION, root)
        remarks = [Finding(level="note", kind="modality", text=remark, file=file)] if remark else []
        return SourceDataset(
            format="nnunet",
            root=root,
            cases=listed,
            coding=read_classes(description, folder / DESCRIPTION),
            modality=modality,
            group_name="patient",
            licence=licence_of(description),
            channel_names=read_channel_names(description["channel_names"]),
            channels_by_number=True,
            findings=(*findings, *remarks, *describe_groups(listed)),
        )


NNUNET = NnUNetLayout()
