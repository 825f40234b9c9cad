"""Tables whose rows are cases or lesions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of texts: (heading, its note or None, whether its cells are numbers), then the rows.

    ``total`` counts the rows that there are; only the first ones may be shown. ``marked`` are rows that stand out.
    """

    columns: tuple[tuple[str, int | None, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    marked: tuple[bool, ...] = ()
    absent: tuple[str, ...] = ()
