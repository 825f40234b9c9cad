"""A made-up slide of 20,000 × 20,000 pixels: memory, and seconds beside those of its tissue windows alone.

    python benchmarks/slides.py BUNDLE PHOTOGRAPHS benchmarks/tiles.json [--side 20000] [--max-ram 1500MB]

Photographs are laid on a quarter of even glass, and written as tiled JPEG in TIFF. `caseunet predict` segments it in a
process of its own, whose highest memory is read; then the network alone is timed on windows of that size, for which
there is nothing to read, blend or write.

Predicted before the first run: 1.3 GB, and 1.2 times the seconds of the windows alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

from caseunet.imaging.windows import is_blank, place_windows
from caseunet.io.slides import open_slide
from caseunet.prediction.predictor import SlicePredictor

TILE, GLASS = 512, 235


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--max-ram", default="1500MB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slide.tif"
        write_slide(path, given.side, sorted(given.photographs.iterdir())[:40])
        command = [sys.executable, "-m", "caseunet", "predict", str(given.bundle), str(path), "--out", f"{scratch}/out"]
        command += ["--max-ram", given.max_ram]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"caseunet predict ended with {status}.")
        seconds = usage.ru_utime + usage.ru_stime
        tissue, alone = time_windows(given.bundle, path)
        found = {
            "pixels": given.side**2,
            "image MB": round(path.stat().st_size / 1e6),
            "mask MB": round((Path(scratch) / "out" / "slide.tif").stat().st_size / 1e6, 1),
            "highest memory GB": round(usage.ru_maxrss * 1024 / 1e9, 2),
            "processor seconds": round(seconds, 1),
            "tissue windows": tissue,
            "seconds of these alone": round(alone, 1),
            "times these": round(seconds / alone, 2),
        }
    print("\n".join(f"| {name} | {value:,} |" for name, value in found.items()))
    earlier = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(earlier | {"slide": {"max_ram": given.max_ram} | found}, indent=1) + "\n")


def write_slide(path: Path, side: int, photographs: list[Path]) -> None:
    """Glass, and on the middle half of rows and columns photographs side by side; no more than a tile is held."""
    pictures = [np.asarray(Image.open(file).convert("RGB").resize((TILE, TILE))) for file in photographs]
    rng = np.random.default_rng(0)
    count = -(-side // TILE)

    def tiles() -> Iterator[np.ndarray]:
        for row in range(count):
            for column in range(count):
                if count // 4 <= row < 3 * count // 4 and count // 4 <= column < 3 * count // 4:
                    yield pictures[rng.integers(len(pictures))]
                else:
                    yield rng.integers(GLASS - 3, GLASS + 4, (TILE, TILE, 3)).astype(np.uint8)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        compression="jpeg",
        photometric="rgb",
        resolution=(40_000, 40_000),
        resolutionunit="CENTIMETER",
    )


def time_windows(bundle: Path, path: Path, tried: int = 12) -> tuple[int, float]:
    """How many windows of a slide show something, and the seconds that the network takes for them."""
    predictor = SlicePredictor(bundle)
    p = predictor.info.preprocessing
    with open_slide(path) as slide:
        spans = place_windows(slide.shape[2:], p.window, p.min_size)
        assert spans is not None
        tissue = sum(not is_blank(slide.read(rows, columns)) for rows, _ in spans[0] for columns, _ in spans[1])
    height, width = (len(one[0][1]) for one in spans)
    window = torch.zeros(1, p.channels, height, width, dtype=torch.uint8)
    statistics = np.ones((2, p.channels), np.float32)
    times = []
    with torch.inference_mode():
        for _ in range(tried):
            began = time.process_time()
            predictor._logits(window, statistics, None)
            times.append(time.process_time() - began)
    return tissue, tissue * float(np.median(times))


if __name__ == "__main__":
    main()
