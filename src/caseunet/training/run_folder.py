"""A run's folder: how one begins or goes on, what made it, and that one process at a time trains in it."""

import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.files import (
    Location,
    content_hash,
    is_output,
    location,
    output_folder,
    read_json,
    resume_folder,
    write_json,
)
from caseunet.former_names import migrate_file
from caseunet.options import Mode
from caseunet.progress import Display, Notices
from caseunet.training.devices import recommended_recipe
from caseunet.types import Preprocessing

KIND = "a training run"
LIBRARIES = ("torch", "lightning-fabric", "numpy", "zarr", "nibabel", "pandas", "pytorch-msssim")
MAY_CHANGE = {
    "prepare": None,
    "data": {"workers", "max_patch_size"},
    "training": {
        "device",
        "devices",
        "nodes",
        "strategy",
        "micro_batches",
        "compile",
        "log_every",
        "checkpoint_minutes",
        "max_nonfinite_steps",
        "loggers",
        "quality",
        "likeness",
        "checkpoint",
    },
}
"""Keys that a resumed run may have otherwise: they do not change what is learnt beyond rounding. None: all of them."""
REPLANNED = {"steps", "minutes", "num_validations", "patience"}
"""Keys of ``training`` that may change on purpose."""


@dataclass(frozen=True)
class RunRequest:
    """What to train on, where, how.

    Attributes:
        prepared: the data set's folder.
        out: the run's folder.
        config: of the run.
        mode: "new", "overwrite" an earlier run, "resume" one, or "extend" one over another budget.
    """

    prepared: Location
    out: Path
    config: Config
    mode: Mode

    @property
    def is_resumed(self) -> bool:
        return self.mode in ("resume", "extend")


def resolve_request(prepared: str | Location | None, out: Path, config: Config | None, mode: Mode) -> RunRequest:
    """Work out what a run that was begun already leaves open.

    A run that ended before it learnt anything begins anew.

    Args:
        prepared: may be None for a run that goes on.
        out: the run's folder.
        config: None for that of the run that goes on, or the recipe that is recommended for this machine.
        mode: as for :class:`RunRequest`; a run that is not there yet begins.

    Raises:
        CaseUNetError: another process trains there, there is nothing to train on, or it would go on otherwise than it
            began.
    """
    check_unlocked(out)
    goes_on = mode in ("resume", "extend")
    if goes_on and prepared is None:
        if not (out / "environment.json").is_file():
            raise CaseUNetError(
                f"{out}: there is no training run to go on with. Name the prepared data set to begin one."
            )
        prepared = read_json(out / "environment.json", "a run's description")["prepared"]
    if prepared is None:
        raise CaseUNetError("Nothing to train on: name the prepared data set.")
    if not any((out / "checkpoints").glob("step-*.ckpt")):
        began = out / "config.yaml"
        config = config or (load_config(base=began) if goes_on and began.is_file() else None)
        if is_output(out, KIND) and not (out / "bundle").exists():
            mode = "overwrite"
        elif goes_on:
            mode = "new"
    elif goes_on:
        config = resume_config(out, config, is_extended=mode == "extend")
    return RunRequest(location(prepared), out, config or load_config(fallback=recommended_recipe()), mode)


def resume_config(out: Path, config: Config | None, *, is_extended: bool) -> Config:
    """The configuration with which a run goes on.

    Raises:
        CaseUNetError: it would go on otherwise than it began.
    """
    began = load_config(base=out / "config.yaml")
    if config is None:
        return began
    planned = {"batch_size": (None, "auto"), "patch_size": (None,)}
    known = {name: getattr(began.data, name) for name, open_ in planned.items() if getattr(config.data, name) in open_}
    config = config.model_copy(update={"data": config.data.model_copy(update=known)})
    if config.augment.horizontal_flip is None:  # may have been settled by the classes' names
        kept = {"horizontal_flip": began.augment.horizontal_flip}
        config = config.model_copy(update={"augment": config.augment.model_copy(update=kept)})
    if config.training.pretrained is not None:  # the network is its
        config = config.model_copy(update={"model": began.model})
    wanted = _comparable(config)
    for section, before in _comparable(began).items():
        after = wanted[section]
        if not isinstance(before, dict):
            before, after = {"": before}, {"": after}
        free = MAY_CHANGE.get(section, set())
        if free is None:
            continue
        free = free | (REPLANNED if is_extended and section == "training" else set())
        for key in before:
            if before[key] != after[key] and key not in free:
                name = f"{section}.{key}".rstrip(".")
                hint = " To train longer on purpose, extend the run." if key in REPLANNED else ""
                raise CaseUNetError(
                    f"{name} was {before[key]} when the run in {out} began and is {after[key]} now: a resumed run goes "
                    f"on as it began.{hint} Otherwise start another run in another folder.",
                    options=("mode", "out") if hint else ("out",),
                )
    return config


