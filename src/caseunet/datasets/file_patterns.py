"""Patterns with which a person says which files are meant: ``*``, ``**``, ``?``, ``[ab]``, and ``{stem}``.

A plain pattern is the end of a path below the raw folder: "photos", "*_seg.png", "imgs/**/*.png". A pattern with
``{stem}``, the name of an image without its ending, says where the mask of that image is: "{stem}_seg.png" beside it,
"./masks/{stem}.png" or "../masks/{stem}.png" from the image's folder, "masks/{stem}.png" from the raw folder.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath

from caseunet.datasets.channels import Item
from caseunet.datasets.layout import Finding
from caseunet.datasets.names import normal
from caseunet.datasets.pairing import Pairs
from caseunet.progress import count_text

STEM = "{stem}"

MAX_NAMED = 5
"""Images without a mask that are named one by one."""

_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|.")
_MEANINGS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "([^/]*)", "?": "[^/]"}


def match_part(path: PurePosixPath, patterns: Iterable[str]) -> int | None:
    """Which part of a path a pattern selects: the number of a folder, −1 for its own name; None for none.

    Of a pattern such as "imgs/**/*.png", which selects files, it is the last folder that it names.
    """
    parts = PurePosixPath(normal(str(path))).parts
    for pattern in patterns:
        if _compile_end(pattern).fullmatch("/".join(parts)):
            named = _find_named_folder(pattern)
            number = _match_folder(parts, named) if named else None
            return -1 if number is None else number
        number = _match_folder(parts, pattern)
        if number is not None:
            return number
    return None


def _match_folder(parts: Sequence[str], pattern: str) -> int | None:
    """The innermost folder of a path that a pattern selects."""
    compiled = _compile_end(pattern)
    places = range(len(parts) - 2, -1, -1)
    return next((number for number in places if compiled.fullmatch("/".join(parts[: number + 1]))), None)


def _find_named_folder(pattern: str) -> str:
    """The folders that a pattern names before its first wildcard: "imgs" of "imgs/**/*.png"."""
    folders = re.sub(r"^(?:\.{1,2}/)+", "", pattern).strip("/").split("/")[:-1]
    return "/".join(takewhile(lambda folder: not set(folder) & set("*?[{"), folders))


@lru_cache(maxsize=256)
def _compile_end(pattern: str) -> re.Pattern[str]:
    """Of paths that end in what a pattern says; of one with ``{stem}``, of masks of any image."""
    plain = re.sub(r"^(?:\.{1,2}/)+", "", normal(pattern)).strip("/").replace(STEM, "*")
    return re.compile(f"(?:.*/)?{_translate(plain)}")


@lru_cache(maxsize=256)
def _translate(pattern: str) -> str:
    """A regular expression, whose groups are what ``*`` stands for."""
    return "".join(_MEANINGS.get(token) or _translate_one(token) for token in _TOKENS.findall(pattern))


def _translate_one(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    return "[" + token[1:-1].replace("!", "^", 1).replace("\\", r"\\").replace("[", r"\[") + "]"


def has_stem(patterns: Iterable[str]) -> bool:
    """Whether any pattern says where the mask of an image is."""
    return any(STEM in pattern for pattern in patterns)


@dataclass(frozen=True)
class StemPattern:
    """Where the mask of an image is.

    Attributes:
        text: as it was given.
        up: how many folders above that of the image it begins; None for the raw folder.
        before, after: the pattern around the first ``{stem}``.
    """

    text: str
    up: int | None
    before: str
    after: str

    @classmethod
    def parse(cls, text: str) -> "StemPattern":
        """The pattern that a text gives."""
        rest, up = normal(text), None
        if rest.startswith("./") or "/" not in rest:
            rest, up = rest.removeprefix("./"), 0
        while rest.startswith("../"):
            rest, up = rest.removeprefix("../"), (up or 0) + 1
        before, _, after = rest.strip("/").partition(STEM)
        return cls(text, up, before, after)

    def find_base(self, folder: str) -> str | None:
        """The folder in which the pattern begins for an image in ``folder``; None above the raw folder."""
        parts = [] if folder in ("", ".") else folder.split("/")
        if self.up is None:
            return ""
        return "/".join(parts[: len(parts) - self.up]) if self.up <= len(parts) else None

    def place(self, folder: str, stem: str) -> str:
        """Where the mask of an image is expected."""
        base = self.find_base(folder) or ""
        return f"{base}/{self.before}{stem}{self.after.replace(STEM, stem)}".strip("/")

    def match(self, path: str, stems: Mapping[str, Mapping[str, int]]) -> tuple[int, str] | None:
        """The image that a mask is of, and what ``*`` stands for in its path.

        Args:
            path: of the mask below the raw folder, as names are compared.
            stems: {folder in which the pattern begins: {stem: image}}.
        """
        parts = path.split("/")
        for cut in range(len(parts) - 1, -1, -1):
            known = stems.get("/".join(parts[:cut]), {})
            found = self._match_rest("/".join(parts[cut:]), known) if known else None
            if found is not None:
                return found
        return None

    def _match_rest(self, rest: str, known: Mapping[str, int]) -> tuple[int, str] | None:
        for start in range(len(rest)):
            before = re.fullmatch(_translate(self.before), rest[:start])
            if before is None:
                continue
            for end in range(len(rest), start, -1):  # the longest name counts: "a_1" before "a"
                stem = rest[start:end]
                if stem not in known:
                    continue
                after = re.fullmatch(_translate(self.after.replace(STEM, _escape(stem))), rest[end:])
                if after is not None:
                    return known[stem], "_".join(part for part in (*before.groups(), *after.groups()) if part)
        return None


def _escape(stem: str) -> str:
    """A name as a pattern that stands for itself."""
    return re.sub(r"([*?\[])", r"[\1]", stem)


def pair_by_stem(
    pictures: Sequence[Item], masks: Sequence[Item], patterns: Sequence[str], root: Path
) -> tuple[Pairs, str]:
    """Pair masks with images as patterns with ``{stem}`` say; and what to ask where they leave it open.

    Args:
        pictures: images, those of several channels as one.
        masks: files that fit a pattern.
        patterns: as they were given.
        root: the raw folder.
    """
    pairs = Pairs()
    question = ""
    folders = [item.paths[0].parent.relative_to(root).as_posix() for item in pictures]
    paths = [normal(item.paths[0].relative_to(root).as_posix()) for item in masks]
    for pattern in (StemPattern.parse(text) for text in patterns if STEM in text):
        stems: dict[str, dict[str, int]] = {}
        for n, (item, folder) in enumerate(zip(pictures, folders, strict=True)):
            base = pattern.find_base(normal(folder))
            first = n if base is None else stems.setdefault(base, {}).setdefault(normal(item.name), n)
            if first != n:
                both = " and ".join((PurePosixPath(folders[i]) / item.name).as_posix() for i in (first, n))
                question = (
                    f"{root}: prepare.masks = {pattern.text} gives {both} the same mask. Say where it is from the "
                    "folder of its image, such as ../masks/{stem}.png."
                )
        paired = pairs.pairs
        for m, path in enumerate(paths):
            found = pattern.match(path, stems) if m not in paired else None
            if found is not None:
                pairs.masks.setdefault(found[0], []).append((m, found[1]))
        if not pairs.masks and pictures and not question:
            expected = pattern.place(folders[0], pictures[0].name)
            question = (
                f"{root}: no image has the mask that prepare.masks = {pattern.text} says. For "
                f"{pictures[0].paths[0].relative_to(root).as_posix()} that is {expected}."
            )
    return pairs, question


def tell_missing(pictures: Sequence[Item], pairs: Pairs, patterns: Sequence[str], root: Path) -> list[Finding]:
    """A warning on images whose mask is not where patterns with ``{stem}`` say."""
    without = [item for n, item in enumerate(pictures) if n not in pairs.masks]
    if not without:
        return []
    pattern = StemPattern.parse(next(text for text in patterns if STEM in text))
    shown = [
        f"{item.paths[0].name} (no {pattern.place(item.paths[0].parent.relative_to(root).as_posix(), item.name)})"
        for item in without[:MAX_NAMED]
    ]
    more = f" and {len(without) - MAX_NAMED} more" if len(without) > MAX_NAMED else ""
    text = f"{count_text(len(without), 'image')} without the mask that {pattern.text} says: {', '.join(shown)}{more}"
    return [Finding(level="warning", kind="masks-not-found", text=text)]
