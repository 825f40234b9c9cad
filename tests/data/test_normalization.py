"""Each channel is normalized by its own rule, which its name tells where nobody does."""

from typing import Any

import pytest

from caseunet.config import DataConfig
from caseunet.data.intensities import Intensities
from caseunet.data.normalization import choose_rules, describe_channels, is_ct, plan_preprocessing
from caseunet.data.store import DatasetInfo
from caseunet.datasets.lits import CODING
from caseunet.errors import InvalidOptionError
from caseunet.types import Grid, Modality, Preprocessing


def info_of(*names: str, modality: Modality = "mr", dtype: str = "int16", channels: int = 0) -> DatasetInfo:
    """Channel c has the mean 10 · (c + 1), the standard deviation c + 1 and values from −c to 100 · (c + 1)."""
    counted = range(1, (channels or len(names)) + 1)
    return DatasetInfo(
        source_format="made",
        modality=modality,
        group_name="case",
        licence="",
        label_map=CODING.label_map,
        channels=len(counted),
        channel_names=names,
        dtype=dtype,
        grid=Grid(),
        intensities=Intensities(
            mean=tuple(10.0 * c for c in counted),
            std=tuple(float(c) for c in counted),
            low=tuple(1.0 - c for c in counted),
            high=tuple(100.0 * c for c in counted),
        ),
        class_pixels=(1, 1, 1),
        content_hash="",
        code_version="",
    )


def planned(info: DatasetInfo, **config: Any) -> Preprocessing:
    return plan_preprocessing(info, info.intensities, DataConfig.model_validate(config), (64, 64))


@pytest.mark.parametrize(
    ("rule", "windows", "per_case", "mean", "std"),
    [
        ("zscore", ((0, 100), None), (False, True), (10, 0), (1, 1)),
        ("range", ((-200, 250), (-1, 200)), (False, False), (-200, -1), (450, 201)),
        ({"CT": "range", "t1": "zscore"}, ((-200, 250), None), (False, True), (-200, 0), (450, 1)),
        ({"t1": "none"}, ((0, 100), None), (False, False), (10, 0), (1, 1)),
        ({"ct": "zscore-per-case", "T1": "range"}, (None, (-1, 200)), (True, False), (0, -1), (1, 201)),
    ],
)
def test_ct_and_mr_get_their_own_rules(rule: Any, windows: Any, per_case: Any, mean: Any, std: Any) -> None:
    p = planned(info_of("CT", "T1"), normalization=rule)
    assert (p.intensity_window, p.per_case_zscore, p.mean, p.std) == (windows, per_case, mean, std)


def test_windows_are_given_by_name() -> None:
    p = planned(info_of("CT", "T1"), normalization="range", intensity_window={"ct": (-100, 100)})
    assert p.intensity_window == ((-100, 100), (-1, 200))
    assert (p.mean, p.std) == ((-100, -1), (200, 201))


@pytest.mark.parametrize(
    ("names", "modality", "expected"),
    [
        (("CT", "PET"), "mr", [True, False]),
        (("ct_portal", "ct_late"), "ct", [True, True]),
        (("portal", "late"), "ct", [True, True]),
        (("t1c", "octa"), "mr", [False, False]),
    ],
)
def test_channels_that_are_ct(names: tuple[str, ...], modality: Modality, expected: list[bool]) -> None:
    assert is_ct(info_of(*names, modality=modality)) == expected


def test_schemes_of_nnunet_are_followed() -> None:
    info = info_of("noNorm", "rescale_to_0_1", "zscore 2", "zscore 3", "depth", modality="gray")
    expected = ["none", "range", "zscore-per-case", "zscore-per-case", "zscore"]
    assert choose_rules(info, DataConfig(normalization="zscore")) == expected
    assert choose_rules(info, DataConfig(normalization={"noNorm": "range"}))[0] == "range"


def test_colours_keep_one_window() -> None:
    p = planned(info_of("R", "G", "B", modality="rgb", dtype="uint16"), normalization="range")
    assert p.intensity_window == ((-2, 300),) * 3


@pytest.mark.parametrize("key", ["normalization", "intensity_window"])
def test_rules_of_unknown_channels_are_refused(key: str) -> None:
    given = {"flair": "range" if key == "normalization" else (0, 1)}
    with pytest.raises(InvalidOptionError, match=f'data.{key}: there is no channel "flair". The channels are CT, T1'):
        planned(info_of("CT", "T1"), **{key: given})
    with pytest.raises(InvalidOptionError, match="The channels have no names"):
        planned(info_of(channels=2), **{key: given})


def test_what_is_done_to_channels_is_said() -> None:
    info = info_of("CT", "T1", "noNorm")
    told = describe_channels(info, ("CT", "T1", "noNorm", "PET"), planned(info, normalization="zscore"))
    assert told == [
        "sees CT, T1, noNorm of the channels CT, T1, noNorm, PET",
        "CT: clipped to 0 … 100, minus 10, over 1",
        "T1: by the mean and deviation of each case",
        "noNorm: as stored",
    ]
