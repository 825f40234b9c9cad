"""The main job on real data in a few minutes: prepare → train → predict → evaluate, as users do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from caseunet.commands.evaluate import Evaluation, evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config, load_config
from caseunet.datasets.generate import write_lits
from caseunet.datasets.lits import LICENCE
from caseunet.errors import CaseUNetError
from caseunet.files import output_folder
from caseunet.options import EvaluateOptions, PredictOptions, is_overwrite
from caseunet.progress import Display, Stage

PACKAGE = "liver_ct_segmentation_package"
KIND = "a demo"
MRC_HEADER_BYTES = 1024
SIZE = 128
STEPS = 80
"""Of training, about two minutes on two cores."""

MISSING = (
    f"The demo's CT volume is not installed: it is data inside the Python package {PACKAGE.replace('_', '-')} 1.6.0. "
    f'Install it with "pip install --no-deps {PACKAGE.replace("_", "-")}==1.6.0", or let the demo use made-up '
    "patients instead."
)


class StageDisplay(Display):
    """Shows how far a verb is and nothing that it says: what a demo prints fits one screen."""

    is_seen = True

    def __init__(self, display: Display) -> None:
        self._display = display

    @contextmanager
    def stage(self, title: str, total: float, unit: str = "") -> Iterator[Stage]:
        with self._display.stage(title, total, unit) as stage:
            yield stage


@dataclass(frozen=True)
class DemoResult:
    """Where the demo left what it made."""

    evaluation: Evaluation
    bundle: Path
    caution: str


def demo(
    *,
    out: str | Path = "caseunet-demo",
    steps: int = STEPS,
    seed: int = 0,
    synthetic: bool = False,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> DemoResult:
    """Write raw data in the LiTS layout, prepare, train, predict the held-out part and score it.

    Args:
        out: folder for raw/, prepared/, run/, predictions/ and report/.
        steps: training budget. A fixed number, so that a busy machine changes the minutes and not the scores.
        seed: of everything that is drawn.
        synthetic: use made-up patients, which are split by patient, instead of LiTS volume 117.
        mode: "overwrite" replaces an earlier demo at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the real volume is not installed and ``synthetic`` is not set.
    """
    out, display, overwrite = Path(out), display or Display(), is_overwrite(mode)
    if not synthetic and find_spec(PACKAGE) is None:
        raise CaseUNetError(MISSING, options=("synthetic",))
    with output_folder(out, KIND, [], overwrite):
        return _run(out, demo_config(steps, seed, synthetic), synthetic, display)


def _run(out: Path, config: Config, synthetic: bool, display: Display) -> DemoResult:
    raw, splits, bundle = out / "raw", out / "prepared" / "splits.json", out / "run" / "bundle"
    if synthetic:
        write_lits(raw, patients=6, shape=(32, 96, 96), seed=config.seed)
        display.say(f"Six made-up patients, {config.training.steps} training steps", "bold")
    else:
        write_volume_117(raw)
        display.say(f"LiTS volume 117, a 128³ crop of a real CT, {config.training.steps} training steps", "bold")
        display.say(f"  {LICENCE}", "dim")
    stages = StageDisplay(display)
    prepared = prepare(raw, out=out / "prepared", config=config.prepare, display=stages)
    train(out / "prepared", out=out / "run", config=config, display=stages)
    predict(bundle, raw, out=out / "predictions", options=PredictOptions(split=splits), display=stages)
    title = "caseunet demo: made-up patients" if synthetic else "caseunet demo: LiTS volume 117"
    options = EvaluateOptions(split=splits, run=out / "run", title=title)
    evaluation = evaluate(out / "predictions", raw, out=out / "report", options=options, display=stages)
    return DemoResult(evaluation, bundle, prepared.split.caution)


def demo_config(steps: int, seed: int, synthetic: bool) -> Config:
    """The default recipe at a third of its width, which two CPU cores train in minutes."""
    overrides = {
        "seed": seed,
        "prepare.split": "group" if synthetic else "slice-blocks",
        "prepare.folds": 3,
        "model.kwargs.widths": [8, 16, 32, 64, 128],
        "data.context_slices": 1,
        "data.batch_size": 4,
        "data.intensity_window": [-200, 250],
        "training.steps": steps,
        "training.num_validations": 4,
        # The last weights, not the best on the held-out slices: those are what the report scores.
        "training.checkpoint": "last",
    }
    return load_config(overrides=overrides)


def write_volume_117(folder: Path) -> None:
    """Write LiTS volume 117 and its segmentation, cropped to 128³ by the package they come from, as NIfTI.

    The package stores them as MRC files: a header of 1,024 bytes, then the voxels. Their axes turn out to run to the
    patient's Left, Posterior and Superior (spine, liver and kidney show it), so the axial slices lie along the last
    one. The package does not tell the voxel size, so 1 mm is written: volumes in millilitres are nominal. HU are
    rounded to whole numbers, as LiTS has them.

    Raises:
        CaseUNetError: the package's files are not what they should be.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise CaseUNetError(MISSING)
    data = Path(spec.submodule_search_locations[0]) / "data"
    hounsfield = np.rint(_read_mrc(data / "img_117.mrc", "<f4")).astype(np.int16)
    labels = _read_mrc(data / "lab_117.mrc", "<u2").astype(np.uint8)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(hounsfield, affine), folder / "volume-117.nii")
    nib.save(nib.Nifti1Image(labels, affine), folder / "segmentation-117.nii")


def _read_mrc(path: Path, dtype: str) -> np.ndarray:
    if not path.is_file():
        raise CaseUNetError(f"{path}: no such file; reinstall {PACKAGE.replace('_', '-')} 1.6.0.")
    voxels = np.fromfile(path, dtype, offset=MRC_HEADER_BYTES)
    if voxels.size != SIZE**3:
        raise CaseUNetError(f"{path}: expected {SIZE}³ voxels after the header, found {voxels.size}.")
    return voxels.reshape(SIZE, SIZE, SIZE)
