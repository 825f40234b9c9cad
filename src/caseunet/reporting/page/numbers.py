"""How numbers are written on the page."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd


def digits_of(values: Iterable[float | None], unit: str = "") -> int:
    """Decimals with which some values are written alike: none of whole numbers, three of shares, few of large ones."""
    if unit in ("mm", "px"):
        return 2
    known = np.array([abs(value) for value in values if value is not None and math.isfinite(value)], float)
    if not known.any() or (not unit and known.max() < 10 and (known.max() <= 1 or np.any(known != np.round(known)))):
        return 2 if unit else 3
    if np.all(known == np.round(known)):
        return 0
    usual = float(np.percentile(known[known > 0], 25))
    return 3 if usual < 0.1 else 2 if usual < 10 else 1 if usual < 1000 else 0


def format_number(value: float | None, digits: int | None = None, unit: str = "") -> str:
    """A number with a true minus sign and commas; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits_of([value], unit) if digits is None else digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def format_interval(interval: tuple[float, float] | None, digits: int | None = None, unit: str = "") -> str:
    """Both ends about an en dash, which keeps its distance from a minus sign."""
    if interval is None:
        return "–"
    digits = digits_of(interval, unit) if digits is None else digits
    return (" – " if min(interval) < 0 else "–").join(format_number(end, digits) for end in interval)


def format_probability(p: float | None) -> str:
    """As papers print it: ".034", "<.001"."""
    if p is None or math.isnan(p):
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def format_percent(share: float) -> str:
    """A share in per cent; what is not all or nothing never looks so."""
    if share == 0:
        return "0"
    if share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def format_column(values: pd.Series, unit: str) -> list[str]:
    """Numbers of a column, all with the same decimals."""
    digits = digits_of(values, unit)
    return [format_number(float(value), digits) for value in values]
