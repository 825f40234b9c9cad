"""Images whose channels are files of their own, told by how their names end: BraTS's "-t1n", nnU-Net's "_0000"."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from caseunet.datasets.layout import natural
from caseunet.datasets.names import find_affixes, is_case_folder, mask_key, normal
from caseunet.io import images

SEPARATORS = "-_. /"


@dataclass(frozen=True)
class Item:
    """An image, of one file or of one for each channel, or a mask, as its names tell.

    Attributes:
        paths: its files.
        folder: the folders that it lies in, without the one that tells whether it is an image or a mask.
        name: its name there.
        place: the folder that tells the role, or its own; "" for the raw folder itself.
    """

    paths: tuple[Path, ...]
    folder: str
    name: str
    place: str = ""

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}".strip("/")


def channel_name(pattern: str) -> str:
    """The name of a channel that a pattern such as "*-t1n.nii.gz" stands for: "t1n"."""
    return images.stem(Path(pattern.replace("*", "") or pattern)).strip(SEPARATORS)


def find_channels(pictures: Sequence[Item], masks: Sequence[Item]) -> tuple[str, ...]:
    """How the names of images end where several belong to one mask, for most masks alike; () where one image does."""
    whole = {normal(item.key) for item in pictures}
    keys: dict[str, Item] = {}
    for mask in masks:
        stem = mask_key(mask.name)
        if normal(mask.key) not in whole and (stem is None or normal(f"{mask.folder}/{stem}".strip("/")) not in whole):
            for name in {mask.name} | ({stem} if stem is not None else set()):
                keys.setdefault(normal(f"{mask.folder}/{name}" if mask.folder else name), mask)
    endings: dict[Path, list[str]] = {}
    for folder, inside in _by_folder(pictures).items():
        volumes = [item for item in inside if images.is_volume(item.paths[0])]
        inside = volumes or inside  # not a preview beside them
        here = keys.get(normal(f"{folder}/")) if is_case_folder(folder) else None
        before = len(find_affixes([item.name for item in inside])[0]) if len(inside) > 1 else 0
        for item in inside:
            key = normal(item.key)
            cut = next((n for n in range(len(key) - 1, 0, -1) if key[n] in SEPARATORS and key[:n] in keys), None)
            if cut is not None:
                endings.setdefault(keys[key[:cut]].paths[0], []).append(key[cut + 1 :])
            elif here is not None and len(inside) > 1:
                endings.setdefault(here.paths[0], []).append(normal(item.name)[before:].strip(SEPARATORS))
    counts = Counter(ending for of_mask in endings.values() for ending in set(of_mask))
    usual = [ending for ending, number in counts.items() if 2 * number > len(endings)]
    return tuple(sorted(usual, key=natural)) if len(usual) > 1 else ()


def split_channel(name: str, channels: Sequence[str]) -> tuple[str, int] | None:
    """The name without the channel's, and which channel it is; None if it ends like none."""
    low = normal(name)
    for number, channel in sorted(enumerate(channels), key=lambda pair: -len(pair[1])):
        ending = normal(channel)
        if low == ending:
            return "", number
        if low.endswith(ending) and low[-len(ending) - 1] in SEPARATORS:
            return name[: len(name) - len(channel) - 1], number
    return None


def join_channels(pictures: Iterable[Item], channels: Sequence[str]) -> tuple[dict[str, dict[int, Item]], list[Item]]:
    """{key of an image: {number of a channel: its file}}, and the files that are of no channel.

    A channel may also have a folder of its own, called like it.
    """
    found: dict[str, dict[int, Item]] = {}
    others = []
    for item in pictures:
        key, number = _channel(item, channels)
        if number is None or number in found.setdefault(key, {}):
            others.append(item)
        else:
            found[key][number] = item
    return {key: files for key, files in found.items() if files}, others


def _channel(item: Item, channels: Sequence[str]) -> tuple[str, int | None]:
    """The key of the image that a file belongs to, and its channel's number."""
    split = split_channel(item.name, channels)
    if split is not None:
        return replace(item, name=split[0]).key, split[1]
    parts = item.folder.split("/")
    for number, channel in enumerate(map(normal, channels)):
        if channel in (*map(normal, parts), normal(item.place.rpartition("/")[2])):
            folder = "/".join(part for part in parts if normal(part) != channel)
            return replace(item, folder=folder).key, number
    return "", None


def group_channels(key: str, files: Mapping[int, Item]) -> Item:
    """The channels of an image as one."""
    folder, _, name = key.rpartition("/")
    return Item(tuple(files[n].paths[0] for n in sorted(files)), folder, name, files[min(files)].place)


def _by_folder(items: Iterable[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.folder, []).append(item)
    return found
