"""Draw CASe-UNet from its own modules: python docs/draw_network.py writes docs/images/case_unet.png."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from caseunet.models.case_unet import CaseUNet

OUT = Path(__file__).parent / "images" / "case_unet.png"
BLUE, GREEN, ORANGE, GREY = "#4477aa", "#228833", "#cc7722", "#666666"


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.5, height: float = 0.6) -> None:
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02", fc=colour + "22", ec=colour, lw=1.3
    )
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=colour, lw=1.2))


def draw_path(axes: Axes, encoder: list[int], decoder: list[int]) -> None:
    n = len(encoder)
    axes.set_title("The path of an image", loc="left", fontsize=11, fontweight="bold")
    box(axes, 0, n, "image  H", GREY)
    box(axes, 3.2, n, "head → classes  H", GREY, width=2.1)
    for i, width in enumerate(encoder):
        box(axes, 0, n - 1 - i, f"e{i + 1}: {width}  H/{2 ** (i + 1)}", BLUE)
        arrow(axes, (0, n - i - 0.32), (0, n - 1 - i + 0.34))
    box(axes, 1.6, -1, f"bottleneck: {encoder[-1]}, attention  H/{2**n}", ORANGE, width=3.1)
    arrow(axes, (0.1, -0.32), (0.7, -0.66))
    arrow(axes, (2.5, -0.66), (3.1, -0.32 + 0.0))
    for j, width in enumerate(decoder):
        size = 2 ** (n - 1 - j)
        box(axes, 3.2, j, f"d{j + 1}: {width}  " + (f"H/{size}" if size > 1 else "H"), GREEN)
        arrow(axes, (3.2, j + 0.32), (3.2, j + 0.66))
    axes.text(-0.1, -1.75, "e: multi-scale, fuse, max-pool 2", fontsize=8.5, color=BLUE)
    axes.text(-0.1, -2.1, "d: multi-scale, fuse with all skips, nearest ×2", fontsize=8.5, color=GREEN)
    axes.set_xlim(-1.1, 4.5)
    axes.set_ylim(-2.3, n + 1.6)


def draw_stage(axes: Axes) -> None:
    axes.set_title("Multi-scale block and fusion", loc="left", fontsize=11, fontweight="bold")
    box(axes, 1.5, 5, "x", GREY)
    for position, size in zip((0, 1.5, 3), (3, 5, 7), strict=True):
        box(axes, position, 3.8, f"{size}×{size}", BLUE, width=1.0)
        arrow(axes, (1.5, 4.66), (position, 4.14))
    for position, (text, first, second) in zip(
        (0, 1.5, 3), (("3 & 5", 0, 1.5), ("3 & 7", 0, 3), ("5 & 7", 1.5, 3)), strict=True
    ):
        box(axes, position, 2.4, text, ORANGE, width=1.0)
        arrow(axes, (first, 3.46), (position - 0.15, 2.74))
        arrow(axes, (second, 3.46), (position + 0.15, 2.74))
        arrow(axes, (position, 2.06), (1.5, 1.34))
    box(axes, 1.5, 1, "fuse", GREEN)
    box(axes, 3.3, 1, "skips (decoder)", GREY, width=1.5)
    arrow(axes, (2.53, 1), (2.3, 1))
    arrow(axes, (1.5, 0.66), (1.5, 0.1))
    axes.text(-0.6, -0.4, "pairs are fused by 3×3, or 1×1 in the lighter version", fontsize=8.5, color=GREY)
    axes.set_xlim(-0.8, 4.2)
    axes.set_ylim(-1.3, 5.6)


def draw_skips(axes: Axes, n: int) -> None:
    axes.set_title("What each decoder stage reads", loc="left", fontsize=11, fontweight="bold")
    sources = [*(f"e{i + 1}" for i in range(n)), "b", *(f"d{j + 1}" for j in range(n - 1))]
    size_of = {f"e{i + 1}": i + 1 for i in range(n)} | {"b": n} | {f"d{j + 1}": n - 1 - j for j in range(n - 1)}
    for j in range(n):
        size = n - j  # of the stage's x, H/2**size
        readable = {f"e{i + 1}" for i in range(n - j)}
        through = "b" if j == 0 else f"d{j}"
        readable |= {"b", *(f"d{i + 1}" for i in range(j - 1))} if j else set()
        for row, source in enumerate(sources):
            x, y = j, len(sources) - row
            steps = size - size_of[source]
            if source == through:
                box(axes, x, y, "x", GREY, 0.86, 0.7)
            elif source in readable and steps >= 0:
                box(axes, x, y, f"pool {2**steps}" if steps else "as is", BLUE, 0.86, 0.7)
            elif source in readable:
                box(axes, x, y, f"up ×{2**-steps}", GREEN, 0.86, 0.7)
        axes.text(j, len(sources) + 0.8, f"d{j + 1}", ha="center", fontsize=10)
    for row, source in enumerate(sources):
        axes.text(-0.75, len(sources) - row, source, ha="right", va="center", fontsize=10)
    axes.set_xlim(-1.3, n - 0.4)
    axes.set_ylim(0.3, len(sources) + 1.3)


def main() -> None:
    with torch.device("meta"):
        model = CaseUNet.paper(in_channels=3, num_classes=3)
    encoder = [stage.fuse.conv.out_channels for stage in model.encoder]
    decoder = [stage.fuse.conv.out_channels for stage in model.decoder]
    figure, axes = plt.subplots(1, 3, figsize=(15, 5.8), width_ratios=(1.1, 1, 1))
    draw_path(axes[0], encoder, decoder)
    draw_stage(axes[1])
    draw_skips(axes[2], len(encoder))
    for panel in axes:
        panel.axis("off")
    figure.tight_layout()
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
