"""What a bundle says of itself, once it is sure that it is whole."""

from dataclasses import dataclass
from pathlib import Path

from caseunet.bundle import BundleInfo, load_bundle, model_card
from caseunet.prediction.predictor import SlicePredictor


@dataclass(frozen=True)
class Described:
    """A bundle whose hash, size and shapes have been checked.

    Attributes:
        text: its model card, Markdown.
        parameters: numbers in its weights, of all networks together.
    """

    info: BundleInfo
    text: str
    parameters: int


def describe_bundle(bundle: str | Path) -> Described:
    """Check a bundle and tell what it is; nothing in it is run.

    Args:
        bundle: its folder, or a zip of it.

    Raises:
        CaseUNetError: it is damaged, or its weights are not its architecture's.
    """
    loaded = load_bundle(bundle)
    SlicePredictor(loaded, device="cpu")
    card = model_card(loaded.info, has_preview=False)
    parameters = sum(tensor.numel() for tensor in loaded.weights.values())
    return Described(loaded.info, card.split("---\n", 2)[2].lstrip(), parameters)
