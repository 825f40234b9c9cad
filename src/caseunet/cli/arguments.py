"""What is done to the arguments before they are parsed."""

from caseunet.errors import CaseUNetError

CONFIGURED = ("audit", "prepare", "preview", "train", "evaluate", "convert", "compare", "ablate")
"""Verbs that take configuration keys as options."""

MAPPINGS = {"--regions": "--prepare.regions"}
"""Options whose value is a mapping, which is read as configuration is: {liver: [liver, tumour]}."""


def spell_settings(arguments: list[str]) -> list[str]:
    """Spell options with a dot in their name, ``--optimizer.lr 0.001``, as ``--set optimizer.lr=0.001``."""
    if not arguments or arguments[0] not in CONFIGURED:
        return arguments
    spelled: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
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
