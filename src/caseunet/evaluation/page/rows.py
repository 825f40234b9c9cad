"""Rows of cases.csv and lesions.csv."""

import pandas as pd


def rows_of(table: pd.DataFrame, model: str, structure: str) -> pd.DataFrame:
    """Those of one model and structure."""
    return table[(table["model"] == model) & (table["structure"] == structure)]
