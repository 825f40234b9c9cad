"""Weights of the author's Keras network come over whole, from every kind of file, and nothing else does."""

import importlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from caseunet import CaseUNetError, create_model, load_bundle
from caseunet.bundle import Bundle
from caseunet.commands.import_weights import import_weights
from caseunet.io.keras import open_arrays
from caseunet.options import ImportOptions
from caseunet.prediction.python_predictor import Predictor
from tests.commands.author_keras import Arrays, arrays_of, author_network, draw_weights
from tests.models.test_golden import GOLDEN, author_arrays

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own

WIDTHS = (2, 3, 4, 5, 6)
Cli = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Author:
    """A network in Keras, what it gives for an image, and its arrays."""

    network: Any
    arrays: Arrays
    image: np.ndarray
    probabilities: np.ndarray


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield importlib.import_module("keras")


@pytest.fixture(scope="module")
def authors(keras: ModuleType) -> dict[int, Author]:
    """By fusion size; each with an optimiser, whose state is saved too."""
    found = {}
    for fusion in (1, 3):
        network = author_network(keras, fusion, WIDTHS)
        draw_weights(network, fusion)
        image = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
        probabilities = network(image, training=False).detach().numpy()
        assert probabilities.std(axis=(0, 1, 2)).min() > 0.01, "an image must be seen"
        network.compile("adam", "mse")
        network.optimizer.build(network.trainable_variables)
        found[fusion] = Author(network, arrays_of(network), image, probabilities)
    return found


@pytest.fixture
def author(authors: dict[int, Author]) -> Author:
    return authors[1]


def write_keras_2(path: Path, arrays: Arrays, enclosing: str = "") -> Path:
    """As ``save_weights`` of Keras 2 does."""
    with h5py.File(path, "w") as file:
        layers = list(dict.fromkeys(name.split("/")[0] for name in arrays))
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        for layer in layers:
            own = [name for name in arrays if name.split("/")[0] == layer]
            group = file.create_group(enclosing or layer) if not enclosing else file.require_group(enclosing)
            group.attrs["weight_names"] = [f"{name}:0".encode() for name in own]
            for name in own:
                group[f"{name}:0"] = arrays[name]
    return path


def write(kind: str, folder: Path, author: Author) -> Path:
    path = folder / f"author{kind}"
    if kind == ".npz":
        np.savez(path, **author.arrays)
    elif kind == "-keras-2.h5":
        write_keras_2(path, author.arrays)
    elif kind == ".weights.h5":
        author.network.save_weights(path)
    else:
        author.network.save(path)
    return path


def same(bundle: Bundle | Path, author: Author) -> bool:
    """Whether the imported network gives what Keras' does."""
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    return largest_difference(bundle, author.image, author.probabilities) < 1e-5


def largest_difference(bundle: Bundle, image: np.ndarray, probabilities: np.ndarray) -> float:
    architecture = bundle.info.architecture
    model = create_model(architecture.name, architecture.in_channels, architecture.num_classes, **architecture.kwargs)
    model.load_state_dict(bundle.weights)
    with torch.inference_mode():
        found = model.eval()(torch.from_numpy(image).permute(0, 3, 1, 2)).softmax(1).permute(0, 2, 3, 1)
    return float(np.abs(found.numpy() - probabilities).max())


@pytest.mark.parametrize("fusion", [1, 3])
@pytest.mark.parametrize("kind", [".weights.h5", ".keras", ".h5", "-keras-2.h5", ".npz"])
def test_every_kind_of_file_gives_same_network(
    kind: str, fusion: int, authors: dict[int, Author], tmp_path: Path, cli: Cli
) -> None:
    file, out = write(kind, tmp_path, authors[fusion]), tmp_path / "bundle"
    status, said, error = cli("import-weights", file, "--out", out, "--labels", "liver, tumour")
    assert (status, error) == (0, "")
    assert f"{fusion}×{fusion} fusion, widths 2, 3, 4, 5, 6" in said
    assert f"{sum(array.size for array in authors[fusion].arrays.values()):,} parameters" in said
    assert f"caseunet predict {out} IMAGES" in said
    bundle = load_bundle(out)
    assert same(bundle, authors[fusion])
    assert bundle.info.label_map.names == ("background", "liver", "tumour")
    data, score = bundle.info.training_data, bundle.info.validation
    assert (data.cases, data.split_by, data.licence, score.mean) == (0, "unknown", "unknown", None)
    assert score.structures == {"liver": None, "tumour": None}
    assert "not known" in data.caution
    assert "order" not in data.caution


