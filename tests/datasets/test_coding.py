"""What the values in masks mean: described, found, and turned into class ids."""

import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from caseunet.datasets.case_statistics import count_codes
from caseunet.datasets.coding import (
    CodeCount,
    MaskValues,
    coding_of,
    decode,
    find_coding,
    pack_color,
    palette,
    palette_conflict,
    read_labels_json,
    snap,
    translate,
    unpack_color,
)
from caseunet.datasets.masks import read_lesions
from caseunet.errors import CaseUNetError
from caseunet.types import IGNORE

BLACK, RED, GREEN, BLUE, WHITE = 0x000000, 0xFF0000, 0x00FF00, 0x0000FF, 0xFFFFFF


def counted(mask: np.ndarray, colored: bool) -> MaskValues:
    """What :func:`find_coding` asks of a mask (H, W)."""
    return MaskValues(colored, count_codes(mask[None], colored)[0])


def found(*masks: np.ndarray, colored: bool = False) -> dict[int, int] | None:
    """The codes of the classes that masks (H, W) show."""
    coding = find_coding(counted(mask, colored) for mask in masks)
    return None if coding is None else coding.codes


def square(value: int, background: int = 0, side: int = 6, dtype: type = np.int32) -> np.ndarray:
    """A mask of 16×16 with a square of ``value`` from (3, 3)."""
    mask = np.full((16, 16), background, dtype)
    mask[3 : 3 + side, 3 : 3 + side] = value
    return mask


@pytest.mark.parametrize("n", [2, 9, 26, 105, 255])
def test_colours_of_the_palette_differ(n: int) -> None:
    colors = palette(n)
    assert len(set(colors)) == n
    assert colors[0] == (0, 0, 0)


def test_colours_are_packed_as_they_are_written() -> None:
    assert pack_color((0x12, 0xAB, 0x05)) == 0x12AB05
    assert unpack_color(0x12AB05) == (0x12, 0xAB, 0x05)


def test_classes_are_numbered_in_order_and_structures_follow() -> None:
    coding = coding_of({0: "background", 6: "scissors", 9: "clip"}, structures={"any": (6, 9)})
    assert coding.codes == {0: 0, 6: 1, 9: 2}
    assert coding.label_map.names == ("background", "scissors", "clip")
    assert coding.label_map.structures == {"any": (1, 2)}
    assert coding_of({0: "background", 6: "scissors"}).label_map.structures == {"scissors": (1,)}


def test_colour_codes_are_the_colours_of_their_classes() -> None:
    coding = coding_of({BLACK: "background", RED: "liver"}, colored=True)
    assert coding.label_map.colors == ((0, 0, 0), (255, 0, 0))
    assert coding.codes == {0: 0, 0xFF0000: 1}


@pytest.mark.parametrize("names", [{0: "background"}, {0: "background", 1: "liver", 2: "liver"}])
def test_classes_that_are_too_few_or_alike_are_refused(names: dict[int, str]) -> None:
    with pytest.raises(ValueError, match="at least one class|is there twice"):
        coding_of(names)


def entry(name: str, number: Any, color: Any = None) -> dict[str, Any]:
    return {"name": name, "classid": number} | ({} if color is None else {"color": color})


def test_labels_json_in_any_order_with_gaps(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps([entry("clip", 9), entry("background", 0), entry("scissors", 6)]))
    coding = read_labels_json(path, colored=False)
    assert coding.label_map.names == ("background", "scissors", "clip")
    assert (coding.codes, coding.colored) == ({0: 0, 6: 1, 9: 2}, False)
    assert len(set(coding.label_map.colors)) == 3


def test_labels_json_of_colours_is_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    classes = [entry("background", 0, [0, 0, 0]), entry("liver", 1, [255, 0, 0])]
    path.write_text(json.dumps(classes))
    coding = read_labels_json(path)
    assert (coding.codes, coding.colored) == ({BLACK: 0, RED: 1}, True)
    path.write_text(json.dumps({"classes": [c | {"color": [*c["color"], 255]} for c in classes]}))
    assert read_labels_json(path) == coding


