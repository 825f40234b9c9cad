"""RAW or PREDICTIONS → the format of another tool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from caseunet.config import PrepareConfig
from caseunet.datasets import Finding, SourceCase, SourceDataset, open_source
from caseunet.datasets.coding import declare_regions
from caseunet.datasets.dicom import DICOM, find_images
from caseunet.datasets.exchange import FORMATS, PICTURES
from caseunet.datasets.exchange.source import ExchangeSource, build_cases
from caseunet.datasets.layout import Layout, Listing
from caseunet.datasets.meanings import with_coding
from caseunet.datasets.partial import settle_labelled
from caseunet.datasets.planes import CutLayout, choose_plane
from caseunet.datasets.reading import FileLayout, require_coding
from caseunet.datasets.splits import SplitCase, from_file, split_as_given
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, InvalidOptionError
from caseunet.files import check_output_folder, output_folder
from caseunet.io import images, raster
from caseunet.io.dicom import is_dicom, read_header
from caseunet.options import ConvertOptions, is_overwrite
from caseunet.prediction.store import DESCRIPTION, PredictedCase, is_unfinished, read_predictions
from caseunet.progress import Display, Notices, count_text
from caseunet.types import Geometry, ImageVolume, LabelCoding, Modality, Split

KIND = "a converted data set"
MAX_REMARKS = 10
"""On the raw data, that are shown."""


@dataclass(frozen=True, repr=False)
class Conversion:
    """What :func:`convert` wrote.

    Attributes:
        folder: that holds it.
        format: its name.
        cases: that were written.
        warnings: what the format could not hold.
        masks_alone: whether there are cases whose image is not there.
    """

    folder: Path
    format: str
    cases: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    masks_alone: bool = False

    def __repr__(self) -> str:
        return f"<{count_text(len(self.cases), 'case')} as {self.format}: {self.folder}>"


def convert(
    source: str | Path,
    *,
    to: str,
    out: str | Path,
    options: ConvertOptions = ConvertOptions(),
    config: PrepareConfig = PrepareConfig(),
    mode: Literal["new", "overwrite"] = "new",
    display: Display | None = None,
) -> Conversion:
    """Write a raw data set or predictions in the format of another tool; the originals are not touched.

    Args:
        source: a raw data set in a known layout, or a folder written by ``predict``.
        to: the format: "nnunet", "coco", "yolo" …
        out: the folder to write.
        options: split, polygons or masks, names.
        config: layout, groups and repair plan of a raw data set.
        mode: "overwrite" replaces an earlier conversion at ``out``.
        display: shows progress.

    Raises:
        CaseUNetError: the source cannot be read, or the format cannot hold what it is.
    """
    source, out, notices = Path(source), Path(out), Notices(display)
    write = FORMATS.get(to)
    told = [path for path in (options.split, config.repair_plan) if path is not None]
    check_output_folder(out, KIND, [source, *told], is_overwrite(mode))
    content = _open(source, to, options, config, notices)
    with output_folder(out, KIND, [source, *told], is_overwrite(mode)) as folder:
        write(content, folder)
        notices.write_log(folder)
    written = content.cases if to == "nnunet" else content.labelled  # the others have no place for images alone
    alone = not all(content.has_image(case) for case in written)
    return Conversion(out, to, tuple(case.case.id for case in written), notices.warnings, alone)


def _open(source: Path, to: str, options: ConvertOptions, config: PrepareConfig, display: Display) -> ExchangeSource:
    """What is to be converted, with its split.

    Raises:
        CaseUNetError: it cannot be read.
    """
    if not source.exists():
        raise InputNotFoundError(f"{source}: no such folder; expected a raw data set, or predictions.")
    predictions = _PredictionsLayout()
    if predictions.matches(source):
        layout: Layout = predictions
        dataset = predictions.discover(source)
        for finding in dataset.findings:
            display.caution(finding.text if finding.case is None else f"{finding.case} {finding.text}")
    else:
        layout, dataset = _open_raw(source, config)
        for n, finding in enumerate(dataset.findings):
            about = finding.file or finding.case or dataset.root
            display.caution(f"{about}: {finding.text}", "", shown=n < MAX_REMARKS)
        if len(dataset.findings) > MAX_REMARKS:
            display.say(f"  and {len(dataset.findings) - MAX_REMARKS} more remarks: caseunet audit {source} shows all")
        if dataset.repairs:
            display.say(f"  {count_text(len(dataset.repairs), 'case')} repaired as {config.repair_plan} says")
    if to in PICTURES:
        plane, _ = choose_plane(config.plane, layout, dataset, config.workers)
        layout = CutLayout(layout, plane)
    split = _find_split(dataset, options)
    name = source.resolve().name
    cases = build_cases(dataset, split, options.fold)
    return ExchangeSource(layout, dataset, cases, options, display, split, name)


def _open_raw(source: Path, config: PrepareConfig) -> tuple[Layout, SourceDataset]:
    layout, dataset = open_source(source, config)
    faults = [finding for finding in dataset.findings if finding.level == "error"]
    if faults:
        about = faults[0].file or faults[0].case or dataset.root
        raise InvalidInputError(
            f"{dataset.root}: {about}: {faults[0].text}. {faults[0].advice}",
            options=("prepare.repair_plan",),
        )
    if not dataset.labelled:
        raise InvalidInputError(f"{dataset.root}: has no masks, so there is nothing to convert.")
    dataset = with_coding(layout, dataset, config.workers)
    coding = require_coding(dataset)
    if config.regions:
        regions = {name: list(members) for name, members in config.regions.items()}
        coding = declare_regions(coding, regions, "prepare.regions")
        dataset = replace(dataset, coding=coding)
    return layout, settle_labelled(dataset, coding.label_map, source)


class _PredictionsLayout(FileLayout):
    """Predictions as a data set: the images beside their masks where they are still there and can be read."""

    name = "predictions"
    looks_like = "predictions.json beside masks"
    rank = 0

    def matches(self, root: Path) -> bool:
        return (root / DESCRIPTION).is_file() or is_unfinished(root)

    def cases(self, root: Path) -> Listing:
        """List the masks under the names of their cases.

        Raises:
            CaseUNetError: the predictions are not finished, or there are none.
        """
        info = read_predictions(root)
        lost = {failure.id: "could not be predicted" for failure in info.failed}
        found, alone = [], []
        for item in info.cases:
            mask = root / item.file
            if not mask.is_file():
                lost[item.id] = "is a film, whose masks are a folder" if mask.is_dir() else f"{item.file} is gone"
                continue
            files, volume = _find_image(item.id, Path(item.image))
            alone += [] if files else [item]
            found.append(SourceCase(item.id, files or (mask,), (mask,), item.id, volume=volume))
        if not found:
            raise InvalidInputError(f"{root}: holds no masks that can be converted.")
        findings = [
            Finding(level="warning", kind="left-out", text=f"{why}, and is left out", case=case)
            for case, why in lost.items()
        ]
        return Listing(tuple(found), (*findings, *_tell_alone(alone)))

    def discover(self, root: Path) -> SourceDataset:
        listed, findings = self.cases(root)
        label_map = read_predictions(root).label_map
        return SourceDataset(
            format=self.name,
            root=root,
            cases=listed,
            coding=LabelCoding(label_map=label_map, codes={label.id: label.id for label in label_map.labels}),
            modality=_modality_of(listed),
            group_name="case",
            licence="",
            findings=findings,
        )

    def read_geometry(self, case: SourceCase) -> Geometry:
        return DICOM.read_geometry(case) if is_dicom(case.image[0]) else super().read_geometry(case)

    def read_image(self, case: SourceCase, rgb: bool, nan: float | None = None) -> ImageVolume:
        return DICOM.read_image(case, rgb, nan) if is_dicom(case.image[0]) else super().read_image(case, rgb, nan)


def _find_image(case: str, path: Path) -> tuple[tuple[Path, ...], str]:
    """The files of the image of which predictions name the first, and which of their volumes it is; none where it is
    not there or cannot be read."""
    if not path.is_file():
        return (), ""
    if images.is_image(path):
        return (path,), ""
    series = [own for own in _list_series(path.parent) if path in own.image]
    if len(series) > 1:  # frames, or volumes of one file
        series = [own for own in series if own.id.split("/")[-1] == case.split("/")[-1]]
    return (series[0].image, series[0].volume) if len(series) == 1 else ((), "")


@lru_cache(maxsize=8)  # each image of a folder asks
def _list_series(folder: Path) -> tuple[SourceCase, ...]:
    """The DICOM images in a folder, without those below it."""
    try:
        return find_images(folder, sorted(path for path in folder.iterdir() if path.is_file()), None)[0].cases
    except CaseUNetError:
        return ()


def _tell_alone(items: Sequence[PredictedCase]) -> Iterator[Finding]:
    """A warning on cases that have a mask alone."""
    if not items:
        return
    first = items[0]
    gone = "is not there" if not Path(first.image).is_file() else "cannot be read"
    text = (
        f"{count_text(len(items), 'case')} without an image ({first.image}, of {first.id}, {gone}): only the mask is "
        "written. Paths of images count from the folder in which you predicted."
    )
    yield Finding(level="warning", kind="no-image", text=text)


def _modality_of(cases: tuple[SourceCase, ...]) -> Modality:
    first = cases[0].image[0]
    if is_dicom(first):
        header = read_header(first)
        if header.kind == "still":
            return "rgb" if header.colored else "gray"
        return "ct" if header.modality == "CT" else "mr"
    if images.is_volume(first):
        return "mr"
    return "rgb" if any(raster.is_colored(case.image[0]) for case in cases if case.image != case.label) else "gray"


def _find_split(dataset: SourceDataset, options: ConvertOptions) -> Split | None:
    """The split that is told, or that the data set brings.

    Raises:
        CaseUNetError: it cannot be read, or has no such fold.
    """
    cases = {case.id: SplitCase(case.group, 1, part=case.part) for case in dataset.labelled}
    if options.split is None:
        split = split_as_given(cases, dataset.group_name)
    else:
        split = from_file(options.split, cases, dataset.group_name)
    folds = 0 if split is None else len(split.folds)
    if split is not None and options.fold >= folds:
        raise InvalidOptionError(f"The split has folds 0 to {folds - 1}, not {options.fold}.", options=("fold",))
    return split
