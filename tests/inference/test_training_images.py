"""An image that a model was trained on is known again, and no other is taken for one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.bundle import TrainingData
from caseunet.inference.training_images import KnownImages, describe_training_image, learn_alikeness
from caseunet.io import nifti, raster
from caseunet.io.likeness import (
    SKETCH,
    decode_picture,
    decode_sketch,
    encode_picture,
    encode_sketch,
    hash_values,
    identify,
    likeness,
    shared_part,
    sketch,
)
from tests.support.bundles import NO_DATA


def known(volumes: dict[str, np.ndarray], groups: Sequence[str] | None = None) -> KnownImages:
    images = tuple(describe_training_image(case, identify(pixels)) for case, pixels in volumes.items())
    alike = learn_alikeness(images, list(volumes) if groups is None else groups)
    data = NO_DATA.model_copy(update={"cases": len(images), "images": images, "alike_from": alike})
    return KnownImages(TrainingData.model_validate_json(data.model_dump_json()))


def patient(seed: int, shape: tuple[int, int, int] = (12, 40, 48)) -> np.ndarray:
    """(S, 1, H, W): a body like all others', with a bright place and a noise of its own."""
    rng = np.random.default_rng(seed)
    s, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    where = rng.uniform(-0.7, 0.7, 3)
    blob = np.exp(-((s - where[0]) ** 2 + (y - where[1]) ** 2 + (x - where[2]) ** 2) / 0.1)
    body = np.where(x**2 + y**2 < 0.8, 40, -1000) + 800 * blob
    return (body + rng.normal(0, 10, shape)).round().astype(np.int16)[:, None]


def test_numbers_count_and_not_their_type() -> None:
    pixels = patient(0)
    for dtype in ("int32", "float32", "float64", ">i2"):
        assert hash_values(pixels.astype(dtype)) == hash_values(pixels)
    assert hash_values(pixels.transpose(0, 1, 3, 2)) != hash_values(pixels)
    changed = pixels.copy()
    changed[3, 0, 2, 1] += 1
    assert hash_values(changed) != hash_values(pixels)
    assert hash_values(np.array([[0.0, -0.0]])) == hash_values(np.zeros((1, 2)))


