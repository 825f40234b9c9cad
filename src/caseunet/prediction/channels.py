"""Which channels a model takes, how they are found, and what stands for one that is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from caseunet.bundle import BundleInfo
from caseunet.errors import InvalidInputError
from caseunet.io import scratch
from caseunet.progress import count_text
from caseunet.types import ImageVolume

DROPOUT_ADVICE = "A model that was trained with augment.channel_dropout takes such images."


class Channels(NamedTuple):
    """By which files of one image are known.

    Attributes:
        number: of the model's channels.
        names: of these, in order: how the files' names end, or what dataset.json calls them; () for numbers alone.
        known: names of all channels of the training images, in their order; () if they are the model's.
        by_number: whether numbers tell a channel though it has a name.
        fill: what stands for each of the model's channels where it is missing; () where that is an error.
    """

    number: int
    names: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    by_number: bool = False
    fill: tuple[float, ...] = ()

    @property
    def order(self) -> str:
        """The names where they are words, which the place of a channel does not tell: "t1c, t1n, t2f, t2w"."""
        is_told = self.by_number or all(name.isdecimal() for name in self.names)
        return "" if is_told else ", ".join(self.names)

    @property
    def all_names(self) -> tuple[str, ...]:
        """How the names of files may end, of all channels of an image."""
        return self.known or self.names

    @property
    def numbers(self) -> tuple[str, ...]:
        """The same as nnU-Net has it."""
        return tuple(f"{number:04d}" for number in range(len(self.all_names) or self.number))

    @property
    def places(self) -> tuple[int, ...]:
        """Of the model's channels among all."""
        return tuple(map(self.all_names.index, self.names)) if self.names else tuple(range(self.number))

    def name_of(self, place: int) -> str:
        """What a person calls one of all channels: "0000", "t1c", "0001 (T2)"."""
        if not self.by_number:
            return (self.all_names or self.numbers)[place]
        return f"{self.numbers[place]} ({self.all_names[place]})" if self.all_names else self.numbers[place]

    def fit(self, picture: ImageVolume, present: Sequence[int]) -> ImageVolume:
        """The model's channels of an image that was read; with a remark where files do not tell which they are.

        Args:
            picture: of files that are a channel each, or of one file.
            present: which of the model's channels the files are; () for one file, whose channels have no names.

        Raises:
            InvalidInputError: the file has other channels, and nothing tells which are the model's.
        """
        found, whole = picture.pixels.shape[1], len(self.all_names)
        if present and found == len(present) < self.number:
            return self._fill_missing(picture, present)
        if found != self.number and found == whole and (self.by_number or not self.order):
            names = ", ".join(self.names)
            told = f"its {whole} channels are taken to be {', '.join(self.all_names)}; the model sees {names}"
            seen = [picture.pixels[:, place : place + 1] for place in self.places]
            return _add_remark(replace(picture, pixels=scratch.concatenate_channels(seen)), told)
        if found == self.number and self.order and not present:
            several = f"its {self.number} channels are taken in the order {self.order}"
            return _add_remark(picture, several if found > 1 else f"it is taken to be {self.order}")
        if found not in (self.number, 1) and self.order and not present:
            raise InvalidInputError(
                f"holds {count_text(found, 'channel')}, and nothing in it tells which they are. The model takes "
                f"{self.order}. Give each channel in a file of its own whose name ends with the channel's."
            )
        return picture

    def _fill_missing(self, picture: ImageVolume, present: Sequence[int]) -> ImageVolume:
        missing = [c for c in range(self.number) if c not in present]
        pixels = fill_channels(picture.pixels, present, self.fill)
        names = tuple(self.names[c] if self.names else self.numbers[c] for c in missing)
        return replace(picture, pixels=pixels, missing=names)


