"""What a bundle says of its validation is what ``predict`` and ``evaluate`` give for the same cases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caseunet.bundle import Bundle, load_bundle
from caseunet.commands.cross_validation import cross_validate
from caseunet.commands.evaluate import Evaluation, evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import load_config
from caseunet.datasets import generate
from caseunet.options import EvaluateOptions, PredictOptions
from caseunet.types import Label, LabelMap
from caseunet.validation import calibration
from caseunet.validation.scores import Scorer
from tests.support.bundles import NO_SCORE

TINY: dict[str, Any] = {
    "model.kwargs": {"widths": [4, 6, 8], "norm": "instance", "attention": "author"},
    "data.batch_size": 2,
    "training.steps": 6,
    "training.num_validations": 1,
    "prepare.folds": 2,
    "prepare.workers": 0,
    "prepare.spacing": None,
    "prepare.crop_to_body": False,
}
BY_BLOCKS = {
    "prepare.split": "slice-blocks",
    "prepare.split_block_size": 2,
    "prepare.split_gap": 1,
    "prepare.test_every": 2,
}
FRAMES = (48, 64)

CASES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "lits: crop, spacing": (
        lambda raw: generate.write_lits(raw, patients=4, shape=(5, 128, 144)),
        {"prepare.crop_to_body": True, "prepare.spacing": [1.7, 1.3]},
    ),
    "lits: crop, size, 2.5-D": (
        lambda raw: generate.write_lits(raw, patients=4, shape=(5, 128, 144)),
        {"prepare.crop_to_body": True, "prepare.size": [40, 56], "data.context_slices": 1},
    ),
    "dicom: crop, blocks, 2.5-D": (
        lambda raw: generate.write_dicom(raw, patients=2, shape=(8, 128, 144)),
        {"prepare.crop_to_body": True, "data.context_slices": 1, **BY_BLOCKS},
    ),
    "nnunet, MR: z-score of a case, spacing": (
        lambda raw: generate.write_nnunet(raw, cases=4, channels=2, shape=(6, 48, 40)),
        {"data.normalization": "zscore", "prepare.spacing": [1.1, 1.9]},
    ),
    "msd, MR: z-score of a case, blocks, 2.5-D": (
        lambda raw: generate.write_msd(raw, cases=2, channels=2, shape=(12, 48, 40)),
        {"data.normalization": "zscore", "data.context_slices": 1, "prepare.size": [40, 40], **BY_BLOCKS},
    ),
    "folder: size, many cases": (
        lambda raw: generate.write_folder(raw, groups=3, frames=2, encoding="colors", shape=FRAMES),
        {"prepare.size": [40, 72]},
    ),
    "nnunet, grey frames": (
        lambda raw: generate.write_nnunet(raw, cases=4, file_ending=".png", shape=(1, *FRAMES)),
        {},
    ),
    "endovis2018: no quality": (
        lambda raw: generate.write_endovis2018(raw, sequences=3, frames=2, shape=FRAMES),
        {"training.quality": False, "prepare.size": [32, 48]},
    ),
    "endovis2018-types": (
        lambda raw: generate.write_endovis2018_types(raw, sequences=5, frames=2, shape=FRAMES),
        {"prepare.split": "group"},
    ),
    "endovis2017": (lambda raw: generate.write_endovis2017(raw, sequences=2, frames=2, shape=FRAMES), {}),
}


CLASSES = LabelMap(
    labels=tuple(Label(id=i, name=n, color=(i, 0, 0)) for i, n in enumerate(("none", "liver", "tumour", "cyst"))),
    structures={"liver": (1, 2), "tumour": (2,), "cyst": (3,)},
)


def test_what_is_counted_is_worked_out_by_hand() -> None:
    """Two slices of a case: the liver is 4 + 2 pixels of which 3 + 0 are found, and 1 more; no tumour is found."""
    reference, predicted = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    reference[0, 0], reference[1, 0, :2] = [1, 1, 1, 2], [1, 1]
    predicted[0, 0, :3], predicted[1, 1, 3] = 1, 1
    of_case, of_slices = Scorer(CLASSES, "mr"), Scorer(CLASSES, "gray")
    for scorer in (of_case, of_slices):
        scorer.add("a", reference[:1], predicted[:1], tuple(CLASSES.structures))
        scorer.add("a", reference[1:], predicted[1:], tuple(CLASSES.structures))
    whole, parts = (scorer.score(NO_SCORE, "x", True) for scorer in (of_case, of_slices))
    assert whole.structures == {"liver": 6 / 10, "tumour": 0, "cyst": None}
    assert parts.structures == {"liver": (6 / 7 + 0) / 2, "tumour": 0, "cyst": None}
    assert (whole.mean, parts.mean) == (0.3, 3 / 14)
    assert whole.not_found == parts.not_found == ("tumour",)
    assert "per case" in whole.protocol
    assert "per slice" in parts.protocol


def written(write: Callable[[Path], None], folder: Path) -> Path:
    write(folder)
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def assert_scores_agree(bundle: Bundle, evaluation: Evaluation) -> None:
    """Every structure's Dice and their mean, and each case's."""
    score, summary = bundle.info.validation, evaluation.summary
    dice = {n.structure: n.value for n in summary.numbers if n.metric == "dice"}
    found = dict(score.structures)
    assert found == pytest.approx({name: dice[name] for name in found}, abs=1e-6, nan_ok=True)
    if None in dice:
        assert score.mean == pytest.approx(dice[None], abs=1e-6)
    assert f"with the protocol {summary.protocol}" in score.protocol
    assert max(value for value in found.values() if value is not None) > 0.01, "0 = 0 shows nothing"
    if bundle.info.quality is not None and summary.protocol == "volumes":
        rows = evaluation.cases.set_index(["case", "structure"])["dice"]
        for case in bundle.info.quality.validated:
            if case.case in rows.index.get_level_values(0):  # a part of a case has another name
                expected = {name: rows[case.case, name] for name in case.dice}
                assert {n: np.nan if v is None else v for n, v in case.dice.items()} == pytest.approx(
                    expected, abs=1e-6, nan_ok=True
                )


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every structure is mended, whether or not that gains: the cases are too few to tell."""
    monkeypatch.setattr(calibration, "_gain", lambda *masks, **of_structure: 1.0)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_predict(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, options = CASES[name]
    if "many cases" in name:  # of which not all are learned from
        monkeypatch.setattr(calibration, "MAX_CASES", 1)
    raw = written(write, tmp_path / "raw")
    config = load_config(overrides=TINY | options)
    prepared = prepare(raw, out=tmp_path / "prepared", config=config.prepare)
    if "crop" in name:
        assert prepared.info.grid.crop_to_body
        assert all(prepared.placement(c).box_size < prepared.source_size(c) for c in prepared.cases.index)
    bundle = train(prepared.folder, out=tmp_path / "run", config=config)
    if bundle.info.quality is not None and "blocks" not in name:
        assert {rule.do for rule in bundle.info.quality.postprocessing} == {"largest", "fill"}
    splits = tmp_path / "prepared" / "splits.json"
    predict(bundle.folder, [raw], out=tmp_path / "masks", options=PredictOptions(split=splits))
    evaluation = evaluate(
        tmp_path / "masks", raw, out=tmp_path / "report", config=config.prepare, options=EvaluateOptions(split=splits)
    )
    assert_scores_agree(bundle, evaluation)


@pytest.mark.usefixtures("eager")
def test_an_ensemble_scores_out_of_fold(tmp_path: Path) -> None:
    raw = written(CASES["lits: crop, spacing"][0], tmp_path / "raw")
    config = load_config(overrides=TINY | CASES["lits: crop, spacing"][1])
    prepared = prepare(raw, out=tmp_path / "prepared", config=config.prepare)
    bundle = cross_validate(prepared.folder, out=tmp_path / "cv", config=config, raw=raw)
    evaluation = evaluate(tmp_path / "cv" / "out-of-fold", raw, out=tmp_path / "report", config=config.prepare)
    assert set(evaluation.cases["case"]) == set(prepared.cases.index)
    assert_scores_agree(bundle, evaluation)
    assert load_bundle(bundle.folder).info.quality == bundle.info.quality
