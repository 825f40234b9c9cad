"""The figure of cases and models: what is on it, where, and that it is written the same each time."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from caseunet.errors import CaseUNetError
from caseunet.reporting.case_study import StudyRow, draw_case_study, find_region
from caseunet.reporting.cases_to_show import slice_to_show
from caseunet.reporting.style import save_figure
from caseunet.types import IGNORE, Label

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


def words(figure: Figure) -> list[str]:
    """All texts: titles, headings, what stands below pictures, classes."""
    axes = figure.axes
    texts = [*(a.get_title() for a in axes), *(a.get_ylabel() for a in axes), *(a.get_xlabel() for a in axes)]
    return [
        text.strip() for text in [*texts, *(t.get_text() for legend in figure.legends for t in legend.texts)] if text
    ]


def extents(figure: Figure) -> np.ndarray:
    """Left, lower, right and upper edge (n, 4) of pictures, their texts and the legend, in pixels."""
    figure.draw_without_rendering()
    texts = [text for a in figure.axes for text in (a.title, a.xaxis.label, a.yaxis.label) if text.get_text()]
    return np.array([thing.get_window_extent().extents for thing in (*texts, *figure.axes, *figure.legends)])


@pytest.mark.parametrize(("models", "rows"), [(1, 1), (1, 3), (3, 2), (6, 2)])
def test_each_row_has_a_picture_of_the_image_the_reference_and_each_model(models: int, rows: int) -> None:
    figure = draw_case_study([large((40, 50), models)] * rows, [f"net {n}" for n in range(models)], LABELS)
    assert len(figure.axes) == rows * (2 + models)
    assert [len(axes.images) for axes in figure.axes] == [1] * len(figure.axes)
    masked = [len(axes.collections) for axes in figure.axes]  # a fill and an outline, but not on the image alone
    assert masked == ([0] + [2] * (1 + models)) * rows


def test_figure_writes_titles_headings_names_and_scores() -> None:
    row = replace(large((40, 40), 2), scores=("liver 0.951\ntumour 0.602", "liver 0.9"), heading="worst")
    titles = ["image", "reference", "CASe-UNet", "U-Net"]
    below = ["case 7, slice 12", "liver 0.951\ntumour 0.602", "liver 0.9"]
    assert words(draw_case_study([row], ["CASe-UNet", "U-Net"], LABELS)) == [*titles, "worst", *below, "liver"]


def test_figure_width_grows_from_six_columns() -> None:
    widths = [draw_case_study([large((40, 40), n)], ["net"] * n, LABELS).get_figwidth() for n in (1, 3, 4, 6)]
    assert widths == pytest.approx([7.2, 7.2, 7.2 * 6 / 5, 7.2 * 8 / 5])


@pytest.mark.parametrize(("models", "rows", "classes"), [(1, 1, 3), (6, 1, 60), (3, 4, 3)])
def test_nothing_overlaps_or_leaves_the_figure(models: int, rows: int, classes: int) -> None:
    shapes = [(20, 90), (90, 20), (40, 40), (30, 50)]
    captions = ["case 1", "1.2.840.113619.2.55.3.2831868886.748.1465199563.84", "long words in a name " * 4]
    scores = ["liver 0.951", "a\nb\nc", "spleen_and_more_of_the_like 0.1", ""]
    names = [
        "U-Net",
        "deeplabv3plus_resnet50_imagenet_fold0",
        "a name " * 40,
        "TransUNet (ViT-B/16) with all",
        "x",
        "yg",
    ]
    many = [Label(id=n, name=f"structure {n}", color=(n, 9, 9)) for n in range(classes + 1)]
    study = []
    for n in range(rows):
        row = replace(large(shapes[n % 4], models, aspect=1.5), caption=captions[n % 3])
        row = replace(row, scores=tuple(scores[(n + m) % 4] for m in range(models)))
        row.reference.flat[: len(many)] = np.arange(len(many))
        study.append(row)
    figure = draw_case_study(study, names[:models], many)
    places = extents(figure)  # left, lower, right, upper
    assert places[:, :2].min() >= 0
    assert (places[:, 2:] <= figure.get_size_inches() * figure.dpi).all()
    shared = np.minimum(places[:, None, 2:], places[None, :, 2:]) - np.maximum(places[:, None, :2], places[None, :, :2])
    assert np.argwhere(np.triu((shared > 1).all(axis=2), 1)).tolist() == []


def test_image_values_are_clipped_and_nan_is_black() -> None:
    row = large((4, 4), 1)
    row.image[0] = [np.nan, -3, 7, 0.5]
    shown = draw_case_study([row], ["net"], LABELS).axes[0].images[0].get_array()
    assert shown[0].tolist() == [0, 0, 1, 0.5]


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    row = replace(large((40, 40), 1), caption="a$b_c$d")
    figure = draw_case_study([row], [r"$\undefined"], LABELS)
    save_figure(figure, tmp_path / "figure.png")
    assert "a$b_c$d" in words(figure)


@pytest.mark.parametrize("fill", [True, False])
def test_mask_is_filled_and_outlined_in_own_color(fill: bool) -> None:
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
    assert [word.strip() for word in words(figure)[-2:]] == ["liver", "spleen"]
    assert "tumour" not in words(figure)
    assert "background" not in words(figure)


def test_what_nobody_judged_is_hatched() -> None:
    """In the reference and over the prediction, which nobody scores there, but not in the image."""
    reference = box((40, 40), (5, 35), (5, 35), 1)
    reference[:, :10] = IGNORE
    figure = draw_case_study([study_row(reference, box((40, 40), (5, 35), (0, 35), 1))], ["net"], LABELS)
    hatched = [[bool(getattr(c, "hatches", [None])[0]) for c in axes.collections] for axes in figure.axes]
    assert [any(found) for found in hatched] == [False, True, True]
    assert "not judged" in [word.strip() for word in words(figure)]


def test_pixels_nobody_judged_choose_no_slice() -> None:
    reference = np.zeros((3, 4, 4), np.uint8)
    reference[0], reference[2, 0, 0] = IGNORE, 1
    assert slice_to_show(reference, [np.zeros_like(reference)]) == 2


def test_without_any_structure_the_image_is_shown_without_a_legend() -> None:
    nothing = np.zeros((30, 40), np.uint8)
    figure = draw_case_study([study_row(nothing, nothing)], ["net"], LABELS)
    assert words(figure)[-1] == "liver 0.051"  # the score; nothing below
    assert figure.axes[2].get_xlim() == (-0.5, 39.5)


def test_a_class_that_is_not_among_the_labels_is_neither_drawn_nor_zoomed_to() -> None:
    mask = box((100, 100), (40, 50), (40, 50), 9)
    figure = draw_case_study([study_row(mask, mask)], ["net"], LABELS)
    assert figure.axes[1].get_xlim() == (-0.5, 99.5)
    assert len(figure.axes[1].collections) == 0


@pytest.mark.parametrize(
    ("shape", "reference", "prediction", "aspect", "expected"),
    [
        # 10 × 10 of 100 × 100: at least a third, 34 × 34 around it.
        ((100, 100), ((40, 50), (50, 60)), ((40, 50), (50, 60)), 1, ((28, 62), (38, 72))),
        # The box holds both masks: 20 × 20, twice that.
        ((100, 100), ((30, 40), (50, 60)), ((40, 50), (60, 70)), 1, ((20, 60), (40, 80))),
        # In the corner the part is moved inwards, not cut off.
        ((100, 100), ((0, 20), (80, 100)), ((0, 20), (80, 100)), 1, ((0, 40), (60, 100))),
        # Slices twice as high as wide: 5 × 20 is as wide as 10 × 20.
        ((50, 100), ((20, 25), (40, 60)), ((20, 25), (40, 60)), 2, ((12, 32), (30, 70))),
        # 40 × 40 needs 80 × 80, more than half.
        ((100, 100), ((20, 60), (20, 60)), ((20, 60), (20, 60)), 1, ((0, 100), (0, 100))),
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
    figure = draw_case_study([row], ["net"], LABELS)
    (top, bottom), (left, right) = expected
    for axes in figure.axes:  # all pictures of the row
        assert axes.get_xlim() == (left - 0.5, right - 0.5)
        assert axes.get_ylim() == (bottom - 0.5, top - 0.5)
    note = f"detail, {right - left} × {bottom - top} px"
    assert (note in "\n".join(words(figure))) == ((bottom - top, right - left) != shape)


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
    rows, columns = find_region(study_row(*masks, aspect=aspect), LABELS) or (slice(0, H), slice(0, W))
    assert 0 <= rows.start < rows.stop <= H
    assert 0 <= columns.start < columns.stop <= W
    for y, x in marked:
        assert rows.start <= y < rows.stop
        assert columns.start <= x < columns.stop


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".PNG"])
def test_same_input_gives_same_bytes_in_each_kind(tmp_path: Path, ending: str) -> None:
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
        assert image.size == pytest.approx(figure.get_size_inches() * 300, abs=1)
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
