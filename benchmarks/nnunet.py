"""nnU-Net v2 itself, trained in 2-D for minutes on the cases of a caseunet split, to stand beside caseunet's models.

    python benchmarks/nnunet.py RAW PREPARED/splits.json OUT --fold 0 --minutes 10 --seed 0
    caseunet evaluate OUT/predictions RAW --split PREPARED/splits.json --fold 0

The first command wants the Python of an environment with nnunetv2 (measured: 2.8.1), not this package. RAW holds
imagesTr/ and labelsTr/ with .nii.gz of the same names, or images/ and labels/ with PNG or JPEG pictures of the same
stems; JPEG masks, and masks of 0 and 255, are cut at 127, where a repair plan may snap each value to a neighbour's. If
RAW was prepared with a plan, `evaluate` wants the same `--plan`.

`--stage prepare` writes nnU-Net's raw folder and runs its own fingerprint, planning and 2-D preprocessing below OUT.
`--stage train` needs of that only OUT/preprocessed and the validation cases' images in OUT/raw, so OUT may be carried
to another machine without RAW. It trains, predicts the validation cases from their original images with the final
weights, and writes OUT/predictions and OUT/nnunet.json; what an earlier training left in OUT is replaced.

All is nnU-Net's own but the budget. Training ends after the given minutes of wall clock, its online validation
included; the clock starts when the first batches are there. The learning rate is nnU-Net's polynomial of the share of
the minutes that are used, set anew before each step, as nnU-Net's 1000 epochs are about as fine. An epoch has nnU-Net's
250 steps and a fifth as many of validation; only the last one or two are cut short, so that the budget holds whatever a
step takes. Nothing is compiled. Pictures of the progress and checkpoints of the best epoch are not written: over 1000
epochs of minutes they cost nothing, over a few short ones they would cost nnU-Net some of its time.

As nnU-Net does in its own cross-validation, the fingerprint and the plan (patch, batch, network) see the intensities
and shapes of all cases of the fold, those for validation too; weights are only ever fitted to the training cases.

Seeded are the weights and each augmentation worker (nnU-Net leaves the workers unseeded, and torch's part of their
randomness the same in all). Two runs still differ: the clock decides how many steps there are, several workers race
for the order of their batches, and cuDNN chooses its algorithms by their speed.
"""

import argparse
import json
import math
import os
import platform
import random
import resource
import shlex
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as trainer_module
from PIL import Image

NUMBER, NAME = 901, "Dataset901_caseunet"
PICTURES = (".png", ".jpg", ".jpeg")
Fold = dict[str, dict[str, list[list[int]]]]


class PolyOverTime(PolyLRScheduler):
    """nnU-Net's polynomial, of the share of the budget that is used instead of the share of epochs."""

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, share: Any) -> None:
        self.share = share
        super().__init__(optimizer, initial_lr, max_steps=1)

    def step(self, current_step: int | None = None) -> None:
        super().step(min(self.share(), 1.0))


class BudgetTrainer(trainer_module.nnUNetTrainer):
    """nnU-Net's trainer, which ends after `minutes` (set after construction: nnU-Net reads its `__init__`'s names)."""

    minutes = 1.0
    steps = validation_steps = 0
    begun: float | None = None
    used = 0.0

    def share(self) -> float:
        return 0.0 if self.begun is None else (time.monotonic() - self.begun) / (60 * self.minutes)

    def left(self) -> float:
        """Seconds."""
        return 60 * self.minutes * (1 - self.share())

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        optimizer, _ = super().configure_optimizers()
        return optimizer, PolyOverTime(optimizer, self.initial_lr, self.share)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.lr_scheduler.step()
        self.steps += 1
        return super().train_step(batch)

    def run_training(self) -> None:
        """nnU-Net's loop, ended by the clock."""
        self.on_train_start()
        self.disable_checkpointing = True
        draw, self.logger.plot_progress_png = self.logger.plot_progress_png, lambda folder: None
        ratio = self.num_val_iterations_per_epoch / self.num_iterations_per_epoch
        step = validation = 0.0  # seconds that one takes
        self.begun = time.monotonic()
        while not self.steps or self.left() > step + validation:
            self.on_epoch_start()
            self.on_train_epoch_start()
            outputs: list[dict[str, Any]] = []
            began = time.monotonic()
            while len(outputs) < self.num_iterations_per_epoch and (
                not outputs or self.left() > step + math.ceil((len(outputs) + 1) * ratio) * (validation or step)
            ):
                outputs.append(self.train_step(next(self.dataloader_train)))
                step = (time.monotonic() - began) / len(outputs)
            self.on_train_epoch_end(outputs)
            with torch.no_grad():
                self.on_validation_epoch_start()
                wanted, outputs = math.ceil(len(outputs) * ratio), []
                began = time.monotonic()
                while len(outputs) < wanted and (not outputs or self.left() > validation):
                    outputs.append(self.validation_step(next(self.dataloader_val)))
                    validation = (time.monotonic() - began) / len(outputs)
                self.validation_steps += len(outputs)
                self.on_validation_epoch_end(outputs)
            self.on_epoch_end()
        self.used = time.monotonic() - self.begun
        self.disable_checkpointing = False
        self.on_train_end()
        draw(self.output_folder)


