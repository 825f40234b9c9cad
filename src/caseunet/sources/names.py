"""What the names of files tell: which mask belongs to which image, and which images to one patient or sequence."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from caseunet.sources.layout import Finding, SourceCase

PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
MASK_WORDS = r"(?:mask|masks|label|labels|seg|segmentation|gt|groundtruth|annotation)"
IMAGE_WORDS = r"(?:image|img|volume|vol|scan|frame)"

_WORDS_BEFORE = re.compile(rf"^(?:{IMAGE_WORDS}|{MASK_WORDS})[-_. ]+", re.IGNORECASE)
_WORDS_BEHIND = re.compile(rf"[-_. ]+(?:{IMAGE_WORDS}|{MASK_WORDS})$", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<group>.+?)(?P<between>[-_. /]+)(?:frame|slice|img|image|z)?[-_]?\d+$", re.IGNORECASE)


def find_groups(names: list[str]) -> dict[str, str]:
    """{case: group}: what stands before a last number, where that tells of several patients or sequences.

    "10001_458" belongs to "10001" and "video3/frame012" to "video3", but "image_7" and "train/7" to themselves.
    """
    groups = {}
    for name in names:
        groups[name] = name
        if match := _NUMBERED.match(name):
            parts = PurePosixPath(match["group"]).parts
            kept = [part for part in parts if part.lower() not in PARTS]  # one patient may be in several
            by_folder = "/" in match["between"] and parts[-1].lower() not in PARTS
            if kept and (by_folder or any(character.isdigit() for character in parts[-1])):
                groups[name] = "/".join(kept)
    sizes = Counter(groups.values())
    return groups if len(sizes) > 1 else {name: name for name in names}


def told_groups(cases: Iterable[SourceCase]) -> tuple[Finding, ...]:
    """A note on the groups that names show; none where each case is its own."""
    listed = list(cases)
    groups = {case.group for case in listed}
    if len(groups) == len(listed):
        return ()
    example = next(case for case in listed if case.group != case.id)
    text = (
        f"the names show {len(groups)} groups of images ({example.id} is of {example.group}), which splits keep whole"
    )
    advice = "If that is wrong, give a pattern for the group in a case's name: --prepare.group '^[^_]+'"
    return (Finding(level="note", kind="groups", text=text, advice=advice),)


def bare_name(key: str) -> str:
    """A key without words such as "volume" and "segmentation" at the ends of its name."""
    folder, _, name = key.rpartition("/")
    for words in (_WORDS_BEHIND, _WORDS_BEFORE):
        name = words.sub("", name) or name
    return f"{folder}/{name}"
