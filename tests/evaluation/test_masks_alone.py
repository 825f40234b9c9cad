"""Two sets of masks and nothing else: the commonest use. Scores are held to NumPy's, counted here voxel by voxel."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel import orientations
from PIL import Image

from caseunet.commands.evaluate import Evaluation, evaluate
from caseunet.commands.report import case_study
from caseunet.datasets.coding import coding_of
from caseunet.datasets.generate.series import series
from caseunet.errors import CaseUNetError
from caseunet.io import dicom, images
from caseunet.io.dicom_seg import Algorithm, write_segmentation
from caseunet.options import EvaluateOptions

AFFINE = np.diag([-2.0, -1.0, 5.0, 1.0])
NAMES = ("background", "liver", "spleen", "tumour")


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction, (X, Y, Z): three boxes, and the same a little elsewhere."""
    rng = np.random.default_rng(seed)
    reference = np.zeros((24, 20, 6), np.uint8)
    for value, (x, y) in enumerate(((1, 1), (12, 2), (4, 12)), 1):
        reference[x : x + 7, y : y + int(rng.integers(4, 7)), 1:5] = value
    return reference, np.roll(reference, (1, int(rng.integers(0, 2)), 0), (0, 1, 2))


def dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    return float(2 * (reference & prediction).sum() / (reference.sum() + prediction.sum()))


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def save_names(path: Path, *names: str, lesions: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    classes = [{"name": name, "classid": number} for number, name in enumerate(names)]
    path.write_text(json.dumps(classes if lesions is None else {"classes": classes, "lesions": lesions}))
    return path


def save_series(folder: Path, shape: tuple[int, ...], patient: str) -> list[Path]:
    """The slices of a scan of nothing, of (slices, rows, columns)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(series(np.zeros(shape[::-1], np.int16), AFFINE, patient, entropy=patient)):
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


CASES = {f"case_{n:04}": scan(n) for n in (1, 2, 3)}
EXPECTED = {
    name: float(np.mean([dice(r == number, p == number) for r, p in CASES.values()]))
    for number, name in enumerate(NAMES)
    if number
}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    for name, (reference, _) in CASES.items():
        save(tmp_path / "references" / f"{name}.nii.gz", reference)
    return tmp_path / "references"


def save_predictions(folder: Path, spell: str = "{}.nii.gz") -> Path:
    for name, (_, prediction) in CASES.items():
        save(folder / spell.format(name), prediction)
    return folder


def scores(found: Evaluation, names: tuple[str, ...] = NAMES[1:]) -> dict[str, float | None]:
    return {name: found.summary.number("dice", name).value for name in names}


@pytest.mark.parametrize(
    "spell",
    ["{}.nii.gz", "{}_pred.nii.gz", "out/{}_seg.nii", "segmentation-{}.nii", "{}_0000.nii.gz", "{}_Mask.nii"],
)
def test_two_folders_of_masks(references: Path, tmp_path: Path, spell: str) -> None:
    predictions = save_predictions(tmp_path / "theirs", spell)
    found = evaluate(predictions, references, out=tmp_path / "report")
    assert list(scores(found, ("class 1", "class 2", "class 3")).values()) == pytest.approx(list(EXPECTED.values()))
    assert (found.summary.protocol, found.summary.cases) == ("volumes", 3)
    assert not found.summary.models[0].extra
    assert found.summary.number("hd95", "class 1").measure.unit == "mm"


def test_a_named_class_is_never_another(references: Path, tmp_path: Path) -> None:
    """The same numbers for other classes: read by number, every score would be 0."""
    save_names(references / "labels.json", *NAMES)
    swapped = np.array([0, 3, 1, 2], np.uint8)
    for name, (_, prediction) in CASES.items():
        save(tmp_path / "theirs" / f"{name}.nii.gz", swapped[prediction])
    save_names(tmp_path / "theirs" / "labels.json", "background", "Spleen", "TUMOUR", "liver")
    found = evaluate(tmp_path / "theirs", references, out=tmp_path / "report")
    assert scores(found) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("shades", [(127, 255), ((255, 0, 0), (0, 255, 0))])
def test_colors_of_predictions_tell_classes(shades: tuple[object, object], tmp_path: Path) -> None:
    """Colours, or shades of grey, that their labels.json gives by the names of the classes."""
    ids = np.zeros((20, 30), np.uint8)
    ids[2:9, 3:9], ids[12:18, 10:20] = 1, 2
    colors = np.array([np.broadcast_to(shade, 3) for shade in (0, *shades)], np.uint8)[ids]
    for folder, pixels in (("true", ids), ("theirs", colors if np.ndim(shades[0]) else colors[..., 0])):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    save_names(tmp_path / "true" / "labels.json", "background", "liver", "tumour")
    named = {name: {"id": i, "color": np.broadcast_to(shade, 3).tolist()}
             for i, (name, shade) in enumerate(zip(("liver", "tumour"), shades, strict=True), 1)}  # fmt: skip
    (tmp_path / "theirs" / "labels.json").write_text(json.dumps(named))
    found = evaluate(tmp_path / "theirs", tmp_path / "true", out=tmp_path / "report")
    assert scores(found, ("liver", "tumour")) == {"liver": 1, "tumour": 1}


@pytest.mark.parametrize("beside", ["dataset.json", "labels.json"])
@pytest.mark.parametrize("side", ["prediction", "both"])
def test_a_dataset_json_names_values(references: Path, tmp_path: Path, beside: str, side: str) -> None:
    """As nnU-Net writes it beside its predictions: the order of its classes is its own."""
    own = {"background": 0, "tumour": 1, "liver": 2, "spleen": 3}
    for name, (_, prediction) in CASES.items():
        save(tmp_path / "theirs" / f"{name}.nii.gz", np.array([0, 2, 3, 1], np.uint8)[prediction])
    content = {"channel_names": {"0": "CT"}, "labels": own, "numTraining": 3, "file_ending": ".nii.gz"}
    (tmp_path / "theirs" / beside).write_text(json.dumps(content))
    if side == "both":
        labels = {name: number for number, name in enumerate(NAMES)}
        (references / beside).write_text(json.dumps(content | {"labels": labels}))
    else:
        save_names(references / "labels.json", *NAMES)
    assert scores(evaluate(tmp_path / "theirs", references, out=tmp_path / "report")) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_names_in_headers_tell_values(references: Path, tmp_path: Path, side: str) -> None:
    """As TotalSegmentator writes them; the other side has the same classes under other values and a labels.json."""
    table = "".join(f'<Label Key="{n}" Red="1"><![CDATA[{name}]]></Label>\n' for n, name in enumerate(NAMES) if n)
    xml = f"<CaretExtension><VolumeInformation><LabelTable>{table}</LabelTable></VolumeInformation></CaretExtension>"
    other = np.array([0, 3, 1, 2], np.uint8)
    for name, pair in CASES.items():
        for what, mask in zip(("reference", "prediction"), pair, strict=True):
            save(tmp_path / what / f"{name}.nii.gz", mask if what == side else other[mask])
            if what == side:
                image = nib.Nifti1Image(mask, AFFINE)
                image.header.extensions.append(nib.nifti1.Nifti1Extension(0, xml.encode()))
                nib.save(image, tmp_path / what / f"{name}.nii.gz")
            else:
                save_names(tmp_path / what / "labels.json", "background", "Spleen", "tumour", "liver")
    found = evaluate(tmp_path / "prediction", tmp_path / "reference", out=tmp_path / "report")
    assert {name.lower(): value for name, value in scores(found, tuple(found.summary.structures)).items()} == (
        pytest.approx(EXPECTED)
    )
    assert found.summary.notes == ()


def test_unnamed_predictions_are_remarked_on(references: Path, tmp_path: Path) -> None:
    save_names(references / "labels.json", *NAMES)
    found = evaluate(save_predictions(tmp_path / "theirs"), references, out=tmp_path / "report")
    assert scores(found) == pytest.approx(EXPECTED)
    (note,) = found.summary.notes
    assert note.startswith("The predictions of theirs do not name their classes: their values were taken for those of")
    assert "(1 liver, 2 spleen, 3 tumour)" in note


def test_regions_of_a_dataset_json(references: Path, tmp_path: Path) -> None:
    labels = {"background": 0, "liver": [1, 3], "tumour": [3], "spleen": 2}
    for folder in (references, save_predictions(tmp_path / "theirs")):
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    whole = np.mean([dice((r == 1) | (r == 3), (p == 1) | (p == 3)) for r, p in CASES.values()])
    found = evaluate(tmp_path / "theirs", references, out=tmp_path / "report")
    assert scores(found) == pytest.approx({**EXPECTED, "liver": whole})


def test_shared_classes_are_scored_and_others_named(
    references: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    """The predictions lack the spleen and have a heart, which lies where the references have background."""
    labels = save_names(tmp_path / "labels.json", *NAMES)
    for name, (_, prediction) in CASES.items():
        own = np.array([0, 1, 0, 2], np.uint8)[prediction]
        own[-3:, -3:] = 3
        save(tmp_path / "theirs" / f"{name}.nii.gz", own)
    save_names(tmp_path / "theirs" / "labels.json", "background", "liver", "tumour", "heart")
    given = tmp_path / "theirs", references, "--labels", labels, "--out", tmp_path / "report"
    status, out, err = cli("evaluate", *given)
    assert (status, err) == (0, "")
    assert "only in the references, not scored: spleen" in out
    assert "only in the predictions, not scored: heart" in out
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    found = {n["structure"]: n["value"] for n in summary["numbers"] if n["metric"] == "dice" and n["structure"]}
    assert found == pytest.approx({name: EXPECTED[name] for name in ("liver", "tumour")})
    assert (summary["only_reference"], summary["models"][0]["only_prediction"]) == (["spleen"], ["heart"])
    html = (tmp_path / "report" / "report.html").read_text()
    assert "Only in the references, not scored:" in html


def test_without_shared_class_both_lists_are_told(references: Path, tmp_path: Path) -> None:
    save_names(references / "labels.json", *NAMES)
    predictions = save_predictions(tmp_path / "theirs")
    save_names(predictions / "labels.json", "background", "a", "b", "c")
    with pytest.raises(CaseUNetError, match="structures are liver, spleen, tumour; theirs has a, b, c. None is shared"):
        evaluate(predictions, references, out=tmp_path / "report")


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_for_each_structure(references: Path, tmp_path: Path, zipped: bool) -> None:
    """A folder for each case, on one side: a liver that its tumours lie in is one on both sides."""
    labels = save_names(tmp_path / "labels.json", *NAMES)
    for name, (_, prediction) in CASES.items():
        for value, structure in enumerate(NAMES[1:], 1):
            inside = (prediction == value) | ((structure == "liver") & (prediction == 3))
            save(tmp_path / "theirs" / name / f"{structure.title()}.nii.gz", inside.astype(np.uint8) * 255)
        save(tmp_path / "theirs" / name / "ct.nii.gz", np.full(prediction.shape, 40, np.int16))
    predictions = tmp_path / "theirs"
    if zipped:
        predictions = Path(shutil.make_archive(str(tmp_path / "theirs"), "zip", tmp_path, "theirs"))
    found = evaluate(predictions, references, out=tmp_path / "report", options=EvaluateOptions(labels=labels))
    whole = np.mean([dice((r == 1) | (r == 3), (p == 1) | (p == 3)) for r, p in CASES.values()])
    assert scores(found) == pytest.approx({**EXPECTED, "liver": whole})
    told = '"liver" of the references was taken together with tumour'
    assert any(told in note for note in found.summary.notes)
    if zipped:
        assert str(tmp_path / "theirs.zip") in found.summary.models[0].folder
        assert case_study(tmp_path / "report", out=tmp_path / "study.png", cases=[], fill=True) == 3


@pytest.mark.parametrize("kind", ["files", "segments"])
@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_spellings_of_a_name_are_one_structure(tmp_path: Path, side: str, kind: str) -> None:
    """One side spells its structures in another way in each case: read apart, most scores would be 0."""
    spelt = {"left_kidney": ("left_kidney", "Left Kidney", "LEFT-kidney"), "spleen": ("spleen", "Spleen", "SPLEEN")}
    for n, (name, pair) in enumerate(CASES.items()):
        for what, mask in zip(("reference", "prediction"), pair, strict=True):
            names = [spellings[n if what == side else 0] for spellings in spelt.values()]
            if kind == "files":
                for value, structure in enumerate(names, 1):
                    save(tmp_path / what / name / f"{structure}.nii.gz", (mask == value).astype(np.uint8))
                continue
            ids = np.where(mask == 3, 0, mask).T[:, ::-1, ::-1]
            sources = save_series(tmp_path / "series" / name, ids.shape, name)
            (tmp_path / what).mkdir(exist_ok=True)
            write_segmentation(
                tmp_path / what / f"{name}.dcm",
                np.ascontiguousarray(ids),
                dicom.read_series_geometry(sources),
                sources,
                coding_of(dict(enumerate(("background", *names)))).label_map,
                Algorithm("a", "1", "2"),
            )
    found = evaluate(tmp_path / "prediction", tmp_path / "reference", out=tmp_path / "report")
    expected = {"left_kidney": EXPECTED["liver"], "spleen": EXPECTED["spleen"]}
    assert scores(found, ("left_kidney", "spleen")) == pytest.approx(expected)
    model = found.summary.models[0]
    assert (found.summary.only_reference, model.only_prediction, model.remarks) == ((), (), ())


def test_numbers_against_names_are_asked_about(references: Path, tmp_path: Path) -> None:
    for name, (reference, _) in CASES.items():
        for value, structure in enumerate(NAMES[1:], 1):
            save(tmp_path / "true" / name / f"{structure}.nii.gz", (reference == value).astype(np.uint8))
    predictions = save_predictions(tmp_path / "theirs")
    with pytest.raises(CaseUNetError, match="Say which number is which in a labels.json"):
        evaluate(predictions, tmp_path / "true", out=tmp_path / "report")
    labels = save_names(tmp_path / "labels.json", *NAMES)
    assert scores(
        evaluate(predictions, tmp_path / "true", out=tmp_path / "report", options=EvaluateOptions(labels=labels))
    ) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("zipped", [False, True])
def test_references_in_a_zip_or_alone(references: Path, tmp_path: Path, zipped: bool) -> None:
    if zipped:
        shutil.make_archive(str(references), "zip", tmp_path, "references")
        shutil.rmtree(references)
        found = evaluate(save_predictions(tmp_path / "theirs"), tmp_path / "references.zip", out=tmp_path / "report")
        assert found.summary.cases == 3
        assert "caseunet-" not in (tmp_path / "report" / "report.html").read_text(), "a temporary folder's name"
        return
    save(tmp_path / "anything.nii.gz", CASES["case_0001"][1])
    found = evaluate(tmp_path / "anything.nii.gz", references / "case_0001.nii.gz", out=tmp_path / "report")
    assert found.summary.number("dice", "class 1").value == dice(*(mask == 1 for mask in CASES["case_0001"]))


@pytest.mark.parametrize(("true", "predicted"), [(255, 1), (1, 255)])
def test_one_class_by_any_value(tmp_path: Path, true: int, predicted: int) -> None:
    for name, (reference, prediction) in CASES.items():
        for folder, mask, value in (("true", reference, true), ("theirs", prediction, predicted)):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = (mask[:, :, 2] == 1).astype(np.uint8) * value
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    found = evaluate(tmp_path / "theirs", tmp_path / "true", out=tmp_path / "report")
    expected = np.mean([dice(*(mask[:, :, 2] == 1 for mask in pair)) for pair in CASES.values()])
    assert found.summary.number("dice", "foreground").value == pytest.approx(expected)
    assert len(found.summary.models[0].remarks) == 3
    assert found.summary.protocol == "slices"


def test_white_is_the_class_beside_unjudged_pixels(tmp_path: Path) -> None:
    """One reference has a strip of 255 where nobody looked, and predictions write their only class as 255."""
    names = {"background": 0, "foreground": 1, "ignore": 255}
    labels = [{"name": name, "classid": value} for name, value in names.items()]
    expected = []
    for n, (name, (reference, prediction)) in enumerate(CASES.items()):
        true, found = ((mask[:, :, 2] == 1).astype(np.uint8) for mask in (reference, prediction))
        true[: 4 if n == 0 else 0] = 255
        judged = true != 255
        expected.append(dice(true[judged] == 1, found[judged] == 1))
        for folder, pixels in (("true", true), ("theirs", found * 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "true" / "labels.json").write_text(json.dumps(labels))
    found = evaluate(tmp_path / "theirs", tmp_path / "true", out=tmp_path / "report")
    assert found.summary.number("dice", "foreground").value == pytest.approx(np.mean(expected))
    assert "It holds 255 alone" in str(found.summary.models[0].remarks)


def test_a_value_that_references_have_not(references: Path, tmp_path: Path) -> None:
    """References of 1 and 3; the 2 of a prediction is neither, though it would be the second class's id."""
    for name, (reference, prediction) in CASES.items():
        save(references / f"{name}.nii.gz", np.where(reference == 2, 0, reference))
        own = np.where(prediction == 3, 0, prediction) if name == "case_0001" else prediction
        save(tmp_path / "theirs" / f"{name}.nii.gz", own)
    found = evaluate(tmp_path / "theirs", references, out=tmp_path / "report")
    assert found.summary.number("dice", "class 1").value == pytest.approx(EXPECTED["liver"])
    per_case = [dice(r == 3, p == 3) for r, p in list(CASES.values())[1:]]
    assert found.summary.number("dice", "class 3").value == pytest.approx(sum(per_case) / 3), "a missed one counts 0"
    assert "of values that the references have not (2) count as background" in found.summary.models[0].remarks[0].text


def test_two_files_of_one_case_are_an_error(references: Path, tmp_path: Path) -> None:
    predictions = save_predictions(tmp_path / "theirs")
    save(predictions / "case_0001_pred.nii.gz", CASES["case_0001"][1])
    with pytest.raises(CaseUNetError, match="both are named as predictions of case_0001. Keep one"):
        evaluate(predictions, references, out=tmp_path / "report")


def test_turned_and_misplaced_predictions(references: Path, tmp_path: Path) -> None:
    """Turned axes are compared in the patient; what lies elsewhere counts as empty and is named."""
    for number, (name, (_, prediction)) in enumerate(CASES.items()):
        image = nib.Nifti1Image(prediction, AFFINE)
        if number == 0:
            turn = orientations.ornt_transform(nib.io_orientation(AFFINE), orientations.axcodes2ornt("PIR"))
            image = image.as_reoriented(turn)
        if number == 1:
            image = nib.Nifti1Image(prediction[:-1], AFFINE)
        (tmp_path / "theirs").mkdir(exist_ok=True)
        nib.save(image, tmp_path / "theirs" / f"{name}.nii.gz")
    found = evaluate(tmp_path / "theirs", references, out=tmp_path / "report")
    per_case = [dice(*(mask == 1 for mask in pair)) for pair in CASES.values()]
    assert found.summary.number("dice", "class 1").value == pytest.approx((per_case[0] + per_case[2]) / 3)
    (model,) = found.summary.models
    assert [r.case for r in model.unusable] == ["case_0002"]
    assert "compared in the patient's space" in model.remarks[0].text


@pytest.mark.parametrize("side", ["prediction", "reference", "both"])
def test_dicom_segmentations(tmp_path: Path, side: str) -> None:
    """Segments by their labels, whatever their numbers; slices without a segment are not left out of the score."""
    shape = (6, 20, 24)
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    reference[2:4, 5:12, 5:12], prediction[1:3, 5:12, 6:13] = 1, 1
    reference[3, 15:18, 2:6], prediction[3, 14:18, 2:6] = 2, 2
    prediction[0, :2, :2] = 1  # beyond the slices that the reference's object holds
    sources = save_series(tmp_path / "series", shape, "P1")
    geometry = dicom.read_series_geometry(sources)
    numbered = {"reference": ("liver", "tumour"), "prediction": ("tumour", "liver")}
    for what, ids in (("reference", reference), ("prediction", prediction)):
        folder = tmp_path / what
        folder.mkdir()
        if side in (what, "both"):
            names = numbered[what]
            own = ids if what == "reference" else np.array([0, 2, 1], np.uint8)[ids]
            label_map = coding_of(dict(enumerate(("background", *names)))).label_map
            write_segmentation(folder / "p1.dcm", own, geometry, sources, label_map, Algorithm("a", "1", "2"))
        else:
            images.write_mask_file(folder / "p1.nii.gz", ids, geometry, [(0, 0, 0)] * 3)
            save_names(folder / "labels.json", "background", "liver", "tumour")
    found = evaluate(tmp_path / "prediction", tmp_path / "reference", out=tmp_path / "report")
    expected = {name: dice(reference == n, prediction == n) for n, name in ((1, "liver"), (2, "tumour"))}
    assert scores(found, ("liver", "tumour")) == pytest.approx(expected)


@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_slicer_segmentations(tmp_path: Path, side: str) -> None:
    """Cropped to its segments, whose names count and not their values, beside a whole volume."""
    shape = (6, 20, 24)
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    reference[2:4, 5:12, 5:12], prediction[1:3, 5:12, 6:13] = 1, 1
    reference[3, 15:18, 2:6], prediction[3, 14:18, 2:6] = 2, 2
    for what, ids in (("reference", reference), ("prediction", prediction)):
        (tmp_path / what).mkdir()
        start, crop = (0, 0, 0), ids
        if what == side:
            start, crop = (1, 2, 1), np.array([0, 2, 1], np.uint8)[ids[1:5, 2:19, 1:15]]
        image = SimpleITK.GetImageFromArray(crop)
        image.SetSpacing((1.0, 2.0, 5.0))
        image.SetOrigin([step * index for step, index in zip((1.0, 2.0, 5.0), start, strict=True)])
        if what == side:
            for number, name in enumerate(("Tumour", "Liver")):
                image.SetMetaData(f"Segment{number}_Name", name)
                image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        else:
            save_names(tmp_path / what / "labels.json", "background", "liver", "tumour")
        SimpleITK.WriteImage(image, tmp_path / what / ("p1.seg.nrrd" if what == side else "p1.nrrd"))
    found = evaluate(tmp_path / "prediction", tmp_path / "reference", out=tmp_path / "report")
    expected = [dice(reference == n, prediction == n) for n in (1, 2)]
    measured = {n.structure.casefold(): n.value for n in found.summary.numbers if n.metric == "dice" and n.structure}
    assert [measured["liver"], measured["tumour"]] == pytest.approx(expected)


def test_unjudged_pixels_stay_unjudged(references: Path, tmp_path: Path) -> None:
    """255 where nobody looked, though classes are given other numbers: what is predicted there counts for nothing."""
    labels = save_names(tmp_path / "labels.json", *NAMES)
    content = [*json.loads(labels.read_text()), {"name": "ignore", "classid": 255}]
    labels.write_text(json.dumps(content))
    for name, (reference, prediction) in CASES.items():
        unjudged = np.where(np.arange(24)[:, None, None] < 4, 255, reference).astype(np.uint8)
        save(references / f"{name}.nii.gz", unjudged)
        save(tmp_path / "theirs" / f"{name}.nii.gz", np.array([0, 2, 1, 3], np.uint8)[prediction])
    save_names(tmp_path / "theirs" / "labels.json", "background", "spleen", "liver", "heart")
    found = evaluate(tmp_path / "theirs", references, out=tmp_path / "report", options=EvaluateOptions(labels=labels))
    expected = np.mean([dice(r[4:] == 1, p[4:] == 1) for r, p in CASES.values()])
    assert found.summary.number("dice", "liver").value == pytest.approx(expected)


def test_lesions_are_those_that_are_told_or_named(references: Path, tmp_path: Path) -> None:
    """By name the tumour; what labels.json tells instead; what the command tells before it."""
    predictions = save_predictions(tmp_path / "theirs")

    def counted(number: int, **options: object) -> list[str]:
        found = evaluate(predictions, references, out=tmp_path / f"report-{number}", options=EvaluateOptions(**options))  # type: ignore[arg-type]
        return [n.structure or "all" for n in found.summary.numbers if n.metric == "lesion_f1"]

    save_names(references / "labels.json", *NAMES)
    assert counted(0) == ["tumour"]
    save_names(references / "labels.json", *NAMES, lesions=["Spleen"])
    assert counted(1) == ["spleen"]
    assert counted(2, lesions=["liver", "tumour"]) == ["liver", "tumour"]
    with pytest.raises(CaseUNetError, match='no structure "tumor" to be called a lesion. Did you mean "tumour"'):
        counted(3, lesions=["tumor"])
    save_names(references / "labels.json", "background", "liver", "spleen", "heart")
    found = evaluate(predictions, references, out=tmp_path / "organs")
    assert not [column for column in found.cases if "lesion" in column], "no columns where nothing is a lesion"
    assert not (tmp_path / "organs" / "lesions.csv").exists()


def test_sixty_classes(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    """A row for each, and no warning."""
    rng = np.random.default_rng(0)
    names = ["background", *(f"structure {n}" for n in range(1, 61))]
    for case in range(2):
        ids = np.zeros((40, 40, 3), np.uint8)
        ids[:30, :40] = np.repeat(np.arange(1, 61).reshape(6, 10), 5, 0).repeat(4, 1)[..., None]
        save(tmp_path / "true" / f"{case}.nii.gz", ids)
        save(tmp_path / "theirs" / f"{case}.nii.gz", np.where(rng.random(ids.shape) < 0.1, 0, ids).astype(np.uint8))
    save_names(tmp_path / "true" / "labels.json", *names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, out, err = cli("evaluate", tmp_path / "theirs", tmp_path / "true", "--out", tmp_path / "report")
    assert (status, err) == (0, "")
    assert [sum(line.startswith(f"{name} ") for line in out.splitlines()) for name in names[1:]] == [1] * 60


def test_real_masks_agree_with_monai(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Hippocampi, as folders of masks of which one is shifted."""
    import torch
    from monai.metrics import DiceMetric

    monai = DiceMetric(include_background=False, num_classes=3)
    for path in sorted(real_data("hippocampus/labelsTr").glob("*.nii.gz"))[:4]:
        image = nib.load(path)
        ids = np.asarray(image.dataobj).astype(np.uint8)
        save(tmp_path / "true" / path.name, ids, image.affine)
        save(tmp_path / "theirs" / path.name.replace(".nii", "_seg.nii"), np.roll(ids, 2, 0), image.affine)
        monai(torch.from_numpy(np.roll(ids, 2, 0))[None, None], torch.from_numpy(ids)[None, None])
    found = evaluate(tmp_path / "theirs", tmp_path / "true", out=tmp_path / "report")
    expected = monai.aggregate("mean_batch").tolist()
    assert list(scores(found, ("class 1", "class 2")).values()) == pytest.approx(expected, rel=1e-6)


def test_what_is_remarkable_of_a_reference(tmp_path: Path) -> None:
    """Axes that are not orthogonal are told of references as of predictions."""
    reference, prediction = CASES["case_0001"]
    sheared = AFFINE.copy()
    sheared[0, 2] = 2.0
    save(tmp_path / "truth" / "a.nii.gz", reference, sheared)
    save(tmp_path / "found" / "a.nii.gz", prediction, sheared)
    found = evaluate(tmp_path / "found", tmp_path / "truth", out=tmp_path / "report")
    (remark,) = found.summary.models[0].remarks
    assert "reference: its axes are not orthogonal" in remark.text


@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_structures_of_one_scan_are_no_patients(shift: float, tmp_path: Path) -> None:
    """A file each on one grid may be organs of one patient; on grids of their own they are cases."""
    for number in range(3):
        affine = AFFINE.copy()
        affine[0, 3] = 10 + number * shift
        reference, prediction = (array == number + 1 for array in CASES["case_0001"])
        save(tmp_path / "truth" / f"organ{number}.nii.gz", reference.astype(np.uint8), affine)
        save(tmp_path / "found" / f"organ{number}.nii.gz", prediction.astype(np.uint8), affine)
    found = evaluate(tmp_path / "found", tmp_path / "truth", out=tmp_path / "report")
    assert any("lie on one grid" in note for note in found.summary.notes) == (shift == 0)


@pytest.mark.parametrize(
    ("names", "cases", "structures"),
    [
        (("case0", "case1"), 4, ["foreground"]),
        (("visit_1", "visit_2"), 4, ["foreground"]),
        (("1", "2"), 4, ["foreground"]),
        (("liver", "spleen"), 2, ["liver", "spleen"]),
        (("rib_left_1", "rib_left_2"), 2, ["rib_left_1", "rib_left_2"]),
    ],
)
def test_folders_of_cases_or_of_structures(
    names: tuple[str, str], cases: int, structures: list[str], tmp_path: Path
) -> None:
    """A folder for each hospital or patient holds cases; a folder for each case holds its structures, which is told."""
    for folder in ("centre_a", "centre_b"):
        for value, name in enumerate(names, 1):
            for side, array in zip(("truth", "found"), CASES["case_0001"], strict=True):
                save(tmp_path / side / folder / f"{name}.nii.gz", (array == value).astype(np.uint8))
    found = evaluate(tmp_path / "found", tmp_path / "truth", out=tmp_path / "report")
    assert found.summary.cases == cases
    assert list(found.summary.structures) == structures
    assert any("files for structures" in note for note in found.summary.notes) == (cases == 2)


@pytest.fixture
def colored(tmp_path: Path) -> Path:
    """As CVAT exports: both sides name their colours in labelmap.txt, the other way round, and draw objects too."""
    polyp, tool = (250, 50, 83), (51, 221, 255)
    for side, colors, shift in (("truth", (polyp, tool), 0), ("found", (tool, polyp), 4)):
        folder = tmp_path / side
        (folder / "SegmentationClass").mkdir(parents=True)
        (folder / "SegmentationObject").mkdir()
        lines = [f"{name}:{','.join(map(str, c))}::" for name, c in zip(("polyp", "tool"), colors, strict=True)]
        (folder / "labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\nbackground:0,0,0::"
        )
        drawn = np.zeros((60, 80, 3), np.uint8)
        drawn[10 + shift : 30 + shift, 10:40], drawn[35 : 50 + shift, 40:70] = colors
        for name in ("a", "b"):
            Image.fromarray(drawn).save(folder / "SegmentationClass" / f"{name}.png")
            Image.fromarray(drawn // 2).save(folder / "SegmentationObject" / f"{name}.png")
    return tmp_path


def test_colours_are_named_by_labelmap(colored: Path) -> None:
    found = evaluate(colored / "found", colored / "truth", out=colored / "report")
    assert found.summary.cases == 2
    assert scores(found, ("polyp", "tool")) == {"polyp": pytest.approx(0.8), "tool": pytest.approx(30 / 34)}


def test_masks_of_unread_kinds_are_named(colored: Path) -> None:
    Image.new("L", (80, 60)).save(colored / "truth" / "SegmentationClass" / "c.webp", lossless=True)
    found = evaluate(colored / "found", colored / "truth", out=colored / "report")
    assert any("c.webp" in note and "not read" in note for note in found.summary.notes)


def test_sessions_are_of_one_subject(tmp_path: Path) -> None:
    for number in range(6):
        reference, prediction = CASES["case_0001"]
        name = f"sub-0{number // 2}/ses-{number % 2}/mask.nii.gz"
        save(tmp_path / "truth" / name, reference)
        save(tmp_path / "found" / name, prediction)
    found = evaluate(tmp_path / "found", tmp_path / "truth", out=tmp_path / "report")
    assert set(found.cases["group"]) == {"sub-00", "sub-01", "sub-02"}
    assert found.summary.cases == 6


@pytest.mark.parametrize("side", ["pred", "ref"])
def test_two_files_of_a_name_are_refused(side: str, tmp_path: Path) -> None:
    """An old result beside the new one: which of them counted was chance."""
    for n in range(2):
        for part, mask in zip(("ref", "pred"), scan(n), strict=True):
            save(tmp_path / part / f"k{n}.nii.gz", mask)
    SimpleITK.WriteImage(SimpleITK.ReadImage(tmp_path / side / "k0.nii.gz") * 0, tmp_path / side / "k0.nrrd")
    with pytest.raises(CaseUNetError, match=r"k0.nii.gz and .*k0.nrrd: are two masks of one name. Keep one."):
        evaluate(tmp_path / "pred", tmp_path / "ref", out=tmp_path / "report")


def test_two_files_of_a_structure_are_refused(tmp_path: Path) -> None:
    for part, mask in zip(("ref", "pred"), scan(0), strict=True):
        for value, name in enumerate(NAMES[1:], 1):
            save(tmp_path / part / "c0" / f"{name}.nii.gz", (mask == value).astype(np.uint8))
            save(tmp_path / part / "c1" / f"{name}.nii.gz", (mask == value).astype(np.uint8))
    shutil.copyfile(tmp_path / "pred" / "c0" / "liver.nii.gz", tmp_path / "pred" / "c0" / "liver.seg.nii.gz")
    with pytest.raises(CaseUNetError, match="are two masks of one name"):
        evaluate(tmp_path / "pred", tmp_path / "ref", out=tmp_path / "report")


def test_accents_are_spelt_in_two_ways(tmp_path: Path) -> None:
    for part, mask, form in zip(("ref", "pred"), scan(0), ("NFC", "NFD"), strict=True):
        for n in range(2):
            save(tmp_path / part / f"{normalize(form, 'Müller')}_{n}.nii.gz", mask)
    found = evaluate(tmp_path / "pred", tmp_path / "ref", out=tmp_path / "report")
    assert len(set(found.cases["case"])) == 2


def test_a_lost_place_is_told(tmp_path: Path) -> None:
    """The prediction states no place, so it does not lie in the patient's space."""
    reference, prediction = scan(0)
    save(tmp_path / "ref" / "k0.nii.gz", reference)
    save(tmp_path / "pred" / "k0.nii.gz", prediction, np.eye(4))
    found = evaluate(tmp_path / "pred", tmp_path / "ref", out=tmp_path / "report")
    told = (tmp_path / "report" / "report.html").read_text()
    assert "it was laid on its image, index on index" in told
    assert "compared in the patient" not in told
    assert found is not None
