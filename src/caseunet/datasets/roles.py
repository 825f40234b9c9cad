"""Which files of a folder are images and which are masks, by the names of folders and files, or as a person says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from caseunet.datasets.channels import SEPARATORS, Item
from caseunet.datasets.file_patterns import match_part
from caseunet.datasets.names import Role, bare_name, folder_rest, folder_role, is_case_folder, mask_key, normal
from caseunet.io import images


@dataclass(frozen=True)
class Choice:
    """What a person says of a folder, as patterns of paths below it or of names; () leaves it to the names.

    Attributes:
        images: which files are images.
        masks: which files are masks.
        channels: how the names of the channels' files end, in order.
        fields: which files show what was judged of an image.
        ignored: files that a plan leaves out, relative to the folder. They select nothing, and name no class.
    """

    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.images or self.masks or self.channels or self.fields)


@dataclass(frozen=True)
class Roles:
    """The image files of a folder.

    Attributes:
        images, masks: whose names tell it.
        unknown: whose names tell nothing.
        refused: that the choice leaves out.
        fields: that show what was judged.
    """

    images: tuple[Item, ...]
    masks: tuple[Item, ...]
    unknown: tuple[Item, ...]
    refused: tuple[Path, ...] = ()
    fields: tuple[Item, ...] = ()


def sort_files(root: Path, files: Sequence[Path], choice: Choice) -> Roles:
    """The roles of image files: as chosen; else by the innermost folder whose name tells it; else by their own names.

    A file beside its image is a mask whatever folder both are in: "images/a_mask.png" beside "images/a.png".
    """
    found: dict[str, list[tuple[Path, int | None]]] = {"image": [], "mask": [], "": [], "field": []}
    refused: list[Path] = []
    beside = _masks_beside(root, files)
    for path in files:
        relative = PurePosixPath(path.relative_to(root).as_posix())
        role, place = _folder_role(relative)
        chosen_mask, chosen_image = (match_part(relative, patterns) for patterns in (choice.masks, choice.images))
        if (field := match_part(relative, choice.fields)) is not None:
            found["field"].append((path, place if field < 0 else field))
            continue
        if path in beside and not choice.masks:
            role = "mask"
        if chosen_mask is not None:
            role, place = "mask", place if chosen_mask < 0 else chosen_mask
        elif chosen_image is not None:
            role, place = "image", place if chosen_image < 0 else chosen_image
        elif (choice.masks and (role == "mask" or path in beside)) or (choice.images and role != "mask"):
            refused.append(path)
            continue
        found[role].append((path, place))
    twice = {role for role in ("image", "mask") if _is_twice(root, found[role])}
    rests = [_find_rests(root, found[role]) for role in ("image", "mask")]
    long = dict.fromkeys(found, bool(twice))  # what masks alone have, as the names of structures, tells no images apart
    long["image"] = "image" in twice or ("mask" in twice and not rests[0].isdisjoint(rests[1]))
    items = {role: tuple(_item(root, path, place, long[role]) for path, place in found[role]) for role in found}
    return Roles(items["image"], items["mask"], items[""], tuple(refused), items["field"])


def _folder_role(path: PurePosixPath) -> tuple[Role, int | None]:
    """What the folders of a path tell of the file, and which of them does; the innermost counts."""
    for place, part in reversed(list(enumerate(path.parts[:-1]))):
        if role := folder_role(part):
            return role, place
    return "", None


def _masks_beside(root: Path, files: Sequence[Path]) -> set[Path]:
    """Files whose names tell that they are masks of other files in the same folder."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if _folder_role(PurePosixPath(path.relative_to(root).as_posix()))[0] != "mask":
            folders.setdefault(path.parent, []).append(path)
    found: set[Path] = set()
    for folder, inside in folders.items():
        keys = {path: mask_key(images.stem(path)) for path in inside}
        keyed = {path: key for path, key in keys.items() if key is not None}
        plain = {normal(images.stem(path)) for path in inside if path not in keyed}
        if not plain:
            role = _folder_role(PurePosixPath(folder.relative_to(root).as_posix()) / "file")[0]
            found |= set(keyed) if role == "" else set()
            continue
        begun = {name[:at] for name in plain for at in range(len(name)) if name[at] in SEPARATORS}
        bare = {bare_name(name) for name in plain}
        in_case = is_case_folder(folder.relative_to(root).as_posix()) and len(plain) == 1 and len(keyed) > 1
        paired = {
            path
            for path, key in keyed.items()
            if key == "" or normal(key) in plain or normal(key) in begun or f"/{normal(key)}" in bare or in_case
        }
        found |= set(keyed) if paired else set()  # where some names tell of masks, those without an image do too
    return found


def _item(root: Path, path: Path, place: int | None, long: bool) -> Item:
    """``long`` keeps what else the folder's name says, where the names of files alone would be there twice."""
    parts = path.relative_to(root).parts[:-1]
    rest = folder_rest(parts[place]) if long and place is not None else ""
    folders = [rest if number == place else part for number, part in enumerate(parts)]
    told = "/".join(parts) if place is None else "/".join(parts[: place + 1])
    return Item((path,), "/".join(part for part in folders if part), images.stem(path), told)


def _find_rests(root: Path, found: Iterable[tuple[Path, int | None]]) -> set[str]:
    """What the names of folders say beside their role."""
    return {folder_rest(path.relative_to(root).parts[place]) for path, place in found if place is not None}


def _is_twice(root: Path, found: Iterable[tuple[Path, int | None]]) -> bool:
    """Whether two files that differ in their folders would have one name."""
    places: dict[str, str] = {}
    for path, place in found:
        item = _item(root, path, place, long=False)
        if places.setdefault(item.key, item.place) != item.place:
            return True
    return False
