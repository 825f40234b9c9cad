"""Partitions into training and validation."""

from collections.abc import Mapping

import numpy as np

from caseunet.errors import UserError
from caseunet.types import BY_BLOCKS, Fold, Ranges, Split

BLOCKS_CAUTION = (
    "The validation slices are blocks taken from the same volumes as the training slices. The scores show that the "
    "software works, not how well the model does on other patients."
)


def by_group(cases: Mapping[str, tuple[str, int]], folds: int, seed: int, group_name: str) -> Split:
    """k-fold cross-validation that keeps every group (patient, sequence) whole.

    Args:
        cases: {case: (group, number of slices)}.
        folds: how many; fewer if there are fewer groups.
        seed: draws the order of the groups.
        group_name: what a group is, for people.

    Raises:
        UserError: there is only one group.
    """
    groups: dict[str, list[str]] = {}
    for case, (group, _) in cases.items():
        groups.setdefault(group, []).append(case)
    if len(groups) < 2:
        raise UserError(
            f"All {len(cases)} labelled cases belong to one {group_name}, so none can be held out honestly. Add a "
            f'second {group_name}. For one volume, prepare.split "slice-blocks" holds out slices of it, which measures '
            "only that the software works."
        )
    order = [sorted(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    folds = min(folds, len(order))
    held_out = [{case for group in order[k::folds] for case in groups[group]} for k in range(folds)]
    whole: dict[str, Ranges] = {case: ((0, slices),) for case, (_, slices) in cases.items()}
    return Split(
        by=group_name,
        folds=tuple(
            Fold(
                train={case: ranges for case, ranges in whole.items() if case not in val},
                val={case: ranges for case, ranges in whole.items() if case in val},
            )
            for val in held_out
        ),
    )


def by_slice_blocks(cases: Mapping[str, tuple[str, int]], block: int, every: int, gap: int) -> Split:
    """Hold out every ``every``-th block of ``block`` slices of each case, with ``gap`` unused slices on each side.

    Fold k holds out blocks k, k + every, … . Where scores of neighbouring slices are alike this measures no
    generalisation; :data:`BLOCKS_CAUTION` says so.

    Raises:
        UserError: no case has a block for every fold, or nothing would be left for training.
    """
    folds = []
    for k in range(every):
        train: dict[str, Ranges] = {}
        val: dict[str, Ranges] = {}
        for case, (_, slices) in cases.items():
            held = [(start, min(start + block, slices)) for start in range(k * block, slices, every * block)]
            unused = {s for start, stop in held for s in range(start - gap, stop + gap)}
            kept = _ranges([s for s in range(slices) if s not in unused])
            if held:
                val[case] = tuple(held)
            if kept:
                train[case] = kept
        if not train or not val:
            most = max(slices for _, slices in cases.values())
            raise UserError(
                f"Blocks of {block} slices, every {every}th held out, with gaps of {gap}, leave no training or no "
                f"validation slices: the largest case has {most}. Use smaller blocks (prepare.block), if it has enough."
            )
        folds.append(Fold(train=train, val=val))
    return Split(by=BY_BLOCKS, caution=BLOCKS_CAUTION, folds=tuple(folds))


def _ranges(numbers: list[int]) -> Ranges:
    """Ascending numbers as [start, stop) ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)
