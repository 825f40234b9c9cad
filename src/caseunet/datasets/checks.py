"""From what was measured to what a person should know. Pure: reads no file."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from re import findall
from statistics import median

import numpy as np

from caseunet.datasets.case_statistics import CaseFacts, MaskFacts
from caseunet.datasets.coding import (
    MAX_THIN,
    NEAR,
    CodeCount,
    MaskValues,
    Translation,
    classes_of,
    palette_conflict,
    translate,
    unpack_color,
)
from caseunet.datasets.layout import LEVELS, Finding, Level, SourceCase, SourceDataset
from caseunet.datasets.near_duplicates import copies, near_copies
from caseunet.datasets.partial import FILE as PARTIAL
from caseunet.datasets.raters import tell_agreement
from caseunet.datasets.reading import describe_codes
from caseunet.datasets.repair import CaseRepair, code_text
from caseunet.io.raster import JPEG, WHITE_AS_0
from caseunet.progress import count_text
from caseunet.types import IGNORE, LabelCoding, Split

MIN_SIZE = 32
"""Pixels each way that the networks need."""

MIN_CASES = 8
"""Cases from which what is usual can be told."""

PALETTES = "Name the classes' colours in the labels of a plan (colored: true), or save the masks as grey ids."
"""Advice where palettes contradict each other."""

MIN_INVERTED = 0.6
"""Share of an image's edges by which the foreground covers more or less of them in an inverted mask than in others."""

MAX_STRAY = 0.01
"""Share of the edges: a foreground that covers all others, where that of most masks touches none, is a background."""

MIN_CONSISTENT = 0.9
"""Share of masks whose foreground is brighter than the background, or darker, from which on that is a rule."""

MIN_OTHERS = 3
"""Masks without unjudged pixels from which on a class that all of them hold is missed in one with such pixels."""

MIN_OBJECTS = 6
"""Values of a mask from which on they may be numbers of objects."""

MIN_NUMBERS = 3
"""Different numbers of values from which on they may be numbers of objects: a last class may be missing in some."""

MAX_OFFERED = 5
"""Classes of a data set up to which a plan offers each for a value that is none."""

MAX_ROUNDING = 0.25
"""Distance from whole numbers up to which a mask's values are ids that were scaled or stored with noise: interpolation
leaves some halfway between two ids."""

FAR = 8.0
"""Robust standard deviations from the median beyond which an intensity is unusual."""


def check_dataset(
    dataset: SourceDataset, facts: Sequence[CaseFacts], split: Split | None = None
) -> tuple[Finding, ...]:
    """All findings on a data set, errors first.

    Args:
        dataset: repaired by a plan if there is one, the meaning of its masks settled.
        facts: of each of its cases.
        split: if it is given, near copies are looked for across it; else across any two groups.
    """
    asked = {finding.case for finding in dataset.findings if finding.rivals}
    measured = (finding for case in facts for finding in case.findings)
    findings = [*dataset.findings, *(f for f in measured if not (f.kind == "several-masks" and f.case in asked))]
    findings += _missing_masks(dataset)
    findings += _palettes(facts, dataset)
    findings += _find_turned(facts)
    by_id = {case.id: case for case in dataset.cases}
    for case in facts:
        findings += _of_mask(case, by_id[case.id], dataset)
        findings += _of_image(case, by_id[case.id], dataset)
    findings += [
        *_channels(facts, by_id, dataset),
        *_depths(facts, by_id, dataset),
        *_unusual(facts, by_id, dataset),
        *_orientations(facts),
    ]
    agreement = {case.id: case.mask.agreement for case in facts if case.mask is not None}
    findings += tell_agreement({case: value for case, value in agreement.items() if value is not None})
    findings += _classes(facts, dataset)
    findings += _find_unjudged(facts, by_id, dataset)
    findings += _find_exclusive(facts, by_id, dataset)
    findings += _find_numbered_objects(facts, dataset)
    findings += _find_inverted(facts, by_id, dataset)
    findings += _find_copies(facts, by_id, dataset, split)
    findings += _sides(dataset)
    findings += _outside_regions(dataset)
    findings += _labelled_otherwise(facts, by_id, dataset)
    if dataset.format == "folder":
        findings += _groups_of_one_number(dataset)
    return tuple(sorted(findings, key=lambda finding: (LEVELS.index(finding.level), finding.kind)))


