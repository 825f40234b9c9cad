"""PREPARED → a run for every fold, their ensemble, and predictions of each case by the network that never saw it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from caseunet.bundle import Bundle, add_validation, load_bundle
from caseunet.commands import train as one
from caseunet.commands.predict import predict
from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import MARKER, Location, location, mark_output, output_folder, resume_folder
from caseunet.options import Mode, PredictOptions, check_mode
from caseunet.progress import Display
from caseunet.training.devices import ranks_from_outside, recommended_recipe
from caseunet.training.patches import plan_patch_size
from caseunet.validation.ensemble import save_ensemble
from caseunet.validation.scores import validate_ensemble

KIND = "a cross-validation"


def cross_validate(
    prepared: str | Location | None,
    *,
    out: str | Path = "run",
    config: Config | None = None,
    mode: Mode = "new",
    raw: str | Path | None = None,
    display: Display | None = None,
) -> Bundle:
    """Train a network for every fold, one after another, and make one bundle of them.

    Args:
        prepared: as for :func:`caseunet.train`.
        mode: as there. "resume" goes on with the fold under way; folds that are there already, from another machine
            for example, count.
        out: folder to write: fold-0/, fold-1/ … (a run each), bundle/ and, with ``raw``, out-of-fold/ (predictions).
        config: without regard to its fold; None for the recipe that is recommended for this machine.
        raw: the raw data set, whose every case is segmented by the network that was not trained on it.

    Returns:
        The bundle in ``out``/bundle, whose networks vote.

    Raises:
        CaseUNetError, Interrupted: as for a single run; or the folds are not of one data set and network.
    """
    out, display, config = Path(out), display or Display(), config or load_config(fallback=recommended_recipe())
    prepared_folder = None if prepared is None else location(prepared)
    if ranks_from_outside()[1] > 1:
        raise CaseUNetError(
            "All folds are trained one after another. Under torchrun or SLURM train each fold by itself, into "
            f"{out}/fold-N. Then resume the cross-validation in {out} in one process: it puts them together.",
            options=("data.fold", "mode"),
        )
    check_mode(mode, "resume", "extend")
    with _folder(out, prepared_folder, mode) as folder:
        begun = sorted(folder.glob("fold-*/environment.json"))
        if prepared_folder is None:
            if not begun:
                raise CaseUNetError(f"{out}: there is nothing to go on with. Name the prepared data set to begin.")
            prepared_folder = location(json.loads(begun[0].read_text(encoding="utf-8"))["prepared"])
        data = Prepared(prepared_folder, config.data.channels)
        folds = len(data.split.folds)
        # of all cases, for the networks of an ensemble must be alike, and their depth follows from the patch
        patch_size = plan_patch_size(data, config.data, [config.model], data.cases.index)
        bundles = []
        for number in range(folds):
            display.say(f"\nFold {number} of {folds}", "bold")
            place = folder / f"fold-{number}"
            own = _config_of_fold(config, number, patch_size)
            how: Mode = mode if mode in ("resume", "extend") else "resume" if place.exists() else "new"
            bundles.append(one.train(prepared_folder, out=place, config=own, mode=how, display=display))
        save_ensemble(folder / "bundle", bundles)
        ensemble, device = load_bundle(folder / "bundle"), config.training.device
        add_validation(ensemble, *validate_ensemble(ensemble, data, device, display))
        if raw is not None:
            display.say("\nOut of fold", "bold")
            masks = folder / "out-of-fold"
            again: Literal["new", "overwrite"] = "overwrite" if masks.exists() else "new"
            predict(
                folder / "bundle", raw, out=masks, mode=again, options=PredictOptions(out_of_fold=True), display=display
            )
    return load_bundle(out / "bundle")


@contextmanager
def _folder(out: Path, prepared_folder: Location | None, mode: Mode) -> Iterator[Path]:
    """The folder, anew or as it is; one in which there is nothing but folds can be gone on with too."""
    if mode in ("new", "overwrite") or not out.exists():
        inputs = [] if prepared_folder is None else [prepared_folder]
        with output_folder(out, KIND, inputs, mode == "overwrite") as folder:
            yield folder
        return
    if not (out / MARKER).exists() and all(path.name.startswith("fold-") for path in out.iterdir()):
        mark_output(out, KIND)
    with resume_folder(out, KIND) as folder:
        yield folder


def _config_of_fold(config: Config, number: int, patch_size: tuple[int, int]) -> Config:
    data = config.data.model_copy(update={"fold": number, "patch_size": patch_size})
    return config.model_copy(update={"data": data})
