"""A training step and a forward with channels first and channels last: processor seconds of one thread.

    python benchmarks/layouts.py benchmarks/layouts.json

Networks and loss are those of the recipe `default`; the step is forward, loss, backward and Adamax. Layouts take turns,
and the fastest of several rounds counts, so that other work on the machine weighs less. Slices of
50×35 were once trained on patches of 64×64; now they are of 56×40, for which three stages are planned.

Predicted before the first run: channels first .9 of channels last in training, 1.1 in a forward.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from caseunet.config import load_config
from caseunet.losses import create_loss
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.models import create_model, optimize_for, plan_arguments

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
CLASSES = 3
CASES: list[tuple[str, bool, tuple[int, int, int, int]]] = [
    ("case_unet", True, (16, 1, 56, 40)),
    ("case_unet", True, (16, 1, 64, 64)),
    ("case_unet", True, (4, 3, 256, 256)),
    ("case_unet", False, (1, 1, 512, 512)),
    ("nnunet", True, (16, 1, 56, 40)),
    ("nnunet", True, (16, 1, 64, 64)),
    ("unet", True, (16, 1, 64, 64)),
]
"""Network, whether it is trained, (B, C, H, W)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for name, trained, shape in CASES:
        calls = {layout: make_call(name, trained, shape, LAYOUTS[layout]) for layout in LAYOUTS}
        seconds = take_turns(calls, given.rounds)
        ratio = seconds["channels first"] / seconds["channels last"]
        row: dict[str, object] = {"network": name, "what": "step" if trained else "forward", "shape": list(shape)}
        rows.append(row | {layout: round(value, 3) for layout, value in seconds.items()} | {"ratio": round(ratio, 2)})
        print(rows[-1], flush=True)
        content = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "rows": rows}
        given.out.write_text(json.dumps(content, indent=1) + "\n")


def make_call(
    name: str, trained: bool, shape: tuple[int, int, int, int], layout: torch.memory_format
) -> Callable[[], None]:
    """A training step, or a forward without gradients."""
    recipe = load_config()
    arguments = recipe.model.kwargs if name == recipe.model.name else {}
    torch.manual_seed(0)
    model = create_model(name, shape[1], CLASSES, **plan_arguments(name, arguments, (shape[2], shape[3])))
    model = optimize_for(model, "cpu").to(memory_format=layout).train(trained)  # type: ignore[call-overload]
    loss = create_loss(recipe.loss.name, None, **recipe.loss.kwargs)
    image = torch.randn(shape).contiguous(memory_format=layout)
    target = torch.randint(0, CLASSES, (shape[0], *shape[2:]))
    optimizer = torch.optim.Adamax(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        deeply_supervised(loss, model(image), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step if trained else torch.no_grad()(lambda: model(image))


def take_turns(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Least processor seconds of each; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            seconds[name].append(time.process_time() - began)
    return {name: min(values[1:]) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
