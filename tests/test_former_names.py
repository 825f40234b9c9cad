"""Former names: each is refused with the present one."""

from pathlib import Path

import pytest

from caseunet.config import Config, load_config, parse_settings
from caseunet.errors import CaseUNetError
from caseunet.former_names import KEYS, VALUES


def fields(section: str) -> set[str]:
    """Of a section of the configuration; none of one that is not in it."""
    field = Config.model_fields.get(section)
    return set(getattr(field.annotation, "model_fields", ())) if field else set()


RENAMED = [(old, new) for old, new in KEYS.items() if new.split(".")[1] in fields(new.split(".")[0])]


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
