"""Files of weights: what Keras calls an array, and what a file that lies, loops or points elsewhere is told."""

import json
import sys
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caseunet.errors import CaseUNetError
from caseunet.io.keras import MAX_OBJECTS, open_arrays
from tests.io.test_archive import DEFLATED, Part, zip_of

ARRAY = np.arange(3, dtype=np.float32)


def hdf5(path: Path, **places: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for place, array in places.items():
            file[place] = array
    return path


def names(path: Path) -> list[str]:
    with open_arrays(path) as arrays:
        return sorted(array.name for array in arrays)


def refused(path: Path) -> str:
    """What is said of a file that nothing is read from."""
    with pytest.raises(CaseUNetError) as caught, open_arrays(path):
        pytest.fail("it was read")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("conv-e-1/conv-e-1/kernel:0", "conv-e-1/kernel"),  # Keras 2, weights only
        ("model_weights/conv-e-1/conv-e-1/kernel:0", "conv-e-1/kernel"),  # Keras 2, whole model
        ("model_weights/LN/LN/gamma", "LN/gamma"),  # Keras 3, whole model as .h5
        ("MHSA/MHSA/query/kernel:0", "MHSA/query/kernel"),
        ("model_weights/outer/conv-e-1/bias:0", "outer/conv-e-1/bias"),
        ("layers/conv2d_3/vars/0", "conv2d_3/kernel"),  # Keras 3
        ("layers/conv2d_3/vars/1", "conv2d_3/bias"),
        ("_layer_checkpoint_dependencies/conv2d/vars/0", "conv2d/kernel"),  # Keras 2.13
        ("layers/layer_normalization/vars/1", "layer_normalization/beta"),
        ("layers/multi_head_attention/query_dense/vars/0", "multi_head_attention/query/kernel"),
        ("layers/multi_head_attention/_output_dense/vars/1", "multi_head_attention/attention_output/bias"),  # 2.15
        ("layers/functional/layers/conv2d/vars/0", "functional/conv2d/kernel"),
    ],
)
def test_what_each_version_of_keras_calls_array(place: str, name: str, tmp_path: Path) -> None:
    assert names(hdf5(tmp_path / "a.h5", **{place: ARRAY})) == [name]


def test_a_name_in_the_file_goes_before_the_count(tmp_path: Path) -> None:
    file = hdf5(tmp_path / "a.weights.h5", **{"layers/conv2d_3/vars/0": ARRAY, "layers/conv2d_4/vars/0": ARRAY})
    with h5py.File(file, "r+") as opened:
        opened["layers/conv2d_3/vars"].attrs["name"] = "conv-e-1"
        opened["layers/conv2d_4/vars"].attrs["name"] = "x" * 2000
    assert names(file) == ["conv-e-1/kernel", "conv2d_4/kernel"]


