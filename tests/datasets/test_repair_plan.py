"""A plan is tried before it is proposed, and does no harm."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import yaml
from PIL import Image

from caseunet.commands.audit import audit
from caseunet.commands.convert import convert
from caseunet.commands.evaluate import evaluate
from caseunet.commands.prepare import prepare
from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.generate import write_dicom, write_folder, write_lits, write_msd
from caseunet.datasets.repair import read_plan
from caseunet.errors import CaseUNetError
from caseunet.io.dicom import read_header

SHAPE = (8, 40, 44)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four made-up patients as images/ and masks/, all axes running L, P, S; the liver is bright."""
    write_lits(tmp_path / "lits", patients=4, shape=SHAPE)
    for kind, folder in (("volume", "images"), ("segmentation", "masks")):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for path in (tmp_path / "lits").rglob(f"{kind}-*.nii*"):
            image = nib.load(path)
            turned = nib.as_closest_canonical(image).as_reoriented(nib.orientations.axcodes2ornt("LPS"))
            name = f"p{path.name.split('-')[1].split('.')[0]}.nii.gz"
            nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), tmp_path / "raw" / folder / name)
    return tmp_path / "raw"


def edit(path: Path, array: Callable[[np.ndarray], np.ndarray], affine: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nib.load(path, mmap=False)
    nib.save(nib.Nifti1Image(array(np.asarray(image.dataobj)), affine(image.affine)), path)


def test_a_case_that_stands_twice_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "twice.yaml"
    plan.write_text("layout: folder\ncases:\n  s0: {why: x, drop: true}\n  '*': {why: x}\n  s0: {why: y}\n")
    with pytest.raises(CaseUNetError, match=r'twice.yaml: .* repair plan: "s0" stands twice, in lines 3 and 5'):
        read_plan(plan)


def same(value: np.ndarray) -> np.ndarray:
    return value


def plan_for(raw: Path, tmp_path: Path) -> tuple[str, dict[str, object]]:
    path = tmp_path / "plan.yaml"
    audit(raw, out=tmp_path / "audit", config=PrepareConfig(workers=0), repair=path, mode="overwrite")
    return path.read_text(), yaml.safe_load(path.read_text())["cases"] or {}


def mirrored(affine: np.ndarray) -> np.ndarray:
    """The first axis the other way round, from the same corner: as a program writes that mixes up RAS and LPS."""
    return affine @ np.diag([-1, 1, 1, 1])


def test_masks_of_other_axes_are_asked_about(raw: Path, tmp_path: Path) -> None:
    """All masks say R where the images say L: by axes they would be mirrored, index on index they fit. The means under
    the labels tell which."""
    for path in (raw / "masks").iterdir():
        edit(path, same, mirrored)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert text.count("affine: image}") == text.count("affine: index}") == 4
    image = np.asarray(nib.load(raw / "images" / "p0.nii.gz").dataobj)
    ids = np.asarray(nib.load(raw / "masks" / "p0.nii.gz").dataobj)
    lines = text[text.index("# p0:") :].splitlines()
    by_axes, by_index = (next(n for n, line in enumerate(lines) if word in line) for word in (": image}", ": index}"))
    assert f"becomes {image[ids == 1].mean():.4g}" in " ".join(lines[by_axes:by_index])
    assert f"becomes {image[ids[::-1] == 1].mean():.4g}" in " ".join(lines[:by_axes])


def test_index_on_index_is_done(raw: Path, tmp_path: Path) -> None:
    before = prepare(raw, out=tmp_path / "before", config=PrepareConfig(workers=0, folds=2))
    for path in (raw / "masks").iterdir():
        edit(path, same, mirrored)
    plan = tmp_path / "chosen.yaml"
    plan.write_text('layout: folder\ncases: {"*": {affine: index}}\n')
    after = prepare(raw, out=tmp_path / "after", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    for case in before.cases.index:
        np.testing.assert_array_equal(after.labels(case), before.labels(case))


def write_mha(path: Path, ids: np.ndarray) -> None:
    """Without a place, as a program writes that knows none; ids (x, y, z)."""
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(ids.transpose(2, 1, 0))), str(path))


