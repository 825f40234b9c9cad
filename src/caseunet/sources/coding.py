"""What the values in masks mean: told by a description, or found in the masks themselves."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from caseunet.errors import UserError
from caseunet.files import read_json
from caseunet.sources.class_names import class_entries
from caseunet.types import Color, Label, LabelCoding, LabelMap

COVERED = 0.6
"""Share of the pixels that classes cover at least; where they do not, the masks are no masks but photographs."""

LEAST = 20
"""Pixels from which the exact colour of thin things can be a class."""

NEAR = 48.0
"""Colours nearer than this to a commoner one are taken for its smoothed or lossy copies."""


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
) -> LabelCoding:
    """A coding from {value in the file: class name}; classes are numbered in that order, the first is the background.

    Args:
        names: by value or colour.
        structures: {scored structure: values}; every foreground class by itself if not given.
        colors: {value: colour to draw the class in}.
        colored: whether the values are colours; then they are the classes' colours too.

    Raises:
        ValueError: fewer than two classes, or names or colours that occur twice.
    """
    codes = {code: i for i, code in enumerate(names)}
    drawn = palette(len(codes))
    if colored:
        drawn = tuple(unpacked(code) for code in codes)
    elif colors is not None:
        drawn = tuple(colors[code] for code in codes)
    try:
        labels = tuple(Label(id=i, name=names[code], color=drawn[i]) for code, i in codes.items())
        scored = {names[code]: (code,) for code in list(names)[1:]} if structures is None else structures
        members = {name: tuple(codes[value] for value in values) for name, values in scored.items()}
        return LabelCoding(label_map=LabelMap(labels=labels, structures=members), codes=codes, colored=colored)
    except ValidationError as error:
        raise ValueError(_reason(error)) from error


def read_labels_json(path: Path, colored: bool = True) -> LabelCoding:
    """The classes that a ``labels.json`` names, in one of the forms of :func:`class_entries`.

    Args:
        path: the file.
        colored: whether the masks hold the colours; else they hold the class ids, and colours may be missing.

    Raises:
        UserError: it is none, or two classes share a name, id or colour.
    """
    entries = class_entries(read_json(path, "labels.json with name, color and classid of each class"), path)
    lacking = next((entry.name for entry in entries if entry.color is None), None)
    if colored and lacking is not None:
        raise UserError(
            f"{path}: the masks hold colours: expected a list of classes, each with name, color and classid"
        )
    ids = [entry.value for entry in entries]
    spare = palette(len(entries))
    try:
        given = [{"id": i, "name": e.name, "color": e.color or spare[i]} for i, e in enumerate(entries)]
        labels = tuple(Label.model_validate(entry) for entry in given)
        label_map = LabelMap(labels=labels, structures={label.name: (label.id,) for label in labels[1:]})
    except ValidationError as error:
        raise UserError(f"{path}: {_reason(error)}.") from error
    codes = {packed(label.color): label.id for label in labels} if colored else {n: i for i, n in enumerate(ids)}
    return LabelCoding(label_map=label_map, codes=codes, colored=colored)


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


def find_coding(masks: Iterable[tuple[bool, Sequence[CodeCount]]]) -> LabelCoding | None:
    """The classes that masks show, where no file names them.

    Small grey values are ids, each a class. A colour, or a grey value of masks that reach 128, stands for a class if
    somewhere it fills a 3×3 square, which the mixtures at smoothed edges do not, and is not within :data:`NEAR` of a
    commoner one, as lossy copies are. Things too thin for that, a thread or a needle, have a colour that is no mixture
    of two classes and that much of what is left has exactly.

    Args:
        masks: for each mask whether its values are colours, and the values.

    Returns:
        The coding, or None if the masks show fewer than two classes, more than a class id can number, or
        leave much of the pixels to no class.
    """
    masks = list(masks)
    colored = any(in_color for in_color, _ in masks)
    pixels: dict[int, int] = {}
    inner: dict[int, int] = {}
    flat: dict[int, int] = {}
    for in_color, counts in masks:
        for count in counts:
            code = count.code * 0x010101 if colored and not in_color else count.code
            pixels[code] = pixels.get(code, 0) + count.pixels
            inner[code] = inner.get(code, 0) + count.inner
            flat[code] = flat.get(code, 0) + count.flat
    if not colored and _are_ids(pixels, flat):
        codes = sorted(code for code in pixels if code >= 0)  # no class is negative
        if len(codes) > 2 and _stands_for_one(masks):
            codes.remove(255)
    elif not colored and set(pixels) == {0, 1, 255}:  # some masks 0 and 1, some 0 and 255: the latter are the fault
        codes = [0, 1]
    else:
        codes = _distinct(pixels, inner, flat, colored)
    covered = sum(pixels[code] for code in codes)
    if not 2 <= len(codes) <= 255 or covered < COVERED * sum(pixels.values()):
        return None
    if colored:
        names = [f"#{code:06x}" for code in codes]
    else:
        names = [f"class {code}" for code in codes] if len(codes) > 2 else ["background", "foreground"]
    names[0] = "background"
    return coding_of(dict(zip(codes, names, strict=True)), colored=colored)


def _reason(error: ValidationError) -> str:
    """The first problem, with the key that it is about."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key} {problem['msg'].removeprefix('Value error, ')}".strip()


