"""Former names: each is refused with the present one."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from caseunet.config import Config, load_config, parse_settings
from caseunet.data.store import Prepared
from caseunet.errors import CaseUNetError
from caseunet.former_names import KEYS, VALUES, migrate, migrate_file
from caseunet.types import Preprocessing


def fields(section: str) -> set[str]:
    """Of a section of the configuration; none of one that is not in it."""
    field = Config.model_fields.get(section)
    return set(getattr(field.annotation, "model_fields", ())) if field else set()


RENAMED = [(old, new) for old, new in KEYS.items() if not new.startswith("prediction.")]  # those are no configuration


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_former_key_names_present_one(old: str, new: str, tmp_path: Path) -> None:
    section, name = old.split(".")
    (tmp_path / "c.yaml").write_text(f"{section}: {{{name}: {{x: 1}}}}")
    for read in (
        lambda: load_config(tmp_path / "c.yaml"),
        lambda: load_config(overrides=parse_settings([f"{old}=1"])),
        lambda: load_config(overrides=parse_settings([f"{old}.x=1"])),
    ):
        with pytest.raises(CaseUNetError, match=f'"{old}" is now called "{new}"'):
            read()


@pytest.mark.parametrize(
    ("key", "old", "new"), [(k, *pair) for k in VALUES for pair in VALUES[k].items() if k.startswith("training.")]
)
def test_former_value_names_present_one(key: str, old: str, new: str) -> None:
    with pytest.raises(CaseUNetError, match=f'{key} "{old}" is now called "{new}"'):
        load_config(overrides=parse_settings([f"{key}={old}"]))


def test_no_former_name_is_a_present_one() -> None:
    assert not set(KEYS) & set(KEYS.values())
    assert not any(set(former) & set(former.values()) for former in VALUES.values())


WRITTEN = """
recipe: default
seed: 3
prepare: {crop_air: true}
model: {name: unet, arguments: {widths: [4, 6]}}
data: {neighbours: 2, clip: [-100, 300], normalize: zscore, rare_share: 0.5, balance: cases}
augment: {flip_rows: true, flip_columns: false}
loss: {name: hybrid, arguments: {ssim: 0.0}}
optimizer: {warmup: 0.1, power: 0.5, clip_norm: null}
training: {steps: 7, keep: last, best_by: iou, precision: bf16, accumulate: 2}
"""


def test_written_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(WRITTEN)
    config = load_config(base=tmp_path / "config.yaml")
    assert (config.seed, config.model.kwargs, config.loss.kwargs) == (3, {"widths": [4, 6]}, {"ssim": 0.0})
    assert (config.data.context_slices, config.data.intensity_window) == (2, (-100, 300))
    assert (config.data.normalization, config.data.oversample_foreground) == ("zscore", 0.5)
    assert (config.augment.vertical_flip, config.augment.horizontal_flip) == (True, False)
    assert (config.optimizer.warmup_ratio, config.optimizer.max_grad_norm) == (0.1, None)
    assert (config.training.checkpoint, config.training.monitor) == ("last", "iou")
    assert (config.training.precision, config.training.micro_batches) == ("bf16-mixed", 2)
    assert config.data.sampling == "cases"


def test_present_words_stay_as_they_are() -> None:
    written = {"seed": 1, "training": {"monitor": "dice", "precision": "16-mixed"}, "data": {"sampling": "slices"}}
    assert migrate(written) == written
    assert migrate_file({"fingerprint": "a", "seeds": 2}) == {"content_hash": "a", "seeds": 2}


def test_preprocessing_is_read_in_former_words() -> None:
    former = {"subtract": [1], "divide": [2], "least": [64, 32], "repeat": 3, "per_case": False, "clip": [0, 9]}
    told = {"modality": "ct", "channels": 1, "crop_air": True, "neighbours": 1} | former
    read = Preprocessing.model_validate(told)
    assert (read.mean, read.std, read.min_size, read.channel_repeat) == ((1,), (2,), (64, 32), 3)
    assert (read.crop_to_body, read.context_slices, read.intensity_window) == (True, 1, ((0, 9),))
    assert Preprocessing.model_validate(read.model_dump(mode="json")) == read
    assert not (former.keys() | {"crop_air", "neighbours"}) & read.model_dump().keys()


def test_former_column_of_cases_is_read(lits_prepared: Prepared, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lits_prepared.folder, tmp_path / "prepared"))
    cases = pd.read_parquet(folder / "cases.parquet")
    cases.rename(columns={"statistics": "standard"}).to_parquet(folder / "cases.parquet")
    case = cases["id"][0]
    np.testing.assert_array_equal(Prepared(folder).case_statistics(case), lits_prepared.case_statistics(case))
