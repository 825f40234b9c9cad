"""Weights in the files that Keras writes, and in .npz, read as arrays: no Keras, no code of theirs.

Keras 2, and .h5 of Keras 3, call an array by the names of its layer and slot, perhaps after ``model_weights`` or an
enclosing model: ``MHSA_layer-b-1/MHSA_layer-b-1/query/kernel:0``. The .weights.h5 and .keras files of Keras 3 (and of
2.13 on) count the layers of each class and the arrays of each layer: ``layers/conv2d_3/vars/0``. The layer's own name
is, in newer ones, an attribute of ``vars``; of .keras files config.json tells it too.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, MissingExtraError
from caseunet.io.archive import unpack_zip

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"
"""Files in a .keras file."""

NOT_WEIGHTS = {"optimizer", "optimizer_weights", "metrics", "seed_generator"}
CONTAINERS = {"model_weights", "layers", "_layer_checkpoint_dependencies"}

MAX_OBJECTS = 20_000
"""Groups and arrays of a file; a compiled CASe-UNet has about 1,500."""
MAX_LEVELS = 20
MAX_CONFIG = 2**24
MAX_NAME = 255


@dataclass(frozen=True)
class StoredArray:
    """An array in an open file, read when NumPy asks for it.

    Attributes:
        place: where it is in the file, for messages.
        name: names of models, layers and slot, as far as the file tells them: "case_unet/conv-e-1_1_1/kernel".
        data: the HDF5 data set, or the memory map.
    """

    place: str
    name: str
    data: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.data.dtype)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        try:
            return np.asarray(self.data[()], dtype=dtype)
        except Exception as error:  # h5py raises many kinds for a file that is damaged
            raise InvalidInputError(
                f"{self.place} cannot be read: {error}. The file is damaged; get it again."
            ) from error


@contextmanager
def open_arrays(path: Path) -> Iterator[list[StoredArray]]:
    """Give the arrays in a file of weights, while it is open; state of an optimiser, metrics and random numbers is left
    out. How many there are, how large and how they are stored is checked: together they have no more bytes than the
    file.

    Args:
        path: HDF5 (.h5, .weights.h5), .keras, .npz, or a folder that one of the latter two was unpacked to.

    Raises:
        CaseUNetError: it is none of these, damaged, or made to take more memory than it should.
    """
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file; expected weights: .h5, .weights.h5, .keras or .npz.")
    with ExitStack() as opened:
        if path.is_file() and not _beginning(path).startswith(b"PK"):
            yield _hdf5_arrays(opened, path, path, {})
            return
        folder = opened.enter_context(unpack_zip(path)) if path.is_file() else path
        weights = folder / WEIGHTS
        arrays = sorted(folder.rglob("*.npy"))
        if weights.is_file():
            yield _hdf5_arrays(opened, path, weights, _config_names(path, folder / CONFIG))
        elif arrays:
            yield [_npy_array(path, folder, array) for array in arrays]
        else:
            raise InvalidInputError(
                f"{path}: holds no weights; expected {WEIGHTS}, as in .keras, or arrays, as in .npz."
            )


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(8)


def _npy_array(path: Path, folder: Path, file: Path) -> StoredArray:
    """An array of an .npz: mapped, so that none is larger than its file."""
    place = file.relative_to(folder).as_posix().removesuffix(".npy")
    try:
        data = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # the header is parsed as Python's literals, which fail in many ways
        raise InvalidInputError(f"{path}: {place} cannot be read as an array: {error}.") from error
    return StoredArray(place, _plain(place.split("/")), data)


def _hdf5_arrays(opened: ExitStack, path: Path, file: Path, configured: dict[str, str]) -> list[StoredArray]:
    """Those of an HDF5 file.

    Args:
        opened: what closes it.
        path: what the user named.
        file: that, or what was in it.
        configured: {place of a layer: name}.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: Keras' weights are HDF5. Install what reads it: pip install 'caseunet[keras]'."
        ) from error
    if not h5py.is_hdf5(file):
        raise InvalidInputError(
            f"{path}: expected Keras' weights as HDF5 (.h5, .weights.h5) or a zip (.keras, .npz); it begins with "
            f"{_beginning(file)!r}."
        )
    try:
        root = opened.enter_context(h5py.File(file, "r"))
        arrays = [StoredArray(place, name, data) for place, name, data in _walk(path, root, configured)]
        for array in arrays:
            _check_plain(path, array)
    except CaseUNetError:
        raise
    except Exception as error:  # h5py raises many kinds for a file that is damaged
        raise InvalidInputError(f"{path}: cannot be read as HDF5: {error}. It is damaged; get it again.") from error
    total, size = sum(array.nbytes for array in arrays), file.stat().st_size
    if total > size:
        raise InvalidInputError(
            f"{path}: declares arrays of {total:,} bytes, but has {size:,}. It is damaged; get it again."
        )
    return arrays


