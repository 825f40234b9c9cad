"""The network equals its author's: outputs of the author's own code, with weights drawn by a stated rule."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from caseunet import CaseUNetError, create_model
from caseunet.models import paper_weights

GOLDEN = Path(__file__).parents[1] / "golden"
PARAMETERS = {1: 44_363_726, 3: 86_446_030}


def draw(layer: str, slot: str, shape: list[int]) -> np.ndarray:
    """One array of the author's weights, as the golden run drew it."""
    z = np.random.Generator(np.random.PCG64(zlib.crc32(f"{layer}/{slot}".encode()))).standard_normal(shape)
    kind = slot.split("/")[-1]
    if kind in ("bias", "beta"):
        return (0.05 * z).astype(np.float32)
    if kind == "gamma":
        return (1 + 0.05 * z).astype(np.float32)
    if len(shape) == 4:
        fan_in = shape[0] * shape[1] * (shape[3] if layer.startswith("convt") else shape[2])
    else:
        fan_in = shape[0] * shape[1] if "attention_output" in slot else shape[0]
    return (z * np.sqrt(1.8 / fan_in)).astype(np.float32)


def author_arrays(fusion: int) -> dict[str, np.ndarray]:
    manifest = json.loads((GOLDEN / "weights_manifest.json").read_text())[f"fusion{fusion}"]
    return {f"{layer}/{slot}": draw(layer, slot, shape) for layer, slot, shape in manifest}


@pytest.mark.parametrize("fusion", [1, 3])
def test_equals_the_author_s_network(fusion: int) -> None:
    golden = np.load(GOLDEN / f"author_fusion{fusion}_3classes_64x96.npz")
    model = create_model("case_unet", in_channels=3, num_classes=3, fusion_kernel_size=fusion).eval()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[fusion]
    paper_weights.load(model, author_arrays(fusion))
    seen: dict[str, torch.Tensor] = {}
    model.bottleneck.register_forward_hook(lambda module, inputs, output: seen.update(bottleneck=output))
    model.encoder[0].register_forward_hook(lambda module, inputs, output: seen.update(e1=max_pool2d(output, 2)))
    model.encoder[4].register_forward_hook(lambda module, inputs, output: seen.update(e5=max_pool2d(output, 2)))
    model.decoder[0].register_forward_hook(lambda module, inputs, output: seen.update(d1=output))
    model.decoder[4].register_forward_hook(lambda module, inputs, output: seen.update(d5=output))
    with torch.inference_mode():
        logits = model(torch.from_numpy(golden["input"]).permute(0, 3, 1, 2))

    probabilities = logits.softmax(1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(probabilities, golden["probabilities"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(seen["bottleneck"].permute(0, 2, 3, 1), golden["bottleneck"], rtol=0, atol=1e-4)
    for here, there in (
        ("e1", "maxpool_fin-1"),
        ("e5", "maxpool_fin-5"),
        ("d1", "upsampling_fin-1"),
        ("d5", "upsampling_fin-5"),
    ):
        values = seen[here].numpy()
        found = [values.mean(), values.std(), values.min(), values.max()]
        np.testing.assert_allclose(found, golden[f"stat/{there}"], rtol=0, atol=1e-4)


@pytest.fixture
def small() -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    """A model of the right depth, and arrays that do not fit it."""
    model = create_model("case_unet", in_channels=3, num_classes=3, fusion_kernel_size=1, widths=(2, 3, 4, 5, 6))
    return model, author_arrays(1)


def test_weights_of_another_shape_are_named(small: tuple[torch.nn.Module, dict[str, np.ndarray]]) -> None:
    model, arrays = small
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(
        CaseUNetError, match=r'"conv-e-1_1_1/kernel" has shape \(3, 3, 3, 32\): expected \(3, 3, 3, 2\)'
    ) as caught:
        paper_weights.load(model, arrays)
    assert str(caught.value).count("has shape") == 20  # of many the first
    assert "… and 132 more" in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_missing_weight_is_named(small: tuple[torch.nn.Module, dict[str, np.ndarray]]) -> None:
    model, arrays = small
    del arrays["conv-e-1_1_1/kernel"]
    with pytest.raises(CaseUNetError, match='"conv-e-1_1_1/kernel" is missing: expected shape .3, 3, 3, 2.'):
        paper_weights.load(model, arrays)


def test_a_weight_too_many_is_named() -> None:
    model = create_model("case_unet", in_channels=3, num_classes=3, fusion_kernel_size=1)
    with pytest.raises(CaseUNetError, match='"batch_norm/gamma"'):
        paper_weights.load(model, author_arrays(1) | {"batch_norm/gamma": np.ones(3)})
