"""The whole way from Python, with folders as text."""

from pathlib import Path

import numpy as np
import pytest

import caseunet
from caseunet.config import Config
from caseunet.options import EvaluateOptions, PredictOptions


def test_every_step_takes_text(
    lits_raw: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = str(lits_raw)
    examination = caseunet.audit(raw, out="audit", repair="plan.yaml")
    assert examination.dataset.cases
    prepared = caseunet.prepare(raw, out="prepared", config=tiny_config.prepare)
    assert prepared.folder == Path("prepared")
    bundle = caseunet.train("prepared", out="run", config=tiny_config)
    assert bundle.folder == Path("run/bundle")
    chosen = PredictOptions(split="prepared/splits.json")
    predictions = caseunet.predict("run/bundle", raw, out="masks", options=chosen)
    one = next(iter(prepared.fold(0).val))
    caseunet.predict("run/bundle", [next(str(path) for path in lits_raw.glob(f"{one}.nii*"))], out="one")
    options = EvaluateOptions(split="prepared/splits.json", run="run")
    evaluation = caseunet.evaluate("masks", raw, out="report", options=options)
    assert evaluation.summary.models
    for result in (examination, prepared, bundle, predictions, evaluation):  # the last line of a notebook's cell
        assert len(repr(result)) < 200
    with pytest.raises(caseunet.CaseUNetError, match='no mode "resum"'):
        caseunet.predict("run/bundle", raw, out="again", mode="resum")  # type: ignore[arg-type]
    assert Path("report/report.html").is_file()
    mask = caseunet.Predictor("run/bundle").predict(str(next(lits_raw.glob(f"{one}.nii*"))))
    assert np.asarray(mask).ndim == 3
