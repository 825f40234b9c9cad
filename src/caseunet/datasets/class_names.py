"""The forms in which a ``labels.json`` names classes: ours, nnU-Net's, the Decathlon's, and a plain list."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.files import read_json
from caseunet.types import name_key

FORMS = (
    'a list of classes, each with name, color and classid; or {"background": 0, "liver": 1}; or {"0": "background", '
    '"1": "liver"}; or {"liver": {"id": 1, "color": "#ff0000"}}; or ["background", "liver"]'
)
_AROUND = frozenset(
    {"background", "bg", "bkg", "unlabeled", "unlabelled", "other", "others", "none", "void"}
    | {"nothing", "no", "normal", "healthy", "outside", "rest", "empty"}
)
"""Words in names of what is around the classes, such as "no finding"."""


class ClassEntry(NamedTuple):
    """One class: the value that stands for it, its name, and its colour if there is one."""

    value: int
    name: str
    color: tuple[int, ...] | None = None


def find_description(folder: Path) -> Path | None:
    """The file of a folder that names the classes of its masks: ``labels.json``, or CVAT's ``labelmap.txt``."""
    return next((folder / name for name in ("labels.json", "labelmap.txt") if (folder / name).is_file()), None)


def unite_names(tables: Mapping[str, Iterable[tuple[int, str]]], where: str, advice: str) -> dict[int, str]:
    """{value: name} of tables that agree wherever two speak of the same value or name.

    Args:
        tables: {what has the table: its values and names}.
        where: the file or folder that holds all, for messages.
        advice: what to do where two contradict each other.

    Raises:
        CaseUNetError: they do.
    """
    names: dict[int, tuple[str, str]] = {}
    values: dict[str, tuple[str, int]] = {}
    for origin, table in tables.items():
        for value, name in table:
            first, known = names.setdefault(value, (origin, name))
            if name_key(known) != name_key(name):
                told = f'{first} calls the value {value} "{known}", and {origin} calls it "{name}"'
                raise InvalidInputError(f"{where}: {told}; expected one name. {advice}")
            first, other = values.setdefault(name_key(name), (origin, value))
            if other != value and first != origin:
                told = f'"{name}" is {other} in {first}, and {value} in {origin}'
                raise InvalidInputError(f"{where}: {told}; expected one value. {advice}")
    return {value: name for value, (_, name) in names.items()}


def read_class_description(path: Path) -> Any:
    """What such a file says, as :func:`class_entries` takes it.

    CVAT writes a line for each class, "polyp:250,50,83::", and numbers none; black is the background.

    Raises:
        CaseUNetError: it is damaged.
    """
    if path.suffix.lower() != ".txt":
        return read_json(path, "labels.json with name, color and classid of each class")
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    fields = [line.split(":") for line in lines if line and not line.startswith("#")]
    try:
        colors = {name: [int(part) for part in color.split(",")] for name, color, *_ in fields}
    except ValueError as error:
        raise InvalidInputError(
            f"{path}: expected lines such as polyp:250,50,83:: as CVAT writes them: {error}."
        ) from error
    order = sorted(colors, key=lambda name: any(colors[name]))  # black first
    return [{"name": name, "classid": number, "color": colors[name]} for number, name in enumerate(order)]


def class_entries(content: Any, path: Path) -> list[ClassEntry]:
    """The classes of a parsed ``labels.json``, by their values; the background is 0, and added where it is not named.

    Raises:
        CaseUNetError: it has none of the known forms, names regions, or a value or name is there twice.
    """
    if isinstance(content, dict):
        beside = {"lesions": list, "regions": dict}  # which of the classes are lesions, and which structures they make
        content = {key: v for key, v in content.items() if not isinstance(v, beside.get(key, ()))}
    if isinstance(content, dict) and len(content) == 1 and isinstance(next(iter(content.values())), dict | list):
        key = next(iter(content))
        content = content[key] if key in ("classes", "labels", "categories") else content
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):  # a whole dataset.json
        content = content["labels"]
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        found = [_of_entry(_name_entry(str(key), value), path) for key, value in content.items()]
        if all(entry.value > 0 for entry in found):
            found.append(ClassEntry(0, "background", (0, 0, 0)))
    elif isinstance(content, dict):
        found = _of_dict({str(key): value for key, value in content.items()}, path)
        if all(entry.value != 0 for entry in found):
            found.append(ClassEntry(0, "background"))
    elif isinstance(content, list) and content and all(isinstance(entry, str) for entry in content):
        found = [ClassEntry(value, name) for value, name in enumerate(content)]
    elif isinstance(content, list) and content and all(isinstance(entry, dict) for entry in content):
        found = [_of_entry(entry, path) for entry in content]
    else:
        raise InvalidInputError(f"{path}: expected {FORMS}.")
    found.sort(key=lambda entry: entry.value)
    values = [entry.value for entry in found]
    if len(set(values)) < len(values):
        raise _wrong_ids(values, path)
    check_background(((entry.value, entry.name) for entry in found), path)
    if values[0] != 0:
        raise _wrong_ids(values, path)
    return found


