"""Data sets in which some cases have only some structures labelled, from the raw data to the report."""

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from caseunet.commands.audit import audit
from caseunet.commands.convert import convert
from caseunet.commands.evaluate import evaluate
from caseunet.commands.predict import predict
from caseunet.commands.prepare import prepare
from caseunet.commands.train import train
from caseunet.config import Config
from caseunet.data.writing import Workplace
from caseunet.datasets import open_source
from caseunet.datasets.generate import write_lits
from caseunet.datasets.partial import FILE, find_labelled_table
from caseunet.errors import CaseUNetError
from caseunet.options import EvaluateOptions
from caseunet.preparation.arrays import ArrayJob, _key
from caseunet.types import Grid

TOLD = "case,labelled\nvolume-[01],liver\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LiTS, whose first two patients have no tumours outlined: these lie in the liver's label."""
    folder = tmp_path_factory.mktemp("partial") / "raw"
    write_lits(folder, patients=4)
    for n in range(2):
        path = next(folder.rglob(f"segmentation-{n}.nii"))
        mask = nibabel.load(path)
        ids = np.minimum(np.asarray(mask.dataobj), 1)
        path.unlink()
        nibabel.save(nibabel.Nifti1Image(ids, mask.affine, mask.header), path)
    (folder / FILE).write_text(TOLD)
    return folder