def lose_place(path: Path, kind: str) -> None:
    """Its voxels stay in the order of the image's file."""
    ids = np.asarray(nib.load(path, mmap=False).dataobj)
    path.unlink()
    if kind == "nifti":
        nib.save(nib.Nifti1Image(ids, np.eye(4)), path)
    else:
        write_mha(path.with_name(f"p1.{kind}"), ids)


@pytest.mark.parametrize(("axes", "kind"), [("LAS", "nifti"), ("LPS", "nrrd"), ("RAS", "nifti"), ("SPL", "mha")])
def test_a_lost_place_is_laid_once(raw: Path, tmp_path: Path, axes: str, kind: str) -> None:
    """A mask whose place is lost lies index on index already. A plan that says so changes nothing."""
    for path in raw.rglob("*.nii.gz"):
        image = nib.load(path, mmap=False)
        turned = image.as_reoriented(
            nib.orientations.ornt_transform(
                nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
            )
        )
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    before = prepare(raw, out=tmp_path / "before", config=PrepareConfig(workers=0, folds=2))
    lose_place(raw / "masks" / "p1.nii.gz", kind)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {"p1": {"why": "affine-lost", "affine": "index"}}
    assert "# 0 voxels change their class" in text
    every = tmp_path / "every.yaml"
    every.write_text('layout: folder\ncases: {"*": {affine: index}}\n')
    for plan in (None, tmp_path / "plan.yaml", every):
        config = PrepareConfig(workers=0, folds=2, repair_plan=plan)
        after = prepare(raw, out=tmp_path / "after", config=config, mode="overwrite")
        np.testing.assert_array_equal(after.labels("p1"), before.labels("p1"))
        found = audit(raw, out=tmp_path / "b", config=config, mode="overwrite")
        assert not found.at_level("error")


def test_a_plan_scores_a_lost_place_as_it_lies(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "masks", tmp_path / "predictions")
    lose_place(raw / "masks" / "p1.nii.gz", "nifti")
    plan_for(raw, tmp_path)
    config = PrepareConfig(workers=0, repair_plan=tmp_path / "plan.yaml")
    report = evaluate(tmp_path / "predictions", raw, out=tmp_path / "report", config=config)
    assert set(report.cases["dice"].dropna()) == {1.0}


def test_a_place_that_never_was_is_asked_about(raw: Path, tmp_path: Path) -> None:
    """A header of neither qform nor sform: what programs take for its axes may mirror the mask."""
    path = raw / "masks" / "p1.nii.gz"
    ids = np.asarray(nib.load(path, mmap=False).dataobj)
    image = nib.Nifti1Image(ids, None)
    image.header.set_zooms(nib.load(raw / "images" / "p1.nii.gz").header.get_zooms())
    nib.save(image, path)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "its header states no position" in (tmp_path / "audit" / "audit.html").read_text()
    by_index = text[text.index("affine: image}") : text.index("affine: index}")]
    pixels = np.asarray(nib.load(raw / "images" / "p1.nii.gz").dataobj)
    assert f"becomes {pixels[ids == 1].mean():.4g}" in by_index


def test_axes_that_may_be_right_are_asked_about(raw: Path, tmp_path: Path) -> None:
    """A mask whose file has its image's shape, but by its axes lies across it: by its own place it is right."""
    for path in raw.rglob("*.nii.gz"):  # as wide as high
        edit(path, lambda array: array[:40, :40, :8], same)
    edit(raw / "images" / "p1.nii.gz", lambda array: array[:, :36], same)
    edit(raw / "masks" / "p1.nii.gz", lambda ids: ids[:36].transpose(1, 0, 2), lambda affine: affine[:, [1, 0, 2, 3]])
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "may be right" in text


