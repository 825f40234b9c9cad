"""README.md of a bundle: what the model is, for people and, in its head, for model hubs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from caseunet.bundle.info import BundleInfo, Quality
from caseunet.progress import count_text
from caseunet.types import BY_BLOCKS, DIRECTIONS, Plane, PlaneRule

LICENCE = re.compile(r"\b(cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.\d|apache-2\.0|mit|bsd-3-clause|odbl|pddl)\b")
"""Names that model hubs have for licences."""

MODALITIES = {"ct": "CT", "mr": "MR", "rgb": "colour", "gray": "grey"}
SIDES = {"S": "Superior", "P": "Posterior", "L": "Left", "I": "Inferior"}
RULES = {"crop_to_body": "air around the body cut off", "size": "size", "spacing": "spacing, mm", "scale": "scale"}


def model_card(info: BundleInfo, has_preview: bool) -> str:
    """Markdown with a head of YAML, as the Hugging Face hub reads it.

    Args:
        has_preview: whether preview.png lies beside it.
    """
    head = yaml.safe_dump(_metadata(info), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n" + "\n".join(_text(info, has_preview)).rstrip() + "\n"


def title(info: BundleInfo) -> str:
    names = ", ".join(info.label_map.names[1:])
    return f"{info.architecture.name}: {names} in {MODALITIES[info.preprocessing.modality]} images"


def licence_name(text: str) -> str | None:
    """The licence that a text names, as model hubs write it: "MSD: CC BY-SA 4.0" is "cc-by-sa-4.0".

    None if it names none that they know, or several.
    """
    names = {match.group() for match in LICENCE.finditer("-".join(text.lower().split()))}
    return names.pop() if len(names) == 1 else None


def _metadata(info: BundleInfo) -> dict[str, Any]:
    stated = info.training_data.licence
    known = licence_name(stated)
    licence: dict[str, Any] = {"license": known or ("other" if stated else "unknown")}
    if stated and not known:
        licence["license_name"] = stated
    scores = {"mean": info.validation.mean, **info.validation.structures}
    metrics = [
        {"type": "dice", "name": f"Dice, {name}", "value": round(value, 4)}
        for name, value in scores.items()
        if value is not None
    ]
    measured = {
        "task": {"type": "image-segmentation"},
        "dataset": {
            "name": f"validation cases of the training data ({info.training_data.source_format})",
            "type": "own",
        },
        "metrics": metrics,
    }
    return {
        "library_name": "caseunet",
        "pipeline_tag": "image-segmentation",
        **licence,
        "tags": ["segmentation", "medical", info.preprocessing.modality, info.architecture.name],
        **({"model-index": [{"name": title(info), "results": [measured]}]} if metrics else {}),
    }


def _text(info: BundleInfo, has_preview: bool) -> Iterator[str]:
    modality = info.preprocessing.modality
    networks = f"An ensemble of {len(info.members)} networks" if info.members else "One network"
    yield f"# {title(info)}\n"
    yield f"{networks} of caseunet {info.code_version}, for {MODALITIES[modality]} images of {_channels(info)}.\n"
    if has_preview:
        yield "![Slices of validation: image, reference, prediction](preview.png)\n"
    yield "```sh\ncaseunet predict THIS_FOLDER IMAGES --out masks\n```\n"
    file = "image.nii.gz" if modality in ("ct", "mr") else "image.png"
    yield f'```python\nimport caseunet\n\nmasks = caseunet.Predictor("THIS_FOLDER").predict("{file}")\n```\n'

    yield "## Scores\n"
    yield from _scores(info)
    yield from _calibration(info.quality)
    yield "## Data\n"
    yield from _data(info)
    yield "## Recipe\n"
    yield from _recipe(info)
    yield "## Input and output\n"
    yield from _input_and_output(info)

    yield "## Intended use and limits\n"
    yield (
        f"Research on {MODALITIES[modality]} images like those it was trained on. It is no medical device, and no "
        "decision about a patient may rest on it.\n"
    )
    yield (
        "The scores are of cases from the same data set; of other scanners, sites and patients they say nothing. A "
        "wrong mask looks like any other"
        + ("; `predict` warns where an image is unusual or the expected Dice low." if info.quality else ".")
        + "\n"
    )
    yield "## Licence\n"
    yield (
        f"Of the training data: {info.training_data.licence or 'not stated'}. Whether it binds the weights too is for "
        "whoever passes them on to settle.\n"
    )
    size = f"{info.weights_bytes:,} bytes, " if info.weights_bytes is not None else ""
    yield f"Weights: {size}BLAKE2b `{info.weights_hash}`."


def _calibration(quality: Quality | None) -> Iterator[str]:
    if quality is not None:
        before, after = quality.calibration_error
        off = ", ".join(f"{e:.3f} ({name})" for name, e in quality.error.items() if e is not None)
        yield (
            f"Calibration error of the probabilities {after:.3f} ({before:.3f} before the temperature)."
            + (f" Predicted Dice is off by {off}." if off else "")
            + "\n"
        )
        if quality.operating_points:
            reached = ", ".join(
                f"{name} up to {points[-1].sensitivity:.3f} ({count_text(points[-1].cases, 'case')})"
                for name, points in quality.operating_points.items()
            )
            yield f"A sensitivity can be asked for, as the validation cases had it: {reached}.\n"


def _data(info: BundleInfo) -> Iterator[str]:
    data = info.training_data
    held_out = "each case by one of the networks" if info.members else None
    if not data.cases:
        yield "What the weights were trained on is not known.\n"
    yield from _list(
        {
            "training cases": data.cases or None,
            "format": data.source_format,
            "held out": f"fold {data.fold}" if data.fold is not None else held_out,
            "split": "blocks of neighbouring slices of the same case" if data.split_by == BY_BLOCKS else data.split_by,
            "caution": data.caution or None,
            "licence": data.licence or "not stated",
            "content hash": data.content_hash or None,
        }
    )


def _recipe(info: BundleInfo) -> Iterator[str]:
    if info.recipe is None:
        yield "Not recorded.\n"
    else:
        r = info.recipe
        yield from _list(
            {
                "recipe": r.name,
                "steps": f"{r.steps:,} of {r.batch_size} patches of {r.patch_size[0]}×{r.patch_size[1]}, seed {r.seed}",
                "loss": r.loss,
                "optimizer": r.optimizer,
                "sampling": r.data,
                "augmentation": r.augment,
                "network": info.architecture.kwargs,
            }
        )


def _input_and_output(info: BundleInfo) -> Iterator[str]:
    p = info.preprocessing
    grid = {name: getattr(p, key) for key, name in RULES.items() if getattr(p, key)}
    yield from _list(
        {
            "input": f"{info.input}. caseunet does that by itself",
            "plane": describe_plane(p.plane) if p.modality != "rgb" else None,
            "grid": grid or "the image's own pixels",
            "neighbouring slices each side": p.context_slices or None,
            **_describe_normalization(info),
            "output": f"{info.output}: " + ", ".join(f"{label.id} {label.name}" for label in info.label_map.labels),
        }
    )


def _describe_normalization(info: BundleInfo) -> dict[str, Any]:
    """What becomes of the values: of all channels alike, or of each."""
    p = info.preprocessing
    if len(set(p.intensity_window)) == 1 and len(set(p.per_case_zscore)) == 1:
        by_case = "standardised by each case's own mean and deviation"
        scaled = by_case if p.per_case_zscore[0] else f"minus {_short(p.mean)}, over {_short(p.std)}"
        return {"clipped to": p.intensity_window[0], "then": scaled}
    names = info.training_data.channel_names or [f"channel {c}" for c in range(p.channels)]
    told: dict[str, Any] = {}
    for name, window, per_case, mean, std in zip(
        names, p.intensity_window, p.per_case_zscore, p.mean, p.std, strict=True
    ):
        scaled = "standardised by each case" if per_case else f"minus {_short(mean)}, over {_short(std)}"
        told[name] = f"clipped to {_short(window)}, {scaled}" if window else scaled
    return told


def _scores(info: BundleInfo) -> Iterator[str]:
    score = info.validation
    if score.mean is None:
        yield "None was measured.\n"
        return
    yield "| | Dice |\n|---|--:|"
    for name, value in {**score.structures, "mean": score.mean}.items():
        yield f"| {name} | {'–' if value is None else f'{value:.3f}'} |"
    yield f"\n{score.protocol[:1].upper()}{score.protocol[1:]}.\n"
    if info.caution:
        yield f"**{info.caution[:1].upper()}{info.caution[1:]}.**\n"
    if score.selected == "best":
        yield f"The weights were chosen by this very score ({score.selected_by}), so it is somewhat too good.\n"


def describe_plane(rule: PlaneRule) -> str:
    """ "volumes are cut into axial slices, which run to Superior, their rows to Posterior, their columns to Left"."""
    if rule == "acquired":
        each = "; ".join(f"{plane} {_sides(plane)}" for plane in DIRECTIONS)
        return f"volumes are cut into the slices in which they were acquired: {each}"
    return f"volumes are cut into {rule} slices, which run {_sides(rule)}"


def _sides(plane: Plane) -> str:
    slices, rows, columns = (SIDES[letter] for letter in DIRECTIONS[plane])
    return f"to {slices}, their rows to {rows}, their columns to {columns}"


def _channels(info: BundleInfo) -> str:
    n, names = info.preprocessing.channels, info.training_data.channel_names
    named = f" ({', '.join(names)})" if len(names) == n and not all(name.isdecimal() for name in names) else ""
    return f"one channel{named}" if n == 1 else f"{n} channels{named}"


def _list(entries: Mapping[str, Any]) -> Iterator[str]:
    for name, value in entries.items():
        if value is not None:
            yield f"- {name}: {_short(value)}"
    yield ""


def _short(value: Any) -> str:
    """In one line: {a: 1, b: [2, 3]}; what is null is left out."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(v)}" for key, v in value.items() if v is not None) or "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_short(v) for v in value)}]" if len(value) != 1 else _short(value[0])
    return f"{value:.6g}" if isinstance(value, float) else str(value)
