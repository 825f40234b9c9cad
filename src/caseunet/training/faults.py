"""Steps whose loss or gradient is not finite: what was in the batch, and which sample is to blame."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from caseunet.data.loader import Batch
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.training.batch import prepare_batch
from caseunet.types import Preprocessing

FILE = "faults.jsonl"


@torch.no_grad()
def describe_fault(
    fabric: Fabric, model: nn.Module, loss: nn.Module, batch: Batch, preprocessing: Preprocessing
) -> list[dict[str, Any]]:
    """Every sample of a batch with its augmentation, and under "cause" what is wrong with it, if anything.

    Each goes through the network by itself, in float32. On several devices all must call this, with as many samples.
    """
    model.eval()
    described = []
    for n, (sample, augmentation) in enumerate(zip(batch.samples, batch.augmentations, strict=True)):
        one = batch.part(n, len(batch))
        image, target = prepare_batch(fabric, one, preprocessing)
        value = deeply_supervised(loss, model(image), target)
        cause = ""
        if not torch.isfinite(one.pixels.float()).all():
            cause = "its pixels are not all finite"
        elif not torch.isfinite(image).all():
            cause = "its pixels are not finite after normalisation and augmentation"
        elif not torch.isfinite(value):
            cause = "its loss is not finite, though its pixels are"
        described.append(
            {"case": sample.case, "slice": sample.slice, "cause": cause, "focus": sample.focus}
            | {"chance": sample.chance, "augmentation": asdict(augmentation)}
        )
    model.train()
    return described


def find_culprits(samples: Sequence[dict[str, Any]]) -> str:
    """The samples that are to blame, in words; "" if none is."""
    causes: dict[str, list[str]] = {}
    for sample in samples:
        if sample["cause"]:
            causes.setdefault(sample["cause"], []).append(f"case {sample['case']}, slice {sample['slice']}")
    return "; ".join(f"{' and '.join(sorted(set(who)))}: {cause}" for cause, who in causes.items())


def write_fault(run: Path, fault: dict[str, Any]) -> None:
    """Add a line to faults.jsonl."""
    with (run / FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(fault, ensure_ascii=False) + "\n")


def forget_after(run: Path, step: int) -> None:
    """Remove the faults of steps that a run which goes on from ``step`` has not come to yet."""
    file = run / FILE
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
        file.write_text("".join(kept), encoding="utf-8")
