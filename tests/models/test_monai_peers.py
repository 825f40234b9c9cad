"""What is special about the networks from MONAI."""

from typing import Any

import pytest
import torch

from caseunet import CaseUNetError, create_model
from caseunet.models.monai_peers import plan_strides


def test_stages_of_nnunet_halve_down_to_four_positions() -> None:
    """512, 256, 128, 64, 32, 16, 8, 4: eight stages. 320×64: the columns stop at 4, the rows go on from 20 to 10, but
    not to 5, since an axis alone is halved only from 12. 64×32: the rows stop at 8.
    """
    assert plan_strides((512, 512)) == [(1, 1), *[(2, 2)] * 7]
    assert plan_strides((320, 64)) == [(1, 1), *[(2, 2)] * 4, (2, 1)]
    assert plan_strides((64, 32)) == [(1, 1), *[(2, 2)] * 3]
    assert plan_strides((24, 4)) == [(1, 1), (2, 1), (2, 1)]
    with pytest.raises(CaseUNetError, match="patch_size=.16, 4.: too small"):
        plan_strides((16, 4))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("unetplusplus", {"features": (4, 4, 6, 8, 8, 1)}),
        ("attention_unet", {"widths": (8,)}),
        ("attention_unet", {"widths": (1, 2)}),
        ("nnunet", {"width": 0}),
        ("segresnet", {"width": 0}),
        ("swin_unetr", {"width": 0}),
    ],
)
def test_channels_that_cannot_be_are_refused_by_name(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(CaseUNetError, match=f"{next(iter(arguments))}=.*: expected|{next(iter(arguments))}=.*, most="):
        create_model(name, 3, 2, **arguments)


def test_nnunet_supervises_all_decoder_stages_but_the_lowest() -> None:
    """128×64 has five stages (the rows stop at 8), so four in the decoder: three logits, no head without gradient."""
    model = create_model("nnunet", 1, 2, patch_size=(128, 64), width=2)
    assert len(model(torch.randn(1, 1, 128, 64))) == 3
    assert model.eval()(torch.randn(1, 1, 128, 64)).shape == (1, 2, 128, 64)


def test_nnunet_equals_monai_s_own_forward() -> None:
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    model = create_model("nnunet", 1, 2, patch_size=(64, 64), width=2).eval()
    strides = plan_strides((64, 64))
    monai = DynUNet(
        2, 1, 2, [3] * 5, strides, strides[1:], filters=[2, 4, 8, 16, 32], deep_supervision=True, deep_supr_num=2
    )
    monai.load_state_dict(model.network.state_dict(), strict=False)  # its modules have second names
    x = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(model(x), monai.eval()(x))
    torch.testing.assert_close(torch.stack(model.train()(x), 1), monai.train()(x))