def test_description_of_network_names_its_layers(tmp_path: Path) -> None:
    inner = [{"class_name": "Conv2DTranspose", "config": {"name": "up"}}]
    layers = [
        {"class_name": "InputLayer", "config": {"name": "image"}},
        {"class_name": "Conv2D", "config": {"name": "first"}},
        {"class_name": "Conv2D", "config": {"name": "second"}},
        {"class_name": "Functional", "config": {"name": "inner", "layers": inner}},
    ]
    places = ("conv2d", "conv2d_1", "functional/layers/conv2d_transpose")
    weights = hdf5(tmp_path / "model.weights.h5", **{f"layers/{place}/vars/0": ARRAY for place in places})
    (tmp_path / "config.json").write_text(json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.write(weights, weights.name)
        archive.write(tmp_path / "config.json", "config.json")
    assert names(tmp_path / "a.keras") == ["first/kernel", "inner/up/kernel", "second/kernel"]
    assert names(tmp_path) == names(tmp_path / "a.keras")  # unpacked


def test_what_is_no_weight_is_left_out(tmp_path: Path) -> None:
    ignored = ("optimizer/vars/0", "optimizer_weights/Adam/m/a/kernel:0", "metrics/mean/vars/0")
    ignored += ("layers/dropout/seed_generator/vars/0", "layers/functional/optimizer/vars/1")
    assert names(hdf5(tmp_path / "a.h5", **dict.fromkeys(ignored, ARRAY), **{"a/a/bias": ARRAY})) == ["a/bias"]


def test_arrays_are_read_when_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"a/bias": ARRAY})
    for file in (tmp_path / "a.npz", hdf5(tmp_path / "a.h5", **{"a/bias": ARRAY})):
        with open_arrays(file) as [array]:
            assert (array.shape, array.dtype, array.nbytes) == ((3,), np.float32, 12)
            assert np.array_equal(np.asarray(array, np.float64), ARRAY)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_bytes(b"version https://git-lfs")
    assert "begins with b'version '" in refused(tmp_path / "text.h5")
    (tmp_path / "empty.h5").write_bytes(b"")
    assert "begins with b''" in refused(tmp_path / "empty.h5")
    (tmp_path / "a.keras").write_bytes(zip_of(Part("config.json", b"{}")))
    assert "holds no weights; expected model.weights.h5" in refused(tmp_path / "a.keras")
    for config in (b"[]", b"{}", b"text", b"[" * 100_000, b'{"config": {"layers": [1]}}'):
        (tmp_path / "b.keras").write_bytes(zip_of(Part("config.json", config), Part("model.weights.h5", b"x")))
        assert "its config.json cannot be read" in refused(tmp_path / "b.keras")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    assert "x cannot be read as an array" in refused(tmp_path / "objects.npz")


def test_damage_is_told(tmp_path: Path) -> None:
    content = hdf5(
        tmp_path / "a.h5", **{f"layer-{n}/kernel": np.zeros(1000, np.float32) for n in range(20)}
    ).read_bytes()
    for length in (10, 600, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        assert "It is damaged; get it again" in refused(tmp_path / "cut.h5")


@pytest.mark.parametrize("name", ["model.weights.h5", "segmaps/bias.npy"])
def test_a_zip_bomb_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(zip_of(Part(name, bytes(2**20), DEFLATED, size=2**31)))
    assert "more than 500 times its own size" in refused(tmp_path / "bomb")


def test_a_size_that_the_file_cannot_hold_is_not_allocated(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576)}"
    lying = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    tracemalloc.start()
    (tmp_path / "a.npz").write_bytes(zip_of(Part("segmaps/kernel.npy", lying)))
    assert "segmaps/kernel cannot be read as an array" in refused(tmp_path / "a.npz")
    for options in ({}, {"chunks": (1024, 1024), "compression": "gzip"}):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("segmaps/kernel", (2**20, 2**20), "f4", **options)
        assert "is compressed, in chunks or not whole" in refused(tmp_path / "a.h5")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_one_array_under_many_names_is_not_read_many_times(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layer-0/kernel"] = np.zeros(100_000, np.float32)
        for n in range(1, 100):
            file[f"layer-{n}/kernel"] = file["layer-0/kernel"]
    assert "declares arrays of 40,000,000 bytes" in refused(tmp_path / "a.h5")


def test_arrays_in_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(24))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("segmaps/bias", (3,), "f8", external=[(str(tmp_path / "secret"), 0, 24)])
    assert "in another file, which is not read" in refused(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["segmaps"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "segmaps")
    assert "link to elsewhere" in refused(tmp_path / "b.h5")
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(hdf5(tmp_path / "c.h5", x=ARRAY), "x", (3,))
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_virtual_dataset("segmaps/bias", layout)
    assert "in another file, which is not read" in refused(tmp_path / "d.h5")


def test_groups_without_end_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layers/again"] = file["/"]
    assert "more of them within another" in refused(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for n in range(MAX_OBJECTS + 1):
            file[f"again-{n}"] = file["/"]
    assert "more groups" in refused(tmp_path / "b.h5")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hdf5(tmp_path / "a.h5", **{"a/bias": ARRAY})
    np.savez(tmp_path / "a.npz", **{"a/bias": ARRAY})
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "caseunet[keras]" in refused(file)
    assert names(tmp_path / "a.npz") == ["a/bias"]
