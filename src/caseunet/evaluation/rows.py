"""Rows of cases.csv: the names that mark them, and picking some."""

from pathlib import Path

import pandas as pd

BACKGROUND = "background"
"""Structure of the rows that hold what is no structure: pixel counts alone, in no average."""
SCORED, MISSING, UNUSABLE = "scored", "missing", "unusable"
"""Status of a case: whether it had a prediction, and whether that could be used."""


def read_cases(path: Path) -> pd.DataFrame:
    """A cases.csv as it was written: a case called "NA" or "007" stays one.

    Raises:
        OSError, ValueError: it is missing or no such table.
    """
    names = dict.fromkeys(("model", "case", "group", "structure", "status"), str)
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""], float_precision="round_trip")


def rows_of(table: pd.DataFrame, model: str, structure: str) -> pd.DataFrame:
    """Those of one model and structure."""
    return table[(table["model"] == model) & (table["structure"] == structure)]
