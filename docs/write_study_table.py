"""Print a table of docs/research/: python docs/write_study_table.py benchmarks/studies/NAME.json"""

import sys
from pathlib import Path

from caseunet.files import read_model
from caseunet.reporting.study_tables import cost_of, order_structures, ranking, standings
from caseunet.studies.summary import ALL, StudySummary


def main(path: Path) -> None:
    summary = read_model(path, StudySummary, "a study")
    structures = [name for name in order_structures(summary) if name != ALL]
    columns = [f"{summary.measure.label} ± sd of seeds", "95 % interval", *(structures if len(structures) > 1 else [])]
    columns += ["", "parameters (10⁶)", "GMAC", "ms", "minutes", "steps"]
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * len(columns))
    standing = standings(summary)
    for name in ranking(summary):
        score, cost = summary.score(name), cost_of(summary, name)
        interval = "–" if score.interval is None else "–".join(shown(end) for end in score.interval)
        cells = [shown(score.mean) + ("" if score.sd is None else f" ± {shown(score.sd)}"), interval]
        cells += [shown(summary.score(name, structure).mean) for structure in structures if len(structures) > 1]
        cells.append(f"**{standing[name]}**" if standing[name] in ("best", "tie") else standing[name])
        cells += (
            ["–"] * 5
            if cost is None
            else [
                f"{cost.parameters / 1e6:.1f}",
                f"{cost.gmac:.2f}",
                f"{cost.milliseconds:.0f}",
                f"{cost.training_minutes:.1f}",
                f"{cost.steps:,.0f}",
            ]
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


def shown(value: float | None) -> str:
    """.812; three decimals tell apart all that the seeds do."""
    return "–" if value is None else f"{value:.3f}".lstrip("0") if value < 1 else f"{value:.3f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
