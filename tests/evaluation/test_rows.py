"""cases.csv read as it was written."""

import math
from pathlib import Path

import pandas as pd
import pytest

from caseunet.evaluation.rows import read_cases


def test_names_and_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    """Names that look like numbers or like nothing stay names; floats keep every digit; what is empty is NaN."""
    value = 0.1 + 0.2
    table = pd.DataFrame(
        {
            "model": ["NA", "1e3"],
            "case": ["007", "null"],
            "slice": [math.nan, 3.0],
            "group": ["None", "nan"],
            "structure": ["NaN", "tumour"],
            "status": ["scored", "missing"],
            "dice": [value, math.nan],
        }
    )
    table.to_csv(tmp_path / "cases.csv", index=False)
    found = read_cases(tmp_path / "cases.csv")
    for name in ("model", "case", "group", "structure", "status"):
        assert found[name].tolist() == table[name].tolist()
    assert found["dice"].iloc[0] == value
    assert math.isnan(found["dice"].iloc[1])
    assert math.isnan(found["slice"].iloc[0])
    with pytest.raises(OSError, match="No such file"):
        read_cases(tmp_path / "none.csv")
