"""Comparisons and ablations: whole, small ones on made-up data, stopped, gone on with, and refused."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil
import pytest
from rich.console import Console
from safetensors.torch import load_file

from caseunet.bundle import load_bundle
from caseunet.commands import study_runs
from caseunet.commands.ablate import PARTS, ablations
from caseunet.commands.compare import run_study
from caseunet.commands.train import train
from caseunet.config import load_config
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError, Interrupted
from caseunet.files import read_model
from caseunet.options import StudyOptions
from caseunet.progress import TerminalDisplay
from caseunet.studies.design import Design, variants_of
from caseunet.studies.summary import ALL, StudySummary
from tests.conftest import TINY

Run = Callable[..., tuple[int, str, str]]
COMMON = {"data.batch_size": 2, "training.num_validations": 1, "training.steps": 2}
SMALL_UNET = "model: {name: unet, kwargs: {widths: [4, 6], norm: instance}}\n"
SMALL_CASE = "model: {name: case_unet, kwargs: {widths: [4, 6], norm: instance, fusion_kernel_size: 1}}\n"


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    for name, text in (("small_unet", SMALL_UNET), ("small_case", SMALL_CASE)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return [str(tmp_path / "small_unet.yaml"), str(tmp_path / "small_case.yaml")]


@pytest.fixture(autouse=True)
def quick_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each network would take longer than all else here; models' own tests measure so."""
    monkeypatch.setattr("caseunet.studies.costs.measure", lambda *_, **__: pipeline_cost)


pipeline_cost = type("Cost", (), {"milliseconds": 5.0, "peak_mib": 10.0})()


def test_a_whole_comparison(cli: Run, lits_prepared: Prepared, models: list[str], tmp_path: Path) -> None:
    keys = [f"--{key}={value}" for key, value in COMMON.items()]
    out = tmp_path / "study"
    arguments = ("compare", str(lits_prepared.folder), "--models", *models, "--seeds", "2", "--out", out, *keys)
    status, text, err = cli(*arguments)
    assert (status, err) == (0, ""), text
    assert "small_unet" in text
    assert "too few pairs" in text, "two patients cannot tell"
    summary = read_model(out / "study.json", StudySummary, "a study")
    assert (summary.seeds, summary.folds, summary.metric, summary.budget) == ((0, 1), (0,), "dice", "2 steps")
    assert set(summary.models) == {"small_unet", "small_case"}
    cases = pd.read_csv(out / "cases.csv")
    assert len(cases) == 2 * 2 * 2 * 3, "models × seeds × patients of the fold × (liver, tumour, background)"
    own = cases[(cases["model"] == "small_case") & (cases["structure"] == "liver")]
    assert summary.score("small_case", "liver").mean == pytest.approx(own["dice"].mean())
    cost = next(cost for cost in summary.costs if cost.model == "small_unet")
    assert (cost.steps, cost.milliseconds) == (2, 5.0)
    for name in ("scores.csv", "scores.tex", "study.html", "accuracy_latency.png", "accuracy_latency.svg"):
        assert (out / name).stat().st_size > 100, name
    assert (out / "runs" / "small_case" / "seed-1-fold-0" / "report" / "report.html").is_file()
    bundle = load_bundle(out / "runs" / "small_case" / "seed-1-fold-0" / "run" / "bundle")
    assert bundle.info.quality is None, "no post-processing is learnt on the cases that are scored"
    status, _, err = cli(*arguments)
    assert status == 2
    assert "overwrite" in err


