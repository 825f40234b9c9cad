"""Bundles on disk: written whole, and read without trusting a byte of them."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from caseunet.bundle.card import model_card
from caseunet.bundle.info import BundleInfo, Quality, Score, TrainingData
from caseunet.errors import CaseUNetError, InputNotFoundError, InvalidInputError, MissingExtraError
from caseunet.files import as_model, content_hash, replace_when_whole, write_json, write_text
from caseunet.types import LabelMap, Preprocessing

DESCRIPTION, WEIGHTS, CARD, PREVIEW = "model.json", "model.safetensors", "README.md", "preview.png"
FILES = (DESCRIPTION, WEIGHTS, CARD, PREVIEW)

MAX_DESCRIPTION = 32 * 1024**2
"""Bytes of a model.json that are read; those of hundreds of cases have less than one million."""

MAX_EXPANSION = 100
"""How many times smaller weights may be in a zip; trained ones shrink by a tenth."""

THEN = (1980, 1, 1, 0, 0, 0)
"""Date of the files in a zip, so that the same bundle gives the same zip."""


@dataclass(frozen=True)
class Network:
    """One network of a bundle: how its images are prepared, what it was trained on, its weights by parameter name."""

    preprocessing: Preprocessing
    training_data: TrainingData
    weights: dict[str, Tensor]


@dataclass(frozen=True, repr=False)
class Bundle:
    """A bundle in memory: its description, its weights by parameter name, and the folder or zip it came from."""

    info: BundleInfo
    weights: dict[str, Tensor]
    folder: Path

    def __repr__(self) -> str:
        """One line; the whole of it is in ``info``."""
        names = ", ".join(self.info.label_map.names)
        return f"<Bundle {self.folder}: {self.info.architecture.name} for {self.info.preprocessing.modality}, {names}>"

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | None = None,
    ) -> "Bundle":
        """A bundle from a folder or zip of this machine, or else from the Hugging Face hub.

        Args:
            name: folder, zip, or "owner/name" of a model on the hub.
            revision: branch, tag or commit there.
            cache_dir: where what comes from the hub is kept; None is the hub library's own choice.
            token: for private models.

        Raises:
            CaseUNetError: as for :func:`load_bundle`; there is no such model, or huggingface_hub is not installed.
        """
        if Path(name).exists():
            return load_bundle(name)
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise MissingExtraError(
                f"{name}: no such folder or zip. To take models from the Hugging Face hub, install caseunet[hub]."
            ) from error
        try:
            folder = snapshot_download(
                str(name), revision=revision, cache_dir=cache_dir, token=token, allow_patterns=list(FILES)
            )
        except Exception as error:  # of HTTP, of names, of the cache: each its own kind
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise InputNotFoundError(
                f"{name}: no such folder or zip, and the hub gives no such model: {told[0]}"
            ) from error
        return load_bundle(folder)

    @property
    def networks(self) -> list[Network]:
        """Those of an ensemble, or the one."""
        if not self.info.members:
            return [Network(self.info.preprocessing, self.info.training_data, self.weights)]
        return [
            Network(
                member.preprocessing,
                member.training_data,
                {
                    name.removeprefix(member.prefix): tensor
                    for name, tensor in self.weights.items()
                    if name.startswith(member.prefix)
                },
            )
            for member in self.info.members
        ]


def save_bundle(folder: Path, weights: dict[str, Tensor], preview: Path | None = None, **info: Any) -> None:
    """Write a bundle.

    Args:
        preview: a PNG that shows what the network does; copied.
        info: the fields of :class:`BundleInfo` without format, size, hash, input and output.
    """
    preprocessing: Preprocessing = info["preprocessing"]
    label_map: LabelMap = info["label_map"]
    folder.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(folder / WEIGHTS) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, temporary)
        temporary.chmod(folder.stat().st_mode & 0o666)  # safetensors lets nobody else read it
    if preview is not None:
        with replace_when_whole(folder / PREVIEW) as temporary:
            shutil.copyfile(preview, temporary)
    description = BundleInfo(
        input=f"float32 (B, {preprocessing.in_channels}, H, W), H and W at least 32, preprocessed as below",
        output=f"logits (B, {len(label_map)}, H, W)",
        weights_hash=content_hash(folder / WEIGHTS),
        weights_bytes=(folder / WEIGHTS).stat().st_size,
        **info,
    )
    _describe(folder, description)


def add_validation(bundle: Bundle, validation: Score, quality: Quality | None) -> Bundle:
    """Write what validation of a bundle that is there measured and taught into it."""
    info = bundle.info.model_copy(update={"validation": validation, "quality": quality})
    _describe(bundle.folder, info)
    return Bundle(info, bundle.weights, bundle.folder)


def _describe(folder: Path, info: BundleInfo) -> None:
    write_text(folder / CARD, model_card(info, (folder / PREVIEW).is_file()))
    write_json(folder / DESCRIPTION, info.model_dump(mode="json"))


def write_zip(bundle: Bundle, out: Path) -> None:
    """The bundle as one file, in a folder called like it. The weights are stored as they are: they do not shrink.

    Raises:
        CaseUNetError: it is a zip already.
    """
    if not bundle.folder.is_dir():
        raise InvalidInputError(f"{bundle.folder}: is a zip already; copy it.")
    with replace_when_whole(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in FILES:
            if (bundle.folder / name).is_file():
                entry = zipfile.ZipInfo(f"{out.stem}/{name}", THEN)
                entry.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                with (bundle.folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle; runs no code from it, and reads no more than it says it has.

    Args:
        path: its folder, a zip of it, or the folder of the run that wrote it.

    Raises:
        CaseUNetError: it is missing, damaged, or of another format, or weights are no finite numbers; the message names
            the file.
    """
    folder = Path(path)
    if not (folder / DESCRIPTION).is_file() and (folder / "bundle" / DESCRIPTION).is_file():
        folder /= "bundle"
    with _open_bundle(folder) as files:
        if files.size(DESCRIPTION) is None:
            raise InvalidInputError(f"{folder}: holds no {DESCRIPTION}; expected a bundle, as training writes them.")
        try:
            content = json.loads(files.read(DESCRIPTION, MAX_DESCRIPTION))
        except CaseUNetError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{folder / DESCRIPTION}: cannot be read as a bundle: {error}.") from error
        info = as_model(content, BundleInfo, folder / DESCRIPTION, "a bundle")
        size, weights = files.size(WEIGHTS), folder / WEIGHTS
        if size is None:
            raise InputNotFoundError(f"{weights}: no such file; the bundle is incomplete.")
        if info.weights_bytes is not None and size != info.weights_bytes:
            raise InvalidInputError(
                f"{weights}: has {size:,} bytes where {DESCRIPTION} says {info.weights_bytes:,}. Copy the bundle again."
            )
        try:
            digest, tensors = files.tensors(size)
        except CaseUNetError:
            raise
        except (SafetensorError, OSError) as error:
            raise InvalidInputError(f"{weights}: cannot be read as safetensors: {error}") from error
        if digest != info.weights_hash:
            raise InvalidInputError(
                f"{weights}: is not the file that {DESCRIPTION} describes (its hash differs). Copy the bundle again."
            )
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise InvalidInputError(
                    f"{weights}: {name} holds values that are no finite numbers (NaN or infinity), so the network can "
                    "segment nothing. Train it again, or take another copy."
                )
    return Bundle(info=info, weights=tensors, folder=folder)


