"""Patterns that say which files are images and where their masks are."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from caseunet.config import PrepareConfig
from caseunet.datasets import open_source
from caseunet.datasets.file_patterns import match_part
from caseunet.datasets.reading import require_coding
from caseunet.errors import CaseUNetError
from tests.support.public_layouts import draw_picture, draw_volume, photo, save_picture, save_volume, scan


def write(root: Path, *names: str) -> None:
    """Images, and masks that are called so."""
    for n, name in enumerate(names):
        mask = draw_picture(n)
        is_mask = "seg" in name or "mask" in name
        save_picture(root / name, mask if is_mask else photo(mask, seed=n))


def pairs(root: Path, **told: object) -> dict[str, list[str]]:
    dataset = open_source(root, PrepareConfig.model_validate(told))[1]
    return {case.id: [dataset.relative(path) for path in case.label] for case in dataset.cases}


@pytest.mark.parametrize(
    ("path", "pattern", "part"),
    [
        ("imgs/a.png", "imgs", 0),
        ("imgs/a.png", "*.png", -1),
        ("x/imgs/a.png", "imgs/*.png", 1),
        ("imgs/a.png", "imgs/**/*.png", 0),
        ("imgs/p1/v2/a.png", "imgs/**/*.png", 0),
        ("imgs/p1/v2/a.png", "imgs/*/*.png", None),
        ("other/p1/a.png", "imgs/**/*.png", None),
        ("Imgs/A.PNG", "imgs/a.png", 0),
        ("a1.png", "a[12].png", -1),
        ("a1.png", "a[!12].png", None),
        ("imgs/a.png", "./imgs/", 0),
    ],
)
def test_a_pattern_selects_a_part(path: str, pattern: str, part: int | None) -> None:
    assert match_part(PurePosixPath(path), [pattern]) == part


def test_a_mask_beside_its_image(tmp_path: Path) -> None:
    write(tmp_path, "imgs/p1/a.png", "imgs/p1/a_seg.png", "imgs/p2/a.png", "imgs/p2/a_seg.png", "imgs/p2/a_1.png")
    found = pairs(tmp_path, images="imgs/**/*.png", masks="{stem}_seg.png")
    assert found == {"p1/a": ["imgs/p1/a_seg.png"], "p2/a": ["imgs/p2/a_seg.png"], "p2/a_1": []}


@pytest.mark.parametrize("pattern", ["masks/{stem}_m.png", "../masks/{stem}_m.png", "masks/**/{stem}_m.*"])
def test_a_mask_in_another_folder(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, "photos/a.png", "photos/b_1.png", "masks/a_m.png", "masks/b_1_m.png")
    assert pairs(tmp_path, images="photos", masks=pattern) == {"a": ["masks/a_m.png"], "b_1": ["masks/b_1_m.png"]}


def test_a_name_may_stand_twice(tmp_path: Path) -> None:
    write(tmp_path, "photos/a[1].png", "mask/a[1]/a[1].png")
    assert pairs(tmp_path, images="photos", masks="mask/{stem}/{stem}.png") == {"a[1]": ["mask/a[1]/a[1].png"]}


def test_what_a_star_stands_for_is_a_class(tmp_path: Path) -> None:
    write(tmp_path, *(f"{p}{end}.png" for p in ("p_1", "p_2") for end in ("", "_seg_liver", "_seg_spleen")))
    dataset = open_source(tmp_path, PrepareConfig(masks=("{stem}_seg_*.png",)))[1]
    assert dataset.coding is not None
    assert dataset.coding.label_map.names == ("background", "liver", "spleen")
    assert [len(case.label) for case in dataset.cases] == [2, 2]


def test_channels_and_a_stem_go_together(tmp_path: Path) -> None:
    for n in range(2):
        mask = draw_volume(n)
        for ending in ("flair", "t1", "t1ce"):
            save_volume(tmp_path / f"p{n}" / f"p{n}_{ending}.nii.gz", scan(mask, seed=n))
        save_volume(tmp_path / f"p{n}" / f"p{n}_truth.nii.gz", mask)
    config = PrepareConfig.model_validate({"channels": "_t1ce,_t1,_flair", "masks": "{stem}_truth.nii.gz"})
    dataset = open_source(tmp_path, config)[1]
    assert dataset.channel_names == ("t1ce", "t1", "flair")
    assert [path.name for path in dataset.cases[0].image] == ["p0_t1ce.nii.gz", "p0_t1.nii.gz", "p0_flair.nii.gz"]
    assert [len(case.label) for case in dataset.cases] == [1, 1]


def test_images_without_their_mask_are_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"imgs/{n}.png" for n in range(7)), "imgs/0_seg.png", "imgs/9_seg.png")
    findings = open_source(tmp_path, PrepareConfig(masks=("{stem}_seg.png",), images=("imgs",)))[1].findings
    told = {finding.kind: finding for finding in findings}
    text = "6 images without the mask that {stem}_seg.png says: 1.png (no imgs/1_seg.png), 2.png (no imgs/2_seg.png)"
    assert told["masks-not-found"].text.startswith(text)
    assert told["masks-not-found"].text.endswith(" and 1 more")
    assert told["extra-mask"].file == "imgs/9_seg.png"


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ("{stem}_label.png", r"no image has the mask .* For photos/p1/a.png that is photos/p1/a_label.png"),
        ("masks/{stem}.png", r"gives photos/p1/a and photos/p2/a the same mask.* such as ../masks/{stem}.png"),
    ],
)
def test_a_stem_that_tells_nothing_is_asked(tmp_path: Path, masks: str, message: str) -> None:
    write(tmp_path, "photos/p1/a.png", "photos/p2/a.png", "masks/a.png")
    with pytest.raises(CaseUNetError, match=message):
        pairs(tmp_path, images="photos", masks=masks)


def test_no_image_that_fits_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "imgs/a.png", "imgs/a_seg.png")
    with pytest.raises(CaseUNetError, match=r"the patterns images=photos/\*\*/\*.jpg.* leave no image. Found 2 PNG"):
        pairs(tmp_path, images="photos/**/*.jpg", masks="{stem}_seg.png")


def test_a_pattern_of_masks_that_fits_nothing_is_told(tmp_path: Path) -> None:
    """As two patterns in one do: nothing says which images would then have a mask."""
    write(tmp_path, "photos/a.png", "liver/a.png")
    for patterns in (("liver,spleen",), ("liver", "spleen")):
        with pytest.raises(CaseUNetError, match=rf"prepare.masks: {patterns[-1]} fits no file. Give each pattern"):
            open_source(tmp_path, PrepareConfig(images=("photos",), masks=patterns))


def test_folders_of_structures_may_say_that_they_are_masks(tmp_path: Path) -> None:
    """gt_liver/a.png beside gt_spleen/a.png: each is the mask of a class, liver and spleen."""
    write(tmp_path, "scan/a.png", "scan/b.png")
    for n, name in enumerate(("a", "b")):
        shown = draw_picture(n) > 0
        save_picture(tmp_path / f"gt_liver/{name}.png", (255 * shown).astype(np.uint8))
        save_picture(tmp_path / f"gt_spleen/{name}.png", (255 * ~shown).astype(np.uint8))
    layout, dataset = open_source(tmp_path, PrepareConfig(images=("scan",), masks=("gt_liver", "gt_spleen")))
    case = dataset.cases[0]
    found = layout.read_mask(case, dataset, layout.read_image(case, dataset.modality == "rgb", 0.0).geometry)
    assert (dataset.class_files, require_coding(dataset).label_map.names) == (True, ("background", "liver", "spleen"))
    np.testing.assert_array_equal(found.label_values[0], np.where(draw_picture(0) > 0, 1, 2))