def seed_workers(seed: int) -> None:
    """Have nnU-Net's augmentation workers seeded; its trainer gives them no seeds, and has no option for it."""
    seeds = np.random.SeedSequence(seed)

    class Seeded(NonDetMultiThreadedAugmenter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.seeds = [int(s.generate_state(1)[0]) for s in seeds.spawn(self.num_processes)]

    trainer_module.NonDetMultiThreadedAugmenter = Seeded


def read_fold(path: Path, number: int) -> Fold:
    split = json.loads(path.read_text())
    fold: Fold = split["folds"][number]
    if split["by"] == "slice-blocks" or set(fold["train"]) & set(fold["val"]):
        raise SystemExit(f"{path}: parts slices of one case; nnU-Net can only be given whole cases.")
    return fold


def whole_cases(fold: Fold) -> dict[str, list[str]]:
    """The fold as nnU-Net writes one."""
    return {part: sorted(fold[part]) for part in ("train", "val")}


def only_file(folder: Path, case: str, endings: tuple[str, ...]) -> Path:
    found = [path for ending in endings if (path := folder / f"{case}{ending}").is_file()]
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} files are called {case}{' or '.join(endings)}, not one.")
    return found[0]


def write_volumes(raw: Path, data: Path, cases: list[str], channel: str) -> dict[str, Any]:
    """Copy volumes as they are; returns the content of dataset.json, without the labels."""
    values: set[float] = set()
    for case in cases:
        shutil.copyfile(only_file(raw / "imagesTr", case, (".nii.gz",)), data / "imagesTr" / f"{case}_0000.nii.gz")
        mask = only_file(raw / "labelsTr", case, (".nii.gz",))
        shutil.copyfile(mask, data / "labelsTr" / mask.name)
        values |= set(np.unique(nib.load(mask).get_fdata()).tolist())
    return {
        "channel_names": {"0": channel},
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIO",
        "labels": labels_of(values),
    }


def write_pictures(raw: Path, data: Path, cases: list[str]) -> dict[str, Any]:
    """Write pictures and masks as PNG, the only lossless way that nnU-Net reads; returns the same."""
    images = {case: only_file(raw / "images", case, PICTURES) for case in cases}
    is_grey = all(Image.open(path).mode == "L" for path in images.values())
    values: set[float] = set()
    for case, path in images.items():
        Image.open(path).convert("L" if is_grey else "RGB").save(data / "imagesTr" / f"{case}_0000.png")
        source = only_file(raw / "labels", case, PICTURES)
        opened = Image.open(source)
        mask = np.asarray(opened if opened.mode in ("L", "P", "1") else opened.convert("L")).astype(np.uint8)
        if source.suffix != ".png" or set(np.unique(mask).tolist()) <= {0, 255}:
            mask = (mask > 127).astype(np.uint8)
        Image.fromarray(mask).save(data / "labelsTr" / f"{case}.png")
        values |= set(np.unique(mask).tolist())
    return {
        "channel_names": {"0": "grey"} if is_grey else {"0": "R", "1": "G", "2": "B"},
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "labels": labels_of(values),
    }


def labels_of(values: set[float]) -> dict[str, int]:
    if sorted(values) != list(range(len(values))) or len(values) < 2:
        raise SystemExit(f"The masks hold {sorted(values)[:20]}; nnU-Net wants 0, 1, 2, … without gaps.")
    return {"background" if v == 0 else f"class_{v:g}": int(v) for v in sorted(values)}


def prepare(raw: Path, fold: Fold, out: Path, channel: str, processes: int) -> None:
    data = out / "raw" / NAME
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    cases = sorted([*fold["train"], *fold["val"]])
    are_volumes = (raw / "imagesTr").is_dir()
    description = write_volumes(raw, data, cases, channel) if are_volumes else write_pictures(raw, data, cases)
    (data / "dataset.json").write_text(json.dumps(description | {"numTraining": len(cases)}, indent=1))
    extract_fingerprints([NUMBER], num_processes=processes, check_dataset_integrity=True)
    plan_experiments([NUMBER])
    preprocess([NUMBER], configurations=["2d"], num_processes=[processes])
    (out / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps([whole_cases(fold)], indent=1))


