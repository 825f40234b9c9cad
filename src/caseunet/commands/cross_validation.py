"""PREPARED → a run for every fold, their ensemble, and predictions of each case by the network that never saw it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from caseunet.bundle import (
    PREVIEW,
    Bundle,
    BundleInfo,
    Member,
    Score,
    TrainingData,
    add_validation,
    load_bundle,
    save_bundle,
)
from caseunet.commands import train as one
from caseunet.commands.predict import predict
from caseunet.config import Config, Mode, PredictOptions, load_config
from caseunet.data.loader import plan_patch_size
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import MARKER, Location, location, mark_output, output_folder, resume_folder
from caseunet.progress import Display
from caseunet.training.devices import ranks_from_outside
from caseunet.validation.calibration import merge_qualities
from caseunet.validation.scores import validate_ensemble

KIND = "a cross-validation"
PROTOCOL = "mean over folds of the validation score of each one's network: "


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
        prepared, mode: as for :func:`caseunet.train`. "resume" goes on with the fold under way; folds that are there
            already, from another machine for example, count.
        out: folder to write: fold-0/, fold-1/ … (a run each), bundle/ and, with ``raw``, out-of-fold/ (predictions).
        config: without regard to its fold.
        raw: the raw data set, whose every case is segmented by the network that was not trained on it.

    Returns:
        The bundle in ``out``/bundle, whose networks vote.

    Raises:
        CaseUNetError, Interrupted: as for a single run; or the folds are not of one data set and network.
    """
    out, display, config = Path(out), display or Display(), config or load_config()
    prepared_folder = None if prepared is None else location(prepared)
    if ranks_from_outside()[1] > 1:
        raise CaseUNetError(
            "All folds are trained one after another. Under torchrun or SLURM train each fold by itself, into "
            f"{out}/fold-N, and then put them together with: caseunet train --fold all --resume --out {out}"
        )
    with _folder(out, prepared_folder, mode) as folder:
        begun = sorted(folder.glob("fold-*/environment.json"))
        if prepared_folder is None:
            if not begun:
                raise CaseUNetError(f"{out}: there is nothing to go on with. Name the prepared data set to begin.")
            prepared_folder = location(json.loads(begun[0].read_text(encoding="utf-8"))["prepared"])
        data = Prepared(prepared_folder)
        folds = len(data.split.folds)
        # of all cases, for the networks of an ensemble must be alike, and their depth follows from the patch
        patch_size = plan_patch_size(data, config.data, data.cases.index)
        bundles = []
        for number in range(folds):
            display.say(f"\nFold {number} of {folds}", "bold")
            place = folder / f"fold-{number}"
            own = _config_of_fold(config, number, patch_size)
            how: Mode = mode if mode in ("resume", "extend") else "resume" if place.exists() else "new"
            bundles.append(one.train(prepared_folder, out=place, config=own, mode=how, display=display))
        _save_ensemble(folder / "bundle", bundles)
        ensemble, device = load_bundle(folder / "bundle"), config.training.device
        add_validation(ensemble, *validate_ensemble(ensemble, Prepared(prepared_folder), device, display))
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


def _save_ensemble(folder: Path, bundles: list[Bundle]) -> None:
    """One bundle whose networks are those of several.

    Raises:
        CaseUNetError: they are not of one data set and network.
    """
    first = bundles[0].info
    for bundle in bundles[1:]:
        for what in ("architecture", "label_map"):
            if getattr(bundle.info, what) != getattr(first, what):
                raise CaseUNetError(
                    f"{bundle.folder}: its {what.replace('_', ' ')} is not that of {bundles[0].folder}."
                )
        if bundle.info.training_data.content_hash != first.training_data.content_hash:
            raise CaseUNetError(f"{bundle.folder}: was trained on other data than {bundles[0].folder}.")
    infos = [bundle.info for bundle in bundles]
    members = tuple(
        Member(preprocessing=info.preprocessing, training_data=_without_pictures(info), validation=info.validation)
        for info in infos
    )
    images = {image.case: image for info in infos for image in info.training_data.images}
    alike = [info.training_data.alike_from for info in infos if info.training_data.alike_from is not None]
    preview = bundles[0].folder / PREVIEW
    hashes = sorted({h for info in infos for h in info.training_data.image_hashes})
    save_bundle(
        folder,
        {
            member.prefix + name: weight
            for member, bundle in zip(members, bundles, strict=True)
            for name, weight in bundle.weights.items()
        },
        preview=preview if preview.is_file() else None,
        architecture=first.architecture,
        preprocessing=first.preprocessing,
        label_map=first.label_map,
        training_data=first.training_data.model_copy(
            update={
                "fold": None,
                "cases": len(hashes),
                "image_hashes": tuple(hashes),
                "images": tuple(images[case] for case in sorted(images)),
                "alike_from": max(alike, default=None),
                "stored": tuple(values for info in infos for values in info.training_data.stored)[:: len(infos)],
            }
        ),
        validation=Score(
            protocol=PROTOCOL + first.validation.protocol,
            step=None,
            selected=first.validation.selected,
            mean=_mean([info.validation.mean for info in infos]),
            structures={
                name: _mean([info.validation.structures[name] for info in infos])
                for name in first.validation.structures
            },
        ),
        members=members,
        recipe=first.recipe,
        quality=merge_qualities([info.quality for info in infos if info.quality is not None])
        if all(info.quality is not None for info in infos)
        else None,
        code_version=version("caseunet"),
    )


def _without_pictures(info: BundleInfo) -> TrainingData:
    """The data of a network; pictures of its images are kept once, for all networks together."""
    data = info.training_data
    return data.model_copy(
        update={"images": tuple(image.model_copy(update={"likeness": "", "sketch": ""}) for image in data.images)}
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
