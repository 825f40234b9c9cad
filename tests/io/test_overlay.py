"""Overlays pixel by pixel, and what a sheet shows of a case."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw, ImageFont

from caseunet import CaseUNetError
from caseunet.io import images, overlay
from caseunet.io.overlay import GAP, LINE, MARGIN, PAPER, SOFT, case_sheet, overlaid, to_display
from caseunet.types import Color, Label, LabelMap, Plane

COLORS: list[Color] = [(0, 0, 0), (200, 100, 0), (0, 60, 250)]


def label_map(*names: str) -> LabelMap:
    pairs = zip(("background", *names), COLORS, strict=False)
    labels = tuple(Label(id=i, name=name, color=color) for i, (name, color) in enumerate(pairs))
    return LabelMap(labels=labels, structures={name: (i + 1,) for i, name in enumerate(names)})


ORGANS = label_map("liver", "tumour")


def test_fill_outline_and_background() -> None:
    image = np.full((7, 7, 3), 40, np.uint8)
    labels = np.zeros((7, 7), np.uint8)
    labels[1:6, 1:6] = 1
    drawn = overlaid(image, labels, COLORS)
    assert (drawn.shape, drawn.dtype) == ((7, 7, 3), np.uint8)
    expected = np.full((7, 7, 3), 40)
    expected[1:6, 1:6] = (200, 100, 0)
    expected[2:5, 2:5] = (96, 61, 26)  # (89 × color + 166 × 40) / 255: 95.8, 60.9, 26.04
    np.testing.assert_array_equal(drawn, expected)
    assert (image == 40).all()


def test_classes_that_touch_have_an_outline_each() -> None:
    labels = np.ones((5, 8), np.int64)
    labels[:, 4:] = 2
    drawn = overlaid(np.zeros((5, 8, 3), np.uint8), labels, COLORS)
    solid = np.ones((5, 8), bool)
    solid[1:4, 1:3] = solid[1:4, 5:7] = False  # closed at the image's edge
    for label in (1, 2):
        np.testing.assert_array_equal((drawn == COLORS[label]).all(axis=2), solid & (labels == label))
    np.testing.assert_array_equal(drawn[2, 1], (70, 35, 0))  # 89 / 255 of the colour: 69.8, 34.9
    np.testing.assert_array_equal(drawn[2, 5], (0, 21, 87))


@pytest.mark.parametrize(("columns", "width"), [(700, 1), (701, 2)])
def test_outlines_are_two_pixels_wide_in_large_images(columns: int, width: int) -> None:
    labels = np.zeros((9, columns), np.uint8)
    labels[1:8, 10:17] = 1
    solid = (overlaid(np.zeros((9, columns, 3), np.uint8), labels, COLORS) == COLORS[1]).all(axis=2)
    expected = labels > 0
    expected[1 + width : 8 - width, 10 + width : 17 - width] = False
    np.testing.assert_array_equal(solid, expected)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_background_stays_bit_for_bit(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    image = data.draw(hnp.arrays(np.uint8, (*shape, 3)))
    labels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    drawn = overlaid(image, labels, COLORS)
    np.testing.assert_array_equal(drawn[labels == 0], image[labels == 0])
    exact = (89 * np.array(COLORS)[labels] + 166 * image.astype(float)) / 255
    solid = np.array(COLORS)[labels]
    found = labels > 0
    filled, outlined = np.abs(drawn - exact).max(axis=2) <= 0.5, (drawn == solid).all(axis=2)
    assert (filled | outlined)[found].all()
    assert outlined[[0, -1]][found[[0, -1]]].all()


def test_an_overlay_that_does_not_fit_is_told() -> None:
    with pytest.raises(CaseUNetError, match=r"shape \(4, 5\) cannot be laid over an image of shape \(5, 4\)"):
        overlaid(np.zeros((5, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), COLORS)
    with pytest.raises(CaseUNetError, match="from 0 to 3; expected class ids from 0 to 2"):
        overlaid(np.zeros((1, 2, 3), np.uint8), np.array([[0, 3]]), COLORS)
    with pytest.raises(CaseUNetError, match="from -1 to 0"):
        overlaid(np.zeros((1, 2, 3), np.uint8), np.array([[0, -1]]), COLORS)
    with pytest.raises(CaseUNetError, match="float64 values"):
        overlaid(np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2)), COLORS)


def test_the_highest_id_has_its_colour() -> None:
    colors: list[Color] = [(i, 255 - i, 7) for i in range(255)]
    drawn = overlaid(np.zeros((1, 1, 3), np.uint8), np.array([[254]], np.uint8), colors)
    assert drawn.tolist() == [[[254, 1, 7]]]


def test_colours_are_shown_as_they_are() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    for window in (None, (0.0, 4.0)):
        np.testing.assert_array_equal(to_display(image, window), image.transpose(1, 2, 0))


def test_a_window() -> None:
    image = np.array([[[-1000, -200, -110, 250, 3000]]], np.int16)
    levels = to_display(image, (-200, 250))
    assert levels.tolist() == [[[0] * 3, [0] * 3, [51] * 3, [255] * 3, [255] * 3]]  # 90 of 450 HU: a fifth of 255
    deep = np.array([[[0]], [[13107]], [[65535]]], np.uint16)
    assert to_display(deep, (0, 65535)).tolist() == [[[0, 51, 255]]]
    far = np.array([[[2**30, 2**30 + 1, 2**30 + 5]]], np.int32)  # float32 would not tell them apart
    assert to_display(far, (2**30, 2**30 + 5))[0, :, 0].tolist() == [0, 51, 255]


def test_without_a_window_outliers_do_not_matter() -> None:
    image = np.arange(10_001, dtype=np.float32).reshape(1, 1, -1)  # its percentiles are 50 and 9950
    image[0, 0, -1] = 1e9
    levels = to_display(image, None)[0, :, 0]
    assert levels[[0, 50, 2030, 9950, 10_000]].tolist() == [0, 0, 51, 255, 255]
    sparse = np.zeros((1, 50, 50), np.uint8)
    sparse[0, 3, 3:5] = 10, 50  # too few for the percentiles, so that the full range is shown
    assert to_display(sparse, None)[3, 2:6, 0].tolist() == [0, 51, 255, 0]
    assert not to_display(np.full((1, 2, 2), 5.0), None).any()


def test_values_that_are_no_numbers_are_black() -> None:
    image = np.array([[[np.nan, 0, 100]]], np.float32)
    assert to_display(image, None)[0, :, 0].tolist()[::2] == [0, 255]
    assert not to_display(np.full((1, 2, 2), np.nan), None).any()


Sheet = tuple[list[str], list[np.ndarray], list[str]]


@pytest.fixture
def sheet(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sheet]:
    """Words and pictures of a sheet's tiles, and the names in its legend."""
    compose = overlay._compose

    def of(pixels: np.ndarray, labels: np.ndarray, **other: object) -> Sheet:
        seen: list[Sheet] = []

        def spy(tiles: list, caption: str, legend: list) -> np.ndarray:
            seen.append(([t.words for t in tiles], [t.picture for t in tiles], [name for name, _ in legend]))
            return compose(tiles, caption, legend)

        monkeypatch.setattr(overlay, "_compose", spy)
        arguments: dict = {"label_map": ORGANS, "window": (0, 255), "spacing": None, "caption": "case"} | other
        case_sheet(pixels, labels, **arguments)
        return seen[0]

    return of