def train(out: Path, minutes: float, seed: int, device: str, batch_size: int | None) -> BudgetTrainer:
    shutil.rmtree(out / "results", ignore_errors=True)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (nnU-Net draws from the global state)
    torch.manual_seed(seed)
    seed_workers(seed)
    torch.backends.cudnn.benchmark = device == "cuda"  # as nnU-Net's own command sets it
    prepared = out / "preprocessed" / NAME
    plans = json.loads((prepared / "nnUNetPlans.json").read_text())
    if batch_size is not None:
        plans["configurations"]["2d"]["batch_size"] = batch_size
    trainer = BudgetTrainer(
        plans=plans | {"continue_training": False},
        configuration="2d",
        fold=0,  # the only one of splits_final.json
        dataset_json=json.loads((prepared / "dataset.json").read_text()),
        device=torch.device(device),
    )
    trainer.minutes = minutes
    trainer.run_training()
    return trainer


def predict(trainer: BudgetTrainer, out: Path, folder: Path, mirroring: bool) -> float:
    """Write the masks of the validation cases with the trainer's final weights; returns seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=trainer.device, allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    _, cases = trainer.do_split()
    images, ending = out / "raw" / NAME / "imagesTr", trainer.dataset_json["file_ending"]
    began = time.monotonic()
    predictor.predict_from_files_sequential(
        [[str(images / f"{case}_0000{ending}")] for case in cases], [str(folder / case) for case in cases]
    )
    seconds = time.monotonic() - began
    for notes in folder.glob("*.json"):  # with a dataset.json the folder would look like a raw data set
        notes.unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, metavar="RAW")
    parser.add_argument("splits", type=Path, metavar="splits.json")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--stage", choices=("prepare", "train", "all"), default="all")
    parser.add_argument(
        "--workers", type=int, help="augmentation processes; by default nnU-Net's choice, 12 or the cores"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that preprocess")
    parser.add_argument("--batch-size", type=int, help="instead of the plan's, for a trial on a CPU")
    parser.add_argument("--channel", default="MRI", help="what volumes hold; CT has nnU-Net normalise as for CT")
    parser.add_argument("--disable_tta", action="store_true", help="predict a second time, without mirroring")
    given = parser.parse_args()
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(given.out / kind)
    os.environ["nnUNet_compile"] = "false"  # noqa: SIM112  (nnU-Net spells it so)
    if given.workers is not None:
        os.environ["nnUNet_n_proc_DA"] = str(given.workers)  # noqa: SIM112
    fold = read_fold(given.splits, given.fold)
    if given.stage in ("prepare", "all"):
        prepare(given.raw, fold, given.out, given.channel, given.processes)
    if given.stage == "prepare":
        return
    (prepared,) = json.loads((given.out / "preprocessed" / NAME / "splits_final.json").read_text())
    if prepared != whole_cases(fold):
        raise SystemExit(f"{given.out}: was prepared for another fold than {given.fold} of {given.splits}.")

    begun = time.monotonic()
    trainer = train(given.out, given.minutes, given.seed, given.device, given.batch_size)
    seconds = time.monotonic() - begun
    is_cuda = given.device == "cuda"
    peak = torch.cuda.max_memory_allocated() if is_cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prediction = {"mirroring": predict(trainer, given.out, given.out / "predictions", mirroring=True)}
    if given.disable_tta:
        prediction["disable_tta"] = predict(trainer, given.out, given.out / "predictions_disable_tta", mirroring=False)
    plan = trainer.configuration_manager
    paths = {str(path): path.name for path in (given.raw, given.splits, given.out)}
    record = {
        "nnunetv2": version("nnunetv2"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if is_cuda else f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "command": shlex.join(["python", "benchmarks/nnunet.py", *(paths.get(a, a) for a in sys.argv[1:])]),
        "seed": given.seed,
        "fold": given.fold,
        "training_cases": len(prepared["train"]),
        "validation_cases": len(prepared["val"]),
        "minutes": given.minutes,
        "minutes_used": round(trainer.used / 60, 3),
        "seconds_around_training": round(seconds - trainer.used, 1),
        "steps": trainer.steps,
        "validation_steps": trainer.validation_steps,
        "epochs": trainer.current_epoch,
        "batch_size": plan.batch_size,
        "batch_size_is_the_plans": given.batch_size is None,
        "patch_size": [int(n) for n in plan.patch_size],
        "features_per_stage": plan.network_arch_init_kwargs["features_per_stage"],
        "architecture": plan.network_arch_class_name,
        "spacing": [float(n) for n in plan.spacing],
        "normalization": plan.normalization_schemes,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "augmentation_workers": trainer_module.get_allowed_n_proc_DA(),
        "peak_memory_mb": round(peak / 1e6),
        "peak_memory_of": "GPU, allocated by torch" if is_cuda else "main process",
        "last_learning_rate": trainer.optimizer.param_groups[0]["lr"],
        "online_dice": [round(float(d), 4) for d in trainer.logger.get_value("mean_fg_dice", step=None)],
        "prediction_seconds": {how: round(s, 1) for how, s in prediction.items()},
    }
    (given.out / "nnunet.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
