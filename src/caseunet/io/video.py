"""Videos, through PyAV: read frame by frame, upright, and written as H.264."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from caseunet.errors import InputNotFoundError, InvalidInputError, NotEnoughMemoryError
from caseunet.files import replace_when_whole

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v")

FORMATS = "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
"""What libav may take a file for. It knows playlists too, which would open other files, whatever their suffix."""

BYTES_PER_PIXEL = 32
"""Memory for a video: a frame twice in RGB, and the 17 that a decoder may keep of 1.5 bytes a pixel."""

SLACK = 2.5
"""Frames by which containers may be off."""


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself.

    Attributes:
        frames: as the container declares, or estimated from duration and rate; 0 where it knows neither. A guide, not a
            promise: AVI counts the frames that a camera left out.
        height: of the upright frame, pixels.
        width: of the upright frame, pixels.
        rate: frames per second, on average.
    """

    frames: int
    height: int
    width: int
    rate: Fraction


@dataclass(frozen=True)
class _Declared:
    """How much must come until a video is whole.

    Attributes:
        frames: how many; 0 where unknown.
        counted: whether each of them must come. Else they are estimated, or include what a camera left out.
        end: seconds, up to which the packets reach; None where unknown.
        slack: seconds by which they may fall short.
        own: whether ``end`` is that of the pictures alone. Else the sound may be what reaches there.
    """

    frames: int
    counted: bool
    end: float | None
    slack: float
    own: bool


def is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_facts(path: Path) -> VideoFacts:
    """Read what :class:`VideoFacts` lists, from the headers and the first frame, which alone tells how it is turned.

    A file without a frame rate, as of some screen recorders, is gone through for it, without decoding.

    Raises:
        CaseUNetError: the file is missing, damaged, no video, without frames, or of larger ones than the free memory
            takes.
    """
    with _open(path) as (container, stream):
        rate, frames = stream.average_rate, _read_declared_frames(container, stream).frames
        height, width, _ = next(_decode(path, container, stream)).shape
    if not rate:
        frames, rate = _count(path)
    return VideoFacts(frames, height, width, rate)


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of the first video stream, (H, W, 3) uint8 RGB, decoded one after another.

    They are turned and mirrored as the container says. Pixels that are not square are not stretched.


        Raises:
        CaseUNetError: the file is missing, damaged, no video, without frames, or of larger ones than the free memory
            takes; their size changes; they are turned by no multiple of 90°; or fewer come than are declared.
    """
    with _open(path) as (container, stream):
        yield from _decode(path, container, stream)


class VideoWriter:
    """Takes the frames of a video; :func:`written_video` gives it."""

    def __init__(self, path: Path, container: "OutputContainer", stream: "VideoStream", height: int, width: int):
        self._path, self._container, self._stream = path, container, stream
        self._shape = (height, width, 3)
        self._frames = 0

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 RGB.

        Raises:
            ValueError: it is of another shape or type.
            CaseUNetError: the file cannot be written.
        """
        import av

        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"expected a frame of {self._shape} uint8, found {frame.shape} {frame.dtype}")
        height, width, _ = frame.shape
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with _explain_errors(self._path, "cannot be written"):
            picture = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            self._container.mux(self._stream.encode(picture))
        self._frames += 1

    def finish(self) -> None:
        """Write what the encoder still holds, and the table of contents.

        Raises:
            CaseUNetError: no frame came, or the file cannot be written.
        """
        if not self._frames:
            raise InvalidInputError(f"{self._path}: no frame came to write; expected at least one.")
        with _explain_errors(self._path, "cannot be written"):
            self._container.mux(self._stream.encode())
            self._container.close()


