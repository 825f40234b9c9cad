"""Raw data whose labels are more than one class for each pixel."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_drive(root: Path, masks: Path | None = None) -> None:
    """DRIVE's folders: images/21_training.tif, 1st_manual/21_manual1.gif, mask/21_training_mask.gif; and predictions
    that are right inside the field of view and vessels everywhere outside."""
    rng = np.random.default_rng(0)
    for folder in ("images", "1st_manual", "mask"):
        (root / folder).mkdir(parents=True)
    if masks is not None:
        masks.mkdir(parents=True)
    inside = (np.hypot(*np.mgrid[-20:20, -24:24]) < 18).astype(np.uint8)
    for n in range(21, 25):
        image = rng.integers(60, 200, (40, 48, 3)).astype(np.uint8) * inside[..., None]
        vessels = np.zeros((40, 48), np.uint8)
        vessels[n : n + 2] = 255
        Image.fromarray(image).save(root / "images" / f"{n}_training.tif")
        Image.fromarray(vessels * inside).save(root / "1st_manual" / f"{n}_manual1.gif")
        Image.fromarray(inside * 255).save(root / "mask" / f"{n}_training_mask.gif")
        if masks is not None:
            Image.fromarray(np.where(inside, vessels, 255).astype(np.uint8)).save(masks / f"{n}_training.png")


def write_rated(root: Path) -> None:
    """Four images with the masks of three people each, the third of whom drew nothing in c2."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 48, 3)).astype(np.uint8)).save(root / "images" / f"c{n}.png")
        for rater in range(3):
            mask = np.zeros((40, 48), np.uint8)
            if (n, rater) != (2, 2):
                mask[10 : 30 - rater, 10:40] = 255
            Image.fromarray(mask).save(root / "masks" / f"c{n}_rater{rater + 1}.png")
