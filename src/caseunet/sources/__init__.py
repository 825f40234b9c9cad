"""The raw layouts, by name, and the search for the one that fits."""

from pathlib import Path

from caseunet.errors import UserError
from caseunet.registry import Registry
from caseunet.sources.endovis2018 import ENDOVIS2018
from caseunet.sources.layout import Layout, files_below
from caseunet.sources.lits import LITS

SOURCES: Registry[Layout] = Registry("raw layout")
SOURCES.add(LITS.name, LITS)
SOURCES.add(ENDOVIS2018.name, ENDOVIS2018)

__all__ = ["SOURCES", "Layout", "files_below", "find_layout"]


def find_layout(root: Path, name: str = "auto") -> Layout:
    """The layout called ``name``, or with "auto" the one that the folder has.

    Raises:
        UserError: no such folder or layout, or none fits.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder.")
    if name != "auto":
        return SOURCES.get(name)
    fitting = [candidate for candidate in SOURCES if SOURCES.get(candidate).matches(root)]
    if len(fitting) > 1:
        raise UserError(f"{root}: fits the layouts {' and '.join(fitting)}. Name the one that is meant with --format.")
    if fitting:
        return SOURCES.get(fitting[0])
    expected = "\n".join(f"  {candidate}: {SOURCES.get(candidate).looks_like}" for candidate in SOURCES)
    raise UserError(f"{root}: none of the known layouts was found. Expected one of:\n{expected}")