def channels_of(info: BundleInfo) -> Channels | None:
    """By which files of one image are known; None where a model's images are one file."""
    p, data = info.preprocessing, info.training_data
    known = data.all_channel_names if len(data.all_channel_names) > 1 else ()
    if p.modality == "rgb" or (p.channels == 1 and not known):
        return None
    names = data.channel_names if len(data.channel_names) == p.channels else ()
    fill = p.missing_values if info.takes_missing_channels else ()
    return Channels(p.channels, names, known if names else (), data.channels_by_number, fill)


def fill_channels(pixels: np.ndarray, present: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """An image (S, C, H, W) of all channels, of which some are present and the others get their value.

    Whole numbers stay such: a value between two is rounded, and the type grows where it has no room for one.
    """
    missing = [c for c in range(len(values)) if c not in present]
    wanted = np.array([values[c] for c in missing], np.float64)
    kind = pixels.dtype
    if kind.kind in "iu":
        wanted = np.rint(wanted)
        kind = np.result_type(kind, *(np.min_scalar_type(int(value)) for value in wanted))
    filled = scratch.zeros((len(pixels), len(values), *pixels.shape[2:]), kind)
    for rows in scratch.blocks(filled):
        filled[rows, list(present)] = pixels[rows]
        filled[rows, missing] = wanted[:, None, None]
    return filled


def describe_missing(names: Sequence[str]) -> str:
    """What to say of an image that lacks channels."""
    if not names:
        return ""
    which = f"channel {names[0]} is" if len(names) == 1 else f"channels {', '.join(names)} are"
    return f"{which} missing: the mask is made from the others, as the model was trained to do"


def join_arrays(given: Mapping[Any, np.ndarray], channels: Channels) -> tuple[np.ndarray, tuple[str, ...]]:
    """Arrays of single channels as one whose last axis is channels; and the names of those that are missing.

    Args:
        given: {name: array}; or by number, from 0, where numbers tell the channels.
        channels: of the model.

    Raises:
        InvalidInputError: one is unknown or missing, or shapes differ.
    """
    known, names = channels.all_names or channels.numbers, channels.names or channels.numbers
    wanted = ", ".join(names)
    if channels.order and (numbers := [key for key in given if not isinstance(key, str)]):
        raise InvalidInputError(
            f"Channels by name: {numbers[0]!r} is no name, and numbers do not tell the channels of this model. It "
            f"takes {wanted}."
        )
    by_number = dict(enumerate(known))
    arrays = {str(by_number.get(key, key)).lower(): array for key, array in given.items()}
    unknown = [str(key) for key in given if str(by_number.get(key, key)).lower() not in map(str.lower, known)]
    if unknown:
        raise InvalidInputError(
            f"Channels by name: there is no channel {', '.join(unknown)}. The model takes {wanted}."
        )
    if len(arrays) < len(given):
        raise InvalidInputError(f"Channels by name: one is given twice, of {', '.join(map(str, given))}.")
    present = [c for c, name in enumerate(names) if name.lower() in arrays]
    missing = tuple(name for c, name in enumerate(names) if c not in present)
    if missing and not (channels.fill and present):
        raise InvalidInputError(
            f"Channels by name: {', '.join(missing)} is missing; the model takes {wanted}. {DROPOUT_ADVICE}"
        )
    chosen = [arrays[names[c].lower()] for c in present]
    if len({array.shape for array in chosen}) > 1:
        raise InvalidInputError(f"Channels by name: of shapes {', '.join(str(a.shape) for a in chosen)}, not of one.")
    stacked = np.stack(chosen)[None]  # as slices (1, C, …)
    if missing:
        flat = stacked.reshape(1, len(present), 1, -1)
        stacked = fill_channels(flat, present, channels.fill).reshape(1, channels.number, *chosen[0].shape)
    return np.moveaxis(stacked[0], 0, -1), missing


def _add_remark(picture: ImageVolume, remark: str) -> ImageVolume:
    geometry = picture.geometry
    return replace(picture, geometry=replace(geometry, remarks=(*geometry.remarks, remark)))
