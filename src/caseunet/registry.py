"""Names for things that can be chosen by configuration."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from caseunet.errors import CaseUNetError, InvalidOptionError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to entries; filled by explicit calls of :meth:`add` where the entries are imported.

    Args:
        kind: what the entries are, in the singular, for error messages ("model").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        if name in self._entries:
            raise ValueError(f'the {self.kind} "{name}" is registered twice')
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            CaseUNetError: no such name; the message suggests the nearest.
        """
        if name not in self._entries:
            raise InvalidOptionError(f'There is no {self.kind} "{name}". {did_you_mean(name, self._entries)}')
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))


def build(factory: Callable[..., T], what: str, fixed: dict[str, Any], arguments: dict[str, Any]) -> T:
    """Call ``factory`` with ``fixed`` and with ``arguments`` that a user chose.

    Args:
        factory: a class or function.
        what: what is built, for messages: 'The model "unet"'.
        fixed: keyword arguments that are not the user's to choose.
        arguments: keyword arguments from a configuration or bundle.

    Raises:
        CaseUNetError: an argument is unknown (the nearest is suggested), or the values do not fit.
    """
    known = [name for name in inspect.signature(factory).parameters if name not in fixed]
    for name in arguments:
        if name not in known:
            raise InvalidOptionError(f'{what} takes no argument "{name}". {did_you_mean(name, known)}')
    try:
        return factory(**fixed, **arguments)
    except CaseUNetError:
        raise
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise InvalidOptionError(f"{what} cannot be built with {arguments}: {str(error).splitlines()[0]}.") from error
