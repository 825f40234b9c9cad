"""Which structures references and predictions share, by name, and how the class ids of each side become those."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from caseunet.datasets.class_names import unify_spellings
from caseunet.datasets.coding import classes_of, palette
from caseunet.errors import InvalidInputError
from caseunet.types import IGNORE, Color, Label, LabelCoding, LabelMap, name_key

UNNAMED = re.compile(r"foreground|class -?\d+|#[0-9a-f]{6}")
"""What a class is called that no file names."""

MAX_TOLD = 10
"""Classes that a remark lists."""

Table = np.ndarray
"""Class id of one side → shared class id, (256,), uint8."""


@dataclass(frozen=True)
class SharedClasses:
    """What is scored.

    Attributes:
        label_map: of the shared structures, and the classes that tell them apart.
        reference: turns the references' class ids into those of ``label_map``.
        predictions: {model: the same for its class ids}.
        only_reference: structures that not all predictions have.
        only_prediction: {model: structures that the references have not, or another model}.
        notes: what else was done to match them.
    """

    label_map: LabelMap
    reference: Table
    predictions: Mapping[str, Table]
    only_reference: tuple[str, ...] = ()
    only_prediction: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def share_classes(reference: LabelMap, predictions: Mapping[str, LabelMap | None], origin: str) -> SharedClasses:
    """Match structures by name, without case; spaces, underscores and hyphens are alike.

    A class that only one side has counts as background on that side. Where one side makes a structure of several
    classes (the liver of liver and tumour) and the other has just these classes, they make it up there too.

    Args:
        reference: the classes of the references.
        predictions: {model: its classes}; None where its masks hold the references' own values.
        origin: of the references, for messages.

    Raises:
        CaseUNetError: they share none, or one side has two of one name.
    """
    sides = {name: reference if label_map is None else label_map for name, label_map in predictions.items()}
    sides, notes = _name_alike(sides, reference)
    if all(_names(side) == _names(reference) and _same_structures(side, reference) for side in sides.values()):
        same = np.arange(256, dtype=np.uint8)
        return SharedClasses(reference, same, dict.fromkeys(sides, same), notes=tuple(notes))

    _check_spellings(reference, sides, origin)
    spelled = {name_key(name): name for name in reference.structures}
    shared = _shared_structures(reference, sides, origin)
    every = {"": reference, **sides}
    combined = {
        name: _combinations(label_map, [other for other in every.values() if other is not label_map], shared)
        for name, label_map in every.items()
    }
    notes += _made_up_notes(every, combined, spelled) + _overlap_notes(combined, spelled)
    order = list(dict.fromkeys(c for side in combined.values() for c in side if c))
    names = _class_names(order, spelled, every, combined)
    colors = _colors(order, reference, combined[""])
    labels = (Label(id=i, name=name, color=color) for i, (name, color) in enumerate(zip(names, colors, strict=True)))
    structures = {spelled[key]: tuple(i for i, members in enumerate(order, 1) if key in members) for key in shared}
    tables = {name: _table(side, order) for name, side in combined.items()}
    return SharedClasses(
        label_map=LabelMap(labels=tuple(labels), structures=structures),
        reference=tables.pop(""),
        predictions=tables,
        only_reference=tuple(name for key, name in spelled.items() if key not in shared),
        only_prediction={
            name: tuple(own for own in side.structures if name_key(own) not in shared) for name, side in sides.items()
        },
        notes=tuple(notes),
    )


def _name_alike(sides: Mapping[str, LabelMap], reference: LabelMap) -> tuple[dict[str, LabelMap], list[str]]:
    """The sides; the only class of one is named as that of the references where one of both has no name. And notes."""
    named, notes = dict(sides), []
    for name, label_map in sides.items():
        if _names(label_map) != _names(reference) and _is_one_unnamed(reference, label_map):
            own, other = next(iter(label_map.structures)), next(iter(reference.structures))
            notes.append(f'The one class of {name}, "{own}", was taken for the one of the references, "{other}".')
            named[name] = _rename(label_map, other)
    return named, notes


def _check_spellings(reference: LabelMap, sides: Mapping[str, LabelMap], origin: str) -> None:
    """Raises CaseUNetError if two structures of one side have one name."""
    for owner, label_map in (("the references", reference), *sides.items()):
        same_class = next(((a, b) for a, b in unify_spellings(label_map.structures).items() if a != b), None)
        if same_class:
            raise InvalidInputError(
                f'{origin}: "{same_class[1]}" and "{same_class[0]}" are two structures of {owner}. Names are matched '
                "without case, and spaces, underscores and hyphens are alike. Give them names that differ in more."
            )


def _shared_structures(reference: LabelMap, sides: Mapping[str, LabelMap], origin: str) -> list[str]:
    """Keys of the structures that all sides have.

    Raises:
        CaseUNetError: there are none.
    """
    keys = [{name_key(name) for name in side.structures} for side in sides.values()]
    shared = [key for key in map(name_key, reference.structures) if all(key in side for side in keys)]
    if not shared:
        theirs = "; ".join(f"{name} has {', '.join(side.structures)}" for name, side in sides.items())
        raise InvalidInputError(
            f"{origin}: its structures are {', '.join(reference.structures)}; {theirs}. None is shared by name. Say "
            "what the values mean in a labels.json, or name the classes alike.",
            options=("labels",),
        )
    return shared


def _table(side: Sequence[frozenset[str]], order: Sequence[frozenset[str]]) -> Table:
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for number, members in enumerate(side):
        table[number] = order.index(members) + 1 if members else 0
    return table


def values_text(coding: LabelCoding) -> str:
    """The values of classes and their names, "1 liver, 2 spleen", the first of them where they are many."""
    named = [f"{value} {coding.label_map.names[i]}" for value, i in classes_of(coding).items() if i]
    return ", ".join(named[:MAX_TOLD]) + (" …" if len(named) > MAX_TOLD else "")


def name_by_predictions(
    reference: LabelCoding, predictions: Mapping[str, LabelCoding | None]
) -> tuple[LabelCoding, str]:
    """The classes of references that no file names, as the predictions name their values; and a remark, or "".

    Args:
        reference: the values that were found.
        predictions: {model: the values and names of its classes}; None where these have no names.
    """
    values = list(classes_of(reference))
    for model, coding in predictions.items():
        if coding is None or coding.colored != reference.colored:
            continue
        names = coding.label_map.names
        by_value = {value: f"class {value}" for value in values[1:]}
        if not reference.colored and set(by_value.values()) <= set(names):
            return _recode(reference, by_value), ""
        if set(values) <= set(coding.codes) and not is_unnamed(coding.label_map):
            told = ", ".join(f"{value} {names[coding.codes[value]]}" for value in values if coding.codes[value])
            remark = (
                f"The references do not name their classes: their values were taken for those of {model} ({told}). "
                "Give a labels.json (labels) where they mean something else."
            )
            ignored = {value: IGNORE for value, i in reference.codes.items() if i == IGNORE}
            return coding.model_copy(update={"codes": coding.codes | ignored}), remark
    return reference, ""


def _recode(coding: LabelCoding, names: Mapping[int, str]) -> LabelCoding:
    labels = list(coding.label_map.labels)
    for value, name in names.items():
        labels[coding.codes[value]] = labels[coding.codes[value]].model_copy(update={"name": name})
    structures: dict[str, tuple[int, ...]] = {label.name: (label.id,) for label in labels[1:]}
    return coding.model_copy(update={"label_map": LabelMap(labels=tuple(labels), structures=structures)})


def _names(label_map: LabelMap) -> list[str]:
    return [name_key(name) for name in label_map.names[1:]]


def _same_structures(a: LabelMap, b: LabelMap) -> bool:
    return {name_key(n): ids for n, ids in a.structures.items()} == {
        name_key(n): ids for n, ids in b.structures.items()
    }


def is_unnamed(label_map: LabelMap) -> bool:
    """Whether no file names its classes, so that they are called by their values."""
    return all(UNNAMED.fullmatch(name) for name in label_map.names[1:])


def _is_one_unnamed(a: LabelMap, b: LabelMap) -> bool:
    """Whether both have one class beside the background, and at least one does not name it."""
    return len(a) == len(b) == 2 and (is_unnamed(a) or is_unnamed(b))


def _rename(label_map: LabelMap, name: str) -> LabelMap:
    labels = (label_map.labels[0], label_map.labels[1].model_copy(update={"name": name}))
    return LabelMap(labels=labels, structures={name: (1,)})


def _combinations(own: LabelMap, others: Sequence[LabelMap], shared: Sequence[str]) -> list[frozenset[str]]:
    """For each class id the shared structures that it is part of."""
    members = {name_key(name): set(ids) for name, ids in own.structures.items()}
    by_name = {name_key(label.name): label.id for label in own.labels[1:]}
    for key in shared:
        for other in others:
            parts = next(
                {_part(other, i, by_name) for i in ids}
                for name, ids in other.structures.items()
                if name_key(name) == key
            )
            is_plain = members[key] == {by_name.get(key)}
            if is_plain and parts <= set(by_name):
                members[key] |= {by_name[part] for part in parts}
    return [frozenset(key for key in shared if label.id in members[key]) for label in own.labels]


def _part(label_map: LabelMap, number: int, known: Collection[str]) -> str:
    """What a class is on a side of these classes: of its name, or the innermost structure that it belongs to.

    Where each tumour lies in a liver, "liver + tumour" is a tumour where a voxel has one class.
    """
    name = name_key(label_map.names[number])
    owners = {name_key(own): set(ids) for own, ids in label_map.structures.items() if number in ids}
    within = (own for own, ids in owners.items() if all(ids < other for o, other in owners.items() if o != own))
    return name if name in known else next(within, name)


def _made_up_notes(
    every: Mapping[str, LabelMap], combined: Mapping[str, Sequence[frozenset[str]]], spelled: Mapping[str, str]
) -> list[str]:
    """Structures that a side has by itself, and that were taken with what lies in them on another side."""
    notes = []
    for side, label_map in every.items():
        for name, ids in label_map.structures.items():
            key = name_key(name)
            more = [own for i, own in enumerate(label_map.names) if key in combined[side][i] and i not in ids]
            if more:
                notes.append(
                    f'"{spelled[key]}" of {side or "the references"} was taken together with {", ".join(more)}, which '
                    "lies in it on another side."
                )
    return notes


def _overlap_notes(combined: Mapping[str, Sequence[frozenset[str]]], spelled: Mapping[str, str]) -> list[str]:
    """Structures that share voxels on one side and never on another, so that their scores differ by that."""
    pairs = {side: {pair for c in found for pair in combinations(sorted(c), 2)} for side, found in combined.items()}
    return [
        f'"{spelled[a]}" and "{spelled[b]}" share voxels in {name or "the references"}, and cannot in '
        f"{model or 'the references'}, where a voxel is of one of them: their scores are lower for it."
        for name, model in ((x, y) for x in pairs for y in pairs if "" in (x, y))
        for a, b in sorted(pairs[name] - pairs[model])
    ]


def _class_names(
    order: Sequence[frozenset[str]],
    spelled: Mapping[str, str],
    every: Mapping[str, LabelMap],
    combined: Mapping[str, Sequence[frozenset[str]]],
) -> list[str]:
    """The background, and for each set of structures the name of the first class that is the only one of its set."""
    names = ["background"]
    single = {spelled[key] for members in order if len(members) == 1 for key in members}
    for members in order:
        own = [
            [every[side].names[i] for i, found in enumerate(combined[side]) if found == members] for side in combined
        ]
        joined = " + ".join(spelled[key] for key in spelled if key in members)
        alone = next((found[0] for found in own if len(found) == 1), joined)
        name = joined if len(members) == 1 else alone
        names.append(joined if len(members) > 1 and name in (*names, *single) else name)
    return names


def _colors(order: Sequence[frozenset[str]], reference: LabelMap, own: Sequence[frozenset[str]]) -> list[Color]:
    """The references' where they have such a class, else others."""
    colors = [reference.colors[0]]
    spare = [color for color in palette(len(order) + len(reference) + 2)[1:] if color not in reference.colors]
    for members in order:
        found = next((reference.colors[i] for i, known in enumerate(own) if known == members), None)
        colors.append(found if found is not None and found not in colors else spare.pop(0))
    return colors
