"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """The running mean that ``decay`` makes of a network's parameters; buffers stay the network's own.

    Over the first updates the decay is smaller, (1 + n) / (10 + n), so that the untrained weights are soon forgotten.
    Parameters may be shards of a network that lies on several devices.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = list(model.parameters())
        self._decay = decay
        self.averages = [parameter.detach().clone() for parameter in self._parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters' present values in."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        for average, parameter in zip(self.averages, self._parameters, strict=True):
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def take(self) -> None:
        """Take the parameters' present values as the average."""
        for average, parameter in zip(self.averages, self._parameters, strict=True):
            average.copy_(parameter)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the average as its parameters for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self.averages, self._parameters, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
