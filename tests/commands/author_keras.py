"""The author's network in Keras, by its description: layer names, layouts and attention axes are the author's."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def author_network(keras: ModuleType, fusion: int, widths: Sequence[int], classes: int = 3, named: bool = True) -> Any:
    """Images (B, H, W, 3) → probabilities (B, H, W, classes).

    Args:
        named: otherwise Keras calls the layers by class and number.
    """
    layers = keras.layers

    def called(name: str) -> str | None:
        return name if named else None

    def conv(x: Any, width: int, size: int, name: str, slope: float = 0.1, kind: str = "Conv2D") -> Any:
        layer = getattr(layers, kind)(width, size, padding="same", name=called(name))
        return layers.LeakyReLU(negative_slope=slope)(layer(x))

    def joined(*maps: Any) -> Any:
        return layers.Concatenate()(list(maps))

    image = x = layers.Input((None, None, 3))
    down = []
    for i, c in enumerate(widths, 1):
        a, b, d = (conv(x, c, k, f"conv-e-{i}_1_{n}") for n, k in enumerate((3, 5, 7), 1))
        pairs = (a, b), (b, d), (a, d)
        fused = [conv(joined(*pair), c, fusion, f"conv-e-{i}_2_{n}") for n, pair in enumerate(pairs, 1)]
        x = layers.MaxPooling2D(2)(conv(joined(*fused), c, fusion, f"conv_fin-e-{i}_123"))
        down.append(x)

    c = widths[-1]
    t = layers.Conv2D(c, 3, padding="same", name=called("feature_layer-b-1"))(x)
    u = layers.Conv2D(c, 3, padding="same", activation="sigmoid", name=called("attention_layer-b-1"))(t)
    # Axis 2 is the column and axis 3 the head of the projected queries, so that tokens of one row see one another.
    x = layers.MultiHeadAttention(3, 3, attention_axes=(2, 3), name=called("MHSA_layer-b-1"))(x, u)
    x = layers.Dropout(0.2)(layers.LayerNormalization(name=called("LN-b-1"))(x))

    up, n = [x], len(widths)
    for j, c in enumerate([widths[-2], *reversed(widths[:-1])], 1):
        a, b, d = (conv(x, c, k, f"convt-d-{j}_1_{m}", kind="Conv2DTranspose") for m, k in enumerate((3, 5, 7), 1))
        pairs = (a, b), (a, d), (b, d)
        fused = [conv(joined(*pair), c, fusion, f"conv-d-{j}_2_{m}") for m, pair in enumerate(pairs, 1)]
        pooled = [layers.MaxPooling2D(2 ** (n - j - i))(e) if i < n - j else e for i, e in enumerate(down[: n - j + 1])]
        raised = [layers.UpSampling2D(2 ** (j - 1 - i))(before) for i, before in enumerate(up[: j - 1])]
        x = layers.UpSampling2D(2)(conv(joined(*fused, *pooled, *raised), c, fusion, f"conv_fin-ud-{j}_123"))
        up.append(x)

    x = conv(x, 16, 3, "feature_smoothen_1", 0.3)
    x = conv(x, 16, 3, "feature_smoothen_2", 0.3)
    x = layers.Conv2D(classes, 1, activation="softmax", name=called("segmaps"))(x)
    return keras.Model(image, x, name="author")


def draw_weights(network: Any, seed: int) -> None:
    """Such that no map vanishes or explodes."""
    rng = np.random.default_rng(seed)
    network.set_weights(
        [
            rng.standard_normal(w.shape) * np.sqrt(1.8 / np.prod(w.shape[:-1]) if len(w.shape) > 1 else 0.1)
            for w in network.weights
        ]
    )


def arrays_of(network: Any) -> Arrays:
    """{"layer/slot": array} of a network with the author's names."""
    return {weight.path: weight.value.detach().numpy() for weight in network.weights}
