"""Which array of a file is which of the author's, by the names that the file tells."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from caseunet.errors import CaseUNetError
from caseunet.models.paper_weights import layers, list_lines


class Matched(NamedTuple):
    """Names of arrays, matched.

    Attributes:
        found: {"layer/slot" of the author: names in the file}; a name that is none of his stands for itself.
        is_by_order: whether the file had none of his names, so that layers were taken as they come.
    """

    found: dict[str, list[str]]
    is_by_order: bool


def match(names: Sequence[str]) -> Matched:
    """Match "conv-e-1_1_1/kernel", perhaps after names of enclosing models; where no layer is called like this, those
    called by class and number ("conv2d_3/kernel") are taken in the order in which an image passes the author's layers.

    Raises:
        CaseUNetError: no layer is called like this, and there are not as many of each class.
    """
    kinds = {layer.source.partition("/")[0]: layer.kind for layer in layers()}
    found: dict[str, list[str]] = defaultdict(list)
    is_named = False
    for name in names:
        parts = name.split("/")
        starts = [i for i, part in enumerate(parts) if part in kinds]
        is_named = is_named or bool(starts)
        found["/".join(parts[starts[-1] :]) if starts else name].append(name)
    return Matched(dict(found), False) if is_named else Matched(_by_order(names, kinds), True)


def _by_order(names: Sequence[str], kinds: dict[str, str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = defaultdict(list)  # class → the author's layers
    for source, kind in kinds.items():
        wanted[kind].append(source)
    members: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in wanted}  # class → layer → names
    found: dict[str, list[str]] = {}
    for name in names:
        layer = re.match(rf"(?:.*/)?({'|'.join(wanted)})(?:_\d+)?(?=/)", name)
        if layer:
            members[layer[1]][layer[0]].append(name)
        else:
            found[name] = [name]
    wrong = [
        f"layers {kind}: found {len(members[kind]):,}, expected {len(sources)}"
        for kind, sources in wanted.items()
        if len(members[kind]) != len(sources)
    ]
    if wrong:
        wrong += [f'found "{name}"' for name in sorted(names)]
        raise CaseUNetError(f"No layer has a name of the author's, and they are not as many as his.{list_lines(wrong)}")
    for kind, sources in wanted.items():
        for source, layer_name in zip(sources, sorted(members[kind], key=_number), strict=True):
            for name in members[kind][layer_name]:
                found[source + name.removeprefix(layer_name)] = [name]
    return found


def _number(layer: str) -> int:
    number = re.search(r"_(\d+)$", layer)
    return int(number[1]) if number else 0
