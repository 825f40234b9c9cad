"""What is said where a training starts from the weights of another."""

from typing import Any

import pytest

from caseunet.training.pretrained import describe_changes
from caseunet.types import Preprocessing

CT = Preprocessing(modality="ct", channels=1, mean=(0.0,), std=(1.0,), intensity_window=(-100.0, 250.0))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"intensity_window": (-50.0, 200.0), "spacing": (0.8, 0.8), "mean": (3.0,)}, ""),
        ({"plane": "sagittal"}, "plane sagittal for axial"),
        ({"modality": "mr", "per_case_zscore": True}, "modality mr for ct, z-scores of each case True for False"),
        ({"context_slices": 1}, "data.context_slices 1 for 0"),  # three inputs, as of one channel that is repeated
    ],
)
def test_other_images_are_told(changes: dict[str, Any], text: str) -> None:
    before = CT.model_copy(update={"channel_repeat": 3}) if "context_slices" in changes else CT
    assert describe_changes(before, CT.model_copy(update=changes)) == text
