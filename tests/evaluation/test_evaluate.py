"""Evaluation of hand-made masks from end to end: what is counted, what is named, what is refused."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel import orientations
from PIL import Image

from caseunet.commands.evaluate import evaluate
from caseunet.commands.report import read_report
from caseunet.datasets.lits import CODING
from caseunet.errors import CaseUNetError
from caseunet.evaluation.evaluator import Pair, Predicted, Reference, score
from caseunet.evaluation.protocols import PROTOCOLS
from caseunet.evaluation.protocols.base import Options
from caseunet.files import content_hash, write_json
from caseunet.options import EvaluateOptions
from caseunet.types import Fold, Geometry, Split

AFFINE = np.diag([-2.0, -1.0, 5.0, 1.0])  # voxels of 10 mm³


def put(path: Path, labels: np.ndarray, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(dtype), AFFINE), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """(predictions, references) of two cases.

    Case 0: 40 liver and 10 tumour voxels in slice 1, all found but 4 tumour voxels, which are called liver; 10
    voxels of background called liver in slice 2. Case 1: liver of 20, found; no tumour, none predicted.
    """
    reference = np.zeros((2, 10, 10, 4))
    prediction = reference.copy()
    reference[0, :5, :, 1], reference[0, 0, :, 1] = 1, 2
    prediction[0] = reference[0]
    prediction[0, 0, :4, 1] = 1
    prediction[0, 9, :, 2] = 1
    reference[1, :2, :, 0] = prediction[1, :2, :, 0] = 1
    raw, out = tmp_path / "raw", tmp_path / "predictions"
    for n in range(2):
        put(raw / f"volume-{n}.nii", np.arange(400).reshape(10, 10, 4), np.int16)
        put(raw / f"segmentation-{n}.nii", reference[n])
        put(out / f"volume-{n}.nii", prediction[n])
    write_predictions(out)
    return out, raw


def write_predictions(folder: Path, cases: tuple[int, ...] = (0, 1), trained: bool = False) -> None:
    content = {
        "bundle": "b",
        "bundle_hash": "0",
        "label_map": CODING.label_map.model_dump(mode="json"),
        "window": [0, 400],
        "device": "cpu",
        "backend": "torch",
        "code_version": "0",
        "fold": None,
        "selected_on_fold": 0,
        "cases": [
            {
                "id": f"volume-{n}",
                "image": "",
                "image_hash": content_hash(folder.parent / "raw" / f"volume-{n}.nii"),
                "in_training": trained,
                "file": f"volume-{n}.nii",
                "slices": 4,
                "seconds": 0,
            }
            for n in cases
        ],
    }
    write_json(folder / "predictions.json", content)


def value(table: pd.DataFrame, case: str, structure: str, column: str) -> float:
    row = table[(table["case"] == case) & (table["structure"] == structure)]
    return float(row[column].iloc[0])


def write_split(path: Path, **cases: tuple[int, int]) -> Path:
    val = {case.replace("_", "-"): (slices,) for case, slices in cases.items()}
    split = Split(by="patient", folds=(Fold(train={}, val=val),))
    write_json(path, split.model_dump(mode="json"))
    return path


def test_hand_computed_scores(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate(*folders, out=tmp_path / "report")
    table = pd.read_csv(tmp_path / "report" / "cases.csv")
    # liver = liver or tumour: R 50, P 60, both 50
    assert value(table, "volume-0", "liver", "dice") == 100 / 110
    assert value(table, "volume-0", "liver", "iou") == 50 / 60
    assert value(table, "volume-0", "liver", "volume_error_ml") == pytest.approx(0.1)  # 10 voxels of 10 mm³
    assert value(table, "volume-0", "liver", "relative_volume_error") == pytest.approx(0.2)
    assert np.isnan(value(table, "volume-0", "liver", "lesion_f1")), "an organ is no lesion"
    assert not [n for n in result.summary.numbers if n.structure == "liver" and "lesion" in n.metric]
    assert value(table, "volume-0", "tumour", "lesion_f1") == 1
    # tumour: R 10, P 6, both 6; the 4 that were missed are 1, 2, 3, 4 columns of 1 mm away
    assert value(table, "volume-0", "tumour", "dice") == 12 / 16
    assert value(table, "volume-0", "tumour", "volume_error_ml") == pytest.approx(-0.04)
    assert value(table, "volume-0", "tumour", "assd") == pytest.approx((1 + 2 + 3 + 4) / 16)
    assert value(table, "volume-0", "tumour", "nsd") == pytest.approx(14 / 16)
    assert value(table, "volume-1", "liver", "dice") == 1
    assert np.isnan(value(table, "volume-1", "tumour", "dice"))

    tumour = result.summary.number("dice", "tumour")
    assert (tumour.n, tumour.undefined, tumour.value, tumour.interval) == (1, 1, 0.75, None)
    assert result.summary.number("dice", "liver").value == pytest.approx((100 / 110 + 1) / 2)
    assert result.summary.number("dice").value == pytest.approx((0.75 + (100 / 110 + 1) / 2) / 2)
    with pytest.raises(CaseUNetError, match='no "dies" of liver; there is assd, dice'):
        result.summary.number("dies", "liver")


@pytest.mark.parametrize("protocol", ["volumes", "slices", "lits-corrected", "endovis-2018", "paper"])
def test_every_number_is_explained_and_can_be_had_from_cases_csv(
    folders: tuple[Path, Path], tmp_path: Path, protocol: str
) -> None:
    evaluate(*folders, out=tmp_path / "report", options=EvaluateOptions(protocol=protocol))
    summary, cases = (report := read_report(tmp_path / "report")).summary, report.cases
    assert summary.protocol == protocol
    assert all(n.measure.definition and n.measure.empty and n.averaging for n in summary.numbers)
    again = PROTOCOLS.get(protocol)(Options()).conclude(cases, summary.structures)
    assert tuple(again) == summary.numbers
    stored = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert len(stored["text"]) > 200
    assert {row["measure"]["empty"] for row in stored["numbers"]} == {n.measure.empty for n in summary.numbers}


def test_the_report_needs_nothing_from_outside(folders: tuple[Path, Path], tmp_path: Path) -> None:
    html = evaluate(*folders, out=tmp_path / "report", options=EvaluateOptions(title="<b>Title</b>")).report.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", html)
    assert "http" not in html
    assert "@import" not in html
    assert "data:image/" in html
    assert "&lt;b&gt;Title" in html
    assert len(html) < 2_000_000


def test_only_the_fold_s_slices_are_scored(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Slice 1 of case 0 alone: liver exact, tumour as before. Slices count from the feet."""
    split = Split(by="slice-blocks", caution="Careful.", folds=(Fold(train={}, val={"volume-0": ((1, 2),)}),))
    write_json(tmp_path / "splits.json", split.model_dump(mode="json"))
    result = evaluate(*folders, out=tmp_path / "report", options=EvaluateOptions(split=tmp_path / "splits.json"))
    assert value(result.cases, "volume-0", "liver", "dice") == 1
    assert value(result.cases, "volume-0", "tumour", "dice") == 0.75
    assert result.summary.models[0].caution.startswith("Careful. The weights are those that did best on this very fold")
    assert "1 slice of 1 case" in result.summary.scope
    assert "Careful." in result.report.read_text()


