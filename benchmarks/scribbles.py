"""What a network learns of scribbles: pixels that nobody judged left out, or taken for background, beside full masks.

    python benchmarks/scribbles.py ACDC benchmarks/scribbles.json

ACDC holds images/, labels/ (full masks) and scribbles/ (0 to 3 as in labels, 4 where nobody drew). The default recipe's
network at a third of its width is trained three times for the same steps on the same patients, and scored on full masks
of the fold's other patients, as `caseunet predict` and `caseunet evaluate` do.

Predicted before the first run: mean Dice of .75 with full masks, .65 with scribbles whose other pixels are left out,
and below .3 where these are taken for background.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from caseunet import evaluate, predict, prepare, train
from caseunet.config import load_config

NAMES = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}
KINDS = ("full masks", "scribbles, the rest left out", "scribbles, the rest background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("acdc", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--patients", type=int, default=20)
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in KINDS:
            folder = Path(scratch) / kind.replace(", ", "-").replace(" ", "-")
            results[kind] = measure(given.acdc, folder, kind, steps=given.steps, patients=given.patients)
            print(kind, results[kind], flush=True)
    structures = list(NAMES)[1:]
    print(f"| trained on | {' | '.join(structures)} | mean Dice | minutes |\n|---|{'--:|' * (len(structures) + 2)}")
    for kind, found in results.items():
        values = " | ".join(f"{found['dice'][name]:.3f}" for name in (*structures, "mean"))
        print(f"| {kind} | {values} | {found['minutes']:.1f} |")
    given.out.write_text(json.dumps({"steps": given.steps, "patients": given.patients, **results}, indent=1) + "\n")


def measure(acdc: Path, folder: Path, kind: str, *, steps: int, patients: int) -> dict[str, object]:
    """Dice of each structure, on full masks of held-out patients, and how long training took."""
    raw, full = folder / "raw", folder / "full"
    write_raw(acdc, raw, kind, patients)
    write_raw(acdc, full, KINDS[0], patients)
    config = load_config(
        overrides={
            "prepare.group": r"^patient\d+",
            "model.kwargs.widths": [8, 16, 32, 64, 128],
            "data.patch_size": [128, 128],
            "data.batch_size": 4,
            "training.steps": steps,
            "training.num_validations": 2,
            "training.quality": False,
        }
    )
    prepared = prepare(raw, out=folder / "prepared", config=config.prepare)
    began = time.monotonic()
    bundle = train(prepared.folder, out=folder / "run", config=config)
    minutes = (time.monotonic() - began) / 60
    held_out = [full / "images" / f"{case}.nii.gz" for case in prepared.fold(0).val]
    predict(bundle.folder, held_out, out=folder / "masks")
    cases = evaluate(folder / "masks", full, out=folder / "report").cases
    cases = cases[cases["case"].isin(prepared.fold(0).val)]
    dice = {name: float(cases[cases["structure"] == name]["dice"].mean()) for name in list(NAMES)[1:]}
    dice["mean"] = float(np.mean(list(dice.values())))
    return {"dice": dice, "cases": len(held_out), "minutes": minutes}


def write_raw(acdc: Path, raw: Path, kind: str, most: int) -> None:
    """A raw data set of so many patients with one kind of masks."""
    raw.mkdir(parents=True)
    source = (acdc / ("labels" if kind == KINDS[0] else "scribbles")).resolve()
    patients = sorted({path.name.partition("_")[0] for path in source.glob("*.nii.gz")})[:most]
    files = [path for path in source.glob("*.nii.gz") if path.name.partition("_")[0] in patients]
    (raw / "images").mkdir()
    (raw / "masks").mkdir()
    for path in files:
        (raw / "images" / path.name).symlink_to((acdc / "images" / path.name).resolve())
    names = dict(NAMES)
    if kind == KINDS[1]:
        names["ignore"] = 4
    (raw / "labels.json").write_text(json.dumps(names))
    for path in files:
        if kind != KINDS[2]:
            (raw / "masks" / path.name).symlink_to(path)
            continue
        mask = nibabel.load(path)
        ids = np.asarray(mask.dataobj).astype(np.uint8)
        ids[ids == 4] = 0
        nibabel.save(nibabel.Nifti1Image(ids, mask.affine), raw / "masks" / path.name)


if __name__ == "__main__":
    main()
