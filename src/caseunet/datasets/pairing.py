"""Which mask belongs to which image, by names alone; what could be meant in two ways is left to the caller to ask."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from caseunet.datasets.channels import SEPARATORS, Item
from caseunet.datasets.names import bare_name, find_affixes, is_case_folder, mask_key, normal, part_of

Key = Callable[[Item], str | None]


@dataclass
class Pairs:
    """Masks of images.

    Attributes:
        masks: {index of an image: [(index of a mask, what its name says beside the image's)]}.
        alone: images that are the only ones of their folder, which is named after the case.
    """

    masks: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)

    @property
    def pairs(self) -> set[int]:
        return {mask for masks in self.masks.values() for mask, _ in masks}


def pair(pictures: Sequence[Item], masks: Sequence[Item]) -> Pairs:
    """Pair masks of one kind with images.

    In this order: the same name; the same but for accents and capitals; but for a word such as "mask" or "volume" at
    its end; a mask that is called like its image and more; the only image of a folder with its masks; the same name
    after what all names of a folder share; the same name in any folder, if only one image has it, no mask of that name
    has another, and their folders do not contradict. A name that two images have decides nothing.
    """
    pairs = Pairs()
    core_of_image, core_of_mask = _core(pictures), _core(masks)
    levels: list[tuple[Key, Key]] = [
        (lambda item: item.key, lambda item: item.key),
        (lambda item: normal(item.key), lambda item: normal(item.key)),
        (lambda item: normal(item.key), _mask_key),
        (lambda item: normal(bare_name(item.key)), lambda item: normal(bare_name(item.key))),
    ]
    for of_image, of_mask in levels:
        _pair_level(pairs, pictures, masks, of_image, of_mask)
    _pair_longer(pairs, pictures, masks)
    _pair_level(pairs, pictures, masks, _in_folder(core_of_image), _in_folder(core_of_mask), single=True)
    _pair_alone(pairs, pictures, masks)
    for of_image, of_mask in (
        (lambda item: normal(item.name), lambda item: normal(item.name)),
        (lambda item: normal(item.name), lambda item: normal(mask_key(item.name) or "") or None),
        (lambda item: core_of_image(item), lambda item: core_of_mask(item)),
    ):
        _pair_level(pairs, pictures, masks, of_image, of_mask, single=True, anywhere=True)
    return pairs


def _mask_key(item: Item) -> str | None:
    stem = mask_key(item.name)
    return None if stem is None or not (stem or item.folder) else normal(f"{item.folder}/{stem}".strip("/"))


def _pair_level(
    pairs: Pairs,
    pictures: Sequence[Item],
    masks: Sequence[Item],
    of_image: Key,
    of_mask: Key,
    single: bool = False,
    anywhere: bool = False,
) -> None:
    """Pair what has no partner yet by a key.

    ``single`` wants images without a mask, of no other part of a split; ``anywhere`` leaves folders out of the key, so
    that an image or mask of the key that has a partner already shows that others lack theirs.
    """
    paired = pairs.pairs
    left = _index(of_mask, ((n, item) for n, item in enumerate(masks) if anywhere or n not in paired))
    if not left:
        return
    free = [(n, item) for n, item in enumerate(pictures) if anywhere or not single or n not in pairs.masks]
    for key, found in _index(of_image, free).items():
        if len(found) != 1 or key not in left:
            continue
        if anywhere and (found[0] in pairs.masks or paired.intersection(left[key])):
            continue
        told = [(n, masks[n].folder if single and len(left[key]) > 1 else "") for n in left[key]]
        if not single or all(_may_belong(pictures[found[0]], masks[n]) for n in left[key]):
            pairs.masks.setdefault(found[0], []).extend(told)


def _may_belong(picture: Item, mask: Item) -> bool:
    """Whether an image and a mask are of the same part of a split, and one lies in the folders of the other."""
    parts = {part for item in (picture, mask) if (part := part_of(PurePosixPath(item.folder, "file")))}
    first, second = (
        {normal(name) for name in item.folder.split("/") if name and not part_of(PurePosixPath(name, "file"))}
        for item in (picture, mask)
    )
    return len(parts) < 2 and (first <= second or second <= first)


def _pair_longer(pairs: Pairs, pictures: Sequence[Item], masks: Sequence[Item]) -> None:
    """Masks whose names begin with an image's: "img1_2", "pat1_liver", "pat1/liver"."""
    known = _index(lambda item: normal(item.key), enumerate(pictures))
    paired = pairs.pairs
    for n, item in enumerate(masks):
        key = normal(item.key)
        cut = next((at for at in range(len(key) - 1, 0, -1) if key[at] in SEPARATORS and key[:at] in known), None)
        if n not in paired and cut is not None and len(known[key[:cut]]) == 1:
            pairs.masks.setdefault(known[key[:cut]][0], []).append((n, item.key[len(item.key) - len(key) + cut + 1 :]))


def _pair_alone(pairs: Pairs, pictures: Sequence[Item], masks: Sequence[Item]) -> None:
    """The only image of a case's folder with all masks in it."""
    paired = pairs.pairs
    left = _index(_case_folder, ((n, item) for n, item in enumerate(masks) if n not in paired))
    for folder, found in _index(_case_folder, enumerate(pictures)).items():
        if len(found) == 1 and found[0] not in pairs.masks and folder in left:
            pairs.masks[found[0]] = [(n, mask_key(masks[n].name) or masks[n].name) for n in left[folder]]
            pairs.alone.add(found[0])


def _case_folder(item: Item) -> str | None:
    return normal(item.folder) if is_case_folder(item.folder) else None


def _core(items: Sequence[Item]) -> Key:
    """Names without what all names of the same place begin and end with."""
    by_place: dict[str, list[str]] = {}
    for item in items:
        by_place.setdefault(item.place, []).append(normal(item.name))
    shared = {place: find_affixes(names) for place, names in by_place.items() if len(names) > 1}

    def core(item: Item) -> str | None:
        before, behind = shared.get(item.place, ("", ""))
        name = normal(item.name)
        return name[len(before) : len(name) - len(behind)] or None

    return core


def _in_folder(core: Key) -> Key:
    def key_names(item: Item) -> str | None:
        name = core(item)
        return None if name is None else f"{normal(item.folder)}/{name}"

    return key_names


def _index(key: Key, items: Iterable[tuple[int, Item]]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, item in items:
        name = key(item)
        if name is not None:
            found.setdefault(name, []).append(number)
    return found
