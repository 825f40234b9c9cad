"""Instance norm by GroupNorm (one group per channel) against InstanceNorm2d, in a training step on the CPU.

python benchmarks/normalization.py [OUT.json]

Both networks (CASe-UNet at a quarter of its width) have the same weights and take turns in one run; the figures are
medians over ``ROUNDS`` steps. Predicted: the same function, and 1.2 times the speed, from single layers of contiguous
maps being 2.5 times as fast. It came out (normalization.json, two cores with AVX-512): 1.23 times in channels_last, the
layout that training uses, and 1.05 in the contiguous one, where convolutions take more of the step.
"""

import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from caseunet.losses import create_loss
from caseunet.models import create_model

ROUNDS = 10
BATCH, SIZE, WIDTHS = 8, 128, (8, 16, 32, 64, 128)


def with_instance_norm(model: nn.Module) -> nn.Module:
    """Replace every GroupNorm by an InstanceNorm2d with its weights."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                replacement = nn.InstanceNorm2d(child.num_channels, affine=True)
                replacement.load_state_dict(child.state_dict())
                setattr(module, name, replacement)
    return model


def build() -> nn.Module:
    torch.manual_seed(0)
    return create_model("case_unet", 3, 3, norm="instance", fusion_kernel_size=1, widths=WIDTHS)


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
    target = torch.randint(0, 3, (BATCH, SIZE, SIZE), generator=generator)
    loss = create_loss("hybrid")
    models = {"GroupNorm": build(), "InstanceNorm2d": with_instance_norm(build())}
    outputs = [model.eval()(image) for model in models.values()]
    difference = (outputs[0] - outputs[1]).abs().max().item()
    result = {
        "difference": difference,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    for layout in (torch.contiguous_format, torch.channels_last):
        seconds: dict[str, list[float]] = {name: [] for name in models}
        x = image.contiguous(memory_format=layout)
        for round_number in range(ROUNDS + 2):  # two to warm up
            for name, model in models.items():
                model.to(memory_format=layout).train()
                start = time.perf_counter()
                loss(model(x), target).backward()
                if round_number >= 2:
                    seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        ratio = medians["InstanceNorm2d"] / medians["GroupNorm"]
        label = str(layout).removeprefix("torch.")
        result[label] = medians | {"ratio": ratio}
        row = "  ".join(f"{name} {1000 * value:.0f} ms" for name, value in medians.items())
        print(f"{label:20} {row}  ratio {ratio:.2f}")
    print(f"largest difference of the outputs: {difference:.1e}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
