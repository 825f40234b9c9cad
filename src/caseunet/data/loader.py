"""From samples to tensors."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from caseunet.config import DataConfig
from caseunet.data.sampling import Sample, SliceSampler
from caseunet.data.store import DatasetInfo, Prepared
from caseunet.data.transforms import crop_or_pad, neighbour_positions, normalize
from caseunet.types import Preprocessing

CT_WINDOW = (-200.0, 250.0)
"""HU window of CT where none is configured; soft tissue of the abdomen."""

CACHE_BYTES = 2 * 1024**3
"""Decoded slices that each loading process keeps."""


@dataclass(frozen=True)
class Batch:
    """Network input (B, in_channels, H, W), float32, and class ids (B, H, W), int64."""

    image: Tensor
    target: Tensor


class BatchDataset(Dataset[Batch]):
    """Item n is the whole batch of training step n."""

    def __init__(
        self, prepared: Prepared, sampler: SliceSampler, preprocessing: Preprocessing, size: tuple[int, int], seed: int
    ) -> None:
        self._prepared, self._sampler, self._preprocessing = prepared, sampler, preprocessing
        self._size, self._seed = size, seed
        self._cache = _SliceCache(prepared, CACHE_BYTES)

    def __getitem__(self, step: int) -> Batch:
        pairs = [self._load(sample) for sample in self._sampler.draw(self._seed, step)]
        pixels, labels = (np.stack(parts) for parts in zip(*pairs, strict=True))
        return Batch(normalize(torch.from_numpy(pixels), self._preprocessing), torch.from_numpy(labels).long())

    def _load(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """One sample's stored pixels (slices · C, H, W) and class ids (H, W), cut out and flipped."""
        slices = int(self._prepared.cases.at[sample.case, "slices"])
        positions = neighbour_positions([sample.slice], self._preprocessing.neighbours, slices)[0]
        pixels = np.concatenate([self._cache.get(sample.case, int(position))[0] for position in positions])
        labels = self._cache.get(sample.case, sample.slice)[1]
        flips = (slice(None, None, -1 if sample.flip_rows else 1), slice(None, None, -1 if sample.flip_columns else 1))
        cut = [crop_or_pad(array, self._size, sample.corner)[..., *flips] for array in (pixels, labels)]
        return cut[0], cut[1]


class _SliceCache:
    """The slices used last, decoded, up to a number of bytes."""

    def __init__(self, prepared: Prepared, limit: int) -> None:
        self._prepared, self._limit, self._bytes = prepared, limit, 0
        self._held: OrderedDict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def get(self, case: str, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (C, H, W) and class ids (H, W)."""
        key = (case, position)
        if key not in self._held:
            self._held[key] = self._prepared.image_slice(case, position), self._prepared.label_slice(case, position)
            self._bytes += sum(array.nbytes for array in self._held[key])
            while self._bytes > self._limit and len(self._held) > 1:
                self._bytes -= sum(array.nbytes for array in self._held.popitem(last=False)[1])
        self._held.move_to_end(key)
        return self._held[key]


def batches(
    prepared: Prepared, config: DataConfig, preprocessing: Preprocessing, seed: int, start: int
) -> Iterator[Batch]:
    """Batches of training steps ``start``, ``start + 1``, … without end; the same with any number of workers."""
    train = prepared.fold(config.fold).train
    sizes = {case: prepared.size(case) for case in train}
    size = config.patch_size or patch_size_of(list(sizes.values()))
    sampler = SliceSampler(
        train,
        {case: prepared.slice_class_pixels(case) for case in train},
        sizes,
        size,
        config.batch_size,
        config.rare_share,
        config.flip_rows,
        config.flip_columns,
    )
    dataset = BatchDataset(prepared, sampler, preprocessing, size, seed)
    options: dict[str, Any] = {"num_workers": config.workers}
    if config.workers:  # zarr's own threads do not survive a fork
        options |= {"multiprocessing_context": "spawn", "persistent_workers": True}
    steps = range(start, 2**62)
    return iter(DataLoader(dataset, batch_size=None, sampler=_Steps(steps), **options))


class _Steps(torch.utils.data.Sampler[int]):
    def __init__(self, steps: range) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)


def patch_size_of(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The largest height and the largest width, at least 32."""
    return max(32, *(h for h, _ in sizes)), max(32, *(w for _, w in sizes))


def plan_preprocessing(info: DatasetInfo, config: DataConfig) -> Preprocessing:
    """Work out how stored pixels become network input, from the data's statistics and the configuration."""
    unsigned_8bit = info.dtype == "uint8"
    clip = config.clip
    if clip is None and not unsigned_8bit:
        middle = (min(info.intensities.low), max(info.intensities.high))
        clip = CT_WINDOW if info.modality == "ct" and config.normalize == "range" else middle
    if config.normalize == "zscore":
        subtract, divide = info.intensities.mean, tuple(std or 1.0 for std in info.intensities.std)
    else:
        low, high = clip or (0.0, 255.0)
        subtract, divide = (low,) * info.channels, (high - low or 1.0,) * info.channels
    return Preprocessing(
        modality=info.modality,
        channels=info.channels,
        size=info.size,
        neighbours=config.neighbours,
        repeat=3 if config.three_channels and info.channels == 1 else 1,
        clip=clip,
        subtract=subtract,
        divide=divide,
    )
