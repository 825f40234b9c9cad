"""Formats of other tools, by name, and what writes them."""

from collections.abc import Callable
from pathlib import Path

from caseunet.datasets.exchange.nnunet_raw import convert_to_nnunet
from caseunet.datasets.exchange.source import ExchangeSource
from caseunet.registry import Registry

FORMATS: Registry[Callable[[ExchangeSource, Path], None]] = Registry("format")
FORMATS.add("nnunet", convert_to_nnunet)
