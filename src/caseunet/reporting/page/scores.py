"""The scores: the chief numbers in cards or blocks, and all numbers in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from caseunet.evaluation.summary import EvaluationSummary, Measure, Number
from caseunet.reporting.page.numbers import digits_of


def decimals_of(summary: EvaluationSummary) -> dict[tuple[str, str | None], int]:
    """Of each (metric, structure): alike for all models, so that they can be compared at a glance."""
    values: dict[tuple[str, str | None], list[float | None]] = {}
    units = {}
    for number in summary.numbers:
        key = number.metric, number.structure
        values.setdefault(key, []).extend([number.value, *(number.interval or ()), number.median])
        units[key] = number.measure.unit
    return {key: digits_of(found, units[key]) for key, found in values.items()}


@dataclass(frozen=True)
class Card:
    """What a reader looks for first, of one structure or over all: the chief numbers, of each one entry per model."""

    structure: str | None
    rows: tuple[tuple[Number, ...], ...]


def chief_cards(summary: EvaluationSummary) -> list[Card]:
    """A card for each structure, with the chief numbers that have a value; none where there is no such number.

    Over all structures there is one card too, or where a protocol counts in ways of its own one for each.
    """
    cards = []
    for structure in (None, *summary.structures):
        rows = []
        for metric in summary.chief:
            found = {n.model: n for n in summary.numbers if (n.metric, n.structure) == (metric, structure)}
            if any(number.value is not None for number in found.values()):
                rows.append(tuple(found[model.name] for model in summary.models if model.name in found))
        if structure is None and rows and rows[0][0].metric not in summary.columns:
            cards += [Card(None, (row,)) for row in rows]
        elif rows:
            cards.append(Card(structure, tuple(rows)))
    return cards


MAX_CARDS = 9
"""More are rows of a table."""


def chief_metrics(cards: Sequence[Card]) -> dict[str, Measure]:
    """The columns of a table of cards."""
    return {number.metric: number.measure for card in cards for row in card.rows for number in row[:1]}


def card_numbers(card: Card) -> dict[str, Number]:
    """{metric: number} of the first model."""
    return {row[0].metric: row[0] for row in card.rows}


@dataclass(frozen=True)
class Block:
    """Rows of a table of the chief numbers: of one structure or over all, or one of each structure (``each``)."""

    structure: str | None
    each: bool
    rows: tuple[tuple[Number, ...], ...]


def chief_blocks(cards: Sequence[Card]) -> list[Block]:
    """The cards' numbers; cards over all structures share a block, and so do structures with one number each."""
    blocks: list[Block] = []
    alone = len(cards) > 1 and all(len(card.rows) == 1 for card in cards if card.structure is not None)
    for card in cards:
        block = Block(card.structure, alone and card.structure is not None, card.rows)
        if blocks and ((block.each and blocks[-1].each) or block.structure is None):
            block = Block(block.structure, block.each, (*blocks.pop().rows, *block.rows))
        blocks.append(block)
    return blocks


@dataclass(frozen=True)
class ScoreGroup:
    """Numbers of one model that stand together: of one structure, or one of each structure (``each``)."""

    model: str
    structure: str | None
    each: bool
    numbers: tuple[Number, ...]


def groups_of(summary: EvaluationSummary) -> list[ScoreGroup]:
    """The numbers in their order; structures with a single number each share a group."""
    groups: list[ScoreGroup] = []
    for (model, structure), numbers in groupby(summary.numbers, lambda number: (number.model, number.structure)):
        group = ScoreGroup(model, structure, False, tuple(numbers))
        if structure is not None and len(group.numbers) == 1 and len(summary.structures) > 1:
            before = groups[-1] if groups and groups[-1].each and groups[-1].model == model else None
            earlier = groups.pop().numbers if before else ()
            group = ScoreGroup(model, None, True, (*earlier, *group.numbers))
        groups.append(group)
    return groups