@pytest.mark.parametrize("fusion", [1, 3])
def test_the_author_s_own_values_come_out(fusion: int, tmp_path: Path) -> None:
    golden = np.load(GOLDEN / f"author_fusion{fusion}_3classes_64x96.npz")
    bundle = import_weights(write_keras_2(tmp_path / "author.h5", author_arrays(fusion)), out=tmp_path / "bundle")
    assert largest_difference(bundle, golden["input"], golden["probabilities"]) < 1e-4


def test_the_bundle_segments_images_as_the_paper_s_recipe_does(author: Author, tmp_path: Path) -> None:
    file = write(".npz", tmp_path, author)
    ct = import_weights(file, out=tmp_path / "ct").info.preprocessing
    assert (ct.modality, ct.intensity_window, ct.mean, ct.std, ct.channel_repeat) == (
        "ct",
        ((-200, 250),),
        (-200,),
        (450,),
        3,
    )
    assert ct.size == ct.min_size == (512, 512)
    mr = import_weights(
        file, out=tmp_path / "mr", options=ImportOptions(modality="mr", window=(10, 300), size=(64, 96))
    ).info.preprocessing
    assert (mr.intensity_window, mr.mean, mr.std) == (((10, 300),), (10,), (290,))
    rgb = import_weights(file, out=tmp_path / "rgb", options=ImportOptions(modality="rgb", size=(64, 96)))
    assert (rgb.info.preprocessing.intensity_window, rgb.info.preprocessing.channel_repeat) == ((None,) * 3, 1)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    expected = author.network(pixels[None] / np.float32(255), training=False).detach().numpy()[0].argmax(-1)
    assert (Predictor(rgb).predict(pixels).labels == expected).mean() > 0.999


@pytest.mark.parametrize("kind", [".weights.h5", ".keras", ".h5"])
def test_a_model_within_a_model_is_found(kind: str, author: Author, keras: ModuleType, tmp_path: Path) -> None:
    image = keras.layers.Input((64, 96, 3))
    whole = keras.Model(image, author.network(keras.layers.Rescaling(1.0)(image)))
    outer = Author(whole, author.arrays, author.image, author.probabilities)
    assert same(import_weights(write(kind, tmp_path, outer), out=tmp_path / "bundle"), author)


def test_model_within_a_model_of_keras_2_is_found(author: Author, tmp_path: Path) -> None:
    file = write_keras_2(tmp_path / "author.h5", author.arrays, enclosing="case_unet")
    assert same(import_weights(file, out=tmp_path / "bundle"), author)


def without_names(weights: bytes) -> bytes:
    """Weights as versions before Keras 3.7 wrote them: nothing says how a layer is called."""
    stream = io.BytesIO(weights)
    with h5py.File(stream, "r+") as file:
        groups: list[h5py.Group] = []
        file.visititems(lambda place, item: groups.append(item) if "name" in item.attrs else None)
        for group in groups:
            del group.attrs["name"]
    return stream.getvalue()


def test_layers_without_names_are_taken_in_order(author: Author, tmp_path: Path, cli: Cli) -> None:
    file = write(".weights.h5", tmp_path, author)
    file.write_bytes(without_names(file.read_bytes()))
    status, said, _ = cli("import-weights", file, "--out", tmp_path / "bundle")
    assert status == 0
    assert "in the order of his network" in said
    assert same(tmp_path / "bundle", author)
    assert "order" in load_bundle(tmp_path / "bundle").info.training_data.caution


def test_description_in_keras_file_names_layers(author: Author, tmp_path: Path) -> None:
    file = write(".keras", tmp_path, author)
    with zipfile.ZipFile(file) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["model.weights.h5"] = without_names(held["model.weights.h5"])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    bundle = import_weights(file, out=tmp_path / "bundle")
    assert same(bundle, author)
    assert "order" not in bundle.info.training_data.caution


@pytest.mark.parametrize("kind", [".weights.h5", ".h5"])
def test_a_network_with_other_names_is_taken_in_order(
    kind: str, author: Author, keras: ModuleType, tmp_path: Path
) -> None:
    network = author_network(keras, 1, WIDTHS, named=False)
    network.set_weights(author.network.get_weights())
    unnamed = Author(network, {}, author.image, author.probabilities)
    assert same(import_weights(write(kind, tmp_path, unnamed), out=tmp_path / "bundle"), author)


def refusal(file: Path, **options: Any) -> str:
    """What is said of a file, of which nothing must be left."""
    out = file.parent / "bundle"
    with pytest.raises(CaseUNetError) as caught:
        import_weights(file, out=out, options=ImportOptions(**options))
    assert not out.exists()
    return str(caught.value)


