"""Where the numbers of a run go while it trains: metrics.csv, TensorBoard, and on request MLflow and W&B."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np

from caseunet.config import Config
from caseunet.errors import CaseUNetError
from caseunet.files import replace_when_whole
from caseunet.progress import Display
from caseunet.training.fold_scores import ValidationScore
from caseunet.training.state import State

COLUMNS = ("step", "seconds", "lr", "images_per_second", "loss", "cross_entropy", "ssim", "dice", "gradient_norm")


class Logger(Protocol):
    """Takes numbers and pictures; each is of a step."""

    def numbers(self, step: int, values: dict[str, float]) -> None: ...

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """``pixels``: (H, W, 3), uint8."""

    def close(self) -> None: ...


class MetricsLog:
    """metrics.csv: a row every few steps with the means since the last row, and one for every validation.

    Args:
        path: of the file; rows after those that ``content`` tells of are cut off. None writes nothing.
        structures: whose scores have columns.
        loggers: that get the same numbers.
        content: of :meth:`capture`, to go on from there.
    """

    def __init__(
        self,
        path: Path | None,
        structures: tuple[str, ...],
        loggers: Sequence[Logger] = (),
        content: dict[str, Any] | None = None,
    ) -> None:
        self._path, self._loggers = path, loggers
        scores = [
            f"val_{metric}{of}" for metric in ("dice", "iou") for of in ("", *(f"_{name}" for name in structures))
        ]
        self._columns = [*COLUMNS, *scores]
        content = content or {"rows": 0, "sums": {}, "count": 0}
        self._rows: int = content["rows"]
        self._sums: dict[str, float] = dict(content["sums"])
        self._count: int = content["count"]
        before: list[str] = []
        if path is None:
            return
        if self._rows and path.is_file():
            before = path.read_text(encoding="utf-8").splitlines()[1 : 1 + self._rows]
        with replace_when_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerow(self._columns)
            stream.writelines(f"{row}\n" for row in before)

    def capture(self) -> dict[str, Any]:
        """Plain values that belong into a checkpoint."""
        return {"rows": self._rows, "sums": dict(self._sums), "count": self._count}

    def add(self, values: dict[str, float]) -> None:
        """Take in the numbers of one step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def write(self, state: State, score: ValidationScore | None = None) -> None:
        """Write a row."""
        numbers = {name: total / self._count for name, total in self._sums.items()}
        if self._sums:
            numbers["lr"] = state.optimizer.param_groups[0]["lr"]
        row: dict[str, Any] = {"step": state.step, "seconds": f"{state.seconds:.2f}"}
        row |= {name: f"{value:.6g}" for name, value in numbers.items()}
        if score is not None:
            scores = {f"val_{metric}": score.value(metric) for metric in ("dice", "iou")}
            scores |= {f"val_{m}_{name}": v for m in ("dice", "iou") for name, v in getattr(score, m).items()}
            row |= {name: f"{value:.5f}" for name, value in scores.items()}
            numbers |= scores
        if self._path is not None:
            with self._path.open("a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, self._columns, lineterminator="\n").writerow(row)
        self._rows += 1
        self._sums, self._count = {}, 0
        for logger in self._loggers:
            logger.numbers(state.step, {name: value for name, value in numbers.items() if value == value})

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Hand a picture, (H, W, 3), uint8, to the loggers."""
        for logger in self._loggers:
            logger.picture(step, name, pixels)

    def close(self) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.close()


def create_loggers(run: Path, config: Config, step: int, display: Display) -> list[Logger]:
    """TensorBoard's, and those that the configuration names; what they had after ``step`` is taken back.

    Raises:
        CaseUNetError: one is not installed, or refuses.
    """
    loggers: list[Logger] = [TensorBoardLog(run, step)]
    for name in config.training.loggers:
        try:
            logger: Logger = MLflowLog(run, config, step) if name == "mlflow" else WandbLog(run, config, step)
        except CaseUNetError:
            raise
        except Exception as error:  # each service has errors of its own
            raise CaseUNetError(f"training.loggers: {name} cannot be used: {error}") from error
        loggers.append(_Tolerated(name, logger, display))
    return loggers


class _Tolerated:
    """A logger whose failure, say for want of a connection, is told once and ends no training."""

    def __init__(self, name: str, logger: Logger, display: Display) -> None:
        self._name, self._logger, self._display = name, logger, display
        self._failed = False

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._try(lambda: self._logger.numbers(step, values))

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._try(lambda: self._logger.picture(step, name, pixels))

    def close(self) -> None:
        self._try(self._logger.close)

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self._failed = True
            self._display.caution(f"{self._name}: {error}; it gets no more of this run")


class TensorBoardLog:
    """RUN/tensorboard."""

    def __init__(self, run: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1, flush_secs=10)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            group, name = ("validation", name.removeprefix("val_")) if name.startswith("val_") else ("training", name)
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class MLflowLog:
    """MLflow, on the tracking server that is set up on this machine; a resumed run goes on in its own."""

    def __init__(self, run: Path, config: Config, step: int) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise CaseUNetError("training.loggers: MLflow is not installed. Install caseunet[mlflow].") from error
        self._client = MlflowClient()
        place = run / "mlflow.txt"
        if step and place.is_file():
            self._id = place.read_text(encoding="utf-8").strip()
        else:
            found = self._client.get_experiment_by_name("caseunet")
            experiment = found.experiment_id if found else self._client.create_experiment("caseunet")
            self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
            place.write_text(self._id + "\n", encoding="utf-8")
            for section, values in config.model_dump(mode="json").items():
                for key, value in (values if isinstance(values, dict) else {"": values}).items():
                    self._client.log_param(self._id, f"{section}.{key}".rstrip("."), str(value)[:500])

    def numbers(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, _plain(name), value, step=step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        from PIL import Image

        self._client.log_image(self._id, Image.fromarray(pixels), artifact_file=f"{name}-{step:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._id)


class WandbLog:
    """Weights & Biases, as this machine is logged in there; a resumed run goes on in its own."""

    def __init__(self, run: Path, config: Config, step: int) -> None:
        try:
            import wandb
        except ImportError as error:
            raise CaseUNetError(
                "training.loggers: Weights & Biases is not installed. Install caseunet[wandb]."
            ) from error
        place = run / "wandb.txt"
        name = place.read_text(encoding="utf-8").strip() if step and place.is_file() else uuid4().hex[:8]
        place.write_text(name + "\n", encoding="utf-8")
        self._image = wandb.Image
        self._run = wandb.init(
            project="caseunet",
            name=run.name,
            id=name,
            resume="allow",
            dir=str(run),
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(silent=True),
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self._run.log({name: self._image(pixels)}, step=step)

    def close(self) -> None:
        self._run.finish()


def _plain(name: str) -> str:
    """Structures may be called what MLflow does not take."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
