"""How stored pixels become network input: planned from the data, channel by channel."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from caseunet.config import DataConfig, NormalizationRule
from caseunet.data.intensities import Intensities
from caseunet.data.store import DatasetInfo
from caseunet.errors import InvalidOptionError
from caseunet.types import Preprocessing, Window

CT_WINDOW = (-200.0, 250.0)
"""HU window of CT where none is configured; soft tissue of the abdomen."""

MIN_CONTRAST = 1e-6
"""Standard deviation, as a share of the window, below which a structure has one value but for rounding."""

SCHEMES: dict[str, NormalizationRule] = {
    "zscore": "zscore-per-case",
    "nonorm": "none",
    "rescale_to_0_1": "range",
    "rescale_0_1": "range",
    "rgb_to_0_1": "range",
    "rescale_rgb_to_0_1": "range",
}
"""{name of a channel in nnU-Net's dataset.json, in lower case: rule that it asks for}."""


class ChannelPlan(NamedTuple):
    """How one channel is normalized."""

    window: Window | None
    per_case_zscore: bool
    mean: float = 0.0
    std: float = 1.0


def plan_preprocessing(
    info: DatasetInfo, intensities: Intensities, config: DataConfig, patch_size: tuple[int, int]
) -> Preprocessing:
    """Work out how stored pixels become network input.

    Args:
        info: of the data.
        intensities: of the cases that training sees.
        config: what is given goes before what the data suggest.
        patch_size: height and width that training sees; whole slices get at least that.

    Raises:
        InvalidOptionError: a rule or a window is given for a channel that the data do not have.
    """
    rules, windows = choose_rules(info, config), _choose_windows(info, config)
    plans = [_plan_channel(info, intensities, c, rules[c], windows[c]) for c in range(info.channels)]
    return Preprocessing(
        **info.grid.model_dump(),
        modality=info.modality,
        channels=info.channels,
        context_slices=config.context_slices,
        channel_repeat=3 if config.repeat_to_rgb and info.channels == 1 else 1,
        intensity_window=tuple(plan.window for plan in plans),
        per_case_zscore=tuple(plan.per_case_zscore for plan in plans),
        mean=tuple(plan.mean for plan in plans),
        std=tuple(plan.std for plan in plans),
        min_size=patch_size,
        window=patch_size,
        value_range=info.value_range,
    )


def choose_rules(info: DatasetInfo, config: DataConfig) -> list[NormalizationRule]:
    """The rule of each channel: as given by its name, as nnU-Net's name asks for, or the one for all.

    Raises:
        InvalidOptionError: one is given for a channel that there is not.
    """
    given, names = config.normalization, _names(info)
    if isinstance(given, str):
        return [SCHEMES.get(_scheme(name), given) for name in names]
    _check_names(given, info, "data.normalization")
    by_name = {name.lower(): rule for name, rule in given.items()}
    return [by_name.get(name.lower()) or SCHEMES.get(_scheme(name), "zscore") for name in names]


def is_ct(info: DatasetInfo) -> list[bool]:
    """Which channels are CT: those that are called so, or all of a CT data set in which none is."""
    called = ["ct" in re.split(r"[^a-z]+", name.lower()) for name in _names(info)]
    return called if any(called) else [info.modality == "ct"] * info.channels


def describe_channels(info: DatasetInfo, all_names: Sequence[str], preprocessing: Preprocessing) -> list[str]:
    """A line on which channels are seen, where not all are, and on each that is normalized by its own rule."""
    p, names = preprocessing, info.channel_names
    seen = [] if len(names) == len(all_names) else [f"sees {', '.join(names)} of the channels {', '.join(all_names)}"]
    if len(set(p.intensity_window)) == len(set(p.per_case_zscore)) == 1 or len(names) != p.channels:
        return seen
    told = []
    for name, window, per_case, mean, std in zip(
        names, p.intensity_window, p.per_case_zscore, p.mean, p.std, strict=True
    ):
        clipped = f"clipped to {window[0]:g} … {window[1]:g}, " if window else ""
        scaled = "by the mean and deviation of each case" if per_case else f"minus {mean:.4g}, over {std:.4g}"
        scaled = "as stored" if not per_case and (mean, std) == (0, 1) else scaled
        told.append(f"{name}: {clipped}{scaled}")
    return [*seen, *told]


def _plan_channel(
    info: DatasetInfo, intensities: Intensities, channel: int, rule: NormalizationRule, given: Window | None
) -> ChannelPlan:
    ct, is_scan = is_ct(info)[channel], info.modality in ("ct", "mr")
    per_case = rule == "zscore-per-case" or (rule == "zscore" and is_scan and not ct)
    if per_case or rule == "none":
        return ChannelPlan(given, per_case)
    window = given
    if given is None and info.dtype != "uint8":
        window = CT_WINDOW if ct and rule == "range" else _find_window(info, intensities, channel)
    if rule == "range":
        low, high = window or (0.0, 255.0)
        return ChannelPlan(window, False, low, high - low or 1.0)
    spread = window[1] - window[0] if window else 255.0 if info.dtype == "uint8" else 1.0
    mean, std = intensities.mean[channel], intensities.std[channel]
    return ChannelPlan(window, False, mean, std if std > MIN_CONTRAST * spread else spread)


def _find_window(info: DatasetInfo, intensities: Intensities, channel: int) -> Window | None:
    """The middle 99 % of a channel's foreground; colours keep one window, so that white stays white."""
    low, high = intensities.low[channel], intensities.high[channel]
    if info.modality == "rgb":
        low, high = min(intensities.low), max(intensities.high)
    if low == high:  # structures of one value tell no window, but their images may
        low, high = info.value_range or (low, high)
    return (low, high) if low < high else None


def _choose_windows(info: DatasetInfo, config: DataConfig) -> list[Window | None]:
    """The window that is given for each channel."""
    given = config.intensity_window
    if not isinstance(given, Mapping):
        return [given] * info.channels
    _check_names(given, info, "data.intensity_window")
    by_name = {name.lower(): window for name, window in given.items()}
    return [by_name.get(name.lower()) for name in _names(info)]


def _names(info: DatasetInfo) -> tuple[str, ...]:
    return info.channel_names if len(info.channel_names) == info.channels else ("",) * info.channels


def _scheme(name: str) -> str:
    """A channel's name without the number that tells it from others of the same name."""
    return re.sub(r" \d+$", "", name).lower()


def _check_names(given: Collection[str], info: DatasetInfo, key: str) -> None:
    known = {name.lower() for name in info.channel_names}
    for name in given:
        if name.lower() not in known:
            there = f"The channels are {', '.join(info.channel_names)}" if known else "The channels have no names"
            raise InvalidOptionError(f'{key}: there is no channel "{name}". {there}.', options=(key,))
