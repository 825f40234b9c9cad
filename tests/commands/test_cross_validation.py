"""All folds with one command: a run each, a bundle that votes, and predictions by networks that never saw the case."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from caseunet.bundle import Bundle, load_bundle
from caseunet.commands.cross_validation import cross_validate
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.options import PredictOptions
from caseunet.prediction.python_predictor import Predictor
from caseunet.training.trainer import Trainer


@pytest.fixture(scope="module")
def crossed(
    lits_prepared: Prepared, lits_raw: Path, tiny_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two folds, interrupted in the second and gone on with."""
    out = tmp_path_factory.mktemp("crossed") / "cv"
    step, calls = Trainer.step, []

    def signalled(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", signalled)
        with pytest.raises(Interrupted):
            cross_validate(lits_prepared.folder, out=out, config=tiny_config, raw=lits_raw)
    cross_validate(None, out=out, config=tiny_config, raw=lits_raw, mode="resume")
    return out


def test_each_fold_is_the_run_it_would_be_alone(
    crossed: Path, lits_prepared: Prepared, tiny_config: Config, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update={"fold": 1})})
    alone = train(lits_prepared.folder, out=tmp_path / "run", config=config)
    bundle = load_bundle(crossed / "bundle")
    assert all(torch.equal(bundle.weights[f"fold-1/{name}"], tensor) for name, tensor in alone.weights.items())
    assert bundle.info.members[1].validation == alone.info.validation
    means = [member.validation.structures["liver"] for member in bundle.info.members]
    assert bundle.info.validation.structures["liver"] == pytest.approx(np.mean(means)), "as many cases in each fold"
    assert bundle.info.training_data.fold is None
    assert bundle.info.quality is not None
    assert {case.case for case in bundle.info.quality.validated} == set(lits_prepared.cases.index)
    assert {point.cases for point in bundle.info.quality.operating_points["liver"]} == {len(lits_prepared.cases)}
    assert len(bundle.info.training_data.image_hashes) == len(lits_prepared.cases)


def test_an_ensemble_averages_probabilities(crossed: Path, lits_raw: Path) -> None:
    """Its mask is the greatest of the mean of what its networks say alone."""
    ensemble, image = Predictor(crossed / "bundle"), lits_raw / "volume-0.nii"
    maps = []
    for n in range(2):
        alone = Predictor(crossed / f"fold-{n}" / "bundle")
        network, preprocessing = alone._networks[0]
        assert preprocessing == ensemble._networks[n][1]
        seen: list[torch.Tensor] = []
        network.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.softmax(1)))
        alone.predict(image)
        maps.append(torch.cat(seen))
    expected = torch.stack(maps).mean(0).argmax(1).numpy()
    np.testing.assert_array_equal(ensemble.predict(image).canonical, expected)


def test_out_of_fold_predictions_are_those_of_the_network_that_did_not_see_the_case(
    crossed: Path, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    kept = json.loads((crossed / "out-of-fold" / "predictions.json").read_text())
    assert len(kept["cases"]) == len(lits_prepared.cases)
    assert kept["out_of_fold"]
    assert not any(case["in_training"] for case in kept["cases"])
    for n in range(2):
        predict(
            crossed / f"fold-{n}" / "bundle",
            [lits_raw],
            out=tmp_path / f"{n}",
            options=PredictOptions(split=lits_prepared.folder / "splits.json"),
        )
        for case in lits_prepared.fold(n).val:
            file = f"{case}.nii"
            assert (tmp_path / f"{n}" / file).read_bytes() == (crossed / "out-of-fold" / file).read_bytes()
    scored = evaluate(crossed / "out-of-fold", lits_raw, out=tmp_path / "report")
    assert set(scored.cases["case"]) == set(lits_prepared.cases.index)
    assert "networks that were not trained on it" in scored.summary.models[0].caution
    assert "was trained on" not in scored.summary.models[0].caution


@pytest.mark.parametrize("cut", [0, 1])
def test_copy_is_left_to_one_that_is_new_to_it(
    cut: int, crossed: Path, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path
) -> None:
    """Saved anew in another numeric type, also without a slice, it has another hash; its pixels tell."""
    one = next(iter(lits_prepared.fold(0).val))
    image = nib.as_closest_canonical(nib.load(lits_raw / f"{one}.nii"))
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine).slicer[:, :, cut:], tmp_path / "copy.nii")
    done = [
        predict(folder, tmp_path / "copy.nii", out=tmp_path / f"{n}", options=PredictOptions(out_of_fold=n == 0))
        for n, folder in enumerate((crossed / "bundle", crossed / "fold-0" / "bundle", crossed / "bundle"))
    ]
    masks = [(tmp_path / f"{n}" / "copy.nii").read_bytes() for n in range(2)]
    assert masks[0] == masks[1]
    assert [case.seen for result in done[:2] for case in result.cases] == ["", ""]
    assert f"case {one}" in done[2].cases[0].seen
    data = load_bundle(crossed / "bundle").info
    assert all(image.sketch for image in data.training_data.images)
    assert not any(image.likeness or image.sketch for member in data.members for image in member.training_data.images)


def test_folds_that_other_machines_trained_are_put_together(
    crossed: Path, lits_prepared: Prepared, tiny_config: Config, tmp_path: Path
) -> None:
    import shutil

    for n in range(2):
        shutil.copytree(crossed / f"fold-{n}", tmp_path / "cv" / f"fold-{n}")
    bundle = cross_validate(None, out=tmp_path / "cv", config=tiny_config, mode="resume")
    assert bundle.info.weights_hash == load_bundle(crossed / "bundle").info.weights_hash


def test_what_an_ensemble_is_not_for(
    crossed: Path, lits_bundle: Bundle, lits_prepared: Prepared, lits_raw: Path, tmp_path: Path, tiny_config: Config
) -> None:
    splits = lits_prepared.folder / "splits.json"
    with pytest.raises(CaseUNetError, match="is an ensemble over all folds, none of which a split tells"):
        predict(crossed / "bundle", [lits_raw], out=tmp_path / "p", options=PredictOptions(split=splits))
    with pytest.raises(CaseUNetError, match="is no ensemble of folds. A split tells"):
        predict(lits_bundle.folder, [lits_raw], out=tmp_path / "p", options=PredictOptions(out_of_fold=True))
    training = tiny_config.training.model_copy(update={"pretrained": crossed / "bundle"})
    with pytest.raises(CaseUNetError, match="is an ensemble. Start from one of its networks"):
        train(lits_prepared.folder, out=tmp_path / "run", config=tiny_config.model_copy(update={"training": training}))


def test_the_command_says_how_to_go_on(
    crossed: Path, lits_raw: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = cli("train", "--fold", "all", "--resume", "--out", crossed)
    assert status == 0
    assert "(out of fold)" in out
    assert f"caseunet predict {crossed / 'bundle'} RAW --out-of-fold --out out-of-fold" in out
    status, _, error = cli("train", "--out", tmp_path / "x", "--raw", lits_raw)
    assert (status, "--raw is for --fold all" in error) == (2, True)
    status, _, error = cli("train", "--out", tmp_path / "x", "--fold", "all", "--resume")
    assert (status, "there is nothing to go on with" in error) == (2, True)
