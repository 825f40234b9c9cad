"""Image and mask move together, nothing is done unasked, and what is done is what was drawn."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caseunet.config import AugmentConfig
from caseunet.data.augmentation import (
    PROBABILITIES,
    STRENGTHS,
    Augmentation,
    augment,
    draw_transforms,
    keep_sides,
    resolve,
)
from caseunet.types import Grid, Label, LabelMap

NEUTRAL = {"scale", "gamma", "contrast", "low_resolution", "saturation"}
"""Limits whose neutral value is 1."""

FIELDS = {"rotation": {"angle"}, "noise": {"noise", "noise_seed"}}
"""What a key decides where it is not the field of its own name."""

STRAIGHT = tuple(tuple((0.0,) * 6 for _ in range(6)) for _ in range(2))
"""Control points that stay where they are, but are applied."""


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


def grid_of(displacements: np.ndarray) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(map(tuple, axis)) for axis in displacements.tolist())


@pytest.mark.parametrize(
    "limits",
    [
        AugmentConfig(strength="none"),
        AugmentConfig.model_validate(
            {"strength": "strong"}
            | {name: float(name in NEUTRAL) for name in PROBABILITIES if not name.startswith("flip")}
            | {"vertical_flip": False, "horizontal_flip": False}
        ),
    ],
    ids=["none", "strong-with-all-limits-neutral"],
)
def test_no_strength_is_identity(limits: AugmentConfig) -> None:
    image, labels = noise_image(3, 6, 33, 47), torch.randint(0, 5, (3, 33, 47), dtype=torch.uint8)
    rng = np.random.default_rng(0)
    drawn = [draw_transforms(resolve(limits), rng, rgb=True) for _ in range(100)]
    assert set(drawn) == {Augmentation()}
    assert not drawn[0].resamples
    x, y = augment(image, labels, drawn[:3], rgb=True)
    assert torch.equal(x, image)
    assert torch.equal(y, labels)


def test_given_keys_stand_and_the_others_follow_the_strength() -> None:
    given = resolve(AugmentConfig(strength="light", rotation=90, vertical_flip=False, noise=0))
    assert (given.rotation, given.vertical_flip, given.noise) == (90, False, 0)
    assert given.model_copy(update={"rotation": 10, "vertical_flip": True, "noise": 0.1}) == STRENGTHS["light"]
    assert resolve(given) == given


def test_stronger_is_nowhere_weaker() -> None:
    ordered = [STRENGTHS[name].model_dump(exclude={"strength"}) for name in ("none", "light", "default", "strong")]
    for weaker, stronger in pairwise(ordered):
        assert all(weaker[name] <= stronger[name] for name in PROBABILITIES)
        assert weaker != stronger


@given(
    strength=st.sampled_from(sorted(STRENGTHS)),
    keys=st.fixed_dictionaries(
        {}, optional={"rotation": st.floats(0, 180), "scale": st.floats(1, 4), "low_resolution": st.floats(1, 8)}
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_draws_stay_within_the_limits(strength: str, keys: dict[str, float], seed: int) -> None:
    limits = resolve(AugmentConfig.model_validate({"strength": strength} | keys))
    assert None not in limits.model_dump().values()
    rng = np.random.default_rng(seed)
    for d in (draw_transforms(limits, rng, rgb=True) for _ in range(10)):
        for name, value in (("rotation", d.angle), ("shear", d.shear), ("brightness", d.brightness), ("hue", d.hue)):
            assert abs(value) <= getattr(limits, name)
        for name, value in (("noise", d.noise), ("blur", d.blur)):
            assert 0 <= value <= getattr(limits, name)
        for name in NEUTRAL:
            assert 1 / getattr(limits, name) - 1e-9 <= getattr(d, name) <= getattr(limits, name) + 1e-9
        assert d.low_resolution >= 1
        assert limits.vertical_flip or not d.vertical_flip
        assert limits.horizontal_flip or not d.horizontal_flip


def test_factors_make_smaller_as_often_as_larger() -> None:
    """Between 1/4 and 4 evenly in the logarithm: a half of them between 1/2 and 2."""
    limits, rng = resolve(AugmentConfig(scale=4)), np.random.default_rng(5)
    scales = np.array([d.scale for d in (draw_transforms(limits, rng, rgb=False) for _ in range(6000)) if d.scale != 1])
    assert (scales < 1).mean() == pytest.approx(0.5, abs=0.04)
    assert ((scales > 0.5) & (scales < 2)).mean() == pytest.approx(0.5, abs=0.04)


def test_elastic_points_have_deviation_asked_for() -> None:
    limits, rng = resolve(AugmentConfig(elastic=0.05)), np.random.default_rng(6)
    drawn = [d.elastic for d in (draw_transforms(limits, rng, rgb=False) for _ in range(400)) if d.elastic]
    assert np.shape(drawn)[1:] == (2, 6, 6)
    assert np.std(drawn) == pytest.approx(0.05, rel=0.05)


def test_draws_follow_generator_alone_and_travel() -> None:
    limits = resolve(AugmentConfig(strength="strong"))
    first, again = (
        [draw_transforms(limits, rng, rgb=True) for _ in range(50)] for rng in map(np.random.default_rng, (7, 7))
    )
    assert first == again
    assert len(set(first)) > 40
    assert pickle.loads(pickle.dumps(first)) == first


def test_changes_happen_as_often_as_said() -> None:
    rng = np.random.default_rng(2)
    limits = resolve(AugmentConfig())
    drawn = [draw_transforms(limits, rng, rgb=True) for _ in range(3000)]
    for name, chance in PROBABILITIES.items():
        field = next(iter(FIELDS.get(name, {name}) - {"noise_seed"}))
        changed = np.mean([getattr(d, field) != getattr(Augmentation(), field) for d in drawn])
        assert changed == pytest.approx(chance, abs=0.03), name


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(PROBABILITIES)), neutral=st.booleans())
def test_one_key_changes_nothing_else(seed: int, name: str, neutral: bool) -> None:
    """Neither in this sample nor, as the generator goes on, in the next."""
    value = STRENGTHS["none" if neutral else "strong"].model_dump()[name]
    full, other = (
        [draw_transforms(resolve(AugmentConfig.model_validate(keys)), rng, rgb=True) for _ in range(2)]
        for keys, rng in (({}, np.random.default_rng(seed)), ({name: value}, np.random.default_rng(seed)))
    )
    for a, b in zip(full, other, strict=True):
        different = {field for field in vars(a) if getattr(a, field) != getattr(b, field)}
        assert different <= FIELDS.get(name, {name})


def test_grey_images_get_no_colour() -> None:
    rng = np.random.default_rng(3)
    drawn = [draw_transforms(resolve(AugmentConfig(strength="strong")), rng, rgb=False) for _ in range(100)]
    assert {(d.hue, d.saturation) for d in drawn} == {(0.0, 1.0)}


@settings(deadline=None, max_examples=40)
@example(size=(40, 40), angle=0.0, scale=1.34375, shear=0.0, flips=(False, False), seed=1)
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
    displaced = np.random.default_rng(seed).normal(0, 0.01, (2, 6, 6))
    drawn = Augmentation(*flips, angle=angle, scale=scale, shear=shear, elastic=grid_of(displaced))
    image, moved = augment(mask[None, None].float(), 3 * mask[None], [drawn])
    assert set(moved.unique().tolist()) <= {0, 3}, "ids are never mixed"
    # Of the four pixels between which the image is read, the mask takes the nearest: its weight is a quarter or more.
    assert (moved[image[:, 0] > 0.76] == 3).all()
    assert (moved[image[:, 0] < 0.24] == 0).all()
    # What lies between is along the edge: four mirrored discs of radius 0.7 · 12 have 4 · 2π · 8.4 · 3 = 633 of 1600.
    assert ((image > 0.24) & (image < 0.76)).float().mean() < 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_image_and_mask_stay_together_in_any_precision(dtype: torch.dtype) -> None:
    mask = disc((300, 400), (120, 250), 70)
    image, moved = augment(
        mask[None, None].to(dtype), mask[None], [Augmentation(angle=20, scale=1.1, elastic=STRAIGHT)]
    )
    assert image.dtype == dtype
    assert (moved[image[:, 0] > 0.76] == 1).all(), "the nearest of four pixels has a weight of at least a quarter"
    assert (moved[image[:, 0] < 0.24] == 0).all()
    assert int(moved.sum()) == pytest.approx(1.21 * int(mask.sum()), rel=0.02)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    image = noise_image(2, 9, 9)
    labels = torch.arange(81, dtype=torch.uint8).reshape(1, 9, 9)
    x, y = augment(image[None], labels, [Augmentation(angle=90)])
    torch.testing.assert_close(x[0], torch.rot90(image, 1, (1, 2)), atol=1e-4, rtol=0)
    assert torch.equal(y[0], torch.rot90(labels[0], 1))
    even = noise_image(2, 10, 10)
    torch.testing.assert_close(one(even, angle=-90.0)[0], torch.rot90(even, -1, (1, 2)), atol=1e-4, rtol=0)


def test_twice_the_scale_reads_half_as_far_from_the_middle() -> None:
    """Of five columns, the middle is 2: column 3 reads 2.5, column 4 reads 3; rows of one pixel read themselves."""
    row = torch.tensor([10.0, 20, 30, 50, 90]).reshape(1, 1, 5)
    torch.testing.assert_close(one(row, scale=2.0)[0].flatten(), torch.tensor([20.0, 25, 30, 40, 50]))
    # Half the scale: column 4 would read 6, which mirrored at the edge (4.5) is 3.
    torch.testing.assert_close(one(row, scale=0.5)[0].flatten(), torch.tensor([20.0, 10, 30, 90, 50]))


def test_flips_keep_every_bit() -> None:
    image, labels = noise_image(1, 2, 5, 7), torch.arange(35, dtype=torch.int64).reshape(1, 5, 7)
    x, y = augment(image, labels, [Augmentation(vertical_flip=True)])
    assert torch.equal(x, image.flip(2))
    assert torch.equal(y, labels.flip(1))
    x, y = augment(image, labels, [Augmentation(horizontal_flip=True)])
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
    """At 45° a row d above the middle moves d columns to the right."""
    image = torch.zeros(1, 41, 41)
    image[0, 10, 20] = 1
    x, _ = one(image, shear=45)
    assert divmod(int(x.argmax()), 41) == (10, 30)


def test_elastic_moves_by_what_was_drawn() -> None:
    """All control points alike move everything: the pixel is read 0.1 · 40 rows further down."""
    even = tuple(tuple((value,) * 6 for _ in range(6)) for value in (0.1, 0.0))
    image = noise_image(1, 40, 50)
    x, _ = one(image, elastic=even)
    torch.testing.assert_close(x[:, :36], image[:, 4:], atol=1e-4, rtol=0)


def test_elastic_moves_only_near_control_point() -> None:
    """The point in the upper left corner, 4 of 40 rows: points are 39 / 5 and 49 / 5 pixels apart, and reach two."""
    displaced = np.zeros((2, 6, 6))
    displaced[0, 0, 0] = 0.1
    image = noise_image(1, 40, 50)
    x, _ = one(image, elastic=grid_of(displaced))
    assert float(x[0, 0, 0]) == pytest.approx(float(image[0, 4, 0]), abs=1e-4)
    torch.testing.assert_close(x[:, 16:], image[:, 16:], atol=1e-4, rtol=0)
    torch.testing.assert_close(x[:, :, 20:], image[:, :, 20:], atol=1e-4, rtol=0)
    assert (x - image)[:, :5, :5].abs().max() > 0.1


def test_intensities_change_as_said() -> None:
    image = noise_image(2, 30, 40) * 3 + 5
    x, _ = one(image, gamma=2.0)
    low, high = image.min(), image.max()
    torch.testing.assert_close(x, ((image - low) / (high - low)) ** 2 * (high - low) + low)
    assert [float(x.min()), float(x.max())] == pytest.approx([float(low), float(high)], rel=1e-5)
    x, _ = one(image, contrast=1.5)
    torch.testing.assert_close(x, (image - image.mean()) * 1.5 + image.mean(), atol=1e-4, rtol=1e-4)
    assert float(x.mean()) == pytest.approx(float(image.mean()), abs=1e-4)
    x, _ = one(image, brightness=0.5)
    torch.testing.assert_close(x, image + 0.5 * image.std(correction=0), atol=1e-4, rtol=1e-4)
    x, _ = one(image, contrast=2.0, brightness=-0.5)  # one after the other: the deviation has doubled by then
    expected = (image - image.mean()) * 2 + image.mean() - image.std(correction=0)
    torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)


def test_noise_has_the_deviation_asked_for_and_follows_its_seed() -> None:
    image = noise_image(2, 30, 40) * 3 + 5
    x, again, third = (one(image, noise=0.2, noise_seed=7)[0] for _ in range(3))
    assert float((x - image).std()) == pytest.approx(0.2 * float(image.std()), rel=0.05)
    assert torch.equal(x, again)
    assert torch.equal(x, third)
    assert not torch.equal(x, one(image, noise=0.2, noise_seed=8)[0])
    before = torch.get_rng_state()
    one(image, noise=0.2, noise_seed=7)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are used up"


def test_an_even_image_keeps_its_value() -> None:
    """Nothing divides by its deviation of zero."""
    even = torch.full((3, 9, 14), 3.0)
    change = {"angle": 20.0, "elastic": STRAIGHT, "low_resolution": 2.0, "blur": 1.0, "gamma": 1.5, "contrast": 1.2}
    change |= {"brightness": 0.4, "hue": 10.0, "saturation": 1.2, "noise": 0.3}
    torch.testing.assert_close(one(even, rgb=True, **change)[0], even)


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    image = torch.zeros(1, 21, 25)
    image[0, 10, 12] = 1
    x, _ = one(image, blur=1.5)
    assert x.sum() == pytest.approx(1, abs=1e-5)
    along = x[0, 10]
    assert float(along[13] / along[12]) == pytest.approx(np.exp(-1 / (2 * 1.5**2)), rel=1e-4)
    assert float(x[0, 11, 12]) == pytest.approx(float(along[13]), rel=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (20, 31)])
def test_blur_mirrors_at_edges_and_so_keeps_mean(size: tuple[int, int]) -> None:
    """Also where the kernel, 19 pixels, is larger than the image."""
    image = noise_image(2, *size)
    torch.testing.assert_close(one(image, blur=3.0)[0].mean((1, 2)), image.mean((1, 2)))


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
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 50)])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_samples_do_not_depend_on_their_batch(channels: int, size: tuple[int, int], strength: str) -> None:
    rng = np.random.default_rng(4)
    image, labels = noise_image(6, channels, *size), torch.randint(0, 4, (6, *size), dtype=torch.uint8)
    before = image.clone(), labels.clone()
    rgb = channels > 1
    drawn = [
        Augmentation(),
        *(draw_transforms(resolve(AugmentConfig.model_validate({"strength": strength})), rng, rgb) for _ in "12345"),
    ]
    x, y = augment(image, labels, drawn, rgb)
    assert torch.equal(image, before[0]), "what is given is not changed"
    assert torch.equal(labels, before[1])
    assert torch.equal(x[0], image[0]), "a sample without a change keeps its bits beside others"
    assert torch.isfinite(x).all()
    for n, d in enumerate(drawn):
        assert set(y[n].unique().tolist()) <= set(labels[n].unique().tolist())
        alone = augment(image[n : n + 1], labels[n : n + 1], [d], rgb)
        assert torch.equal(x[n : n + 1], alone[0])
        assert torch.equal(y[n : n + 1], alone[1])


def test_memory_is_laid_out_as_before_and_not_shared() -> None:
    image = noise_image(2, 3, 8, 9).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(2, 8, 9, dtype=torch.int16)
    x, y = augment(image, labels, [Augmentation(), Augmentation(angle=10)])
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert y.dtype == torch.int16
    x.zero_()
    y.fill_(1)
    assert image.any()
    assert not labels.any()


def test_what_does_not_fit_is_a_mistake() -> None:
    labels = torch.zeros(2, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="1 draws for images"):
        augment(torch.zeros(2, 1, 8, 8), labels, [Augmentation()])
    with pytest.raises(ValueError, match=r"\(2, 1, 8, 9\) with masks \(2, 8, 8\)"):
        augment(torch.zeros(2, 1, 8, 9), labels, [Augmentation()] * 2)
    with pytest.raises(ValueError, match="4 channels are no multiple"):
        augment(torch.zeros(2, 4, 8, 8), labels, [Augmentation()] * 2, rgb=True)


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (("left", "right"), None, False),
        (("left", "right"), True, True),
        (("liver", "spleen"), None, True),
    ],
)
def test_sides_are_not_mirrored(names: tuple[str, str], given: bool | None, expected: bool) -> None:
    labels = tuple(Label(id=n, name=name, color=(n, 0, 0)) for n, name in enumerate(("background", *names)))
    known = LabelMap(labels=labels, structures={"all": (1, 2)})
    limits = resolve(keep_sides(AugmentConfig(horizontal_flip=given), known, Grid()))
    assert limits.horizontal_flip is expected
    assert limits.vertical_flip is True
    drawn = [draw_transforms(limits, np.random.default_rng(seed), rgb=False) for seed in range(40)]
    assert any(one.horizontal_flip for one in drawn) is expected


def test_dropped_channels_are_0_in_every_slice() -> None:
    """Of two slices of three channels each; the mask, and the other channels, keep their bits."""
    image, labels = noise_image(1, 6, 5, 4), torch.ones(1, 5, 4, dtype=torch.uint8)
    x, mask = augment(image, labels, [Augmentation(dropped_channels=(0, 2))], channels=3)
    assert not x[0, [0, 2, 3, 5]].any()
    assert torch.equal(x[0, [1, 4]], image[0, [1, 4]])
    assert torch.equal(mask, labels)


@given(channels=st.integers(2, 5), seed=st.integers(0, 999), probability=st.floats(0.05, 0.99))
def test_never_all_channels_are_dropped(channels: int, seed: int, probability: float) -> None:
    config = resolve(AugmentConfig(channel_dropout=probability))
    drawn = draw_transforms(config, np.random.default_rng(seed), False, channels)
    assert len(drawn.dropped_channels) < channels
    plain = draw_transforms(resolve(AugmentConfig()), np.random.default_rng(seed), False, channels)
    assert plain.dropped_channels == ()
    assert drawn == Augmentation(**{**vars(plain), "dropped_channels": drawn.dropped_channels})


def test_channels_are_dropped_as_often_as_said() -> None:
    """Of three with p = 0.3 each, less the 0.3³ that all would be dropped and one stays: 0.3 − 0.027 / 3."""
    config, rng = resolve(AugmentConfig(channel_dropout=0.3)), np.random.default_rng(0)
    drawn = [draw_transforms(config, rng, False, 3).dropped_channels for _ in range(4000)]
    shares = [np.mean([c in dropped for dropped in drawn]) for c in range(3)]
    assert shares == pytest.approx([0.291] * 3, abs=0.025)
