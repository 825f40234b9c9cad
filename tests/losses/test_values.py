"""Values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from caseunet.errors import CaseUNetError
from caseunet.losses import create_loss, inverse_frequency_weights
from caseunet.losses.cross_entropy import weighted_cross_entropy
from caseunet.losses.deep_supervision import deeply_supervised
from caseunet.losses.dice import soft_dice_loss
from caseunet.losses.ssim import ssim_loss
from caseunet.types import IGNORE


def test_cross_entropy_of_a_coin_is_log_2() -> None:
    assert weighted_cross_entropy(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)) == pytest.approx(
        math.log(2)
    )


def test_cross_entropy_is_meaned_over_pixels_not_over_weights() -> None:
    """Three pixels of class 0 (weight 0.5) and one of class 1 (weight 2): (3 · 0.5 + 2) / 4 · log 2."""
    target = torch.tensor([[[0, 0], [0, 1]]])
    value = weighted_cross_entropy(torch.zeros(1, 2, 2, 2), target, torch.tensor([0.5, 2.0]))
    assert value == pytest.approx(3.5 / 4 * math.log(2))


def test_inverse_frequency_weights() -> None:
    """Shares .9, .09, .01: inverses 1.111, 11.11, 100, whose mean is 37.41."""
    assert inverse_frequency_weights([90, 9, 1]) == pytest.approx([0.029703, 0.297030, 2.673267], abs=1e-6)


def test_a_class_without_pixels_gets_weight_zero() -> None:
    """The others are as if it did not exist: inverses 2 and 2."""
    assert inverse_frequency_weights([5, 0, 5]) == pytest.approx([1, 0, 1])
    with pytest.raises(ValueError, match="no pixels"):
        inverse_frequency_weights([0, 0])


def test_soft_dice_of_a_coin() -> None:
    """p = ½ everywhere, half of 4 pixels in each class: 2 · 1 / (2 + 2) = ½ for both."""
    target = torch.tensor([[[0, 1], [0, 1]]])
    assert soft_dice_loss(torch.zeros(1, 2, 2, 2), target, smooth=0.0) == pytest.approx(0.5)


def test_soft_dice_sums_over_the_batch() -> None:
    """Image 1 all class 0, image 2 all class 1, p = ½: (2 · 2) / (4 + 4) for both classes."""
    target = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)]).long()
    assert soft_dice_loss(torch.zeros(2, 2, 2, 2), target, smooth=0.0) == pytest.approx(0.5)


def test_soft_dice_can_leave_out_classes_that_are_nowhere() -> None:
    """p = ⅓ for each of three classes, 4 pixels of class 0: 2 · 4/3 / (4/3 + 4) = ½ for class 0, which alone counts."""
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 3, 2, 2)
    assert soft_dice_loss(logits, target, smooth=0.0, classes="present") == pytest.approx(0.5)
    assert soft_dice_loss(logits, target, smooth=0.0) == pytest.approx(1 - 0.5 / 3), "absent classes score 0"


def test_ssim_of_constant_maps() -> None:
    """Without variance SSIM is (2pg + C1) / (p² + g² + C1), C1 = 1e-4; p = ½, g = 1 and 0."""
    first = (2 * 0.5 + 1e-4) / (0.25 + 1 + 1e-4)
    second = 1e-4 / (0.25 + 1e-4)
    value = ssim_loss(torch.zeros(1, 2, 11, 11), torch.zeros(1, 11, 11, dtype=torch.long))
    assert value == pytest.approx(1 - (first + second) / 2, abs=1e-6)


def test_ssim_equals_its_formula_written_out() -> None:
    """Wang et al. 2004 in loops: Gaussian 11×11, σ 1.5, windows inside the image only."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.standard_normal((1, 2, 13, 12)))
    target = torch.from_numpy(rng.integers(0, 2, (1, 13, 12)))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    maps = logits.softmax(1).numpy()[0]
    values = []
    for c in range(2):
        for i in range(3):
            for j in range(2):
                x, y = maps[c, i : i + 11, j : j + 11], (target[0].numpy() == c)[i : i + 11, j : j + 11].astype(float)
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                cov = (window * (x - mx) * (y - my)).sum()
                values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert ssim_loss(logits, target).item() == pytest.approx(1 - np.mean(values), abs=1e-6)


