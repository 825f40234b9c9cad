"""Whether an image is one that a model was trained on, or looks like one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caseunet.bundle import StoredValues, TrainingData, TrainingImage
from caseunet.imaging.boxes import space_evenly
from caseunet.io.likeness import (
    SKETCH,
    ImageIdentity,
    decode_picture,
    decode_sketch,
    encode_picture,
    encode_sketch,
    identify,
    measure_overlap,
    sketch,
    turns,
)
from caseunet.prediction.image_kind import measure_values

if TYPE_CHECKING:  # pandas and zarr are slow to import, and prediction needs neither
    from caseunet.data.store import Prepared

MIN_SHARED = 1 / 3
"""Part of its pixels that the smaller of two images shares with the other from which they are of one; different images
share none."""

MIN_ALIKE = 0.95
"""Correlation of the small pictures below which no image looks like another."""

MIN_GROUPS = 8
"""Patients, or other groups, from which on training tells how alike different ones are."""

COPY = 0.9995
"""Correlation from which two training images are copies, and say nothing of how alike different ones are."""

MAX_PICTURED = 4000
"""Training images of which pictures and sketches are kept, evenly spread; some 3 kB each, more of volumes."""

MAX_MEASURED = 500
"""Training images whose values a bundle keeps."""

MAX_HASHES = 2**19
"""In the sketches of all training images, 5.6 MB: of many volumes each keeps fewer."""

TURNED_SLICES = 8
"""Slices of an image that are looked for turned and mirrored, evenly spread."""

TURNED = ", turned or mirrored"


@dataclass(frozen=True)
class TrainingMatch:
    """The training image that an image is, or looks like.

    Attributes:
        case: of training.
        is_same: whether their pixels are the same.
        text: "" where they are; else by what it looks like it.
    """

    case: str
    is_same: bool
    text: str = ""

    @property
    def sentence(self) -> str:
        """What to say of it."""
        return describe_match(self.case, self.is_same, self.text)


def describe_match(case: str | None, is_same: bool, text: str) -> str:
    """What to say of an image that is, or looks like, a training case; None where only its file is known."""
    if is_same:
        return "seen in training" + (f" (case {case})" if case else "")
    return f"looks like training case {case}: {text}"


def describe_training_image(case: str, identity: ImageIdentity) -> TrainingImage:
    """What a bundle keeps of a training image."""
    return TrainingImage(
        case=case,
        pixels_hash=identity.pixels_hash,
        likeness=encode_picture(identity.picture),
        sketch=encode_sketch(identity.sketch),
    )


def describe_training_images(prepared: "Prepared", cases: Sequence[str], *, with_likeness: bool) -> dict[str, Any]:
    """``images``, ``alike_from`` and ``stored`` of :class:`TrainingData`; nothing of what earlier versions prepared."""
    if "pixels_hash" not in prepared.cases:
        return {}
    every = -(-len(cases) // MAX_MEASURED)
    if prepared.is_part:  # hashes and pictures are of all channels, which prediction does not see
        return {"stored": tuple(measure_values(prepared.image(case)) for case in cases[::every])}
    pictured = set(cases[:: -(-len(cases) // MAX_PICTURED)])
    rows = prepared.cases.loc[list(cases)]
    images = tuple(
        TrainingImage(
            case=str(case),
            pixels_hash=row.pixels_hash,
            likeness=row.likeness if with_likeness and case in pictured else "",
            sketch=row.sketch if case in pictured else "",
        )
        for case, row in rows.iterrows()
    )
    spread = rows["stored_values"].iloc[::every]
    return {
        "images": limit_sketches(images),
        "alike_from": learn_alikeness(images, rows["group"].tolist()) if with_likeness else None,
        "stored": tuple(StoredValues(**dict(zip(StoredValues.model_fields, values, strict=True))) for values in spread),
    }


def limit_sketches(images: Sequence[TrainingImage]) -> tuple[TrainingImage, ...]:
    """The images, each with so many hashes that they are no more than :data:`MAX_HASHES` together."""
    each = max(SKETCH, MAX_HASHES // max(1, len(images)))
    return tuple(
        image.model_copy(update={"sketch": encode_sketch(decode_sketch(image.sketch)[:each])}) for image in images
    )


def learn_alikeness(images: Sequence[TrainingImage], groups: Sequence[str]) -> float | None:
    """Correlation of the small pictures from which an image looks like a training image; None for too few groups.

    It lies three quarters of the way from what different training images reach among themselves to 1. Those of one
    group are left out, and copies.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    if len(np.unique(numbers)) < MIN_GROUPS:
        return None
    highest = 0.0
    for rows, pictures in _stack_pictures(images):
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            correlation = pictures[start : start + 1024] @ pictures.T
            correlation[(numbers[part][:, None] == numbers[rows]) | (correlation >= COPY)] = 0
            highest = max(highest, float(correlation.max(initial=0)))
    return max(MIN_ALIKE, (3 + highest) / 4)


