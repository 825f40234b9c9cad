"""The folds of a prepared data set, as its splits.json tells them."""

from caseunet.errors import InvalidInputError
from caseunet.files import Location, read_model
from caseunet.progress import count_text
from caseunet.types import Fold, Split


def read_split(path: Location) -> Split:
    """Read a splits.json.

    Raises:
        CaseUNetError: it is missing or of another form.
    """
    return read_model(path, Split, "splits.json of a prepared data set")


def fold_of(split: Split, number: int, origin: Location) -> Fold:
    """One fold.

    Raises:
        CaseUNetError: there are fewer folds; ``origin`` says where.
    """
    if not 0 <= number < len(split.folds):
        raise InvalidInputError(
            f"{origin}: there is no fold {number}; it has {count_text(len(split.folds), 'fold')}, from 0."
        )
    return split.folds[number]