def test_ssim_refuses_images_smaller_than_window() -> None:
    with pytest.raises(ValueError, match="11×11"):
        ssim_loss(torch.zeros(1, 2, 10, 12), torch.zeros(1, 10, 12, dtype=torch.long))


def test_hybrid_is_the_weighted_sum_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, generator=generator)
    target = torch.randint(0, 3, (2, 16, 16), generator=generator)
    loss = create_loss("hybrid", [0.2, 0.8, 2.0], cross_entropy=0.5, ssim=2.0, dice=3.0)
    parts = (
        weighted_cross_entropy(logits, target, torch.tensor([0.2, 0.8, 2.0])),
        ssim_loss(logits, target),
        soft_dice_loss(logits, target),
    )
    assert loss(logits, target) == pytest.approx((0.5 * parts[0] + 2 * parts[1] + 3 * parts[2]).item(), rel=1e-6)
    assert [loss.parts[name] for name in ("cross_entropy", "ssim", "dice")] == list(parts)


def test_a_term_with_weight_zero_is_left_out() -> None:
    loss = create_loss("hybrid", ssim=0.0)
    loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))  # too small for SSIM
    assert set(loss.parts) == {"cross_entropy", "dice"}


def test_bad_weights_are_refused() -> None:
    with pytest.raises(CaseUNetError, match="not all 0"):
        create_loss("hybrid", cross_entropy=0, ssim=0, dice=0)
    with pytest.raises(CaseUNetError, match="no class weights"):
        create_loss("dice", [1.0, 2.0])


def test_outputs_of_deep_supervision_weigh_half_of_the_one_before() -> None:
    """Losses 1, 4 and 8 with weights 1, 1/2 and 1/4: (1 + 2 + 2) / 1.75; the loss saw the network's own logits last."""

    class Recorder(torch.nn.Module):
        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.last = logits.mean()
            return self.last

    loss, target = Recorder(), torch.zeros(1, 2, 2, dtype=torch.long)
    outputs = [torch.full((1, 2, 2, 2), value) for value in (1.0, 4.0, 8.0)]
    assert deeply_supervised(loss, outputs, target).item() == pytest.approx(5 / 1.75)
    assert loss.last.item() == 1
    assert deeply_supervised(loss, outputs[1], target).item() == 4


def half_ignored() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 3, 16, 32) and a target whose right half has no label."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (2, 16, 32), generator=generator)
    target[..., 16:] = IGNORE
    return torch.randn(2, 3, 16, 32, generator=generator), target


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_ignored_pixels_are_as_if_cut_off(name: str) -> None:
    logits, target = half_ignored()
    loss = create_loss(name, [0.5, 1.0, 2.0] if name == "cross_entropy" else None)
    assert loss(logits, target).item() == pytest.approx(loss(logits[..., :16], target[..., :16]).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "ssim", "hybrid"])
def test_ignored_pixels_have_no_gradient(name: str) -> None:
    logits, target = half_ignored()
    logits.requires_grad_()
    create_loss(name)(logits, target).backward()
    assert logits.grad is not None
    assert not logits.grad[..., 16:].any()
    assert logits.grad[..., :16].abs().max() > 0


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "ssim", "hybrid"])
def test_a_batch_without_labels_is_finite(name: str) -> None:
    logits = torch.randn(1, 3, 16, 16, requires_grad=True)
    value = create_loss(name)(logits, torch.full((1, 16, 16), IGNORE))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert not logits.grad.any()