def test_labels_json_of_colours_by_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"liver": {"id": 1, "color": "#ff0000"}}))
    assert (read_labels_json(path).codes, read_labels_json(path).label_map.names[0]) == (
        {BLACK: 0, RED: 1},
        "background",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [entry("bg", 0, [0, 0, 0]), entry("b", 0, [1, 1, 1])],
            r"label ids must be whole numbers from 0 .* each once",
        ),
        ([entry("a", 1, [0, 0, 0]), entry("b", 2, [1, 1, 1])], r"label ids must be whole numbers from 0"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", 1.5, [1, 1, 1])], r"label ids must be whole numbers from 0"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", "1", [1, 1, 1])], r"each with name, color and classid"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", 1)], r"each with name, color and classid"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", 1, 7)], r"each with name, color and classid"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", 1, [1, 1])], r"color"),
        ([entry("bg", 0, [0, 0, 0]), entry("b", 1, [1, 1, 256])], r"color"),
        ([entry("bg", 0, [0, 0, 0]), entry("", 1, [1, 1, 1])], r"name"),
        ([entry("bg", 0, [0, 0, 0])], r"at least one class beside the background"),
        ({"labels": []}, r"expected a list of classes"),
        ([], r"expected a list of classes"),
        (7, r"expected a list of classes"),
    ],
)
def test_labels_json_that_cannot_be_used_is_named(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match=message) as caught:
        read_labels_json(path)
    assert str(path) in str(caught.value)


def test_small_values_are_ids_gaps_or_not() -> None:
    assert found(square(1), square(2), square(7)) == {0: 0, 1: 1, 2: 2, 7: 3}
    coding = find_coding([counted(square(7), colored=False)])
    assert coding is not None
    assert coding.label_map.names == ("background", "foreground")


def test_an_id_of_one_pixel_is_a_class() -> None:
    assert found(square(1), square(2, side=1)) == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("side", [1, 2, 6])
def test_0_and_255_are_two_classes_however_thin(side: int) -> None:
    assert found(square(255, side=side)) == {0: 0, 255: 1}


def test_255_beside_ids_is_ignored() -> None:
    """As in Pascal VOC: what nobody judged."""
    mask = square(1)
    mask[:2] = 255
    assert found(mask) == {0: 0, 1: 1, 255: IGNORE}
    assert found(mask, square(255)) == {0: 0, 1: 1, 255: IGNORE}, "a mask of 0 and 255 beside it changes nothing"


def test_stray_1_does_not_make_255_ignored() -> None:
    mask = square(255, side=10)
    mask[3, 3] = 1
    assert found(mask) is None, "better to ask than to take the foreground for what nobody judged"


def test_labels_json_names_what_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    named = {"background": 0, "polyp": 1, "Void": 9}
    path.write_text(json.dumps([{"name": n, "classid": i, "color": [i, i, i]} for n, i in named.items()]))
    assert read_labels_json(path, colored=False).codes == {0: 0, 1: 1, 9: IGNORE}
    assert read_labels_json(path).codes == {0: 0, 0x010101: 1, 0x090909: IGNORE}


def test_snap_never_ignores() -> None:
    coding = coding_of({0: "background", 200: "polyp"}, ignore=[255])
    codes = np.array([[[0, 200, 250, 255]]], np.uint8)
    ids, unknown = decode(codes, coding, {})
    assert snap(codes, ids, unknown, coding).tolist() == [[[0, 1, 1, IGNORE]]]


def test_large_values_that_fill_areas_are_ids() -> None:
    assert found(square(60), square(128), square(200)) == {0: 0, 60: 1, 128: 2, 200: 3}


def test_masks_of_1_among_masks_of_255_are_one_class() -> None:
    for side in (3, 12):
        assert found(square(1, side=side), square(255)) == {0: 0, 1: 1}


def test_smoothed_grey_edges_are_no_classes() -> None:
    """A ramp from 0 to 255 in steps of 51, each a pixel wide, around a square of 255."""
    mask = np.zeros((20, 20), np.uint8)
    for ring, value in enumerate((51, 102, 153, 204, 255)):
        mask[3 + ring : 17 - ring, 3 + ring : 17 - ring] = value
    assert found(mask) == {0: 0, 255: 1}


