"""Slices too large for a network to see at once: in windows they are segmented as they would be whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from caseunet import CaseUNetError, Predictor
from caseunet.bundle import Bundle
from caseunet.data import tiles
from caseunet.data.tiles import run_in_windows
from caseunet.data.transforms import run_network, upsample_in_slabs
from caseunet.export import segment as portable
from caseunet.imaging import windows
from caseunet.models.unet import UNet
from caseunet.prediction.predictor import SliceBatch
from caseunet.prediction.probabilities import ProbabilityAccumulator
from caseunet.prediction.slices import gather_context
from caseunet.quality import out_of_distribution
from caseunet.quality.confidence import ConfidenceMeter, StructureConfidence
from caseunet.quality.out_of_distribution import image_features
from caseunet.types import Preprocessing


@pytest.fixture
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few values are held at once, so that small images come in parts too."""
    monkeypatch.setattr(tiles, "VALUES_AT_ONCE", 9_000)
    monkeypatch.setattr("caseunet.data.transforms.VALUES_AT_ONCE", 4_000)


def preprocessing(**given: Any) -> Preprocessing:
    channels = given.setdefault("channels", 1)
    values = {"mean": (100.0,) * channels, "std": (50.0,) * channels}
    return Preprocessing(**({"modality": "ct"} | values | given))


@pytest.fixture(scope="module")
def with_network(lits_bundle: Bundle) -> Callable[[nn.Module, Preprocessing], Predictor]:
    """The bundle's predictor with another network."""

    def made(network: nn.Module, p: Preprocessing) -> Predictor:
        predictor = Predictor(lits_bundle)
        predictor.info = predictor.info.model_copy(update={"preprocessing": p})
        predictor._networks = [(network.eval(), p)]
        return predictor

    return made


