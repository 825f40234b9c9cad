"""``caseunet info``."""

from typing import Annotated

from cyclopts import Parameter

from caseunet.cli.parameters import BundleFolder
from caseunet.cli.terminal import console, say


def info_verb(
    bundle: BundleFolder,
    *,
    as_json: Annotated[bool, Parameter(name="--json", help="Print model.json instead.")] = False,
) -> None:
    from rich.markdown import Markdown

    from caseunet.commands.info import describe_bundle

    found = describe_bundle(bundle)
    if as_json:
        print(found.info.model_dump_json(indent=2))
        return
    console.print(Markdown(found.text))
    say(f"\n✓ {bundle}: whole; {found.parameters:,} numbers that fit {found.info.architecture.name}")