def test_a_stopped_study_goes_on_where_it_was(
    lits_prepared: Prepared, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = variants_of(models, None, COMMON)
    real, trained = study_runs.train, []

    def train(*arguments: object, **keywords: object) -> object:
        if len(trained) == 1:
            trained.append("stopped")
            raise KeyboardInterrupt
        trained.append("once")
        return real(*arguments, **keywords)

    monkeypatch.setattr(study_runs, "train", train)
    out = tmp_path / "study"
    with pytest.raises(KeyboardInterrupt):
        run_study(lits_prepared.folder, Design(variants, 1), out=out, options=StudyOptions())
    report = out / "runs" / "small_unet" / "seed-0-fold-0" / "report" / "summary.json"
    written = report.stat().st_mtime_ns
    other = variants_of(models, None, COMMON | {"training.steps": 3})
    with pytest.raises(CaseUNetError, match="was begun with other models or settings"):
        run_study(lits_prepared.folder, Design(other, 1), out=out, options=StudyOptions(), mode="resume")
    study = run_study(lits_prepared.folder, Design(variants, 1), out=out, options=StudyOptions(), mode="resume")
    assert trained == ["once", "stopped", "once"]
    assert report.stat().st_mtime_ns == written, "what was done is not done again"
    more = run_study(lits_prepared.folder, Design(variants, 2, (0, 1)), out=out, options=StudyOptions(), mode="resume")
    assert len(trained) == 3 + 6, "a seed and a fold more"
    assert (study.summary.seeds, more.summary.seeds, more.summary.folds) == ((0,), (0, 1), (0, 1))


def test_trainings_side_by_side_give_what_they_give_one_by_one(
    lits_prepared: Prepared, models: list[str], tmp_path: Path
) -> None:
    variants = variants_of(models, None, COMMON)
    studies = {
        jobs: run_study(
            lits_prepared.folder, Design(variants, 1), out=tmp_path / f"{jobs}", options=StudyOptions(jobs=jobs)
        )
        for jobs in (1, 2)
    }
    first, second = ([s.mean for s in study.summary.scores] for study in studies.values())
    assert first == pytest.approx(second, rel=1e-3)  # another number of threads rounds otherwise
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        StudyOptions(jobs=0)


def test_a_signal_ends_trainings_side_by_side_with_all_saved(
    lits_prepared: Prepared, models: list[str], tmp_path: Path
) -> None:
    """Two train, two more wait; those are not begun. Python's multiprocessing has a child beside that is left alone."""
    variants = variants_of(models, None, COMMON | {"training.steps": 100_000, "training.log_every": 1})
    runs = [tmp_path / "study" / "runs" / v.name / "seed-0-fold-0" / "run" for v in variants]
    bystander = get_context("spawn").Process(target=time.sleep, args=(300,), daemon=True)
    bystander.start()
    over = threading.Event()

    def stop_once_both_train() -> None:
        while not all((run / "metrics.csv").is_file() for run in runs):
            if over.wait(0.2):  # it failed: a signal would hit what comes after this test
                return
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_once_both_train)
    thread.start()
    try:
        with pytest.raises(Interrupted) as stopped:
            run_study(lits_prepared.folder, Design(variants, 2), out=tmp_path / "study", options=StudyOptions(jobs=2))
    finally:
        over.set()
        thread.join()
    assert stopped.value.signal == signal.SIGTERM
    for run in runs:
        assert len(list((run / "checkpoints").glob("step-*.ckpt"))) == 1
    assert len(list((tmp_path / "study" / "runs").glob("*/*"))) == 2
    assert bystander.is_alive()
    bystander.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill there that could be caught")