def numbers(found: Sheet) -> list[int]:
    return [int(words.removeprefix("slice ")) for words in found[0]]


def volume(slices: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((slices, 1, 6, 6), np.int16), np.zeros((slices, 6, 6), np.uint8)


def test_slices_are_spread_over_those_with_something(sheet: Callable[..., Sheet]) -> None:
    pixels, labels = volume(40)
    labels[10:34, 2, 2] = 1  # 24 slices; steps of 23 / 11
    assert numbers(sheet(pixels, labels)) == [10, 12, 14, 16, 18, 20, 23, 25, 27, 29, 31, 33]
    labels[:] = 0
    labels[[3, 4, 30]] = 1
    assert numbers(sheet(pixels, labels)) == [3, 4, 30]


def test_without_anything_found_all_slices_are_shown(sheet: Callable[..., Sheet]) -> None:
    few = sheet(*volume(5))
    assert numbers(few) == [0, 1, 2, 3, 4]
    assert few[2] == ["nothing found"]
    assert numbers(sheet(*volume(23))) == [*range(0, 23, 2)]


def test_no_class_is_missed(sheet: Callable[..., Sheet]) -> None:
    pixels, labels = volume(40)
    labels[:, 0] = 1
    even = [0, 4, 7, 11, 14, 18, 21, 25, 28, 32, 35, 39]
    only = sheet(pixels, labels)
    assert (numbers(only), only[2]) == (even, ["liver"])
    labels[22, 3, 3:5] = labels[23, 3, 3] = 2
    both = sheet(pixels, labels)
    assert (numbers(both), both[2]) == ([22 if s == 21 else s for s in even], ["liver", "tumour"])
    assert any((picture == COLORS[2]).all(axis=2).any() for picture in both[1])


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((10, 10), (5.0, 1.0, 1.0), (240, 240)),
        ((10, 10), (5.0, 2.0, 1.0), (480, 240)),
        ((10, 20), (5.0, 3.0, 1.0), (360, 240)),  # 30 × 20 mm
        ((20, 10), (1.0, 1.0, 4.0), (120, 240)),
        ((10, 20), None, (120, 240)),
        ((100, 10), None, (480, 48)),  # a high strip
        ((1, 5000), None, (1, 240)),
    ],
)
def test_tiles_have_the_true_aspect(
    shape: tuple[int, int], spacing: tuple[float, float, float] | None, expected: tuple[int, int]
) -> None:
    """Measured in the sheet: nothing else in it is as white as the slices."""
    pixels = np.full((2, 1, *shape), 255, np.uint8)
    drawn = case_sheet(pixels, np.zeros((2, *shape), np.uint8), ORGANS, (0, 255), spacing, "white")
    white = (drawn == 255).all(axis=2)
    assert white.any(axis=1).sum() == expected[0]
    assert white.any(axis=0).sum() == 2 * expected[1]


