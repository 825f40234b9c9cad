"""What one case is, measured once: numbers and hashes without any judgement."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from caseunet.datasets.coding import CodeCount, MaskValues, classes_of
from caseunet.datasets.layout import Finding, Layout, SourceCase, SourceDataset
from caseunet.datasets.reading import (
    Misplaced,
    find_unjudged,
    placement,
    read_planned_mask,
    read_repaired_image,
    to_ids,
)
from caseunet.datasets.repair import CaseRepair
from caseunet.datasets.widths import measure_widths
from caseunet.errors import BadValuesError, CaseUNetError, SeveralMasksError
from caseunet.imaging.body import Box, find_body_box, mark_edge
from caseunet.io.geometry import orientation_of
from caseunet.io.likeness import hash_values, likeness
from caseunet.types import Geometry, ImageVolume, Mask, Plane, RaterAgreement

SAMPLE = 200_000
"""Pixels from which percentiles are taken."""

ALIKE = 24
"""Difference in each colour channel within which neighbours are of one area: what lossy saving does to it."""

MOST_VALUES, MOST_COLORS = 256, 64
"""Different values, or colours, of a mask that are kept; smoothed colours have thousands."""


MAX_MEASURED = 16
"""Different values of a mask whose width is measured."""


@dataclass(frozen=True)
class ImageFacts:
    """Of an image.

    Attributes:
        shape: (S, C, H, W), canonical.
        stored: numeric type.
        spacing: millimetres between slices, rows, columns; None without a position.
        orientation: of the file's axes, "LPS".
        plane: of the slices.
        range: lowest, 0.5th percentile, median, 99.5th percentile, highest.
        constant_slices: slices in which all pixels are equal.
        content: hash of the pixels.
        likeness: small picture of unit length with mean 0, (D, h, w); None if all pixels are equal.
        remarks: of its :class:`Geometry`.
        body_box: of a CT what is kept when the air around the body is cut off; None where nothing would be.
    """

    shape: tuple[int, int, int, int]
    stored: str
    spacing: tuple[float, float, float] | None
    orientation: str
    plane: Plane
    range: tuple[float, float, float, float, float]
    constant_slices: int
    content: str
    likeness: np.ndarray | None
    remarks: tuple[str, ...] = ()
    body_box: Box | None = None


@dataclass(frozen=True)
class MaskFacts:
    """Of a mask.

    Attributes:
        stored: numeric type or image mode in the file.
        colored, fractional, rounding: as of :class:`Mask`.
        misplaced, misplacement: what is wrong with its shape or place, and in words.
        turned: of a misplaced one, whether its axes run otherwise than its image's.
        on_index: of a misplaced one, whether its file has the shape of its image's.
        lost: whether its affine is the identity and its image's is not.
        counts: of its values, most frequent first; classes that are known, and the most frequent others.
        palette, names: as of :class:`Mask`.
        rest: (how many values, on how many pixels) are not among ``counts``.
        content: hash of the values.
        remarks: of its :class:`Geometry`.
        outside: values that lie, all or in part, out of the image's ``body_box`` or at its edge.
        on_edge: {value: its share of the pixels along the four edges of the slices}.
        brightness: {value: the mean of the image under it}, from a sample of the pixels.
        agreement: as of :class:`Mask`.
        widths: {value: median width in pixels} of the most frequent values.
    """

    stored: str
    colored: bool
    fractional: int
    misplaced: Misplaced
    misplacement: str
    turned: bool
    on_index: bool
    lost: bool
    counts: tuple[CodeCount, ...]
    rest: tuple[int, int]
    content: str
    remarks: tuple[str, ...] = ()
    palette: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    outside: frozenset[int] = frozenset()
    on_edge: Mapping[int, float] = field(default_factory=dict)
    brightness: Mapping[int, float] = field(default_factory=dict)
    agreement: RaterAgreement | None = None
    rounding: float = 0.0
    widths: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseFacts:
    """Of a case; what could not be read is None, and a finding says why."""

    id: str
    group: str
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    findings: tuple[Finding, ...] = ()


def measure_case(layout: Layout, case: SourceCase, dataset: SourceDataset) -> CaseFacts:
    """Read a case and measure it. Never raises: what is wrong with its files is a finding that names the file."""
    findings: list[Finding] = []
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    geometry: Geometry | None = None
    pixels: np.ndarray | None = None
    try:
        picture = read_repaired_image(layout, case, dataset)
        geometry, pixels = picture.geometry, picture.pixels
        image = _image_facts(picture)
        if dataset.modality == "ct":
            image = replace(image, body_box=find_body_box(picture.pixels))
    except Exception as error:  # a file can be damaged in ways that no library foresees
        darkest = _darkest(layout, case, dataset) if isinstance(error, BadValuesError) else None
        findings.append(_unreadable(error, case, dataset, is_mask=False, darkest=darkest))
    try:
        if case.label:
            geometry = _read_geometry_or_none(layout, case) if geometry is None else geometry
            if geometry is not None:
                found = read_planned_mask(layout, case, dataset, geometry)
                if case.field is not None:
                    find_unjudged(case.field, found)  # told here too, before anything is prepared
                mask = _mask_facts(found, geometry, dataset, case, pixels)
                if image is not None and image.body_box is not None and not mask.misplaced:
                    mask = replace(mask, outside=_codes_outside(found.label_values, image.body_box))
    except Exception as error:
        findings.append(_unreadable(error, case, dataset, is_mask=True))
    return CaseFacts(case.id, case.group, image, mask, tuple(findings))


def _codes_outside(codes: np.ndarray, box: Box) -> frozenset[int]:
    """Values of a mask (S, H, W) out of a box or at its edge."""
    edge = mark_edge(box, codes.shape[1:])
    return frozenset(code for plane in _narrow(codes) for code in _histogram(plane[edge]))


def measure_mask(layout: Layout, case: SourceCase, dataset: SourceDataset) -> MaskValues | None:
    """The values of a case's mask; None if it cannot be read."""
    try:
        mask = layout.read_mask(case, dataset, layout.read_geometry(case))
    except CaseUNetError:
        return None
    return MaskValues(mask.colored, count_codes(mask.label_values, mask.colored)[0], mask.palette, mask.names)