def _comparable(config: Config) -> dict[str, Any]:
    """Plain values, the former name of row-wise attention replaced."""
    values = config.model_dump(mode="json")
    arguments = values["model"]["kwargs"]
    if arguments.get("attention") == "author":
        arguments["attention"] = "rowwise"
    return values


def check_unlocked(out: Path) -> None:
    """Make sure that no other process trains in a folder before anything in it is moved.

    Raises:
        CaseUNetError: one does.
    """
    if (out / ".lock").exists():
        try:
            with FileLock(out / ".lock", timeout=0):
                pass
        except Timeout as error:
            raise CaseUNetError(f"{out}: another process trains in it.") from error


@contextmanager
def open_run(
    request: RunRequest, fabric: Fabric, prepared: Prepared, preprocessing: Preprocessing, display: Notices
) -> Iterator[Path]:
    """The run's folder, written to by the first process and locked by it; the others wait until it is there.

    Raises:
        CaseUNetError: it cannot be written, another process trains in it, or the data are not those it began with.
    """
    out = request.out
    if not fabric.is_global_zero:
        fabric.barrier()
        yield out.resolve()
        return
    made_with = environment(fabric, prepared, preprocessing)
    if request.is_resumed:
        opened = resume_folder(out, KIND)
    else:
        opened = output_folder(out, KIND, [prepared.folder], request.mode == "overwrite")
    with opened as run:
        try:
            with FileLock(run / ".lock", timeout=0):
                if request.is_resumed:
                    made_with = add_resumption(run, made_with, display)
                write_json(run / "environment.json", made_with)
                fabric.barrier()
                try:
                    yield run
                finally:
                    display.write_log(run)
        except Timeout as error:
            raise CaseUNetError(f"{out}: another process trains in it.") from error


def add_resumption(run: Path, now: dict[str, Any], display: Display) -> dict[str, Any]:
    """What made the run so far, with this resumption added.

    Raises:
        CaseUNetError: the data are others.
    """
    before = migrate_file(read_json(run / "environment.json", "a run's description of what made it"))
    before["preprocessing"] = Preprocessing.model_validate(before["preprocessing"]).model_dump(mode="json")
    for key, what in (("data_hash", "sources"), ("split", "folds"), ("preprocessing", "sizes or intensities")):
        if before.get(key) != now[key]:
            raise CaseUNetError(
                f"{now['prepared']}: is not what the run began with: its {what} are others. Give the data set it began "
                "with, or start another run."
            )
    changed = [key for key in ("code_hash", "libraries", "device", "processor_threads") if before.get(key) != now[key]]
    if changed:
        names = ", ".join(key.replace("_", " ") for key in changed)
        display.caution(f"not the same as when the run began: {names}; so not the same bit for bit")
    added = {key: now[key] for key in (*changed, "command", "began")}
    return before | {"resumed": [*before.get("resumed", []), added]}


def environment(fabric: Fabric, prepared: Prepared, preprocessing: Preprocessing) -> dict[str, Any]:
    """What makes a run, beside its configuration."""
    device = fabric.device
    return {
        "caseunet": version("caseunet"),
        "code_hash": content_hash(*sorted(Path(__file__).parents[1].rglob("*.py"))),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processes": fabric.world_size,
        "processor_threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "command": sys.argv,
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "prepared": str(prepared.folder if not isinstance(prepared.folder, Path) else prepared.folder.resolve()),
        "data_hash": prepared.info.content_hash,
        "split": prepared.split.model_dump(mode="json"),
        "preprocessing": preprocessing.model_dump(mode="json"),
    }
