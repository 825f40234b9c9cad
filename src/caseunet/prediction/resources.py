"""What a prediction will take, said before it starts: memory, which is kept to, and time, which is a guess."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from caseunet.data.grid import compute_grid_size
from caseunet.errors import InvalidInputError, NotEnoughMemoryError
from caseunet.io import images, itk, nifti, video
from caseunet.io.geometry import canonical_shape, cut
from caseunet.io.slides import advise_parts
from caseunet.options import PredictionOutputs
from caseunet.prediction.inputs import Input
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.slides import COMPONENT_BYTES, streams
from caseunet.progress import count_text
from caseunet.types import MIN_SIZE, Preprocessing

MIB = 2**20
SLACK = 1.1
"""On what was measured: an allocator does not give back all at once."""

MAX_TRIED = 2**19
"""Pixels of a slice that is sent through the network on trial."""

PILLOW = 8
"""Bytes that it takes for a pixel, beside the array: four, twice where it converts colours."""

STREAMED = 256 * MIB
"""What reading and writing an image in parts takes at most: a few bands, or blocks, of it."""

DISK_ADVICE = "Only NIfTI, NRRD and DICOM volumes, without DICOM segmentation objects, can be larger"
"""What to know where an image is not worked on from the disk."""

BANDS = 2 * 512
"""Rows that are held beside those of a window, since tiles are decoded whole."""

LIBRARIES = 60 * MIB
"""What reading, writing, measuring and drawing load when they are first called."""


@dataclass(frozen=True)
class CaseCost:
    """What a case is expected to take.

    Attributes:
        slices, height, width: of the source, canonical order.
        seconds: for the network's part, and a little for reading.
        memory: bytes that the process has at most.
        disk: bytes of files that the case lies in while it is segmented, because it is too large for memory; 0 where it
            is held.
    """

    id: str
    slices: int
    height: int
    width: int
    seconds: float
    memory: int
    disk: int = 0


@dataclass(frozen=True)
class _Extent:
    """How large a case is.

    Attributes:
        slices, height, width: of the source, canonical order.
        held: how many of the slices are held together.
        spacing: millimetres between slices, rows, columns; None where it is not known.
        stored_bytes: of a pixel as it is held, all channels.
        is_volume: whether its file is a volume, which is read at once.
    """

    slices: int
    height: int
    width: int
    held: int
    spacing: tuple[float, float, float] | None
    stored_bytes: int
    is_volume: bool


class Budget:
    """Knows what the network takes by a trial at each new size, and what memory may be taken.

    Args:
        predictor: its network.
        max_ram: bytes that the process may have; None for the machine's free memory.

    Raises:
        CaseUNetError: it has more already.
    """

    def __init__(self, predictor: SlicePredictor, max_ram: int | None) -> None:
        self._predictor, self.max_ram = predictor, max_ram
        self._base = psutil.Process().memory_info().rss
        self._trials: dict[tuple[int, int], tuple[float, int]] = {}
        if self._base > self.memory_limit:
            raise NotEnoughMemoryError(
                f"The network and the libraries alone hold {self._base / MIB:,.0f} MiB of memory; "
                f"{self.memory_limit / MIB:,.0f} MiB are allowed. Allow more, or compute in bf16.",
                options=("max_ram", "precision"),
            )

    def cost(self, item: Input, outputs: PredictionOutputs) -> CaseCost:
        """Expected of one case, from its headers; air that will be cut off counts, so that it is rather less.

        What would take more memory than ``max_ram`` is worked on from the disk, if its files can be read so.

        Raises:
            CaseUNetError: they cannot be read.
        """
        if item.error:
            raise InvalidInputError(item.error)
        extent = _read_extent(item, self._predictor.info.preprocessing)
        seconds, network = self._cost_network(extent)
        memory, disk = self._total(self._find_peak(extent, network, item, outputs)), 0
        if self.max_ram is not None and memory > self.max_ram and lies_on_disk(item, outputs):
            # a DICOM file, which may hold all frames, is loaded as a whole
            loaded = max(path.stat().st_size for path in item.files) if item.is_dicom else 0
            from_disk = self._total(STREAMED + loaded + network)
            if from_disk < memory:
                memory, disk = from_disk, self._count_disk(extent, outputs)
        return CaseCost(
            id=item.id,
            slices=extent.slices,
            height=extent.height,
            width=extent.width,
            seconds=extent.slices * seconds,
            memory=memory,
            disk=disk,
        )

    def _cost_network(self, extent: _Extent) -> tuple[float, int]:
        """Seconds for a slice, and bytes for the slices that are segmented together, with their maps at full size."""
        info, pixels = self._predictor.info, extent.height * extent.width
        classes = len(info.label_map)
        size = compute_grid_size(extent.height, extent.width, extent.spacing, info.preprocessing)
        windows = self._predictor.windows(size)
        seconds, activations = self._trial(windows.window if windows else size)
        full_size = 5 * 4 * min(pixels * classes, 2**23)
        if windows:
            together = min(extent.slices, self._predictor.slices_at_once(size))
            full_size += 2 * 4 * together * windows.window[0] * size[1] * classes
        return seconds * (windows.count if windows else 1), activations + full_size

    def _find_peak(self, extent: _Extent, network: int, item: Input, outputs: PredictionOutputs) -> int:
        """Bytes that a case which is held takes at most: while it is read, segmented, or finished."""
        pixels, stored = extent.held * extent.height * extent.width, extent.stored_bytes
        preprocessing = self._predictor.info.preprocessing
        if streams(item, preprocessing, outputs):
            reading = STREAMED + BANDS * extent.width * preprocessing.channels
            finishing = pixels * COMPONENT_BYTES if self._is_finished(outputs) else 0
            if self._total(pixels + finishing) > self.memory_limit:
                finishing = 0  # components are left out then
            return pixels + max(reading, network, finishing)
        reading = pixels * (stored * 2 if extent.is_volume else stored + PILLOW)
        finishing = pixels * 5 if self._is_finished(outputs) else 0
        return max(reading, pixels * (stored + 1) + max(network, finishing, pixels * 4 if outputs.probabilities else 0))

    def _count_disk(self, extent: _Extent, outputs: PredictionOutputs) -> int:
        """Bytes that a case takes at most that lies on the disk: up to three copies of its pixels, or one beside what
        is made of it."""
        image = max(extent.stored_bytes, 4 * self._predictor.info.preprocessing.channels)
        probabilities = 2 * len(self._predictor.info.label_map) + 4 if outputs.probabilities else 0
        made = (8 if self._is_finished(outputs) else 2) + probabilities
        return extent.held * extent.height * extent.width * max(3 * image, image + made)

    def _is_finished(self, outputs: PredictionOutputs) -> bool:
        """Whether the components of masks are looked for."""
        return outputs.measurements or self._predictor.info.quality is not None

    def admit(self, item: Input, outputs: PredictionOutputs) -> int:
        """Make sure that a case may be begun; without ``max_ram`` it always may.

        Returns:
            Bytes that it needs on the disk; 0 where it is held in memory.

        Raises:
            CaseUNetError: as :meth:`check`.
        """
        if self.max_ram is None:
            return 0
        cost = self.cost(item, outputs)
        self.check(cost, item, outputs)
        return cost.disk

    def check(self, cost: CaseCost, item: Input, outputs: PredictionOutputs) -> None:
        """Make sure that there is the memory for a case.

        Raises:
            CaseUNetError: it needs more than it may have.
        """
        if cost.memory > self.memory_limit:
            given = "are free here" if self.max_ram is None else "are allowed"
            kept = ", even from the disk" if cost.disk else ""
            if self.max_ram is not None and not lies_on_disk(item, outputs):
                kept = f". {DISK_ADVICE}"
            raise NotEnoughMemoryError(
                f"{item.path}: {count_text(cost.slices, 'slice')} of {cost.height}×{cost.width} need about "
                f"{cost.memory / MIB:,.0f} MiB of memory; {self.memory_limit / MIB:,.0f} MiB {given}{kept}. Allow "
                f"more, compute in bf16, or cut the image into parts.{advise_parts(item.files[0])}",
                options=("max_ram", "precision"),
            )

    def _total(self, needed: int) -> int:
        """Bytes of the process where the case alone needs so many."""
        return int(SLACK * (self._base + LIBRARIES + needed))

    @property
    def memory_limit(self) -> int:
        """Bytes that the process may have."""
        if self.max_ram is not None:
            return self.max_ram
        return psutil.virtual_memory().available + psutil.Process().memory_info().rss

    def _trial(self, size: tuple[int, int]) -> tuple[float, int]:
        """Seconds for a slice at the network's size, and bytes that it takes beside the weights.

        A large one is judged by a part of it, since the trial must not take what is not there.
        """
        key = next((known for known in self._trials if _alike(known, size)), None)
        if key is None:
            shrink = min(1.0, (MAX_TRIED / (size[0] * size[1])) ** 0.5)
            key = (max(MIN_SIZE, int(size[0] * shrink)), max(MIN_SIZE, int(size[1] * shrink)))
            self._trials[key] = self._measure(key)
        share = (size[0] * size[1]) / (key[0] * key[1])
        seconds, memory = self._trials[key]
        return seconds * share, int(memory * max(share, 1.0))

    def _measure(self, size: tuple[int, int]) -> tuple[float, int]:
        before = _forget_highest_memory()
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            number = self._predictor.trial(size)
            seconds = (time.perf_counter() - began) / number
        return seconds, max(0, highest_memory() - before)


def _read_extent(item: Input, preprocessing: Preprocessing) -> _Extent:
    """How large a case is, from its headers.

    Raises:
        CaseUNetError: they cannot be read.
    """
    if item.is_video:
        facts = video.read_facts(item.path)
        slices, height, width, spacing, held = facts.frames, facts.height, facts.width, None, 8
    else:
        geometry = cut(item.geometry(), preprocessing.plane)
        slices, height, width = (1, *canonical_shape(geometry))[-3:]
        spacing, held = geometry.spacing, slices
        item.check_spacing(spacing, preprocessing)
    is_volume = images.is_volume(item.files[0])
    stored = images.read_pixel_bytes(item.files[0]) if is_volume else 1 if preprocessing.modality == "rgb" else 4
    return _Extent(slices, height, width, held, spacing, stored * preprocessing.channels, is_volume)


def lies_on_disk(item: Input, outputs: PredictionOutputs) -> bool:
    """Whether an image can be read, segmented and written without being held in memory: a NIfTI, NRRD or DICOM volume.

    A DICOM segmentation object is made of the whole mask at once.
    """
    if item.is_dicom:
        return item.image is not None and item.image.header.kind == "volume" and not outputs.dicom_seg
    return not item.is_video and all(nifti.is_nifti(path) or itk.is_nrrd(path) for path in item.files)


def highest_memory() -> int:
    """Bytes that this process held at most."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its getrusage would count the parent process too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _forget_highest_memory() -> int:
    """Let the highest memory be counted from here, where the system can (Linux); gives what is held now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def _alike(known: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a trial at one size tells of another: of at least as many pixels, but not many more, or the largest."""
    pixels, tried = size[0] * size[1], known[0] * known[1]
    return tried / 2 <= pixels <= tried or min(pixels, 1.1 * tried) >= MAX_TRIED