def class_pixels(mask: MaskFacts, coding: LabelCoding, repair: CaseRepair | None = None) -> dict[int, int]:
    """{class id: pixels} of a mask, as its values say; values that are no class, or ignored, are not counted."""
    meaning = {**coding.codes, **(repair.map if repair else {})}
    found: dict[int, int] = dict.fromkeys(range(len(coding.label_map)), 0)
    for count in _counts(mask, coding):
        if meaning.get(count.code, IGNORE) != IGNORE:
            found[meaning[count.code]] += count.pixels
    return found


def unknown_counts(mask: MaskFacts, coding: LabelCoding, repair: CaseRepair | None = None) -> list[CodeCount]:
    """The values of a mask that are no class."""
    extra = repair.map if repair else {}
    return [count for count in _counts(mask, coding) if count.code not in coding.codes and count.code not in extra]


def _counts(mask: MaskFacts, coding: LabelCoding) -> list[CodeCount]:
    codes = _translation(mask, coding).codes or {}
    return [replace(count, code=codes.get(count.code, count.code)) for count in mask.counts]


def _translation(mask: MaskFacts, coding: LabelCoding) -> Translation:
    return translate(values_of_mask(mask), coding)


def values_of_mask(mask: MaskFacts) -> MaskValues:
    """What is known of a mask's values."""
    return MaskValues(mask.colored, mask.counts, mask.palette, mask.names)


def _about(
    case: SourceCase,
    dataset: SourceDataset,
    level: Level,
    kind: str,
    text: str,
    advice: str = "",
    of_mask: bool = False,
    other: str | None = None,
    repairs: Sequence[CaseRepair] = (),
) -> Finding:
    """A finding about a case's image, or its mask."""
    file = dataset.relative((case.label if of_mask else case.image)[0])
    told = tuple(repair if repair.why else repair.model_copy(update={"why": kind}) for repair in repairs)
    return Finding(level=level, kind=kind, text=text, advice=advice, case=case.id, file=file, other=other, repairs=told)


def _missing_masks(dataset: SourceDataset) -> Iterable[Finding]:
    tests = [case for case in dataset.cases if not case.label and case.test]
    if not dataset.labelled:
        text = f"{count_text(len(dataset.cases), 'image')}, but no masks; nothing to train on"
        yield Finding(level="error", kind="no-masks", text=text, advice="Add the masks.")
    else:
        for case in dataset.cases:
            if not case.label and not case.test:
                text = "has no mask, so it is left out"
                yield _about(case, dataset, "warning", "missing-mask", text, "Add its mask if there should be one.")
    if tests:
        text = f"{count_text(len(tests), 'image')} of the test set, without masks: {tests[0].id} to {tests[-1].id}"
        yield Finding(level="note", kind="test-set", text=text)


def _find_unjudged(
    facts: Sequence[CaseFacts], by_id: Mapping[str, SourceCase], dataset: SourceDataset
) -> Iterable[Finding]:
    """How many pixels nobody judged; and masks where their value may stand for a class that all the others hold."""
    coding = dataset.coding
    if coding is None:
        return
    having: dict[str, list[CodeCount]] = {}
    for one in facts:
        meaning = {**coding.codes, **dataset.repairs.get(one.id, CaseRepair()).map}
        values = [] if one.mask is None else _counts(one.mask, coding)
        if unjudged := [count for count in values if meaning.get(count.code) == IGNORE]:
            having[one.id] = unjudged
    if not having:
        return
    pixels = sum(count.pixels for counts in having.values() for count in counts)
    text = (
        f"{count_text(pixels, 'pixel')} of {count_text(len(having), 'mask')}, {next(iter(having))} among them, that "
        "nobody judged are left out of training and scores"
    )
    yield Finding(level="note", kind="unjudged", text=text)
    if not any(finding.kind == "found-classes" for finding in dataset.findings):
        return  # a file says that the value is to be ignored
    held = {
        one.id: class_pixels(one.mask, coding, dataset.repairs.get(one.id)) for one in facts if one.mask is not None
    }
    others = [classes for case, classes in held.items() if case not in having]
    if len(others) < MIN_OTHERS:
        return
    always = [i for i in range(1, len(coding.label_map)) if all(classes[i] for classes in others)]
    for case, counts in having.items():
        absent = [i for i in always if not held[case][i]]
        code = counts[0].code
        if not absent or code in dataset.repairs.get(case, CaseRepair()).map:  # a plan says that it is to be ignored
            continue
        names, value = [coding.label_map.names[i] for i in absent], code_text(code, coding.colored)
        text = (
            f"{count_text(counts[0].pixels, 'pixel')} of {value} are taken for pixels that nobody judged, and "
            f"{' and '.join(names)}, which every mask without {value} holds, "
            f"{'is' if len(names) == 1 else 'are'} missing here"
        )
        advice = f"If {value} stands for {names[0]} here, map it; else say in a plan that it is to be ignored."
        ways = [CaseRepair(map={code: IGNORE}), *(CaseRepair(map={code: i}) for i in absent[:MAX_OFFERED])]
        yield _about(by_id[case], dataset, "warning", "ignored-class", text, advice, of_mask=True, repairs=ways)


