"""Draw what the same masks score under each averaging: python docs/draw_averaging.py REPORT docs/images/averaging.png

REPORT is what ``caseunet evaluate … --protocol paper --out REPORT`` wrote.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from caseunet.commands.report import read_report

INK, FAINT, IOU, DICE = "#22303c", "#d5dbe1", "#c98a2b", "#2f6db0"


def main(report: Path, out: Path) -> None:
    numbers = [n for n in read_report(report).summary.numbers if n.structure is None and n.value is not None]
    numbers.sort(key=lambda number: number.value)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, number in enumerate(numbers):
        color = IOU if "iou" in number.metric else DICE
        if number.interval is not None:
            axes.plot(number.interval, (row, row), color=color, linewidth=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(number.value, row, "o", color=color, markersize=7)
        right = number.value if number.interval is None else number.interval[1]
        axes.annotate(f"{number.value:.3f}", (right, row), (7, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(numbers)), [number.measure.label for number in numbers], fontsize=9)
    axes.set(xlim=(0.55, 1.04))
    axes.set_title("The same masks: IoU (ochre) and Dice (blue) under each averaging", fontsize=10, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
