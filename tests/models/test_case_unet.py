"""What the parts of CASe-UNet do, beyond equalling the author's numbers."""

import math
from dataclasses import fields

import pytest
import torch

from caseunet import CaseUNetError, create_model
from caseunet.models import plan_arguments
from caseunet.models.blocks.attention import Attention, position_code
from caseunet.models.blocks.convolution import ConvNormAct
from caseunet.models.case_unet import Bottleneck, CaseUNet, CaseUNetConfig

BAD_SWITCHES: list[dict[str, object]] = [
    {"kernel_sizes": (3, 5)},
    {"kernel_sizes": (3, 4, 5)},
    {"heads": 0},
    {"key_size": 0},
]


def test_author_attention_stays_inside_image_row() -> None:
    torch.manual_seed(0)
    attention = Attention(channels=8, heads=3, key_size=3, rowwise=True)
    x = torch.randn(1, 8, 4, 5)
    changed = x.clone()
    changed[:, :, 2] += 1
    same = (attention(x, x) - attention(changed, changed)).abs().amax(dim=(0, 1, 3)) == 0
    assert same.tolist() == [True, True, False, True]


def test_spatial_attention_reaches_every_position() -> None:
    torch.manual_seed(0)
    attention = Attention(channels=8, heads=3, key_size=3, rowwise=False)
    x = torch.randn(1, 8, 4, 5)
    changed = x.clone()
    changed[:, :, 2, 3] += 1
    difference = (attention(x, x) - attention(x, changed)).abs().amax(dim=(0, 1))
    assert torch.all(difference > 0)


def test_author_attention_mixes_heads_and_columns() -> None:
    """Against the definition, written out for one row: tokens are all (column, head) pairs, scale 1/√3."""
    torch.manual_seed(0)
    W = 2
    attention = Attention(channels=4, heads=3, key_size=3, rowwise=True).double()
    query, source = torch.randn(1, 4, 1, W).double(), torch.randn(1, 4, 1, W).double()
    q, k, v = (
        layer(t[0, :, 0].T).reshape(W * 3, 3)
        for layer, t in ((attention.query, query), (attention.key, source), (attention.value, source))
    )
    weights = torch.softmax(q @ k.T / 3**0.5, dim=-1)
    expected = attention.output((weights @ v).reshape(W, 9)).T
    torch.testing.assert_close(attention(query, source)[0, :, 0], expected)


def test_decoder_widths_and_skips_follow_table() -> None:
    model = CaseUNet.paper(in_channels=3, num_classes=8)
    assert [stage.fuse.conv.out_channels for stage in model.decoder] == [256, 256, 128, 64, 32]
    assert [stage.fuse.conv.in_channels for stage in model.decoder] == [1760, 1760, 1376, 1312, 1280]


def test_features_of_the_full_size_reach_the_decoder_only_on_request() -> None:
    """A checkerboard of single pixels is gone after a pool that sees its largest value everywhere."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    for full in (False, "head", True):
        torch.manual_seed(0)
        model = create_model(
            "case_unet", 1, 2, fusion_kernel_size=1, attention="none", widths=(4, 6), full_resolution=full
        )
        model = model.eval()
        for stage in model.encoder:  # let the image through as it is
            for branch in stage.multi_scale.branches:
                torch.nn.init.dirac_(branch.conv.weight)
        logits = model(board[None, None].float())[0, 0, 16:48, 16:48]
        differs = (logits[:, 1:] - logits[:, :-1]).abs().mean() > 1e-3
        assert bool(differs) == bool(full)


def test_chained_branches_see_as_far_as_dense_ones() -> None:
    """Of a single bright pixel the branches show 3×3, 5×5 and 7×7, with less than half the kernels' weights."""
    dot = torch.zeros(1, 2, 17, 17)
    dot[..., 8, 8] = 1
    weights = {}
    for form in ("dense", "chained"):
        block = create_model("case_unet", 1, 2, widths=(2, 4), large_kernels=form).encoder[1].multi_scale
        weights[form] = sum(branch.conv.weight.numel() for branch in block.branches)
        for branch in block.branches:
            torch.nn.init.ones_(branch.conv.weight)
            torch.nn.init.zeros_(branch.conv.bias)
        seen = [int((map_ > 0).any(1).sum()) for map_ in block.convolve_scales(dot)]
        assert seen == [9, 25, 49]
    assert weights == {"dense": 2 * 4 * (9 + 25 + 49), "chained": 9 * (2 * 4 + 4 * 4 + 4 * 4)}


def test_chained_kernels_must_rise() -> None:
    with pytest.raises(CaseUNetError, match=r"kernel_sizes=\(5, 3, 7\): expected chained kernels of rising size"):
        create_model("case_unet", 1, 2, large_kernels="chained", kernel_sizes=(5, 3, 7))


@pytest.mark.parametrize("value", ["no", 1, 0, None])
@pytest.mark.parametrize("name", [f.name for f in fields(CaseUNetConfig) if isinstance(f.default, bool)])
def test_a_switch_is_on_or_off(name: str, value: object) -> None:
    """What Python would take for on or off is refused, as 1, which would leave full_resolution off."""
    with pytest.raises(CaseUNetError, match=f"{name}={value!r}: expected true"):
        create_model("case_unet", 1, 2, **{name: value})


def test_position_is_seen_on_request() -> None:
    """Of a uniform image the bottleneck is uniform, but where attention is told the positions."""
    for position in (False, True):
        torch.manual_seed(0)
        bottleneck = Bottleneck(
            8, CaseUNetConfig(1, 2, 1, "spatial", heads=2, key_size=4, attention_position=position)
        ).eval()
        torch.nn.init.zeros_(bottleneck.feature.weight)  # whose zero padding would tell the edges
        torch.nn.init.zeros_(bottleneck.gate.weight)
        out = bottleneck(torch.ones(1, 8, 4, 4))
        assert bool(out.std((2, 3)).max() > 1e-4) == position


