"""An image that a model was trained on is known again, and no other is taken for one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.bundle import TrainingData
from caseunet.io import likeness as likeness_module
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
    measure_overlap,
    sketch,
)
from caseunet.prediction import training_images
from caseunet.prediction.training_images import KnownImages, describe_training_image, learn_alikeness, limit_sketches
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


@given(st.tuples(*(st.tuples(st.integers(0, 4), st.integers(0, 4)) for _ in range(3))), st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_a_part_shares_its_pixels(margins: tuple[tuple[int, int], ...], itemsize: int) -> None:
    """Whatever is cut off on any side: every row of a part is one of the whole."""
    pixels = patient(1)
    cut = [slice(low, length - high) for (low, high), length in zip(margins, (12, 40, 48), strict=True)]
    part = pixels[cut[0], :, cut[1], cut[2]].astype(f"f{max(itemsize, 4)}")
    assert measure_overlap(sketch(pixels), sketch(part)) == measure_overlap(sketch(part), sketch(pixels)) == 1
    assert measure_overlap(sketch(patient(2)), sketch(part)) == 0


@pytest.mark.parametrize("shared", [2, 6, 10])
def test_overlapping_parts_share_some(shared: int) -> None:
    """Two halves of a scan that overlap: 96 hashes tell the share to about 0.2."""
    pixels = patient(1, (24, 40, 48))
    found = measure_overlap(sketch(pixels[:12]), sketch(pixels[12 - shared : 24 - shared]))
    assert found == pytest.approx(shared / 12, abs=0.2)


def test_even_areas_tell_nothing() -> None:
    flat = np.zeros((4, 1, 64, 64), np.int16)
    flat[:, :, 20:30] = 7
    assert len(sketch(flat)) == 0
    assert measure_overlap(sketch(flat), sketch(flat)) == 0
    assert likeness(flat[:1] * 0) is None
    assert len(sketch(np.random.default_rng(0).integers(0, 99, (2, 1, 9, 9)))) == 0  # narrower than a window
    assert known({"flat": flat}).find(patient(0)) is None


@pytest.mark.filterwarnings("error")
def test_one_huge_value_has_a_picture() -> None:
    pixels = patient(0).astype(np.float32)
    pixels[5, 0, 20, 20] = 3e38
    picture = identify(pixels).picture
    assert picture is not None
    assert float(np.square(picture).sum()) == pytest.approx(1)


def test_texts_hold_what_they_are_of() -> None:
    identity = identify(patient(0))
    assert identity.picture is not None
    np.testing.assert_array_equal(decode_sketch(encode_sketch(identity.sketch)), identity.sketch)
    assert len(identity.sketch) == 8 * 12
    again = decode_picture(encode_picture(identity.picture))
    assert float(again @ identity.picture.ravel()) > 0.9999
    assert (encode_picture(None), encode_sketch(identity.sketch[:5])) == ("", "")
    assert len(encode_picture(identity.picture)) + len(encode_sketch(identity.sketch)) < 4000


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "first slice cut": lambda v: v[1:],
    "last slice cut": lambda v: v[:-1],
    "three slices cut": lambda v: v[3:],
    "cropped": lambda v: v[:, :, 2:-1, 3:-2],
    "cut, in another type": lambda v: v[:-1].astype(np.float32),
    "first slice alone": lambda v: v[:1],
    "one slice": lambda v: v[7:8],
    "two slices": lambda v: v[4:6],
    "a quarter": lambda v: v[..., :20, :24],
    "the centre": lambda v: v[..., 10:30, 12:36],
    "padded": lambda v: np.pad(v, ((2, 1), (0, 0), (9, 5), (20, 3)), constant_values=-1000),
    "mirrored": lambda v: v[..., ::-1],
    "upside down": lambda v: v[..., ::-1, :],
    "turned by 90°": lambda v: np.rot90(v, 1, (2, 3)),
    "turned by 180°": lambda v: np.rot90(v, 2, (2, 3)),
    "turned by 270°": lambda v: np.rot90(v, 3, (2, 3)),
    "transposed": lambda v: v.swapaxes(2, 3),
    "one slice, mirrored": lambda v: v[7:8, :, :, ::-1],
    "a part, turned": lambda v: np.rot90(v[3:9, :, 4:30, 5:40], 1, (2, 3)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_cut_is_known_again(change: str) -> None:
    images = known({f"p{n}": patient(n) for n in range(5)})  # too few groups for pictures
    assert images.find(CHANGES[change](patient(20))) is None
    match = images.find(CHANGES[change](patient(3)))
    assert match is not None
    assert (match.case, match.is_same) == ("p3", False)
    assert "they share about 100% of the smaller one's pixels" in match.sentence
    same = images.find(patient(3).astype(np.float64))
    assert same is not None
    assert (same.case, same.is_same, same.sentence) == ("p3", True, "seen in training (case p3)")
    assert images.find(patient(20)) is None


@pytest.mark.parametrize("change", ["mirrored", "turned by 90°", "turned by 180°", "transposed"])
@pytest.mark.parametrize("kind", ["frame", "volume"])
def test_turned_pictures_are_known_again(kind: str, change: str) -> None:
    """In other units or inverted, so that no pixel is the same."""

    def image(seed: int) -> np.ndarray:
        return patient(seed)[6:7] if kind == "frame" else patient(seed)

    images = known({f"p{n}": image(n) for n in range(9)})
    turned = CHANGES[change](image(3))
    for other in (turned * 0.37 + 11, turned.max() - turned):
        match = images.find(other)
        assert match is not None
        assert match.case == "p3"
        assert match.text == "small pictures of them correlate by 1.000, turned or mirrored"
    assert images.find(CHANGES[change](image(20))) is None


def test_sketches_of_many_are_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As short as those of former bundles, they still know what was cut."""
    images = [describe_training_image(str(n), identify(patient(n, (40, 40, 48)))) for n in range(3)]
    assert [len(decode_sketch(image.sketch)) for image in images] == [8 * 40] * 3
    assert limit_sketches(images) == tuple(images)
    monkeypatch.setattr(training_images, "MAX_HASHES", 100)
    limited = limit_sketches(images)
    assert [len(decode_sketch(image.sketch)) for image in limited] == [SKETCH] * 3
    match = KnownImages(NO_DATA.model_copy(update={"cases": 3, "images": limited})).find(patient(1, (40, 40, 48))[9:30])
    assert match is not None
    assert match.case == "1"


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
    assert KnownImages(old).find(patient(0)) is None


RESAVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "other units": lambda v: v * 0.37 + 11,
    "8 bits": lambda v: np.rint((v - v.min()) / (v.max() - v.min()) * 255),
    "a little noise": lambda v: v + np.random.default_rng(0).normal(0, 0.03 * v.std(), v.shape),
    "a slice cut": lambda v: v[1:],
    "three slices cut": lambda v: v[3:],
    "cropped": lambda v: v[2:-1, :, 3:-2, 2:-3],
    "inverted": lambda v: v.max() - v,
    "mirrored": lambda v: v[..., ::-1],
    "turned, in other units": lambda v: np.rot90(v, 1, (2, 3)) * 0.37 + 11,
    "one slice": lambda v: v[len(v) // 2 :][:1],
    "a quarter": lambda v: v[..., : v.shape[2] // 2, : v.shape[3] // 2],
}


@pytest.mark.parametrize("part", [0, 1])
def test_real_patients(part: int, real_data: Callable[[str], Path]) -> None:
    """208 hippocampi: half of them are training. None of the others is taken for one, all re-saved ones are known."""
    files = sorted(real_data("hippocampus/imagesTr").glob("hippocampus*.nii.gz"))
    assert len(files) > 200
    volumes = {path.name: nifti.read_nifti(path).pixels.astype(np.float32) for path in files}
    names = list(volumes)
    images = known({name: volumes[name] for name in names[part::2]})
    others = [volumes[name] for name in names[1 - part :: 2]]
    assert [other for other in others if images.find(other)] == []
    assert [how for how, change in RESAVED.items() for other in others[::8] if images.find(change(other))] == []
    for name in names[part::24]:
        for how, change in RESAVED.items():
            match = images.find(change(volumes[name]))
            assert match is not None, (name, how)
            assert match.case == name, how


def test_real_pictures(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Polyps of many patients, as JPEG again or cut; other pictures of the set are not taken for them."""
    from PIL import Image

    files = sorted(real_data("kvasir_seg_900/images").iterdir())[:120]
    pictures = {path.name: raster.read_raster(path, 3).pixels for path in files}
    names = list(pictures)
    images = known({name: pictures[name] for name in names[::2]})
    assert [name for name in names[1::2] if images.find(pictures[name])] == []
    for name in names[:40:8]:
        Image.fromarray(pictures[name][0].transpose(1, 2, 0)).save(tmp_path / "again.jpg", quality=60)
        pixels = pictures[name]
        quarter = pixels[..., : pixels.shape[2] // 2, : pixels.shape[3] // 2]
        read, turned = raster.read_raster(tmp_path / "again.jpg", 3).pixels, np.rot90(pixels, 1, (2, 3))
        for again in (read, read[..., ::-1], 255 - pixels, pixels[..., 5:-9, 7:-3], turned, quarter):
            match = images.find(again)
            assert match is not None
            assert match.case == name


@pytest.mark.parametrize("part", [0, 1])
def test_real_slices(part: int, real_data: Callable[[str], Path]) -> None:
    """Slices of the livers of 122 patients: none of another patient is taken for one, however it is turned."""
    files = sorted(real_data("msd_liver_slices/images").iterdir())[::2]
    patients = sorted({path.name.split("_")[1] for path in files})
    trained = set(patients[part::2])
    slices = {path.name: raster.read_raster(path, 1).pixels for path in files}
    own = {name: pixels for name, pixels in slices.items() if name.split("_")[1] in trained}
    images = known(own, [name.split("_")[1] for name in own])
    assert len(own) > 100
    assert [name for name in slices if name not in own and images.find(slices[name])] == []
    for name in list(own)[::40]:
        for again in (own[name][..., ::-1], np.rot90(own[name], 1, (2, 3)), own[name][..., 60:200, 50:190]):
            match = images.find(again)
            assert match is not None
            assert match.case.split("_")[1:] == name.split("_")[1:]  # the set has mirrored copies too


@pytest.mark.parametrize(("shape", "dtype"), [((1, 3, 70, 90), np.uint8), ((5, 1, 40, 50), np.int16)])
def test_parts_give_the_identity_of_the_whole(
    shape: tuple[int, ...], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large images are looked at in parts, so that they are not held as floats."""
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    whole = likeness_module.identify(pixels)
    monkeypatch.setattr(likeness_module, "AT_ONCE", 700)
    parts = likeness_module.identify(pixels)
    assert parts.pixels_hash == whole.pixels_hash
    np.testing.assert_array_equal(parts.picture, whole.picture)
    np.testing.assert_array_equal(parts.sketch, whole.sketch)
    assert len(whole.sketch) > 4
