"""Former name of :mod:`caseunet.models.paper_weights`."""

from caseunet.models.paper_weights import load

__all__ = ["load"]
