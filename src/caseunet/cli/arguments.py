"""What is done to the arguments before they are parsed."""

from caseunet.errors import CaseUNetError

CONFIGURED = ("audit", "prepare", "preview", "train", "evaluate", "convert", "compare", "ablate")
"""Verbs that take configuration keys as options."""

PAIRS = ("--spacing",)
"""Options of two numbers, or of a word: of such a choice the parser would take the first number alone."""

MAPPINGS = {"--regions": "--prepare.regions"}
"""Options whose value is a mapping, which is read as configuration is: {liver: [liver, tumour]}."""


REPEATED = "--sensitivity"
"""An option that may be repeated, whose values are joined by commas: the parser takes a mapping once."""


def join_repeated(arguments: list[str]) -> list[str]:
    """Spell ``--sensitivity liver=0.9 --sensitivity tumour=0.95`` as one option."""
    rest, values = [], []
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == REPEATED:
            values.append(value or next(words, ""))
        else:
            rest.append(word)
    return [*rest, f"{REPEATED}={','.join(values)}"] if values else rest


def spell_settings(arguments: list[str]) -> list[str]:
    """Spell options with a dot in their name, ``--optimizer.lr 0.001``, as ``--set optimizer.lr=0.001``."""
    if not arguments or arguments[0] not in CONFIGURED:
        return arguments
    spelled: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument in PAIRS and len(rest) > 1 and all(map(_is_number, rest[:2])):
            spelled += [argument, f"{rest.pop(0)},{rest.pop(0)}"]
            continue
        key, equals, value = argument.partition("=")
        key = MAPPINGS.get(key, key)
        if not key.startswith("--") or "." not in key:
            spelled.append(argument)
            continue
        if not equals:
            if not rest:
                raise CaseUNetError(f"{key}: its value is missing.")
            value = rest.pop(0)
        spelled += ["--set", f"{key.removeprefix('--')}={value}"]
    return spelled


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
