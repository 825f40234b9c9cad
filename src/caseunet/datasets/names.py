"""What the names of files and folders tell: image or mask, which belong together, which part, which patient."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from caseunet.datasets.layout import Finding, SourceCase

Role = Literal["image", "mask", ""]

PART_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
PARTS = set(PART_WORDS) - {"tr", "ts", "dev"}
MASK_WORDS = r"(?:dseg|masks?|labels?|lbl|segs?|segmentations?|gts?|groundtruth|annotations?|annot|manual|truth)"
IMAGE_WORDS = r"(?:images?|imaging|img|volume|vol|scan|frame|photo|input)"

CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
"""Folders of Pascal VOC and CVAT: masks of classes, and of objects, whose numbers mean nothing."""

IMAGE_NAMES = re.compile(r"(ct|mri?|t[12](ce|w|c)?|flair|adc|dwi|pet|image|img|volume|vol|scan|frame)(_\d+)?", re.I)
"""Names of files in the folder of a case that hold no mask."""

_OF_IMAGES = (
    "image images imaging img imgs input inputs frame frames scan scans volume volumes photo photos picture pictures "
    "original originals imagestr imagests imgstr jpegimages"
)
_OF_MASKS = (
    "mask masks label labels lbl lbls seg segs segmentation segmentations gt gts groundtruth groundtruths truth truths "
    "annotation annotations annot annots manual manual1 manual2 labelstr labelsts"
)
IMAGE_FOLDER_WORDS, MASK_FOLDER_WORDS = frozenset(_OF_IMAGES.split()), frozenset(_OF_MASKS.split())
_BESIDE_PARTS = IMAGE_FOLDER_WORDS | MASK_FOLDER_WORDS | {"ground", "set", "data", "dataset", "split", "part", "jpeg"}

_RATERS = r"(?:rater|reader|observer|annotator|expert|grader|manual|\d+(?:st|nd|rd|th))"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER = r"(?:[-_ ]?\d+)?"
_MASK_ENDING = re.compile(rf"(?:(?P<key>.*)[-_. ])?{MASK_WORDS}{_NUMBER}$", re.IGNORECASE)
_MASK_START = re.compile(rf"{MASK_WORDS}[-_. ](?P<key>.+)$", re.IGNORECASE)
_WORDS_BEFORE = re.compile(rf"^(?:{IMAGE_WORDS}|{MASK_WORDS})[-_. ]+", re.IGNORECASE)
_WORD_AND_NUMBER = re.compile(rf"^(?:{IMAGE_WORDS}|{MASK_WORDS})(?=\d+$)", re.IGNORECASE)
_WORDS_BEHIND = re.compile(rf"[-_. ]+(?:{IMAGE_WORDS}|{MASK_WORDS})$", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<group>.+?)(?P<between>[-_. /]+)(?:frame|slice|img|image|z)?[-_]?\d+$", re.IGNORECASE)
_FOLD = re.compile(r"fold[-_ ]?(\d+)$", re.IGNORECASE)


def normal(name: str) -> str:
    """A name as it is compared: one way of writing accents, no capitals."""
    return unicodedata.normalize("NFC", name).casefold()


def folder_role(name: str) -> Role:
    """What the name of a folder tells of the files in it: "ISIC_Training_Input" holds images, "1st_manual" masks."""
    words = {word.lower() for word in _WORD.findall(name)} | {name.lower(), name.lower().replace("_", "")}
    if words & MASK_FOLDER_WORDS:
        return "mask"
    return "image" if words & IMAGE_FOLDER_WORDS else ""


def mask_key(stem: str) -> str | None:
    """What is left of the name of a mask without the word that tells it is one; None for other names.

    "a" for "a_mask", "a-seg2" and "label_a"; "7" for "mask_7"; "" for "segmentation".
    """
    start = _MASK_START.match(stem)
    if start and _MASK_ENDING.match(start["key"]) is None:
        return start["key"]
    match = _MASK_ENDING.match(stem)
    return None if match is None else match["key"] or ""


def is_case_folder(folder: str) -> bool:
    """Whether a folder may be that of one case: not the raw folder itself, nor that of a part of a split."""
    return any(part and part.lower() not in PARTS for part in folder.split("/"))


def folder_rest(name: str) -> str:
    """What a folder's name says beside its role: "train" of "train_images", "left" of "left_masks"."""
    words = [word.lower() for word in _WORD.findall(name)]
    told = {PART_WORDS[word] for word in words if word in PART_WORDS}
    if len(told) == 1:
        return told.pop()
    return "_".join(word for word in words if word not in IMAGE_FOLDER_WORDS | MASK_FOLDER_WORDS | {"ground"})


def part_of(path: PurePosixPath) -> str:
    """The part of a split that a path's folders name: "train", "val", "test", "fold 2", or ""."""
    for folder in reversed(path.parts[:-1]):
        if match := _FOLD.match(folder):
            return f"fold {match[1]}"
        words = [word.lower() for word in _WORD.findall(folder)]
        told = {PART_WORDS[word] for word in words if word in PART_WORDS}
        beside = [word for word in words if word not in PART_WORDS]
        is_plain = (len(words) == 1 and words[0] in PARTS) or folder.lower() in PARTS
        if len(told) == 1 and (is_plain or set(beside) & _BESIDE_PARTS):
            return told.pop()
    return ""


