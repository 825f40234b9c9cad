"""PREPARED → a run for every fold, their ensemble, and predictions of each case by the network that never saw it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

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
from caseunet.config import Config, load_config
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
    prepared_folder: Location | None,
    out: Path,
    config: Config | None = None,
    overwrite: bool = False,
    display: Display | None = None,
    resume: bool = False,
    extend: bool = False,
    raw: Path | None = None,
) -> Bundle:
    """Train a network for every fold, one after another, and make one bundle of them.

    Args:
        prepared_folder: as for :func:`caseunet.commands.train.train`.
        out: folder to write: fold-0/, fold-1/ … (a run each), bundle/ and, with ``raw``, out-of-fold/ (predictions).
        config: without regard to its fold.
        resume: go on: with the fold under way; folds that are there already, from another machine for example, count.
        extend: train every fold on with another budget.
        raw: the raw data set, whose every case is segmented by the network that was not trained on it.

    Returns:
        The bundle in ``out``/bundle, whose networks vote.

    Raises:
        CaseUNetError, Interrupted: as for a single run; or the folds are not of one data set and network.
    """
    display = display or Display()
    resume = resume or extend
    if ranks_from_outside()[1] > 1:
        raise CaseUNetError(
            "--fold all starts one run after another. Under torchrun or SLURM train each fold by itself, --fold N "
            f"--out {out}/fold-N, and then put them together with: caseunet train --fold all --resume --out {out}"
        )
    with _folder(out, prepared_folder, overwrite, resume) as folder:
        begun = sorted(folder.glob("fold-*/environment.json"))
        if prepared_folder is None:
            if not begun:
                raise CaseUNetError(f"{out}: there is nothing to go on with. Name the prepared data set to begin.")
            prepared_folder = location(json.loads(begun[0].read_text(encoding="utf-8"))["prepared"])
        prepared = Prepared(prepared_folder)
        folds = len(prepared.split.folds)
        # of all cases, for the networks of an ensemble must be alike, and their depth follows from the patch
        patch_size = plan_patch_size(prepared, (config or load_config()).data, prepared.cases.index)
        bundles = []
        for number in range(folds):
            display.say(f"\nFold {number} of {folds}", "bold")
            place = folder / f"fold-{number}"
            own = _config_of_fold(config or load_config(), number, patch_size)
            bundles.append(one.train(prepared_folder, place, own, False, display, resume or place.exists(), extend))
        _save_ensemble(folder / "bundle", bundles)
        ensemble, device = load_bundle(folder / "bundle"), (config or load_config()).training.device
        add_validation(ensemble, *validate_ensemble(ensemble, Prepared(prepared_folder), device, display))
        if raw is not None:
            display.say("\nOut of fold", "bold")
            again = (folder / "out-of-fold").exists()
            predict(
                folder / "bundle", [raw], folder / "out-of-fold", overwrite=again, display=display, out_of_fold=True
            )
    return load_bundle(out / "bundle")


@contextmanager
def _folder(out: Path, prepared_folder: Location | None, overwrite: bool, resume: bool) -> Iterator[Path]:
    """The folder, anew or as it is; one in which there is nothing but folds can be gone on with too."""
    if not resume or not out.exists():
        with output_folder(out, KIND, [] if prepared_folder is None else [prepared_folder], overwrite) as folder:
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
