"""How long a whole CT volume takes to score, by each protocol, on one core.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py benchmarks/evaluation.json

A volume of 200×512×512 pixels of 2.5×0.8×0.8 mm with an organ of the size of a liver and 20 lesions of 5 to 40 mm in
it, and a prediction that is moved by a pixel or two and has another outline (those of distances.py). What is measured
is :func:`score`, from arrays in memory to the rows of cases.csv: counts, overlap, exact distances of both structures,
lesions. Reading the two files is not in it. The aim is under 20 s for the protocol "volumes".

Predicted: 4 s for "volumes", of which half counts pixels and finds lesions; 6 s for the LiTS protocols, which match
lesions twice; 3 s for "slices" with 200 small distances; 1.5 s for the others, which count pixels alone. It came
out (evaluation.json) at a quarter of that: 0.9 s, 0.9 s, 0.4 s and 0.3 s.
"""

import argparse
import json
import platform
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from distances import SHAPE, SPACING, lesions, organ

from caseunet.datasets.lits import CODING
from caseunet.evaluation.evaluator import Pair, Predicted, Reference, score
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options
from caseunet.types import Geometry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    livers, tumours = organ(), lesions()
    reference, prediction = (
        np.where(tumour, 2, liver).astype(np.uint8) for liver, tumour in zip(livers, tumours, strict=True)
    )
    pair = Pair("model", "case", "patient", partial(_reference, reference), partial(_predicted, prediction))
    rows = {}
    for name in ("volumes", "slices", "lits-official", "lits-corrected", "endovis-2018", "paper"):
        began = time.process_time(), time.perf_counter()
        scored = score(pair, PROTOCOLS.get(name)(Options()), CODING.label_map, in_mm=True)
        seconds = time.process_time() - began[0], time.perf_counter() - began[1]
        rows[name] = {
            "processor_seconds": round(seconds[0], 2),
            "wall_seconds": round(seconds[1], 2),
            "peak_mib_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "rows": len(scored.rows),
        }
        print(f"{name:15} {seconds[0]:6.2f} s processor  {seconds[1]:6.2f} s wall  {len(scored.rows):5} rows")
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    result = {"machine": machine, "shape": SHAPE, "spacing": SPACING, "lesions": 20, "rows": rows}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


def _reference(ids: np.ndarray) -> Reference:
    geometry = Geometry(ids.shape, np.diag([-0.8, -0.8, 2.5, 1.0]), SPACING)
    return Reference(ids, geometry, geometry)


def _predicted(ids: np.ndarray, image: Geometry) -> Predicted:
    del image
    return Predicted(ids)


if __name__ == "__main__":
    main()