def count_codes(
    codes: np.ndarray, colored: bool, known: Collection[int] = (), areas: bool = True
) -> tuple[tuple[CodeCount, ...], tuple[int, int]]:
    """The values of a mask, most frequent first, and what is left: (how many values, on how many pixels).

    Args:
        codes: (S, H, W).
        colored: whether they are colours.
        known: values that are never left.
        areas: whether to look which pixels lie inside an area, which takes half of the time.
    """
    codes = _narrow(codes)
    pixels, flat, inner = Counter[int](), Counter[int](), Counter[int]()
    first: dict[int, int] = {}
    wide = colored or (codes.size > 0 and codes.max() >= 128)  # small values are ids, of which near is not alike
    for s, plane in enumerate(codes):
        here = _histogram(plane)
        pixels += here
        first = dict.fromkeys(here, s) | first
        if areas:
            flat += (same := _histogram(_inside(plane, colored, 0)))
            inner += _histogram(_inside(plane, colored, ALIKE)) if wide else same
    order = sorted(pixels, key=lambda code: (-pixels[code], code))
    most = MOST_COLORS if colored else MOST_VALUES
    kept = order[:most] + [code for code in order[most:] if code in known]
    counts = []
    for code in kept:
        plane = codes[first[code]]
        row, column = divmod(int(np.argmax(plane == code)), plane.shape[1])
        counts.append(CodeCount(code, pixels[code], flat[code], inner[code], (first[code], row, column)))
    return tuple(counts), (len(order) - len(kept), pixels.total() - sum(count.pixels for count in counts))


def _read_geometry_or_none(layout: Layout, case: SourceCase) -> Geometry | None:
    """Of an image whose pixels cannot be read; None if its header cannot be read either."""
    try:
        return layout.read_geometry(case)
    except Exception:
        return None


