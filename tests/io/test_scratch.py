"""Arrays on disk are arrays: what is made of them, and that nothing of them is left."""

import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseunet.errors import CaseUNetError
from caseunet.io import scratch


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MIN_BYTES", 1)
    monkeypatch.setattr(scratch, "BLOCK", 100)


def test_arrays_are_files_only_within(small: None, tmp_path: Path) -> None:
    with scratch.on_disk(tmp_path, 1):
        assert scratch.is_on_disk()
        array = scratch.zeros((3, 4), np.int16)
        array[1] = 7
        assert type(array.base).__name__ == "mmap"
    assert not scratch.is_on_disk()
    assert scratch.zeros((3, 4), np.int16).base is None
    np.testing.assert_array_equal(array[:, 0], [0, 7, 0])
    with scratch.on_disk(tmp_path, 0):
        assert not scratch.is_on_disk()


def test_pages_given_back_keep_their_values(small: None, tmp_path: Path) -> None:
    with scratch.on_disk(tmp_path, 1):
        array = scratch.zeros((300, 1000), np.int32)
        array[:] = np.arange(1000)
        found = scratch._current.get()
        assert found is not None
        found.release_pages()
        np.testing.assert_array_equal(array[150], np.arange(1000))


def test_nothing_is_left_in_the_folder(small: None, tmp_path: Path) -> None:
    with scratch.on_disk(tmp_path, 1):
        array = scratch.zeros((1000, 1000), np.int32)
        array[:] = 1
        assert list(tmp_path.iterdir()) == []
    freed = weakref.ref(array.base)
    del array
    gc.collect()
    assert freed() is None


def test_a_full_disk_is_said_at_once(small: None, tmp_path: Path) -> None:
    with pytest.raises(CaseUNetError, match=r"the disk has .* GiB free. Make room"), scratch.on_disk(tmp_path, 2**60):
        pass
    with scratch.on_disk(tmp_path, 1), pytest.raises(CaseUNetError, match=r"are needed for what is too large"):
        scratch.zeros((2**50,), np.int64)


@given(st.permutations(range(4)), st.tuples(*[st.sampled_from([1, -1])] * 4))
def test_copies_in_blocks_are_numpy_s(order: list[int], signs: tuple[int, ...]) -> None:
    turned = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5).transpose(order)
    turned = turned[tuple(slice(None, None, sign) for sign in signs)]
    with pytest.MonkeyPatch.context() as patch, scratch.on_disk(Path.cwd(), 1):
        patch.setattr(scratch, "MIN_BYTES", 1)
        patch.setattr(scratch, "BLOCK", 50)
        copy, like = scratch.contiguous(turned), scratch.zeros_like(turned, np.float64)
    np.testing.assert_array_equal(copy, turned)
    assert copy.flags.c_contiguous
    assert like.strides == np.empty_like(turned, np.float64).strides


def test_channels_are_put_beside_each_other(small: None, tmp_path: Path) -> None:
    images = [np.full((7, channels, 3, 2), channels, kind) for channels, kind in ((1, np.int16), (2, np.float32))]
    with scratch.on_disk(tmp_path, 1):
        joined = scratch.concatenate_channels(images)
    np.testing.assert_array_equal(joined, np.concatenate(images, axis=1))
    assert joined.dtype == np.float32


def test_a_short_stream_says_how_much_it_had() -> None:
    array = np.zeros((3, 4), np.int16)
    assert scratch.read_into(io.BytesIO(bytes([1, 0] * 5)), array) == 10
    assert array.ravel().tolist() == [1] * 5 + [0] * 7