def convolutions(p: Preprocessing) -> nn.Module:
    """They see five pixels to each side."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(p.in_channels, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 3, 7, padding=3))


@given(length=st.integers(1, 20_000), window=st.integers(32, 2_000))
def test_windows_cover_all_and_overlap(length: int, window: int) -> None:
    """A quarter of each is its neighbour's too, and where they meet both count alike.

    They begin on the grid of a network's strides, be they 32 where windows are of 128 or more.
    """
    spans = windows.place_spans(length, window)
    total = np.zeros(length)
    grid = max(n for n in (8, 16, 32) if n == 8 or 4 * n <= window)
    for (places, weights), following in zip(spans, [*spans[1:], None], strict=True):
        assert places.stop - places.start == len(weights)
        if following is not None:
            assert len(weights) == window
        elif len(spans) > 1:
            assert window <= len(weights) < window + grid
        assert places.start % grid == 0
        total[places] += weights
        if following is not None:
            assert places.stop - following[0].start >= window // 4
            middle = (following[0].start + places.stop) // 2
            assert weights[middle - places.start] == pytest.approx(0.5, abs=0.2)
    assert (spans[0][0].start, spans[-1][0].stop) == (0, length)
    assert (len(spans) == 1) == (length <= 1.25 * window)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_weights_are_gaussian() -> None:
    """Windows of 64 begin at 0 and 48: at row 50 they are 18 and 29 … from their middles, of deviations of 8."""
    (first, down), (second, up) = windows.place_spans(112, 64)
    assert (first, second) == (slice(0, 64), slice(48, 112))
    ours, other = np.exp(-0.5 * (18.5 / 8) ** 2), np.exp(-0.5 * (29.5 / 8) ** 2)
    assert down[50] == pytest.approx(ours / (ours + other), rel=1e-5)
    assert up[2] == pytest.approx(other / (ours + other), rel=1e-5)
    assert (down[:48] == 1).all()


def test_what_the_patch_covers_is_whole() -> None:
    trained = preprocessing(min_size=(256, 320), window=(256, 320))
    assert tiles.plan_windows((256, 320), trained) is None
    assert tiles.plan_windows((320, 400), trained) is None
    planned = tiles.plan_windows((321, 100), trained)
    assert planned is not None
    assert (planned.count, planned.window) == (2, (257, 100))


def test_models_without_windows_see_megapixels() -> None:
    """Those of earlier versions see four million pixels whole."""
    earlier = preprocessing(min_size=(512, 512))
    assert tiles.plan_windows((2048, 2048), earlier) is None
    planned = tiles.plan_windows((2048, 2049), earlier)
    assert planned is not None
    assert (planned.count, planned.window) == (9, (1024, 1025))
    narrow = tiles.plan_windows((300, 20_000), preprocessing(min_size=(1100, 1100)))
    assert narrow is not None
    assert narrow.window == (300, 1120)


def test_whole_slices_are_as_before(with_network: Callable[[nn.Module, Preprocessing], Predictor]) -> None:
    p = preprocessing(window=(96, 96))
    predictor = with_network(convolutions(p), p)
    pixels = np.random.default_rng(0).integers(0, 200, (2, 1, 90, 100)).astype(np.int16)
    (group,) = predictor.groups(predictor.cut(pixels))
    with torch.inference_mode():
        gathered = torch.from_numpy(gather_context(pixels, range(2), 0))
        expected = run_network(predictor._networks[0][0], gathered, p, np.zeros((2, 1), np.float32))
    assert torch.equal(group.logits, expected)
    assert (group.box, group.share, group.above) == ((0, 0, 90, 100), 1.0, None)


CASES = [
    ({}, (2, 1, 300, 340), None),
    ({"context_slices": 1, "channel_repeat": 2}, (3, 1, 150, 200), None),
    ({"spacing": (0.7, 1.3)}, (2, 1, 210, 340), (5.0, 1.0, 1.0)),
    ({"spacing": (1.7, 1.3)}, (2, 1, 300, 340), (5.0, 1.0, 1.0)),
    ({"scale": 1.9, "per_case_zscore": True}, (1, 1, 130, 140), None),
    ({"size": (128, 160), "modality": "rgb", "channels": 3, "min_size": (64, 100)}, (1, 3, 130, 61), None),
    ({"size": (128, 160)}, (1, 1, 128, 61), None),
    ({"crop_to_body": True, "spacing": (0.7, 0.9)}, (2, 1, 330, 320), (5.0, 1.0, 1.0)),
    ({}, (1, 1, 40, 600), None),
]


@pytest.mark.usefixtures("few_values")
@pytest.mark.parametrize(("given", "shape", "spacing"), CASES, ids=str)
def test_windows_give_what_the_whole_gives(
    given: dict[str, Any],
    shape: tuple[int, ...],
    spacing: tuple[float, float, float] | None,
    with_network: Callable[[nn.Module, Preprocessing], Predictor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logits, labels, probabilities and sureness, of a network that sees no further than windows overlap."""
    p = preprocessing(window=(96, 112), **given)
    predictor = with_network(convolutions(p), p)
    pixels = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 900, shape), (0, 0, 3, 3)).astype(np.int16)
    if p.crop_to_body:
        air = np.full(shape, -1000, np.int16)
        air[..., 40:-20, 20:-60] = pixels[..., 40:-20, 20:-60]
        pixels = air

    found = Outcome(predictor, pixels, spacing)
    assert len(found.groups) > 2
    assert sum(group.share * len(group.slices) for group in found.groups) == pytest.approx(len(pixels))
    description = {"preprocessing": p.model_dump(mode="json"), "export": {"multiple": 1, "smallest": 1}}
    alone = portable.segment(pixels, exported(predictor), description, spacing)
    case = predictor.cut(pixels, spacing)
    gathered = torch.from_numpy(gather_context(case.slices, range(len(pixels)), p.context_slices))
    in_training = run_in_windows(predictor._networks[0][0], gathered, p, case.statistics)
    for group in found.groups:
        same = in_training[group.slices.start : group.slices.stop, :, group.rows.start : group.rows.stop]
        torch.testing.assert_close(group.logits, same, rtol=0, atol=1e-5)
    monkeypatch.setattr(windows, "SPARE", 100)
    whole = Outcome(predictor, pixels, spacing)
    assert len(np.unique(whole.labels)) == 3
    assert np.mean(found.labels != whole.labels) < 5e-4
    assert np.mean(alone != whole.labels) < 1e-3
    assert np.abs(found.shares.astype(int) - whole.shares).max() <= 400  # of 65,535
    for name, expected in whole.sureness.items():
        one = found.sureness[name]
        np.testing.assert_allclose(
            [one.expected_dice, one.share, *one.centre],
            [expected.expected_dice, expected.share, *expected.centre],
            rtol=1e-3,
        )


