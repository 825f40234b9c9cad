"""Which structures are lesions: counting the components of an organ says nothing."""

import re
from collections.abc import Iterable, Sequence

from caseunet.errors import InvalidOptionError, did_you_mean
from caseunet.types import name_key

_PARTS = re.compile(
    r"lesion|tumou?r|metasta|nodule|polyp|h(a)?emorrhag|h(a)?ematoma|infarct|carcinoma|adenoma|glioma|blastoma|melanoma"
    r"|meningioma|neoplas|microbleed|plaque|drusen|exudate|hyperintensit|embol(us|i|ism)"
)
_WORDS = re.compile(r"\b(cyst|stroke|stone|calcul(us|i)|mass|cancer|abscess|aneurysm|wmh)(e?s)?\b")


def is_lesion(name: str) -> bool:
    """Whether a structure is called as lesions are."""
    words = re.sub(r"[\W_]+", " ", name.casefold())
    return bool(_PARTS.search(words) or _WORDS.search(words))


def find_lesions(structures: Iterable[str], told: Sequence[str] | None = None) -> tuple[str, ...]:
    """The structures that are lesions: those that are told, however they are spelt, or else those with such names.

    Raises:
        CaseUNetError: a told one is no structure.
    """
    known = list(structures)
    if told is None:
        return tuple(name for name in known if is_lesion(name))
    by_key = {name_key(name): name for name in known}
    for name in told:
        if name_key(name) not in by_key:
            raise InvalidOptionError(
                f'There is no structure "{name}" to be called a lesion. {did_you_mean(name, known)}'
            )
    return tuple(dict.fromkeys(by_key[name_key(name)] for name in told))
