"""Pages that follow from the code, for mkdocs: the command line's, the configuration's and the public API's."""

import inspect
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

import caseunet
from caseunet import config as configuration
from caseunet.cli import create_app

BUILDING_BLOCKS = {
    "Models": (
        "models",
        "models.case_unet",
        "models.case_unet_config",
        "models.unet",
        "models.unet3plus",
        "models.transunet",
        "models.deeplabv3plus",
    ),
    "Losses": ("losses", "losses.hybrid", "losses.cross_entropy", "losses.dice", "losses.ssim"),
    "Metrics": ("metrics.overlap", "metrics.distances", "metrics.lesions"),
    "Transforms": ("data.augmentation", "data.transforms"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = {
        "cli": command_line(),
        "configuration": keys(),
        "python": public_api(),
        "building-blocks": building_blocks(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Write links to files of the repository outside docs/ as plain words: the site does not hold these files."""
    out_of_docs = r"\.\./" * (page.file.src_uri.count("/") + 1)
    return re.sub(rf"\[([^\]]+)\]\({out_of_docs}[^)]*\)", r"\1", markdown)


def on_page_content(html: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Leave out the roles of docstrings, which Markdown does not know: :func:`predict` becomes `predict`."""
    return re.sub(r":(?:func|class|data|meth):(?=<code>)", "", html)


def command_line() -> str:
    """Every verb with its options."""
    text = create_app().generate_docs(output_format="markdown")
    text = text[: text.index("## Table of Contents")] + text[text.index("**Commands**") :]
    return text.replace("# caseunet\n", "# Command line\n", 1)


def keys() -> str:
    """Every key of the configuration, with its type, default and meaning."""
    parts = [
        "# Configuration",
        "",
        "You set a key in a YAML file (`--config`), or as an option of `prepare`, `train`, `compare` and `ablate`: "
        "`--training.patience 5`. `caseunet train --print-config` prints all keys with their values. The defaults here "
        "are those of the classes. The recipe `default` sets some of them otherwise.",
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
    parts = ["# Python", "", "What `import caseunet` gives you. All else may change without notice.", ""]
    for name in caseunet.__all__:
        if name in caseunet._HOMES:  # the others are packages
            home = f"caseunet.{caseunet._HOMES[name]}.{name}"
            parts += [f"::: {home}", "    options:", f"      heading: caseunet.{name}", f"      toc_label: {name}", ""]
    return "\n".join(parts)


def building_blocks() -> str:
    """The modules that a program of your own may use: networks, losses, metrics, transforms."""
    parts = [
        "# Models, losses, metrics, transforms",
        "",
        "You can use these parts in your own PyTorch program. They are not as stable as [the public API](python.md).",
        "",
    ]
    for title, package in BUILDING_BLOCKS.items():
        parts += [f"## {title}", ""]
        for module in package:
            parts += [f"::: caseunet.{module}", "    options:", "      heading_level: 3", ""]
    return "\n".join(parts)