def test_another_place_outside_is_one_repair(raw: Path, tmp_path: Path) -> None:
    edit(raw / "masks" / "p1.nii.gz", same, lambda affine: affine + np.eye(4)[:, [3, 3, 3, 0]] * 500)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {"p1": {"why": "affine-differs", "affine": "image"}}
    assert "voxels change their class" in text


def test_another_place_inside_is_asked_about(raw: Path, tmp_path: Path) -> None:
    """A mask drawn on a window that lies three voxels farther. By its own file it is in place."""
    whole = np.asarray(nib.load(raw / "masks" / "p1.nii.gz").dataobj)
    image = np.asarray(nib.load(raw / "images" / "p1.nii.gz").dataobj)
    window = np.eye(4)
    window[0, 3] = 3
    edit(raw / "masks" / "p1.nii.gz", lambda ids: np.roll(ids, -3, 0), lambda affine: affine @ window)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "# p1: {why: affine-differs, affine: image}" in text
    assert f"mean intensity {image[whole == 1].mean():.4g} becomes" in text


@pytest.mark.parametrize("number", [1, 4])
def test_most_cases_are_never_dropped(number: int, raw: Path, tmp_path: Path) -> None:
    """Masks of other shapes cannot be used: one is left out, all four are not."""
    for path in sorted((raw / "masks").iterdir())[:number]:
        edit(path, lambda ids: ids[1:], same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == ({"p0": {"why": "shape-differs", "drop": True}} if number == 1 else {})
    assert ("would leave 0" in text) == (number == 4)
    assert '"*"' not in text.split("cases:")[1]


@pytest.mark.parametrize("masks_differ", [False, True])
def test_of_unlike_copies_none_is_chosen(masks_differ: bool, raw: Path, tmp_path: Path) -> None:
    """Copies with one mask: the later goes. With two masks nobody but a person can tell which is right."""
    for folder in ("images", "masks"):
        shutil.copy(raw / folder / "p1.nii.gz", raw / folder / "p9.nii.gz")
    if masks_differ:
        edit(raw / "masks" / "p9.nii.gz", lambda ids: np.roll(ids, 3, 0), same)
    text, cases = plan_for(raw, tmp_path)
    if not masks_differ:
        assert cases == {"p9": {"why": "copy of p1", "drop": True}}
        return
    assert cases == {}
    image = np.asarray(nib.load(raw / "images" / "p1.nii.gz").dataobj)
    for case, other in (("p1", "p9"), ("p9", "p1")):
        ids = np.asarray(nib.load(raw / "masks" / f"{case}.nii.gz").dataobj)
        told = text[
            text.index(f"# {case}: The same image") : text.index(f"# {case}: {{why: copy of {other}, drop: true")
        ]
        number = np.count_nonzero(ids == 1)
        assert f"{number:,} voxels become 0, mean intensity {image[ids == 1].mean():.4g} becomes none" in told
        assert f"{np.count_nonzero(ids):,} voxels of the labels are lost" in told


@pytest.mark.parametrize("factor", [0.5, np.nan], ids=["smoothed", "nan"])
def test_of_labels_nobody_counts_nothing_is_said(factor: float, raw: Path, tmp_path: Path) -> None:
    edit(raw / "masks" / "p0.nii.gz", lambda ids: ids * np.float32(factor), same)
    lines = plan_for(raw, tmp_path)[0].split("cases:")[1].splitlines()
    place = next(n for n, line in enumerate(lines) if "drop: true" in line)
    assert "voxels" not in lines[place - 1]


def test_nan_is_replaced(raw: Path, tmp_path: Path) -> None:
    def with_nan(pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.astype(np.float32)
        pixels[:3] = np.nan
        return pixels

    edit(raw / "images" / "p2.nii.gz", with_nan, same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {"p2": {"why": "image not-finite", "nan": -1024.0}}
    ids = np.asarray(nib.load(raw / "masks" / "p2.nii.gz").dataobj)
    told = f"{ids[:3].size:,} voxels of the image are NaN, {np.count_nonzero(ids[:3]):,} of them in the foreground"
    assert f"# 0 voxels change their class\n  # {told}\n  p2:" in text
    config = PrepareConfig(workers=0, folds=2, repair_plan=tmp_path / "plan.yaml")
    pixels = prepare(raw, out=tmp_path / "p", config=config).image("p2")
    assert (pixels[..., :3] == -1024).all(), "the file's first axis runs to the left, as columns do"


def test_nan_of_mr_becomes_the_darkest(raw: Path, tmp_path: Path) -> None:
    """MR that was centred at 0: there 0 is tissue, not background."""
    for path in (raw / "images").iterdir():
        edit(path, lambda pixels: pixels.clip(-400, 400).astype(np.float32), same)
    edit(raw / "images" / "p2.nii.gz", lambda pixels: np.where(pixels > 120, np.nan, pixels).astype(np.float32), same)
    text, _ = plan_for(raw, tmp_path)
    assert "p2: {why: image not-finite, nan: -400.0}" in text


def test_infinity_cannot_be_replaced(raw: Path, tmp_path: Path) -> None:
    edit(raw / "images" / "p2.nii.gz", lambda pixels: np.where(pixels > 150, np.inf, pixels).astype(np.float32), same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {"p2": {"why": "image not-finite", "drop": True}}
    assert "what is lost cannot be counted" in text


def test_values_between_are_rounded_if_binary(raw: Path, tmp_path: Path) -> None:
    for path in (raw / "masks").iterdir():
        edit(path, lambda ids: (ids == 1).astype(np.float32), same)
    truth = np.asarray(nib.load(raw / "masks" / "p1.nii.gz").dataobj)
    edit(raw / "masks" / "p1.nii.gz", lambda ids: ids * np.float32(0.8), same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}, "rounded, or left out: a person chooses"
    assert f"foreground: 0 voxels become {int(truth.sum()):,}, mean intensity none becomes" in text
    assert "# p1: {why: fractional, drop: true}" in text
    plan = tmp_path / "plan.yaml"
    plan.write_text(text.replace("# p1: {why: fractional, round: true}", "p1: {round: true}"))
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    assert (prepared.labels("p1") == 1).sum() == truth.sum()


def test_weak_values_are_not_rounded_away(raw: Path, tmp_path: Path) -> None:
    for path in (raw / "masks").iterdir():
        edit(path, lambda ids: (ids == 1).astype(np.float32), same)
    edit(raw / "masks" / "p1.nii.gz", lambda ids: ids * np.float32(0.3), same)
    text, _ = plan_for(raw, tmp_path)
    assert "round: true}" not in text


@pytest.mark.parametrize("kind", ["scaled", "noisy"])
def test_values_near_ids_can_be_rounded(kind: str, raw: Path, tmp_path: Path) -> None:
    """0, 0.996 and 1.992 are 0, 1 and 2; a person chooses whether the case is left out instead."""
    edit(raw / "masks" / "p1.nii.gz", lambda ids: ids * np.where(np.arange(SHAPE[0]) % 2, 2, 1).astype(ids.dtype), same)
    truth = np.asarray(nib.load(raw / "masks" / "p1.nii.gz").dataobj)
    assert set(np.unique(truth)) == {0, 1, 2}
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, truth.shape) if kind == "noisy" else 0
    edit(raw / "masks" / "p1.nii.gz", lambda ids: (ids * 0.996 + noise).astype(np.float32), same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    for i in (1, 2):
        assert f"class {i}: 0 voxels become {(truth == i).sum():,}, mean intensity none becomes" in text
    assert "# p1: {why: fractional, drop: true}" in text
    plan = tmp_path / "plan.yaml"
    plan.write_text(text.replace("# p1: {why: fractional, round: true}", "p1: {round: true}"))
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    assert [(prepared.labels("p1") == i).sum() for i in (1, 2)] == [(truth == i).sum() for i in (1, 2)]


@pytest.mark.parametrize("half", [0.4, 0.2])
def test_values_between_ids_are_not_rounded(half: float, raw: Path, tmp_path: Path) -> None:
    """Interpolated ones would get ids of their edges, and of weak ones alone nothing would be left."""
    edit(raw / "masks" / "p1.nii.gz", lambda ids: (ids > 0) * np.float32(half), same)
    text, _ = plan_for(raw, tmp_path)
    assert "round: true}" not in text


def test_several_masks_are_asked_about(tmp_path: Path) -> None:
    """Where one image of several has two masks: their union, or without it."""
    raw = tmp_path / "raw"
    write_folder(raw, groups=4, frames=1, encoding="0/255", shape=(48, 64))
    first = sorted((raw / "masks").iterdir())[0]
    for path in sorted((raw / "masks").iterdir())[1:]:
        path.rename(path.with_name(f"{path.stem}_mask1.png"))
    half = np.asarray(Image.open(first)).copy()
    whole = half > 0
    half[:24] = 0
    Image.fromarray(half).save(first.with_name(f"{first.stem}_mask1.png"))
    half = whole.astype(np.uint8) * 255
    half[24:] = 0
    Image.fromarray(half).save(first.with_name(f"{first.stem}_mask2.png"))
    case = first.stem
    first.unlink()
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "drop: true}" in text
    plan = tmp_path / "plan.yaml"
    plan.write_text(text.replace(f"# {case}: {{why: several-masks, union: true}}", f"{case}: {{union: true}}"))
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    assert (prepared.labels(case)[0] == 1).sum() == whole.sum()


@pytest.fixture
def folders(raw: Path, tmp_path: Path) -> Path:
    """A folder for each of four patients, p0/ct.nii.gz and p0/seg.nii.gz; p1 has two more masks."""
    for image in (raw / "images").iterdir():
        folder = tmp_path / "folders" / image.name.split(".")[0]
        folder.mkdir(parents=True)
        image.rename(folder / "ct.nii.gz")
        (raw / "masks" / image.name).rename(folder / "seg.nii.gz")
    for number, name in enumerate(("seg_draft", "seg_old")):
        copy = shutil.copy(tmp_path / "folders" / "p1" / "seg.nii.gz", tmp_path / "folders" / "p1" / f"{name}.nii.gz")
        edit(Path(copy), lambda ids, number=number: np.roll(ids, 3 + number, axis=0), same)  # type: ignore[misc]
    return tmp_path / "folders"


@pytest.mark.parametrize("kept", ["seg", "seg_old"])
def test_a_mask_that_is_left_is_the_mask(kept: str, folders: Path, tmp_path: Path) -> None:
    """As if the other files were not there, whatever the one that stays is called: its values are the classes."""
    ids = np.asarray(nib.load(folders / "p1" / f"{kept}.nii.gz").dataobj)
    others = [path for path in (folders / "p1").glob("seg*") if path.name != f"{kept}.nii.gz"]
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"layout": "folder", "ignore": {f"p1/{path.name}": "" for path in others}}))
    found = prepare(folders, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    assert found.info.label_map.names == ("background", "class 1", "class 2")
    assert [(found.labels("p1") == i).sum() for i in (1, 2)] == [(ids == i).sum() for i in (1, 2)]


def test_folders_of_ignored_masks_name_no_class(raw: Path, tmp_path: Path) -> None:
    (raw / "masks").rename(raw / "new")
    shutil.copytree(raw / "new", raw / "masks" / "old")
    (raw / "new").rename(raw / "masks" / "new")
    plan = tmp_path / "plan.yaml"
    ignored = {f"masks/old/p{i}.nii.gz": "" for i in range(4)}
    plan.write_text(yaml.safe_dump({"layout": "folder", "ignore": ignored}))
    _, found = open_source(raw, PrepareConfig(repair_plan=plan))
    assert (found.class_files, found.coding) == (False, None)


def test_a_mask_word_names_no_class(folders: Path) -> None:
    """One case has seg and seg_old, the others have seg: two masks of one image, not the classes "seg" and "old"."""
    (folders / "p1" / "seg_draft.nii.gz").unlink()
    _, found = open_source(folders, PrepareConfig())
    assert (found.class_files, found.coding) == (False, None)


@pytest.mark.parametrize("spelled", ["p1/seg_old.nii.gz", "./p1/seg_old.nii.gz", "p1//seg_old.nii.gz"])
def test_an_ignored_file_is_not_united(spelled: str, folders: Path, tmp_path: Path) -> None:
    first = np.asarray(nib.load(folders / "p1" / "seg.nii.gz").dataobj)
    edit(folders / "p1" / "seg_draft.nii.gz", lambda ids: np.where(first > 0, 0, ids), same)
    plan = tmp_path / "plan.yaml"
    content = {"layout": "folder", "cases": {"p1": {"union": True}}, "ignore": {spelled: ""}}
    plan.write_text(yaml.safe_dump(content))
    found = prepare(folders, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))
    masks = [np.asarray(nib.load(folders / "p1" / f"{name}.nii.gz").dataobj) > 0 for name in ("seg", "seg_draft")]
    assert (found.labels("p1") > 0).sum() == (masks[0] | masks[1]).sum()


def test_masks_that_disagree_are_not_united(folders: Path, tmp_path: Path) -> None:
    """One calls 1 what the other calls 2: the first file's name must not decide."""
    (folders / "p1" / "seg_draft.nii.gz").unlink()
    mask = nib.load(folders / "p1" / "seg_old.nii.gz")
    ids = np.asarray(nib.load(folders / "p1" / "seg.nii.gz").dataobj)
    nib.save(nib.Nifti1Image(np.where(ids == 1, 2, 0).astype(np.uint8), mask.affine), folders / "p1" / "seg_old.nii.gz")
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"layout": "folder", "cases": {"p1": {"union": True}}}))
    number = f"{(ids == 1).sum():,} pixels differ"
    with pytest.raises(CaseUNetError, match=rf"seg(_old)?.nii.gz: says [12] of pixels .* says [12] \({number}\)"):
        prepare(folders, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2, repair_plan=plan))


