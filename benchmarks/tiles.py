"""Slices in windows of training's patches, beside the same slices whole: scores, seams and seconds.

    python benchmarks/tiles.py benchmarks/tiles.json NAME=PREPARED=RUN …

Each RUN was trained on PREPARED with patches smaller than its slices. Its validation cases are segmented whole and in
windows that overlap by a quarter and by a half, all in one process, turn by turn. Were there seams, more pixels would
be unlike near an edge of a window than elsewhere.

Predicted before the first run: windows of a quarter's overlap are as good as whole slices to .005 Dice, differ from
those in 1 % of the pixels, and take 1.8 times as long. A half is no better and takes 3 times as long. Near the edges
of windows no more than 1.1 times as many pixels are unlike as elsewhere.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caseunet.data.store import Prepared
from caseunet.data.tiles import Windows
from caseunet.imaging import windows
from caseunet.metrics.overlap import confusion_matrix, counts_of
from caseunet.prediction.predictor import SlicePredictor
from caseunet.validation.calibration import read_input, source_reference

NEAR = 8
"""Pixels from the edge of a window."""
WAYS = {"whole": None, "windows, a quarter overlaps": 0.25, "windows, a half overlaps": 0.5}


@dataclass
class Measured:
    """Of one way: Dice of each case and structure, the share of pixels unlike those of whole slices, of all, near the
    edges of windows and elsewhere, and seconds."""

    dice: list[float] = field(default_factory=list)
    unlike: list[float] = field(default_factory=list)
    unlike_near: list[float] = field(default_factory=list)
    unlike_far: list[float] = field(default_factory=list)
    seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=PREPARED=RUN")
    given = parser.parse_args()
    results = {}
    print("| data | way | Dice | pixels unlike whole | near edges | elsewhere | seconds a slice | times whole |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for one in given.sets:
        name, prepared, run = one.split("=")
        results[name] = found = measure(Prepared(prepared), SlicePredictor(Path(run) / "bundle"))
        for way, values in found.items():
            row = " | ".join(f"{value:.4f}" for value in values.values())
            print(f"| {name} | {way} | {row} | {values['seconds'] / found['whole']['seconds']:.2f} |", flush=True)
    earlier = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(earlier | results, indent=1) + "\n")


def measure(prepared: Prepared, predictor: SlicePredictor) -> dict[str, dict[str, float]]:
    """Means over the fold's validation cases."""
    found = {way: Measured() for way in WAYS}
    cases = prepared.fold(predictor.training_data[0].fold or 0, 0).val
    for case in cases:
        network_input, reference = read_input(prepared, case, prepared.image(case)), source_reference(prepared, case)
        masks: dict[str, np.ndarray] = {}
        for way, overlap in WAYS.items():
            windows.OVERLAP, windows.SPARE = (overlap or 0.25), (1.0 if overlap else 1e9)
            began = time.perf_counter()
            masks[way] = predictor.label(network_input)
            found[way].seconds += (time.perf_counter() - began) / len(masks[way])
            unlike = masks[way] != masks["whole"]
            found[way].unlike.append(float(np.mean(unlike)))
            if places := predictor.windows(network_input.placement.size):
                near = near_edges(places)
                found[way].unlike_near.append(float(np.mean(unlike[..., near])))
                found[way].unlike_far.append(float(np.mean(unlike[..., ~near])))
            confusion = confusion_matrix(reference, masks[way], len(prepared.info.label_map))
            found[way].dice += [counts_of(confusion, ids).dice for ids in prepared.info.label_map.structures.values()]
    return {
        way: {
            "dice": float(np.nanmean(one.dice)),
            "unlike": float(np.mean(one.unlike)),
            "unlike near edges": float(np.mean(one.unlike_near or 0)),
            "unlike elsewhere": float(np.mean(one.unlike_far or 0)),
            "seconds": one.seconds / len(cases),
        }
        for way, one in found.items()
    }


def near_edges(places: Windows) -> np.ndarray:
    """(H, W): whether a pixel of the network's input lies near the edge that a window has inside the slice."""
    near = np.zeros(places.size, bool)
    for axis, spans in enumerate((places.lines, places.columns)):
        edges = {edge for span, _ in spans for edge in (span.start, span.stop)} - {0, places.size[axis]}
        for edge in edges:
            near[(slice(None),) * axis + (slice(edge - NEAR, edge + NEAR),)] = True
    return near


if __name__ == "__main__":
    main()