def test_slices_are_neither_turned_nor_mirrored() -> None:
    """At 240 × 240 a tile is the slice, so that the right of the patient, where columns begin, is on the left."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 1, 240, 240), np.uint8)
    labels = np.zeros((2, 240, 240), np.uint8)
    labels[:, 20:60, 10:30] = 1
    drawn = case_sheet(pixels, labels, ORGANS, (0, 255), (1.0, 1.0, 1.0), "")
    top = MARGIN + LINE + GAP + LINE
    for s, left in ((0, MARGIN), (1, MARGIN + 240 + GAP)):
        expected = overlaid(to_display(pixels[s], (0, 255)), labels[s], ORGANS.colors)
        np.testing.assert_array_equal(drawn[top : top + 240, left : left + 240], expected)


@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize(("plane", "sides"), [("axial", "RL"), ("coronal", "RL"), ("sagittal", "AP")])
def test_letters_tell_the_sides(plane: Plane, sides: str, slices: int) -> None:
    pixels, labels = np.zeros((slices, 1, 400, 400), np.uint8), np.zeros((slices, 400, 400), np.uint8)
    drawn = case_sheet(pixels, labels, ORGANS, (0, 255), (1.0, 1.0, 1.0), "", plane)
    width, top = (240 if slices > 1 else 400), MARGIN + LINE + GAP
    row = Image.new("RGB", (drawn.shape[1], LINE), PAPER)
    for letter, x, anchor in zip(sides, (MARGIN, MARGIN + width), ("la", "ra"), strict=True):
        ImageDraw.Draw(row).text((x, 0), letter, SOFT, ImageFont.load_default(13), anchor=anchor)
    for columns in (slice(MARGIN, MARGIN + 16), slice(MARGIN + width - 16, MARGIN + width)):
        np.testing.assert_array_equal(drawn[top : top + LINE, columns], np.asarray(row)[:, columns])


def test_single_slice_stands_beside_prediction(sheet: Callable[..., Sheet]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 300, 400), np.uint8)
    labels = np.zeros((1, 300, 400), np.uint8)
    labels[0, 100:200, 50:80] = 2
    words, (plain, drawn), legend = sheet(image, labels, window=None)
    assert (words, legend) == (["image", "prediction"], ["tumour"])
    np.testing.assert_array_equal(plain, image[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(drawn, overlaid(plain, labels[0], ORGANS.colors))


def test_frames_are_shrunk_and_small_images_enlarged(sheet: Callable[..., Sheet]) -> None:
    for shape, size in (((1024, 1280), (480, 600)), ((30, 60), (180, 360))):
        pictures = sheet(np.zeros((1, 1, *shape), np.uint8), np.zeros((1, *shape), np.uint8))[1]
        assert [picture.shape for picture in pictures] == [(*size, 3)] * 2


def test_classes_are_enlarged_pixel_by_pixel(sheet: Callable[..., Sheet]) -> None:
    pixels, labels = volume(2)
    labels[:, 2:4, 1:3] = 2
    expected = np.zeros((240, 240), bool)
    expected[80:160, 40:120] = True
    for picture in sheet(pixels, labels)[1]:
        np.testing.assert_array_equal(picture.any(axis=2), expected)
        assert set(map(tuple, picture[expected].tolist())) == {COLORS[2], (0, 21, 87)}


def test_a_single_pixel_is_not_lost(sheet: Callable[..., Sheet]) -> None:
    """Of 16 pixels that become one, the rarer class is shown."""
    pixels, labels = np.zeros((2, 1, 960, 960), np.int16), np.ones((2, 960, 960), np.uint8)
    labels[1, 401, 802] = 2
    first, second = sheet(pixels, labels)[1]
    assert not (first == COLORS[2]).all(axis=2).any()
    assert np.argwhere((second == COLORS[2]).all(axis=2)).tolist() == [[100, 200]]


def test_slices_without_a_window_share_one(sheet: Callable[..., Sheet]) -> None:
    pixels, labels = volume(2)
    pixels[0], pixels[1] = 100, 300
    dark, bright = sheet(pixels, labels, window=None)[1]
    assert (dark.max(), bright.min()) == (0, 255)


def test_legend_has_the_colours_of_what_is_found() -> None:
    pixels, labels = volume(3)
    labels[1, 2, 2] = 2
    legend = case_sheet(pixels, labels, ORGANS, None, None, "")[-LINE - MARGIN :]
    assert (legend == COLORS[2]).all(axis=2).sum() == 100  # 12 × 12 with a frame
    assert not (legend == COLORS[1]).all(axis=2).any()


@pytest.mark.parametrize(
    "text", ["", "Lebertumör – Maß", "肝臓", "كبد", "🫁", "a\nb\x00c\udcff", "word " * 500, "W" * 5000]
)
def test_any_text_can_be_drawn(text: str) -> None:
    names = label_map(f"1{text}".encode("utf-8", "replace").decode(), "2")
    pixels, labels = volume(2)
    labels[:, :3], labels[:, 3:] = 1, 2
    drawn = case_sheet(pixels, labels, names, None, None, text)
    assert drawn.shape[1] == 2 * 240 + GAP + 2 * MARGIN
    assert (drawn[:, -MARGIN:] == overlay.PAPER).all()


def test_accents_are_dropped_that_the_font_lacks() -> None:
    pixels, labels = volume(2)
    with_accents, without = (case_sheet(pixels, labels, ORGANS, None, None, c) for c in ("Größe – 2×3", "Grosse - 2x3"))
    np.testing.assert_array_equal(with_accents, without)


def test_volumes_are_not_held_as_floats() -> None:
    pixels, labels = np.zeros((300, 1, 256, 256), np.int16), np.ones((300, 256, 256), np.uint8)
    tracemalloc.start()
    case_sheet(pixels, labels, ORGANS, None, (1.0, 1.0, 1.0), "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6  # as float32 the volume has 79 MB, twelve slices 3 MB


def test_a_sheet_that_does_not_fit_is_told() -> None:
    with pytest.raises(CaseUNetError, match=r"shape \(2, 6, 5\) cannot be laid over an image of shape \(2, 6, 6\)"):
        case_sheet(volume(2)[0], np.zeros((2, 6, 5), np.uint8), ORGANS, None, None, "")
    with pytest.raises(CaseUNetError, match="expected class ids from 0 to 2"):
        case_sheet(volume(2)[0], np.full((2, 6, 6), 3), ORGANS, None, None, "")


def test_a_real_liver_is_on_the_left(real_data: Callable[[str], Path], sheet: Callable[..., Sheet]) -> None:
    picture = images.read_image_file(real_data("chaos_ct_liver/images/volume_CT_SET_3.nii.gz"), rgb=False)
    mask = images.read_mask_file(real_data("chaos_ct_liver/labels/segmentation_CT_SET_3.nii.gz"), picture.geometry)
    labels = (mask.label_values > 0).astype(np.uint8)
    spacing = picture.geometry.spacing
    _, pictures, legend = sheet(picture.pixels, labels, window=(-200, 250), spacing=spacing)
    assert ([p.shape for p in pictures], legend) == ([(240, 240, 3)] * 12, ["liver"])
    columns = np.concatenate([np.nonzero((p == COLORS[1]).all(axis=2))[1] for p in pictures])
    assert np.mean(columns < 120) > 0.6