def test_the_code_of_positions_by_hand() -> None:
    """Eight channels: two wavelengths, 2π and 2π · 100; sin and cos of the row, then of the column; a ninth is 0."""
    code = position_code(torch.zeros(3, 9, 4, 5, dtype=torch.float64))
    assert code.shape == (1, 9, 4, 5)
    expected = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    expected += [math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02), 0]
    torch.testing.assert_close(code[0, :, 3, 2], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("widths", [(4, 6), (4, 6, 8), (2, 3, 4, 5, 6, 7)])
def test_depth_follows_widths(widths: tuple[int, ...]) -> None:
    model = create_model("case_unet", in_channels=1, num_classes=2, widths=widths)
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("patch_size", "stages"),
    [(None, 5), ("auto", 5), ((512, 512), 5), ((128, 512), 5), ((127, 512), 4), ((64, 64), 4), ((32, 96), 3)],
)
def test_stages_planned_for_a_size_leave_the_bottleneck_four_positions(
    patch_size: tuple[int, int] | None, stages: int
) -> None:
    """127 halved five times is below 4; it is not the image's own size that counts but the one planned for."""
    model = CaseUNet(CaseUNetConfig(1, 2, 1, "none", widths=(2, 3, 4, 5, 6), patch_size=patch_size))
    assert len(model.encoder) == len(model.decoder) == stages
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_the_former_name_of_row_wise_attention_is_taken() -> None:
    model = create_model("case_unet", widths=(2, 3), attention="author")
    assert isinstance(model, CaseUNet)
    assert model.config == CaseUNetConfig(3, 2, widths=(2, 3))
    assert model.config.attention == "rowwise"


def test_networks_are_planned_only_where_they_ask_for_it() -> None:
    size = (64, 96)
    assert plan_arguments("nnunet", {}, size) == {"patch_size": [64, 96]}, "its own default is auto"
    assert plan_arguments("nnunet", {"patch_size": [32, 32]}, size) == {"patch_size": [32, 32]}
    assert plan_arguments("case_unet", {"norm": "instance"}, size) == {"norm": "instance"}, "the author's is fixed"
    asked = {"norm": "instance", "patch_size": "auto"}
    assert plan_arguments("case_unet", asked, size) == {"norm": "instance", "patch_size": [64, 96]}
    assert asked["patch_size"] == "auto", "what is configured stays as it is"
    assert plan_arguments("unet", {"widths": [4, 6]}, size) == {"widths": [4, 6]}


def test_depth_wise_branches_have_one_kernel_a_channel() -> None:
    """5×5 and 7×7 from c_in to c: c_in·c + c for the 1×1 one, k² c for the other, without a bias."""
    dense, depthwise = (
        CaseUNet(CaseUNetConfig(3, 2, 1, "none", widths=(4, 6), large_kernels=kind)) for kind in ("dense", "depthwise")
    )
    for block, own in zip(
        [stage.multi_scale for stage in dense.encoder], [stage.multi_scale for stage in depthwise.encoder], strict=True
    ):
        c, c_in = block.branches[0].conv.weight.shape[:2]
        numbers = [sum(p.numel() for p in branch.parameters()) for branch in own.branches]
        assert numbers == [9 * c_in * c + c, c_in * c + c + 25 * c, c_in * c + c + 49 * c]


@pytest.mark.parametrize(
    ("initialization", "expected"), [("he", 2 / (1.01 * 45 * 9)), ("glorot", 2 / (45 * 9 + 45 * 9))]
)
def test_kernels_start_with_the_variance_of_their_kind(initialization: str, expected: float) -> None:
    """He: 2 / ((1 + slope²) fan_in); Glorot: 2 / (fan_in + fan_out)."""
    torch.manual_seed(0)
    conv = ConvNormAct(45, 45, 3, initialization=initialization).conv
    assert conv.weight.var().item() == pytest.approx(expected, rel=0.05)
    assert not conv.bias.any()


def test_activation_comes_before_norm_on_request() -> None:
    """After a norm that comes last each channel's mean is 0; after an activation it is not."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    means = [
        ConvNormAct(3, 4, 3, "instance", activation_first=first)(x).mean((2, 3)).abs().max() for first in (True, False)
    ]
    assert means[0] < 1e-6 < 0.01 < means[1]


def test_padding_is_cropped_where_it_was_added() -> None:
    """A model without a pool-grid of its own sees the image at the upper left; the result must be there too."""
    torch.manual_seed(0)
    model = create_model("case_unet", in_channels=1, num_classes=2, widths=(2, 3)).eval()
    image = torch.zeros(1, 1, 37, 45)
    image[..., 30:, 40:] = 1
    padded = torch.nn.functional.pad(image, (0, 3, 0, 3), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model(padded)[..., :37, :45])


@pytest.mark.parametrize(
    "arguments",
    [
        {"fusion_kernel_size": 5},
        {"attention": "rows"},
        {"norm": "group"},
        {"widths": (8,)},
        {"widths": (8, 0)},
        {"large_kernels": "huge"},
        {"initialization": "zero"},
        {"patch_size": (64,)},
        {"patch_size": (64, 15)},
        {"patch_size": "large"},
        *BAD_SWITCHES,
    ],
)
def test_a_bad_argument_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(CaseUNetError, match=next(iter(arguments))):
        create_model("case_unet", num_classes=2, **arguments)
