"""Convolution, optional normalisation, activation."""

from typing import Any, Literal

from torch import Tensor, nn

from caseunet.errors import CaseUNetError

Norm = Literal["none", "instance", "batch"]
Initialization = Literal["he", "glorot"]


def normalization(norm: str, channels: int) -> nn.Module:
    """The layer between a convolution and its activation: identity, or a norm with learned scale and shift."""
    if norm == "none":
        return nn.Identity()
    if norm == "instance":
        # One group per channel is instance norm, and on CPUs the faster of torch's two (benchmarks/normalization.py).
        return nn.GroupNorm(channels, channels)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    raise CaseUNetError(f'norm="{norm}": expected "none", "instance" or "batch".')


class ConvNormAct(nn.Module):
    """k×k convolution with bias, 'same' zero padding and stride 1, then ``norm``, then LeakyReLU.

    Shapes: (B, in_channels, H, W) → (B, out_channels, H, W).

    Args:
        activation_first: LeakyReLU before ``norm``.
        initialization: of the kernel, see :func:`initialize`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: str = "none",
        negative_slope: float = 0.1,
        activation_first: bool = False,
        initialization: Initialization = "he",
    ) -> None:
        super().__init__()
        self.activation_first = activation_first
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = normalization(norm, out_channels)
        self.act = nn.LeakyReLU(negative_slope, inplace=True)  # one map less to keep for the backward pass
        initialize(self.conv, initialization, negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_and_activate(self.conv(x))

    def norm_and_activate(self, x: Tensor) -> Tensor:
        """Norm and activation of what the convolution gave, which is overwritten."""
        y: Tensor = self.norm(self.act(x)) if self.activation_first else self.act(self.norm(x))
        return y


class DepthwiseConvNormAct(ConvNormAct):
    """1×1 convolution to ``out_channels``, then a k×k one of each channel by itself, then as in ``ConvNormAct``.

    Shapes: (B, in_channels, H, W) → (B, out_channels, H, W).

    Args:
        form: what else ``ConvNormAct`` takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        initialization: Initialization = "he",
        **form: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, 1, initialization=initialization, **form)
        self.depthwise = nn.Conv2d(
            out_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=out_channels, bias=False
        )
        initialize(self.depthwise, initialization, 1.0)  # no activation comes between the two: a slope of 1

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_and_activate(self.depthwise(self.conv(x)))


def initialize(conv: nn.Conv2d, initialization: str, negative_slope: float) -> None:
    """Draw the kernel from He's normal distribution for that slope ("he"), or from Glorot's uniform one ("glorot").

    The bias, if there is one, becomes zero.
    """
    if initialization == "he":
        nn.init.kaiming_normal_(conv.weight, a=negative_slope)
    else:
        nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class ConvBatchNorm(nn.Sequential):
    """k×k convolution with 'same' zero padding, then batch norm.

    Kernels start from He's normal distribution.
    Shapes: (B, in_channels, H, W) → (B, out_channels, H/stride, W/stride).
    """

    def __init__(
        self, in_channels: int, out_channels: int, k: int, stride: int = 1, dilation: int = 1, bias: bool = False
    ) -> None:
        padding = dilation * (k // 2)
        conv = nn.Conv2d(in_channels, out_channels, k, stride, padding, dilation, bias=bias)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.BatchNorm2d(out_channels))


class ConvBatchNormReLU(nn.Sequential):
    """``ConvBatchNorm``, then ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, k: int, stride: int = 1, dilation: int = 1, bias: bool = False
    ) -> None:
        super().__init__(ConvBatchNorm(in_channels, out_channels, k, stride, dilation, bias), nn.ReLU(inplace=True))