@contextmanager
def write_video(path: Path, rate: Fraction, height: int, width: int) -> Iterator[VideoWriter]:
    """Write an mp4 of H.264 in yuv420p, which browsers play while they load it; it appears when it is whole.

    Odd sizes become even, which yuv420p needs: the last row or column is repeated.

    Args:
        path: the file; mp4 whatever its suffix.
        rate: frames per second.
        height: of the frames, pixels.
        width: of the frames, pixels.

    Raises:
        CaseUNetError: no frame came, or the file cannot be written.
    """
    import av

    with replace_when_whole(path) as temporary:
        with _explain_errors(path, "cannot be written"):
            container = av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            with _explain_errors(path, "cannot be written"):
                # "veryfast" looks 10 frames ahead, slower ones 40 and more, which memory is held for
                stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
                stream.height, stream.width = height + height % 2, width + width % 2
                stream.pix_fmt = "yuv420p"
                # BT.709, of limited range: players guess by the size what is not said
                stream.colorspace = stream.color_primaries = stream.color_trc = stream.color_range = 1
            writer = VideoWriter(path, container, stream, height, width)
            yield writer
            writer.finish()
        finally:
            with suppress(Exception):  # after a failure it fails again; the first one is told
                container.close()


@contextmanager
def _open(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The file and its first video stream.

    Raises:
        CaseUNetError: the file is missing, damaged or no video, or declares larger frames than the free memory takes.
    """
    import av
    from av.stream import Disposition

    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file.")
    most = psutil.virtual_memory().available // BYTES_PER_PIXEL
    # decoders round sizes up; what lies between is refused below, by its size; libav takes no larger number
    limits = {"max_pixels": str(min(2 * most, 2**31 - 1))}
    with _explain_errors(
        path, "cannot be read as an mp4, mov, avi or mkv video; it is damaged, cut short or something else"
    ):
        container = av.open(
            str(path.absolute()),  # a relative one could be taken for a URL
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file", **limits},
            metadata_errors="replace",
        )
    with container:
        # the picture on the cover of a piece of music is a video stream too
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({stream.type for stream in container.streams})
            raise InvalidInputError(f"{path}: holds no video, only {', '.join(kinds) or 'a header'}; expected a video.")
        stream = streams[0]
        if stream.codec_context is None:
            raise InvalidInputError(f"{path}: its video is of a kind that cannot be decoded here; convert it to H.264.")
        pixels = stream.width * stream.height
        if not 0 < pixels <= most:
            found = (
                f"frames of {stream.width} × {stream.height} pixels" if pixels else "frames of no or too large a size"
            )
            raise NotEnoughMemoryError(
                f"{path}: declares {found}; the free memory takes frames of up to {most:,} pixels."
            )
        stream.codec_context.options = limits
        yield container, stream


def _read_declared_frames(container: "InputContainer", stream: "VideoStream") -> _Declared:
    import av

    rate = stream.average_rate
    slack = SLACK / float(rate) if rate else 1.0
    end = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    if container.format.name.startswith("mov") and stream.frames:
        shown = sum(not entry.is_discard for entry in stream.index_entries)  # an edit list may hide some
        return _Declared(shown or stream.frames, True, None, slack, own=True)
    if stream.frames and stream.time_base:  # AVI; libav shortens the duration of one that is cut
        return _Declared(stream.frames, False, float(stream.frames * stream.time_base), slack, own=True)
    own = end is not None
    if end is None and container.duration:
        end = Fraction(container.duration, av.time_base)
    if end is None:
        return _Declared(0, False, None, slack, own)
    return _Declared(round(end * rate) if rate else 0, False, float(end), slack, own)


def _count(path: Path) -> tuple[int, Fraction]:
    """(frames, frames per second) by the times of the packets.

    Raises:
        CaseUNetError: there are fewer than two, or they cannot be read.
    """
    with _open(path) as (container, stream), _explain_errors(path, "its packets cannot be read; the file is damaged"):
        times = sorted(packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None)
    if len(times) < 2 or times[0] == times[-1]:
        raise InvalidInputError(
            f"{path}: declares no frame rate, and its frames do not tell; convert it to an mp4 with one."
        )
    return len(times), (len(times) - 1) / Fraction(times[-1] - times[0])


def _decode(path: Path, container: "InputContainer", stream: "VideoStream") -> Iterator[np.ndarray]:
    """See :func:`read_frames`."""
    from av.video.reformatter import VideoReformatter

    declared = _read_declared_frames(container, stream)
    of = f" of {'' if declared.counted else 'about '}{declared.frames} declared" if declared.frames else ""
    packets: Iterator[Packet[Any]] = container.demux(stream) if declared.own else container.demux()
    converter = VideoReformatter()
    read, end, shape = 0, 0.0, None
    while True:
        with _explain_errors(path, f"cannot be decoded after {read}{of} frames; the file is truncated or damaged"):
            packet = next(packets, None)
            if packet is None:
                break
            frames = _frames(packet) if packet.stream_index == stream.index else []
        end = max(end, _end(packet))
        for frame in frames:
            with _explain_errors(path, f"frame {read + 1} cannot be converted to RGB"):
                pixels = converter.reformat(frame, format="rgb24").to_ndarray()
            pixels = _upright(pixels, _matrix(path, frame), path)
            if shape is not None and pixels.shape != shape:
                found, before = (f"{width} × {height}" for height, width, _ in (pixels.shape, shape))
                raise InvalidInputError(f"{path}: frame {read + 1} is of {found} pixels, those before of {before}.")
            shape = pixels.shape
            yield pixels
            read += 1
    if not read:
        raise InvalidInputError(f"{path}: gave no frame{of}; expected at least one.")
    cut = declared.end is not None and declared.end - end > declared.slack
    if cut or (declared.counted and declared.frames - read > SLACK):
        raise InvalidInputError(
            f"{path}: ends after {read}{of} frames; the file is truncated or damaged. Copy it again."
        )


def _frames(packet: "Packet[Any]") -> list["VideoFrame"]:
    """What a packet, or the end of all, makes the decoder give.

    Raises:
        ValueError: a part is missing, which decoders paint over.
    """
    if packet.is_corrupt:
        raise ValueError("the next packet is incomplete")
    frames: list[VideoFrame] = packet.decode()
    if any(frame.is_corrupt for frame in frames):
        raise ValueError("the next frame is damaged")
    return frames


def _end(packet: "Packet[Any]") -> float:
    """Until when it is shown, in seconds; 0 where it does not say."""
    start = packet.dts if packet.pts is None else packet.pts
    return 0.0 if start is None else float((start + (packet.duration or 0)) * packet.time_base)


def _matrix(path: Path, frame: "VideoFrame") -> tuple[int, int, int, int]:
    """(a, b, c, d) of the display matrix: the pixel at (x, y) is shown at (a·x + c·y, b·x + d·y), but for a shift.

    Raises:
        CaseUNetError: there is one that cannot be read.
    """
    try:
        side_data: Any = frame.side_data
        matrix = side_data.get("DISPLAYMATRIX")
    except ValueError as error:  # PyAV gives none of them where it does not know all, such as EXIF
        if not frame.rotation:
            return 1, 0, 0, 1
        raise InvalidInputError(
            f"{path}: its frames are to be turned, and it does not show whether mirrored too; save it upright."
        ) from error
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    return a, b, c, d


def _upright(pixels: np.ndarray, matrix: tuple[int, int, int, int], path: Path) -> np.ndarray:
    """A copy of a frame (H, W, 3), turned and mirrored by what :func:`_matrix` gives, but not scaled.

    Raises:
        CaseUNetError: it would not lie straight.
    """
    a, b, c, d = matrix
    if 100 * max(abs(b), abs(c)) <= min(abs(a), abs(d)):
        return np.array(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1], order="C")
    if 100 * max(abs(a), abs(d)) <= min(abs(b), abs(c)):
        return np.array(pixels.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1], order="C")
    raise InvalidInputError(f"{path}: its frames are to be turned by no multiple of 90°; save it upright.")


@contextmanager
def _explain_errors(path: Path, problem: str) -> Iterator[None]:
    """Turn what PyAV raises, of many kinds, into one message."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidInputError(f"{path}: {problem}: {reason}") from error
