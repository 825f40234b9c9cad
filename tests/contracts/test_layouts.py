"""What every raw layout must do, on made-up data in its exact form."""

import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from caseunet.commands.prepare import prepare
from caseunet.config import LAYOUTS, PrepareConfig
from caseunet.datasets import PUBLIC, SOURCES, find_layout, generate
from caseunet.datasets.examination import Examination, examine
from caseunet.datasets.reading import read_labels
from caseunet.errors import CaseUNetError
from caseunet.progress import Display
from tests.support import public_layouts

WRITERS: dict[str, Callable[[Path], None]] = {
    "lits": lambda folder: generate.write_lits(folder, patients=4, shape=(8, 48, 40)),
    "endovis2018": lambda folder: generate.write_endovis2018(folder, sequences=3, frames=2, shape=(48, 64)),
    "endovis2018-types": lambda folder: generate.write_endovis2018_types(folder, sequences=5, frames=2, shape=(48, 64)),
    "endovis2017": lambda folder: generate.write_endovis2017(folder, sequences=2, frames=2, shape=(48, 64)),
    "nnunet": lambda folder: generate.write_nnunet(folder, cases=4, tests=1, channels=2, shape=(8, 48, 40)),
    "msd": lambda folder: generate.write_msd(folder, cases=4, tests=1, channels=2, shape=(8, 48, 40)),
    "dicom": lambda folder: generate.write_dicom(folder, patients=3, shape=(8, 48, 40)),
    "kits": partial(public_layouts.write_kits, without=0),
    "brats": public_layouts.write_brats,
    "acdc": public_layouts.write_acdc,
    "glas": public_layouts.write_glas,
    "chase": partial(public_layouts.write_chase, raters=1),
    "busi": partial(public_layouts.write_busi, kinds=("benign", "malignant")),
    "dsb2018": public_layouts.write_dsb2018,
    "bids": public_layouts.write_bids,
    "monai-label": partial(public_layouts.write_monai_label, without=0),
    "union": public_layouts.write_union,
    "folder": lambda folder: generate.write_folder(folder, groups=3, frames=2, encoding="colors", shape=(48, 64)),
}
CHANNELS = {"nnunet": 2, "msd": 2, "brats": 4}
KNOWN_BY_MASKS = {"folder", "bids", *(layout.name for layout in PUBLIC)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The raw folder of a layout, written once."""
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("layouts") / name
            made[name].mkdir()
            WRITERS[name](made[name])
            inside = list(made[name].iterdir())
            if name in ("nnunet", "msd") and len(inside) == 1:  # DatasetXXX_Name, TaskNN_Name
                made[name] = inside[0]
        return made[name]

    return write


@pytest.fixture(params=sorted(LAYOUTS))
def raw(request: pytest.FixtureRequest, clean: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy that a test may damage; its name is the layout's."""
    return shutil.copytree(clean(request.param), tmp_path / request.param)


def examined(raw: Path) -> Examination:
    return examine(raw, PrepareConfig(workers=0, folds=2), Display())


def test_every_layout_is_tested_and_named() -> None:
    assert set(SOURCES) == set(WRITERS) == set(LAYOUTS)


def test_it_is_found_and_clean(raw: Path) -> None:
    layout = find_layout(raw)
    assert layout.name == raw.name
    assert type(pickle.loads(pickle.dumps(layout))) is type(layout), "worker processes get it"
    found = examined(raw)
    assert [
        (f.kind, f.text)
        for f in found.findings
        if f.level != "note" and f.kind not in ("near-copy", "rare-class", "absent-class", "left-right")
    ] == []
    assert found.split is not None
    for case, facts in zip(found.dataset.cases, found.facts, strict=True):
        picture = layout.read_image(case, found.dataset.modality == "rgb")
        assert layout.read_geometry(case).shape == picture.geometry.shape
        assert facts.image is not None
        assert facts.image.shape == picture.pixels.shape
        if case.label:
            labels = read_labels(layout, case, found.dataset)
            assert labels.shape == (picture.pixels.shape[0], *picture.pixels.shape[2:])
            assert labels.dtype == np.uint8
            assert labels.any()


def test_it_can_be_prepared(raw: Path, tmp_path: Path) -> None:
    prepared = prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, folds=2))
    dataset = examined(raw).dataset
    assert list(prepared.cases.index) == [case.id for case in dataset.labelled]
    assert sum(prepared.info.class_pixels[1:]) > 0
    assert prepared.info.channels == (3 if dataset.modality == "rgb" else CHANNELS.get(raw.name, 1))


def test_a_truncated_image_is_named_and_a_plan_drops_its_case(raw: Path, tmp_path: Path) -> None:
    case = examined(raw).dataset.labelled[1]
    path = case.image[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (finding,) = (f for f in examined(raw).findings if f.level == "error")
    assert finding.kind == "unreadable"
    assert raw / (finding.file or "") in case.image
    assert [repair.drop for repair in finding.repairs] == [True]
    plan = tmp_path / "plan.yaml"
    plan.write_text(f'layout: {raw.name}\ncases:\n  "{case.id}": {{drop: true}}\n')
    again = examine(raw, PrepareConfig(workers=0, folds=2, repair_plan=plan), Display())
    assert again.at_level("error") == ()
    assert case.id not in {kept.id for kept in again.dataset.cases}


def test_an_unreadable_mask_is_named(raw: Path) -> None:
    case = examined(raw).dataset.labelled[0]
    case.label[0].write_bytes(b"no image")
    findings = [f for f in examined(raw).findings if f.level == "error"]
    assert [f.kind for f in findings] == ["unreadable"]
    assert findings[0].file == case.label[0].relative_to(raw).as_posix()


def test_images_alone_are_listed(raw: Path) -> None:
    """Prediction needs no masks and no description of them."""
    layout = SOURCES.get(raw.name)
    before = [(case.id, case.image) for case in layout.cases(raw).cases]
    for case in layout.cases(raw).cases:
        for path in case.label:
            path.unlink()
    (raw / "labels.json").unlink(missing_ok=True)
    if raw.name not in KNOWN_BY_MASKS:
        assert find_layout(raw) is layout
    assert [(case.id, case.image) for case in layout.cases(raw).cases] == before


def test_no_masks_at_all_is_an_error(raw: Path, tmp_path: Path) -> None:
    for case in SOURCES.get(raw.name).cases(raw).cases:
        for path in case.label:
            path.unlink()
    with pytest.raises(CaseUNetError, match="no masks; nothing to train on|is listed in dataset.json"):
        prepare(raw, out=tmp_path / "p", config=PrepareConfig(workers=0, layout=raw.name))
    assert not (tmp_path / "p").exists()


def test_an_empty_folder_is_no_layout(tmp_path: Path) -> None:
    for name in SOURCES:
        assert not SOURCES.get(name).matches(tmp_path)
        with pytest.raises(CaseUNetError, match=str(tmp_path)):
            SOURCES.get(name).cases(tmp_path)
