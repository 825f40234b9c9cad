"""What every registered network promises to other runtimes: the same logits, at any batch, height and width."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

from caseunet import CaseUNetError, create_model
from caseunet.prediction import backends
from tests.contracts.test_models import TINY

SIZES = ((1, 64, 64), (3, 96, 160), (2, 77, 50))
FIRST = [
    pytest.param(partial(create_model, name, 1, 3, **arguments[-1]), id=name)  # the last has most options
    for name, arguments in TINY.items()
]


def model(create: Any) -> Any:
    torch.manual_seed(0)
    return create().eval()


def assert_same(network: Any, run: backends.Network, most: float) -> None:
    for B, H, W in SIZES:
        x = torch.randn(B, 1, H, W)
        with torch.no_grad():
            torch.testing.assert_close(run(x), network(x), rtol=0, atol=most)


@pytest.mark.parametrize("create", FIRST)
def test_openvino_gives_torchs_logits(create: Any) -> None:
    network = model(create)
    if type(network).__name__ == "SwinUNETR":  # its windows are cut at the size that it was written down at
        with pytest.raises(CaseUNetError, match="cannot be written down for any size"):
            backends.prepare_network(network, "openvino", "fp32")
        return
    assert_same(
        network, backends.prepare_network(network, "openvino", "fp32"), most=5e-3 if has_batch_norm(network) else 5e-4
    )


def has_batch_norm(network: Any) -> bool:
    """Fresh running sums make logits large, and their rounding with them."""
    return any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["case_unet", "unet"])
def test_onnx_gives_torchs_logits(name: str) -> None:
    network = model(partial(create_model, name, 1, 3, widths=(3, 4), norm="instance"))
    assert_same(network, backends.prepare_network(network, "onnx", "fp32"), most=5e-4)


SIGNALLED = """
import os, signal, sys, threading
from torch import nn
from caseunet.prediction import backends

def network():
    return backends.run_openvino(backends.to_openvino(nn.Conv2d(1, 2, 3, padding=1).eval(), 1, (32, 32)), "fp32")

signal.signal(signal.SIGUSR1, lambda number, frame: print("heard"))
held = [network(), network()]
while held:
    held.pop(0)  # the first goes before the second
os.kill(os.getpid(), signal.SIGUSR1)
held.append(network())
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_signals_are_heard_after_openvino_networks_are_gone() -> None:
    """A Ctrl-C after a prediction, or the end of a child, once ended the process with a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["heard", "heard"]), done.stderr


def test_auto_takes_openvino_on_a_cpu_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert backends.choose_backend("auto", cpu) == "openvino"
    assert backends.choose_backend("auto", cuda) == "torch"
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert backends.choose_backend("auto", cpu) == "torch"
    with pytest.raises(CaseUNetError, match="openvino computes on the CPU alone"):
        backends.choose_backend("openvino", cuda)


def test_what_an_engine_cannot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(partial(create_model, "unet", 1, 3, widths=(3, 4)))
    with pytest.raises(CaseUNetError, match="computes in float32 on CPUs"):
        backends.prepare_network(network, "onnx", "bf16")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(CaseUNetError, match=r"openvino is not installed. Install caseunet\[openvino\]"):
        backends.prepare_network(network, "openvino", "fp32")
    network.forward = lambda x: x if x.sum() > 0 else -x
    with pytest.raises(CaseUNetError, match="UNet cannot be exported"):
        backends.to_program(network, 1, (64, 96))
