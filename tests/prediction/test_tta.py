"""Views at prediction: what a network sees mirrored or scaled comes back where it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from caseunet.bundle import Bundle
from caseunet.data.grid import Placement
from caseunet.data.transforms import labels_from_logits, resize_image, upsample_in_slabs
from caseunet.imaging.slices import split_padding
from caseunet.options import PredictionSettings
from caseunet.prediction import predictor as module
from caseunet.prediction.predictor import SlicePredictor
from caseunet.prediction.slices import Slices, gather_context
from caseunet.prediction.tta import View, list_views, seen_in


def test_four_mirrors_at_each_scale() -> None:
    found = list_views(PredictionSettings(tta_flip=True, tta_scales=(1.0, 0.5)))
    assert len(found) == 8
    assert found[0] == View()
    assert {view.mirrored for view in found} == {(), (3,), (2,), (2, 3)}


@pytest.mark.parametrize("view", list_views(PredictionSettings(tta_flip=True)))
def test_a_mirrored_view_comes_back_exactly(view: View) -> None:
    x = torch.rand(2, 1, 40, 33)
    seen = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(image)
        return torch.cat([image, -image], 1)

    torch.testing.assert_close(seen_in(network, view)(x), torch.cat([x, -x], 1), rtol=0, atol=0)
    assert torch.equal(seen[0], x) == (view.mirrored == ())


def test_a_scaled_view_is_as_large_as_it_says_and_comes_back_in_place() -> None:
    x = torch.zeros(1, 1, 64, 96)
    x[..., 16:32, 48:72] = 1
    sizes = []

    def network(image: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(image.shape[-2:]))
        return image

    back = seen_in(network, View(scale=1.5))(x)
    assert sizes == [(96, 144)]
    assert torch.equal(back > 0.5, x > 0.5)
    seen_in(network, View(scale=0.25))(x)
    assert sizes[1] == (32, 32)  # 16 × 24, but no network takes less than 32


def test_the_mean_over_mirrors_does_not_depend_on_the_side(lits_bundle: Bundle) -> None:
    volume = np.random.default_rng(0).integers(-200, 200, (2, 48, 48)).astype(np.int16)
    alone, mean = SlicePredictor(lits_bundle), SlicePredictor(lits_bundle, settings=PredictionSettings(tta_flip=True))
    first, second = ([g.logits.flip(-1) for g in mean.groups(mean.cut(volume[:, None]))], [])
    for group in mean.groups(mean.cut(np.ascontiguousarray(volume[:, None, :, ::-1]))):
        second.append(group.logits)
    torch.testing.assert_close(torch.cat(first), torch.cat(second), rtol=1e-4, atol=1e-4)
    one = torch.cat([g.logits.flip(-1) for g in alone.groups(alone.cut(volume[:, None]))])
    other = torch.cat([g.logits for g in alone.groups(alone.cut(np.ascontiguousarray(volume[:, None, :, ::-1])))])
    assert not torch.allclose(one, other, atol=1e-3)


def test_slabs_are_torch_s_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseunet.data.transforms.VALUES_AT_ONCE", 500)
    maps = torch.randn(2, 3, 7, 11)
    for size in ((7, 11), (20, 33), (5, 40), (3, 4)):
        parts = list(upsample_in_slabs(maps, size))
        torch.testing.assert_close(torch.cat(parts, 2), F.interpolate(maps, size, mode="bilinear"))
    assert len(list(upsample_in_slabs(maps, (20, 33)))) > 5
    assert torch.equal(labels_from_logits(maps, (20, 33)), F.interpolate(maps, (20, 33), mode="bilinear").argmax(1))


def test_slices_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (6, 2, 30, 40)).astype(np.int16)
    placement = Placement(box=(2, 3, 28, 37), size=(13, 21))
    slices = Slices(pixels, placement, kept=3)
    whole = resize_image(placement.cut(pixels), placement.size)
    np.testing.assert_array_equal(
        gather_context(slices, [0, 5], 1), [np.concatenate(whole[[0, 0, 1]]), np.concatenate(whole[[4, 5, 5]])]
    )
    np.testing.assert_array_equal(np.stack([slices[s] for s in range(len(slices))]), whole)
    assert len(slices._last) == 3


def test_edges_are_repeated_on_both_sides_alike() -> None:
    assert split_padding(35, 64) == (14, 15)
    assert split_padding(64, 64) == split_padding(70, 64) == (0, 0)


def test_air_around_a_body_costs_nothing(lits_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the body's box goes through the network, some slices together."""
    info = lits_bundle.info
    cropping = info.preprocessing.model_copy(update={"crop_to_body": True, "min_size": (32, 32), "window": None})
    bundle = Bundle(info.model_copy(update={"preprocessing": cropping}), lits_bundle.weights, lits_bundle.folder)
    monkeypatch.setitem(module.PIXELS_AT_ONCE, "cpu", 3 * 104 * 84)
    pixels = np.full((10, 1, 256, 256), -1000, np.int16)
    pixels[3:7, :, 60:140, 100:160] = 40
    predictor = SlicePredictor(bundle)
    groups = [(group.slices, group.box) for group in predictor.groups(predictor.cut(pixels))]
    assert [found for found, _ in groups] == [range(3), range(3, 6), range(6, 9), range(9, 10)]
    wanted = [group.slices for group in predictor.groups(predictor.cut(pixels), [0, 2, 3, 4, 5, 9])]
    assert wanted == [range(1), range(2, 5), range(5, 6), range(9, 10)]
    top, left, bottom, right = groups[0][1]
    assert (top, left, bottom, right) == (48, 88, 152, 172)


def test_left_is_not_turned_into_right(lits_bundle: Bundle) -> None:
    """Of a model with sides --flips is the mean of two views: as it is, and upside down."""
    info = lits_bundle.info
    labels = tuple(label.model_copy(update={"name": f"left {label.name}"}) for label in info.label_map.labels)
    sided = info.model_copy(update={"label_map": info.label_map.model_copy(update={"labels": labels})})
    predictor = SlicePredictor(replace(lits_bundle, info=sided), settings=PredictionSettings(tta_flip=True))
    assert predictor.has_sides
    assert not SlicePredictor(lits_bundle).has_sides
    assert [view.mirrored for view in list_views(predictor.settings, has_sides=True)] == [(), (2,)]
