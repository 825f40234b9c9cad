"""One bundle of the networks of all folds."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from caseunet.bundle import PREVIEW, Bundle, BundleInfo, Member, Score, TrainingData, save_bundle
from caseunet.errors import CaseUNetError
from caseunet.validation.calibration import merge_qualities

PROTOCOL = "mean over folds of the validation score of each one's network: "


def save_ensemble(folder: Path, bundles: list[Bundle]) -> None:
    """Write one bundle whose networks are those of several.

    Raises:
        CaseUNetError: they are not of one data set and network.
    """
    _check_alike(bundles)
    first = bundles[0].info
    infos = [bundle.info for bundle in bundles]
    members = tuple(
        Member(preprocessing=info.preprocessing, training_data=_without_pictures(info), validation=info.validation)
        for info in infos
    )
    preview = bundles[0].folder / PREVIEW
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
        training_data=_join_data(infos),
        validation=_mean_score([info.validation for info in infos]),
        members=members,
        recipe=first.recipe,
        quality=merge_qualities([info.quality for info in infos if info.quality is not None])
        if all(info.quality is not None for info in infos)
        else None,
        code_version=version("caseunet"),
    )


def _check_alike(bundles: list[Bundle]) -> None:
    """Raises CaseUNetError where the bundles are not of one data set and network."""
    first = bundles[0].info
    for bundle in bundles[1:]:
        for what in ("architecture", "label_map"):
            if getattr(bundle.info, what) != getattr(first, what):
                raise CaseUNetError(
                    f"{bundle.folder}: its {what.replace('_', ' ')} is not that of {bundles[0].folder}."
                )
        if bundle.info.training_data.channel_names != first.training_data.channel_names:
            raise CaseUNetError(f"{bundle.folder}: was trained on other channels than {bundles[0].folder}.")
        if bundle.info.training_data.content_hash != first.training_data.content_hash:
            raise CaseUNetError(f"{bundle.folder}: was trained on other data than {bundles[0].folder}.")


def _join_data(infos: list[BundleInfo]) -> TrainingData:
    """The data that all networks together were trained on."""
    images = {image.case: image for info in infos for image in info.training_data.images}
    alike = [info.training_data.alike_from for info in infos if info.training_data.alike_from is not None]
    hashes = sorted({h for info in infos for h in info.training_data.image_hashes})
    return infos[0].training_data.model_copy(
        update={
            "fold": None,
            "cases": len(hashes),
            "image_hashes": tuple(hashes),
            "images": tuple(images[case] for case in sorted(images)),
            "alike_from": max(alike, default=None),
            "stored": tuple(values for info in infos for values in info.training_data.stored)[:: len(infos)],
        }
    )


def _mean_score(scores: list[Score]) -> Score:
    first = scores[0]
    return Score(
        protocol=PROTOCOL + first.protocol,
        step=None,
        selected=first.selected,
        mean=_mean([score.mean for score in scores]),
        structures={name: _mean([score.structures[name] for score in scores]) for name in first.structures},
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
