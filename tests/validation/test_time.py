"""Within a budget of minutes some of many validation cases are looked at, and the bundle says so."""

import time
from types import SimpleNamespace

import pytest
import torch

from caseunet.bundle import Bundle
from caseunet.config import Config, load_config
from caseunet.data.store import Prepared
from caseunet.imaging.boxes import spread_order
from caseunet.progress import Notices
from caseunet.training.budget import seconds_to_close, seconds_to_train, seconds_to_validate
from caseunet.training.fold_scores import validate
from caseunet.types import Fold
from caseunet.validation.scores import OF_FOLD, validate_bundle


@pytest.fixture
def fold(lits_prepared: Prepared) -> Fold:
    """All four cases on either side."""
    own = lits_prepared.fold(0)
    return Fold(train=own.train | own.val, val=own.train | own.val)


def test_order_begins_evenly_spread() -> None:
    assert spread_order(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert sorted(spread_order(100)) == list(range(100))
    assert spread_order(1) == [0]
    assert max(abs(a - b) for a, b in zip(sorted(spread_order(100)[:8]), range(0, 100, 12), strict=False)) <= 16


def test_shares_of_ten_minutes() -> None:
    training = load_config(overrides={"training.minutes": 10}).training
    assert seconds_to_train(training) == 540
    assert seconds_to_validate(training) == 15
    assert seconds_to_close(training, SimpleNamespace(seconds=540)) == 60  # type: ignore[arg-type]
    assert seconds_to_close(training, SimpleNamespace(seconds=700)) == 30  # type: ignore[arg-type]
    steps = load_config(overrides={"training.steps": 10}).training
    assert seconds_to_validate(steps) is None
    assert seconds_to_close(steps, SimpleNamespace(seconds=5)) is None  # type: ignore[arg-type]


def test_a_bundle_tells_of_how_many(lits_bundle: Bundle, lits_prepared: Prepared, fold: Fold) -> None:
    display = Notices(None)
    score, quality = validate_bundle(lits_bundle, lits_prepared, fold, "cpu", display, with_quality=True, seconds=0)
    assert quality is not None
    assert [one.case for one in quality.validated] == [min(fold.val)]
    assert "1 of the 4 validation cases of the fold" in score.protocol
    assert any("1 of the 4 validation cases" in told for told in display.warnings)


def test_a_score_alone_tells_too(lits_bundle: Bundle, lits_prepared: Prepared, fold: Fold) -> None:
    score, _ = validate_bundle(lits_bundle, lits_prepared, fold, "cpu", Notices(None), with_quality=False, seconds=0)
    assert "1 of the 4 validation cases of the fold" in score.protocol


def test_time_for_all(lits_bundle: Bundle, lits_prepared: Prepared, fold: Fold) -> None:
    display = Notices(None)
    score, quality = validate_bundle(lits_bundle, lits_prepared, fold, "cpu", display, with_quality=True, seconds=600)
    assert quality is not None
    assert sorted(one.case for one in quality.validated) == sorted(fold.val)
    assert OF_FOLD in score.protocol
    assert not display.warnings


@pytest.mark.parametrize(("seconds", "cases"), [(0.0, 1), (None, 4)])
def test_validation_in_training(
    seconds: float | None, cases: int, lits_bundle: Bundle, lits_prepared: Prepared, tiny_config: Config, fold: Fold
) -> None:
    preprocessing = lits_bundle.info.preprocessing

    def network(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.001)
        return torch.zeros(len(x), 3, *x.shape[-2:])

    scores = validate(network, lits_prepared, fold.val, preprocessing, torch.device("cpu"), seconds=seconds)
    assert scores is not None
    assert len(scores) == cases
