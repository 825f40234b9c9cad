"""The one exception that users are meant to see, and the suggestion of a near name."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_SUGGESTED = 20


class UserError(Exception):
    """Something the user can mend: the message says which file, what was found, what was expected and what to do.

    The command line prints it without a traceback; from Python it is an ordinary exception.
    """


class Interrupted(Exception):
    """A signal ended the work early, in good order: what is there can be gone on with.

    Attributes:
        signal: its number.
    """

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text)
        self.signal = signal

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[str, int]]:
        """So that it comes over from another process, which would otherwise call it without the signal."""
        return Interrupted, (str(self), self.signal)


class BadValuesError(UserError):
    """A file that can be read, but whose numbers cannot be used: NaN, infinity."""


class SeveralMasksError(UserError):
    """A case that has several masks, of which none is known to be the one that is meant."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence to end an error about an unknown name: the nearest known one, or what there is."""
    names = sorted(known)
    begun = [known_name for known_name in names if name and known_name.startswith(name)]
    near = get_close_matches(name, begun or names, n=1, cutoff=0.0 if begun else 0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:MAX_SUGGESTED])}{' …' if len(names) > MAX_SUGGESTED else ''}."
