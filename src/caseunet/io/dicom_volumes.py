"""The volumes that share a DICOM series, told apart by the elements of their slices."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from caseunet.io.dicom_mixtures import find_interleaving, mark_of, number_or_text
from caseunet.io.dicom_planes import SCANS, TIMES, VALUES, Plane
from caseunet.io.dicom_stack import fit_stack, is_stack


def split_volumes(planes: Sequence[Plane]) -> tuple[dict[str, list[Plane]], list[str]]:
    """{name: slices} of the volumes that share a series, and the elements that tell them apart.

    A series with one slice at each position of an even stack is one volume, called "", unless it is several scans whose
    slices lie between each other's. Slices at one position that no element tells apart stay together.
    """
    parts: dict[str, list[Plane]] = {"": list(planes)}
    used: list[str] = []
    splits: list[Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]] = [
        _by_folder,
        *(_by_value(keyword, name) for keyword, name in VALUES.items()),
        *(_by_time(keyword) for keyword in TIMES),
    ]
    for split in splits:
        for name, members in list(parts.items()):
            element, found = split(members)
            if _helps(members, list(found.values())):
                del parts[name]
                parts |= {f"{name}/{own}".lstrip("/"): part for own, part in found.items()}
                used += [element] if element not in used else []
    for name, members in list(parts.items()):
        elements, found = _by_interleaving(members)
        if found:
            del parts[name]
            parts |= {f"{name}/{own}".lstrip("/"): part for own, part in found.items()}
            used += [element for element in elements if element not in used]
    return parts, used


def _by_interleaving(planes: Sequence[Plane]) -> tuple[tuple[str, ...], dict[str, list[Plane]]]:
    """The scans whose slices lie between each other's, and the elements that tell them apart; none without proof."""
    found = find_interleaving(fit_stack(planes).planes) if is_stack(planes) else None
    if found is None or not found.is_proven:
        return (), {}
    element = found.elements[0]
    if element == "folder":
        return found.elements, _by_folder(planes)[1]
    parts = sorted(found.parts, key=lambda part: number_or_text(mark_of(element, part[0])))
    if element in TIMES:
        return found.elements, {f"phase-{n + 1}": part for n, part in enumerate(parts)}
    names = _value_names({**VALUES, **SCANS}[element], [mark_of(element, part[0]) for part in parts])
    return found.elements, dict(zip(names, parts, strict=True))


def _most_at_one_place(planes: Sequence[Plane]) -> int:
    return max(Counter(plane.place for plane in planes).values())


def _helps(before: Sequence[Plane], after: Sequence[Sequence[Plane]]) -> bool:
    """Whether a split puts slices at one position apart; where there are none, whether it makes even stacks."""
    if len(after) < 2:
        return False
    most = _most_at_one_place(before)
    if most > 1:
        return len(after) <= most and max(map(_most_at_one_place, after)) < most
    return not is_stack(before) and all(len(part) > 1 and is_stack(part) for part in after)


def _by_folder(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
    groups = _group((str(plane.path.parent), plane) for plane in planes)
    names = [Path(folder).name for folder in groups]
    if len(set(names)) < len(names):
        names = [f"folder-{n + 1}" for n in range(len(names))]
    return "folder", dict(zip(names, groups.values(), strict=True))


def _by_value(keyword: str, name: str) -> Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]:
    def split(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
        groups = _group((plane.marks.get(keyword, ""), plane) for plane in planes)
        named = dict(zip(_value_names(name, list(groups)), groups.values(), strict=True))
        return keyword, named

    return split


def _by_time(keyword: str) -> Callable[[Sequence[Plane]], tuple[str, dict[str, list[Plane]]]]:
    """The first slice at each position, the second …; none where a position has fewer than others, or equal times."""

    def split(planes: Sequence[Plane]) -> tuple[str, dict[str, list[Plane]]]:
        places: dict[tuple[int, ...], list[Plane]] = {}
        for plane in planes:
            places.setdefault(plane.place, []).append(plane)
        times = [{plane.marks.get(keyword, "") for plane in members} for members in places.values()]
        if len({len(members) for members in places.values()}) > 1 or any(
            len(own) < len(members) or "" in own for own, members in zip(times, places.values(), strict=True)
        ):
            return keyword, {}
        return keyword, _group(
            (f"phase-{n + 1}", plane)
            for members in places.values()
            for n, plane in enumerate(sorted(members, key=lambda plane: number_or_text(plane.marks[keyword])))
        )

    return split


def _group(pairs: Iterable[tuple[str, Plane]]) -> dict[str, list[Plane]]:
    groups: dict[str, list[Plane]] = {}
    for key, plane in pairs:
        groups.setdefault(key, []).append(plane)
    return dict(sorted(groups.items(), key=lambda item: number_or_text(item[0])))


def _value_names(name: str, values: list[str]) -> list[str]:
    """What volumes are called by the values of an element: "echo-2", "b-1000", "type-p"; else by their order."""
    if name == "type":
        parts = [value.split("\\") for value in values]
        own = ["-".join(part for part in mine if not all(part in other for other in parts)) for mine in parts]
    else:
        numbers = [float(number_or_text(value)[0]) for value in values]
        own = [
            value if not np.isfinite(number) else f"{number:.0f}" if number.is_integer() else f"{number:g}"
            for value, number in zip(values, numbers, strict=True)
        ]
    plain = ["".join(c if c.isalnum() or c in "-." else "_" for c in text.lower())[:20] for text in own]
    if len(set(plain)) < len(values) or not all(plain):
        plain = [str(n + 1) for n in range(len(values))]
    return [f"{name}-{text}" for text in plain]