def part_of_name(name: str) -> str:
    """The part of a split that a file's name tells: "train" of "instances_train2017"; "" for none."""
    told = {PART_WORDS[word.lower()] for word in _WORD.findall(name) if word.lower() in PARTS}
    return told.pop() if len(told) == 1 else ""


def part_of_outlines(path: Path, image: Path) -> str:
    """The part that the name of a file of outlines tells; none of one that is called as its image, as LabelMe's."""
    told = path.suffix.lower() in (".json", ".xml") and path.stem not in (image.stem, image.name)
    return part_of_name(path.stem) if told else ""


def is_rater(name: str) -> bool:
    """Whether what tells two masks of one image apart is who drew them, or a number, and no class."""
    return not any(character.isalpha() for character in name) or re.search(_RATERS, name, re.IGNORECASE) is not None


def find_affixes(stems: Sequence[str]) -> tuple[str, str]:
    """What all names begin and end with, up to the numbers and words that tell them apart."""
    low, high = min(stems), max(stems)
    start = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    turned = [stem[start:][::-1] for stem in stems]
    low, high = min(turned), max(turned)
    end = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    prefix = re.sub(r"[0-9a-zA-Z]+$", "", stems[0][:start]) if start else ""
    suffix = re.sub(r"^[0-9a-zA-Z]+", "", stems[0][len(stems[0]) - end :]) if end else ""
    return prefix, suffix


_SUBJECT = re.compile(r"(?:sub|subject|subj|patient|pat)[-_ ]?\w*\d\w*", re.IGNORECASE)
"""Folders of one person, as BIDS and others call them."""


def find_groups(names: list[str]) -> dict[str, str]:
    """{case: group}: what stands before a last number, where that tells of several patients or sequences.

    "10001_458" belongs to "10001" and "video3/frame012" to "video3", but "image_7" and "train/7" to themselves.
    All that lies in a folder such as "sub-01" or "patient_7" belongs to it.
    """
    groups = {}
    for name in names:
        groups[name] = name
        first, *rest = PurePosixPath(name).parts
        if rest and _SUBJECT.fullmatch(first):
            groups[name] = first
        elif match := _NUMBERED.match(name):
            parts = PurePosixPath(match["group"]).parts
            kept = [part for part in parts if part.lower() not in PARTS]  # one patient may be in several
            by_folder = "/" in match["between"] and parts[-1].lower() not in PARTS
            if kept and (by_folder or any(character.isdigit() for character in parts[-1])):
                groups[name] = "/".join(kept)
    sizes = Counter(groups.values())
    return groups if len(sizes) > 1 else {name: name for name in names}


def describe_groups(cases: Iterable[SourceCase]) -> tuple[Finding, ...]:
    """A note on the groups that names show; none where each case is its own."""
    listed = list(cases)
    groups = {case.group for case in listed}
    if len(groups) == len(listed):
        return ()
    example = next(case for case in listed if case.group != case.id)
    text = (
        f"the names show {len(groups)} groups of images ({example.id} is of {example.group}), which splits keep whole"
    )
    advice = "If that is wrong, give a pattern for the group in a case's name: prepare.group: '^[^_]+'"
    return (Finding(level="note", kind="groups", text=text, advice=advice),)


def warn_of_parts(cases: Iterable[SourceCase]) -> tuple[Finding, ...]:
    """A warning where all names begin with a part of a split, which is not used."""
    listed = list(cases)
    words = [re.split(r"[-_. ]", case.id.rpartition("/")[2])[0].lower() for case in listed]
    parts = {PART_WORDS.get(word, "") for word in words}
    if len(parts) < 2 or "" in parts or any(case.part for case in listed):
        return ()
    text = f"names begin with {', '.join(sorted(set(words)))}, as those of {listed[0].id}; this split is not used"
    advice = "To use it, move the files into folders of these names, or name the cases: prepare.split: FILE.csv"
    return (Finding(level="warning", kind="own-split", text=text, advice=advice),)


def warn_of_folders(cases: Iterable[SourceCase]) -> tuple[Finding, ...]:
    """A warning where all cases lie in folders, as of patients, of several cases each, and yet are their own groups."""
    listed = list(cases)
    folders = Counter(case.id.rpartition("/")[0] for case in listed)
    if len(folders) < 2 or len(folders) == len(listed) or not all(is_case_folder(folder) for folder in folders):
        return ()
    if any(case.group != case.id for case in listed):
        return ()
    folder = max(folders, key=lambda each: folders[each])
    text = f"the folder {folder} has {folders[folder]} cases, which count as of different patients"
    advice = "If a folder is a patient, keep its cases together: prepare.group: '^.*(?=/)'"
    return (Finding(level="warning", kind="groups", text=text, advice=advice),)


def bare_name(key: str) -> str:
    """A key without words such as "volume" and "segmentation" at the ends of its name."""
    folder, _, name = key.rpartition("/")
    for words in (_WORDS_BEHIND, _WORDS_BEFORE, _WORD_AND_NUMBER):
        name = words.sub("", name) or name
    return f"{folder}/{name}"
