"""From samples to tensors."""

import math
import shutil
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from caseunet.config import AugmentConfig, DataConfig
from caseunet.data.augmentation import Augmentation, draw_transforms, resolve
from caseunet.data.sampling import Sample, SliceSampler
from caseunet.data.store import Prepared, chunk_size
from caseunet.data.transforms import crop_or_pad
from caseunet.errors import CaseUNetError, InvalidInputError, InvalidOptionError
from caseunet.imaging.slices import neighbour_positions
from caseunet.types import IGNORE
from caseunet.workers import usable_processors

CACHE_BYTES = 2 * 1024**3
"""Decoded slices that are kept, by all loading processes together."""

MAX_WORKERS = 8
"""Loading processes where their number is planned: they decode faster than a GPU computes."""

AHEAD = 2
"""Batches that each loading process prepares ahead."""

SHARED_MEMORY = Path("/dev/shm")
"""Through which batches come from other processes, where there is such a thing."""


@dataclass(frozen=True)
class Batch:
    """Stored pixels with what is to be done to them.

    Attributes:
        pixels: (B, slices · C, H, W), the stored type; small, so that little is moved between processes and devices.
        target: class ids, (B, H, W), uint8; :data:`IGNORE` where nobody judged.
        case_statistics: mean and standard deviation of each one's case, (B, 2, C), float32.
        samples: where each comes from.
        augmentations: drawn for each, and not yet applied.
        merged: what is left of each class in each one's case, (B, classes), uint8, as
            :meth:`caseunet.types.LabelMap.merged_ids` gives it.
    """

    pixels: Tensor
    target: Tensor
    case_statistics: Tensor
    samples: tuple[Sample, ...]
    augmentations: tuple[Augmentation, ...]
    merged: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, number: int, parts: int) -> "Batch":
        """Every ``parts``-th sample from ``number`` on."""
        every = slice(number, None, parts)
        return Batch(*(getattr(self, field.name)[every] for field in fields(self)))

    def pin_memory(self) -> "Batch":
        """The same in memory from which a GPU copies while it computes; torch's loader asks for it."""
        return replace(
            self,
            pixels=self.pixels.pin_memory(),
            target=self.target.pin_memory(),
            case_statistics=self.case_statistics.pin_memory(),
            merged=self.merged.pin_memory(),
        )


@dataclass(frozen=True)
class LoadFailure:
    """What went wrong where a batch was loaded; an exception would arrive from another process without its place."""

    text: str
    is_defect: bool