def packed(color: Sequence[int]) -> int:
    return int(color[0]) << 16 | int(color[1]) << 8 | int(color[2])


def unpacked(code: int) -> Color:
    return (code >> 16 & 255, code >> 8 & 255, code & 255)


def as_colors(grey: np.ndarray) -> np.ndarray:
    """Grey values as colours 0xRRGGBB."""
    return grey.astype(np.int32) * 0x010101


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
    surroundings are asked first, and all classes only where no known pixel is near.

    Returns:
        Class ids (S, H, W).
    """
    values = np.zeros((len(coding.label_map), 3))
    for code, i in coding.codes.items():
        values[i] = unpacked(code) if coding.colored else (code, 0, 0)
    snapped = ids.copy()
    for s in np.flatnonzero(unknown.any(axis=(1, 2))):
        rows, columns = np.nonzero(unknown[s])
        code = codes[s, rows, columns].astype(np.int64)
        own = (
            np.stack([code >> 16 & 255, code >> 8 & 255, code & 255], 1)
            if coding.colored
            else code[:, None] * [1, 0, 0]
        )
        distance = np.linalg.norm(own[:, None] - values, axis=2)  # (pixels, classes)
        known = np.pad(np.where(unknown[s], 255, ids[s]), 2, constant_values=255)
        near = np.zeros(distance.shape, bool)
        for dy in range(5):
            for dx in range(5):
                around = known[rows + dy, columns + dx]
                near[np.flatnonzero(around != 255), around[around != 255]] = True
        near |= ~near.any(axis=1, keepdims=True)
        snapped[s, rows, columns] = np.where(near, distance, np.inf).argmin(axis=1)
    return snapped


def _stands_for_one(masks: Sequence[tuple[bool, Sequence[CodeCount]]]) -> bool:
    """Whether 255 is only in masks that hold nothing but 0 and 255, among masks of ids: a fault, not a class."""
    having = [{count.code for count in counts} for _, counts in masks]
    with_255 = [codes for codes in having if 255 in codes]
    return bool(with_255) and all(codes <= {0, 255} for codes in with_255)


def _are_ids(pixels: Mapping[int, int], flat: Mapping[int, int]) -> bool:
    """Whether grey values are ids rather than smoothed or lossy copies of a few levels."""
    if max(pixels, default=0) < 128:
        return True
    between = [code for code in pixels if 0 < code < max(pixels)]
    total = sum(pixels[code] for code in between)
    return sum(flat[code] for code in between) >= total / 2 and set(pixels) != {0, 1, 255}


def _distinct(pixels: Mapping[int, int], inner: Mapping[int, int], flat: Mapping[int, int], colored: bool) -> list[int]:
    """Values that fill areas and are not near a commoner one; the darkest first if it is nearly black."""
    chosen: dict[int, np.ndarray] = {}
    for code in sorted(pixels, key=lambda code: (-inner[code], code)):
        if not inner[code] or len(chosen) == 255:
            break
        rgb = code if colored else code * 0x010101
        color, before = np.array(unpacked(rgb), float), list(chosen.values())
        lines = [_apart(rgb, a, b) for place, a in enumerate(before) for b in before[:place]]
        if not flat[code] and min(lines, default=np.inf) < NEAR / 2:
            continue  # a mixture, in a ramp so long that neighbours differ little
        if all(np.linalg.norm(color - other) > NEAR for other in chosen.values()):
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
        code: np.array(unpacked(code), float)
        for code, n in left.items()
        if n >= max(LEAST, total / 20)
        and all(_apart(code, a, b) > NEAR / 2 for place, a in enumerate(classes) for b in classes[:place])
    }


def _apart(code: int, a: np.ndarray, b: np.ndarray) -> float:
    """Distance of a colour from the line of mixtures between two others."""
    own, along = np.array(unpacked(code), float), b - a
    share = np.clip(np.dot(own - a, along) / max(float(np.dot(along, along)), 1e-9), 0, 1)
    return float(np.linalg.norm(own - (a + share * along)))
