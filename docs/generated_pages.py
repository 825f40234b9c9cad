"""Pages that follow from the code, for mkdocs: the command line's, the configuration's and the public API's."""

import inspect
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

import caseunet
from caseunet import config as configuration
from caseunet.cli import app


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in (("cli", command_line()), ("configuration", keys()), ("python", public_api())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository that are no pages become links to their text there, in words."""
    if "/" in page.file.src_uri:
        return markdown
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)


def command_line() -> str:
    """Every verb with its options."""
    text = app.generate_docs(output_format="markdown")
    text = text[: text.index("## Table of Contents")] + text[text.index("**Commands**") :]
    return text.replace("# caseunet\n", "# Command line\n", 1)


def keys() -> str:
    """Every key of the configuration, with its type, default and meaning."""
    parts = [
        "# Configuration",
        "",
        "In a YAML file (`--config`), or as an option of `prepare`, `train`, `compare` and `ablate`: "
        "`--training.patience 5`. `caseunet train --print-config` prints all with their values. Defaults here are the "
        "classes' own; recipe `default` sets some otherwise.",
        "",
    ]
    for name, field in configuration.Config.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            continue
        parts += [f"## {name}", "", f"{inspect.getdoc(section)}", "", "| key | default | meaning |", "|---|---|---|"]
        for key, meaning in meanings(section).items():
            default = section.model_fields[key].get_default(call_default_factory=True)
            parts.append(f"| `{key}` | `{default}` | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """The help of each field."""
    return {name: _plain(field.description or "") for name, field in section.model_fields.items()}


def _plain(text: str) -> str:
    """As Markdown that shows these characters, but for what stands in backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([|_*<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def public_api() -> str:
    """What ``import caseunet`` gives, each with its docstring."""
    parts = ["# Python", "", "What `import caseunet` gives; all else may change without notice.", ""]
    for name in caseunet.__all__:
        if name in caseunet._HOMES:  # the others are packages
            home = f"caseunet.{caseunet._HOMES[name]}.{name}"
            parts += [f"::: {home}", "    options:", f"      heading: caseunet.{name}", f"      toc_label: {name}", ""]
    return "\n".join(parts)
