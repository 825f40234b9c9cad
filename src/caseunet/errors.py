"""The exceptions that users are meant to see, and the suggestion of a near name."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_SUGGESTED = 20


class CaseUNetError(Exception):
    """Something the user can mend: the message says which file, what was found, what was expected and what to do.

    The command line prints it without a traceback; from Python it is an ordinary exception.

    Attributes:
        options: names of the options or configuration keys that would change the outcome, such as "mode" or
            "prepare.group". The message itself names no flag: the command line adds what to type.

    Example:
        >>> raise CaseUNetError("scan.nii: has no spacing. Give one.", options=("prepare.spacing",))
        Traceback (most recent call last):
        ...
        caseunet.errors.CaseUNetError: scan.nii: has no spacing. Give one.
    """

    def __init__(self, message: str = "", *, options: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.options = options


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


class BadValuesError(CaseUNetError):
    """A file that can be read, but whose numbers cannot be used: NaN, infinity."""


class SeveralMasksError(CaseUNetError):
    """A case that has several masks, of which none is known to be the one that is meant."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence to end an error about an unknown name: the nearest known one, or what there is."""
    names = sorted(known)
    begun = [known_name for known_name in names if name and known_name.startswith(name)]
    near = get_close_matches(name, begun or names, n=1, cutoff=0.0 if begun else 0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:MAX_SUGGESTED])}{' …' if len(names) > MAX_SUGGESTED else ''}."
