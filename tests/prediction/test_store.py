"""Descriptions of predictions and exports that an earlier version wrote."""

from typing import Any

from caseunet.options import PredictionSettings
from caseunet.prediction.exports import ExportInfo
from caseunet.prediction.store import PredictionProvenance

FORMER: dict[str, Any] = {
    "bundle": "b",
    "bundle_hash": "h",
    "label_map": {
        "labels": [
            {"id": 0, "name": "background", "color": [0, 0, 0]},
            {"id": 1, "name": "liver", "color": [1, 0, 0]},
        ],
        "structures": {"liver": [1]},
    },
    "window": None,
    "device": "cpu",
    "engine": "openvino",
    "settings": {"precision": "32", "flips": True, "scales": [1.0, 0.5], "clean": False, "check_image": True},
    "code_version": "0.1.0",
    "fold": None,
    "selected_on_fold": None,
}


def test_former_predictions_are_read() -> None:
    read = PredictionProvenance.model_validate(FORMER)
    assert read.backend == "openvino"
    assert read.settings == PredictionSettings(tta_flip=True, tta_scales=(1.0, 0.5), postprocess=False)
    assert PredictionProvenance.model_validate_json(read.model_dump_json()) == read


def test_former_export_precision_is_read() -> None:
    parity = {"on": "noise", "slices": 1, "largest": 0.0, "mean": 0.0, "dice": {}, "equal": 1.0}
    texts = dict.fromkeys(("format", "file", "input", "output", "bundle_hash", "processor"), "")
    numbers = {"multiple": 1, "smallest": 32}
    info = ExportInfo(precision="32", calibrated_on=None, parity=parity, libraries={}, **texts, **numbers)  # type: ignore[arg-type]
    assert info.precision == "fp32"