class BatchDataset(Dataset[Batch | LoadFailure]):
    """Item n is the whole batch of training step n.

    Args:
        samples: (seed, step) → what the batch holds.
        context_slices: slices on each side that are loaded with each.
        patch_size: height and width that are cut out of each.
        augment: how augmentations are drawn.
        seed: of all that is drawn.
        cache_bytes: of decoded slices to keep.
        part: (n, of how many): only every so many-th sample from n on, for one of several devices.
    """

    def __init__(
        self,
        prepared: Prepared,
        samples: Callable[[int, int], list[Sample]],
        context_slices: int,
        patch_size: tuple[int, int],
        augment: AugmentConfig,
        seed: int,
        cache_bytes: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._prepared, self._samples, self._context_slices = prepared, samples, context_slices
        self._patch_size, self._augment, self._seed = patch_size, resolve(augment), seed
        self._cache = _SliceCache(prepared, cache_bytes)
        self._part = slice(part[0], None, part[1])

    def __getitem__(self, step: int) -> Batch | LoadFailure:
        drawn = self._samples(self._seed, step)
        samples = drawn[self._part]
        sample = samples[0]
        try:
            pairs = []
            for sample in samples:
                pairs.append(self._load(sample))
        except Exception as error:
            where = f"step {step}, case {sample.case}, slice {sample.slice}: "
            if isinstance(error, CaseUNetError):
                return LoadFailure(where + str(error), is_defect=False)
            return LoadFailure(where + traceback.format_exc(), is_defect=True)
        pixels, target = (torch.from_numpy(np.stack(parts)) for parts in zip(*pairs, strict=True))
        rng = np.random.default_rng([self._seed, step, 1])  # not the samples' own, so that these do not depend on it
        rgb, channels = self._prepared.info.modality == "rgb", self._prepared.info.channels
        augmentations = tuple(draw_transforms(self._augment, rng, rgb, channels) for _ in drawn)[self._part]
        case_statistics = torch.from_numpy(
            np.stack([self._prepared.case_statistics(sample.case) for sample in samples])
        )
        whole = tuple(range(len(self._prepared.info.label_map)))
        merged = torch.tensor([self._prepared.merged_ids(sample.case) or whole for sample in samples])
        return Batch(pixels, target, case_statistics, tuple(samples), augmentations, merged.to(torch.uint8))

    def _load(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """One sample's stored pixels (slices · C, H, W) and class ids (H, W), cut out."""
        slices = int(self._prepared.cases.at[sample.case, "slices"])
        positions = neighbour_positions([sample.slice], self._context_slices, slices)[0]
        labels = self._cache.labels(sample.case, sample.slice)
        if (highest := int(labels.max(where=labels != IGNORE, initial=0))) >= (
            classes := len(self._prepared.info.label_map)
        ):
            raise InvalidInputError(
                f"the labels hold class {highest}, but the classes are 0 to {classes - 1}. Prepare the data again."
            )
        corner = sample.corner(labels, self._patch_size)
        pixels = np.concatenate([self._cut(sample.case, int(position), corner, labels.shape) for position in positions])
        return pixels, crop_or_pad(labels, self._patch_size, corner)

    def _cut(self, case: str, position: int, corner: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
        """The patch of a slice of this height and width, (C, H, W); of a large slice it alone is decoded."""
        if size == chunk_size(size[0], size[1]):
            return crop_or_pad(self._cache.pixels(case, position), self._patch_size, corner)
        rows, columns = (
            slice(max(0, start), min(length, start + side))
            for start, side, length in zip(corner, self._patch_size, size, strict=True)
        )
        part = self._prepared.image_part(case, position, rows, columns)
        return crop_or_pad(part, self._patch_size, (corner[0] - rows.start, corner[1] - columns.start))


class _SliceCache:
    """The slices used last, decoded, up to a number of bytes."""

    def __init__(self, prepared: Prepared, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._read = {"images": prepared.image_slice, "labels": prepared.label_slice}
        self._held: OrderedDict[tuple[str, str, int], np.ndarray] = OrderedDict()

    def pixels(self, case: str, position: int) -> np.ndarray:
        """(C, H, W)."""
        return self._get("images", case, position)

    def labels(self, case: str, position: int) -> np.ndarray:
        """Class ids (H, W)."""
        return self._get("labels", case, position)

    def _get(self, kind: str, case: str, position: int) -> np.ndarray:
        key = (kind, case, position)
        if key not in self._held:
            self._held[key] = self._read[kind](case, position)
            self._bytes += self._held[key].nbytes
            while self._bytes > self._limit and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        self._held.move_to_end(key)
        return self._held[key]


def batches(
    prepared: Prepared,
    config: DataConfig,
    augment: AugmentConfig,
    seed: int,
    start: int,
    part: tuple[int, int] = (0, 1),
    is_pinned: bool = False,
) -> Iterator[Batch]:
    """Batches of training steps ``start``, ``start + 1``, … without end; the same with any number of workers.

    Args:
        config: with numbers as batch size and workers.
        part: (n, of how many): the share of one of several devices, see :class:`BatchDataset`.
        is_pinned: whether other processes' batches come in pinned memory, for a GPU.

    Raises:
        CaseUNetError: while they are drawn, stored data are found damaged (the case is named), a loading process dies,
            or there is too little shared memory for them.
        RuntimeError: a defect, with the case and its own traceback.
    """
    if not isinstance(config.batch_size, int) or config.patch_size is None or config.workers == "auto":
        raise ValueError("the sizes of batch and patch, or the number of workers, are not known yet")
    train = prepared.fold(config.fold).train
    sampler = SliceSampler(
        train,
        {case: prepared.slice_class_pixels(case) for case in train},
        config.batch_size,
        config.oversample_foreground,
        config.sampling,
    )
    patch_size = config.patch_size
    share = CACHE_BYTES // max(1, config.workers)
    dataset = BatchDataset(prepared, sampler.draw, config.context_slices, patch_size, augment, seed, share, part)
    options: dict[str, Any] = {"num_workers": config.workers}
    if config.workers:  # zarr's own threads do not survive a fork
        options |= {"multiprocessing_context": "spawn", "persistent_workers": True, "prefetch_factor": AHEAD}
        options |= {"pin_memory": is_pinned}
        _check_workers(prepared, config, config.workers, part[1])
    loader = DataLoader(dataset, batch_size=None, sampler=_Steps(range(start, 2**62)), **options)
    return _check_config(iter(loader), config.workers)


def plan_workers(prepared: Prepared, config: DataConfig, device: torch.device, ranks: int) -> int:
    """The processes that "auto" stands for.

    Args:
        config: with a batch size that is a number.
        device: to train on.
        ranks: processes that train on this machine.
    """
    workers = min(MAX_WORKERS, usable_processors() // ranks - 1) if device.type == "cuda" else 0
    try:
        _check_workers(prepared, config, workers, ranks)
    except CaseUNetError:
        return 0
    return max(0, workers)


def _check_workers(prepared: Prepared, config: DataConfig, workers: int, ranks: int) -> None:
    """Make sure that other processes can load, and hand over their batches."""
    assert isinstance(config.batch_size, int)
    assert config.patch_size is not None
    pixels = -(-config.batch_size // ranks) * math.prod(config.patch_size)
    item = np.dtype(prepared.info.dtype).itemsize * prepared.info.channels * (2 * config.context_slices + 1) + 1
    needed = AHEAD * workers * pixels * item
    if not isinstance(prepared.folder, Path) and prepared.folder.protocol == "memory":
        raise InvalidInputError(
            f"{prepared.folder}: other processes do not see it. Set data.workers to 0.", options=("data.workers",)
        )
    if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
        raise InvalidOptionError(
            f"data.workers = {workers}: their batches need {needed / 1e6:,.0f} MB of shared memory, and "
            f"{SHARED_MEMORY} has {free / 1e6:,.0f} MB free. Lower data.workers or data.batch_size, or give the "
            "container more shared memory, such as 2 GB.",
            options=("data.workers", "data.batch_size"),
        )


def _check_config(loaded: Iterator[Batch | LoadFailure], workers: int) -> Iterator[Batch]:
    while True:
        try:
            batch = next(loaded)
        except RuntimeError as error:  # torch says so of a process that is gone
            if "worker" not in str(error).lower():
                raise
            raise CaseUNetError(
                f"A process that loads batches died: {error} Most often memory, or shared memory, is too small: lower "
                f"data.workers (now {workers}) or data.batch_size.",
                options=("data.workers", "data.batch_size"),
            ) from error
        if isinstance(batch, LoadFailure):
            raise (RuntimeError if batch.is_defect else CaseUNetError)(f"Loading of {batch.text}")
        yield batch


class _Steps(torch.utils.data.Sampler[int]):
    def __init__(self, steps: range) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)
