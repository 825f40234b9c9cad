"""PREPARED as it comes to be: one whole array after another, beside its place, and moved when all is there."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from upath import UPath
from zarr.codecs import BloscCodec, Crc32cCodec

from caseunet.data.store import DESCRIPTION, KIND, KINDS, CaseRow, DatasetInfo, chunk_size, open_group, unfinished_path
from caseunet.errors import CaseUNetError
from caseunet.files import Location, check_output_folder, mark_output, read_json, write_json
from caseunet.types import Split

UNFINISHED = "an unfinished prepared data set"
"""What the folder of a :class:`Workplace` is marked as."""

SHARD_BYTES = 8 * 1024**2
"""Of slices in a shard, before they are compressed."""


@dataclass(frozen=True)
class Workplace:
    """The folder NAME.unfinished beside a PREPARED: ``data`` becomes it, ``done`` lists the arrays that are whole.

    An array counts once its list of rows is there, which is written after it: what a kill leaves is never read. Any
    process may write to it.
    """

    folder: Location

    @property
    def data(self) -> Location:
        return self.folder / "data"

    @property
    def lists(self) -> Location:
        return self.folder / "done"

    @property
    def log(self) -> Location:
        """Of what failed."""
        return self.folder / "errors.log"

    def done(self, array: str, key: str) -> list[CaseRow] | None:
        """The rows of an array that was finished from the same sources in the same way; None if it was not."""
        path = self._list_of(array)
        if not path.is_file():
            return None
        try:
            content = read_json(path, "a list of prepared cases")
            rows: list[CaseRow] = _ROWS.validate_python(content["rows"])
        except (CaseUNetError, ValidationError, KeyError, TypeError):
            return None
        return rows if content["key"] == key else None

    def add(
        self,
        array: str,
        key: str,
        rows: Sequence[CaseRow],
        images: np.ndarray,
        labels: np.ndarray,
        references: np.ndarray | None = None,
    ) -> None:
        """Store an array's pixels, (S, C, H, W), class ids (S, H, W) and, if others, those at the source's size, then
        its rows."""
        path = self._list_of(array)
        if path.is_file():
            path.unlink()
        labels = labels.astype(np.uint8, copy=False)
        for kind, pixels in zip(KINDS, (images, labels, references), strict=True):
            if pixels is None:
                continue
            group = open_group(self.data / f"{kind}.zarr", "r+")
            shuffled = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=pixels.dtype.itemsize)
            shards = -(-pixels.nbytes // SHARD_BYTES)
            slices = -(-len(pixels) // shards)
            tile = chunk_size(pixels.shape[-2], pixels.shape[-1])
            whole = [-(-length // side) * side for length, side in zip(pixels.shape[-2:], tile, strict=True)]
            stored = group.create_array(
                array,
                shape=pixels.shape,
                dtype=pixels.dtype,
                chunks=(1, *pixels.shape[1:-2], *tile),
                shards=(slices, *pixels.shape[1:-2], *whole),
                compressors=[shuffled, Crc32cCodec()],  # a flipped bit is an error, not another pixel
                config={"write_empty_chunks": True},  # so that a missing file is missing, and not all zero
                overwrite=True,
            )
            for start in range(0, len(pixels), slices):  # one at a time, so that little is held beside the case
                stored[start : start + slices] = pixels[start : start + slices]
        write_json(path, {"key": key, "rows": _ROWS.dump_python(list(rows), mode="json")})

    def _list_of(self, array: str) -> Location:
        return self.lists / f"{array}.json"


_ROWS = TypeAdapter(list[CaseRow])


class PreparedWriter:
    """Holds the :class:`Workplace` of a PREPARED for one process, and moves the data into place when all is there.

    What an earlier run left there is kept. Used as a context; other processes may write arrays meanwhile.

    Args:
        folder: where PREPARED will be.
        replace: whether an earlier one may be replaced.

    Raises:
        CaseUNetError: another process prepares to the same folder, or the workplace holds something else.
    """

    def __init__(self, folder: Location, replace: bool = False) -> None:
        self.folder = folder.resolve() if isinstance(folder, Path) else folder
        self._replace = replace
        self.workplace = Workplace(unfinished_path(self.folder))
        self._lock = None  # behind a URL nothing tells whether another process is at work
        if isinstance(self.folder, Path):
            self._lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"))

    def __enter__(self) -> "PreparedWriter":
        work = self.workplace
        check_output_folder(work.folder, UNFINISHED, (), overwrite=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self._lock is not None:
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise CaseUNetError(
                    f"{self.folder}: another run prepares to it now. Choose another folder.", options=("out",)
                ) from error
        try:
            if not work.data.is_dir():
                remove(work.folder)  # lists of arrays that are not there
            work.lists.mkdir(parents=True, exist_ok=True)
            mark_output(work.folder, UNFINISHED)
            work.log.unlink(missing_ok=True)
            for kind in KINDS:
                group = work.data / f"{kind}.zarr"
                if not (group / "zarr.json").is_file():
                    open_group(group, "w")
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        work = self.workplace
        if work.lists.is_dir() and not any(work.lists.iterdir()) and not work.log.is_file():
            remove(work.folder)  # nothing in it is worth to be kept
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def finish(self, info: DatasetInfo, rows: Iterable[CaseRow], split: Split) -> None:
        """Write the descriptions, remove arrays that no row names, and move all into place."""
        data = self.workplace.data
        columns = [vars(row) | {"intensities": row.intensities.flat()} for row in rows]
        used = {row["array"] for row in columns}
        for kind in KINDS:
            for left in (path for path in (data / f"{kind}.zarr").iterdir() if path.is_dir() and path.name not in used):
                remove(left)
        with (data / "cases.parquet").open("wb") as stream:
            pd.DataFrame(columns).to_parquet(stream, index=False)
        write_json(data / "splits.json", split.model_dump(mode="json"))
        mark_output(data, KIND)
        write_json(data / DESCRIPTION, info.model_dump(mode="json"))
        if not self._replace and self.folder.is_dir() and any(self.folder.iterdir()):
            raise CaseUNetError(
                f"{self.folder}: another run has written it meanwhile. Choose another folder.", options=("out",)
            )
        self._publish(data)
        remove(self.workplace.folder)

    def _publish(self, data: Location) -> None:
        if isinstance(self.folder, Path) and isinstance(data, Path):
            before = self.folder.with_name(f".caseunet-before-{self.folder.name}")
            remove(before)
            if self.folder.exists():
                self.folder.rename(before)
            data.rename(self.folder)
            remove(before)
        elif isinstance(self.folder, UPath) and isinstance(data, UPath):
            remove(self.folder)
            files = [path for path in data.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.name == DESCRIPTION):  # without it nothing can be read
                target = self.folder.joinpath(*path.parts[len(data.parts) :])
                target.parent.mkdir(parents=True, exist_ok=True)
                data.fs.mv(path.path, target.path)


def remove(folder: Location) -> None:
    """Remove a folder with all that it holds, if it is there."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.fs.rm(folder.path, recursive=True)
