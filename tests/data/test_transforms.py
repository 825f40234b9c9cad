"""The deterministic steps, against values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caseunet.data.transforms import (
    crop_or_pad,
    labels_from_logits,
    normalize,
    pick_classes,
    resize_image,
    resize_labels,
    run_network,
)
from caseunet.errors import CaseUNetError
from caseunet.imaging.slices import case_statistics, gather_slices
from caseunet.types import Preprocessing

NONE = np.zeros((2, 1), np.float32)
"""Of a case, where the preprocessing does not ask for it."""


def test_neighbours_are_channels_from_low_to_high_and_edges_repeat() -> None:
    pixels = np.arange(4).reshape(4, 1, 1, 1)
    assert gather_slices(pixels, [0, 1, 3], context_slices=1)[:, :, 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [2, 3, 3]]
    two_channels = np.arange(8).reshape(4, 2, 1, 1)
    assert gather_slices(two_channels, [1], context_slices=1)[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_window_maps_to_zero_and_one() -> None:
    p = Preprocessing(
        modality="ct", channels=1, channel_repeat=3, intensity_window=(-200, 250), mean=(-200,), std=(450,)
    )
    x = run_network(
        lambda x: x, torch.tensor([-1000, -200, 25, 250, 3000], dtype=torch.int16).reshape(1, 1, 1, 5), p, NONE
    )
    assert x.shape == (1, 3, 1, 5)
    for channel in x[0]:
        assert channel[0].tolist() == [0, 0, 0.5, 1, 1]


def test_small_slices_are_padded_for_the_network_alone() -> None:
    p = Preprocessing(modality="gray", channels=1, mean=(0,), std=(1,))
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    pixels = torch.arange(20 * 40).reshape(1, 1, 20, 40)
    assert torch.equal(run_network(network, pixels, p, NONE), pixels.float())
    assert seen[0].shape == (1, 1, 32, 40)
    assert torch.equal(seen[0][0, 0, 31], pixels[0, 0, 19].float())


def test_each_channel_has_own_shift_also_in_2_5_d() -> None:
    p = Preprocessing(modality="rgb", channels=2, context_slices=1, mean=(1, 2), std=(1, 10))
    x = normalize(torch.full((1, 6, 1, 1), 22, dtype=torch.uint8), p, torch.from_numpy(NONE)[None])
    assert x[0, :, 0, 0].tolist() == [21, 2, 21, 2, 21, 2]


def test_each_case_has_its_own_mean_and_deviation() -> None:
    """Two scans of one object on other scales become equal; their neighbours are normalised alike."""
    rng = np.random.default_rng(0)
    scan = rng.integers(0, 1000, (4, 2, 5, 6)).astype(np.int32)
    scaled = 7 * scan + 300
    for c in range(2):
        np.testing.assert_allclose(case_statistics(scan)[:, c], [scan[:, c].mean(), scan[:, c].std()], rtol=1e-6)
    p = Preprocessing(modality="mr", channels=2, context_slices=1, per_case_zscore=True, mean=(0, 0), std=(1, 1))
    pixels = torch.from_numpy(np.concatenate([gather_slices(case, [1], 1) for case in (scan, scaled)]))
    x = normalize(pixels, p, torch.from_numpy(np.stack([case_statistics(case) for case in (scan, scaled)])))
    torch.testing.assert_close(x[0], x[1], atol=1e-4, rtol=1e-4)
    assert x[0, 2, 0, 0] == pytest.approx((scan[1, 0, 0, 0] - scan[:, 0].mean()) / scan[:, 0].std(), rel=1e-4)


def test_another_number_of_channels_is_refused() -> None:
    p = Preprocessing(modality="rgb", channels=3, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(CaseUNetError, match="has 1 channels; the model was trained on rgb images with 3"):
        normalize(torch.zeros(1, 1, 4, 4), p, torch.from_numpy(NONE)[None])


def test_crops_and_pads() -> None:
    image = np.arange(9).reshape(3, 3)
    assert crop_or_pad(image, (2, 2), (1, 0)).tolist() == [[3, 4], [6, 7]]
    assert crop_or_pad(image, (4, 3), (-1, 0)).tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [6, 7, 8]]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 30), st.integers(1, 30))
def test_resized_labels_hold_no_new_ids(H: int, W: int, new_H: int, new_W: int) -> None:
    labels = np.random.default_rng(0).choice([0, 3, 200], (2, H, W)).astype(np.uint8)
    resized = resize_labels(labels, (new_H, new_W))
    assert resized.shape == (2, new_H, new_W)
    assert set(np.unique(resized)) <= set(np.unique(labels))


def test_doubling_and_halving_labels_returns_them() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (2, 6, 5)).astype(np.uint8)
    np.testing.assert_array_equal(resize_labels(resize_labels(labels, (12, 10)), (6, 5)), labels)


def test_resized_images_keep_their_type_and_range() -> None:
    image = np.array([[0, 255], [255, 0]], np.uint8)[None, None]
    assert resize_image(image, (5, 5)).dtype == np.uint8
    assert resize_image(image, None) is image
    constant = np.full((1, 1, 8, 8), -1024, np.int16)
    assert np.all(resize_image(constant, (3, 3)) == -1024)


def test_labels_come_back_at_the_source_s_size() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, :, 1] = 5  # right half is class 1
    logits[0, 0, :, 0] = 5
    labels = labels_from_logits(logits, (4, 4))
    assert labels.dtype == torch.uint8
    assert labels[0].tolist() == [[0, 0, 1, 1]] * 4


def test_resizing_follows_pixel_centres() -> None:
    """Halving a ramp averages neighbours; a label in the second of four columns fills columns 2 and 3 of eight."""
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.int16), (1, 1, 4, 1))
    halved = resize_image(ramp, (4, 4))[0, 0, 0]
    assert halved[1:3].tolist() == [25, 45]
    labels = np.array([[0, 1, 0, 0]], np.uint8)[None]
    assert resize_labels(labels, (1, 8))[0, 0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert resize_labels(np.arange(9, dtype=np.uint8).reshape(1, 1, 9), (1, 3))[0, 0].tolist() == [1, 4, 7]


def pick(probabilities: dict[str, list[float]], *thresholds: tuple[tuple[int, ...], float]) -> dict[str, int]:
    """The class of each pixel, given the probabilities of its classes."""
    maps = torch.tensor(list(probabilities.values())).T.log()[None, :, None]
    return dict(zip(probabilities, pick_classes(maps, thresholds)[0, 0].tolist(), strict=True))


def test_a_structure_is_what_reaches_its_threshold() -> None:
    """Classes: background, liver, tumour; the liver holds both."""
    pixels = {"sure": [0.1, 0.2, 0.7], "weak": [0.5, 0.3, 0.2], "faint": [0.15, 0.8, 0.05], "none": [0.9, 0.06, 0.04]}
    assert list(pick(pixels).values()) == [2, 0, 1, 0]
    assert list(pick(pixels, ((2,), 0.15)).values()) == [2, 2, 1, 0]
    assert list(pick(pixels, ((2,), 0.04)).values()) == [2, 2, 2, 2]
    assert list(pick(pixels, ((2,), 0.8)).values()) == [1, 0, 1, 0]  # it loses what does not reach it
    assert list(pick(pixels, ((1, 2), 0.09)).values()) == [2, 1, 1, 1]
    assert list(pick(pixels, ((1, 2), 0.96)).values()) == [0, 0, 0, 0]


def test_of_several_structures_the_inner_one_counts() -> None:
    """Order of asking does not matter."""
    pixels = {
        "in both": [0.5, 0.3, 0.2],
        "outer": [0.4, 0.55, 0.05],
        "inner": [0.6, 0.1, 0.3],
        "none": [0.85, 0.1, 0.05],
    }
    liver, tumour = ((1, 2), 0.45), ((2,), 0.15)
    for asked in ((liver, tumour), (tumour, liver)):
        assert list(pick(pixels, *asked).values()) == [2, 1, 2, 0]


def test_of_structures_side_by_side_the_likelier_one_counts() -> None:
    pixels = {
        "both": [0.5, 0.2, 0.3],
        "first": [0.7, 0.25, 0.05],
        "second": [0.2, 0.05, 0.75],
        "none": [0.98, 0.01, 0.01],
    }
    for asked in ((((1,), 0.1), ((2,), 0.1)), (((2,), 0.1), ((1,), 0.1))):
        assert list(pick(pixels, *asked).values()) == [2, 1, 2, 0]
    assert list(pick(pixels, ((1,), 0.1), ((2,), 0.8)).values()) == [1, 1, 0, 0]


@given(st.integers(0, 2**32 - 1))
def test_many_thresholds_keep_the_inner_masks(seed: int) -> None:
    """Of structures within each other every one is what reaches its threshold, and what lies inside; the innermost is
    that alone."""
    random = np.random.default_rng(seed)
    maps = torch.from_numpy(random.normal(0, 2, (1, 7, 4, 5)).astype(np.float32))
    nested = [(tuple(range(start, 7)), float(random.uniform(0.02, 0.9))) for start in range(1, 7)]
    found = pick_classes(maps, [nested[n] for n in random.permutation(6)])
    inside = torch.zeros(1, 4, 5, dtype=torch.bool)
    for members, threshold in nested[::-1]:
        inside |= sum(maps.softmax(1)[:, member] for member in members) >= threshold
        assert torch.equal(torch.isin(found, torch.tensor(members)), inside)
