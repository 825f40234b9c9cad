"""Memory and time, promised before the start."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from caseunet.bundle import Bundle
from caseunet.commands.predict import dry_run, predict
from caseunet.errors import CaseUNetError
from caseunet.io import slides
from caseunet.options import PredictionOutputs, PredictOptions
from caseunet.prediction.inputs import find_inputs
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.resources import LIBRARIES, SLACK, Budget
from tests.hostile import png

MIB = 2**20


def test_sizes_of_memory() -> None:
    sizes = {"2GB": 2 * 10**9, " 1500MiB": 1500 * MIB, "0.5g": 5 * 10**8, "4096": 4096}
    for text, size in sizes.items():
        assert PredictOptions.model_validate({"max_ram": text}).max_ram == size
    for wrong in ("much", "2 apples", "-3GB", ""):
        with pytest.raises(ValidationError, match="is no amount of memory; expected one such as 4GB"):
            PredictOptions.model_validate({"max_ram": wrong})


def volume(path: Path, slices: int) -> Path:
    pixels = np.random.default_rng(0).integers(-1000, 1000, (256, 256, slices)).astype(np.int16)
    nib.save(nib.Nifti1Image(pixels, np.diag([-1, -1, 3, 1])), path)
    return path


def test_a_dry_run_tells_and_writes_nothing(lits_bundle: Bundle, tmp_path: Path) -> None:
    path = volume(tmp_path / "ct.nii.gz", 12)
    (tmp_path / "bad.nii").write_bytes(b"no image")
    before = sorted(tmp_path.iterdir())
    costs, failed = dry_run(lits_bundle.folder, [tmp_path])
    assert [(cost.id, cost.slices, cost.height, cost.width) for cost in costs] == [("ct", 12, 256, 256)]
    assert costs[0].seconds > 0
    assert costs[0].memory > path.stat().st_size
    assert [item.id for item in failed] == ["bad"]
    assert sorted(tmp_path.iterdir()) == before


def test_what_would_not_fit_is_not_begun(lits_bundle: Bundle, tmp_path: Path) -> None:
    path = volume(tmp_path / "ct.nii.gz", 12)
    with pytest.raises(CaseUNetError, match=r"The network and the libraries alone hold .* 48 MiB are allowed"):
        predict(lits_bundle.folder, [path], out=tmp_path / "out", options=PredictOptions(max_ram=48 * MIB))
    just = psutil.Process().memory_info().rss + 20 * MIB
    with pytest.raises(CaseUNetError, match=r"ct.nii.gz: 12 slices of 256×256 need about .* MiB are allowed"):
        predict(lits_bundle.folder, [path], out=tmp_path / "out", options=PredictOptions(max_ram=just))
    assert not (tmp_path / "out").exists()


def test_a_huge_image_is_judged_by_a_part_of_it(lits_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = SlicePredictor(lits_bundle)
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(predictor, "trial", lambda size: tried.append(size) or 1)
    budget = Budget(predictor, None)
    budget._trial((30_000, 20_000))
    budget._trial((20_000, 30_000))
    assert len(tried) == 2  # once to warm up
    assert 0.9 * 2**19 < tried[0][0] * tried[0][1] <= 2**19


def test_photographs_of_slides_take_windows(
    lits_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of the image and a line of windows, time that of all windows; its header alone is read."""
    (tmp_path / "slide.png").write_bytes(png(9500, 9000, b""))
    monkeypatch.setattr(slides, "MIN_PIXELS", 2**30)  # with pyvips it would be read in parts
    predictor = SlicePredictor(lits_bundle)
    colours = {"modality": "rgb", "channels": 3, "window": (1024, 1024)}
    preprocessing = predictor.info.preprocessing.model_copy(update=colours)
    predictor.info = predictor.info.model_copy(update={"preprocessing": preprocessing})
    monkeypatch.setattr(Budget, "_measure", lambda self, size: (1.0, 400 * size[0] * size[1]))
    (item,) = find_inputs([tmp_path / "slide.png"])
    budget = Budget(predictor, None)
    cost = budget.cost(item, PredictionOutputs())
    largest = 1052 * 1032 / 1024**2  # the last windows, from 8448 and 7968 on, for which all are taken
    assert cost.seconds == pytest.approx(12 * 13 * 2 * largest, rel=0.01)  # twice as large as what is tried
    image = 9000 * 9500 * 3
    assert 2 * image < cost.memory / SLACK - LIBRARIES - budget._base < 6 * image


def test_a_promise_is_kept(lits_bundle: Bundle, tmp_path: Path) -> None:
    """The highest memory of a process of its own, which is asked for its estimate first and then predicts."""
    path = volume(tmp_path / "ct.nii.gz", 60)
    program = (
        "from pathlib import Path\n"
        "from caseunet.commands.predict import dry_run, predict\n"
        "from caseunet.options import PredictOptions\n"
        "from caseunet.prediction.resources import highest_memory\n"
        f"bundle, image = Path({str(lits_bundle.folder)!r}), Path({str(path)!r})\n"
        f"out = Path({str(tmp_path / 'out')!r})\n"
        "(cost,), _ = dry_run(bundle, [image])\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "predict(bundle, [image], out=out, options=PredictOptions(max_ram=cost.memory + 2**25))\n"
        "print(cost.memory, highest_memory())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    promised, taken = map(int, done.stdout.split())
    assert taken <= promised + 2**25
    assert promised < 2 * taken  # a promise of everything would be worth nothing