def test_all_that_does_not_fit_is_told(author: Author, tmp_path: Path) -> None:
    arrays = dict(author.arrays)
    del arrays["conv-e-3_1_2/kernel"], arrays["MHSA_layer-b-1/value/bias"]
    arrays["conv-d-2_2_1/kernel"] = np.zeros((3, 3, 10, 5), np.float32)
    arrays["segmaps/bias"] = np.zeros(3, np.int32)
    arrays["batch_normalization/gamma"] = np.ones(7, np.float32)
    for kind in (".npz", "-keras-2.h5"):
        said = refusal(write(kind, tmp_path, Author(None, arrays, author.image, author.probabilities)))
        assert said.startswith(f"{tmp_path / 'author'}{kind}: ")
        assert "1×1 fusion, widths 2, 3, 4, 5, 6, 3 input channels, 3 classes" in said
        assert '"conv-e-3_1_2/kernel" is missing: expected shape (5, 5, 3, 4)' in said
        assert '"MHSA_layer-b-1/value/bias" is missing: expected shape (3, 3)' in said
        assert '"conv-d-2_2_1/kernel" has shape (3, 3, 10, 5): expected (1, 1, 10, 5)' in said
        assert '"segmaps/bias" is of type int32: expected float16, float32 or float64' in said
        assert '"batch_normalization/gamma" of shape (7,) is no weight of this network' in said
        assert said.count("\n") == 5


def test_of_many_that_do_not_fit_first_are_told(author: Author, tmp_path: Path) -> None:
    arrays = {name: array for name, array in author.arrays.items() if "-d-" not in name}
    said = refusal(write(".npz", tmp_path, Author(None, arrays, author.image, author.probabilities)))
    assert said.count("is missing") == 20
    assert said.endswith("… and 40 more")


def test_an_array_that_is_there_twice_is_told(author: Author, tmp_path: Path) -> None:
    arrays = author.arrays | {"teacher/segmaps/bias": author.arrays["segmaps/bias"]}
    said = refusal(write(".npz", tmp_path, Author(None, arrays, author.image, author.probabilities)))
    assert '"segmaps/bias" is there 2 times, as segmaps/bias and teacher/segmaps/bias: expected it once' in said


def test_numbers_that_are_none_are_told(author: Author, tmp_path: Path) -> None:
    arrays = author.arrays | {"LN-b-1/gamma": np.full(6, np.nan, np.float32)}
    said = refusal(write(".npz", tmp_path, Author(None, arrays, author.image, author.probabilities)))
    assert '"LN-b-1/gamma" holds NaN or infinity' in said


def test_another_network_is_refused(keras: ModuleType, tmp_path: Path) -> None:
    image = keras.layers.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(4, 3)(image)).save_weights(tmp_path / "other.weights.h5")
    said = refusal(tmp_path / "other.weights.h5")
    assert "layers conv2d: found 1, expected 60" in said
    assert "layers conv2d_transpose: found 0, expected 15" in said
    assert re.search(r'found "conv2d_?\d*/kernel"', said)


@pytest.mark.parametrize("kind", [".weights.h5", ".keras", ".h5", ".npz"])
def test_a_file_that_is_cut_short_is_refused(kind: str, author: Author, tmp_path: Path) -> None:
    file = write(kind, tmp_path, author)
    content = file.read_bytes()
    for length in (100, len(content) // 2, len(content) - 1000):
        file.write_bytes(content[:length])
        assert str(file) in refusal(file)


def test_state_of_the_optimiser_is_left_out(author: Author, tmp_path: Path) -> None:
    with h5py.File(write(".weights.h5", tmp_path, author)) as file:
        assert len(file["optimizer/vars"]) > len(author.arrays)
    with open_arrays(tmp_path / "author.weights.h5") as arrays:
        assert {array.name for array in arrays} == set(author.arrays)


def test_options_that_do_not_fit_are_refused(author: Author, tmp_path: Path) -> None:
    file = write(".npz", tmp_path, author)
    assert "labels give 1 name: liver. The network has 3 classes: expected 2" in refusal(file, labels=("liver",))
    assert "there twice" in refusal(file, labels=("liver", "liver"))
    assert "Give the intensities that became 0 and 1" in refusal(file, modality="mr")
    assert "expected a low and a higher intensity" in refusal(file, window=(3, 3))
    assert "8" in refusal(file, size=(8, 8))


def test_earlier_bundle_is_replaced_only_if_asked(author: Author, tmp_path: Path, cli: Cli) -> None:
    file, out = write(".npz", tmp_path, author), tmp_path / "bundle"
    assert cli("import-weights", file, "--out", out)[0] == 0
    status, _, error = cli("import-weights", file, "--out", out)
    assert status == 2
    assert "--overwrite" in error
    assert cli("import-weights", file, "--out", out, "--overwrite")[0] == 0
    assert same(out, author)
