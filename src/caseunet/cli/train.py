"""``caseunet train``."""

import signal
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caseunet.cli.parameters import (
    ConfigFile,
    Out,
    Overwrite,
    Recipe,
    Resume,
    Settings,
    choose_training_mode,
    key_help,
    resolve_config,
    spell_options,
)
from caseunet.cli.study import RESUME_ME
from caseunet.cli.terminal import console, number, say, say_next
from caseunet.config import ReadingConfig, to_yaml
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.progress import TerminalDisplay


def train_verb(
    prepared: Annotated[str | None, Parameter(help="Folder or URL written by caseunet prepare.")] = None,
    *,
    out: Out = Path("run"),
    config: ConfigFile = None,
    recipe: Recipe = None,
    minutes: Annotated[float | None, key_help("training.minutes")] = None,
    steps: Annotated[int | None, key_help("training.steps")] = None,
    batch: Annotated[int | Literal["auto"] | None, key_help("data.batch_size")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"] | None, key_help("training.device")] = None,
    devices: Annotated[int | None, key_help("training.devices")] = None,
    fold: Annotated[int | Literal["all"] | None, Parameter(help="Fold to validate on; all: one after another.")] = None,
    raw: Annotated[
        Path | None,
        Parameter(help="With --fold all: raw data set, to keep predictions by networks that never saw them."),
    ] = None,
    seed: Annotated[int | None, key_help("seed")] = None,
    pretrained: Annotated[Path | None, key_help("training.pretrained")] = None,
    resume: Resume = False,
    extend: Annotated[bool, Parameter(help="Go on with another budget: the schedule is planned anew.")] = False,
    settings: Settings = (),
    overwrite: Overwrite = False,
    print_config: Annotated[bool, Parameter(help="Print the resolved configuration as YAML, and stop.")] = False,
) -> None:
    options: dict[str, Any] = {
        "data.fold": None if fold == "all" else fold,
        "data.batch_size": batch,
        "training.device": device,
        "training.devices": devices,
        "training.pretrained": pretrained,
        "seed": seed,
    }
    options = {key: value for key, value in options.items() if value is not None}
    if minutes is not None or steps is not None:  # a budget given here replaces the configured one
        options |= {"training.minutes": minutes, "training.steps": steps}
    if raw is not None and fold != "all":
        raise CaseUNetError(
            "--raw is for --fold all: caseunet predict --split predicts what a single run has not seen."
        )
    mode = choose_training_mode(overwrite, resume, extend)
    began = (out / "fold-0" if fold == "all" else out) / "config.yaml"
    base = began if mode in ("resume", "extend") and began.is_file() else None
    from caseunet.training.devices import recommended_recipe

    resolved = resolve_config(config, recipe, settings, options, base, recommended_recipe(device))
    if print_config:
        print(to_yaml(resolved), end="")
        return
    from caseunet.commands.cross_validation import cross_validate
    from caseunet.commands.train import is_first_process, train

    console.quiet = not is_first_process()
    display = TerminalDisplay(console)
    try:
        if fold == "all":
            bundle = cross_validate(prepared, out=out, config=resolved, mode=mode, raw=raw, display=display)
        else:
            bundle = train(prepared, out=out, config=resolved, mode=mode, display=display)
    except Interrupted as stopped:
        say(str(stopped), style="yellow")
        say_next("train", "--resume", "--out", out, *(("--fold", "all") if fold == "all" else ()))
        raise SystemExit(130 if stopped.signal == signal.SIGINT else RESUME_ME) from None
    say_trained(bundle)
    if fold != "all":
        say_next("predict", bundle.folder, "IMAGES", "--out", "predictions")
    else:
        say_next_of_folds(bundle, out, raw)


def say_next_of_folds(bundle: Any, out: Path, raw: Path | None) -> None:
    """What comes after a cross-validation: its out-of-fold predictions, or scores of them."""
    if raw is None:
        say_next("predict", bundle.folder, "RAW", "--out-of-fold", "--out", "out-of-fold")
    else:
        reading = ReadingConfig(**bundle.info.training_data.read_with)
        say_next("evaluate", out / "out-of-fold", raw, "--out", "report", *spell_options(reading))


def say_trained(bundle: Any) -> None:
    """How well the bundle did in validation."""
    score = bundle.info.validation
    values = ", ".join(f"{name} {number(value)}" for name, value in score.structures.items())
    which = "out of fold" if score.step is None else f"step {score.step}"
    cleaned = ", post-processed" if bundle.info.quality is not None and bundle.info.quality.postprocessing else ""
    say(f"validation Dice of the {score.selected} weights ({which}{cleaned}): {values}")