class KnownImages:
    """The training images of a bundle, to be looked through.

    Args:
        data: of the network, or of an ensemble's networks together.
    """

    def __init__(self, data: TrainingData) -> None:
        self._images, self._alike_from = data.images, data.alike_from
        self._by_hash = {image.pixels_hash: image.case for image in data.images}
        self._pictures = _stack_pictures(data.images)
        sketched = [(n, decode_sketch(image.sketch)) for n, image in enumerate(data.images) if image.sketch]
        self._sketches = dict(sketched)
        hashes = np.concatenate([values for _, values in sketched]) if sketched else np.zeros(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._owners = np.repeat([n for n, _ in sketched], [len(values) for _, values in sketched])[order]

    def find(self, pixels: np.ndarray) -> TrainingMatch | None:
        """The training image that an image (S, C, H, W) in canonical order is, or else the one that it looks like."""
        identity = identify(pixels)
        same = self._by_hash.get(identity.pixels_hash)
        if same is not None:
            return TrainingMatch(same, is_same=True)
        return self._find_shared(identity.sketch) or self._find_turned(pixels) or self._find_alike(identity.picture)

    def _find_shared(self, sketch: np.ndarray, how: str = "") -> TrainingMatch | None:
        starts, stops = (np.searchsorted(self._hashes, sketch, side=side) for side in ("left", "right"))
        owners = Counter(int(n) for a, b in zip(starts, stops, strict=True) for n in self._owners[a:b])
        parts = {n: measure_overlap(sketch, self._sketches[n]) for n, _ in owners.most_common(8)}
        best = max(parts, key=parts.__getitem__, default=None)
        if best is None or parts[best] < MIN_SHARED:
            return None
        text = f"they share about {parts[best]:.0%} of the smaller one's pixels{how}"
        return TrainingMatch(self._images[best].case, False, text)

    def _find_turned(self, pixels: np.ndarray) -> TrainingMatch | None:
        """Some slices of it, in the ways that change the rows: upside down they are the same rows."""
        if not len(self._hashes):
            return None
        some = pixels[space_evenly(len(pixels), TURNED_SLICES), :1]
        _, mirrored, _, _, turned, turned_mirrored, _, _ = turns(some)
        matches = (self._find_shared(sketch(way), TURNED) for way in (mirrored, turned, turned_mirrored))
        return next((match for match in matches if match is not None), None)

    def _find_alike(self, picture: np.ndarray | None) -> TrainingMatch | None:
        """By its picture, however it is turned, mirrored or inverted."""
        if picture is None or self._alike_from is None:
            return None
        ways = np.stack([way.ravel() for way in turns(picture)], axis=1)
        best, way, highest = -1, 0, self._alike_from
        for rows, pictures in self._pictures:
            if pictures.shape[1] == picture.size:
                correlation = np.abs(pictures @ ways)  # (n, 8)
                if correlation.max() >= highest:
                    highest = float(correlation.max())
                    place, way = np.unravel_index(correlation.argmax(), correlation.shape)
                    best = int(rows[place])
        if best < 0:
            return None
        how = TURNED if way else ""
        return TrainingMatch(self._images[best].case, False, f"small pictures of them correlate by {highest:.3f}{how}")


def _stack_pictures(images: Sequence[TrainingImage]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(which images, their pictures (n, values)) for each size of picture."""
    pictures = [(n, decode_picture(image.likeness)) for n, image in enumerate(images) if image.likeness]
    sizes = sorted({picture.size for _, picture in pictures})
    alike = [[pair for pair in pictures if pair[1].size == size] for size in sizes]
    return [(np.array([n for n, _ in pairs]), np.stack([picture for _, picture in pairs])) for pairs in alike]