class _Files(Protocol):
    """What a bundle is read from."""

    def size(self, name: str) -> int | None: ...

    def read(self, name: str, most: int) -> bytes: ...

    def tensors(self, size: int) -> tuple[str, dict[str, Tensor]]: ...


@contextmanager
def _open_bundle(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _InFolder(path)
        return
    if not path.is_file():
        raise InputNotFoundError(
            f"{path}: no such bundle; expected a folder with {DESCRIPTION} and {WEIGHTS}, or a zip of it."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            yield _InZip(path, archive)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidInputError(f"{path}: cannot be read as the zip of a bundle: {error}") from error


@dataclass(frozen=True)
class _InFolder:
    folder: Path

    def size(self, name: str) -> int | None:
        return (self.folder / name).stat().st_size if (self.folder / name).is_file() else None

    def read(self, name: str, most: int) -> bytes:
        with (self.folder / name).open("rb") as stream:
            return _at_most(stream.read(most + 1), most, self.folder / name)

    def tensors(self, size: int) -> tuple[str, dict[str, Tensor]]:
        return content_hash(self.folder / WEIGHTS), load_file(self.folder / WEIGHTS)


class _InZip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            *folders, name = entry.filename.split("/")
            if name in FILES and len(folders) <= 1:
                if name in self.entries:
                    raise InvalidInputError(f"{path}: holds two files called {name}; expected one bundle.")
                self.entries[name] = entry

    def size(self, name: str) -> int | None:
        return self.entries[name].file_size if name in self.entries else None

    def read(self, name: str, most: int) -> bytes:
        with self.archive.open(self.entries[name]) as stream:  # reads no more than it asks for, whatever would come
            return _at_most(stream.read(most + 1), most, self.path / name)

    def tensors(self, size: int) -> tuple[str, dict[str, Tensor]]:
        if size > MAX_EXPANSION * self.entries[WEIGHTS].compress_size:
            raise InvalidInputError(f"{self.path / WEIGHTS}: claims {size:,} bytes in far fewer; no weights shrink so.")
        content = self.read(WEIGHTS, size)
        return hashlib.blake2b(content, digest_size=16).hexdigest(), load(content)


def _at_most(content: bytes, most: int, path: Path) -> bytes:
    if len(content) > most:
        raise InvalidInputError(f"{path}: has more than the {most:,} bytes that are read of it; the bundle is damaged.")
    return content
