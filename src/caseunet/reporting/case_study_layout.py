"""Where the things of a case study lie, in inches: columns, the bands of its rows, and the lines of its legend."""

from collections.abc import Sequence
from dataclasses import dataclass

from caseunet.reporting.case_study_row import Region, StudyRow, find_region
from caseunet.reporting.case_study_text import fit_text, text_height, width_of
from caseunet.types import Label

# Inches, as a page of a journal has them.
WIDTH, PAGE = 7.2, 9.2
EDGE, LEFT, COLUMN_GAP, ROW_GAP, TEXT_GAP = 0.04, 0.22, 0.07, 0.12, 0.04
NARROWEST, LONGEST_HEADING, LONGEST_CLASS = 0.9, 0.8, 2.4
SWATCH, SWATCH_GAP, CLASS_GAP, LEGEND_LINE = (0.15, 0.085), 0.05, 0.2, 0.17

FULL_COLUMNS = 5
"""Columns that share WIDTH; with more the figure grows wider, so that pictures and text keep their size."""
TALLEST = 2.2
"""The most height of a picture, in widths of a column."""
TITLE_LINES, CAPTION_LINES, SCORE_LINES = 3, 2, 30

# Points.
TITLE, TEXT = 8.0, 7.0


@dataclass(frozen=True)
class Band:
    """Where a row's things lie, in inches from its top.

    Attributes:
        region: of the image, that is shown.
        picture: width and height of each picture.
        slot: height in whose middle the pictures lie.
        texts: below the pictures, one per column, wrapped.
        heading: at the left, shortened.
        heading_middle: where its middle is.
        height: of pictures and texts.
    """

    region: Region
    picture: tuple[float, float]
    slot: float
    texts: tuple[str, ...]
    heading: str
    heading_middle: float
    height: float


@dataclass(frozen=True)
class Columns:
    """Titles, wrapped; rows; and inches from one column to the next."""

    titles: tuple[str, ...]
    bands: tuple[Band, ...]
    pitch: float


def columns_of(rows: Sequence[StudyRow], models: Sequence[str], classes: Sequence[Label]) -> Columns:
    """Lay out the columns: as wide as there is room, or where pictures are narrower as they and their texts need."""
    regions = [find_region(row, classes) for row in rows]
    room = _room(min(2 + len(models), FULL_COLUMNS))
    widest = room
    for _ in range(2):  # texts first get the room of a full column, then that of the pictures
        titles = tuple(fit_text(title, widest, TITLE, TITLE_LINES) for title in ("image", "reference", *models))
        texts = [_row_texts(row, region, widest) for row, region in zip(rows, regions, strict=True)]
        below = sum(TEXT_GAP + text_height(each, TEXT) + ROW_GAP for each in texts)
        share = (PAGE - text_height(titles, TITLE) - below - 2 * LEGEND_LINE) / len(rows)
        most = room, min(TALLEST * room, max(_room(FULL_COLUMNS), share))
        bands = tuple(_band(*parts, most) for parts in zip(rows, regions, texts, strict=True))
        pictures = max(band.picture[0] for band in bands)
        widest = max(pictures, _room(FULL_COLUMNS))
    in_columns = [(titles, TITLE), *((band.texts, TEXT) for band in bands)]
    longest = max(width_of(line, size) for texts, size in in_columns for text in texts for line in text.split("\n"))
    return Columns(titles, bands, max(pictures, longest, NARROWEST) + COLUMN_GAP)


def _room(columns: int) -> float:
    """Inches that a picture may be wide where some columns share WIDTH."""
    return (WIDTH - 2 * EDGE - LEFT + COLUMN_GAP) / columns - COLUMN_GAP


def _band(row: StudyRow, region: Region, texts: tuple[str, ...], most: tuple[float, float]) -> Band:
    """Lay out a row with pictures no wider and no higher than ``most`` inches."""
    height, width = (part.stop - part.start for part in region)
    scale = min(most[0] / width, most[1] / (height * row.aspect))
    below = TEXT_GAP + text_height(texts, TEXT)
    heading = " ".join(row.heading.split())
    length = width_of(heading, TITLE)
    slot = max(height * row.aspect * scale, min(length, LONGEST_HEADING) - below)
    room = slot if length <= slot else slot + below
    return Band(
        region=region,
        picture=(width * scale, height * row.aspect * scale),
        slot=slot,
        texts=texts,
        heading=fit_text(heading, room, TITLE, 1),
        heading_middle=room / 2,
        height=slot + below,
    )


def _row_texts(row: StudyRow, region: Region, across: float) -> tuple[str, ...]:
    """What stands below each picture of a row: its caption, nothing below the reference, the scores."""
    caption = fit_text(row.caption, across, TEXT, CAPTION_LINES)
    height, width = (part.stop - part.start for part in region)
    if (height, width) != row.reference.shape:
        caption += f"\ndetail, {width} × {height} px"
    return caption.lstrip("\n"), "", *(fit_text(score, across, TEXT, SCORE_LINES) for score in row.scores)


@dataclass(frozen=True)
class Entry:
    """A class in the legend: its name as it is written, and inches of both name and sample."""

    label: Label
    name: str
    width: float


def legend_lines(labels: Sequence[Label], width: float) -> list[list[Entry]]:
    """Classes in lines no wider than ``width`` inches."""
    lines: list[list[Entry]] = []
    used = width
    for label in labels:
        name = fit_text(label.name, LONGEST_CLASS, TITLE, 1)
        entry = Entry(label, name, SWATCH[0] + SWATCH_GAP + width_of(name, TITLE))
        if used + CLASS_GAP + entry.width > width:
            lines.append([])
            used = -CLASS_GAP
        lines[-1].append(entry)
        used += CLASS_GAP + entry.width
    return lines
