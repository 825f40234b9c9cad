"""What a prediction will take, said before it starts: memory, which is kept to, and time, which is a guess."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from caseunet.data.grid import compute_grid_size
from caseunet.errors import InvalidInputError, NotEnoughMemoryError
from caseunet.io import images, video
from caseunet.io.geometry import canonical_shape, cut
from caseunet.io.slides import advise_parts
from caseunet.options import PredictionOutputs
from caseunet.prediction.inputs import Input
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.slides import COMPONENT_BYTES, streams
from caseunet.progress import count_text
from caseunet.types import MIN_SIZE

MIB = 2**20
SLACK = 1.1
"""On what was measured: an allocator does not give back all at once."""

MAX_TRIED = 2**19
"""Pixels of a slice that is sent through the network on trial."""

PILLOW = 8
"""Bytes that it takes for a pixel, beside the array: four, twice where it converts colours."""

STREAMED = 256 * MIB
"""What reading and writing an image in parts takes at most: a few bands of it."""

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
    """

    id: str
    slices: int
    height: int
    width: int
    seconds: float
    memory: int


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

        Raises:
            CaseUNetError: they cannot be read.
        """
        if item.error:
            raise InvalidInputError(item.error)
        preprocessing = self._predictor.info.preprocessing
        if item.is_video:
            facts = video.read_facts(item.path)
            slices, H, W, spacing, held = facts.frames, facts.height, facts.width, None, 8
        else:
            geometry = cut(item.geometry(), preprocessing.plane)
            slices, H, W = (1, *canonical_shape(geometry))[-3:]
            spacing, held = geometry.spacing, slices
            item.check_spacing(spacing, preprocessing)
        is_volume, classes = images.is_volume(item.files[0]), len(self._predictor.info.label_map)
        stored = images.read_pixel_bytes(item.files[0]) if is_volume else 1 if preprocessing.modality == "rgb" else 4
        stored *= preprocessing.channels
        size = compute_grid_size(H, W, spacing, preprocessing)
        windows = self._predictor.windows(size)
        seconds, activations = self._trial(windows.window if windows else size)
        seconds *= windows.count if windows else 1
        pixels = held * H * W
        if streams(item, preprocessing, outputs):
            arrays, reading = pixels, pixels + STREAMED + BANDS * W * preprocessing.channels
            finishing = pixels * COMPONENT_BYTES if outputs.measurements or self._predictor.info.quality else 0
            if SLACK * (self._base + LIBRARIES + arrays + finishing) > self.memory_limit:
                finishing = 0  # components are left out then
        else:
            arrays = pixels * (stored + 1)
            reading = pixels * (stored * 2 if is_volume else stored + PILLOW)
            finishing = pixels * 5 if outputs.measurements or self._predictor.info.quality else 0
        probability_bytes = pixels * 4 if outputs.probabilities else 0
        full_size = 5 * 4 * min(H * W * classes, 2**23)
        if windows:
            together = min(slices, self._predictor.slices_at_once(size))
            full_size += 2 * 4 * together * windows.window[0] * size[1] * classes
        peak = max(reading, arrays + max(activations + full_size, finishing, probability_bytes))
        return CaseCost(
            id=item.id,
            slices=slices,
            height=H,
            width=W,
            seconds=slices * seconds,
            memory=int(SLACK * (self._base + LIBRARIES + peak)),
        )

    def check(self, cost: CaseCost, item: Input) -> None:
        """Make sure that a case may be begun.

        Raises:
            CaseUNetError: it needs more memory than it may have.
        """
        if cost.memory > self.memory_limit:
            given = "are free here" if self.max_ram is None else "are allowed"
            raise NotEnoughMemoryError(
                f"{item.path}: {count_text(cost.slices, 'slice')} of {cost.height}×{cost.width} need about "
                f"{cost.memory / MIB:,.0f} MiB of memory; {self.memory_limit / MIB:,.0f} MiB {given}. Allow more, "
                f"compute in bf16, or cut the image into parts.{advise_parts(item.files[0])}",
                options=("max_ram", "precision"),
            )

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