def _image_facts(picture: ImageVolume) -> ImageFacts:
    pixels, geometry = picture.pixels, picture.geometry
    flat = pixels.reshape(-1)
    low, middle, high = np.percentile(flat[:: -(-flat.size // SAMPLE)], [0.5, 50, 99.5])
    S, C, H, W = pixels.shape
    by_slice = pixels.reshape(S, -1)
    lowest, highest = by_slice.min(axis=1), by_slice.max(axis=1)
    return ImageFacts(
        shape=(S, C, H, W),
        stored=str(pixels.dtype),
        spacing=geometry.spacing,
        orientation=orientation_of(geometry),
        plane=geometry.plane,
        range=(float(lowest.min()), float(low), float(middle), float(high), float(highest.max())),
        constant_slices=int(np.count_nonzero(lowest == highest)),
        content=hash_values(pixels),
        likeness=likeness(pixels),
        remarks=geometry.remarks,
    )


def _mask_facts(
    mask: Mask, image: Geometry, dataset: SourceDataset, case: SourceCase, pixels: np.ndarray | None
) -> MaskFacts:
    repair = dataset.repairs.get(case.id)
    misplaced, misplacement = placement(mask, image, repair)
    in_slices = image.affine is None  # volumes are not smoothed, so areas tell only where classes must be found
    coding = dataset.coding
    if repair is not None and repair.snap and coding is not None and not misplaced:  # counted as it will be prepared
        code_of = np.zeros(256, np.int64)
        for code, i in coding.codes.items():
            code_of[i] = code
        codes = code_of[to_ids(mask, case, dataset, coding)]
        names = {code: coding.label_map.names[i] for code, i in classes_of(coding).items()} if mask.names else {}
        mask = replace(mask, label_values=codes, colored=coding.colored, palette={}, names=names)
    known = {} if coding is None else coding.codes
    counts, rest = count_codes(mask.label_values, mask.colored, known, areas=in_slices or coding is None)
    kept = repair is not None and repair.affine != "own"
    return MaskFacts(
        stored=mask.stored,
        colored=mask.colored,
        fractional=mask.fractional,
        rounding=mask.rounding,
        misplaced=misplaced,
        misplacement=misplacement,
        turned=bool(misplaced) and orientation_of(mask.geometry) != orientation_of(image),
        on_index=bool(misplaced) and mask.geometry.shape == image.shape,
        lost=mask.assumed_aligned and not kept,
        counts=counts,
        rest=rest,
        content=hash_values(mask.label_values),
        remarks=mask.geometry.remarks,
        palette=mask.palette,
        names=mask.names,
        on_edge=_share_of_edge(mask.label_values),
        brightness={} if pixels is None or misplaced else _mean_brightness(mask.label_values, pixels),
        agreement=mask.agreement,
        widths=measure_widths(mask.label_values, [count.code for count in counts[:MAX_MEASURED]]),
    )


def _share_of_edge(codes: np.ndarray) -> dict[int, float]:
    edges = [codes[:, [0, -1]].ravel(), codes[:, 1:-1, [0, -1]].ravel()]
    counts = _histogram(_narrow(np.concatenate(edges)))
    return {code: number / counts.total() for code, number in counts.items()}


def _mean_brightness(codes: np.ndarray, pixels: np.ndarray) -> dict[int, float]:
    step = -(-codes.size // SAMPLE)
    step += step % 2 == 0  # else it might meet the same columns in each row
    values, places = np.unique(codes.ravel()[::step], return_inverse=True)
    image = pixels[:, pixels.shape[1] // 2].ravel()[::step]  # green of a photograph
    means = np.bincount(places, weights=image) / np.bincount(places)
    return dict(zip(values.tolist(), means.tolist(), strict=True))


def _darkest(layout: Layout, case: SourceCase, dataset: SourceDataset) -> float | None:
    """What NaN in an image may stand for: air in a CT, else its lowest value, or 0 if that is lower.

    None where it cannot be read without them either.
    """
    try:
        lowest = float(layout.read_image(case, dataset.modality == "rgb", 0.0).pixels.min())
    except CaseUNetError:
        return None
    return min(lowest, -1024.0) if dataset.modality == "ct" else min(lowest, 0.0)


def _unreadable(
    error: Exception, case: SourceCase, dataset: SourceDataset, is_mask: bool, darkest: float | None = None
) -> Finding:
    """A finding about the file that an error names, or about the first that was read; ``darkest`` may replace NaN."""
    text = str(error) or type(error).__name__
    files = case.label if is_mask else case.image
    named = next((path for path in files if text.startswith(f"{path}: ")), files[0])
    kinds: dict[type[Exception], str] = {BadValuesError: "not-finite", SeveralMasksError: "several-masks"}
    kind = kinds.get(type(error), "unreadable")
    why = f"{'mask' if is_mask else 'image'} {kind}"
    repairs = [CaseRepair(drop=True, why=why)]
    if darkest is not None:
        repairs = [CaseRepair(nan=darkest, why=why)]
    if kind == "several-masks":
        repairs.append(CaseRepair(union=True, why=kind))
    if not isinstance(error, CaseUNetError):
        text = f"cannot be read: {type(error).__name__}: {text}"
    return Finding(
        level="error",
        kind=kind,
        text=text.removeprefix(f"{named}: "),
        advice="" if kind == "several-masks" else "Get the file again, or leave the case out.",
        case=case.id,
        file=dataset.relative(named),
        repairs=tuple(repairs),
        options=error.options if isinstance(error, CaseUNetError) else (),
        rivals=tuple(map(dataset.relative, error.files)) if isinstance(error, SeveralMasksError) else (),
    )


def _narrow(codes: np.ndarray) -> np.ndarray:
    """The same values in 8 bits where these hold them: they are counted faster."""
    fits = codes.dtype != np.uint8 and codes.size > 0 and codes.min() >= 0 and codes.max() < 256
    return codes.astype(np.uint8) if fits else codes


def _histogram(values: np.ndarray) -> Counter[int]:
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(counts)
        return Counter(dict(zip(found.tolist(), counts[found].tolist(), strict=True)))
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _inside(plane: np.ndarray, colored: bool, difference: int) -> np.ndarray:
    """The pixels, in one row, whose eight neighbours differ from them by at most ``difference`` in each channel."""
    if min(plane.shape) < 3:
        return plane[:0].ravel()
    middle = plane[1:-1, 1:-1]
    inside = np.ones(middle.shape, bool)
    for channel in (plane >> 16 & 255, plane >> 8 & 255, plane & 255) if colored else (plane,):
        values = channel.astype(np.int32)
        high, low = (_over_neighbours(extreme, values) for extreme in (np.maximum, np.minimum))
        inside &= (high - values[1:-1, 1:-1] <= difference) & (values[1:-1, 1:-1] - low <= difference)
    return np.asarray(middle[inside])


def _over_neighbours(extreme: np.ufunc, values: np.ndarray) -> np.ndarray:
    """The largest or smallest value in each 3×3 square."""
    rows = extreme(extreme(values[:-2], values[1:-1]), values[2:])
    return np.asarray(extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))
