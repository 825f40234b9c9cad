"""Statistics of cases, and of several together, are those of their pixels."""

import numpy as np
import pytest

from caseunet.data.intensities import CaseIntensities, measure_intensities, pool_statistics


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