def check_background(named: Iterable[tuple[int, str]], path: Path) -> None:
    """Make sure that 0, and nothing else, is called as what is around the classes is.

    Raises:
        CaseUNetError: another value is called the background, or 0 is called as a class is.
    """
    names = dict(named)
    wrong = next((value for value, name in names.items() if value and is_background(name)), None)
    if wrong is not None:
        zero = f', and 0 is "{names[0]}"' if 0 in names else ""
        raise InvalidInputError(
            f'{path}: "{names[wrong]}" has the value {wrong}{zero}; the background must be 0 here, and a class of the '
            "value 0 would never be learnt. Give the background 0 in masks and names."
        )
    if 0 in names and _AROUND.isdisjoint(re.findall(r"[^\W\d_]+", names[0].casefold())):
        raise InvalidInputError(
            f'{path}: 0 is the background here and is called "{names[0]}". A class at 0 would never be learnt. '
            'If 0 is what is around the classes, call it "background": a list of names begins with it. Else give the '
            "class another value in masks and names."
        )


IGNORE_NAMES = frozenset({"ignore", "ignored", "void", "unlabeled", "unlabelled", "dont care", "don't care"})
"""Names, as :func:`name_key` gives them, under which descriptions list pixels that nobody judged."""


def real_classes(names: Iterable[str]) -> list[str]:
    """Names without those of the background and of what nobody judged."""
    return [name for name in names if not is_background(name) and not is_ignored(name)]


def is_ignored(name: str) -> bool:
    return name_key(name) in IGNORE_NAMES


def is_background(name: str) -> bool:
    return name_key(name) == "background"


def unify_spellings(names: Iterable[str]) -> dict[str, str]:
    """{name: the first of all those that are the same class}, by :func:`name_key`."""
    first: dict[str, str] = {}
    return {name: first.setdefault(name_key(name), name) for name in names}


def spelling_notes(names: Iterable[str]) -> list[str]:
    """What is said of classes that have several spellings, a text each."""
    return [
        f'"{name}" and "{spelling}" are spellings of one class, which is called "{spelling}"'
        for name, spelling in unify_spellings(names).items()
        if name != spelling
    ]


def _of_dict(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    regions = [name for name, value in content.items() if isinstance(value, list)]
    if regions:
        raise InvalidInputError(
            f'{path}: "{regions[0]}" is a list, {content[regions[0]]}: regions that overlap, and colours without ids, '
            f"are not supported here. Give each class one value: {FORMS}."
        )
    by_name = {name: parse_number(value) for name, value in content.items()}
    if all(value is not None for value in by_name.values()) and not all(name.isdigit() for name in by_name):
        return [ClassEntry(value, name) for name, value in by_name.items() if value is not None]
    if all(name.isdigit() and isinstance(value, str) for name, value in content.items()):
        return [ClassEntry(int(name), value) for name, value in content.items()]
    raise InvalidInputError(f"{path}: expected {FORMS}, found {_show(content)}.")


def _name_entry(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A class that stands under its name, or under its value: {"liver": {"id": 1}}, {"1": {"name": "liver"}}."""
    return {"classid": int(key), **entry} if key.isdecimal() else {"name": key, **entry}


def _of_entry(entry: Mapping[str, Any], path: Path) -> ClassEntry:
    number = next((entry[key] for key in ("classid", "id", "value") if key in entry), None)
    name, color = entry.get("name", entry.get("label")), entry.get("color")
    if isinstance(number, float):
        raise _wrong_ids(number, path)
    if type(number) is not int or not isinstance(name, str):
        raise InvalidInputError(
            f"{path}: expected a list of classes, each with name, color and classid, found {entry}."
        )
    return ClassEntry(number, name, _parse_color(color, name, path) if isinstance(color, Sequence) and color else None)


def _parse_color(color: Sequence[Any], name: str, path: Path) -> tuple[int, ...]:
    """Red, green and blue of "#ff0000" or of a list; an opacity after them says nothing.

    Raises:
        CaseUNetError: it is another text, or goes from 0 to 1.
    """
    digits = re.fullmatch(r"#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?", color) if isinstance(color, str) else None
    if digits:
        return tuple(bytes.fromhex(digits[1]))
    if isinstance(color, str) or any(isinstance(part, float) and 0 < part <= 1 for part in color[:3]):
        raise InvalidInputError(
            f'{path}: the color of "{name}" is {color!r}; expected three whole numbers from 0 to 255, such as '
            '[255, 0, 0], or "#ff0000".'
        )
    return tuple(color[:3])


def _wrong_ids(found: object, path: Path) -> CaseUNetError:
    return InvalidInputError(
        f"{path}: label ids must be whole numbers from 0 (the background), each once, not {found}."
    )


def parse_number(value: Any) -> int | None:
    """A whole number, perhaps written as text; None for anything else."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isdigit() else None


def _show(content: Mapping[str, Any]) -> str:
    text = str(dict(content))
    return text if len(text) <= 100 else f"{text[:100]} …"
