"""The repair plan: what is done with faulty cases when they are read, written down. Originals stay as they are."""

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from caseunet.errors import InputNotFoundError, InvalidInputError, did_you_mean
from caseunet.types import IGNORE, Color, FrozenModel
from caseunet.yaml_text import parse_yaml

EVERY_CASE = "*"

HEADER = """\
# What caseunet does with faulty cases when it reads {raw}. The originals stay as they are.
# Read it, change it, then prepare the data with it: prepare.repair_plan: {name}
#   drop: true     leaves the case out
#   affine: image  takes the image's position for the mask, whose axes run as its own file says
#   affine: index  lays the mask on its image index on index, whatever the position and axes of its own file
#   map            {{value in the file: class id, or ignore}}; colours as "#rrggbb"; losses and scores leave out
#                  what is ignored
#   snap: true     gives values that are no class the nearest class in their surroundings
#   round: true    takes the nearest whole number for a value
#   union: true    takes a pixel that any of the case's mask files marks
#   nan: VALUE     takes this for NaN in the image
#   ignore         files to be left out
# The case "*" stands for every case that is not named itself.
"""


class CaseRepair(FrozenModel):
    """What to do with one case; ``why`` is for people."""

    why: str = ""
    drop: bool = False
    affine: Literal["own", "image", "index"] = "own"
    map: dict[int, int] = Field(default_factory=dict)
    snap: bool = False
    round: bool = False
    union: bool = False
    nan: float | None = None

    @field_validator("map", mode="before")
    @classmethod
    def _codes(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {code_of(key): IGNORE if to == "ignore" else to for key, to in value.items()}

    @property
    def text(self) -> str:
        """In words."""
        done = ["left out"] if self.drop else []
        done += ["the image's position is used"] if self.affine == "image" else []
        done += ["the mask is laid on its image index on index"] if self.affine == "index" else []
        done += [f"values replaced by classes: {dict(self.map)}"] if self.map else []
        done += ["values that are no class snapped to the nearest"] if self.snap else []
        done += ["values rounded"] if self.round else []
        done += ["the union of its mask files is used"] if self.union else []
        done += [f"NaN replaced by {self.nan:g}"] if self.nan is not None else []
        return ", ".join(done) or "nothing"

    def also(self, other: "CaseRepair") -> "CaseRepair":
        """Both repairs; where they disagree, the other's."""
        return CaseRepair(
            why="; ".join(dict.fromkeys(why for why in (self.why, other.why) if why)),
            drop=self.drop or other.drop,
            affine=self.affine if other.affine == "own" else other.affine,
            map=self.map | other.map,
            snap=self.snap or other.snap,
            round=self.round or other.round,
            union=self.union or other.union,
            nan=self.nan if other.nan is None else other.nan,
        )


class PlannedLabel(FrozenModel):
    """One class: its name, colour, and the value or colour that stands for it in the masks. One called "ignore" is no
    class: nobody judged its pixels."""

    name: Annotated[str, Field(min_length=1)]
    color: Color
    code: int

    @field_validator("code", mode="before")
    @classmethod
    def _code(cls, value: Any) -> Any:
        return code_of(value)


class RepairPlan(FrozenModel):
    """Content of a plan file. ``labels`` is there where no file of the data set names the classes."""

    format_version: Literal[1] = 1
    layout: str
    labels: tuple[PlannedLabel, ...] | None = None
    colored: bool = False
    cases: dict[str, CaseRepair] = Field(default_factory=dict)
    ignore: dict[str, str] = Field(default_factory=dict)

    @field_validator("cases", "ignore", mode="before")
    @classmethod
    def _none_chosen(cls, value: Any) -> Any:
        """A section of comments alone is None in YAML."""
        return {} if value is None else value

    @field_validator("ignore")
    @classmethod
    def _spell_as_found(cls, value: dict[str, str]) -> dict[str, str]:
        """Files are compared by their names: "./masks/a.png" is "masks/a.png"."""
        return {posixpath.normpath(file): why for file, why in value.items()}


def code_of(text: Any) -> Any:
    """ "#ff00ff" → 0xFF00FF; a number as it is."""
    if isinstance(text, str) and text.startswith("#") and len(text) == 7:
        return int(text[1:], 16)
    return text


def code_text(code: int, colored: bool) -> int | str:
    return f"#{code:06x}" if colored else code


def read_plan(path: Path) -> RepairPlan:
    """Read a plan.

    Raises:
        CaseUNetError: it is missing, no YAML or not of this form; the first misfit is named.
    """
    try:
        return RepairPlan.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such file; expected a repair plan, as an audit writes it.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = [str(part) for part in problem["loc"]]
        known: Iterable[str] = CaseRepair.model_fields if place[:1] == ["cases"] else RepairPlan.model_fields
        hint = did_you_mean(place[-1], known) if problem["type"] == "extra_forbidden" else problem["msg"] + "."
        raise InvalidInputError(f"{path}: {'.'.join(place) or 'content'}: {hint}") from error
    except (OSError, ValueError) as error:  # what pydantic raises is one too
        raise InvalidInputError(f"{path}: cannot be read as a repair plan: {error}") from error
