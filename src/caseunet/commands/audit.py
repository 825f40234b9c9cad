"""RAW → AUDIT: everything read once, and told what is wrong with it."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from caseunet.config import PrepareConfig
from caseunet.datasets.checks import class_pixels
from caseunet.datasets.examination import Examination, examine
from caseunet.datasets.proposals import write_plan
from caseunet.datasets.repair import read_plan
from caseunet.datasets.repair_plan import propose_plan
from caseunet.errors import CaseUNetError
from caseunet.files import check_output_folder, output_folder, write_json, write_text
from caseunet.options import is_overwrite
from caseunet.progress import Display, Notices
from caseunet.reporting.audit_page import audit_page, draw_findings

KIND = "an audit"


def audit(
    raw: str | Path,
    *,
    out: str | Path = "audit",
    config: PrepareConfig = PrepareConfig(),
    repair: str | Path | None = None,
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Examination:
    """Read a raw data set and write audit.json and audit.html; the originals are not touched.

    Args:
        raw: a folder in a known layout.
        out: the folder to write.
        config: layout, groups, plan, split and workers.
        repair: where to write a repair plan, if one is wanted; an existing file is replaced only in mode
            "overwrite".
        mode: "overwrite" replaces an earlier audit at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the layout is not known, or nothing can be written.
    """
    raw, out, repair = Path(raw), Path(out), None if repair is None else Path(repair)
    notices, overwrite = Notices(display), is_overwrite(mode)
    inputs = [raw, *([config.repair_plan] if config.repair_plan is not None else [])]
    check_output_folder(out, KIND, inputs, overwrite)
    if repair is not None:
        _check_repair(repair, raw, out, overwrite)
    found = examine(raw, config, notices)
    for text in found.warnings:
        notices.caution(text, shown=False)
    if repair is not None:
        found = replace(found, proposed=propose_plan(found.layout, found.dataset, found.findings, config, notices))
    pictures = draw_findings(found, config, notices)
    with output_folder(out, KIND, inputs, overwrite) as folder:
        write_json(folder / "audit.json", _content(found, raw))
        write_text(folder / "audit.html", audit_page(found, pictures))
        notices.write_log(folder)
    if repair is not None and found.proposed is not None:
        proposed = found.proposed
        write_plan(repair, proposed.plan, proposed.proposals, proposed.cautions, raw, proposed.files)
    return found


def _check_repair(repair: Path, raw: Path, out: Path, overwrite: bool) -> None:
    """Raises CaseUNetError where a repair plan cannot be written."""
    if repair.resolve().is_relative_to(out.resolve()):
        raise CaseUNetError(
            f"{repair}: lies in {out}, which later audits replace. Choose a place elsewhere.", options=("repair",)
        )
    if repair.is_dir():
        raise CaseUNetError(f"{repair}: is a folder; expected the name of a file for the plan, such as plan.yaml.")
    if repair.resolve().is_relative_to(raw.resolve()):
        raise CaseUNetError(
            f"{repair}: lies in {raw}, whose files stay as they are. Choose a place elsewhere.", options=("repair",)
        )
    if repair.exists() and overwrite:
        read_plan(repair)  # only a plan is replaced by a plan
    if repair.exists() and not overwrite:
        raise CaseUNetError(f"{repair}: is there already.", options=("repair", "mode"))


def _content(found: Examination, raw: Path) -> dict[str, Any]:
    """Content of audit.json."""
    dataset = found.dataset
    coding = dataset.coding
    cases = []
    for case, facts in zip(dataset.cases, found.facts, strict=True):
        row: dict[str, Any] = {
            "id": case.id,
            "group": case.group,
            "image": [dataset.relative(path) for path in case.image],
            "mask": [dataset.relative(path) for path in case.label],
        }
        if facts.image is not None:
            names = ("min", "p0.5", "median", "p99.5", "max")
            row |= {
                "shape": facts.image.shape,
                "type": facts.image.stored,
                "spacing_mm": facts.image.spacing,
                "orientation": facts.image.orientation,
                "plane": facts.image.plane,
                "intensity": dict(zip(names, facts.image.range, strict=True)),
                "pixels_hash": facts.image.content,
            }
        if facts.mask is not None and coding is not None:
            pixels = class_pixels(facts.mask, coding, dataset.repairs.get(case.id))
            row["class_pixels"] = {coding.label_map.names[i]: number for i, number in pixels.items()}
        cases.append(row)
    return {
        "format_version": 1,
        "raw": str(raw),
        "layout": dataset.format,
        "modality": dataset.modality,
        "plane": found.plane,
        "classes": [] if coding is None else [label.model_dump(mode="json") for label in coding.label_map.labels],
        "counts": {level: len(found.at_level(level)) for level in ("error", "warning", "note")},
        "findings": [finding.model_dump(mode="json", exclude_none=True) for finding in found.findings],
        "cases": cases,
        "seconds": round(found.seconds, 2),
        "code_version": version("caseunet"),
    }
