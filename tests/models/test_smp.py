"""Networks of another package, imported only when asked for; here a stand-in for it, for it may not be installed."""

import sys
import types

import pytest
import torch
from torch import Tensor, nn

from caseunet import CaseUNetError, create_model, list_models


class Unet(nn.Module):
    """What the real one is called with, and the sizes that it takes."""

    def __init__(self, encoder_name: str, encoder_weights: str | None, in_channels: int, classes: int) -> None:
        super().__init__()
        assert (encoder_name, encoder_weights) == ("resnet34", None)
        self.conv = nn.Conv2d(in_channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2] % 32 == 0
        assert x.shape[-1] % 32 == 0
        y: Tensor = self.conv(x)
        return y


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("segmentation_models_pytorch")
    module.Unet = Unet  # type: ignore[attr-defined]
    module.encoders = types.SimpleNamespace(get_encoder_names=lambda: ["resnet34", "resnet50"])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)


@pytest.mark.usefixtures("package")
def test_architecture_and_encoder_are_chosen_by_name() -> None:
    assert create_model("smp:Unet/resnet34", 1, 3)(torch.zeros(1, 1, 33, 70)).shape == (1, 3, 33, 70)
    with pytest.raises(CaseUNetError, match='no architecture "Unett".*"Unet"'):
        create_model("smp:Unett/resnet34")
    with pytest.raises(CaseUNetError, match='no encoder "resnet35". Did you mean "resnet'):
        create_model("smp:Unet/resnet35")
    with pytest.raises(CaseUNetError, match="expected smp:<Architecture>/<encoder>"):
        create_model("smp:Unet")


def test_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(CaseUNetError, match=r"pip install 'caseunet\[smp\]'"):
        create_model("smp:Unet/resnet34")


def test_it_is_not_listed_and_not_imported_without_need() -> None:
    assert not any(name.startswith("smp") for name in list_models())
