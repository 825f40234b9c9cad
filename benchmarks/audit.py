"""How long the audit takes: cases per second with none, one and two worker processes.

    python benchmarks/audit.py benchmarks/audit.json [RAW ...]

Made-up CT volumes of 512×512×100 are written and audited, then each RAW. Predicted before the first run: two processes
are 1.8 times as fast as one, and such a volume takes under half a second.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import psutil

from caseunet.config import PrepareConfig
from caseunet.datasets.examination import examine
from caseunet.datasets.generate import write_lits
from caseunet.progress import Display

WORKERS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("raw", type=Path, nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_lits(Path(folder) / "made-up", patients=6, shape=(100, 512, 512))
        for raw in (Path(folder) / "made-up", *given.raw):
            rows += measure(raw, given.repeats)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }
    given.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def measure(raw: Path, repeats: int) -> list[dict[str, object]]:
    """The best of ``repeats`` for each number of workers; the file cache is warm after the first."""
    rows: list[dict[str, object]] = []
    examine(raw, PrepareConfig(workers=2), Display())  # starts the processes and warms the cache
    for workers in WORKERS:
        seconds = []
        for _ in range(repeats):
            began = time.monotonic()
            found = examine(raw, PrepareConfig(workers=workers), Display())
            seconds.append(time.monotonic() - began)
        cases = len(found.dataset.cases)
        shape = next(case.image.shape for case in found.facts if case.image is not None)
        rows.append(
            {
                "raw": raw.name,
                "cases": cases,
                "first_case": shape,
                "workers": workers,
                "seconds": round(min(seconds), 2),
                "cases_per_second": round(cases / min(seconds), 2),
            }
        )
        print(
            "{raw:20} {cases:5} cases  {workers} workers  {seconds:7.2f} s  {cases_per_second:8.2f} cases/s".format(
                **rows[-1]
            )
        )
    return rows


if __name__ == "__main__":
    main()