def _find_exclusive(
    facts: Sequence[CaseFacts], by_id: Mapping[str, SourceCase], dataset: SourceDataset
) -> Iterable[Finding]:
    """Masks that share no value with the others, where no file names the classes: the same ones, numbered otherwise?"""
    coding = dataset.coding
    if coding is None or not any(finding.kind == "found-classes" for finding in dataset.findings):
        return
    held = {
        case.id: class_values(case.mask, coding) - set(dataset.repairs.get(case.id, CaseRepair()).map)
        for case in facts
        if case.mask is not None
    }
    exclusive = exclusive_values(held.values())
    if exclusive is None:
        return
    usual, rare = (sorted(values) for values in exclusive)
    cases = [case for case, values in held.items() if not values.isdisjoint(rare)]
    others = sum(not values.isdisjoint(usual) for values in held.values())
    text = (
        f"holds values of {_join(rare)}, as {len(cases)} of {len(cases) + others} masks do; the others hold values of "
        f"{_join(usual)}, and no mask holds values of both"
    )
    advice = (
        "If they are the same classes under other values, map them, and take the labels of those values out of the "
        "plan. If they are classes of their own, name all of them in a labels.json."
    )
    renumber = {code: coding.codes[other] for code, other in zip(rare, usual, strict=False)}
    ways = [CaseRepair(map=renumber), CaseRepair(drop=True)] if len(rare) == len(usual) else []
    for case in cases:
        yield _about(by_id[case], dataset, "warning", "exclusive-values", text, advice, of_mask=True, repairs=ways)


def _find_numbered_objects(facts: Sequence[CaseFacts], dataset: SourceDataset) -> Iterable[Finding]:
    """Whether, where no file names the classes, each mask holds the values from 1 to a number of its own."""
    masks = [case.mask for case in facts if case.mask is not None]
    if not any(finding.kind in ("found-classes", "no-classes") for finding in dataset.findings):
        return
    if any(mask.colored or mask.names or mask.palette for mask in masks):
        return
    values = [sorted({count.code for count in mask.counts} - {0}) for mask in masks if not mask.rest[0]]
    values = [each for each in values if each]
    numbers = [len(each) for each in values]
    gaps = any(each != list(range(1, len(each) + 1)) for each in values)
    if gaps or len(set(numbers)) < MIN_NUMBERS or max(numbers) < MIN_OBJECTS:
        return
    text = (
        f"masks hold the values from 1 on without a gap, and the last one differs, from {min(numbers)} to "
        f"{max(numbers)}: these look like numbered objects, not classes"
    )
    advice = "If they are, give all objects of a kind one value. If they are classes, name them in a labels.json."
    yield Finding(level="warning", kind="numbered-objects", text=text, advice=advice)


def _find_inverted(
    facts: Sequence[CaseFacts], by_id: Mapping[str, SourceCase], dataset: SourceDataset
) -> Iterable[Finding]:
    """Masks of one class whose foreground lies and looks as the background of the others does."""
    coding = dataset.coding
    if coding is None or len(coding.label_map) != 2:
        return
    found = {
        case.id: sides
        for case in facts
        if case.mask is not None and (sides := _compare_sides(case.mask, coding, dataset.repairs.get(case.id)))
    }
    if len(found) <= MIN_OTHERS:
        return
    usual = median(edge for edge, _ in found.values())
    others = {case: contrast for case, (edge, contrast) in found.items() if abs(edge - usual) < MIN_INVERTED}
    is_brighter = median(others.values()) > 0
    alike = sum((contrast > 0) == is_brighter for contrast in others.values()) / len(others)
    words = ("darker", "brighter")
    advice = "Look at its picture. If its foreground is what lies around the object, exchange the two values."
    for case in (case for case in found if case not in others):
        edge, contrast = found[case]
        is_enclosing = edge > 1 - MAX_STRAY and usual < MAX_STRAY
        is_other_shade = alike >= MIN_CONSISTENT and (contrast > 0) != is_brighter
        if not (is_enclosing or is_other_shade):
            continue
        text = f"seems inverted: its foreground covers {edge:.0%} of the image's edges, that of most masks {usual:.0%}"
        if is_other_shade:
            text += (
                f", and is {words[contrast > 0]} than its background; that of {alike:.0%} of the others is "
                f"{words[is_brighter]}"
            )
        ways = [CaseRepair(map={code: 1 - i for code, i in classes_of(coding).items()}), CaseRepair(drop=True)]
        yield _about(by_id[case], dataset, "warning", "inverted-mask", text, advice, of_mask=True, repairs=ways)


