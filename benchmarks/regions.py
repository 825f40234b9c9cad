"""Classes by softmax against regions by sigmoids, on a liver with tumours.

    python benchmarks/regions.py benchmarks/regions.json

LiTS volume 117, as the demo has it: blocks of its slices are held out, so that the scores compare two ways to train
and say nothing of other patients. The demo's network and budget, some seeds and folds; Dice as `caseunet evaluate`
counts it in the held-out slices.

Predicted before the first run: no difference beyond the seeds', since of two nested structures the softmax has all that
the sigmoids have.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from caseunet import prepare, train
from caseunet.commands.demo import demo_config, write_volume_117

STRUCTURES = ("liver", "tumour")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folds", type=int, default=3)
    given = parser.parse_args()
    dice: dict[str, list[list[float]]] = {"classes": [], "regions": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_volume_117(folder / "raw")
        prepare(folder / "raw", out=folder / "prepared", config=demo_config(1, 0, synthetic=False).prepare)
        for seed in range(given.seeds):
            for fold in range(given.folds):
                for targets, found in dice.items():
                    found.append(measure(folder, targets, fold=fold, seed=seed, steps=given.steps))
                    print(targets, f"seed {seed}, fold {fold}:", found[-1], flush=True)
    print("| learnt as | liver | tumour |\n|---|--:|--:|")
    for targets, found in dice.items():
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(np.mean(found, 0), np.std(found, 0), strict=True))
        print(f"| {targets} | {' | '.join(cells)} |")
    difference = np.subtract(dice["regions"], dice["classes"])
    told = zip(STRUCTURES, difference.mean(0), difference.std(0, ddof=1), strict=True)
    print("regions less classes: " + ", ".join(f"{name} {mean:+.3f} ± {sd:.3f}" for name, mean, sd in told))
    given.out.write_text(json.dumps({**vars(given), "out": given.out.name, "dice": dice}, indent=1) + "\n")


def measure(folder: Path, targets: str, *, fold: int, seed: int, steps: int) -> list[float]:
    """Dice of liver and tumour in the fold's held-out slices."""
    config = demo_config(steps, seed, synthetic=False)
    data = config.data.model_copy(update={"targets": targets, "fold": fold})
    training = config.training.model_copy(update={"num_validations": 1, "quality": False})
    config = config.model_copy(update={"data": data, "training": training})
    bundle = train(folder / "prepared", out=folder / f"{targets}-{seed}-{fold}", config=config)
    scores = bundle.info.validation.structures
    return [float(scores[name] or 0) for name in STRUCTURES]


if __name__ == "__main__":
    main()
