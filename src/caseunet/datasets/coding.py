"""What the values in masks mean: told by a description, or found in the masks themselves."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from caseunet.datasets.class_names import IGNORE_NAMES, class_entries, is_background, is_ignored, read_class_description
from caseunet.errors import CaseUNetError, InvalidInputError
from caseunet.io import nifti
from caseunet.types import IGNORE, Color, Label, LabelCoding, LabelMap, Mask, name_key

COVERED = 0.6
"""Share of the pixels that classes cover at least; where they do not, the masks are no masks but photographs."""

BACKGROUND = "background"
"""Name of class 0; a segment that is called so is no other class."""

MIN_PIXELS = 20
"""Pixels from which the exact colour of thin things can be a class."""

NEAR = 48.0
"""Colours nearer than this to a commoner one are taken for its smoothed or lossy copies."""

MIN_FLAT = 0.05
"""Share of a class's pixels that lie inside its areas at least; of the values at smoothed or lossy edges hardly any."""

REACH, FAR_REACH = 2, 8
"""Pixels within which snapping looks for classes: first, and in wide ramps."""

ROUNDING = 2.0
"""How far from the line between two colours their mixtures are at most."""

MAX_THIN = 4
"""Values below 128 without any area that ids may have in any case."""


def palette(n: int) -> tuple[Color, ...]:
    """Black for the background, then n − 1 colours that differ in hue and lightness."""
    colors: list[Color] = [(0, 0, 0)]
    for i in range(n - 1):
        red, green, blue = colorsys.hls_to_rgb(i * 0.618034 % 1, (0.55, 0.4, 0.7)[i // 8 % 3], 0.75)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colors)


def coding_of(
    names: Mapping[int, str],
    structures: Mapping[str, Sequence[int]] | None = None,
    colors: Mapping[int, Color] | None = None,
    colored: bool = False,
    ignore: Iterable[int] = (),
) -> LabelCoding:
    """A coding from {value in the file: class name}; classes are numbered in that order, the first is the background.

    Args:
        names: by value or colour.
        structures: {scored structure: values}; every foreground class by itself if not given.
        colors: {value: colour to draw the class in}.
        colored: whether the values are colours; then they are the classes' colours too.
        ignore: values, or colours, of pixels that nobody judged.

    Raises:
        ValueError: fewer than two classes, or names or colours that occur twice.
    """
    codes = {code: i for i, code in enumerate(names)}
    drawn = palette(len(codes))
    if colored:
        drawn = tuple(unpack_color(code) for code in codes)
    elif colors is not None:
        drawn = tuple(colors[code] for code in codes)
    try:
        labels = tuple(Label(id=i, name=names[code], color=drawn[i]) for code, i in codes.items())
        scored = {names[code]: (code,) for code in list(names)[1:]} if structures is None else structures
        members = {name: tuple(codes[value] for value in values) for name, values in scored.items()}
        meaning = codes | dict.fromkeys(ignore, IGNORE)
        return LabelCoding(label_map=LabelMap(labels=labels, structures=members), codes=meaning, colored=colored)
    except ValidationError as error:
        raise ValueError(_reason(error)) from error


def read_labels_json(path: Path, colored: bool = True) -> LabelCoding:
    """The classes that a ``labels.json`` names, in one of the forms of :func:`class_entries`.

    An entry called as one of :data:`IGNORE_NAMES` is no class: its pixels are those that nobody judged. A key "regions"
    beside "labels" gives structures that overlap, see :func:`declare_regions`.

    Args:
        path: the file.
        colored: whether the masks hold the colours; else they hold the class ids, and colours may be missing.

    Raises:
        CaseUNetError: it is none, or two classes share a name, id or colour.
    """
    content = read_class_description(path)
    listed = class_entries(content, path)
    ignored = [entry for entry in listed if entry.value and is_ignored(entry.name)]
    entries = [entry for entry in listed if entry not in ignored]
    lacking = next((entry.name for entry in listed if entry.color is None), None)
    if colored and lacking is not None:
        raise InvalidInputError(
            f"{path}: the masks hold colours: expected a list of classes, each with name, color and classid"
        )
    ids = [entry.value for entry in entries]
    spare = palette(len(entries))
    try:
        given = [{"id": i, "name": e.name, "color": e.color or spare[i]} for i, e in enumerate(entries)]
        labels = tuple(Label.model_validate(entry) for entry in given)
        label_map = LabelMap(labels=labels, structures={label.name: (label.id,) for label in labels[1:]})
    except ValidationError as error:
        raise InvalidInputError(f"{path}: {_reason(error)}.") from error
    codes = {pack_color(label.color): label.id for label in labels} if colored else {n: i for i, n in enumerate(ids)}
    codes |= {pack_color(entry.color) if colored and entry.color else entry.value: IGNORE for entry in ignored}
    coding = LabelCoding(label_map=label_map, codes=codes, colored=colored)
    regions = content.get("regions") if isinstance(content, dict) else None
    return declare_regions(coding, regions, str(path)) if isinstance(regions, dict) else coding


def declare_regions(coding: LabelCoding, regions: Mapping[str, Sequence[int | str]], origin: str) -> LabelCoding:
    """The coding with regions for its structures, which may overlap and are learnt each by itself.

    Args:
        coding: with the classes.
        regions: {region: the names of its classes, or their values in the masks}.
        origin: of the regions, for messages.

    Raises:
        CaseUNetError: a region is empty or names what is no class, or two regions are the same.
    """
    ids = {name_key(label.name): label.id for label in coding.label_map.labels}
    id_of: dict[int | str, int] = dict([*ids.items(), *classes_of(coding).items()])
    structures: dict[str, tuple[int, ...]] = {}
    for region, members in regions.items():
        if not isinstance(members, list | tuple) or not members:
            raise InvalidInputError(
                f'{origin}: region "{region}" is {members!r}; expected a list of classes, as [1, 2].'
            )
        found = {member: id_of.get(name_key(member) if isinstance(member, str) else member) for member in members}
        for member, i in found.items():
            if not i:
                known = ", ".join(f"{label.name}" for label in coding.label_map.labels[1:])
                raise InvalidInputError(
                    f'{origin}: region "{region}" holds {member!r}, which is no class. The classes are {known}; give '
                    "their names, or their values in the masks."
                )
        structures[region] = tuple(sorted({i for i in found.values() if i}))
        same = next((name for name, own in structures.items() if name != region and own == structures[region]), None)
        if same is not None:
            raise InvalidInputError(f'{origin}: the regions "{same}" and "{region}" hold the same classes.')
    label_map = LabelMap(labels=coding.label_map.labels, structures=structures).with_regions()
    return coding.model_copy(update={"label_map": label_map})


def read_header_names(paths: Iterable[Path]) -> LabelCoding | None:
    """The classes that the headers of NIfTI masks name by their values; None where none does.

    Raises:
        CaseUNetError: they name a value differently, or two values alike.
    """
    names = {0: BACKGROUND}
    for path in filter(nifti.is_nifti, paths):
        try:
            own = nifti.read_names(path)
        except CaseUNetError:  # told when the mask is read
            continue
        for value, name in own.items():
            if value and names.setdefault(value, name) != name:
                raise InvalidInputError(
                    f'{path}: its header calls the value {value} "{name}", and that of another mask "{names[value]}". '
                    "Say what the values mean in a labels.json."
                )
    if not 1 < len(names) <= 255:
        return None
    try:
        return coding_of(dict(sorted(names.items())))
    except ValueError as error:
        raise InvalidInputError(
            f"The names in the headers of masks: {error}. Say what the values mean in a labels.json."
        ) from error


@dataclass(frozen=True)
class CodeCount:
    """How often a value occurs in a mask.

    Attributes:
        code: the value, or colour as 0xRRGGBB.
        pixels: that have it.
        flat: of them, those whose eight neighbours in the slice have it too.
        inner: of them, those inside an area, whose eight neighbours have it nearly; as ``flat`` for small values.
        at: (slice, row, column) of one such pixel.
    """

    code: int
    pixels: int
    flat: int
    inner: int
    at: tuple[int, int, int]


class MaskValues(NamedTuple):
    """The values of one mask: whether they are colours, how often each occurs, and what the file tells of them.

    ``palette`` and ``names`` are those of its :class:`Mask`.
    """

    colored: bool
    counts: Sequence[CodeCount]
    palette: Mapping[int, int] = MappingProxyType({})
    names: Mapping[int, str] = MappingProxyType({})


def find_coding(masks: Iterable[MaskValues]) -> LabelCoding | None:
    """The classes that masks show, where no file names them.

    Masks that name their values have the classes of these names. Where palettes contradict each other, the colours
    that they show are the values.

    Grey values are ids, each a class, where most of them fill areas: at smoothed or lossy edges most do not. 255 beside
    ids from 0 on without a gap marks pixels that nobody judged, as in Pascal VOC, unless it stands in masks of 0 and
    255 alone. A colour, or a grey value that is no id, stands for a class if somewhere it fills a 3×3 square, which the
    mixtures at smoothed edges do not, and is not within :data:`NEAR` of a commoner one, as lossy copies are. Things too
    thin for that, a thread or a needle, have a colour that is no mixture of two classes and that much of what is left
    has exactly.

    Args:
        masks: the values of each.

    Returns:
        The coding, or None if the masks show fewer than two classes, more than a class id can number, or
        leave much of the pixels to no class.
    """
    masks = list(masks)
    if any(mask.names for mask in masks):
        return _coding_of_names(masks)
    colored = any(mask.colored for mask in masks) or bool(palette_conflict(masks))
    pixels: dict[int, int] = {}
    inner: dict[int, int] = {}
    flat: dict[int, int] = {}
    for mask in masks:
        for count in mask.counts:
            code = _show_color(count.code, mask) if colored else count.code
            pixels[code] = pixels.get(code, 0) + count.pixels
            inner[code] = inner.get(code, 0) + count.inner
            flat[code] = flat.get(code, 0) + count.flat
    ignore: list[int] = []
    if not colored and _are_ids(pixels, flat):
        codes = sorted(code for code in pixels if code >= 0)  # no class is negative
        if len(codes) > 2 and _stands_for_one(masks):
            codes.remove(255)
        elif codes == [*range(len(codes) - 1), 255] and len(codes) > 2:
            ignore = [codes.pop()]
    elif not colored and set(pixels) == {0, 1, 255}:
        codes = [0, 1]  # where some masks hold 0 and 1, some 0 and 255, the latter are the fault
        if not _stands_for_one(masks):
            stray = 2 * flat[1] < pixels[1] and 20 * pixels[1] < pixels[255]  # 1s at the edges of what 255 means
            codes, ignore = ([], []) if stray else ([0, 1], [255])
    else:
        codes = _distinct(pixels, inner, flat, colored)
    covered = sum(pixels[code] for code in (*codes, *ignore))
    if not 2 <= len(codes) <= 255 or covered < COVERED * sum(pixels.values()):
        return None
    if colored and (len(codes) > 2 or any(len(set(unpack_color(code))) > 1 for code in codes)):
        names = [f"#{code:06x}" for code in codes]
    else:
        names = [f"class {code}" for code in codes] if len(codes) > 2 else ["background", "foreground"]
    names[0] = "background"
    colors = None if colored else _common_palette(masks, codes)
    return coding_of(dict(zip(codes, names, strict=True)), colors=colors, colored=colored, ignore=ignore)


def find_table(tables: Sequence[Mapping[int, str]], masks: Iterable[MaskValues]) -> LabelCoding:
    """The classes of the first table that has all values of masks, 0 being the background; else of the last."""
    found = {count.code for mask in masks for count in mask.counts} - {0}
    table = next((table for table in tables if found <= table.keys()), tables[-1])
    return coding_of({0: BACKGROUND, **table})


def palette_conflict(masks: Iterable[MaskValues]) -> str:
    """Why not the indices but the colours of palettes tell the classes of masks; "" where indices can.

    Indices can where each stands for one colour everywhere, each colour for one index, unless a mask tells apart two
    indices of one colour. A grey mask's values are indices where palettes use them, or else colours. Index 0 is the
    background, so of two indices it must not be the one that is not black.
    """
    masks = list(masks)
    palettes = [mask.palette for mask in masks if mask.palette and not mask.colored]
    color_of: dict[int, int] = {}
    together = {color for palette in palettes for color in palette.values() if _times(color, palette) > 1}
    for palette in palettes:
        index_of = {color: index for index, color in color_of.items()}
        for index, color in palette.items():
            before = color_of.get(index, color)
            if before != color:
                return f"palettes show the value {index} as #{before:06x} and as #{color:06x}"
            other = index_of.get(color, index)
            if other != index and color not in together:
                return f"palettes show #{color:06x} as the values {other} and {index}"
        color_of |= palette
    if _is_inverted(color_of):
        return f"palettes show the value 0 as #{color_of[0]:06x} and another as black"
    grey = {count.code for mask in masks if not (mask.palette or mask.colored) for count in mask.counts}
    shown = {color & 255 for color in color_of.values() if len(set(unpack_color(color))) == 1}
    if color_of and not grey <= set(color_of) and grey <= shown:
        return f"grey masks hold {max(grey)} where palettes show it"
    return ""


@dataclass(frozen=True)
class Translation:
    """A mask's values as a coding counts them.

    Attributes:
        codes: {value in the mask: value of the coding}; None where all are the same.
        problem: why it cannot be told; "" where it can.
        remark: what should be known of it.
    """

    codes: Mapping[int, int] | None = None
    problem: str = ""
    remark: str = ""

    def apply(self, codes: np.ndarray) -> np.ndarray:
        """Of values (S, H, W)."""
        if self.codes is None:
            return codes
        values, places = np.unique(codes, return_inverse=True)
        return np.array([self.codes.get(v, v) for v in values.tolist()], np.int32)[places].reshape(codes.shape)


def translate(mask: Mask | MaskValues, coding: LabelCoding) -> Translation:
    """What the values of a mask are in a data set's coding: by their names, by colours, or as they are."""
    if mask.names:
        return _by_name(mask.names, _values(mask), coding)
    if coding.by_name and any(_values(mask)):
        return Translation(problem="names no segments, though other masks do and number them differently")
    if mask.colored:
        return Translation()
    if coding.colored:
        return Translation({value: _show_color(value, mask) for value in _values(mask)})
    palette = mask.palette
    drawn = {
        pack_color(label.color): code
        for code, i in classes_of(coding).items()
        for label in (coding.label_map.labels[i],)
    }
    if not palette or any(_times(color, palette) > 1 for color in palette.values()):
        return Translation()
    remark = "its palette's colours were compared, not its indices"
    if all(color in drawn for color in palette.values()):
        codes = {index: drawn[color] for index, color in palette.items()}
    elif all(len(set(unpack_color(color))) == 1 and color & 255 in coding.codes for color in palette.values()):
        codes = {index: color & 255 for index, color in palette.items()}
    elif _is_inverted(palette):
        return Translation(problem=f"its palette shows the value 0 as #{palette[0]:06x} and another as black")
    else:
        return Translation()
    same = all(coding.codes.get(index) == coding.codes[code] for index, code in codes.items())
    return Translation() if same else Translation(codes, remark=remark)


def _by_name(names: Mapping[int, str], values: Sequence[int], coding: LabelCoding) -> Translation:
    code_of = {name_key(coding.label_map.names[i]): code for code, i in classes_of(coding).items()}
    unjudged = [code for code, i in coding.codes.items() if i == IGNORE]
    code_of |= {name: code for name in IGNORE_NAMES for code in unjudged}
    if not coding.by_name and not any(name_key(name) in code_of for name in names.values()):
        return Translation()  # "Segment_1": only values tell
    named = {value: names.get(value, str(value)) for value in values if value}
    unknown = [name for name in named.values() if name_key(name) not in code_of]
    if unknown:
        known = ", ".join(coding.label_map.names[1:])
        return Translation(problem=f'holds the segment "{unknown[0]}", which is no class; the classes are {known}')
    return Translation({value: code_of[name_key(name)] for value, name in named.items()})


def _coding_of_names(masks: Sequence[MaskValues]) -> LabelCoding | None:
    """The classes that masks name: values where all number them alike, else numbers in order of appearance."""
    first: dict[str, tuple[int, str, int | None]] = {}
    values: dict[int, set[str]] = {}
    for mask in masks:
        for value, name in mask.names.items():
            if is_background(name):
                continue
            first.setdefault(name_key(name), (value, name, mask.palette.get(value)))
            values.setdefault(value, set()).add(name_key(name))
    numbers = {key: value for value, keys in values.items() for key in keys}
    alike = all(len(keys) == 1 for keys in values.values()) and len(numbers) == len(values)
    if not 1 <= len(first) <= 254:
        return None
    order = sorted(first.values()) if alike else list(first.values())
    names = {0: BACKGROUND} | {value if alike else n: name for n, (value, name, _) in enumerate(order, 1)}
    colors = [(0, 0, 0), *(None if color is None else unpack_color(color) for _, _, color in order)]
    distinct = None not in colors and len(set(colors)) == len(colors)
    drawn = {code: color for code, color in zip(names, colors, strict=True) if color} if distinct else None
    ignore = [code for code, name in names.items() if is_ignored(name)]
    classes = {code: name for code, name in names.items() if code not in ignore}
    if len(classes) < 2:
        return None
    return coding_of(classes, colors=drawn, ignore=ignore).model_copy(update={"by_name": not alike})


def _values(mask: Mask | MaskValues) -> list[int]:
    """That occur in a mask."""
    return (
        [count.code for count in mask.counts] if isinstance(mask, MaskValues) else np.unique(mask.label_values).tolist()
    )


def _common_palette(masks: Sequence[MaskValues], codes: Sequence[int]) -> dict[int, Color] | None:
    """The colours in which palettes show values: to draw the classes in, if they tell them apart."""
    color_of = {index: color for mask in masks for index, color in mask.palette.items()}
    colors = {code: unpack_color(color_of[code]) for code in codes if code in color_of}
    vivid = len(set(colors.values())) == len(codes) and any(len(set(color)) > 1 for color in colors.values())
    return colors if vivid else None


def _show_color(value: int, mask: Mask | MaskValues) -> int:
    """The colour in which a mask shows a value."""
    return value if mask.colored else mask.palette.get(value, value * 0x010101)


def _is_inverted(palette: Mapping[int, int]) -> bool:
    """Whether of two values 0 is not black, but the other one is, or nearly."""
    dark = {index: sum(unpack_color(color)) < NEAR for index, color in palette.items()}
    return len(palette) == 2 and not dark.get(0, True) and any(dark.values())


def _times(color: int, palette: Mapping[int, int]) -> int:
    return list(palette.values()).count(color)


def _reason(error: ValidationError) -> str:
    """The first problem, with the key that it is about."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key} {problem['msg'].removeprefix('Value error, ')}".strip()


def pack_color(color: Sequence[int]) -> int:
    return int(color[0]) << 16 | int(color[1]) << 8 | int(color[2])


def unpack_color(code: int) -> Color:
    return (code >> 16 & 255, code >> 8 & 255, code & 255)


def classes_of(coding: LabelCoding) -> dict[int, int]:
    """{value or colour: class id}, without those that nobody judged."""
    return {code: i for code, i in coding.codes.items() if i != IGNORE}


def decode(codes: np.ndarray, coding: LabelCoding, extra: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class ids (uint8) of mask values, and where the values are no class (id 0 there).

    Args:
        codes: (S, H, W).
        coding: what they mean.
        extra: {value: class id} of a repair; goes before the coding.
    """
    meaning = {**coding.codes, **extra}
    known = np.array(sorted(meaning), np.int64)
    ids = np.array([meaning[code] for code in known.tolist()], np.uint8)
    if codes.dtype == np.uint8:  # a table is much faster than a search
        table, invalid = np.zeros(256, np.uint8), np.ones(256, bool)
        small = (known >= 0) & (known < 256)
        table[known[small]], invalid[known[small]] = ids[small], False
        return table[codes], invalid[codes]
    place = np.clip(np.searchsorted(known, codes), 0, len(known) - 1)
    unknown = known[place] != codes
    return np.where(unknown, np.uint8(0), ids[place]), unknown


def snap(codes: np.ndarray, ids: np.ndarray, unknown: np.ndarray, coding: LabelCoding) -> np.ndarray:
    """Give every unknown pixel the class, of those within two pixels of it in its slice, whose value is nearest.

    A mixture of two classes lies between them, and may by chance be the colour of a third that is nowhere near: so the
    surroundings are asked first. Where no known pixel is that near, the classes within :data:`FAR_REACH` pixels that
    it lies between are asked, then all. A known pixel in such a ramp is as unknown as the rest of it.

    Returns:
        Class ids (S, H, W).
    """
    values = np.zeros((len(coding.label_map), 3 if coding.colored else 1))
    for code, i in classes_of(coding).items():
        values[i] = unpack_color(code) if coding.colored else code
    snapped = ids.copy()
    for s in np.flatnonzero(unknown.any(axis=(1, 2))):
        code = codes[s].astype(np.int64)
        parts = [code >> 16 & 255, code >> 8 & 255, code & 255] if coding.colored else [code]
        colors = np.stack(parts, axis=-1).astype(float)
        known = np.where(unknown[s], IGNORE, ids[s])
        open_pixels = unknown[s] | _in_ramp(colors, known, values)
        known[open_pixels] = IGNORE
        rows, columns = np.nonzero(open_pixels)
        own = colors[rows, columns]
        distance = np.linalg.norm(own[:, None] - values, axis=2)  # (pixels, classes)
        near = _classes_near(known, rows, columns, len(values), REACH)
        alone = np.flatnonzero(~near.any(axis=1))
        if alone.size:
            around = _classes_near(known, rows[alone], columns[alone], len(values), FAR_REACH)
            near[alone] = _enclosing(own[alone], around, values)
        near |= ~near.any(axis=1, keepdims=True)
        snapped[s, rows, columns] = np.where(near, distance, np.inf).argmin(axis=1)
    return snapped


def _in_ramp(colors: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Known pixels in a ramp between two other classes, far from any area of their own.

    They are beside an unknown pixel, and between two opposite neighbours as between two classes around.

    Args:
        colors: (H, W, C).
        known: (H, W) class ids, :data:`IGNORE` where unknown.
        values: (classes, C), the colour of each.
    """
    judged = known != IGNORE
    spread = np.maximum(_over_neighbours(np.maximum, colors) - colors, colors - _over_neighbours(np.minimum, colors))
    areas = np.where(judged & (spread.max(axis=-1) <= NEAR / 4), known, IGNORE)
    rows, columns = np.nonzero(judged & (_over_neighbours(np.maximum, known) == IGNORE))
    near = _classes_near(areas, rows, columns, len(values), REACH + 1)
    loose = ~near[np.arange(len(rows)), known[rows, columns]]
    rows, columns = rows[loose], columns[loose]
    own, padded = colors[rows, columns], np.pad(colors, ((2, 2), (2, 2), (0, 0)), mode="edge")
    between = np.zeros(len(rows), bool)
    for dy, dx in [(0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3))]:
        a, b = padded[rows + 2 + dy, columns + 2 + dx], padded[rows + 2 - dy, columns + 2 - dx]
        differ = (a != own).any(axis=1) & (b != own).any(axis=1)
        between |= differ & (_from_line(own, a, b) <= ROUNDING)
    around = _classes_near(known, rows, columns, len(values), FAR_REACH)
    around[np.arange(len(rows)), known[rows, columns]] = False
    between &= _enclosing(own, around, values).any(axis=1)
    found = np.zeros(known.shape, bool)
    found[rows[between], columns[between]] = True
    return found


def _over_neighbours(extreme: np.ufunc, plane: np.ndarray) -> np.ndarray:
    """The largest or smallest value of each pixel of (H, W, …) and its eight neighbours."""
    padded = np.pad(plane, [(1, 1), (1, 1), *[(0, 0)] * (plane.ndim - 2)], mode="edge")
    rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
    return np.asarray(extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))


def _classes_near(known: np.ndarray, rows: np.ndarray, columns: np.ndarray, classes: int, reach: int) -> np.ndarray:
    """(pixels, classes): whether a class of ``known`` (H, W) is within so many rows and columns of a pixel."""
    padded = np.pad(known, reach, constant_values=IGNORE)
    near = np.zeros((len(rows), classes), bool)
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            around = padded[rows + dy, columns + dx]
            near[np.flatnonzero(around != IGNORE), around[around != IGNORE]] = True
    return near


def _enclosing(own: np.ndarray, around: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(pixels, classes): of the classes around pixels, those of any two that a pixel's colour is a mixture of."""
    found = np.zeros_like(around)
    present = np.flatnonzero(around.any(axis=0))
    for place, a in enumerate(present):
        for b in present[:place]:
            mixed = around[:, a] & around[:, b] & (_from_line(own, values[a], values[b]) < NEAR / 2)
            found[mixed, a] = found[mixed, b] = True
    return found


def _stands_for_one(masks: Sequence[MaskValues]) -> bool:
    """Whether 255 is only in masks that hold nothing but 0 and 255, among masks of ids: a fault, not a class."""
    having = [{count.code for count in mask.counts} for mask in masks]
    with_255 = [codes for codes in having if 255 in codes]
    return bool(with_255) and all(codes <= {0, 255} for codes in with_255)


def _are_ids(pixels: Mapping[int, int], flat: Mapping[int, int]) -> bool:
    """Whether grey values are ids rather than smoothed or lossy copies of a few levels.

    Most ids between 0 and the highest fill areas. Values below 128 may be ids of many small things: only where most
    have no area at all, and more than :data:`MAX_THIN`, they are copies.
    """
    highest = max(pixels, default=0)
    between = [code for code in pixels if 0 < code < highest]
    share, few = (MIN_FLAT, 0) if highest >= 128 else (0, MAX_THIN)
    thin = [code for code in between if flat[code] <= share * pixels[code]]
    return len(thin) <= max(few, len(between) / 2) and set(pixels) != {0, 1, 255}


def _distinct(pixels: Mapping[int, int], inner: Mapping[int, int], flat: Mapping[int, int], colored: bool) -> list[int]:
    """Values that fill areas and are not near a commoner one; the darkest first if it is nearly black."""
    chosen: dict[int, np.ndarray] = {}
    for code in sorted(pixels, key=lambda code: (-inner[code], code)):
        if not inner[code] or len(chosen) == 255:
            break
        rgb = code if colored else code * 0x010101
        color, before = np.array(unpack_color(rgb), float), list(chosen.values())
        lines = [_apart(rgb, a, b) for place, a in enumerate(before) for b in before[:place]]
        if not flat[code] and min(lines, default=np.inf) < NEAR / 2:
            continue  # a mixture, in a ramp so long that neighbours differ little
        near = NEAR if colored or flat[code] <= MIN_FLAT * pixels[code] else NEAR / 2
        if all(np.linalg.norm(color - other) > near for other in chosen.values()):
            chosen[code] = color
    if colored:
        chosen |= _thin(pixels, chosen)
    background = next((code for code, color in chosen.items() if color.sum() < NEAR), next(iter(chosen), 0))
    return [background, *sorted(code for code in chosen if code != background)]


def _thin(pixels: Mapping[int, int], chosen: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Colours of things too thin to fill a square: common, and no mixture of two classes."""
    classes = list(chosen.values())
    left = {code: n for code, n in pixels.items() if min(_apart(code, c, c) for c in classes) > NEAR} if classes else {}
    total = sum(left.values())
    return {
        code: np.array(unpack_color(code), float)
        for code, n in left.items()
        if n >= max(MIN_PIXELS, total / 20)
        and all(_apart(code, a, b) > NEAR / 2 for place, a in enumerate(classes) for b in classes[:place])
    }


def _apart(code: int, a: np.ndarray, b: np.ndarray) -> float:
    """Distance of a colour from the line of mixtures between two others."""
    return float(_from_line(np.array(unpack_color(code), float), a, b))


def _from_line(own: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (…) of colours (…, C) from the lines of mixtures between two others each."""
    along = b - a
    share = np.clip(((own - a) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-9), 0, 1)
    return np.linalg.norm(own - (a + share[..., None] * along), axis=-1)