@pytest.fixture(scope="module")
def trained_unet() -> nn.Module:
    """Three stages with pools and batch norm, which found rings among discs after 60 steps."""
    torch.manual_seed(0)
    network = UNet(1, 3, widths=(8, 16, 32), norm="batch")
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    rng = np.random.default_rng(1)
    for _ in range(60):
        images, labels = zip(*(discs_and_rings((96, 96), rng) for _ in range(4)), strict=True)
        x = torch.from_numpy(np.stack(images)[:, None]).float() / 50
        loss = nn.functional.cross_entropy(network(x), torch.from_numpy(np.stack(labels)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.25
    return network


def discs_and_rings(shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W) and its labels: 1 of discs, 2 of rings as bright as these, under noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int64)
    for n in range(shape[0] * shape[1] // 900):
        radius = rng.uniform(4, 9)
        far = np.hypot(rows - rng.uniform(0, shape[0]), columns - rng.uniform(0, shape[1]))
        labels[far < radius + 2] = 0
        labels[(far < radius) & ((n % 2 == 0) | (far > radius / 2))] = 1 + n % 2
    return 100.0 * (labels > 0) + rng.normal(0, 50, shape), labels


@pytest.mark.parametrize("shape", [(300, 340), (333, 211), (150, 610)], ids=str)
def test_a_trained_network_sees_the_same_in_windows(
    shape: tuple[int, int],
    trained_unet: nn.Module,
    with_network: Callable[[nn.Module, Preprocessing], Predictor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Less than 0.02 % of the pixels get another class than in the whole slice.

    Where windows begin anywhere, the pools see other grids, and 0.2 to 0.6 % do.
    """
    p = preprocessing(window=(96, 96), mean=(0.0,))
    predictor = with_network(trained_unet, p)
    image, truth = discs_and_rings(shape, np.random.default_rng(0))
    pixels = image.round().astype(np.int16)[None, None]
    found = predictor.predict_slices(pixels)[0]
    description = {"preprocessing": p.model_dump(mode="json"), "export": {"multiple": 4, "smallest": 4}}
    alone = portable.segment(pixels, exported(predictor), description)[0]
    monkeypatch.setattr(windows, "SPARE", 100)
    whole = predictor.predict_slices(pixels)[0]
    assert np.mean(whole == truth) > 0.95
    assert np.mean(found != whole) < 2e-4
    assert np.mean(alone != whole) < 2e-4


class Outcome:
    """All that is made of a case's logits."""

    def __init__(self, predictor: Predictor, pixels: np.ndarray, spacing: tuple[float, float, float] | None) -> None:
        shape = (len(pixels), *pixels.shape[-2:])
        meter, shares = ConfidenceMeter(predictor.info.label_map, len(pixels)), ProbabilityAccumulator(shape, 3, 1.0)
        self.groups: list[SliceBatch] = []

        def on_batch(group: SliceBatch) -> None:
            meter.add(group.logits.softmax(1), group.slices.start, group.first, group.height)
            shares.add(group)
            self.groups.append(group)

        self.labels = predictor.predict_slices(pixels, spacing, on_batch=on_batch)
        self.sureness: dict[str, StructureConfidence] = meter.result()
        self.shares = np.stack([values for _, values in shares.each()])
        self.logits = torch.zeros(len(pixels), 3, *shape[1:])
        filled = torch.zeros(len(pixels), *shape[1:])
        for group in self.groups:
            row, left, bottom, right = group.box
            for maps in group.upsample_logits():
                place = (
                    slice(group.slices.start, group.slices.stop),
                    slice(row, row + maps.shape[2]),
                    slice(left, right),
                )
                self.logits[place[0], :, place[1], place[2]] = maps
                filled[place] += 1
                row += maps.shape[2]
            assert row == bottom
        top, left, bottom, right = self.groups[0].placement.box
        assert (filled[:, top:bottom, left:right] == 1).all()
        assert filled.sum() == len(pixels) * (bottom - top) * (right - left)


def exported(predictor: Predictor) -> portable.Network:
    network, p = predictor._networks[0]
    if all(p.per_case_zscore):
        p = p.model_copy(
            update={"per_case_zscore": (False,) * p.channels, "mean": (0,) * p.channels, "std": (1,) * p.channels}
        )

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        return run_network(network, torch.from_numpy(pixels), p, np.zeros((2, p.channels), np.float32)).numpy()

    return run


@pytest.mark.usefixtures("few_values")
def test_a_structure_across_seams_stays_one(
    with_network: Callable[[nn.Module, Preprocessing], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With instance norm each window has its own contrast, and yet nearly all labels agree."""
    p = preprocessing(window=(96, 96))
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1), nn.Conv2d(1, 3, 1))
    for layer, weight, bias in ((network[0], [1.0], [0.0]), (network[2], [-1.0, 1.0, 0.0], [0.0, 0.0, -9.0])):
        layer.weight.data = torch.tensor(weight).reshape(-1, 1, 1, 1).expand_as(layer.weight).clone()
        layer.bias.data = torch.tensor(bias)
    predictor = with_network(network, p)
    rows, columns = np.mgrid[:300, :340]
    lattice = (rows % 60 < 20) | (columns % 70 < 20)  # through every window
    pixels = (100 + 100 * lattice + np.random.default_rng(0).normal(0, 5, lattice.shape)).astype(np.int16)[None, None]
    labels = predictor.predict_slices(pixels)[0]
    assert ndimage.label(labels == 1)[1] == 1
    monkeypatch.setattr(windows, "SPARE", 100)
    whole = predictor.predict_slices(pixels)[0]
    assert np.mean((whole == 1) == lattice) > 0.999
    assert np.mean(labels != whole) < 1e-3


@pytest.fixture
def memory_peak() -> Callable[[], int]:
    """Bytes that the process held at most since the test began, less what it held then."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        pytest.skip("only Linux forgets the highest memory")

    def read(name: str) -> int:
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1])

    forget.write_text("5")
    before = read("VmRSS")
    return lambda: read("VmHWM") - before


def test_memory_is_that_of_a_line(
    with_network: Callable[[nn.Module, Preprocessing], Predictor], memory_peak: Callable[[], int]
) -> None:
    """Eight classes of 4,000×4,000 are 512 MB of floats; a line of windows has 131 MB.

    Seen whole, it would be well above 1 GB.
    """
    p = preprocessing(modality="rgb", channels=3)
    network = nn.Conv2d(3, 8, 1)
    predictor = with_network(network, p)
    pixels = np.zeros((1, 3, 4000, 4000), np.uint8)
    pixels[..., 1000:1500, 2000:2600] = 200
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    network.weight.data[1], network.bias.data[0] = 1.0, 1.0
    labels = predictor.predict_slices(pixels)
    assert memory_peak() < 600e6
    np.testing.assert_array_equal(labels[0], pixels[0, 0] > 0)


@pytest.mark.usefixtures("few_values")
def test_a_bad_window_is_told(with_network: Callable[[nn.Module, Preprocessing], Predictor]) -> None:
    class Overflowing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(x), 3, *x.shape[-2:])
            logits[x.amax((1, 2, 3)) > 50, 1, 3, 3] = float("inf")
            return logits

    predictor = with_network(Overflowing(), preprocessing(window=(96, 96), mean=(0.0,), std=(1.0,)))
    pixels = np.zeros((3, 1, 150, 150), np.int16)
    pixels[1, 0, 140, 140] = 99
    with pytest.raises(CaseUNetError, match="slice 1: the network's logits are no finite numbers"):
        predictor.predict_slices(pixels)
    description = {"preprocessing": predictor.info.preprocessing.model_dump(mode="json")}
    description["export"] = {"multiple": 1, "smallest": 1}
    with pytest.raises(ValueError, match="slice 1: the network's logits are not finite"):
        portable.segment(pixels, exported(predictor), description)


def test_large_images_are_like_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at of blocks is near what is looked at of all pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 20, (1, 3, 700, 900)) + np.linspace(0, 30, 700)[:, None]
    pixels = pixels.clip(0, 255).astype(np.uint8)
    p, statistics = preprocessing(modality="rgb", channels=3), np.ones((2, 3), np.float32)
    expected = image_features(pixels, p, statistics, None)
    monkeypatch.setattr(out_of_distribution, "MAX_WHOLE", 100_000)
    monkeypatch.setattr(out_of_distribution, "BLOCK", 32)
    found = image_features(pixels, p, statistics, None)
    assert (found["size:rows"], found["size:columns"]) == (expected["size:rows"], expected["size:columns"])
    assert found == pytest.approx(expected, abs=0.06)
    assert found != expected


def test_partial_maps_are_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in parts, each with the row above, give every row of the whole once."""
    maps = torch.randn(1, 2, 30, 11)
    for size in ((30, 17), (71, 20), (9, 5), (1, 3)):
        whole = torch.cat(list(upsample_in_slabs(maps, size)), 2)
        parts = [upsample_in_slabs(maps[:, :, max(0, a - 1) : a + 6], size, max(0, a - 1), 30) for a in range(0, 30, 6)]
        assert torch.equal(torch.cat([part for some in parts for part in some], 2), whole)
