"""Mending label maps: which components stay, which holes are filled."""

from collections.abc import Sequence

import numpy as np

from caseunet.bundle import PostprocessingRule
from caseunet.io import scratch
from caseunet.prediction.components import crop_structure, number_components
from caseunet.types import LabelMap, Steps, voxel_volume

COUNTED_AT_ONCE = 2**20
"""Pixels of which eight bytes are held each."""


def apply_postprocessing(
    labels: np.ndarray, rules: Sequence[PostprocessingRule], label_map: LabelMap, spacing: Steps | None
) -> np.ndarray:
    """Apply the rules, one after another, to class ids (S, H, W), uint8, in place.

    What is dropped of a structure that lies within another, as a tumour in a liver, becomes the other; elsewhere
    background. Filled are pixels of background alone.

    Args:
        labels: canonical order.
        rules: of these structures.
        label_map: the classes.
        spacing: millimetres, see Steps; None for images without.
    """
    for rule in rules:
        members = label_map.structures[rule.structure]
        found, box = crop_structure(labels, members)
        part = labels[box]
        if rule.do == "fill":
            for ids, inside in zip(part, found, strict=True):
                ids[_find_holes(inside) & (ids == 0)] = members[0]
        else:
            kept = keep_components(found, rule, spacing, labels.size)
            for rows in scratch.blocks(part):
                part[rows][found[rows] & ~kept[rows]] = _around(rule.structure, label_map)
    return labels


def keep_components(
    found: np.ndarray, rule: PostprocessingRule, spacing: Steps | None, pixels: int | None = None
) -> np.ndarray:
    """Which of a structure's pixels (S, H, W), bool, stay.

    Args:
        found: the structure.
        rule: "largest" or "small".
        spacing: millimetres; None for images without.
        pixels: of the whole image, where ``found`` is a part.
    """
    numbered, count = number_components(found)
    if not count:
        return found
    blocks, sizes = list(scratch.blocks(numbered)), np.zeros(count + 1, np.int64)
    for rows in blocks:
        flat = numbered[rows].ravel()
        for part in np.array_split(flat, -(-flat.size // COUNTED_AT_ONCE)):
            sizes += np.bincount(part, minlength=count + 1)
    sizes[0] = 0
    stays = np.zeros(count + 1, bool)
    if rule.do == "largest":
        stays[sizes.argmax()] = True
    else:
        unit = voxel_volume(spacing) / 1000 if spacing is not None else 1 / (pixels or found.size)
        stays = sizes * unit >= rule.least
        stays[0] = False
    kept = scratch.zeros(found.shape, bool)
    for rows in blocks:
        kept[rows] = stays[numbered[rows]]
    return kept


def _find_holes(found: np.ndarray) -> np.ndarray:
    """What the pixels of a slice (H, W), bool, enclose."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(found) & ~found)


def _around(structure: str, label_map: LabelMap) -> int:
    """The class of what lies around a structure: that of the smallest one that holds it, or background."""
    own = set(label_map.structures[structure])
    holding = [set(members) - own for members in label_map.structures.values() if own < set(members)]
    return min(sorted(holding, key=len)[0]) if holding else 0