@pytest.mark.parametrize(("name", "told"), [("p1", '"p1" is a folder; name its files'), ("p9.nii", "is no file")])
def test_what_cannot_be_ignored_is_told(name: str, told: str, folders: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"layout": "folder", "ignore": {name: ""}}))
    with pytest.raises(CaseUNetError, match=told):
        open_source(folders, PrepareConfig(repair_plan=plan))


def test_values_of_no_class_are_asked_about(raw: Path, tmp_path: Path) -> None:
    """Left out with their case, or pixel by pixel: a person chooses."""
    names = '[{"name": "nothing", "classid": 0}, {"name": "liver", "classid": 1}, {"name": "tumour", "classid": 2}]'
    (raw / "labels.json").write_text(names)

    def strange(ids: np.ndarray) -> np.ndarray:
        ids[5:7, 5:7, 2:4] = 9
        return ids

    edit(raw / "masks" / "p3.nii.gz", strange, same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "# p3: {why: unknown-label, drop: true}" in text
    assert "# p3: {why: unknown-label, map: {9: ignore}}" in text


def test_a_file_of_comments_is_a_plan(raw: Path, tmp_path: Path) -> None:
    """What nobody chose changes nothing: the same errors are told again."""
    for path in (raw / "masks").iterdir():
        edit(path, same, mirrored)
    plan_for(raw, tmp_path)
    found = audit(raw, out=tmp_path / "b", config=PrepareConfig(workers=0, repair_plan=tmp_path / "plan.yaml"))
    assert [finding.kind for finding in found.at_level("error")] == ["affine-differs"] * 4


def test_labelled_nan_is_asked_about(raw: Path, tmp_path: Path) -> None:
    """A lesion that was masked out of its scan: air would be learnt as lesion."""
    ids = np.asarray(nib.load(raw / "masks" / "p2.nii.gz").dataobj)
    edit(raw / "images" / "p2.nii.gz", lambda pixels: np.where(ids > 0, np.nan, pixels).astype(np.float32), same)
    text, cases = plan_for(raw, tmp_path)
    assert cases == {}
    assert "# p2: {why: image not-finite, nan: -1024.0}" in text
    assert "p2: What was drawn lies on pixels that have no number" in text
    assert "mean intensity none becomes -1024" in text


def test_what_a_drop_loses_is_counted(raw: Path, tmp_path: Path) -> None:
    """A mask of another shape, which nothing mends."""
    edit(raw / "masks" / "p2.nii.gz", lambda ids: ids[:-3], same)
    lost = np.count_nonzero(np.asarray(nib.load(raw / "masks" / "p2.nii.gz").dataobj))
    text, cases = plan_for(raw, tmp_path)
    assert lost > 0
    assert set(cases) <= {"p2"}
    assert "cannot be done" not in text


def choose(path: Path, line: str) -> Path:
    """The plan with the # of one line taken away."""
    text = path.read_text()
    assert text.count(f"  # {line}\n") == 1
    chosen = path.with_name("chosen.yaml")
    chosen.write_text(text.replace(f"  # {line}\n", f"  {line}\n"))
    return chosen


def follow(raw: Path, plan: Path) -> PrepareConfig:
    """A configuration with a plan, which leaves no error."""
    config = PrepareConfig(workers=0, folds=2, repair_plan=plan)
    found = audit(raw, out=plan.parent / "followed", config=config, mode="overwrite")
    assert found.at_level("error") == ()
    return config


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos", groups=4, frames=1, encoding="0/255", shape=(48, 64))
    return tmp_path / "photos"


@pytest.mark.parametrize("left_out", ["bmp", "png"])
def test_of_two_images_none_is_chosen(left_out: str, photos: Path, tmp_path: Path) -> None:
    """Neither is meant by its name, and the one that stays is read."""
    path = sorted((photos / "images").iterdir())[0]
    other = path.with_suffix(".bmp")
    Image.fromarray(np.asarray(Image.open(path))[::-1]).save(other)
    text, cases = plan_for(photos, tmp_path)
    assert (cases, yaml.safe_load(text)["ignore"]) == ({}, None)
    assert text.count("mean intensity") >= 2
    with pytest.raises(CaseUNetError, match="is there twice"):
        convert(photos, to="png", out=tmp_path / "c", config=PrepareConfig(repair_plan=tmp_path / "plan.yaml"))
    config = follow(photos, choose(tmp_path / "plan.yaml", f"images/{path.stem}.{left_out}: twice"))
    convert(photos, to="png", out=tmp_path / "c", config=config)
    stays = other if left_out == "png" else path
    written = np.asarray(Image.open(tmp_path / "c" / "images" / f"{path.stem}.png"))
    np.testing.assert_array_equal(written, np.asarray(Image.open(stays)))
    follow(photos, choose(tmp_path / "plan.yaml", f"{path.stem}: {{why: twice, drop: true}}"))


def test_a_mask_whose_images_are_all_left_out_is_named(photos: Path, tmp_path: Path) -> None:
    """One that a person ignored, and both of two that have one name."""
    first, second = sorted((photos / "images").iterdir())[:2]
    Image.fromarray(np.asarray(Image.open(second))[::-1]).save(second.with_suffix(".bmp"))
    ignored = [f"images/{path.name}" for path in (first, second, second.with_suffix(".bmp"))]
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"format_version": 1, "layout": "folder", "ignore": dict.fromkeys(ignored, "bad")}))
    config = PrepareConfig(workers=0, folds=2, repair_plan=plan)
    (told,) = [f for f in audit(photos, out=tmp_path / "audit", config=config).findings if f.kind == "left-out"]
    assert told.level == "warning"
    assert "masks whose image the plan leaves out, and so left out too: 2 files" in told.text
    assert first.stem in told.text
    assert second.stem in told.text