def _compare_sides(mask: MaskFacts, coding: LabelCoding, repair: CaseRepair | None) -> tuple[float, float] | None:
    """The foreground's share of the edges, and by how much it is brighter than the background; None without either."""
    meaning = {**coding.codes, **(repair.map if repair else {})}
    codes = _translation(mask, coding).codes or {}
    edge, area, light = [0.0, 0.0], [0, 0], [0.0, 0.0]
    for count in mask.counts:
        i = meaning.get(codes.get(count.code, count.code), IGNORE)
        if i in (0, 1) and count.code in mask.brightness:
            edge[i] += mask.on_edge.get(count.code, 0.0)
            area[i] += count.pixels
            light[i] += mask.brightness[count.code] * count.pixels
    if not all(area) or not any(edge):
        return None
    return edge[1] / sum(edge), light[1] / area[1] - light[0] / area[0]


def class_values(mask: MaskFacts, coding: LabelCoding) -> frozenset[int]:
    """The grey values of a mask that are classes, without the background."""
    if coding.colored or mask.names:
        return frozenset()
    return frozenset(c.code for c in _counts(mask, coding) if coding.codes.get(c.code, IGNORE) not in (0, IGNORE))


def exclusive_values(held: Iterable[frozenset[int]]) -> tuple[set[int], set[int]] | None:
    """The values of most masks and those of the others, where no mask holds values of both.

    None where there are more than two such sets, or together they run from 1 without a gap, as ids of classes do that
    are seldom seen together.
    """
    sets: list[tuple[set[int], int]] = []
    for values in filter(None, held):
        touching = [entry for entry in sets if not values.isdisjoint(entry[0])]
        merged = values.union(*(known for known, _ in touching)), 1 + sum(number for _, number in touching)
        sets = [*(entry for entry in sets if entry not in touching), (set(merged[0]), merged[1])]
    if len(sets) != 2:
        return None
    (usual, _), (rare, _) = sorted(sets, key=lambda entry: (-entry[1], min(entry[0])))
    return None if usual | rare == set(range(1, len(usual | rare) + 1)) else (usual, rare)


def _join(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:MAX_OFFERED])) + (" …" if len(values) > MAX_OFFERED else "")


def _palettes(facts: Sequence[CaseFacts], dataset: SourceDataset) -> Iterable[Finding]:
    """What palettes say against each other."""
    conflict = palette_conflict(
        values_of_mask(case.mask) for case in facts if case.mask is not None and not case.mask.names
    )
    if not conflict or dataset.coding is None:
        return
    if dataset.coding.colored:
        yield Finding(level="note", kind="palettes", text=f"{conflict}; the colours were compared, not the values")
    else:
        text = f"{conflict}, so that values alone do not tell the classes"
        yield Finding(level="error", kind="palettes", text=text, advice=PALETTES)


def _find_turned(facts: Sequence[CaseFacts]) -> Iterable[Finding]:
    """Masks of which some store white as 0 and others do not: stored alike, half of them would be read inverted."""
    turned = [WHITE_AS_0 in case.mask.remarks for case in facts if case.mask is not None]
    if 0 < sum(turned) < len(turned):
        text = (
            f"{sum(turned)} of {len(turned)} masks store white as 0 (MinIsWhite), so that equal files mean the opposite"
        )
        advice = "Save all masks alike, as PNG files of 0 and 255, and look whether each shows its foreground white."
        yield Finding(level="error", kind="white-as-0", text=text, advice=advice)


