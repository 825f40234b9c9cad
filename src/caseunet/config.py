"""Everything that can be configured, typed; read from recipe, file and command line in that order."""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from caseunet.errors import InvalidOptionError, did_you_mean
from caseunet.former_names import KEYS, migrate, present_name
from caseunet.types import PlaneRule, Size, Window
from caseunet.yaml_text import parse_yaml

RECIPES = ("default", "small", "tiny", "paper")
LAYOUTS = (
    *("lits", "kits", "brats", "acdc", "endovis2018", "endovis2018-types", "endovis2017"),
    *("glas", "chase", "busi", "dsb2018", "nnunet", "msd", "bids", "monai-label", "dicom", "folder", "union"),
)
PRETRAINED_LR = 0.1
"""Of the recipe's learning rate what a training takes that starts from trained weights and is not told another."""
SPLITS = ("auto", "group", "lits", "isinet", "slice-blocks")


NormalizationRule = Literal["range", "zscore", "zscore-per-case", "none"]


def _read_whole(value: Any) -> Any:
    """A whole number as it is typed; a bool or 8.0 is none."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) else value


Whole = Annotated[int, Field(strict=True), BeforeValidator(_read_whole)]
Positive = Annotated[Whole, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Base of all sections: immutable, strict about unknown keys; a field's docstring is its help."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, defer_build=True
    )

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Refuse an unknown field in one sentence where the class is called; a configuration tells its key instead."""
        for name in sorted(given.keys() - cls.model_fields.keys()):
            present = {old.partition(".")[2]: new.partition(".")[2] for old, new in KEYS.items()}.get(name)
            hint = f'It is now called "{present}".' if present in cls.model_fields else None
            raise InvalidOptionError(
                f'{cls.__name__} has no field "{name}". {hint or did_you_mean(name, cls.model_fields)}'
            )
        return super().__new__(cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Put each field's help on one line: the help wraps it anew."""
        for field in cls.model_fields.values():
            field.description = " ".join(field.description.replace("``", "").split()) if field.description else None


class ReadingConfig(Section):
    """How a raw data set is read."""

    layout: str = "auto"
    """Raw layout: "auto" looks for the one that fits, or its name."""
    modality: Literal["auto", "ct", "mr", "rgb", "gray"] = "auto"
    """What the images are, where the layout does not tell or tells it wrongly."""
    group: str | None = None
    """Pattern that finds the patient or sequence in a case's name: ^[^_]+ takes what stands before the first "_". Its
    first bracket counts, if it has one. null keeps the layout's own groups."""
    images: tuple[str, ...] = ()
    """Which files are images, where names do not tell: patterns of files or folders below RAW, such as photos,
    "*_t1.nii.gz" or "imgs/**/*.png". () leaves it to the names."""
    masks: tuple[str, ...] = ()
    """Which files are masks, likewise: 1st_manual, or "*_seg.png". {stem} is the name of the image without its ending:
    "{stem}_seg.png" lies beside it, "../masks/{stem}.png" is a path from its folder, "masks/{stem}.png" from RAW."""
    field_of_view: tuple[str, ...] = ()
    """Which files show where an image was judged, by the names of folders or files likewise: mask, for DRIVE. Pixels
    that are 0 in them are in no loss and no score."""
    channels: tuple[str, ...] = ()
    """How the names of files end that hold one channel each, in order: [t1n, t1c, t2w, t2f], or "_flair,_t1,_t1ce,_t2".
    () finds it."""
    raters: Literal["majority", "staple"] | None = None
    """How masks that several people drew of one image become one: by "majority", or by "staple", which weighs each by
    how well he or she agrees with the others. null asks where there are several."""
    regions: dict[str, tuple[Whole | str, ...]] = {}
    """Structures that overlap, to be learnt each by itself: {liver: [liver, tumour], tumour: [tumour]}, by the names of
    classes or their values in the masks. {} takes those that the data set declares."""
    repair_plan: Path | None = None
    """Repair plan, written by audit: what to do with faulty cases."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that read cases; null takes one for each processor, 0 reads in the calling process."""
    plane: Literal["auto", PlaneRule] = "auto"
    """In which plane volumes are cut into slices: "auto" cuts all as most of them were acquired, across their largest
    spacing, and axially where voxels are cubes; "axial", "coronal" and "sagittal" say it; "acquired" cuts each volume
    as it was acquired. A volume of one slice stays that slice."""

    @field_validator("images", "masks", "field_of_view", "channels", mode="before")
    @classmethod
    def _patterns(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | int) else value

    @field_validator("channels", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Channels as they are typed in one word: "[t1c, t2f]", or "_t1c,_t2f"."""
        texts = list(value) if isinstance(value, list | tuple) else [value]
        if len(texts) == 1 and isinstance(texts[0], str) and re.search(r"^\[.*\]$|,", texts[0]):
            return [part.strip(" '\"") for part in texts[0].strip().removeprefix("[").removesuffix("]").split(",")]
        return value

    @field_validator("group")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class PrepareConfig(ReadingConfig):
    """From the raw layout to PREPARED."""

    size: Size | None = None
    """Height and width to which every slice or frame is resized; null leaves it to ``spacing``."""
    spacing: tuple[PositiveFloat, PositiveFloat] | Literal["median"] | None = None
    """Millimetres between rows and columns to which every slice is resampled; "median" takes the data's median, and
    shrinks images without a spacing to 1.5 megapixels where most have more; null keeps the source's own. Not used
    with ``size``."""
    crop_to_body: bool = False
    """Cut off the rows and columns of a CT that hold nothing but air around the body. The recipe default does
    so, the recipe paper does not."""
    split: str = "auto"
    """"auto" keeps the split that the data set brings, such as folders train/ and val/, else makes folds by group.
    "group" makes folds that keep each patient or sequence whole, of all but a test set; "lits" and "isinet" are
    published splits; a .json (nnU-Net's splits_final.json) or .csv (columns case and fold, or case and part) names the
    cases; "slice-blocks" holds out blocks of slices of every case, for a single patient, and measures no
    generalisation."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the cross-validation by group; at most one per group."""
    split_block_size: Positive = 8
    """Slices in a block, for "slice-blocks"."""
    test_every: Annotated[int, Field(ge=2)] = 4
    """Every n-th block is held out; there are n folds."""
    split_gap: Annotated[int, Field(ge=0)] = 2
    """Slices left unused on each side of a held-out block."""
    seed: Seed = 0
    """Draws which groups go to which fold."""

    @model_validator(mode="after")
    def _check_split(self) -> "PrepareConfig":
        if self.split not in SPLITS and not self.split.lower().endswith((".json", ".csv")):
            raise ValueError(f'split is {", ".join(SPLITS)}, or a file that ends in .json or .csv, not "{self.split}"')
        return self

    @field_validator("spacing", mode="before")
    @classmethod
    def _millimetres(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "median":  # as it is typed: 0.8,0.8
            try:
                value = [float(part) for part in value.strip("[]").split(",")]
            except ValueError:
                value = ()
        lengths = value if isinstance(value, list | tuple) else ()
        if value in (None, "median") or (len(lengths) == 2 and all(_is_positive(length) for length in lengths)):
            return value
        raise ValueError('is "median", null, or millimetres between rows and between columns, such as [0.8, 0.8]')


class ModelConfig(Section):
    """The network."""

    name: str = "case_unet"
    """A network of `caseunet models`."""
    kwargs: dict[str, Any] = {}
    """Its arguments, for example {norm: instance, widths: [8, 16, 32, 64, 128]}."""


class DataConfig(Section):
    """From PREPARED to batches."""

    fold: Annotated[int, Field(ge=0)] = 0
    """Fold to validate on; training sees the others."""
    batch_size: Positive | Literal["auto"] | None = None
    """Slices or frames in a step, on all devices together; null takes 8, on a CPU fewer (2 at least) where they have
    more than 128×128 pixels; auto takes the most that a GPU's memory holds."""
    patch_size: Size | None = None
    """Height and width cut out of each slice at random (smaller slices are padded); null takes the median slice's
    and a little more, so that the network needs no padding, but no more than max_patch_size."""
    max_patch_size: Annotated[int, Field(ge=32)] = 512
    """Height and width at most where patch_size is null: 256 in the recipes for CPUs, where more steps are worth more
    than larger patches."""
    context_slices: Annotated[int, Field(ge=0)] = 0
    """2.5-D: slices below and above each slice that the network sees as further channels. 0 for frames."""
    repeat_to_rgb: bool = False
    """Show single-channel images as three equal channels, as the paper does."""
    channels: tuple[str, ...] = ()
    """Names of the channels to train on, in order: [t1c, t2f]. () takes all."""
    intensity_window: Window | dict[str, Window] | None = None
    """Intensity window in stored units (HU for CT), or one for each channel by name: {ct: [-200, 250]}. null takes
    -200…250 HU for CT with "range", 0…255 for 8-bit images and the middle 99 % of the foreground's intensities
    otherwise."""
    normalization: NormalizationRule | dict[str, NormalizationRule] = "range"
    """One rule for all channels, or one for each by name: {ct: range, t2f: zscore-per-case}. "range" maps the window to
    0…1. "zscore" subtracts the mean and divides by the standard deviation: of the training cases' foreground, or for
    MR, whose scale differs from scan to scan, of each scan. "zscore-per-case" does so of each scan for any channel.
    "none" keeps the values."""
    oversample_foreground: Annotated[float, Field(ge=0, le=1)] = 1 / 3
    """Share of the samples that hold a foreground class for sure, each class as often as the others."""
    targets: Literal["auto", "classes", "regions"] = "auto"
    """What the network learns: "classes", one of which each pixel has (softmax), or "regions", each structure by itself
    (sigmoid), overlapping ones too, as in nnU-Net's region-based training. "auto" takes regions where the data set
    declares them."""
    sampling: Literal["slices", "cases", "classes"] = "slices"
    """What is equally likely among the other samples: each "slices"; each "cases", then its slices; or each "classes",
    background too, then the slices that hold it."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes that load batches; 0 loads in the training process, as auto does on a CPU. On a GPU auto takes the
    processors that are left, 8 at most."""

    @field_validator("channels", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _window_rises(self) -> "DataConfig":
        given = self.intensity_window
        for low, high in given.values() if isinstance(given, dict) else [given] if given else []:
            if not low < high:
                raise ValueError(f"intensity_window must rise, not run from {low:g} to {high:g}")
        return self


class AugmentConfig(Section):
    """Random changes of training images; masks move with them. null takes the value of ``strength``."""

    strength: Literal["none", "light", "default", "strong"] = "default"
    """How much the images are changed; none leaves them as they are."""
    vertical_flip: bool | None = None
    """Turn half of the images upside down."""
    horizontal_flip: bool | None = None
    """Turn half of the images left to right; null does not where classes are named left or right."""
    rotation: Annotated[float, Field(ge=0, le=180)] | None = None
    """Largest rotation either way, degrees."""
    scale: Annotated[float, Field(ge=1, le=4)] | None = None
    """Largest factor by which things become larger or smaller; 1 keeps their size."""
    shear: Annotated[float, Field(ge=0, le=45)] | None = None
    """Largest shear either way, degrees."""
    elastic: Annotated[float, Field(ge=0, le=0.2)] | None = None
    """Standard deviation of the elastic displacement, as a share of the image's shorter side."""
    noise: Annotated[float, Field(ge=0, le=2)] | None = None
    """Largest standard deviation of Gaussian noise, in standard deviations of the image."""
    blur: Annotated[float, Field(ge=0, le=10)] | None = None
    """Largest standard deviation of Gaussian blur, pixels."""
    gamma: Annotated[float, Field(ge=1, le=4)] | None = None
    """Largest exponent, or its inverse, on intensities between the image's lowest and highest; 1 keeps them."""
    brightness: Annotated[float, Field(ge=0, le=3)] | None = None
    """Largest shift of all intensities either way, in standard deviations of the image."""
    contrast: Annotated[float, Field(ge=1, le=4)] | None = None
    """Largest factor, or its inverse, on distances from the image's mean; 1 keeps them."""
    low_resolution: Annotated[float, Field(ge=1, le=8)] | None = None
    """Largest factor by which an image is shrunk before it is brought back to its size; 1 keeps it."""
    hue: Annotated[float, Field(ge=0, le=180)] | None = None
    """Largest rotation of colours either way, degrees; for RGB."""
    saturation: Annotated[float, Field(ge=1, le=4)] | None = None
    """Largest factor, or its inverse, on the distance of colours from grey; for RGB. 1 keeps them."""
    channel_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a channel is left out of a sample, each by itself but never all: it is 0 after normalization.
    Above 0, prediction takes images that lack channels."""


class LossConfig(Section):
    """What training minimises."""

    name: str = "hybrid"
    """hybrid, cross_entropy, dice or ssim."""
    kwargs: dict[str, Any] = {}
    """Its arguments; for hybrid the weights {cross_entropy: 1, ssim: 1, dice: 1}."""
    class_weights: Literal["none", "inverse_frequency"] = "none"
    """Weights of the cross entropy: none, or inverse to each class's share of the training cases' pixels."""


class OptimizerConfig(Section):
    """How it minimises."""

    name: Literal["adamax", "adamw"] = "adamax"
    """adamax (the paper's) or adamw."""
    lr: Annotated[float, Field(gt=0)] = 6e-3
    """Learning rate after the warm-up. A training that starts from a bundle (training.pretrained) takes a tenth of the
    recipe's unless this is set."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the budget in which the learning rate rises from 0."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """Then it falls as (1 − share of the budget) to this power; 0 keeps it."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null does not clip."""


class TrainingConfig(Section):
    """How long and on what."""

    steps: Positive | None = None
    """Budget in steps."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Budget in minutes, validation included. With both, whichever ends first; with neither, 10 000 steps."""
    num_validations: Positive = 10
    """Validations in the whole run, at equal distances; the last is at its end."""
    checkpoint: Literal["best", "last"] = "best"
    """Which weights the bundle gets: the best in validation, or the last."""
    monitor: str = "dice"
    """What is best in validation: dice or iou, the mean over structures; or of one, such as dice/tumour."""
    patience: Positive | None = None
    """Validations without a better one after which training stops early; null does not stop."""
    pretrained: Path | None = None
    """Bundle whose weights training starts from; its network is taken, with a new head where the classes differ, and
    with its first kernels averaged where the channels do. They are scored before the first step."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the old that an exponential moving average of the weights keeps at each step, such as 0.999; the average
    is then what is validated and kept. null keeps the weights themselves."""
    micro_batches: Positive = 1
    """Parts in which each device computes its share of a batch, one after another, to need less memory."""
    quality: bool = True
    """Learn from the fold's validation cases how sure to be of masks, and how to clean them; it takes a prediction of
    each."""
    likeness: bool = True
    """Keep small pictures of the training images, 32 × 32 pixels or 8 slices of 16 × 16, in the bundle: prediction then
    tells images that look like them. Without it only what was cut out of one, or saved anew, is known again."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Arithmetic of the network: auto is bf16-mixed on a GPU that has it and 32-true elsewhere; the loss is always in
    float32."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start, faster steps."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    devices: Positive = 1
    """GPUs of this machine, or processes on a CPU, that share each batch. torchrun and SLURM tell their own number."""
    nodes: Positive = 1
    """Machines that torchrun or SLURM started this on."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """ddp gives every device the whole network; fsdp a part of it, for networks that one device cannot hold."""
    log_every: Positive = 10
    """Steps between rows of metrics.csv."""
    checkpoint_minutes: PositiveFloat = 5.0
    """Minutes between checkpoints; there is one after each validation too."""
    max_nonfinite_steps: Positive = 10
    """Steps without a finite loss or gradient after which training stops."""
    loggers: tuple[Literal["mlflow", "wandb"], ...] = ()
    """Where to log beside metrics.csv and TensorBoard; as these are set up on this machine."""

    @field_validator("monitor")
    @classmethod
    def _check_score(cls, value: str) -> str:
        if value.partition("/")[0] not in ("dice", "iou"):
            raise ValueError('is dice or iou, or of one structure, such as "dice/tumour"')
        return value

    @model_validator(mode="before")
    @classmethod
    def _some_budget(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("steps") is None and values.get("minutes") is None:
            return {**values, "steps": 10_000}
        return values


class Config(Section):
    """One run, whole."""

    recipe: Literal["default", "small", "tiny", "paper"] = "default"
    """The values that everything else starts from."""
    seed: Seed = 0
    """Initial weights, batches, augmentation and dropout follow from it."""
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(steps=10_000))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def load_config(
    file: str | Path | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    base: Path | None = None,
    fallback: str = "default",
) -> Config:
    """Resolve a configuration: the recipe's values, then the file's, then ``overrides``.

    Args:
        file: YAML; may name its recipe under the key ``recipe``.
        recipe: "default", "small", "tiny" or "paper"; takes precedence over the file's.
        overrides: {"optimizer.lr": 3e-4}, dotted keys.
        base: a resolved configuration that takes the recipe's place; may be written in former words.
        fallback: the recipe where nothing names one.

    Raises:
        InvalidOptionError: the file cannot be read, a key is unknown (the nearest is suggested), or a value does not
            fit.
    """
    origin = str(file) if file else "configuration"
    from_file = _read_yaml(Path(file)) if file else {}
    start = migrate(_read_yaml(base)) if base else {}
    named = (recipe, (overrides or {}).get("recipe"), from_file.get("recipe"), start.get("recipe"))
    chosen = next(filter(None, named), fallback)
    if chosen not in RECIPES:
        raise InvalidOptionError(f'{origin}: there is no recipe "{chosen}". {did_you_mean(str(chosen), RECIPES)}')
    if not start:
        start = _read_recipe(str(chosen))
    values = _merge(start, from_file)
    over: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        over = _merge(over, nested)
    values = _merge(values, over)
    values["recipe"] = chosen
    told = any("lr" in (part.get("optimizer") or {}) for part in (from_file, over))
    if not base and not told and (values.get("training") or {}).get("pretrained") is not None:
        values["optimizer"] = {**values["optimizer"], "lr": PRETRAINED_LR * values["optimizer"]["lr"]}
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InvalidOptionError(_explain(error, origin)) from error


def _read_recipe(name: str) -> dict[str, Any]:
    """The values of a recipe, which may name another that they are laid over."""
    with resources.as_file(resources.files("caseunet").joinpath(f"recipes/{name}.yaml")) as file:
        values = _read_yaml(file)
    return _merge(_read_recipe(values.pop("recipe")), values) if "recipe" in values else values


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Settings "optimizer.lr=3e-4" as {"optimizer.lr": 0.0003}; values are YAML.

    Raises:
        InvalidOptionError: a setting is no key with a value.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InvalidOptionError(
                f'"{setting}": expected a configuration key and its value, such as optimizer.lr=0.001.'
            )
        parsed[key] = _parse_value(key, value)
    return parsed


def to_yaml(config: Config) -> str:
    """The resolved configuration, as it is saved beside the run."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_value(key: str, text: str) -> Any:
    if text.startswith(("*", "&", "!", "%", "@", "`")):  # of a pattern, not of YAML, where they begin other things
        return text
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise InvalidOptionError(f'{key}: the value "{text}" cannot be read as YAML: {error}.') from error
    if isinstance(value, str):
        try:  # YAML 1.1 reads 1e-3 as text; people mean the number.
            return float(value)
        except ValueError:
            return value
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidOptionError(f"{file}: no such configuration file.") from error
    except (OSError, ValueError) as error:
        raise InvalidOptionError(f"{file}: cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidOptionError(
            f"{file}: expected sections such as model: and training:, found {type(content).__name__}."
        )
    return content


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, section by section. Another ``name`` drops the ``kwargs`` of the one before."""
    merged = dict(base)
    if "name" in over and over["name"] != base.get("name", over["name"]):
        merged.pop("kwargs", None)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _explain(error: ValidationError, origin: str) -> str:
    """The first problem in words, with the nearest key where one is unknown."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if renamed := present_name(key, problem["input"]):
        return f"{origin}: {renamed}."
    if problem["type"] == "extra_forbidden":
        section: type[BaseModel] = Config
        for part in path[:-1]:
            section = section.model_fields[part].annotation  # type: ignore[assignment]
        known = [".".join([*path[:-1], name]) for name in section.model_fields]
        return f'{origin}: there is no key "{key}". {did_you_mean(key, known)}'
    if len(path) > 2:  # pydantic names the alternatives of a field too
        key = ".".join(path[:2])
    others = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    message = problem["msg"].removeprefix("Value error, ")
    if problem["input"] is None:
        return f"{origin}: {key} is empty: {message}.{others}"
    return f"{origin}: {key} = {problem['input']!r}: {message}.{others}"