def test_what_was_not_asked_for_is_named_and_what_is_missing_counts(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A case that nobody asked for is named; one that the fold asks for scores 0, so that missing never helps."""
    write_predictions(folders[0], cases=(0,))
    summary = evaluate(*folders, out=tmp_path / "report").summary
    assert (summary.not_asked, summary.cases, summary.models[0].missing) == (("volume-1",), 1, ())
    split = write_split(tmp_path / "splits.json", volume_0=(0, 4), volume_1=(0, 4))
    result = evaluate(*folders, out=tmp_path / "fold", options=EvaluateOptions(split=split))
    (missing,) = result.summary.models[0].missing
    assert (missing.case, missing.text) == ("volume-1", "there is no prediction of it.")
    assert value(result.cases, "volume-1", "liver", "dice") == 0
    assert np.isnan(value(result.cases, "volume-1", "tumour", "dice")), "no tumour: nothing was missed"
    assert result.summary.number("dice", "liver").value == pytest.approx(50 / 110)
    # 10 × 10 × 4 voxels of 2 × 1 × 5 mm
    assert value(result.cases, "volume-1", "liver", "hd95") == pytest.approx((20**2 + 10**2 + 20**2) ** 0.5)
    html = result.report.read_text()
    assert "volume-1" in html
    assert "there is no prediction of it" in html


def test_predictions_of_another_fold_say_so(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    write_predictions(predictions, cases=(0,))
    text = (predictions / "predictions.json").read_text().replace('"fold": null', '"fold": 3')
    (predictions / "predictions.json").write_text(text)
    split = write_split(tmp_path / "splits.json", volume_1=(0, 4))
    with pytest.raises(CaseUNetError, match="there is no prediction of it. It holds the predictions of fold 3"):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(split=split, fold=0))


def test_a_file_that_is_gone_counts_as_missing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "volume-1.nii").unlink()
    (missing,) = evaluate(*folders, out=tmp_path / "report").summary.models[0].missing
    assert missing.text == "its file volume-1.nii is gone."


def test_predictions_that_do_not_fit_count_as_empty_and_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    moved = AFFINE.copy()
    moved[0, 3] = 300
    faults = {
        r"the mask's shape \(10, 9, 4\) is not its image's": nib.Nifti1Image(np.zeros((10, 9, 4), np.uint8), AFFINE),
        "the mask lies 300 mm away": nib.Nifti1Image(np.zeros((10, 10, 4), np.uint8), moved),
        "the prediction holds label 3; there are 0 to 2": nib.Nifti1Image(np.full((10, 10, 4), 3, np.uint8), AFFINE),
        "400 values that are no whole numbers": nib.Nifti1Image(np.full((10, 10, 4), 0.5, np.float32), AFFINE),
    }
    for number, (text, image) in enumerate(faults.items()):
        nib.save(image, predictions / "volume-0.nii")
        result = evaluate(predictions, raw, out=tmp_path / f"report-{number}")
        (unusable,) = result.summary.models[0].unusable
        assert unusable.case == "volume-0"
        assert re.search(text.replace("300 mm", r"\d+ mm"), unusable.text), unusable.text
        assert value(result.cases, "volume-0", "liver", "dice") == 0
        assert value(result.cases, "volume-1", "liver", "dice") == 1
        assert set(result.cases.loc[result.cases["case"] == "volume-0", "status"]) == {"unusable"}
        with pytest.raises(CaseUNetError, match='volume-0: .* The protocol "lits-official" ends here'):
            evaluate(predictions, raw, out=tmp_path / "official", options=EvaluateOptions(protocol="lits-official"))
    (predictions / "volume-1.nii").write_bytes(b"nothing")
    with pytest.raises(CaseUNetError, match="none of the 2 cases can be scored. The first, volume-0: .*volume-0"):
        evaluate(predictions, raw, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR", "SAL"])
def test_prediction_with_other_axes_scores_same(folders: tuple[Path, Path], tmp_path: Path, axes: str) -> None:
    predictions, raw = folders
    straight = evaluate(predictions, raw, out=tmp_path / "straight").cases
    for path in sorted(predictions.glob("*.nii")):
        image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj).copy(), nib.load(path).affine)
        turn = orientations.ornt_transform(nib.io_orientation(image.affine), orientations.axcodes2ornt(axes))
        nib.save(image.as_reoriented(turn), path)
    result = evaluate(predictions, raw, out=tmp_path / "turned")
    pd.testing.assert_frame_equal(result.cases, straight)
    remarks = [remark.text for remark in result.summary.models[0].remarks]
    assert remarks == [f"the prediction's axes run {axes}, its image's LPS; compared in the patient's space."] * 2


def test_what_does_not_fit_at_all_is_refused(folders: tuple[Path, Path], tmp_path: Path, endovis_raw: Path) -> None:
    predictions, raw = folders
    with pytest.raises(CaseUNetError, match="holds no prediction of a case that"):
        evaluate(predictions, endovis_raw, out=tmp_path / "report")
    with pytest.raises(CaseUNetError, match="no such folder; expected predictions"):
        evaluate(tmp_path / "nowhere", raw, out=tmp_path / "report")
    with pytest.raises(CaseUNetError, match='no protocol "volume". Did you mean "volumes"'):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(protocol="volume"))
    with pytest.raises(CaseUNetError, match='no protocol "lits". Did you mean "lits-official"'):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(protocol="lits"))
    with pytest.raises(CaseUNetError, match="tolerance must be a positive number"):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(tolerance=0))
    with pytest.raises(CaseUNetError, match="name its splits.json too"):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(fold=1))
    with pytest.raises(CaseUNetError, match="references of 1 case hold no lesion, volume-1; .*lits-corrected"):
        evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(protocol="lits-official"))
    write_predictions(folders[0], cases=(0, 0))
    with pytest.raises(CaseUNetError, match="predictions.json: .*case volume-0 is there twice"):
        evaluate(*folders, out=tmp_path / "report")
    write_predictions(folders[0])
    with pytest.raises(CaseUNetError, match=r"metrics.csv is missing"):
        evaluate(*folders, out=tmp_path / "report", options=EvaluateOptions(run=tmp_path))
    assert not (tmp_path / "report").exists()


def test_prediction_without_a_reference_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[1] / "segmentation-1.nii").unlink()
    summary = evaluate(*folders, out=tmp_path / "report").summary
    assert (summary.models[0].extra, summary.cases) == (("volume-1",), 1)
    split = write_split(tmp_path / "splits.json", volume_0=(0, 4), volume_1=(0, 4))
    with pytest.raises(CaseUNetError, match="there is no mask for the case volume-1 of the fold"):
        evaluate(*folders, out=tmp_path / "fold", options=EvaluateOptions(split=split))


def test_another_image_s_mask_is_not_scored(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    put(raw / "volume-0.nii", np.ones((10, 10, 4)), np.int16)
    with pytest.raises(CaseUNetError, match="volume-0.nii: was predicted from another image"):
        evaluate(predictions, raw, out=tmp_path / "report")


def test_training_images_among_scored_are_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_predictions(folders[0], trained=True)
    caution = evaluate(*folders, out=tmp_path / "report").summary.models[0].caution
    assert "trained on 2 of the 2 scored cases, volume-0 among them" in caution


def test_lits_distances_are_in_the_voxels_of_the_reference_s_own_header(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """As in LiTS case 53, where the segmentation's header says 1 mm: the scorer takes it at its word."""
    predictions, raw = folders
    ours = evaluate(predictions, raw, out=tmp_path / "a", options=EvaluateOptions(protocol="lits-corrected")).cases
    labels = np.asarray(nib.load(raw / "segmentation-0.nii").dataobj).copy()
    nib.save(nib.Nifti1Image(labels, np.eye(4)), raw / "segmentation-0.nii")
    theirs = evaluate(predictions, raw, out=tmp_path / "b", options=EvaluateOptions(protocol="lits-corrected")).cases
    # the false blob lies one slice above the liver's last row, 5 rows on: (5 × 2 mm, 5 mm) or (5, 1)
    assert value(ours, "volume-0", "liver", "msd") == pytest.approx((10**2 + 5**2) ** 0.5)
    assert value(theirs, "volume-0", "liver", "msd") == pytest.approx((5**2 + 1) ** 0.5)
    volumes = evaluate(predictions, raw, out=tmp_path / "c").cases
    assert value(volumes, "volume-0", "liver", "reference_ml") == pytest.approx(0.5), "volumes are the image's"


def test_masks_of_another_tool_are_found_by_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    ours = evaluate(predictions, raw, out=tmp_path / "ours")
    for number, name in enumerate(("volume-{}.nii", "segmentation-{}.nii", "deep/er/segmentation-{}.nii")):
        other = tmp_path / f"other-{number}"
        for n in range(2):
            (other / name.format(n)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(predictions / f"volume-{n}.nii", other / name.format(n))
        put(other / "someone-else.nii", np.zeros((10, 10, 4)))
        result = evaluate(other, raw, out=tmp_path / f"report-{number}")
        pd.testing.assert_frame_equal(result.cases.drop(columns="model"), ours.cases.drop(columns="model"))
        assert result.summary.models[0].extra == ("someone-else.nii",)
    (other / "deep" / "er" / "segmentation-1.nii").unlink()
    (missing,) = evaluate(other, raw, out=tmp_path / "missing").summary.models[0].missing
    assert missing.case == "volume-1", "of another tool every case is expected"
    shutil.copy(predictions / "volume-0.nii", other / "volume-0.nii")
    with pytest.raises(CaseUNetError, match="both are named as predictions of volume-0. Keep one"):
        evaluate(other, raw, out=tmp_path / "twice")
    with pytest.raises(
        CaseUNetError, match="no file in it is named as a case of .*Found .*expected names such as volume-0"
    ):
        evaluate(put_alone(tmp_path / "unnamed"), raw, out=tmp_path / "unnamed-report")


def test_a_folder_of_one_structure_is_explained(folders: tuple[Path, Path], tmp_path: Path) -> None:
    put(tmp_path / "other" / "volume-0" / "liver.nii.gz", np.zeros((10, 10, 4)))
    told = r"Found volume-0/liver.nii.gz; expected names such as volume-0.nii.gz, .*A folder named as a case holds"
    with pytest.raises(CaseUNetError, match=told):
        evaluate(tmp_path / "other", folders[1], out=tmp_path / "report")


def put_alone(folder: Path) -> Path:
    put(folder / "x.nii", np.zeros((10, 10, 4)))
    return folder


def test_masks_of_another_tool_may_hold_the_references_values_or_class_ids(tmp_path: Path) -> None:
    """References of 0 and 255; predictions of 0 and 255, of 0 and 1, and of something else."""
    truth = np.zeros((40, 48), np.uint8)
    truth[10:30, 10:30] = 255
    for n in range(3):
        for folder, pixels in (("images", np.full((40, 48, 3), 90 + n, np.uint8)), ("masks", truth)):
            (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "raw" / folder / f"{n}.png")
    (tmp_path / "masks").mkdir()
    for n, pixels in enumerate((truth, truth // 255, truth // 2)):
        Image.fromarray(pixels).save(tmp_path / "masks" / f"{n}.png")
    result = evaluate(tmp_path / "masks", tmp_path / "raw", out=tmp_path / "report")
    assert result.summary.protocol == "slices"
    dice = result.cases.loc[result.cases["structure"] == "foreground", "dice"]
    assert dice.tolist() == [1, 1, 0]
    (model,) = result.summary.models
    assert [(r.case, r.text) for r in model.remarks] == [("1", "its values up to 1 were taken for class ids.")]
    assert [r.case for r in model.unusable] == ["2"]
    assert "most often 127" in model.unusable[0].text


def test_coloured_frames_of_another_tool_are_read(endovis_raw: Path, tmp_path: Path) -> None:
    """The references' own masks as predictions: everything is right, whether named by path or by class id."""
    copy = tmp_path / "colours"
    for path in endovis_raw.glob("seq_*/labels/*.png"):
        target = copy / path.relative_to(endovis_raw)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    result = evaluate(copy, endovis_raw, out=tmp_path / "report", options=EvaluateOptions(protocol="endovis-2018"))
    for metric in ("challenge_iou", "isi_iou", "mc_iou", "cumulative_iou"):
        assert result.summary.number(metric).value == 1
    assert result.summary.cases == 9
    assert not result.summary.models[0].missing


def test_models_are_compared_on_the_same_cases(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, raw = folders
    worse = tmp_path / "worse"
    shutil.copytree(predictions, worse)
    put(worse / "volume-1.nii", np.zeros((10, 10, 4)))
    result = evaluate(predictions, raw, out=tmp_path / "report", options=EvaluateOptions(compare=[worse]))
    summary = result.summary
    assert [model.name for model in summary.models] == ["predictions", "worse"]
    assert summary.number("dice", "liver").value == pytest.approx((100 / 110 + 1) / 2)
    assert summary.number("dice", "liver", "worse").value == pytest.approx(50 / 110)
    row = next(d for d in summary.comparison if (d.metric, d.structure) == ("dice", "liver"))
    assert (row.first, row.second, row.groups) == ("predictions", "worse", 2)
    assert row.difference == pytest.approx(0.5)
    assert (row.p, row.verdict) == (None, "too few pairs")
    assert "worse" in result.report.read_text()
    with pytest.raises(CaseUNetError, match="is given twice; a model cannot be compared with itself"):
        evaluate(predictions, raw, out=tmp_path / "again", options=EvaluateOptions(compare=[predictions]))
    namesake = tmp_path / "other" / "predictions"
    shutil.copytree(predictions, namesake)
    names = [
        m.name
        for m in evaluate(
            predictions, raw, out=tmp_path / "names", options=EvaluateOptions(compare=[namesake])
        ).summary.models
    ]
    assert names == [f"{tmp_path.name}/predictions", "other/predictions"]


def test_scored_slices_keep_their_distance(tmp_path: Path) -> None:
    """Slices 0 and 3 of five are scored: a voxel in the one and a voxel in the other are 15 mm apart, not 5."""
    reference, prediction = np.zeros((2, 5, 4, 4), np.uint8)
    reference[0, 0, 0] = prediction[3, 0, 0] = 1
    reference[2] = 1  # not scored
    geometry = Geometry((4, 4, 5), np.diag([-1.0, -1.0, 5.0, 1.0]), (5.0, 1.0, 1.0))
    pair = Pair(
        *("m", "c", "g", lambda: Reference(reference, geometry, geometry), lambda _: Predicted(prediction)),
        ranges=((0, 1), (3, 4)),
    )
    rows = score(pair, PROTOCOLS.get("volumes")(Options()), CODING.label_map, True).rows
    liver, background = rows[0], rows[-1]
    assert (liver["hd95"], liver["reference_pixels"], liver["prediction_pixels"]) == (15.0, 1, 1)
    assert background["reference_pixels"] == 2 * 16 - 1