def _walk(path: Path, root: Any, configured: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """(place, name, data set) of every array. Links to elsewhere are not followed.

    Raises:
        CaseUNetError: there is no end of them.
    """
    import h5py

    seen = 0
    waiting: list[tuple[Any, list[str], list[str]]] = [(root, [], [])]
    while waiting:
        group, places, names = waiting.pop()
        if len(places) > MAX_LEVELS or seen + len(group) > MAX_OBJECTS:
            raise InvalidInputError(
                f"{path}: has more groups, or more of them within another, than a network can have."
            )
        for key in group:
            seen += 1
            if not _is_name(key):
                raise InvalidInputError(
                    f"{path}: {'/'.join(places) or 'its root'} holds something without a usable name."
                )
            if key in NOT_WEIGHTS:
                continue
            place = [*places, key]
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise InvalidInputError(f"{path}: {'/'.join(place)} is a link to elsewhere, which is not followed.")
            item = group[key]
            if isinstance(item, h5py.Group):
                own = names if key == "vars" else [*names, _layer_name(item, "/".join(place), configured)]
                waiting.append((item, place, own))
            elif isinstance(item, h5py.Dataset):
                own = [*names, _slot(places, key)]
                yield "/".join(place), _plain(own), item


def _check_plain(path: Path, array: StoredArray) -> None:
    """Make sure that an array lies in the file as Keras puts it there, so that reading it takes its own size alone.

    Raises:
        CaseUNetError: it lies elsewhere, or in compressed chunks, which may be made to expand without end.
    """
    data = array.data
    if data.external or data.is_virtual:
        raise InvalidInputError(f"{path}: the numbers of {array.place} are in another file, which is not read.")
    if data.chunks is not None or data.id.get_storage_size() != array.nbytes:
        raise InvalidInputError(
            f"{path}: {array.place} of shape {array.shape} is compressed, in chunks or not whole; expected it as "
            "Keras writes it. Load and save it with Keras again."
        )


def _layer_name(group: Any, place: str, configured: dict[str, str]) -> str:
    """A layer's own name, or what its place in the file tells."""
    import h5py

    if isinstance(group.get("vars", getlink=True), h5py.HardLink) and "name" in group["vars"].attrs:
        attributes = group["vars"].attrs
        described = attributes.get_id("name")
        if described.shape == () and described.get_storage_size() <= MAX_NAME and _is_name(attributes["name"]):
            return str(attributes["name"])
    if place in configured:
        return configured[place]
    key = place.rpartition("/")[2]
    part = re.fullmatch("_?(query|key|value|output)_dense", key)  # of multi-head attention
    if part:
        return "attention_output" if part[1] == "output" else part[1]
    return key


def _is_name(name: Any) -> bool:
    """Whether it can be shown: it comes from a file that may hold anything."""
    return isinstance(name, str) and len(name) <= MAX_NAME and name.isprintable()


def _slot(places: list[str], key: str) -> str:
    """What an array is to its layer, where the file only counts."""
    if places[-1:] != ["vars"] or key not in ("0", "1"):
        return key
    normalizes = places[-2:-1] and "normalization" in places[-2]
    return ("gamma", "beta")[int(key)] if normalizes else ("kernel", "bias")[int(key)]


def _plain(names: list[str]) -> str:
    """Without containers, without ":0", and each name once where Keras repeats it."""
    kept: list[str] = []
    for name in names:
        name = re.sub(r":\d+$", "", name)
        if name not in CONTAINERS and name not in kept[-1:]:
            kept.append(name)
    return "/".join(kept)


def _config_names(path: Path, file: Path) -> dict[str, str]:
    """{place of a layer in .weights.h5: its name} by config.json, if there is one.

    Raises:
        CaseUNetError: it cannot be read.
    """
    if not file.is_file():
        return {}
    if file.stat().st_size > MAX_CONFIG:
        raise InvalidInputError(
            f"{path}: its {CONFIG} has {file.stat().st_size:,} bytes, too many for a network's description."
        )
    try:
        config = json.loads(file.read_bytes())["config"]
        return {place: name for place, name in _name_layers(config.get("layers", []), "layers") if _is_name(name)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidInputError(
            f"{path}: its {CONFIG} cannot be read as a network's description: {error!r}."
        ) from error


def _name_layers(layers: Any, container: str) -> Iterator[tuple[str, str]]:
    """Layers are counted by class, in the order of config.json; a model may be one."""
    counts: Counter[str] = Counter()
    for layer in layers:
        kind = _snake_case(layer["class_name"])
        place = f"{container}/{kind}_{counts[kind]}" if counts[kind] else f"{container}/{kind}"
        counts[kind] += 1
        yield place, layer["config"]["name"]
        yield from _name_layers(layer["config"].get("layers", []), f"{place}/layers")


def _snake_case(name: str) -> str:
    """Conv2DTranspose → conv2d_transpose, as Keras does it."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
