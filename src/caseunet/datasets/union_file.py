"""``datasets.json``, which lists the raw data sets of a union."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from caseunet.config import PrepareConfig
from caseunet.errors import CaseUNetError, InvalidInputError, did_you_mean
from caseunet.files import read_json
from caseunet.types import FrozenModel

UNION_FILE = "datasets.json"
KEY = "datasets"
EXPECTED = f'expected {{"{KEY}": [{{"path": "Task09_Spleen", "name": "msd"}}, …]}}'


class UnionEntry(FrozenModel):
    """A raw data set.

    Attributes:
        path: its folder; relative to that of the list.
        name: with which its cases' names begin.
        classes: {class there: class of the union}, where their names differ; null counts it as background.
        labelled: the structures that are labelled in it, if not those of its classes.
        layout, modality, group, images, masks, field_of_view, channels, raters, repair_plan: as for ``prepare``.
    """

    path: Path
    name: str
    classes: dict[str, str | None] = Field(default_factory=dict)
    labelled: tuple[str, ...] = ()
    layout: str = "auto"
    modality: Literal["auto", "ct", "mr", "rgb", "gray"] = "auto"
    group: str | None = None
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    field_of_view: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    raters: Literal["majority", "staple"] | None = None
    repair_plan: Path | None = None

    @field_validator("images", "masks", "field_of_view", "channels", "labelled", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*", value):
            raise ValueError(f'"{value}" begins the names of cases: letters, digits, "_", "-" and "." alone')
        return value

    def as_config(self, root: Path) -> PrepareConfig:
        """How it is read."""
        told = self.model_dump(exclude={"path", "name", "classes", "labelled"})
        plan = None if self.repair_plan is None else root / self.repair_plan
        return PrepareConfig.model_validate({**told, "repair_plan": plan})


def is_union(root: Path) -> bool:
    """Whether a folder has a list of data sets, though it may be damaged."""
    if not (root / UNION_FILE).is_file():
        return False
    try:
        content = read_json(root / UNION_FILE, "a list of data sets")
    except CaseUNetError:
        return True
    return isinstance(content, dict) and KEY in content


def read_union(root: Path) -> list[UnionEntry]:
    """The data sets of a union.

    Raises:
        CaseUNetError: the list is damaged, two have one name, or one is a union itself.
    """
    path = root / UNION_FILE
    content = read_json(path, "a list of data sets")
    listed = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or set(content) != {KEY}:
        raise InvalidInputError(f"{path}: {EXPECTED}, and nothing beside.")
    entries = [_read_entry(entry, number, path) for number, entry in enumerate(listed, start=1)]
    names = [entry.name.casefold() for entry in entries]
    for entry in entries:
        if names.count(entry.name.casefold()) > 1:
            raise InvalidInputError(f'{path}: the name "{entry.name}" is there twice; each data set needs its own.')
        if is_union(root / entry.path):
            raise InvalidInputError(f"{path}: {entry.name} is a union itself; list its data sets here.")
    return entries


def _read_entry(entry: Any, number: int, path: Path) -> UnionEntry:
    try:
        return UnionEntry.model_validate(entry)
    except ValidationError as error:
        problem = error.errors()[0]
        place = [str(part) for part in problem["loc"]]
        known = problem["type"] == "extra_forbidden"
        text = did_you_mean(place[-1], UnionEntry.model_fields) if known else f"{problem['msg']}; {EXPECTED}."
        about = f"{'.'.join(place)}: " if place else ""
        raise InvalidInputError(f"{path}: entry {number}: {about}{text.removeprefix('Value error, ')}") from error
