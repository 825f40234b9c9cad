"""Attention over the positions of a feature map."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention over positions of a feature map: (B, channels, H, W) → the same.

    Args:
        rowwise: the author's form: the tokens are all (column, head) pairs of one image row, H separate
            sequences of W·heads tokens of ``key_size`` numbers. Otherwise the ordinary form: each head on its own,
            over all H·W positions.
    """

    def __init__(self, channels: int, heads: int, key_size: int, rowwise: bool) -> None:
        super().__init__()
        self.heads, self.key_size, self.rowwise = heads, key_size, rowwise
        self.query = nn.Linear(channels, heads * key_size)
        self.key = nn.Linear(channels, heads * key_size)
        self.value = nn.Linear(channels, heads * key_size)
        self.output = nn.Linear(heads * key_size, channels)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        B, _, H, W = query.shape
        q, k, v = (
            self.query(channels_last(query)),
            self.key(channels_last(source)),
            self.value(channels_last(source)),
        )
        if self.rowwise:
            tokens = [t.reshape(B, H, W * self.heads, self.key_size) for t in (q, k, v)]
            attended = F.scaled_dot_product_attention(*tokens).reshape(B, H, W, -1)
        else:
            tokens = [t.reshape(B, H * W, self.heads, self.key_size).transpose(1, 2) for t in (q, k, v)]
            attended = F.scaled_dot_product_attention(*tokens).transpose(1, 2).reshape(B, H, W, -1)
        return channels_first(self.output(attended))


def position_code(x: Tensor) -> Tensor:
    """Sines and cosines of row and column, as transformers number their tokens: (B, C, H, W) → (1, C, H, W).

    A quarter of the channels each has sin and cos of the row and sin and cos of the column, of wavelengths from 2π to
    2π · 10,000 positions; channels beyond a multiple of four are 0.
    """
    _, C, H, W = x.shape
    n = C // 4
    steps = torch.arange(n, device=x.device, dtype=torch.float32)
    frequency = (-math.log(10_000) * steps / max(n, 1)).exp()[:, None]
    rows = (frequency * torch.arange(H, device=x.device))[:, :, None].expand(n, H, W)
    columns = (frequency * torch.arange(W, device=x.device))[:, None].expand(n, H, W)
    code = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()])
    return F.pad(code, (0, 0, 0, 0, 0, C - 4 * n))[None].to(x.dtype)


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H, W, C)"""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, C, H, W)"""
    return x.permute(0, 3, 1, 2)
