"""What is special about the networks from MONAI."""

import torch

from caseunet import create_model
from caseunet.models.monai_peers import plan_strides


def test_stages_of_nnunet_halve_down_to_four_positions() -> None:
    """512, 256, 128, 64, 32, 16, 8, 4: eight stages; 320×64: the columns stop at 4 while the rows go on to 5."""
    assert plan_strides((512, 512)) == [(1, 1), *[(2, 2)] * 7]
    assert plan_strides((320, 64)) == [(1, 1), *[(2, 2)] * 4, (2, 1), (2, 1)]


def test_nnunet_supervises_all_decoder_stages_but_the_lowest() -> None:
    """128×64 has six stages, so five in the decoder: four lists of logits, and no head without gradient."""
    model = create_model("nnunet", 1, 2, patch_size=(128, 64), width=2)
    assert len(model(torch.randn(1, 1, 128, 64))) == 4
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