@given(st.tuples(*(st.tuples(st.integers(0, 3), st.integers(0, 3)) for _ in range(3))), st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_a_part_shares_its_pixels(margins: tuple[tuple[int, int], ...], itemsize: int) -> None:
    """Whatever is cut off on any side: the estimate of 64 hashes is within .25 of the share of what is left."""
    pixels = patient(1)
    cut = [slice(low, length - high) for (low, high), length in zip(margins, (12, 40, 48), strict=True)]
    part = pixels[cut[0], :, cut[1], cut[2]].astype(f"f{max(itemsize, 4)}")
    assert abs(shared_part(sketch(pixels), sketch(part)) - part.size / pixels.size) < 0.25
    assert shared_part(sketch(patient(2)), sketch(part)) == 0


def test_even_areas_tell_nothing() -> None:
    flat = np.zeros((4, 1, 64, 64), np.int16)
    flat[:, :, 20:30] = 7
    assert len(sketch(flat)) == 0
    assert shared_part(sketch(flat), sketch(flat)) == 0
    assert likeness(flat[:1] * 0) is None
    assert len(sketch(np.random.default_rng(0).integers(0, 99, (2, 1, 9, 9)))) == 0  # narrower than a window
    assert known({"flat": flat}).find(identify(patient(0))) is None


def test_texts_hold_what_they_are_of() -> None:
    identity = identify(patient(0))
    assert identity.picture is not None
    np.testing.assert_array_equal(decode_sketch(encode_sketch(identity.sketch)), identity.sketch)
    assert len(identity.sketch) == SKETCH
    again = decode_picture(encode_picture(identity.picture))
    assert float(again @ identity.picture.ravel()) > 0.9999
    assert (encode_picture(None), encode_sketch(identity.sketch[:5])) == ("", "")
    assert len(encode_picture(identity.picture)) + len(encode_sketch(identity.sketch)) < 3500


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "first slice cut": lambda v: v[1:],
    "last slice cut": lambda v: v[:-1],
    "three slices cut": lambda v: v[3:],
    "cropped": lambda v: v[:, :, 2:-1, 3:-2],
    "cut, in another type": lambda v: v[:-1].astype(np.float32),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_cut_is_known_again(change: str) -> None:
    images = known({f"p{n}": patient(n) for n in range(9)})
    match = images.find(identify(CHANGES[change](patient(3))))
    assert match is not None
    assert (match.case, match.is_same) == ("p3", False)
    assert "of their pixels" in match.sentence
    same = images.find(identify(patient(3).astype(np.float64)))
    assert same is not None
    assert (same.case, same.is_same, same.sentence) == ("p3", True, "seen in training (case p3)")
    assert images.find(identify(patient(20))) is None


def test_the_data_say_how_alike_is_alike() -> None:
    """Patients of one shape are alike by their pictures: these are then no reason to call another one known."""
    identities = [identify(patient(n)) for n in range(8)]
    images = [describe_training_image(str(n), identity) for n, identity in enumerate(identities)]
    pictures = np.stack([identity.picture.ravel() for identity in identities if identity.picture is not None])
    highest = np.triu(pictures @ pictures.T, 1).max()
    learnt = learn_alikeness(images, list("abcdefgh"))
    assert learnt == pytest.approx(highest + 0.75 * (1 - highest), abs=1e-3)
    copies = learn_alikeness([images[0]] * 8, list("abcdefgh"))
    assert copies == pytest.approx(0.95)
    assert learn_alikeness(images, list("aabcdefg")) is None  # seven patients
    assert learn_alikeness([], []) is None


def test_bundles_of_before_know_nothing() -> None:
    old = NO_DATA.model_copy(update={"cases": 3, "image_hashes": ("x",)})
    assert KnownImages(old).find(identify(patient(0))) is None


RESAVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "other units": lambda v: v * 0.37 + 11,
    "8 bits": lambda v: np.rint((v - v.min()) / (v.max() - v.min()) * 255),
    "a little noise": lambda v: v + np.random.default_rng(0).normal(0, 0.03 * v.std(), v.shape),
    "a slice cut": lambda v: v[1:],
    "three slices cut": lambda v: v[3:],
    "cropped": lambda v: v[2:-1, :, 3:-2, 2:-3],
}


@pytest.mark.parametrize("part", [0, 1])
def test_real_patients(part: int, real_data: Callable[[str], Path]) -> None:
    """208 hippocampi: half of them are training. None of the others is taken for one, all re-saved ones are known."""
    files = sorted(real_data("hippocampus/imagesTr").glob("hippocampus*.nii.gz"))
    assert len(files) > 200
    volumes = {path.name: nifti.read_volume(path).pixels.astype(np.float32) for path in files}
    names = list(volumes)
    images = known({name: volumes[name] for name in names[part::2]})
    assert [name for name in names[1 - part :: 2] if images.find(identify(volumes[name]))] == []
    for name in names[part::24]:
        for how, change in RESAVED.items():
            match = images.find(identify(change(volumes[name])))
            assert match is not None, (name, how)
            assert match.case == name, how


def test_real_pictures(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Polyps of many patients, as JPEG again or cut; other pictures of the set are not taken for them."""
    from PIL import Image

    files = sorted(real_data("kvasir_seg_900/images").iterdir())[:120]
    pictures = {path.name: raster.read_image(path, 3).pixels for path in files}
    names = list(pictures)
    images = known({name: pictures[name] for name in names[::2]})
    assert [name for name in names[1::2] if images.find(identify(pictures[name]))] == []
    for name in names[:40:8]:
        Image.fromarray(pictures[name][0].transpose(1, 2, 0)).save(tmp_path / "again.jpg", quality=60)
        for again in (raster.read_image(tmp_path / "again.jpg", 3).pixels, pictures[name][..., 5:-9, 7:-3]):
            match = images.find(identify(again))
            assert match is not None
            assert match.case == name
