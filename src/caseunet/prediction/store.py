"""PREDICTIONS: a folder of masks, and what tells of each."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from caseunet.bundle import OperatingPoint
from caseunet.config import Section
from caseunet.errors import InvalidInputError, InvalidOptionError
from caseunet.files import read_model, write_json, write_text
from caseunet.former_names import migrate_section
from caseunet.options import PredictionOutputs, PredictionSettings
from caseunet.prediction.training_images import describe_match
from caseunet.quality.judgement import CaseQuality
from caseunet.types import FrozenModel, LabelMap, PlaneRule

KIND = "predictions"
DESCRIPTION = "predictions.json"
JOURNAL = "unfinished.jsonl"
"""While the work goes on: a line of what it is done with, then one for each case that is done."""


class PredictedCase(FrozenModel):
    """One entry of predictions.json.

    ``file`` is relative to the folder, ``image`` as it was given. ``in_training`` tells whether the model was trained
    on this very image, in this file or another. For a video ``file`` is the folder of its frames' masks.
    """

    id: str
    image: str
    image_hash: str
    in_training: bool
    file: str
    slices: int
    seconds: float
    others: dict[str, str] = Field(default_factory=dict)
    """What was written beside the mask: {what: file, relative}."""
    quality: CaseQuality | None = None
    """None where the bundle's validation taught nothing."""
    measurements: tuple[dict[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()
    """What a person should know of how the image was read."""
    missing_channels: tuple[str, ...] = ()
    """Names of the model's channels that the image lacks, set to what training put where it left channels out."""
    training_case: str | None = None
    """The training case that the image is, or looks like; None where there is none, or only the file is known."""
    looks_like: str | None = None
    """By what the image looks like that case, without being the same."""

    @property
    def seen(self) -> str:
        """What to say of image and training data; "" where it is new."""
        if not self.in_training and not self.looks_like:
            return ""
        return describe_match(self.training_case, self.in_training, self.looks_like or "")


class FailedCase(FrozenModel):
    """An image that could not be segmented."""

    id: str
    image: str
    error: str
    traceback: str | None = None
    """Of a defect of caseunet; None where the image is at fault."""


def summarize_defects(failed: Sequence[FailedCase]) -> RuntimeError | None:
    """What to raise for the images that defects stopped, with the first one's traceback as a note; None without any."""
    defects = [case for case in failed if case.traceback]
    if not defects:
        return None
    first, others = defects[0], f", and {len(defects) - 1} more" if len(defects) > 1 else ""
    error = RuntimeError(f"{first.error}{others}")
    error.add_note(str(first.traceback))
    return error


class PredictionProvenance(FrozenModel):
    """With what predictions are made; what is resumed must be made with the same."""

    bundle: str
    bundle_hash: str
    label_map: LabelMap
    window: tuple[float, float] | None
    plane: PlaneRule = "axial"
    """In which volumes were cut into slices."""
    device: str
    backend: str
    settings: PredictionSettings = PredictionSettings()
    outputs: PredictionOutputs = PredictionOutputs()
    code_version: str
    fold: int | None
    """Fold whose validation part was asked for."""
    selected_on_fold: int | None
    """Fold on which these weights scored best, if they were chosen so."""
    out_of_fold: bool = False
    """Whether each image was segmented by those networks of an ensemble alone that were not trained on it."""
    operating_points: dict[str, OperatingPoint] = Field(default_factory=dict)
    """By structure, the thresholds that gave the masks the sensitivities of the settings; {} where none was asked."""

    @model_validator(mode="before")
    @classmethod
    def _in_present_words(cls, values: Any) -> Any:
        """Read what an earlier version wrote."""
        if not isinstance(values, dict) or "engine" not in values:
            return values
        settings = migrate_section("prediction", values.get("settings", {}))
        rest = {key: value for key, value in values.items() if key != "engine"}
        return rest | {"backend": values["engine"], "settings": settings}


class PredictionsInfo(PredictionProvenance):
    """Content of predictions.json."""

    format_version: Literal[1] = 1
    cases: tuple[PredictedCase, ...]
    failed: tuple[FailedCase, ...] = ()
    left_out: tuple[FailedCase, ...] = ()
    """What was found among the images and is no input: of a kind that is not read, or what looks like a mask."""
    look_first: tuple[str, ...] = ()
    """Ids of all cases, the one to be looked at first at the front; empty where the bundle cannot tell."""
    warnings: tuple[str, ...] = ()
    """What was to be told of images, masks and model when they were made."""
    read_with: dict[str, Any] = Field(default_factory=dict)
    """Options that the training data were read with: what is scored against such data needs them too."""
    gate_limits: tuple[str, ...] = ()
    """What the bundle cannot know of images and masks, a sentence each: that nothing is said then means nothing."""

    def __repr__(self) -> str:
        """One line; each case is in ``cases``."""
        return f"<{len(self.cases)} predictions by {self.bundle}, {len(self.failed)} failed>"

    @model_validator(mode="after")
    def _consistent(self) -> "PredictionsInfo":
        ids = [case.id for case in self.cases]
        twice = [case for case, times in Counter(ids).items() if times > 1]
        if twice:
            raise ValueError(f"case {twice[0]} is there twice")
        for case in self.cases:
            if Path(case.file).is_absolute() or ".." in Path(case.file).parts:
                raise ValueError(f"{case.file} lies outside the folder")
        return self


UNFINISHED = '{folder}: is not finished. Predict the same to it again with mode="resume".'


def is_unfinished(folder: Path) -> bool:
    """Whether cases are done in it, but not all."""
    return (folder / JOURNAL).is_file()


def read_predictions(folder: Path) -> PredictionsInfo:
    """Read predictions.json.

    Raises:
        CaseUNetError: it is missing or of another form.
    """
    if is_unfinished(folder):
        raise InvalidInputError(UNFINISHED.format(folder=folder))
    return read_model(folder / DESCRIPTION, PredictionsInfo, "predictions made by caseunet predict")


class Journal:
    """The cases that are done, each written down before the next begins, so that a killed run loses none.

    Args:
        folder: of the predictions.
        made: with what they are made.
        before: what an earlier run has done; these are written first.
    """

    def __init__(self, folder: Path, made: PredictionProvenance, before: Sequence[PredictedCase]) -> None:
        self._path, self._made, self._before = folder / JOURNAL, made, before
        self._is_begun = False

    def add(self, case: PredictedCase) -> None:
        """Write a case down; the first one begins the file anew, since its last line may have been cut short."""
        if self._is_begun:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line(case))
        else:
            write_text(self._path, "".join(map(_line, (self._made, *self._before, case))))
            self._is_begun = True

    def close(self, info: PredictionsInfo) -> None:
        """Write predictions.json, and remove the journal."""
        write_json(self._path.with_name(DESCRIPTION), info.model_dump(mode="json"))
        self._path.unlink(missing_ok=True)


def _line(entry: FrozenModel) -> str:
    return json.dumps(entry.model_dump(mode="json"), ensure_ascii=False) + "\n"


def earlier_cases(folder: Path, made: PredictionProvenance, is_there: Callable[[str], bool]) -> list[PredictedCase]:
    """The cases that an earlier run with the same bundle and settings has done, and whose files are there.

    Raises:
        CaseUNetError: it was made otherwise.
    """
    journal, description = folder / JOURNAL, folder / DESCRIPTION
    if journal.is_file():
        before, cases = _read_journal(journal)
    elif description.is_file():
        info = read_predictions(folder)
        before, cases = (
            PredictionProvenance(**{name: getattr(info, name) for name in PredictionProvenance.model_fields}),
            info.cases,
        )
    else:
        return []
    free = ("bundle", "device", "code_version")
    for name in PredictionProvenance.model_fields:
        if name not in free and getattr(before, name) != getattr(made, name):
            was, now = getattr(before, name), getattr(made, name)
            told = (
                f": {_show_value(was)} then, {_show_value(now)} now"
                if name in ("backend", "settings", "outputs", "fold")
                else ""
            )
            raise InvalidOptionError(
                f"{folder}: was begun with other {name.replace('_', ' ')}{told}. Resume with the same, or begin "
                'anew with mode="overwrite".',
                options=("mode",),
            )
    return [case for case in cases if is_there(case.file)]


def _read_journal(path: Path) -> tuple[PredictionProvenance, Sequence[PredictedCase]]:
    """What it holds; a last line that a kill cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        made = PredictionProvenance.model_validate_json(lines[0])
        cases = []
        for number, line in enumerate(lines[1:], 2):
            try:
                cases.append(PredictedCase.model_validate_json(line))
            except ValidationError:
                if number < len(lines):
                    raise
        return made, cases
    except (ValidationError, IndexError) as error:
        raise InvalidInputError(
            f'{path}: cannot be read. Begin anew with mode="overwrite".', options=("mode",)
        ) from error


def _show_value(value: object) -> str:
    if isinstance(value, Section):
        return ", ".join(f"{key} {entry}" for key, entry in value.model_dump(mode="json").items())
    return str(value)