def test_of_equal_images_one_is_left_out(photos: Path, tmp_path: Path) -> None:
    path = sorted((photos / "images").iterdir())[0]
    Image.open(path).save(path.with_suffix(".bmp"))
    text, _ = plan_for(photos, tmp_path)
    ignored = {f"images/{path.name}": f"twice, equal to images/{path.stem}.bmp in every pixel"}
    assert yaml.safe_load(text)["ignore"] == ignored
    follow(photos, tmp_path / "plan.yaml")


@pytest.mark.parametrize("masks", ["seg", "nifti"])
def test_of_two_masks_of_a_series_none_is_chosen(masks: Literal["seg", "nifti"], tmp_path: Path) -> None:
    """The case keeps its labels whichever is left out, and each is told with its voxels."""
    raw = tmp_path / "ward"
    write_dicom(raw, shape=SHAPE, masks=masks)
    if masks == "nifti":
        path = sorted((raw / "masks").iterdir())[0]
        other = path.with_name(path.name.replace(".nii", "_mask.nii"))
        shutil.copy(path, other)
        edit(other, lambda ids: np.where(np.arange(ids.shape[2]) < ids.shape[2] // 2, ids, 0).astype(ids.dtype), same)
    else:
        path = next(path for path in sorted(raw.rglob("*.dcm")) if read_header(path).segments)
        other = path.with_name(f"{path.stem}_draft.dcm")
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:60]}.2"
        pixels = np.frombuffer(dataset.PixelData, np.uint8).copy()
        pixels[: len(pixels) // 2] = 0
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(other)
    text, cases = plan_for(raw, tmp_path)
    files = [file.relative_to(raw).as_posix() for file in (path, other)]
    lines = text.splitlines()
    told = [lines[lines.index(f"  # {file}: extra-mask") - 1] for file in files]
    assert (cases, yaml.safe_load(text)["ignore"]) == ({}, None)
    assert all("voxels" in line for line in told)
    assert told[0] != told[1]
    with pytest.raises(CaseUNetError, match=r"one (mask )?was expected"):
        convert(raw, to="nifti", out=tmp_path / "c", config=PrepareConfig(repair_plan=tmp_path / "plan.yaml"))
    for file, stays in zip(files, (other, path), strict=True):
        plan = choose(tmp_path / "plan.yaml", f"{file}: extra-mask")
        _, left = open_source(raw, PrepareConfig(repair_plan=plan))
        assert not any(finding.level == "error" for finding in left.findings)
        assert len(left.labelled) == len(left.cases) == 3
        assert left.cases[0].label == (stays,)


def test_masks_without_image_may_be_of_a_case(photos: Path, tmp_path: Path) -> None:
    """Where an image has no mask, a mask of another name may be its own."""
    path = sorted((photos / "masks").iterdir())[0]
    path.rename(path.with_name("other.png"))
    text, _ = plan_for(photos, tmp_path)
    assert yaml.safe_load(text)["ignore"] is None
    assert "  # masks/other.png: extra-mask" in text
    shutil.copy(path.with_name("other.png"), path)
    text, _ = plan_for(photos, tmp_path)
    assert yaml.safe_load(text)["ignore"] == {"masks/other.png": "extra-mask"}


def test_a_listed_file_that_is_gone_is_asked_about(tmp_path: Path) -> None:
    """Its line can be chosen, though there is no such file."""
    raw = tmp_path / "msd"
    write_msd(raw, shape=(8, 40, 40))
    next((raw / "labelsTr").iterdir()).unlink()
    text, _ = plan_for(raw, tmp_path)
    assert yaml.safe_load(text)["ignore"] is None
    line = next(line[4:] for line in text.splitlines() if line.endswith(": missing-file"))
    follow(raw, choose(tmp_path / "plan.yaml", line))
