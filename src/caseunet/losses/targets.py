"""What all losses share about their targets: pixels without a label, classes that are merged where only some structures
are labelled, regions, and the precision in which they are summed."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from caseunet.types import IGNORE, is_told_apart

NEVER = -1e4
"""Logit of a class that has no probability; finite, so that nothing becomes NaN."""


def at_least_float32(logits: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_maps(target: Tensor, outputs: int, regions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Class ids (B, H, W) as one map an output, (B, outputs, H, W), and which pixels have a label, (B, 1, H, W), bool.

    Pixels with the id :data:`caseunet.types.IGNORE` are 0 in all maps.

    Args:
        target: class ids.
        outputs: classes, or regions.
        regions: (classes, outputs), 1 where the class is in the region; None where each output is a class.
    """
    labelled = (target != IGNORE).unsqueeze(1)
    ids = target.masked_fill(target == IGNORE, 0)
    maps = F.one_hot(ids, outputs) if regions is None else regions.to(target.device)[ids]
    return maps.movedim(-1, 1) * labelled, labelled


def compare_maps(
    logits: Tensor, target: Tensor, regions: Tensor | None = None, merged: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Predicted and true maps (B, C, H, W), both 0 where there is no label: softmax and classes, or sigmoid and
    regions. ``merged`` is as for :func:`merge_classes`."""
    g, labelled = target_maps(target, logits.shape[1], regions)
    logits = at_least_float32(logits)
    if regions is None:
        p = merge_classes(logits, merged).softmax(1) * labelled
    else:
        known = labelled if merged is None else labelled * known_regions(regions, merged)[:, :, None, None]
        p, g = logits.sigmoid() * known, g * known
    return p, g.to(p)


def merge_classes(logits: Tensor, merged: Tensor | None) -> Tensor:
    """Logits (B, C, H, W), float32 or better, of classes that may be merged: a class has the probability of all that
    cannot be told from it, and these have none. So the loss of an image in which the spleen is not labelled asks for
    the background or the spleen where no label is (Fang and Yan, "Multi-Organ Segmentation Over Partially Labeled
    Datasets With Multi-Scale Feature Abstraction", IEEE TMI 2020).

    Args:
        logits: of every class.
        merged: (B, C), class ids as :meth:`caseunet.types.LabelMap.merged_ids` gives them; None where all are labelled.
    """
    if merged is None:
        return logits
    images = []
    for image, ids in zip(logits, merged.tolist(), strict=True):
        together = {i: [c for c, into in enumerate(ids) if into == i] for i in dict.fromkeys(ids)}
        maps = [
            image[together[i]].logsumexp(0) if i in together else torch.full_like(image[0], NEVER)
            for i in range(len(ids))
        ]
        images.append(torch.stack(maps))
    return torch.stack(images)


def known_regions(regions: Tensor, merged: Tensor) -> Tensor:
    """(B, R), 1 where a region can be told though classes are merged, as in :func:`merge_classes`."""
    members = regions.T.bool().tolist()
    known = [
        [float(is_told_apart([c for c, inside in enumerate(of_one) if inside], ids)) for of_one in members]
        for ids in merged.tolist()
    ]
    return torch.tensor(known, device=merged.device)


def region_table(regions: Sequence[Sequence[int]], num_classes: int) -> Tensor | None:
    """(num_classes, R), 1 where the class is in the region; None without regions."""
    if not regions:
        return None
    return torch.tensor([[float(i in members) for members in regions] for i in range(num_classes)])