def _of_mask(facts: CaseFacts, case: SourceCase, dataset: SourceDataset) -> Iterable[Finding]:
    mask, coding = facts.mask, dataset.coding
    if mask is None:
        return
    about = partial(_about, case, dataset, of_mask=True)
    drop, place, index = CaseRepair(drop=True), CaseRepair(affine="image"), CaseRepair(affine="index")
    for remark in mask.remarks:
        yield about("warning", "remark", remark)
    if mask.misplaced == "shape":
        text = f"{mask.misplacement}; each pixel of the image needs one label"
        repairs = [index] if mask.on_index else [drop]
        yield about("error", "shape-differs", text, "Export the mask on the image's grid.", repairs=repairs)
        return
    if mask.misplaced == "place":
        advice = "Look at the picture; if the mask fits its image, take the image's position, else export it again."
        repairs = [place, index] if mask.turned and mask.on_index else [place]
        yield about("error", "affine-differs", mask.misplacement, advice, repairs=repairs)
    if mask.lost:
        text = "its affine is the identity, so its position is lost (as in LiTS case 53); it is laid on its image"
        yield about("warning", "affine-lost", text, "Look at the picture, whether it fits.", repairs=[index])
    repair = dataset.repairs.get(case.id)
    if mask.fractional and not (repair and repair.round):
        text = f"holds {mask.fractional:,} values that are no whole numbers"
        near = mask.rounding <= MAX_ROUNDING and any(count.code for count in mask.counts)
        text += f", {mask.rounding:.2g} from one at most: ids that were scaled" if near else "; it was interpolated"
        advice = "Round them with a plan." if near else "Export it with nearest-neighbour interpolation."
        # between more than two values rounding makes classes of edges, and of weak values alone it leaves nothing
        binary = {count.code for count in mask.counts} == {0, 1}
        repairs = [CaseRepair(round=True), drop] if near or binary else [drop]
        yield about("error", "fractional", text, advice, repairs=repairs)
        return
    if mask.stored.startswith("float"):
        yield about("note", "float-labels", f"labels are stored as {mask.stored}, all whole numbers")
    if coding is None:
        return
    jpeg = case.label[0].suffix.lower() in JPEG
    if jpeg and not coding.colored and len(classes_of(coding)) > 2 and max(classes_of(coding)) < 128:
        text = "is a JPEG file, whose losses turn ids into others"
        yield about("error", "lossy-ids", text, "Export masks as PNG.", repairs=[drop])
        return
    translation = _translation(mask, coding)
    if translation.remark:
        yield about("warning", "remark", translation.remark)
    if translation.problem:
        advice = "Save the masks alike: as grey ids, or all with one palette."
        yield about("error", "unlike-masks", translation.problem, advice, repairs=[drop])
        return
    unknown = unknown_counts(mask, coding, repair)
    if unknown and not (repair and repair.snap):
        kind, text, advice, mend = _unknown(unknown, mask, coding, dataset.hint)
        yield about("error", kind, text, advice, repairs=mend)
    elif sum(number for i, number in class_pixels(mask, coding, repair).items() if i) == 0 and not unknown:
        yield about("note", "empty-mask", "holds nothing but background")


def _unknown(
    unknown: list[CodeCount], mask: MaskFacts, coding: LabelCoding, hint: str
) -> tuple[str, str, str, list[CaseRepair]]:
    """Kind, text, advice and repairs of values that are no class."""
    pixels = sum(count.pixels for count in unknown) + mask.rest[1]
    others = len(unknown) - 1 + mask.rest[0]
    worst = unknown[0]
    known = describe_codes(coding)
    where = "slice {}, row {}, column {}".format(*worst.at)
    name = "colours" if coding.colored else "values"
    more = f" and {others:,} other {name}" if others else ""
    text = (
        f"{pixels:,} pixels have {name} that are no class: {code_text(worst.code, coding.colored)} "
        f"({worst.pixels:,} pixels, the first at {where}){more}; the classes are {known}"
    )
    whole = {count.code for count in mask.counts}
    if not coding.colored and set(classes_of(coding)) == {0, 1} and 255 in whole <= {0, 255}:
        return "mask-255", text, "255 stands for 1 here, it seems: map it.", [CaseRepair(map={255: 1})]
    wide = coding.colored or max(classes_of(coding)) >= 128
    smoothed = wide and all(not count.inner or _distance(count.code, coding)[0] <= NEAR for count in unknown)
    if any(count.flat for count in mask.counts):  # areas were looked for
        smoothed |= others >= MAX_THIN and not any(count.flat for count in unknown)
    if smoothed:
        near = coding.label_map.names[_distance(worst.code, coding)[1]]
        text += f"; the mask was smoothed or saved with loss (nearest class: {near})"
        advice = "Export masks as PNG without smoothing, or snap such pixels to the nearest class around them."
        return "smoothed", text, advice, [CaseRepair(snap=True)]
    if not coding.colored and worst.code == 255 and others == 0:
        advice = "255 often marks what nobody judged: leave those pixels out, or map it to a class if it is one."
        classes = range(1, len(coding.label_map)) if len(coding.label_map) <= MAX_OFFERED else ()
        ways = [CaseRepair(map={255: IGNORE}), *(CaseRepair(map={255: i}) for i in classes)]
        return "unknown-label", text, hint or advice, ways
    advice = hint or "Name the class, map it to one with a plan, or leave the case out."
    left_out = CaseRepair(map={count.code: IGNORE for count in unknown})
    return "unknown-label", text, advice, [CaseRepair(drop=True), *([] if mask.rest[0] else [left_out])]


