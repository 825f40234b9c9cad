"""``caseunet preview``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import (
    ConfigFile,
    Overwrite,
    Prepared,
    Recipe,
    Settings,
    key_help,
    replace_or_new,
    resolve_config,
)
from caseunet.cli.terminal import say
from caseunet.progress import count_text


def preview_verb(
    prepared: Prepared,
    *,
    out: Annotated[Path, Parameter(help="PNG to write.")] = Path("prepared.png"),
    cases: Annotated[int, Parameter(help="Cases to show.")] = 6,
    slices: Annotated[int, Parameter(help="Slices of each case.")] = 3,
    config: ConfigFile = None,
    recipe: Recipe = None,
    fold: Annotated[int | None, Parameter(help="Fold whose training cases are shown.")] = None,
    seed: Annotated[int | None, key_help("seed")] = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.preview import preview

    given = {key: value for key, value in {"data.fold": fold, "seed": seed}.items() if value is not None}
    resolved = resolve_config(config, recipe, settings, given)
    mode = replace_or_new(overwrite)
    drawn = preview(prepared, out=out, config=resolved, cases=cases, slices=slices, mode=mode)
    say(f"{count_text(drawn, 'slice')} in {out}")
