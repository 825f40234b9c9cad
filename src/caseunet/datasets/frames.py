"""What the EndoVis layouts share: folders of frames, by sequence."""

from pathlib import Path

from caseunet.datasets.layout import Finding, by_key, files_below, natural, relative, twice
from caseunet.io import raster


def sequences_below(root: Path, frames: str = "left_frames") -> list[Path]:
    """Folders that hold ``frames``/ with images, in natural order (seq_2 before seq_10)."""
    found = {path.parent.parent for path in files_below(root) if path.parent.name == frames and raster.is_raster(path)}
    return sorted((path for path in found if path.is_relative_to(root)), key=lambda path: natural(path.as_posix()))


def is_endovis2017(sequence: Path) -> bool:
    """Whether a sequence is of EndoVis 2017, which has left_frames/ as EndoVis 2018 has."""
    return (sequence / "ground_truth").is_dir() or sequence.name.startswith("instrument_dataset")


def frame_name(sequence: Path, root: Path) -> str:
    """ "seq_1", or "train/seq_1" where it lies deeper: training and test sequences share their numbers."""
    return sequence.resolve().name if sequence == root else relative(sequence, root)


def images_in(folder: Path, root: Path) -> tuple[dict[str, Path], list[Finding]]:
    """{name without suffix: image} of the images directly in a folder, and those whose name is there twice."""
    if not folder.is_dir():
        return {}, []
    images = [path for path in folder.iterdir() if path.is_file() and raster.is_raster(path) and path.name[0] != "."]
    found, again = by_key(images, lambda path: path.stem)
    return found, [twice(path, root, found[path.stem]) for path in again]