def regions(levels: Sequence[int], seed: int, side: int = 128) -> np.ndarray:
    """A mask of random regions, the first level's the largest."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=(side, side)), 4) for _ in levels])
    fields[0] += fields[0].std() / 2
    return np.array(levels, np.uint8)[fields.argmax(0)]


def as_jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    saved = io.BytesIO()
    Image.fromarray(mask).save(saved, "JPEG", quality=quality)
    return np.asarray(Image.open(saved))


def resized(mask: np.ndarray, factor: float) -> np.ndarray:
    side = round(len(mask) * factor)
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR))


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "jpeg-70": partial(as_jpeg, quality=70),
    "jpeg-85": partial(as_jpeg, quality=85),
    "jpeg-95": partial(as_jpeg, quality=95),
    "halved": partial(resized, factor=0.5),
    "smaller": partial(resized, factor=0.6),
    "larger": partial(resized, factor=3),
    "feathered": partial(gaussian_filter, sigma=3),
}


@pytest.mark.parametrize("highest", [100, 255])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("fault", SPOILT)
def test_spoilt_masks_invent_no_classes(fault: str, n: int, highest: int) -> None:
    """Rather none are found, which is an error; what is found lies where a class is, or nearly."""
    levels = np.linspace(0, highest, n).astype(int)
    codes = found(*[SPOILT[fault](regions(levels.tolist(), seed)) for seed in range(3)]) or {}
    assert len(codes) <= n
    assert all(np.abs(levels - code).min() <= 3 for code in codes)


@pytest.mark.parametrize("spoilt", [1, 6])
def test_smoothed_masks_of_three_levels(spoilt: int) -> None:
    masks = [regions((0, 128, 255), seed) for seed in range(6)]
    masks[:spoilt] = [resized(mask, 0.6) for mask in masks[:spoilt]]
    assert found(*masks) == {0: 0, 128: 1, 255: 2}


@pytest.mark.parametrize("ids", [range(6), range(118), (0, 17, 53), (0, 17, 53, 163, 166), range(100, 160)])
@pytest.mark.parametrize("side", [64, 128])
def test_unspoilt_ids_are_all_classes(ids: Sequence[int], side: int) -> None:
    """However small or near each other."""
    masks = [regions(ids, seed, side) for seed in range(3)]
    present = np.unique(masks).tolist()
    assert len(present) > 0.9 * len(ids)
    assert found(*masks) == {code: n for n, code in enumerate(present)}


def test_thin_small_ids_are_classes() -> None:
    masks = [square(n, side=1) for n in range(1, 5)]
    assert found(*masks, square(100)) == {code: n for n, code in enumerate([*range(5), 100])}


def test_colours_that_fill_areas_are_classes_and_their_mixtures_are_none() -> None:
    """A border of one pixel between red and black has their mean."""
    mask = square(RED, side=8)
    mask[3, 3:11] = 0x7F0000
    assert found(mask, square(GREEN), colored=True) == {BLACK: 0, GREEN: 1, RED: 2}


def test_colours_near_commoner_one_are_its_copies() -> None:
    """As JPEG makes them: 0xF80810 is 19.2 away from red, 0xC00000 63."""
    assert found(square(RED, side=8), square(0xF80810), colored=True) == {BLACK: 0, RED: 1}
    assert found(square(RED, side=8), square(0xC00000), colored=True) == {BLACK: 0, 0xC00000: 1, RED: 2}


def test_background_is_black_or_else_commonest() -> None:
    assert found(square(RED, background=BLUE), square(BLACK, background=BLUE), colored=True) == {
        BLACK: 0,
        BLUE: 1,
        RED: 2,
    }
    assert found(square(RED, background=WHITE), colored=True) == {WHITE: 0, RED: 1}


def test_mask_without_colour_among_coloured_ones() -> None:
    """White on black is read as grey values, of which 255 stands for white."""
    coding = find_coding([counted(square(255), colored=False), counted(square(RED), colored=True)])
    assert coding is not None
    assert (coding.codes, coding.colored) == ({BLACK: 0, RED: 1, WHITE: 2}, True)


def test_masks_of_one_value_show_no_classes() -> None:
    assert found(np.zeros((16, 16), np.uint8)) is None
    assert found(np.full((16, 16), RED), colored=True) is None
    assert find_coding([]) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_values_become_ids_whatever_their_type(dtype: type) -> None:
    coding = coding_of({0: "background", 10: "shaft", 30: "clasper"})
    ids, unknown = decode(np.array([[[0, 10, 30, 20]]], dtype), coding, {})
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[[0, 1, 2, 0]]]
    assert unknown.tolist() == [[[False, False, False, True]]]


def test_values_beyond_all_codes_are_unknown() -> None:
    coding = coding_of({0: "background", 300: "liver"})
    _, unknown = decode(np.array([[[-1, 299, 300, 2**31 - 1]]], np.int32), coding, {})
    assert unknown.tolist() == [[[True, True, False, True]]]


def test_a_repair_s_map_goes_before_the_coding() -> None:
    coding = coding_of({0: "background", 1: "liver", 2: "tumour"})
    for dtype in (np.uint8, np.int32):
        ids, unknown = decode(np.array([[[1, 2, 255]]], dtype), coding, {255: 1, 2: 0})
        assert ids.tolist() == [[[1, 0, 1]]]
        assert not unknown.any()


def snapped(codes: np.ndarray, **classes: int) -> list[list[str]]:
    """The names of the classes that the pixels of a colour mask (H, W) get."""
    coding = coding_of({code: name for name, code in classes.items()}, colored=True)
    ids, unknown = decode(codes[None], coding, {})
    result = snap(codes[None], ids, unknown, coding)[0]
    return [[coding.label_map.names[i] for i in row] for row in result]


def test_mixture_goes_to_nearer_of_its_neighbours() -> None:
    row = np.array([[BLACK, BLACK, 0x600000, 0xA00000, RED, RED]], np.int32)
    assert snapped(row, black=BLACK, red=RED) == [["black", "black", "black", "red", "red", "red"]]


def test_a_mixture_in_the_colour_of_a_distant_class_is_not_of_that_class() -> None:
    """Between black and red lies dark red; dark red is a class too, but ten pixels away."""
    row = np.array([[BLACK] * 3 + [0x900000] + [RED] * 10 + [0x8A0000]], np.int32)
    names = snapped(row, black=BLACK, red=RED, dark=0x8A0000)
    assert names == [["black"] * 3 + ["red"] + ["red"] * 10 + ["dark"]]


def test_unknown_pixels_with_nothing_known_around_go_to_the_nearest_of_all() -> None:
    block = np.full((7, 7), 0x0000E0, np.int32)
    assert snapped(block, black=BLACK, red=RED, blue=BLUE) == [["blue"] * 7] * 7


def test_snapping_looks_no_further_than_two_pixels_and_stays_in_its_slice() -> None:
    """0xE00000 is nearly red; red is three pixels away in the row, and above in the next slice."""
    coding = coding_of({BLACK: "black", RED: "red"}, colored=True)
    codes = np.full((2, 1, 9), BLACK, np.int32)
    codes[0, 0, 4], codes[0, 0, 7] = 0xE00000, RED
    codes[1] = RED
    ids, unknown = decode(codes, coding, {})
    assert snap(codes, ids, unknown, coding)[0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_grey_values_snap_too() -> None:
    coding = coding_of({0: "background", 255: "foreground"})
    codes = np.array([[[0, 0, 100, 200, 255]]], np.uint8)
    ids, unknown = decode(codes, coding, {})
    assert snap(codes, ids, unknown, coding).tolist() == [[[0, 0, 0, 1, 1]]]


@pytest.mark.parametrize("unit", [1, 0x010000], ids=["grey", "colour"])
@pytest.mark.parametrize(("smaller", "larger"), [(0.5, 2), (0.25, 4), (1, 3), (1, 8)])
def test_a_ramp_past_a_third_class_has_no_ring(smaller: float, larger: float, unit: int) -> None:
    """The disc of 100 is far from the box of 200, around which 100 occurs in the ramp, exactly and nearly."""
    truth = np.zeros((96, 96), np.uint8)
    truth[np.hypot(*(np.indices((96, 96)) - np.array([30, 65])[:, None, None])) < 17] = 1
    truth[60:80, 20:50] = 2
    codes = resized(resized(truth * 100, smaller), larger)[None].astype(np.int32) * unit
    coding = coding_of({0: "background", 100 * unit: "disc", 200 * unit: "box"}, colored=unit > 1)
    ids, unknown = decode(codes, coding, {})
    result = snap(codes, ids, unknown, coding)[0]
    scale = len(result) / 96
    for i in (1, 2):
        assert np.sum(result == i) == pytest.approx(np.sum(truth == i) * scale**2, rel=0.03)
    assert not (result[round(50 * scale) :] == 1).any()


def test_a_thin_line_beside_a_ramp_stays() -> None:
    row = np.array([[[0, 0, 50, 100, 100, 50, 0, 0, 0, 67, 133, 200, 200, 200]]], np.uint8)
    coding = coding_of({0: "background", 100: "needle", 200: "shaft"})
    ids, unknown = decode(row, coding, {})
    assert snap(row, ids, unknown, coding)[0, 0, [3, 4]].tolist() == [1, 1]


def with_palette(indices: np.ndarray, **colors: int) -> MaskValues:
    """A mask (H, W) whose palette shows ``_1=RED`` as it says."""
    palette = {int(index[1:]): color for index, color in colors.items()}
    used = {index: palette[index] for index in np.unique(indices).tolist()}
    return MaskValues(False, count_codes(indices[None], False)[0], used)


@pytest.mark.parametrize(
    ("masks", "colored"),
    [
        ([with_palette(square(1), _0=BLACK, _1=RED), with_palette(square(2), _0=BLACK, _2=GREEN)], False),
        ([with_palette(square(1), _0=BLACK, _1=RED), with_palette(square(1), _0=BLACK, _1=GREEN)], True),
        ([with_palette(square(1), _0=BLACK, _1=WHITE), with_palette(square(0, 1), _1=BLACK, _0=WHITE)], True),
        ([with_palette(square(0, 1), _1=BLACK, _0=WHITE)] * 2, True),  # alike, and inverted
        ([with_palette(square(1), _0=BLACK, _1=RED), with_palette(square(5), _0=BLACK, _5=RED)], True),
        ([with_palette(square(3, 3), _3=BLACK), with_palette(square(1), _0=BLACK, _1=RED)], True),
        ([with_palette(square(3), _0=BLACK, _3=BLACK)], False),  # a palette that was never filled
        ([with_palette(square(1), _0=BLACK, _1=WHITE), counted(square(255), False)], True),
        ([with_palette(square(1), _0=BLACK, _1=WHITE), counted(square(1), False)], False),
        ([with_palette(square(1), _0=BLUE, _1=RED), counted(square(2), False)], False),
    ],
)
def test_indices_count_where_palettes_agree(masks: list[MaskValues], colored: bool) -> None:
    assert bool(palette_conflict(masks)) is colored


def test_two_palettes_one_meaning() -> None:
    first, second = (
        with_palette(square(1), _0=BLACK, _1=WHITE),
        with_palette(square(0, background=1), _0=WHITE, _1=BLACK),
    )
    coding = find_coding([first, second])
    assert coding is not None
    assert (coding.codes, coding.colored) == ({BLACK: 0, WHITE: 1}, True)
    assert coding.label_map.names == ("background", "foreground")
    for mask, indices in ((first, square(1)), (second, square(0, background=1))):
        ids, unknown = decode(translate(mask, coding).apply(indices[None]), coding, {})
        np.testing.assert_array_equal(ids[0], square(1))
        assert not unknown.any()


def test_classes_have_the_palettes_colours() -> None:
    coding = find_coding([with_palette(square(1), _0=BLACK, _1=RED), with_palette(square(2), _0=BLACK, _2=GREEN)])
    assert coding is not None
    assert (coding.codes, coding.colored) == ({0: 0, 1: 1, 2: 2}, False)
    assert coding.label_map.colors == ((0, 0, 0), (255, 0, 0), (0, 255, 0))


@pytest.mark.parametrize(
    ("codes", "palette_", "expected", "remark"),
    [
        ({0: 0, 255: 1}, {0: BLACK, 1: WHITE}, {0: 0, 1: 255}, True),  # grey references
        ({0: 0, 255: 1}, {0: WHITE, 1: BLACK}, {0: 255, 1: 0}, True),
        ({0: 0, 1: 1}, {0: BLACK, 1: WHITE}, None, False),
        ({0: 0, 1: 1}, {0: BLACK, 1: BLUE}, None, False),  # another program's colours of the same ids
        ({0: 0, 1: 1}, {0: RED, 1: BLACK}, {0: 1, 1: 0}, True),  # the class's own colour
    ],
)
def test_a_palette_is_compared_with_the_classes(
    codes: dict[int, int], palette_: dict[int, int], expected: dict[int, int] | None, remark: bool
) -> None:
    coding = coding_of(
        {code: str(i) for code, i in codes.items()}, colors=dict(zip(codes, [(0, 0, 0), (255, 0, 0)], strict=True))
    )
    translation = translate(MaskValues(False, (), palette_), coding)
    assert (translation.codes, translation.problem, bool(translation.remark)) == (expected, "", remark)


def test_an_inverted_palette_is_a_problem() -> None:
    coding = coding_of({0: "background", 1: "tool"})
    assert "shows the value 0 as #ffffff" in translate(MaskValues(False, (), {0: WHITE, 1: BLACK}), coding).problem


def named(values: dict[int, str], **given: int) -> MaskValues:
    return MaskValues(False, tuple(CodeCount(v, 9, 9, 9, (0, 0, 0)) for v in (0, *values)), given, values)


def test_names_go_before_values() -> None:
    masks = [named({1: "liver", 2: "tumour"}), named({1: "Tumour", 2: "Liver"})]
    coding = find_coding(masks)
    assert coding is not None
    assert coding.label_map.names == ("background", "liver", "tumour")
    values = np.array([[[0, 1, 2]]])
    assert [decode(translate(mask, coding).apply(values), coding, {})[0].ravel().tolist() for mask in masks] == [
        [0, 1, 2],
        [0, 2, 1],
    ]
    assert "names no segments" in translate(counted(square(1), False), coding).problem


def test_values_stay_where_names_agree() -> None:
    masks = [named({3: "tumour"}), named({2: "liver", 3: "tumour"}), counted(square(2), False)]
    coding = find_coding(masks)
    assert coding is not None
    assert (coding.codes, coding.label_map.names) == ({0: 0, 2: 1, 3: 2}, ("background", "liver", "tumour"))
    assert translate(masks[2], coding).codes is None


def test_a_segment_of_no_class_is_named() -> None:
    coding = coding_of({0: "background", 1: "liver"})
    assert translate(named({1: "Segment_1"}), coding).codes is None
    assert 'the segment "cyst"' in translate(named({1: "liver", 2: "cyst"}), coding).problem


@pytest.mark.parametrize(
    "content",
    [
        {"background": 0, "liver": 1, "tumour": 2},
        {"background": 0, "liver": "1", "tumour": "2"},
        {"tumour": 2, "liver": 1},
        {"labels": {"background": 0, "liver": 1, "tumour": 2}},
        {"0": "background", "1": "liver", "2": "tumour"},
        {"2": "tumour", "1": "liver"},
        ["background", "liver", "tumour"],
        {"classes": ["background", "liver", "tumour"]},
        {"categories": [{"id": 1, "name": "liver"}, {"id": 2, "name": "tumour"}, {"id": 0, "name": "background"}]},
        [entry("background", 0), entry("liver", 1), entry("tumour", 2)],
        {"tumour": {"id": 2, "color": "#00ff00"}, "liver": {"id": 1, "color": "#ff0000"}},
        {"labels": {"background": {"id": 0}, "liver": {"value": 1}, "tumour": {"classid": 2}}},
        {"1": {"name": "liver"}, "2": {"name": "tumour", "color": [0, 255, 0]}},
    ],
)
def test_labels_json_in_each_form(content: object, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    coding = read_labels_json(path, colored=False)
    assert coding.label_map.names == ("background", "liver", "tumour")
    assert coding.codes == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, r'"whole" is a list, \[1, 2\]: regions that overlap'),
        ({"background": 0, "liver": 1.5}, r"expected a list of classes"),
        ({"background": 0, "liver": 1, "tumour": 1}, r"each once, not \[0, 1, 1\]"),
        ({"background": 0, "liver": True}, r"expected a list of classes"),
        ({"liver": {"color": "#ff0000"}}, r"expected a list of classes"),
        ({"liver": {"id": 1}, "tumour": 2}, r"expected a list of classes"),
    ],
)
def test_labels_json_of_other_forms(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match=message):
        read_labels_json(path, colored=False)


@pytest.mark.parametrize(
    "masks", [[named({1: "liver", 2: "Ignore"})], [named({1: "liver"}), named({1: "void", 2: "liver"})]]
)
def test_a_segment_that_nobody_judged(masks: list[MaskValues]) -> None:
    coding = find_coding(masks)
    assert coding is not None
    assert coding.label_map.names == ("background", "liver")
    values = np.array([[sorted(masks[-1].names)]])
    ids = decode(translate(masks[-1], coding).apply(values), coding, {})[0].ravel().tolist()
    assert ids == [1 if name == "liver" else 255 for _, name in sorted(masks[-1].names.items())]


@pytest.mark.parametrize(
    "content",
    [
        {"polyp": 0, "tool": 1, "background": 2},
        {"0": "polyp", "1": "tool", "2": "Background"},
        {"tool": 1, "BACKGROUND": 2},
        [{"name": "polyp", "classid": 0}, {"name": "background", "classid": 2}],
        ["polyp", "tool", "background"],
    ],
)
def test_the_background_is_0(content: object, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CaseUNetError, match="has the value 2"):
        read_labels_json(path, colored=False)


def in_each_form(zero: str) -> list[Any]:
    """labels.json with a name for 0."""
    entries = [entry(zero, 0), entry("tool", 1)]
    return [{zero: 0, "tool": 1}, {"0": zero, "1": "tool"}, [zero, "tool"], entries, {"classes": entries}]


@pytest.mark.parametrize(
    "name",
    ["polyp", "forest", "nonenhancing core", "abnormal mucosa", "unhealthy", "nuclear", "soft tissue", "back muscle"],
)
@pytest.mark.parametrize("form", range(5))
def test_a_class_at_0_is_asked_about(form: int, name: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(in_each_form(name)[form]))
    with pytest.raises(CaseUNetError, match=f'0 is the background here and is called "{name}"'):
        read_labels_json(tmp_path / "labels.json", colored=False)


@pytest.mark.parametrize(
    "name",
    ["Background", "background-tissue", "_background_", "BG", "unlabelled", "Others", "none", "no-finding"],
)
@pytest.mark.parametrize("form", range(5))
def test_names_of_what_is_around(form: int, name: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(in_each_form(name)[form]))
    coding = read_labels_json(tmp_path / "labels.json", colored=False)
    assert (coding.codes, coding.label_map.names) == ({0: 0, 1: 1}, (name, "tool"))


@pytest.mark.parametrize(
    "text",
    [
        '{"background": 0, "polyp": 1, "polyp": 2}',
        '{"0": "background", "1": "polyp", "1": "adenoma"}',
        '[{"name": "none", "classid": 0}, {"name": "polyp", "classid": 1, "classid": 2}]',
    ],
)
def test_a_key_that_stands_twice(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(CaseUNetError, match=r'"(polyp|1|classid)" stands twice'):
        read_labels_json(tmp_path / "labels.json", colored=False)


@pytest.mark.parametrize(
    "content",
    [
        {"background": 0, "lesions": 1, "ruler": 2},
        {"background": 0, "lesions": "1", "ruler": "2"},
        {"labels": {"background": 0, "lesions": 1, "ruler": 2}, "lesions": ["lesions"]},
    ],
)
def test_a_class_may_be_called_lesions(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    assert read_labels_json(path, colored=False).label_map.names == ("background", "lesions", "ruler")
    assert read_lesions(path) == (("lesions",) if "labels" in content else None)


@pytest.mark.parametrize("color", ["#ff0000", "FF0000", "#ff0000ff", [255, 0, 0], [255.0, 0.0, 0.0]])
def test_colours_in_each_form(color: object, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps([entry("none", 0, "#000000"), entry("polyp", 1, color)]))
    assert read_labels_json(tmp_path / "labels.json").codes == {BLACK: 0, RED: 1}


@pytest.mark.parametrize("color", [[1.0, 0, 0], [0.5, 0.25, 0.0], "red", "#f00"])
def test_colours_of_other_forms(color: object, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps([entry("bg", 0, [0, 0, 0]), entry("polyp", 1, color)]))
    with pytest.raises(CaseUNetError, match=r'the color of "polyp" is .*; expected three whole numbers from 0 to 255'):
        read_labels_json(tmp_path / "labels.json")
