"""``caseunet audit``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import (
    ConfigFile,
    FlatLists,
    Out,
    Overwrite,
    Settings,
    collect_options,
    replace_or_new,
    resolve_config,
    spell_options,
)
from caseunet.cli.terminal import console, print_findings, say, say_next
from caseunet.config import PrepareConfig
from caseunet.progress import TerminalDisplay, count_text


def audit_verb(
    raw: Annotated[Path, Parameter(help="Raw data set as it was downloaded.")],
    *,
    out: Out = Path("audit"),
    repair: Annotated[
        Path | None,
        Parameter(help="Write a repair plan for what is wrong. Read it, then prepare with --repair-plan."),
    ] = None,
    options: Annotated[PrepareConfig, FlatLists] = PrepareConfig(),
    config: ConfigFile = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.audit import audit

    resolved = resolve_config(config, None, settings, collect_options("prepare", options))
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    found = audit(raw, out=out, config=resolved.prepare, repair=repair, mode=mode, display=display)
    print_findings(found)
    say(f"page    {out / 'audit.html'}")
    given = [*(f"--{setting}" for setting in settings), *spell_options(options, leave_out=("repair_plan",))]
    if repair is not None:
        choices = found.proposed.open_choices if found.proposed is not None else ()
        choose = f", choose a repair for {count_text(len(choices), 'case')} in it" if choices else ""
        say(f"plan    {repair}: read it{choose}, then")
        say_next("prepare", raw, "--out", "prepared", "--repair-plan", repair, *given)
    elif any(finding.repairs or finding.ignore for finding in found.findings):
        say_next("audit", raw, "--out", out, "--overwrite", "--repair", "plan.yaml", *given)
    if found.at_level("error"):
        raise SystemExit(1)
