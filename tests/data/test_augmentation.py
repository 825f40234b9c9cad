"""Image and mask move together, nothing is done unasked, and what is done is what was drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.config import AugmentConfig
from caseunet.data.augmentation import CHANCES, STRENGTHS, Augmentation, augment, draw, resolve

NEUTRAL = {"scale", "gamma", "contrast", "low_resolution", "saturation"}
"""Limits whose neutral value is 1."""


def noise_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one(image: torch.Tensor, rgb: bool = False, **change: object) -> tuple[torch.Tensor, torch.Tensor]:
    """An image (C, H, W) and an empty mask after one change."""
    drawn = [Augmentation(**change)]
    x, mask = augment(image[None], torch.zeros(1, *image.shape[1:], dtype=torch.uint8), drawn, rgb)
    return x[0], mask[0]


def disc(size: tuple[int, int], center: tuple[float, float], radius: float) -> torch.Tensor:
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])
    return ((rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2).to(torch.uint8)


def test_no_strength_is_identity() -> None:
    image, labels = noise_image(3, 6, 33, 47), torch.randint(0, 5, (3, 33, 47), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    drawn = [draw(resolve(AugmentConfig(strength="none")), rng, rgb=True) for _ in image]
    assert set(drawn) == {Augmentation()}
    x, y = augment(image, labels, drawn, rgb=True)
    assert torch.equal(x, image)
    assert torch.equal(y, labels)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_every_strength_is_whole_and_its_draws_stay_within_it(strength: str) -> None:
    limits = resolve(AugmentConfig(strength=strength))
    assert None not in limits.model_dump().values()
    rng = np.random.default_rng(1)
    for _ in range(200):
        d = draw(limits, rng, rgb=True)
        for name, value in (("rotation", d.angle), ("shear", d.shear), ("brightness", d.brightness), ("hue", d.hue)):
            assert abs(value) <= getattr(limits, name)
        for name, value in (("noise", d.noise), ("blur", d.blur)):
            assert 0 <= value <= getattr(limits, name)
        for name in NEUTRAL:
            assert 1 / getattr(limits, name) - 1e-9 <= getattr(d, name) <= getattr(limits, name) + 1e-9
        assert d.low_resolution >= 1


def test_changes_happen_as_often_as_said() -> None:
    rng = np.random.default_rng(2)
    limits = resolve(AugmentConfig())
    drawn = [draw(limits, rng, rgb=True) for _ in range(3000)]
    fields = {"rotation": "angle"}
    for name, chance in CHANCES.items():
        changed = np.mean(
            [getattr(d, fields.get(name, name)) != getattr(Augmentation(), fields.get(name, name)) for d in drawn]
        )
        assert changed == pytest.approx(chance, abs=0.03), name


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(set(CHANCES) - {"flip_rows", "flip_columns"})))
def test_one_key_changes_nothing_else(seed: int, name: str) -> None:
    fields = {"rotation": {"angle"}, "noise": {"noise", "noise_seed"}}.get(name, {name})
    neutral = 1.0 if name in NEUTRAL else 0.0
    full = draw(resolve(AugmentConfig()), np.random.default_rng(seed), rgb=True)
    less = draw(resolve(AugmentConfig.model_validate({name: neutral})), np.random.default_rng(seed), rgb=True)
    different = {field for field in vars(full) if getattr(full, field) != getattr(less, field)}
    assert different <= fields


def test_grey_images_get_no_colour() -> None:
    rng = np.random.default_rng(3)
    drawn = [draw(resolve(AugmentConfig(strength="strong")), rng, rgb=False) for _ in range(100)]
    assert {(d.hue, d.saturation) for d in drawn} == {(0.0, 1.0)}


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    angle=st.floats(-180, 180),
    scale=st.floats(0.7, 1.5),
    shear=st.floats(-10, 10),
    flips=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 1000),
)
def test_a_mask_drawn_into_the_image_stays_on_it(
    size: tuple[int, int], angle: float, scale: float, shear: float, flips: tuple[bool, bool], seed: int
) -> None:
    mask = disc(size, (size[0] * 0.4, size[1] * 0.55), 12)
    displaced = np.random.default_rng(seed).normal(0, 0.01, (2, 6, 6)).tolist()
    drawn = Augmentation(
        *flips, angle=angle, scale=scale, shear=shear, elastic=tuple(tuple(map(tuple, axis)) for axis in displaced)
    )
    image, moved = augment(mask[None, None].float(), 3 * mask[None], [drawn])
    assert set(moved.unique().tolist()) <= {0, 3}, "ids are never mixed"
    # Where the image is surely inside or outside, the mask says so too; between lies the edge, a pixel wide.
    assert (moved[image[:, 0] > 0.99] == 3).all()
    assert (moved[image[:, 0] < 0.01] == 0).all()
    assert ((image > 0.01) & (image < 0.99)).float().mean() < 0.1


def test_a_quarter_turn_is_counter_clockwise() -> None:
    image = noise_image(2, 9, 9)
    labels = torch.arange(81, dtype=torch.uint8).reshape(1, 9, 9)
    x, y = augment(image[None], labels, [Augmentation(angle=90)])
    torch.testing.assert_close(x[0], torch.rot90(image, 1, (1, 2)), atol=1e-4, rtol=0)
    assert torch.equal(y[0], torch.rot90(labels[0], 1))


def test_flips_keep_every_bit() -> None:
    image, labels = noise_image(1, 2, 5, 7), torch.arange(35, dtype=torch.int64).reshape(1, 5, 7)
    x, y = augment(image, labels, [Augmentation(flip_rows=True)])
    assert torch.equal(x, image.flip(2))
    assert torch.equal(y, labels.flip(1))
    x, y = augment(image, labels, [Augmentation(flip_columns=True)])
    assert torch.equal(x, image.flip(3))
    assert y.dtype == torch.int64
    assert torch.equal(y, labels.flip(2))


def test_twice_the_scale_makes_four_times_the_area_where_it_was() -> None:
    mask = disc((81, 121), (40, 60), 10)
    _, y = augment(mask[None, None].float(), mask[None], [Augmentation(scale=2)])
    assert int(y.sum()) == pytest.approx(4 * int(mask.sum()), rel=0.05)
    assert y[0].nonzero().float().mean(0).tolist() == pytest.approx([40, 60], abs=0.1)


def test_a_disc_stays_a_disc_in_an_oblong_image() -> None:
    mask = disc((60, 120), (30, 60), 15)
    _, y = augment(mask[None, None].float(), mask[None], [Augmentation(angle=37)])
    rows, columns = y[0].nonzero().T
    assert int(rows.max() - rows.min()) == pytest.approx(30, abs=2)
    assert int(columns.max() - columns.min()) == pytest.approx(30, abs=2)


def test_shear_moves_columns_by_its_tangent() -> None:
    """At 45° a row d above the middle lies d columns beside it."""
    image = torch.zeros(1, 41, 41)
    image[0, 10, 20] = 1
    x, _ = one(image, shear=45)
    row, column = divmod(int(x.argmax()), 41)
    assert row == 10
    assert abs(column - 20) == 10


def test_elastic_moves_by_what_was_drawn() -> None:
    """All control points alike move everything: the pixel is read 0.1 · 40 rows further down."""
    even = tuple(tuple((value,) * 6 for _ in range(6)) for value in (0.1, 0.0))
    image = noise_image(1, 40, 50)
    x, _ = one(image, elastic=even)
    torch.testing.assert_close(x[:, :36], image[:, 4:], atol=1e-4, rtol=0)


def test_intensities_change_as_said() -> None:
    image = noise_image(2, 30, 40) * 3 + 5
    x, _ = one(image, gamma=2.0)
    low, high = image.min(), image.max()
    torch.testing.assert_close(x, ((image - low) / (high - low)) ** 2 * (high - low) + low)
    x, _ = one(image, contrast=1.5)
    torch.testing.assert_close(x, (image - image.mean()) * 1.5 + image.mean(), atol=1e-4, rtol=1e-4)
    x, _ = one(image, brightness=0.5)
    torch.testing.assert_close(x, image + 0.5 * image.std(), atol=1e-4, rtol=1e-4)
    x, _ = one(image, noise=0.2, noise_seed=7)
    assert (x - image).std() == pytest.approx(0.2 * float(image.std()), rel=0.05)
    assert torch.equal(x, one(image, noise=0.2, noise_seed=7)[0])
    assert not torch.equal(x, one(image, noise=0.2, noise_seed=8)[0])


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    image = torch.zeros(1, 21, 25)
    image[0, 10, 12] = 1
    x, _ = one(image, blur=1.5)
    assert x.sum() == pytest.approx(1, abs=1e-5)
    along = x[0, 10]
    assert float(along[13] / along[12]) == pytest.approx(np.exp(-1 / (2 * 1.5**2)), rel=1e-4)
    assert float(x[0, 11, 12]) == pytest.approx(float(along[13]), rel=1e-5)


def test_low_resolution_loses_what_is_small_alone() -> None:
    fine = (torch.arange(64) % 2).float().expand(1, 64, 64).clone()
    assert one(fine, low_resolution=4.0)[0].std() < 0.1
    coarse = (torch.arange(64) > 32).float().expand(1, 64, 64).clone()
    assert one(coarse, low_resolution=4.0)[0].std() > 0.45


def test_colours_turn_about_grey() -> None:
    grey = noise_image(1, 8, 8).expand(3, 8, 8)
    torch.testing.assert_close(one(grey, rgb=True, hue=77.0, saturation=1.4)[0], grey, atol=1e-5, rtol=0)
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 4)
    torch.testing.assert_close(one(red, rgb=True, hue=120.0)[0][:, 0, 0], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)
    faded = one(red, rgb=True, saturation=0.5)[0][:, 0, 0]
    torch.testing.assert_close(faded, torch.tensor([2 / 3, 1 / 6, 1 / 6]))
    both = one(torch.cat([red, grey[:, :4, :4]]), rgb=True, hue=120.0)[0]  # two slices of three channels
    torch.testing.assert_close(both[:3, 0, 0], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 9])
@pytest.mark.parametrize("strength", ["light", "strong"])
def test_samples_do_not_depend_on_their_batch(channels: int, strength: str) -> None:
    rng = np.random.default_rng(4)
    image, labels = noise_image(6, channels, 37, 50), torch.randint(0, 4, (6, 37, 50), dtype=torch.uint8)
    before = image.clone(), labels.clone()
    rgb = channels > 1
    drawn = [draw(resolve(AugmentConfig(strength=strength)), rng, rgb) for _ in image]
    x, y = augment(image, labels, drawn, rgb)
    assert torch.equal(image, before[0]), "what is given is not changed"
    assert torch.equal(labels, before[1])
    assert torch.isfinite(x).all()
    for n, d in enumerate(drawn):
        alone = augment(image[n : n + 1], labels[n : n + 1], [d], rgb)
        torch.testing.assert_close(x[n : n + 1], alone[0])
        assert torch.equal(y[n : n + 1], alone[1])


def test_what_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="1 draws for images"):
        augment(torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.uint8), [Augmentation()])
