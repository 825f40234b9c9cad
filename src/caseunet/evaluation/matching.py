"""Which file belongs to which case, by their names."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from caseunet.datasets.names import IMAGE_WORDS, MASK_WORDS
from caseunet.errors import InvalidInputError

_BIDS_WORDS = r"(?:t1w|t2w|flair|bold|probseg)"
PREDICTION_WORDS = r"(?:preds?|predicted|predictions?|output|out|result|inference|auto|trans|manual|ref|truth)"
_WORDS = rf"(?:{MASK_WORDS}|{IMAGE_WORDS}|{PREDICTION_WORDS}|{_BIDS_WORDS})"
_BEFORE = re.compile(rf"^{_WORDS}[-_. ]+(?=.)", re.IGNORECASE)
_BEHIND = re.compile(rf"(?<=.)[-_. ]+{_WORDS}$", re.IGNORECASE)
_CHANNEL = re.compile(r"(?<=.)_0000$")


def match_names(
    items: Mapping[Path, Sequence[str]], cases: Mapping[str, Collection[str]]
) -> tuple[dict[str, Path], list[Path]]:
    """{case: its item}, and the items that belong to no case.

    The very names count first, whatever names one case alone. What has none is found without words such as "seg" and
    "pred" at the ends of its name, and without the channel of nnU-Net's image files.

    Args:
        items: {file: names it may be known by, the one that tells most first}.
        cases: {case: names it may be known by}.

    Raises:
        CaseUNetError: an item could belong to several cases, or two items to one.
    """
    found: dict[str, Path] = {}
    left = dict(items)
    for spell in (str, _bare, _without_channel):
        names: dict[str, set[str]] = {}
        for case, own in cases.items():
            for name in own:
                names.setdefault(name if spell is str else _bare(name), set()).add(case)
        for item, keys in list(left.items()):
            hits = [names.get(spell(key), set()) for key in keys]
            of_case = next((name for hit in hits if len(hit) == 1 for name in hit), None)
            if of_case is None and spell is not str and len(hits[0]) > 1:
                one, other = sorted(hits[0])[:2]
                raise InvalidInputError(
                    f"{item}: could belong to {one} or to {other}. Name it as one of the two alone."
                )
            if of_case is not None:
                if of_case in found:
                    raise InvalidInputError(
                        f"{found[of_case]} and {item}: both are named as predictions of {of_case}. "
                        + _advise(found[of_case], item, of_case)
                    )
                found[of_case] = item
                del left[item]
    return found, list(left)


def _advise(first: Path, second: Path, case: str) -> str:
    """What to do about two predictions of one case; files of one name in two folders may be its structures."""
    if first.name != second.name:
        return "Keep one."
    wanted = " and ".join(f"{case}/{path.parent.name}{''.join(path.suffixes)}" for path in (first, second))
    return f"Keep one; if each is a structure, sort the predictions into a folder for each case: {wanted}."


def _bare(name: str) -> str:
    """In small letters and one spelling of accents, without words such as "pred" at the ends of the last part."""
    folder, slash, last = normalize("NFC", name).casefold().rpartition("/")
    while (shorter := _BEHIND.sub("", _BEFORE.sub("", last))) != last:
        last = shorter
    return folder + slash + last


def _without_channel(name: str) -> str:
    return _bare(_CHANNEL.sub("", name))