def _distance(code: int, coding: LabelCoding) -> tuple[float, int]:
    """To the nearest class, and which it is; grey values as colours, so that both are on one scale."""

    def color(value: int) -> np.ndarray:
        return np.array(unpack_color(value if coding.colored else min(max(value, 0), 255) * 0x010101), float)

    own = color(code)
    return min((float(np.linalg.norm(own - color(known))), i) for known, i in classes_of(coding).items())


def _of_image(facts: CaseFacts, case: SourceCase, dataset: SourceDataset) -> Iterable[Finding]:
    image = facts.image
    if image is None:
        return
    about = partial(_about, case, dataset)
    for remark in image.remarks:
        yield about("warning", "remark", remark)
    S, _, H, W = image.shape
    lowest, highest = image.range[0], image.range[-1]
    if lowest == highest:
        text = f"all its pixels are {lowest:g}"
        yield about("warning", "empty-image", text, "Get the file again.", repairs=[CaseRepair(drop=True)])
    elif image.constant_slices:
        yield about("note", "constant-slices", f"in {image.constant_slices} of {S} slices all pixels are equal")
    if min(H, W) < MIN_SIZE:
        yield about(
            "note", "small", f"its slices have {H}×{W} pixels and are padded to the {MIN_SIZE} that networks need"
        )
    if dataset.modality == "ct" and lowest >= 0 and highest > 0:
        text = f"its values run from {lowest:g} to {highest:g}, so they are no Hounsfield units"
        yield about("warning", "no-hu", text, "Subtract the offset, or name the modality: prepare.modality: mr")


def _channels(facts: Sequence[CaseFacts], by_id: dict[str, SourceCase], dataset: SourceDataset) -> Iterable[Finding]:
    counts = Counter(case.image.shape[1] for case in facts if case.image)
    if not counts:
        return
    usual = counts.most_common(1)[0][0]
    if usual > 1 and dataset.modality != "rgb" and all(len(case.image) == 1 for case in by_id.values()):
        text = (
            f"each image is one file of {usual} channels: the fourth axis of a volume counts as channels, not as time"
        )
        yield Finding(level="note", kind="several-channels", text=text)
    for case in facts:
        if case.image and case.image.shape[1] != usual:
            text = f"has {case.image.shape[1]} channels; {counts[usual]} of {counts.total()} images have {usual}"
            advice = "A network needs the same channels everywhere."
            yield _about(by_id[case.id], dataset, "error", "channels", text, advice, repairs=[CaseRepair(drop=True)])


def _depths(facts: Sequence[CaseFacts], by_id: dict[str, SourceCase], dataset: SourceDataset) -> Iterable[Finding]:
    """Grey images of more than 8 bits among those of 8."""
    images = [(case, case.image) for case in facts if case.image] if dataset.modality == "gray" else []
    narrow = sum(image.stored == "uint8" for _, image in images)
    for case, image in images:
        if narrow and image.stored != "uint8" and image.range[-1] > 255:
            text = f"its values reach {image.range[-1]:g}; {narrow} of {len(images)} images are stored in 8 bits"
            advice = "Save all images on one scale."
            yield _about(by_id[case.id], dataset, "error", "depth", text, advice, repairs=[CaseRepair(drop=True)])


