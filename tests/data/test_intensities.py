"""Statistics of cases, and of several together, are those of their pixels."""

import numpy as np
import pytest

from caseunet.config import DataConfig
from caseunet.data.intensities import CaseIntensities, Intensities, measure_intensities, pool_statistics
from caseunet.data.normalization import plan_preprocessing
from caseunet.data.store import Prepared


def case(seed: int, slices: int, dtype: str = "int16") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(100 * seed, 20 + seed, (slices, 2, 40, 50)).astype(dtype)
    return image, (rng.random((slices, 40, 50)) < 0.3).astype(np.uint8)


def test_of_the_foreground_of_a_case() -> None:
    image, labels = case(1, 3)
    found = measure_intensities(image, labels)
    values = image[:, 1][labels > 0].astype(float)
    assert found.pixels == values.size
    assert found.mean[1] == pytest.approx(values.mean())
    assert found.variance[1] == pytest.approx(values.var())
    assert found.quantiles[1][7] == np.median(values)
    assert CaseIntensities.from_flat(found.flat(), 2) == found
    with pytest.raises(ValueError, match="do not describe 3 channels"):
        CaseIntensities.from_flat(found.flat(), 3)


def test_without_foreground_of_all_pixels() -> None:
    image, _ = case(1, 2, "float32")
    found = measure_intensities(image, np.zeros((2, 40, 50), np.uint8))
    assert found.pixels == 4000
    assert found.mean[0] == pytest.approx(image[:, 0].mean(), rel=1e-5)


def test_of_several_cases_together() -> None:
    cases = [case(seed, slices) for seed, slices in ((0, 2), (2, 5), (3, 1))]
    together = pool_statistics([measure_intensities(*c) for c in cases])
    for c in range(2):
        values = np.concatenate([image[:, c][labels > 0] for image, labels in cases]).astype(float)
        assert together.mean[c] == pytest.approx(values.mean())
        assert together.std[c] == pytest.approx(values.std())
        assert together.low[c] == pytest.approx(np.percentile(values, 0.5), abs=4)
        assert together.high[c] == pytest.approx(np.percentile(values, 99.5), abs=4)


@pytest.mark.parametrize(
    ("value_range", "clip", "divide"),
    [((-1000.0, 220.0), (-1000.0, 220.0), 1220.0), ((220.0, 220.0), None, 1.0), (None, None, 1.0)],
)
def test_a_structure_of_one_value_is_seen(
    value_range: tuple[float, float] | None,
    clip: tuple[float, float] | None,
    divide: float,
    lits_prepared: Prepared,
) -> None:
    """Its own values span no window, so the images' do: air stays within -1 and 0."""
    constant = Intensities(mean=(220.0,), std=(1e-9,), low=(220.0,), high=(220.0,))
    info = lits_prepared.info.model_copy(update={"value_range": value_range})
    found = plan_preprocessing(info, constant, DataConfig(normalization="zscore"), (64, 64))
    assert (found.intensity_window, found.mean, found.std) == ((clip,), (220.0,), (divide,))
