"""The protocols: every way of counting that has a name."""

from collections.abc import Callable

from caseunet.evaluation.protocols.base import Options, Protocol
from caseunet.evaluation.protocols.endovis2018 import endovis_2018
from caseunet.evaluation.protocols.lits import lits_corrected, lits_official
from caseunet.evaluation.protocols.paper import paper
from caseunet.evaluation.protocols.slices import slices
from caseunet.evaluation.protocols.volumes import volumes
from caseunet.registry import Registry

PROTOCOLS: Registry[Callable[[Options], Protocol]] = Registry("protocol")
PROTOCOLS.add("volumes", volumes)
PROTOCOLS.add("slices", slices)
PROTOCOLS.add("lits-official", lits_official)
PROTOCOLS.add("lits-corrected", lits_corrected)
PROTOCOLS.add("endovis-2018", endovis_2018)
PROTOCOLS.add("paper", paper)