def test_trainings_side_by_side_do_not_outlive_a_killed_study(
    lits_prepared: Prepared, models: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    settings = COMMON | {"training.steps": 100_000, "training.log_every": 1}
    keys = [f"--{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "caseunet", "compare", str(lits_prepared.folder), "--models", *models]
    process = subprocess.Popen(
        [*command, "--seeds", "1", "--jobs", "2", *keys, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while len(list(out.glob("runs/*/*/run/metrics.csv"))) < 2:
            assert process.poll() is None, process.stdout.read().decode() if process.stdout else ""
            time.sleep(0.2)
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert len(list(out.glob("runs/*/*/run/checkpoints/step-*.ckpt"))) == 2


def test_a_training_that_fails_beside_others_is_told_and_they_are_ended(
    lits_prepared: Prepared, models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = variants_of(models, None, COMMON | {"training.steps": 60})
    broken = variants_of(models, None, COMMON | {"training.monitor": "dice/spleen"})[0]
    design = Design([replace(broken, name="broken"), variants[1]], 1)
    with pytest.raises(CaseUNetError, match='no structure "spleen"'):
        run_study(
            lits_prepared.folder,
            design,
            out=tmp_path / "study",
            display=TerminalDisplay(Console()),
            options=StudyOptions(jobs=2),
        )
    assert "broken, seed 0, fold 0 failed; what is under way is ended first" in capsys.readouterr().out
    assert (tmp_path / "study" / "runs" / "small_case" / "seed-0-fold-0" / "report" / "summary.json").is_file()


def test_a_signal_comes_over_from_another_process() -> None:
    arrived = pickle.loads(pickle.dumps(Interrupted("Stopped after step 3.", 15)))
    assert (str(arrived), arrived.signal) == ("Stopped after step 3.", 15)


def test_masks_of_another_tool_are_scored_beside_the_models(
    cli: Run, lits_prepared: Prepared, models: list[str], tmp_path: Path
) -> None:
    """The masks are copies of the reference: the other tool's Dice is 1."""
    raw = Path(lits_prepared.info.source.folder) if lits_prepared.info.source else tmp_path
    for fold in (0, 1):
        masks = tmp_path / "other" / f"seed-0-fold-{fold}"
        masks.mkdir(parents=True)
        for case in lits_prepared.fold(fold).val:
            truth = next(raw.rglob(f"{case.replace('volume', 'segmentation')}.nii*"))
            shutil.copy(truth, masks / (case + "".join(truth.suffixes)))
    keys = [f"--{key}={value}" for key, value in COMMON.items()]
    out = tmp_path / "study"
    common = ("compare", str(lits_prepared.folder), "--models", *models, "--seeds", "1", "--out", out, *keys)
    status, _, err = cli(*common, "--folds", "0", "1", "--predictions", f"other={tmp_path / 'nowhere'}")
    assert (status, out.exists()) == (2, False)
    assert "nowhere/seed-0-fold-0: no such folder. Predictions are given as NAME=FOLDER" in err
    status, text, err = cli(*common, "--folds", "0", "1", "--predictions", f"other={tmp_path / 'other'}")
    assert (status, err) == (0, ""), text
    summary = read_model(out / "study.json", StudySummary, "a study")
    assert summary.score("other").mean == 1
    assert [cost.model for cost in summary.costs] == ["small_unet", "small_case"]
    assert summary.models["other"] == "masks of another tool, not trained here"
    page = (out / "study.html").read_text()
    assert "Not drawn, without score or cost: other" in page
    assert "2 models were trained alike, each with 1 seed (0)" in page
    assert "Of other there are only masks, made elsewhere" in page
    status, _, err = cli(
        *common, "--folds", "0", "--predictions", f"other={tmp_path / 'other' / 'seed-0-fold-0'}", "--resume"
    )
    assert (status, err) == (0, ""), "one seed and fold: the masks themselves"
    for given, message in (
        ("other", "expected NAME=FOLDER"),
        ("small_unet=x", "a model and predictions have this name"),
    ):
        status, _, err = cli(*common, "--predictions", given, "--resume")
        assert status == 2
        assert message in err


def test_networks_are_planned_for_what_they_train_on(lits_prepared: Prepared, tmp_path: Path) -> None:
    arguments = {"widths": [4, 6, 8, 10, 12], "norm": "instance", "fusion_kernel_size": 1, "patch_size": "auto"}
    overrides = COMMON | {"model.kwargs": arguments, "data.patch_size": [32, 32]}
    bundle = train(lits_prepared.folder, out=tmp_path / "run", config=load_config(overrides=overrides))
    assert bundle.info.architecture.kwargs["patch_size"] == [32, 32]
    weights = load_file(bundle.folder / "model.safetensors")
    stages = {name.split(".")[1] for name in weights if name.startswith("encoder.")}
    assert stages == {"0", "1", "2"}, "32 pixels halved three times are 4"


def test_what_cannot_be_compared_is_refused_before_any_training(
    cli: Run, lits_prepared: Prepared, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, text in (
        (["unet", "unett"], 'no model "unett". Did you mean "unet"'),
        (["unet", "unet"], '"unet" is there twice'),
        (["unet", str(tmp_path / "nothing.yaml")], "no such configuration file"),
    ):
        with pytest.raises(CaseUNetError, match=text):
            variants_of(given, None, COMMON)
    variants = variants_of(models, None, COMMON)
    monkeypatch.setattr(study_runs, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(CaseUNetError, match="expected at least 1"):
        run_study(lits_prepared.folder, Design(variants, 0), out=tmp_path / "study", options=StudyOptions())
    with pytest.raises(CaseUNetError, match="takes at least two"):
        run_study(lits_prepared.folder, Design(variants[:1]), out=tmp_path / "study", options=StudyOptions())
    with pytest.raises(CaseUNetError, match="fold"):
        run_study(lits_prepared.folder, Design(variants, folds=(9,)), out=tmp_path / "study", options=StudyOptions())
    with pytest.raises(CaseUNetError, match="raw data's own geometry, but "):
        run_study(
            lits_prepared.folder, Design(variants), out=tmp_path / "study", options=StudyOptions(raw=tmp_path / "gone")
        )
    broken = variants_of([models[0], "case_unet"], None, COMMON | {"model.kwargs.widths": [4]})
    with pytest.raises(CaseUNetError, match="widths"):
        run_study(lits_prepared.folder, Design(broken), out=tmp_path / "study", options=StudyOptions())
    assert not (tmp_path / "study" / "study.html").exists()


def test_models_differ_in_what_they_say_and_share_the_rest() -> None:
    variants = {v.name: v.config for v in variants_of(["unet", "paper", "default"], None, COMMON)}
    assert variants["unet"].model.name == "unet"
    assert variants["unet"].model.kwargs == {}
    assert variants["unet"].optimizer == variants["default"].optimizer
    assert variants["paper"].loss.class_weights == "inverse_frequency"
    assert {config.training.steps for config in variants.values()} == {2}


def test_ablations_change_one_part_each() -> None:
    of_default = {v.name: v.config for v in ablations("default", None, COMMON)}
    assert set(of_default) == {"whole", *PARTS} - {"spatial attention", "class weights off", "loss CE + Dice"}
    whole = of_default["whole"]
    assert of_default["one scale"].model.kwargs["kernel_sizes"] == [3, 3, 3]
    assert of_default["loss CE"].loss.kwargs == {**whole.loss.kwargs, "ssim": 0.0, "dice": 0.0}
    for name, config in of_default.items():
        different = [s for s in type(config).model_fields if getattr(config, s) != getattr(whole, s)]
        assert len(different) == (name != "whole"), name
    of_paper = {v.name for v in ablations("paper", None, COMMON)}
    assert of_paper == {"whole", *PARTS} - {"author attention", "class weights on", "loss CE + SSIM + Dice"}
    with pytest.raises(CaseUNetError, match="the configuration has unet with hybrid"):
        ablations(None, None, {"model.name": "unet"})


def test_a_whole_ablation(cli: Run, lits_prepared: Prepared, tmp_path: Path) -> None:
    keys = [f"--{key}={json.dumps(value)}" for key, value in (TINY | COMMON).items()]
    status, text, err = cli(
        *("ablate", str(lits_prepared.folder), "--seeds", "1", "--steps", "1", "--out", tmp_path / "study"), *keys
    )
    assert (status, err) == (0, ""), text
    summary = read_model(tmp_path / "study" / "study.json", StudySummary, "a study")
    assert {s.model for s in summary.scores if s.structure == ALL} == {v.name for v in ablations(None, None, TINY)}