def _unusual(facts: Sequence[CaseFacts], by_id: dict[str, SourceCase], dataset: SourceDataset) -> Iterable[Finding]:
    """Spacing and intensity far from what is usual in the data set."""
    images = [(case, case.image) for case in facts if case.image]
    spaced = [image.spacing for _, image in images if image.spacing]
    if len(spaced) >= 3:
        usual = [median(spacing[axis] for spacing in spaced) for axis in range(3)]
        for case, image in images:
            if image.spacing and any(not 1 / 3 <= own / u <= 3 for own, u in zip(image.spacing, usual, strict=True)):
                own_text, usual_text = ("×".join(f"{v:.3g}" for v in s) for s in (image.spacing, usual))
                text = f"its voxels are {own_text} mm (slices, rows, columns); usual are {usual_text}"
                advice = "Look whether the header is right."
                yield _about(by_id[case.id], dataset, "warning", "spacing", text, advice)
    if len(images) < MIN_CASES:
        return
    told: set[str] = set()
    for place, name in ((2, "median"), (3, "99.5th percentile")):
        values = np.array([image.range[place] for _, image in images])
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        spread = max(spread, 0.02 * float(np.ptp([image.range[1:4] for _, image in images])))
        for (case, _), value in zip(images, values.tolist(), strict=True):
            if spread and abs(value - middle) > FAR * spread and case.id not in told:
                told.add(case.id)
                level: Level = "note" if dataset.modality == "mr" else "warning"  # MR has no unit
                text = f"the {name} of its pixels is {value:g}; usual is {middle:g}"
                advice = "Look whether it is the same kind of image."
                yield _about(by_id[case.id], dataset, level, "intensity", text, advice)


def _orientations(facts: Sequence[CaseFacts]) -> Iterable[Finding]:
    counts = Counter(case.image.orientation for case in facts if case.image and case.image.orientation)
    if len(counts) > 1:
        shown = ", ".join(f"{name} {number}" for name, number in counts.most_common())
        rare = counts.most_common()[-1][0]
        example = next(case.id for case in facts if case.image and case.image.orientation == rare)
        text = f"the files' axes run differently ({shown}; {rare} in {example}); all are turned alike when read"
        yield Finding(level="note", kind="orientation", text=text)


def _classes(facts: Sequence[CaseFacts], dataset: SourceDataset) -> Iterable[Finding]:
    """Classes that no mask, or only those of one group, have."""
    if dataset.coding is None:
        return
    groups: dict[int, set[str]] = {}
    for case in facts:
        if case.mask is not None:
            counts = class_pixels(case.mask, dataset.coding, dataset.repairs.get(case.id))
            for i, number in counts.items():
                groups.setdefault(i, set()).update({case.group} if number else ())
    for i, name in enumerate(dataset.coding.label_map.names):
        having = groups.get(i, set())
        if groups and not having:
            text, advice = f'no mask has the class "{name}"', "It cannot be learned; look whether the ids are right."
            yield Finding(level="warning", kind="absent-class", text=text, advice=advice)
        elif len(having) == 1 and len({case.group for case in facts}) > 1:
            text = f'only the {dataset.group_name} {next(iter(having))} has the class "{name}"'
            advice = "It cannot be both learned and scored."
            yield Finding(level="warning", kind="rare-class", text=text, advice=advice)


def _find_copies(
    facts: Sequence[CaseFacts], by_id: dict[str, SourceCase], dataset: SourceDataset, split: Split | None
) -> Iterable[Finding]:
    """Images that are there twice, and near copies that a split may part."""

    def file(case: CaseFacts) -> str:
        return dataset.relative(by_id[case.id].image[0])

    for cases in copies(facts):
        unlike = len({case.mask.content for case in cases if case.mask}) > 1
        for place, case in enumerate(cases):
            about = partial(_about, by_id[case.id], dataset)
            other = next((c for c in cases if c.group != case.group), cases[0])
            both = case.mask is not None and other.mask is not None
            if place == 0 and not (unlike and both and other is not case):  # the one that stays
                continue
            masks = ""
            if case.mask and other.mask:
                same = case.mask.content == other.mask.content
                masks = ", and so are their masks" if same else ", but their masks differ"
            if other.group == case.group:
                yield about("note", "copy-in-group", f"its pixels are those of {file(cases[0])}{masks}", other=other.id)
                continue
            text = f"its pixels are those of {file(other)}, of another {dataset.group_name}{masks}"
            advice = "Leave one out, or give both the same group: a split could part them."
            if both:
                kind = "unlike-copy" if unlike else "copy"
                repair = CaseRepair(drop=True, why=f"copy of {other.id}")
                yield about("error", kind, text, advice, other=other.id, repairs=[repair])
            else:
                yield about("warning", "copy", text, advice, other=other.id)

    across = "the split parts them" if split else f"it is of another {dataset.group_name}"
    for pair in near_copies(facts, _pairs_across_split(facts, split)):
        turned = f" {pair.turned}" if pair.turned else ""
        text = f"looks like {file(pair.first)}{turned} (correlation {pair.correlation:.4f}), and {across}"
        advice = "If they show the same, give them the same group."
        yield _about(by_id[pair.second.id], dataset, "warning", "near-copy", text, advice, other=pair.first.id)


