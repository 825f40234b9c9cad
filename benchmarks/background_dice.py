"""Dice of the background in a study, for masks whose one label is what fills the image: membranes between cells.

    python benchmarks/background_dice.py STUDY

The mean over slices of each run, then over runs, from the runs' own ``report/cases.csv``.
"""

import sys
from pathlib import Path

import pandas as pd


def main(study: Path) -> None:
    for model in sorted((study / "runs").iterdir()):
        means = [dice(pd.read_csv(table)) for table in model.glob("*/report/cases.csv")]
        print(f"{model.name:24} {sum(means) / len(means):.3f}")


def dice(cases: pd.DataFrame) -> float:
    rows = cases[cases["structure"] == "background"]
    return float((2 * rows["both_pixels"] / (rows["reference_pixels"] + rows["prediction_pixels"])).mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