def test_unlabelled_structures_are_in_no_score(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    prepared = prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    assert prepared.merged_ids("volume-0") == (0, 1, 1)
    assert prepared.merged_ids("volume-2") is None
    bundle = train(prepared.folder, out=tmp_path / "run", config=tiny_config)
    told = {case.case: case.dice for case in bundle.info.quality.validated}
    unlabelled = [case for case in told if case in ("volume-0", "volume-1")]
    assert unlabelled
    assert all(told[case]["tumour"] is None and told[case]["liver"] is not None for case in unlabelled)
    predict(bundle.folder, [raw], out=tmp_path / "masks")
    result = evaluate(tmp_path / "masks", raw, out=tmp_path / "report")
    rows = result.cases[result.cases["structure"] == "tumour"]
    assert set(rows[rows["dice"].notna()]["case"]) == {"volume-2", "volume-3"}
    assert result.cases[result.cases["structure"] == "liver"]["dice"].notna().all()
    assert any("2 of 4 references have only some structures labelled" in note for note in result.summary.notes)


def test_the_table_may_lie_beside_a_description(raw: Path, tmp_path: Path) -> None:
    """As of nnU-Net, whose DatasetNNN_NAME may be given by the folder above."""
    (tmp_path / "above").mkdir()
    shutil.copytree(raw, tmp_path / "above" / "Dataset001_Liver")
    assert find_labelled_table(tmp_path / "above") == tmp_path / "above" / "Dataset001_Liver" / FILE
    shutil.copy(raw / FILE, tmp_path / "above" / "Labelled.csv")
    assert find_labelled_table(tmp_path / "above") == tmp_path / "above" / "Labelled.csv"


def test_the_audit_tells_what_is_labelled_in_part(raw: Path, tmp_path: Path) -> None:
    (raw / FILE).write_text("case,labelled\nvolume-[23],tumour\n*,liver;tumour\nvolume-0,liver\n")
    try:
        found = audit(raw, out=tmp_path / "audit").findings
    finally:
        (raw / FILE).write_text(TOLD)
    told = {finding.kind: finding.text for finding in found if finding.level == "warning"}
    assert told["labelled-otherwise"].startswith("its mask holds liver, which labelled.csv does not list")
    assert told["partial"] == 'line "volume-0" counts for no case: others fit before it'
    assert any(finding.text.startswith("2 cases labelled in part, volume-2 among them") for finding in found)


def test_converting_tells_what_is_lost(raw: Path, tmp_path: Path) -> None:
    done = convert(raw, to="nifti", out=tmp_path / "nifti")
    assert len(done.cases) == 4
    assert any("2 cases are labelled in part, volume-0 among them; nifti cannot say so" in w for w in done.warnings)


def test_another_table_makes_other_data(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    """Nothing that an interrupted preparation left is taken over where the table was changed since."""
    _, dataset = open_source(raw, tiny_config.prepare)
    keys = set()
    for labelled in ((), ("liver",)):
        cases = tuple(replace(case, labelled=labelled) for case in dataset.cases)
        job = ArrayJob("a", replace(dataset, cases=cases), Grid(), Workplace(tmp_path / "x"))
        keys.add(_key(job, [("1", "2")] * len(cases)))
    assert len(keys) == 2


def test_predicting_what_is_not_labelled_costs_nothing(raw: Path, tmp_path: Path) -> None:
    """A tumour predicted within the liver of a case without outlined tumours is a liver there."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for n in range(4):
        mask = nibabel.load(next(raw.rglob(f"segmentation-{n}.nii")))
        ids = np.asarray(mask.dataobj).astype(np.uint8)
        if n < 2:
            ids[ids == 1] = 2
        nibabel.save(nibabel.Nifti1Image(ids, mask.affine), masks / f"volume-{n}.nii")
    result = evaluate(masks, raw, out=tmp_path / "report")
    assert result.cases["dice"].dropna().eq(1).all()


def test_a_line_of_all_structures_means_wholly(raw: Path, tmp_path: Path) -> None:
    """The line of the first two names the liver, that of the others all structures."""
    other = shutil.copytree(raw, tmp_path / "raw")
    (other / FILE).write_text("case,labelled\nvolume-[01],liver\nvolume-*,Tumour;liver\n")
    found = audit(other, out=tmp_path / "audit")
    texts = [finding.text for finding in found.findings if finding.kind == "partial"]
    assert texts == ["2 cases labelled in part, volume-0 among them (liver)"]
    (other / FILE).write_text("case,labelled\nvolume-*,liver;tumour\n")
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in other.rglob("segmentation-*.nii"):
        shutil.copy(path, masks / path.name)
    result = evaluate(masks, other, out=tmp_path / "report", options=EvaluateOptions(protocol="lits-corrected"))
    assert not any("only some structures" in note for note in result.summary.notes)


def test_the_scorer_of_lits_knows_no_partial_cases(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for n in range(4):
        mask = nibabel.load(next(raw.rglob(f"segmentation-{n}.nii")))
        nibabel.save(mask, tmp_path / "masks" / f"volume-{n}.nii")
    with pytest.raises(CaseUNetError, match=r"volume-0: only some structures are labelled \(liver\)"):
        evaluate(tmp_path / "masks", raw, out=tmp_path / "report", options=EvaluateOptions(protocol="lits-corrected"))


def test_regions_may_be_partial_too(raw: Path, tiny_config: Config, tmp_path: Path) -> None:
    prepared = prepare(raw, out=tmp_path / "prepared", config=tiny_config.prepare)
    config = tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update={"targets": "regions"})})
    bundle = train(prepared.folder, out=tmp_path / "run", config=config)
    assert bundle.info.architecture.kwargs["regions"] == [[1, 2], [2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,labelled\nvolume-9,liver\n", r'labelled.csv: "volume-9" is no case. Did you mean'),
        ("case,labelled\nvolum_*,liver\n", r'"volum_\*" is no case. Did you mean "volume-\*"'),
        (
            "case,labelled\n*,Leber\n",
            r'labelled.csv: volume-0 has "Leber", which is no structure. Known: liver, tumour',
        ),
        ("case,labelled\nvolume-0\n", r'labelled.csv: line 2: expected the columns "case" and "labelled"'),
        ("name,classes\nvolume-0,liver\n", r'labelled.csv: line 2: expected the columns "case" and "labelled"'),
        ("", r"labelled.csv: is empty"),
    ],
)
def test_a_wrong_table_is_refused(raw: Path, text: str, message: str, tmp_path: Path) -> None:
    (raw / FILE).write_text(text)
    try:
        with pytest.raises(CaseUNetError, match=message):
            audit(raw, out=tmp_path / "audit")
    finally:
        (raw / FILE).write_text(TOLD)