def _pairs_across_split(
    facts: Sequence[CaseFacts], split: Split | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """For rows of indices, which of their pairs a split may part: those of two groups, or those that ``split`` does."""
    if split is None:
        _, group = np.unique([case.group for case in facts], return_inverse=True)
        return lambda rows, columns: group[rows, None] != group[columns]
    train, val = (
        np.array([[case.id in part for case in facts] for part in parts])
        for parts in ([fold.train for fold in split.folds], [fold.val for fold in split.folds])
    )
    return lambda rows, columns: np.logical_or.reduce(
        [(t[rows, None] & v[columns]) | (v[rows, None] & t[columns]) for t, v in zip(train, val, strict=True)]
    )


def _outside_regions(dataset: SourceDataset) -> Iterable[Finding]:
    """Classes that are in no region, which a network of regions never learns."""
    label_map = None if dataset.coding is None else dataset.coding.label_map
    if label_map is not None and label_map.region_ids:
        inside = {i for members in label_map.structures.values() for i in members}
        names = [label.name for label in label_map.labels[1:] if label.id not in inside]
        if names:
            text = f"in no region, so learnt as background: {', '.join(names)}"
            advice = "Put it into a region of its own, or set data.targets: classes."
            yield Finding(level="warning", kind="no-region", text=text, advice=advice)


def _labelled_otherwise(
    facts: Sequence[CaseFacts], by_id: Mapping[str, SourceCase], dataset: SourceDataset
) -> Iterable[Finding]:
    """Masks that hold what a table says is not labelled in their cases."""
    if dataset.coding is None:
        return
    label_map = dataset.coding.label_map
    for case in facts:
        labelled = by_id[case.id].labelled
        if case.mask is None or not labelled:
            continue
        merged = label_map.merged_ids(labelled)
        pixels = class_pixels(case.mask, dataset.coding, dataset.repairs.get(case.id))
        names = [label_map.names[i] for i, number in pixels.items() if i and number and not merged[i]]
        if names:
            text = (
                f"its mask holds {', '.join(names)}, which {PARTIAL} does not list: they are not learnt or scored there"
            )
            yield Finding(level="warning", kind="labelled-otherwise", text=text, case=case.id)


def _sides(dataset: SourceDataset) -> Iterable[Finding]:
    """Classes that a mirrored image would mix up."""
    sided = () if dataset.coding is None else dataset.coding.label_map.sided_names
    if sided:
        names = ", ".join(sided[:4]) + (" …" if len(sided) > 4 else "")
        text = f"the classes {names} have sides, which mirroring left to right would mix up"
        advice = "Training and prediction do not mirror them so; augment.horizontal_flip: true would."
        yield Finding(level="warning", kind="left-right", text=text, advice=advice)


def _groups_of_one_number(dataset: SourceDataset) -> Iterable[Finding]:
    """Groups whose names differ in words but not in a long number: perhaps copies of one patient."""
    by_number: dict[tuple[str, ...], set[str]] = {}
    for case in dataset.cases:
        numbers = tuple(findall(r"(?<![a-zA-Z0-9])\d{3,}(?![a-zA-Z0-9])", PurePosixPath(case.group).name))
        if numbers:
            by_number.setdefault(numbers, set()).add(case.group)
    leaking = {numbers: sorted(groups) for numbers, groups in by_number.items() if len(groups) > 1}
    if leaking:
        numbers, groups = next(iter(leaking.items()))
        shown = f"{'-'.join(numbers)} in {', '.join(groups[:4])}"
        text = f"{len(leaking)} numbers stand in the names of several groups: {shown}"
        advice = "If they are the same patient, give a pattern for the group: prepare.group: '\\d{3,}'"
        yield Finding(level="warning", kind="groups-share-number", text=text, advice=advice)
