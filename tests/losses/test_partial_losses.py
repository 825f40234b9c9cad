"""Losses of images in which only some structures are labelled, against numbers by hand."""

from math import exp, log

import pytest
import torch

from caseunet.losses import create_loss
from caseunet.losses.targets import known_regions, merge_classes

Z = (0.4, 1.0, -0.5, 2.0)
"""Logits of the background, liver, tumour and spleen in one pixel."""


def softmax(c: int) -> float:
    return exp(Z[c]) / sum(map(exp, Z))


def test_probabilities_of_merged_classes_are_summed() -> None:
    logits = torch.tensor(Z)[None, :, None, None]
    merged = merge_classes(logits, torch.tensor([[0, 1, 1, 0]])).softmax(1).flatten().tolist()
    assert merged == pytest.approx([softmax(0) + softmax(3), softmax(1) + softmax(2), 0, 0], abs=1e-7)
    assert merge_classes(logits, None) is logits


def test_cross_entropy_asks_for_any_of_the_merged() -> None:
    """The first image is labelled wholly, the second has a liver alone: no label means background or spleen."""
    logits = torch.tensor([Z, Z])[:, :, None, None]
    target, merged = torch.tensor([[[0]], [[0]]]), torch.tensor([[0, 1, 2, 3], [0, 1, 1, 0]])
    expected = -(log(softmax(0)) + log(softmax(0) + softmax(3))) / 2
    assert float(create_loss("cross_entropy")(logits, target, merged)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "ssim", "hybrid"])
def test_background_or_spleen_is_all_the_same(name: str) -> None:
    """Where the spleen is not labelled, moving probability between it and the background changes no loss."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 16, 16)
    merged = torch.tensor([[0, 1, 2, 0]] * 2)
    target = torch.randint(0, 3, (2, 16, 16))
    moved = logits.clone()
    total = torch.logsumexp(logits[:, [0, 3]], 1)
    share = torch.rand(2, 16, 16)
    moved[:, 0], moved[:, 3] = total + share.log(), total + (1 - share).log()
    loss = create_loss(name)
    assert float(loss(moved, target, merged)) == pytest.approx(float(loss(logits, target, merged)), rel=1e-5)
    assert float(loss(moved, target)) != pytest.approx(float(loss(logits, target)), rel=1e-3)


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "ssim", "hybrid"])
def test_unlabelled_regions_have_no_gradient(name: str) -> None:
    regions = [[1, 2], [2]]
    table = torch.tensor([[float(i in members) for members in regions] for i in range(3)])
    merged = torch.tensor([[0, 1, 2], [0, 1, 1]])
    assert known_regions(table, merged).tolist() == [[1, 1], [1, 0]]
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 16, 16, requires_grad=True)
    create_loss(name, regions=regions, num_classes=3)(logits, torch.randint(0, 2, (2, 16, 16)), merged).backward()
    assert (logits.grad[1, 1] == 0).all(), "tumours of the second image"
    assert all((logits.grad[b, r] != 0).any() for b, r in ((0, 0), (0, 1), (1, 0)))
