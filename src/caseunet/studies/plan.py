"""What a study was begun with: its raw data, and what must not change when it goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caseunet.config import Config, PrepareConfig
from caseunet.data.store import Prepared, RawSource
from caseunet.errors import CaseUNetError
from caseunet.files import read_json
from caseunet.former_names import migrate, migrate_file
from caseunet.studies.design import Design

PLAN = "plan.json"


def find_source(prepared: Prepared, raw: Path | None) -> tuple[Path, PrepareConfig]:
    """The raw data set, and how it is read.

    Raises:
        CaseUNetError: nothing tells where it is, or it is not there.
    """
    known = prepared.info.source or RawSource(folder="", format=prepared.info.source_format)
    root = raw or (Path(known.folder) if known.folder else None)
    if root is None or not root.is_dir():
        where = f"they were at {root} when they were prepared" if root else "the prepared data set does not say where"
        raise CaseUNetError(f"Masks are scored in the raw data's own geometry, but {where}.", options=("raw",))
    given = known.reading.model_dump(exclude_unset=True)
    return root, PrepareConfig(**given | {"layout": known.format, "plane": prepared.info.grid.plane})


def describe_plan(prepared: Prepared, design: Design) -> dict[str, Any]:
    """What must not change when a study goes on."""
    return {
        "content_hash": prepared.info.content_hash,
        "models": {v.name: v.config.model_dump(mode="json") for v in design.variants},
        "seeds": design.seeds,
        "folds": list(design.folds),
        "protocol": design.protocol,
    }


def check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Raises CaseUNetError if a study goes on with other models, data or budget; more seeds and folds may be added."""
    if not (folder / PLAN).is_file():
        return
    before = migrate_file(read_json(folder / PLAN, "a study's plan"))
    before["models"] = {
        name: Config.model_validate(migrate(config)).model_dump(mode="json")
        for name, config in before["models"].items()
    }
    for key in ("content_hash", "models", "protocol"):
        if before.get(key) != plan[key]:
            what = {"content_hash": "prepared data", "models": "models or settings", "protocol": "protocol"}[key]
            raise CaseUNetError(
                f"{folder}: was begun with other {what}. Go on with the same, or choose another folder.",
                options=("out",),
            )
