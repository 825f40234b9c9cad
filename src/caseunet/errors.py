"""The exceptions that users are meant to see, and the suggestion of a near name."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Self

MAX_SUGGESTED = 20


class CaseUNetError(Exception):
    """Something the user can mend: the message says which file, what was found, what was expected and what to do.

    The command line prints it without a traceback; from Python it is an ordinary exception. Its subclasses are also the
    standard exception of their kind, so that ``except FileNotFoundError`` works as everywhere.

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

    def with_message(self, message: str) -> Self:
        """The same kind of error about the same options, in other words: for one who knows more of the circumstances.

        Example:
            >>> InvalidInputError("has no spacing.").with_message("scan.nii: has no spacing.")
            InvalidInputError('scan.nii: has no spacing.')
        """
        return type(self)(message, options=self.options)


class InvalidInputError(CaseUNetError, ValueError):
    """A file, an array or a data set that cannot be used as it is.

    Example:
        >>> issubclass(InvalidInputError, ValueError)
        True
    """


class BadValuesError(InvalidInputError):
    """A file that can be read, but whose numbers cannot be used: NaN, infinity.

    Example:
        >>> issubclass(BadValuesError, InvalidInputError)
        True
    """


class SeveralMasksError(InvalidInputError):
    """A case that has several masks, of which none is known to be the one that is meant.

    Example:
        >>> SeveralMasksError("case_1: has two masks.", options=("prepare.masks",)).options
        ('prepare.masks',)
    """

    def __init__(self, message: str = "", *, options: tuple[str, ...] = (), files: Sequence[Path] = ()) -> None:
        """``files``: of which only one is meant, where it is a choice of files."""
        super().__init__(message, options=options)
        self.files = tuple(files)


class InvalidOptionError(CaseUNetError, ValueError):
    """An option, a configuration key or a combination of them that does not exist or does not fit.

    Example:
        >>> InvalidOptionError('There is no model "unte". Did you mean "unet"?', options=("model.name",)).options
        ('model.name',)
    """


class InputNotFoundError(CaseUNetError, FileNotFoundError):
    """A file or folder to be read that is not there.

    Example:
        >>> try:
        ...     raise InputNotFoundError("scan.nii: no such file.")
        ... except FileNotFoundError as error:
        ...     print(error)
        scan.nii: no such file.
    """


class OutputExistsError(CaseUNetError, FileExistsError):
    """An output that would replace what is there, which is done only on request.

    Example:
        >>> OutputExistsError("run: holds an earlier result.", options=("out", "mode")).options
        ('out', 'mode')
    """


class MissingExtraError(CaseUNetError, ImportError):
    """A package that is not installed; the message names the extra that brings it.

    Example:
        >>> issubclass(MissingExtraError, ImportError)
        True
    """


class NotEnoughMemoryError(CaseUNetError, MemoryError):
    """More memory is needed than is free or allowed.

    Example:
        >>> issubclass(NotEnoughMemoryError, MemoryError)
        True
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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence to end an error about an unknown name: the nearest known one, or what there is."""
    names = sorted(known)
    begun = [known_name for known_name in names if name and known_name.startswith(name)]
    near = get_close_matches(name, begun or names, n=1, cutoff=0.0 if begun else 0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names[:MAX_SUGGESTED])}{' …' if len(names) > MAX_SUGGESTED else ''}."
