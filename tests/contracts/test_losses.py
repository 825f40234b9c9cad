"""What every registered loss promises."""

import pytest
import torch

from caseunet.errors import CaseUNetError
from caseunet.losses import LOSSES, create_loss

every_loss = pytest.mark.parametrize("name", list(LOSSES))


def sample(dtype: torch.dtype = torch.float32, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, size, size, generator=generator).to(dtype)
    return logits.requires_grad_(), torch.randint(0, 3, (2, size, size), generator=generator)


@every_loss
def test_gradient_is_the_derivative(name: str) -> None:
    logits, target = sample(torch.float64, size=11)
    loss = create_loss(name)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,), eps=1e-6, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_in_every_precision(name: str, dtype: torch.dtype) -> None:
    logits, target = sample(dtype)
    value = create_loss(name)(logits, target)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_loss
@pytest.mark.parametrize("only", [0, 2])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_finite_where_only_one_class_is_present(name: str, only: int, scale: float) -> None:
    logits, target = sample()
    logits = (logits.detach() * scale).requires_grad_()
    value = create_loss(name)(logits, torch.full_like(target, only))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_loss
def test_zero_for_the_truth_and_more_for_anything_else(name: str) -> None:
    logits, target = sample()
    truth = 50 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    loss = create_loss(name)
    assert loss(truth, target) < 1e-3
    assert loss(logits, target) > 0.1


@every_loss
def test_following_the_gradient_lowers_it(name: str) -> None:
    logits, target = sample()
    loss = create_loss(name)
    before = loss(logits, target)
    (gradient,) = torch.autograd.grad(before, logits)
    assert loss(logits - 1e-2 * gradient / gradient.norm(), target) < before


@every_loss
def test_an_unknown_argument_is_refused(name: str) -> None:
    with pytest.raises(CaseUNetError, match="no argument"):
        create_loss(name, gamma=2)
