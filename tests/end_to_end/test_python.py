"""The whole way from Python, with folders as text."""

from pathlib import Path

import numpy as np
import pytest

import caseunet
from caseunet.config import Config, EvaluateOptions, PredictOptions


def test_every_step_takes_text(
    lits_raw: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = str(lits_raw)
    assert caseunet.audit(raw, out="audit", repair="plan.yaml").dataset.cases
    prepared = caseunet.prepare(raw, out="prepared", config=tiny_config.prepare)
    assert prepared.folder == Path("prepared")
    bundle = caseunet.train("prepared", out="run", config=tiny_config)
    assert bundle.folder == Path("run/bundle")
    caseunet.predict("run/bundle", raw, out="masks", options=PredictOptions(split="prepared/splits.json"))
    one = next(iter(prepared.fold(0).val))
    caseunet.predict("run/bundle", [next(str(path) for path in lits_raw.glob(f"{one}.nii*"))], out="one")
    summary = caseunet.evaluate(
        "masks", raw, out="report", options=EvaluateOptions(split="prepared/splits.json", run="run")
    ).summary
    assert summary.models
    assert Path("report/report.html").is_file()
    mask = caseunet.Predictor("run/bundle").predict(str(next(lits_raw.glob(f"{one}.nii*"))))
    assert np.asarray(mask).ndim == 3
