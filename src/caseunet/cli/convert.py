"""``caseunet convert``."""

from pathlib import Path
from typing import Annotated, Literal

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
)
from caseunet.cli.terminal import console, say, say_next
from caseunet.config import ReadingConfig
from caseunet.options import ConvertOptions
from caseunet.progress import TerminalDisplay, count_text

NOT_ALONE = ("dicom-seg", "rtstruct")
"""Formats without images, which are read beside the series that they are of."""


def convert_verb(
    source: Annotated[
        Path, Parameter(help="Raw data set in a layout that prepare reads, or a folder written by caseunet predict.")
    ],
    *,
    to: Annotated[
        Literal[
            "nnunet",
            "png",
            "nifti",
            "seg.nrrd",
            "dicom-seg",
            "rtstruct",
            "coco",
            "labelme",
            "yolo",
            "voc",
            "cvat",
            "label-studio",
        ],
        Parameter(help="Format to write."),
    ],
    out: Out,
    options: Annotated[ConvertOptions, FlatLists] = ConvertOptions(),
    reading: Annotated[ReadingConfig, FlatLists] = ReadingConfig(),
    config: ConfigFile = None,
    settings: Settings = (),
    overwrite: Overwrite = False,
) -> None:
    from caseunet.commands.convert import convert

    read_as = resolve_config(config, None, settings, collect_options("prepare", reading)).prepare
    mode, display = replace_or_new(overwrite), TerminalDisplay(console)
    done = convert(source, to=to, out=out, options=options, config=read_as, mode=mode, display=display)
    say(f"{count_text(len(done.cases), 'case')} as {done.format} in {done.folder}")
    if done.format not in NOT_ALONE and not done.masks_alone:
        say_next("prepare", done.folder, "--out", "prepared")
