"""The figure of cases and models: what is on it, where, and that it is written the same each time."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from caseunet.errors import CaseUNetError
from caseunet.reporting.case_study import draw_case_study, save_figure
from caseunet.reporting.case_study_row import StudyRow, find_region
from caseunet.reporting.case_study_text import fit_text
from caseunet.types import Label

LABELS = [
    Label(id=0, name="background", color=(0, 0, 0)),
    Label(id=1, name="liver", color=(255, 0, 0)),
    Label(id=2, name="tumour", color=(0, 0, 255)),
    Label(id=3, name="spleen", color=(0, 255, 0)),
]


def box(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], value: int = 1) -> np.ndarray:
    """Class ids: a box [start, stop) of one class on background."""
    ids = np.zeros(shape, np.uint8)
    ids[slice(*rows), slice(*columns)] = value
    return ids


def study_row(reference: np.ndarray, *predictions: np.ndarray, aspect: float = 1.0) -> StudyRow:
    scores = tuple(f"liver 0.{n}51" for n in range(len(predictions)))
    image = np.linspace(0, 1, reference.size).reshape(reference.shape)
    return StudyRow("median", "case 7, slice 12", image, reference, predictions, scores, aspect)


def large(shape: tuple[int, int], models: int, aspect: float = 1.0) -> StudyRow:
    """A row whose structure fills most of the image, so that all of it is shown."""
    H, W = shape
    mask = box(shape, (H // 8, H - H // 8), (W // 8, W - W // 8))
    return study_row(mask, *[mask] * models, aspect=aspect)


def words(figure: Figure) -> str:
    """All texts, in the order in which they were written."""
    return "\n".join(text.get_text() for text in figure.texts)


def extents(figure: Figure) -> np.ndarray:
    """Left, lower, right and upper edge (n, 4) of texts, pictures and samples of classes, in pixels at 200 dpi."""
    figure.set_dpi(200)
    renderer = FigureCanvasAgg(figure).get_renderer()
    patches = [patch for patch in figure.get_children() if isinstance(patch, Rectangle) and patch is not figure.patch]
    return np.array([thing.get_window_extent(renderer).extents for thing in (*figure.texts, *figure.axes, *patches)])


@pytest.mark.parametrize(("models", "rows"), [(1, 1), (1, 3), (3, 2), (6, 2)])
def test_each_row_has_a_picture_of_the_image_the_reference_and_each_model(models: int, rows: int) -> None:
    figure = draw_case_study([large((40, 50), models)] * rows, [f"net {n}" for n in range(models)], LABELS)
    assert len(figure.axes) == rows * (2 + models)
    assert [len(axes.images) for axes in figure.axes] == [1] * len(figure.axes)
    masked = [len(axes.collections) for axes in figure.axes]  # a fill and an outline, but not on the image alone
    assert masked == ([0] + [2] * (1 + models)) * rows


def test_up_to_five_columns_share_the_width_of_a_page_and_more_keep_their_size() -> None:
    widths, pictures = {}, {}
    for models in (1, 2, 3, 4, 6):
        figure = draw_case_study([large((40, 40), models)], ["net"] * models, LABELS)
        widths[models] = figure.get_figwidth()
        pictures[models] = figure.axes[0].get_position().width * widths[models]
    assert [widths[models] for models in (1, 2, 3)] == [7.2, 7.2, 7.2]
    assert pictures[1] > pictures[2] > pictures[3] > 1.2
    assert pictures[3] == pytest.approx(pictures[4]) == pytest.approx(pictures[6])
    # Each further column takes its picture and a gap of 0.07 inches.
    assert widths[6] - widths[4] == pytest.approx(2 * (pictures[4] + 0.07))


def test_titles_headings_names_and_scores_are_written() -> None:
    row = replace(large((40, 40), 2), scores=("liver 0.951\ntumour 0.602", "liver 0.9"), heading="worst")
    written = words(draw_case_study([row], ["CASe-UNet", "U-Net"], LABELS)).split("\n")
    titles = ["image", "reference", "CASe-UNet", "U-Net"]
    assert written == [*titles, "worst", "case 7, slice 12", "liver 0.951", "tumour 0.602", "liver 0.9", "liver"]


def test_scores_that_are_too_wide_are_broken_between_structures_and_keep_every_number() -> None:
    score = "liver 0.951 · tumour 0.602 · spleen 0.880 · pancreas 0.790"
    text = words(draw_case_study([replace(large((40, 40), 3), scores=(score,) * 3)], ["a", "b", "c"], LABELS))
    assert text.count("liver 0.951 · tumour 0.602\nspleen 0.880\npancreas 0.790\n") == 3


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    row = replace(large((40, 40), 1), caption="a$b_c$d")
    figure = draw_case_study([row], [r"$\undefined"], LABELS)
    save_figure(figure, tmp_path / "figure.png")
    assert "a$b_c$d" in words(figure)


@pytest.mark.parametrize("fill", [True, False])
def test_a_mask_is_filled_and_outlined_in_its_own_color(fill: bool) -> None:
    mask = box((40, 40), (5, 35), (5, 35), 2)
    reference = draw_case_study([study_row(mask, mask)], ["net"], LABELS, fill=fill).axes[1]
    outline = reference.collections[-1]
    assert outline.get_edgecolor().tolist() == [[0, 0, 1, 1]]
    assert len(reference.collections) == 1 + fill
    if fill:
        (color,) = reference.collections[0].get_facecolor().tolist()
        assert color[:3] == [0, 0, 1]
        assert 0.2 < color[3] < 0.5
    for collection in reference.collections:  # half a pixel beyond the outer ones' middles
        corners = np.concatenate([path.vertices for path in collection.get_paths()])
        assert corners.min(axis=0).tolist() == [4.5, 4.5]
        assert corners.max(axis=0).tolist() == [34.5, 34.5]


def test_the_legend_names_the_classes_that_are_seen_in_any_mask_and_no_others() -> None:
    reference = box((40, 40), (5, 35), (5, 35), 1)
    prediction = box((40, 40), (5, 35), (5, 35), 3)
    figure = draw_case_study([study_row(reference, prediction)], ["net"], LABELS)
    assert words(figure).split("\n")[-2:] == ["liver", "spleen"]
    assert "tumour" not in words(figure)
    assert "background" not in words(figure)


def test_without_any_structure_the_image_is_shown_without_a_legend() -> None:
    nothing = np.zeros((30, 40), np.uint8)
    figure = draw_case_study([study_row(nothing, nothing)], ["net"], LABELS)
    assert words(figure).split("\n")[-1] == "liver 0.051"  # the score; nothing below
    assert figure.axes[2].get_xlim() == (-0.5, 39.5)


def test_a_class_that_is_not_among_the_labels_is_neither_drawn_nor_zoomed_to() -> None:
    mask = box((100, 100), (40, 50), (40, 50), 9)
    figure = draw_case_study([study_row(mask, mask)], ["net"], LABELS)
    assert figure.axes[1].get_xlim() == (-0.5, 99.5)
    assert len(figure.axes[1].collections) == 0


@pytest.mark.parametrize(
    ("shape", "reference", "prediction", "aspect", "expected"),
    [
        # 10 × 10 of 100 × 100: margin 100 / 10 = 10, more than 10 / 4.
        ((100, 100), ((40, 50), (50, 60)), ((40, 50), (50, 60)), 1, ((30, 60), (40, 70))),
        # The box holds both masks: 20 × 20; margin 10.
        ((100, 100), ((30, 40), (50, 60)), ((40, 50), (60, 70)), 1, ((20, 60), (40, 80))),
        # 8 × 48: margin 12, more than 100 / 10; 32 × 72 grows to the image's shape.
        ((100, 100), ((46, 54), (26, 74)), ((46, 54), (26, 74)), 1, ((14, 86), (14, 86))),
        # In the corner the part is moved inwards, not cut off.
        ((100, 100), ((0, 10), (90, 100)), ((0, 10), (90, 100)), 1, ((0, 30), (70, 100))),
        # Slices twice as high as wide, 50 × 2 = 100: margin 10 widths, 5 heights.
        ((50, 100), ((20, 25), (50, 60)), ((20, 25), (50, 60)), 2, ((15, 30), (40, 70))),
        # Four times as wide as high: margin 10; 30 × 30 grows to 1 : 2.
        ((100, 400), ((40, 50), (200, 210)), ((40, 50), (200, 210)), 1, ((30, 60), (175, 235))),
        # A quarter of the image is not small.
        ((100, 100), ((20, 70), (20, 70)), ((20, 70), (20, 70)), 1, ((0, 100), (0, 100))),
        # 49 × 49 is; margin 12.25, 73.5 on either side, up to 74.
        ((100, 100), ((20, 69), (20, 69)), ((20, 69), (20, 69)), 1, ((8, 82), (8, 82))),
        # 20 × 60: margin 15, 50 × 90 grows to 90 × 90, most of the image.
        ((100, 100), ((40, 60), (20, 80)), ((40, 60), (20, 80)), 1, ((0, 100), (0, 100))),
    ],
)
def test_small_structures_are_shown_large(
    shape: tuple[int, int],
    reference: tuple[tuple[int, int], tuple[int, int]],
    prediction: tuple[tuple[int, int], tuple[int, int]],
    aspect: float,
    expected: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    row = study_row(box(shape, *reference), box(shape, *prediction, 2), aspect=aspect)
    assert find_region(row, LABELS[1:]) == tuple(slice(*part) for part in expected)
    figure = draw_case_study([row], ["net"], LABELS)
    (top, bottom), (left, right) = expected
    for axes in figure.axes:  # all pictures of the row, pixels having the right shape
        assert axes.get_xlim() == (left - 0.5, right - 0.5)
        assert axes.get_ylim() == (bottom - 0.5, top - 0.5)
        width, height = axes.get_position().size * figure.get_size_inches()
        assert height / width == pytest.approx((bottom - top) * aspect / (right - left))
    note = f"detail, {right - left} × {bottom - top} px"
    assert (note in words(figure)) == ((bottom - top, right - left) != shape)


@given(data=st.data(), H=st.integers(1, 60), W=st.integers(1, 60), aspect=st.sampled_from([0.3, 1.0, 4.0]))
@settings(max_examples=100, deadline=None)
def test_what_is_shown_lies_in_the_image_and_holds_all_structures(
    data: st.DataObject, H: int, W: int, aspect: float
) -> None:
    points = st.tuples(st.integers(0, H - 1), st.integers(0, W - 1))
    masks = [np.zeros((H, W), np.uint8) for _ in range(2)]
    marked = [data.draw(points) for _ in masks]
    for mask, point in zip(masks, marked, strict=True):
        mask[point] = 1
    rows, columns = find_region(study_row(*masks, aspect=aspect), LABELS[1:])
    assert 0 <= rows.start < rows.stop <= H
    assert 0 <= columns.start < columns.stop <= W
    for y, x in marked:
        assert rows.start <= y < rows.stop
        assert columns.start <= x < columns.stop


@pytest.mark.parametrize(("models", "rows"), [(1, 1), (6, 1), (3, 4), (1, 8), (6, 8)])
def test_nothing_overlaps_or_leaves_the_figure(models: int, rows: int) -> None:
    shapes = [(20, 90), (90, 20), (40, 40), (3, 90), (90, 3), (30, 50), (50, 30), (1, 1)]
    headings = ["worst", "median", "a heading that says far more than it should", ""]
    captions = ["case 1", "1.2.840.113619.2.55.3.2831868886.748.1465199563.84", "long words in a name " * 9, "W" * 80]
    scores = [
        "liver 0.951",
        "liver 0.951 · tumour 0.602 · spleen 0.3",
        "a\nb\nc",
        "spleen_and_more_of_the_like 0.1",
        "",
    ]
    names = ["U-Net", "deeplabv3plus_resnet50_imagenet_fold0", "W" * 99, "TransUNet (ViT-B/16) with all", "x", "yg"]
    many = [LABELS[0], *(Label(id=n, name=f"{'long ' * n * n}class {n}", color=(n, 9, 9)) for n in range(1, 12))]
    study = []
    for n in range(rows):
        row = replace(large(shapes[n], models, aspect=1.5), heading=headings[n % 4], caption=captions[n % 4])
        row = replace(row, scores=tuple(scores[(n + m) % 5] for m in range(models)))
        row.reference.flat[: len(many)] = np.arange(len(many))[: row.reference.size]
        study.append(row)
    figure = draw_case_study(study, names[:models], many)
    places = extents(figure)  # left, lower, right, upper
    assert places[:, :2].min() >= 0
    assert (places[:, 2:] <= figure.get_size_inches() * 200).all()
    shared = np.minimum(places[:, None, 2:], places[None, :, 2:]) - np.maximum(places[:, None, :2], places[None, :, :2])
    both = np.argwhere(np.triu((shared > 1).all(axis=2), 1))
    assert both.tolist() == []


def test_eight_rows_are_lower_than_eight_pages_of_one() -> None:
    heights = [draw_case_study([large((40, 40), 1)] * n, ["net"], LABELS).get_figheight() for n in (1, 3, 8)]
    assert heights[0] < heights[1] <= 9.2
    assert heights[2] < 8 * heights[0] * 0.8


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 2, "short"),
        ("", 2, ""),
        ("two words", 2, "two words"),
        ("given\nlines", 2, "given\nlines"),
    ],
)
def test_what_fits_stays(text: str, most: int, expected: str) -> None:
    assert fit_text(text, 1.0, 7, most) == expected


def test_a_long_name_is_broken_at_a_mark_and_then_loses_its_middle() -> None:
    assert fit_text("hippocampus_and_amygdala_001", 1.0, 7, 2) == "hippocampus_and_\namygdala_001"
    (line,) = fit_text("hippocampus_and_amygdala_001, slice 12", 1.0, 7, 1).split("\n")
    assert re.fullmatch(r"hippoc\w*….*slice 12", line)


@given(text=st.text("abcW ._-/0123", min_size=1, max_size=80), most=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_fitted_text_has_no_more_lines_than_allowed_and_keeps_its_ends(text: str, most: int) -> None:
    lines = fit_text(text, 1.0, 7, most).split("\n")
    assert len(lines) <= most
    kept, letters = ("".join("".join(part).split()) for part in (lines, text))
    head, ellipsis, tail = kept.partition("…")
    assert letters.startswith(head)
    assert letters.endswith(tail)
    if ellipsis:
        # Letters of DejaVu Sans are no wider than their size: an inch holds nine of seven points beside the ellipsis,
        # so each end has at least four, of which no two neighbours are spaces.
        assert min(len(head), len(tail)) >= 2
    else:
        assert kept == letters


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".PNG"])
def test_the_same_input_gives_the_same_bytes_in_each_kind(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"figure{ending}"
    contents = []
    for _ in range(2):
        figure = draw_case_study([large((40, 50), 2)], ["a", "b"], LABELS)
        for _ in range(2):
            save_figure(figure, path)
            contents.append(path.read_bytes())
    assert len(set(contents)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_kinds_are_what_they_say_and_hold_all_they_need(tmp_path: Path) -> None:
    figure = draw_case_study([large((40, 50), 1)], ["net"], LABELS)
    for ending in ("png", "svg", "pdf"):
        save_figure(figure, tmp_path / f"figure.{ending}")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == tuple(int(inches * 300) for inches in figure.get_size_inches())
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert svg.count("data:image/png;base64") == 3
    assert "<text" not in svg  # letters are paths
    assert str(tmp_path) not in svg
    assert not re.search(r'href="(?!#|data:)', svg)
    assert "<dc:date>" not in svg


def test_the_settings_of_matplotlib_stay_as_they_are_and_do_not_matter(tmp_path: Path) -> None:
    usual, other = tmp_path / "usual.svg", tmp_path / "other.svg"
    save_figure(draw_case_study([large((40, 50), 1)], ["net"], LABELS), usual)
    odd = {"font.family": "serif", "savefig.bbox": "tight", "figure.autolayout": True, "image.origin": "lower"}
    with matplotlib.rc_context(odd):
        before = dict(matplotlib.rcParams)
        save_figure(draw_case_study([large((40, 50), 1)], ["net"], LABELS), other)
        assert dict(matplotlib.rcParams) == before
    assert other.read_bytes() == usual.read_bytes()


@pytest.mark.parametrize("name", ["figure.jpg", "figure"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    figure = draw_case_study([large((40, 50), 1)], ["net"], LABELS)
    with pytest.raises(CaseUNetError, match=r"figure.*\.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_together_are_refused() -> None:
    row = large((40, 50), 2)
    for bad, message in [
        (replace(row, predictions=row.predictions[:1]), "1 predictions and 2 scores for 2 models"),
        (replace(row, scores=("liver 1", "liver 1", "liver 1")), "2 predictions and 3 scores for 2 models"),
        (replace(row, predictions=(row.reference, row.reference[:-1])), r"\(39, 50\)"),
        (replace(row, reference=row.reference[None]), r"must be \(H, W\)"),
        (replace(row, image=row.image.T), r"\(50, 40\) does not fit"),
        (replace(row, image=row.image[..., None]), r"\(40, 50, 1\) does not fit"),
        (replace(row, aspect=0.0), "aspect"),
        (replace(row, aspect=float("nan")), "aspect"),
    ]:
        with pytest.raises(ValueError, match=message):
            draw_case_study([row, bad], ["a", "b"], LABELS)
    with pytest.raises(ValueError, match="0 rows and 2 models"):
        draw_case_study([], ["a", "b"], LABELS)
    with pytest.raises(ValueError, match="1 rows and 0 models"):
        draw_case_study([replace(row, predictions=(), scores=())], [], LABELS)


def test_an_image_of_many_pixels_is_made_smaller_and_keeps_its_place() -> None:
    """Of 3200 × 64 pixels, white in the lower half, 1500 rows are kept."""
    mask = box((3200, 64), (1600, 3200), (0, 64))
    row = replace(study_row(mask, mask), image=np.repeat(mask[..., None].astype(float), 3, axis=2))
    figure = draw_case_study([row], ["net"], LABELS)
    shown = figure.axes[1].images[0]
    assert shown.get_array().shape == (1500, 64, 3)
    assert shown.get_extent() == [-0.5, 63.5, 3199.5, -0.5]
    assert shown.get_array()[:, 0, 0].tolist() == [0] * 750 + [255] * 750
    corners = np.concatenate([path.vertices for path in figure.axes[1].collections[-1].get_paths()])
    assert [corners[:, 1].min(), corners[:, 1].max()] == pytest.approx([1599.5, 3199.5])


def test_values_outside_of_the_range_and_missing_ones_are_drawn_as_black_and_white() -> None:
    row = large((4, 4), 1)
    row.image[0] = [np.nan, -3, 7, 0.5]
    shown = draw_case_study([row], ["net"], LABELS).axes[0].images[0].get_array()
    assert shown[0, :, 0].tolist() == [0, 0, 255, 128]
