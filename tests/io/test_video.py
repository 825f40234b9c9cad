"""Videos: what is written is read again; what is cut, turned or no video does not pass for a whole upright one."""

import io
import re
import struct
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from caseunet.errors import CaseUNetError
from caseunet.io import video

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 100, 50), (30, 180, 220)]
TOLERANCE = 8
"""Of 255, by which coding may change a flat colour."""


def flat(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames of one colour each, which goes round."""
    return [np.full((height, width, 3), COLORS[i % len(COLORS)], np.uint8) for i in range(count)]


def quarters(height: int = 32, width: int = 64) -> np.ndarray:
    """A frame whose quarters have four colours, so that turning and mirroring are seen."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = COLORS[0]
    frame[: height // 2, width // 2 :] = COLORS[1]
    frame[height // 2 :, : width // 2] = COLORS[2]
    frame[height // 2 :, width // 2 :] = COLORS[3]
    return frame


def noisy(count: int) -> list[np.ndarray]:
    """Frames that take bytes, so that a file is not mostly headers."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3)).astype(np.uint8))


def save(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    matrix: Sequence[int] | None = None,
    sound: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frames at 25 a second, shown at ``times`` of 1/25 s, with ``sound`` seconds of silence."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = pixels, 8_000_000
        stream.set_display_matrix(matrix)
        silence = container.add_stream("aac", rate=16000) if sound else None
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = times[i] if times else i, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        for start in range(0, int(sound * 16000), 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 16000, start, Fraction(1, 16000)
            container.mux(silence.encode(samples))
        if silence:
            container.mux(silence.encode())
    return path


def write(
    path: Path, frames: Iterable[np.ndarray], height: int = 48, width: int = 64, rate: Fraction = Fraction(25)
) -> None:
    with video.write_video(path, rate, height, width) as writer:
        for frame in frames:
            writer.write(frame)


def save_jpegs(path: Path, pictures: Iterable[Image.Image], exif: Image.Exif | None = None) -> Path:
    """A video of JPEG files as they are, as cameras write it; the header has the first one's size."""
    pictures = list(pictures)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuvj420p"
        stream.encode(av.VideoFrame(*pictures[0].size, "yuvj420p"))  # opens the encoder; its picture is not written
        for i, picture in enumerate(pictures):
            content = io.BytesIO()
            picture.save(content, "JPEG", **({"exif": exif} if exif else {}))
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def cut(path: Path, part: float) -> Path:
    """Leave the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def assert_alike(frame: np.ndarray, expected: np.ndarray) -> None:
    """The same but for what coding changes; where colours meet, in up to a quarter of the frame, it may be more."""
    assert frame.shape == expected.shape
    assert frame.dtype == np.uint8
    off = np.abs(frame.astype(int) - expected)
    assert np.percentile(off, 75) <= TOLERANCE


def test_videos_are_known_by_their_suffix() -> None:
    assert [video.is_video(Path(name)) for name in ("a.mp4", "b.MOV", "c.mkv", "d.png", "mp4")] == [True] * 3 + [
        False
    ] * 2


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, frames = tmp_path / "new" / "v.mp4", flat(15)
    write(path, frames, rate=Fraction(30000, 1001))
    assert [p.name for p in path.parent.iterdir()] == ["v.mp4"]
    assert video.read_facts(path) == video.VideoFacts(15, 48, 64, Fraction(30000, 1001))
    read = list(video.read_frames(path))
    assert len(read) == 15
    for found, frame in zip(read, frames, strict=True):
        assert np.abs(found.astype(int) - frame).max() <= TOLERANCE
        assert found.flags.c_contiguous
        assert found.flags.owndata


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(1, 2), Fraction(15)])
def test_rates_and_single_frames_are_kept(rate: Fraction, tmp_path: Path) -> None:
    for count in (1, 3):
        write(tmp_path / "v.mp4", flat(count), rate=rate)
        assert video.read_facts(tmp_path / "v.mp4") == video.VideoFacts(count, 48, 64, rate)
        assert len(list(video.read_frames(tmp_path / "v.mp4"))) == count


def test_browsers_can_play_what_is_written_while_they_load_it(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", flat(3))
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (container.format.name[:3], stream.codec_context.name, stream.pix_fmt) == ("mov", "h264", "yuv420p")
        assert (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range) == (1, 1, 1, 1)
    content = (tmp_path / "v.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path: Path) -> None:
    frame = np.full((31, 45, 3), 255, np.uint8)
    write(tmp_path / "v.mp4", [frame], 31, 45)
    (read,) = video.read_frames(tmp_path / "v.mp4")
    assert read.shape == (32, 46, 3)
    assert read.min() >= 255 - TOLERANCE


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50))
def test_any_size_can_be_written(height: int, width: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sizes") / "v.mp4"
    write(path, flat(2, height, width), height, width)
    facts = video.read_facts(path)
    assert (facts.frames, facts.height, facts.width) == (2, height + height % 2, width + width % 2)


def lost() -> Iterator[np.ndarray]:
    """Frames that stop coming."""
    yield from noisy(30)
    raise RuntimeError("lost")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_text("earlier")
    with pytest.raises(RuntimeError, match="lost"):
        write(path, lost())
    with pytest.raises(CaseUNetError, match="v.mp4: no frame came to write"):
        write(path, [])
    with pytest.raises(ValueError, match=r"expected a frame of \(48, 64, 3\) uint8, found \(48, 62, 3\) uint8"):
        write(path, [*flat(1), *flat(1, 48, 62)])
    with pytest.raises(ValueError, match=r"uint8, found \(48, 64, 3\) float64"):
        write(path, [np.zeros((48, 64, 3))])
    with pytest.raises(CaseUNetError, match="v.mp4: cannot be written"):  # H.264 has no pictures so wide
        write(path, flat(1, 2, 40_000), 2, 40_000)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]
    assert path.read_text() == "earlier"


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.avi", "mjpeg", "yuvj420p"),
        ("v.avi", "rawvideo", "bgr24"),
        ("v.mov", "png", "rgb24"),
        ("v.MKV", "libx264", "yuv444p"),
        ("v.mkv", "libvpx-vp9", "yuv420p"),
        ("v.m4v", "libx264", "yuv420p"),
    ],
)
def test_formats_are_read(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    path = save(tmp_path / name.lower(), flat(12), codec, pixels).rename(tmp_path / name)
    assert video.read_facts(path) == video.VideoFacts(12, 48, 64, Fraction(25))
    read = list(video.read_frames(path))
    assert len(read) == 12
    for found, frame in zip(read, flat(12), strict=True):
        assert_alike(found, frame)


def test_names_are_no_urls_nor_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:v.mp4", "v%03d.mp4", "ü v.mp4"):
        write(Path(name), flat(1))
        assert len(list(video.read_frames(Path(name)))) == 1


ONE = 1 << 16
MATRICES = {
    "as it is": (ONE, 0, 0, ONE),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "half a turn": (-ONE, 0, 0, -ONE),
    "a quarter to the right": (0, ONE, -ONE, 0),
    "a quarter to the left": (0, -ONE, ONE, 0),
    "transposed": (0, ONE, ONE, 0),
    "transposed the other way": (0, -ONE, -ONE, 0),
}


def placed(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Each pixel where (x', y') = (a·x + c·y, b·x + d·y) puts it, one by one, moved to begin at (0, 0)."""
    a, b, c, d = np.sign(matrix)
    y, x = np.indices(pixels.shape[:2])
    columns, rows = a * x + c * y, b * x + d * y
    columns, rows = columns - columns.min(), rows - rows.min()
    result = np.zeros((rows.max() + 1, columns.max() + 1, 3), pixels.dtype)
    result[rows, columns] = pixels
    return result


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_as_the_container_says(name: str, tmp_path: Path) -> None:
    a, b, c, d = MATRICES[name]
    path = save(tmp_path / "v.mp4", [quarters()] * 2, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    expected = placed(quarters(), MATRICES[name])
    facts = video.read_facts(path)
    assert (facts.height, facts.width) == expected.shape[:2]
    for frame in video.read_frames(path):
        assert_alike(frame, expected)


def test_a_phone_held_upright(tmp_path: Path) -> None:
    """Its sensor lies on the side; what it calls the left column is the top row, from right to left."""
    path = save(tmp_path / "v.mkv", [quarters()], matrix=(0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30))
    (frame,) = video.read_frames(path)
    assert frame.shape == (64, 32, 3)
    for (y, x), color in {(5, 5): 2, (5, 27): 0, (59, 5): 3, (59, 27): 1}.items():
        assert np.abs(frame[y, x].astype(int) - COLORS[color]).max() <= 2 * TOLERANCE


def test_what_cannot_be_laid_upright_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "v.mp4", [quarters()], matrix=(46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30))
    with pytest.raises(CaseUNetError, match="v.mp4: its frames are to be turned by no multiple of 90°"):
        video.read_facts(path)
    turned, upright = Image.Exif(), Image.Exif()
    turned[274], upright[271] = 6, "Maker"
    picture = Image.fromarray(quarters())
    with pytest.raises(CaseUNetError, match="turned.avi: its frames are to be turned, and it does not show"):
        video.read_facts(save_jpegs(tmp_path / "turned.avi", [picture], turned))
    (frame,) = video.read_frames(save_jpegs(tmp_path / "upright.avi", [picture], upright))
    assert_alike(frame, quarters())


@pytest.mark.parametrize("part", [0.5, 0.8])
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("v.mp4", "libx264", "yuv420p"),
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.avi", "mjpeg", "yuvj420p"),
        ("v.mkv", "libx264", "yuv420p"),
        ("v.mkv", "libvpx-vp9", "yuv420p"),
    ],
)
def test_truncated_file_does_not_pass_for_whole(
    name: str, codec: str, pixels: str, part: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = cut(save(tmp_path / name, noisy(30), codec, pixels, options={"movflags": "faststart"}), part)
    read: list[np.ndarray] = []
    with pytest.raises(CaseUNetError, match="the file is truncated or damaged") as raised:
        read.extend(video.read_frames(path))
    counts = re.search(r"after (\d+) of (?:about )?30 declared frames", str(raised.value))
    assert counts
    assert int(counts[1]) == len(read)
    assert 0 < len(read) < 28
    assert capfd.readouterr() == ("", "")


def starts(path: Path) -> list[int]:
    """Where in the file the packets are."""
    with av.open(str(path)) as container:
        return sorted(packet.pos for packet in container.demux() if packet.size)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_file_that_ends_between_two_frames_is_truncated(name: str, tmp_path: Path) -> None:
    """Where no frame is broken, only their number tells."""
    path = save(tmp_path / name, noisy(30), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: starts(path)[20]])
    with pytest.raises(CaseUNetError, match=r"ends after 20 of (about )?30 declared frames"):
        list(video.read_frames(path))


def test_half_a_last_frame_is_noticed(tmp_path: Path) -> None:
    """Decoders paint over what is missing, and one frame fewer would be forgiven."""
    path = save(tmp_path / "v.avi", noisy(30), "mjpeg", "yuvj420p")
    last, size = starts(path)[29], starts(path)[29] - starts(path)[28]
    path.write_bytes(path.read_bytes()[: last + size // 2])
    with pytest.raises(CaseUNetError, match="v.avi: cannot be decoded after 29 of about 30 declared frames"):
        list(video.read_frames(path))


@pytest.mark.parametrize(("name", "codec", "at"), [("v.mp4", "libx264", 0), ("v.avi", "mpeg4", 800)])
def test_a_damaged_frame_is_noticed(name: str, codec: str, at: int, tmp_path: Path) -> None:
    path = save(tmp_path / name, noisy(30), codec)
    content, start = bytearray(path.read_bytes()), starts(path)[20] + at
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(CaseUNetError, match=rf"{name}: cannot be decoded after \d+ of (about )?30 declared frames"):
        list(video.read_frames(path))


def test_frames_that_are_hidden_or_left_out_are_not_missed(tmp_path: Path) -> None:
    """An edit list hides the first 12 of 30; a camera gave 6 frames for 20 places; sound may go on."""
    save(tmp_path / "source.mp4", flat(30))
    with (
        av.open(str(tmp_path / "source.mp4")) as source,
        av.open(str(tmp_path / "hidden.mp4"), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                shift = round(12 / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    assert video.read_facts(tmp_path / "hidden.mp4").frames == 18
    read = list(video.read_frames(tmp_path / "hidden.mp4"))
    assert len(read) == 18
    assert_alike(read[0], flat(13)[12])

    gaps = save(tmp_path / "gaps.avi", flat(6), "mpeg4", times=[0, 1, 2, 7, 8, 19])
    assert video.read_facts(gaps).frames == 20
    assert len(list(video.read_frames(gaps))) == 6

    for name in ("sound.mkv", "sound.mp4"):
        assert len(list(video.read_frames(save(tmp_path / name, flat(10), sound=2.0)))) == 10


def test_a_rate_that_is_not_declared_is_taken_from_the_frames(tmp_path: Path) -> None:
    """Five frames in 4/10 s, four steps: 10 a second."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.framerate = Fraction(1, 1000), Fraction(0)
        for time, frame in zip((0, 50, 200, 290, 400), flat(5), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert video.read_facts(path) == video.VideoFacts(5, 48, 64, Fraction(10))
    assert len(list(video.read_frames(path))) == 5


def test_what_is_no_video_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = save(tmp_path / "whole.mp4", noisy(20))
    picture = io.BytesIO()
    Image.fromarray(quarters()).save(picture, "GIF")
    contents = {
        "text.mp4": b"no video, but a text\n" * 100,
        "empty.avi": b"",
        "picture.mp4": picture.getvalue(),
        "list.mp4": b"ffconcat version 1.0\nfile whole.mp4\n",  # libav would follow it
        "cut.mp4": whole.read_bytes()[: whole.stat().st_size // 2],  # the table of contents is at the end
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        for read in (video.read_facts, lambda path: list(video.read_frames(path))):
            with pytest.raises(CaseUNetError, match=f"{name}: cannot be read as an mp4, mov, avi or mkv video"):
                read(tmp_path / name)
    for name in ("none.mp4", "."):
        with pytest.raises(CaseUNetError, match="no such file"):
            video.read_facts(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    """Nor is it with a picture of its cover."""
    for cover in (False, True):
        path = tmp_path / "sound.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000)
            if cover:
                art = container.add_stream("mjpeg", rate=25)
                art.width, art.height, art.pix_fmt = 64, 32, "yuvj420p"
                art.disposition = Disposition.attached_pic
                container.mux(art.encode(av.VideoFrame.from_ndarray(quarters(), format="rgb24")))
                container.mux(art.encode())
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate = 16000
            container.mux(stream.encode(samples))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            assert len(container.streams.video) == cover
        with pytest.raises(CaseUNetError, match="sound.mp4: holds no video, only audio"):
            video.read_facts(path)


def test_what_cannot_be_decoded_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "v.avi", flat(3), "mjpeg", "yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"QQQQ"))
    with pytest.raises(CaseUNetError, match="v.avi: its video is of a kind that cannot be decoded here"):
        video.read_facts(path)


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "v.avi", flat(3), "mjpeg", "yuvj420p")
    content = path.read_bytes()
    start = content.index(b"movi")
    path.write_bytes(content[:start] + b"movi" + bytes(len(content) - start - 4))
    with pytest.raises(CaseUNetError, match="v.avi: gave no frame of about 3 declared"):
        list(video.read_frames(path))


def test_frames_too_large_for_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = save_jpegs(tmp_path / "huge.avi", [Image.fromarray(quarters())] * 2)
    huge.write_bytes(huge.read_bytes().replace(struct.pack(">HH", 32, 64), struct.pack(">HH", 60_000, 60_000)))
    with pytest.raises(CaseUNetError, match="huge.avi: "):
        video.read_facts(huge)
    paths = [
        save(tmp_path / "v.mp4", flat(2, 100, 200)),
        save(tmp_path / "v.avi", flat(2, 100, 200), "mjpeg", "yuvj420p"),
    ]
    free = 100 * 200 * video.BYTES_PER_PIXEL
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free))
    for path in paths:
        assert video.read_facts(path).width == 200
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free - 1))
    for path in paths:
        with pytest.raises(CaseUNetError, match="declares frames of 200 × 100 pixels; .* of up to 19,999 pixels"):
            video.read_facts(path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free // 4))
    with pytest.raises(
        CaseUNetError, match="v.avi: declares frames of no or too large a size; .* of up to 5,000 pixels"
    ):
        video.read_facts(paths[1])  # JPEG's size is known by decoding, which does not take place


def test_much_memory_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2**42))
    write(tmp_path / "v.mp4", flat(2))
    assert len(list(video.read_frames(tmp_path / "v.mp4"))) == 2


def test_a_size_that_changes_is_refused(tmp_path: Path) -> None:
    pictures = [Image.fromarray(quarters())] * 2 + [Image.fromarray(quarters(16, 64))]
    path = save_jpegs(tmp_path / "v.avi", pictures)
    frames = video.read_frames(path)
    assert next(frames).shape == next(frames).shape == (32, 64, 3)
    with pytest.raises(CaseUNetError, match="v.avi: frame 3 is of 64 × 16 pixels, those before of 64 × 32"):
        next(frames)


def test_frames_come_one_after_another(tmp_path: Path) -> None:
    """60 frames of 0.9 MB: no more than three are ever there."""
    path = save(tmp_path / "v.mp4", flat(60, 480, 640))
    tracemalloc.start()
    try:
        count = sum(frame.shape == (480, 640, 3) for frame in video.read_frames(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60
    assert 480 * 640 * 3 < peak < 3 * 480 * 640 * 3


def test_reading_may_end_early(tmp_path: Path) -> None:
    path = save(tmp_path / "v.mp4", flat(5))
    frames = video.read_frames(path)
    next(frames)
    frames.close()
    path.unlink()
    assert list(frames) == []
