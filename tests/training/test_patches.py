"""Patches are as large as the slices, and as a network takes without padding."""

import doctest
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caseunet.config import ModelConfig, load_config
from caseunet.data.store import Prepared
from caseunet.models import MODELS, create_model, plan_arguments
from caseunet.training import patches
from caseunet.training.patches import fit_patch_size, plan_patch_size

PLANNED = ModelConfig(name="case_unet", kwargs={"patch_size": "auto", "norm": "instance", "widths": [4, 4, 4, 4, 4]})


def test_example_holds() -> None:
    assert doctest.testmod(patches).failed == 0


@pytest.mark.parametrize(
    ("slices", "patch"),
    [
        ((50, 35), (56, 40)),  # three stages
        ((64, 64), (64, 64)),  # four
        ((100, 60), (112, 64)),  # 60 becomes 64, which four stages halve, and 100 a multiple of 16
        ((256, 216), (256, 224)),  # five
        ((512, 512), (512, 512)),
    ],
)
def test_planned_stages(slices: tuple[int, int], patch: tuple[int, int]) -> None:
    assert fit_patch_size(slices, [PLANNED]) == patch


def test_fixed_stages() -> None:
    fixed = ModelConfig(name="case_unet", kwargs={"norm": "instance"})  # five, and at least 2×2 at the bottom
    assert fit_patch_size((50, 35), [fixed]) == (64, 64)


@pytest.mark.parametrize(("recipe", "longest"), [("default", 512), ("small", 256), ("tiny", 256)])
def test_recipes_for_cpus_take_smaller_patches(recipe: str, longest: int) -> None:
    config = load_config(recipe=recipe)
    photographs = SimpleNamespace(size={"a": (584, 565), "b": (580, 560)}.__getitem__)
    lines = SimpleNamespace(size={"a": (584, 70)}.__getitem__)
    for prepared, cases, expected in ((photographs, "ab", (longest, longest)), (lines, "a", (longest, 80))):
        patch = plan_patch_size(cast(Prepared, prepared), config.data, [PLANNED], cases)
        assert patch == expected


def test_networks_of_a_study() -> None:
    assert fit_patch_size((50, 35), [PLANNED, ModelConfig(name="unet")]) == (64, 48)


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=4, deadline=None)
@given(height=st.integers(32, 160), width=st.integers(32, 160))
def test_no_network_pads(name: str, height: int, width: int) -> None:
    patch = fit_patch_size((height, width), [ModelConfig(name=name)])
    with torch.device("meta"):
        network = create_model(name, 1, 2, **plan_arguments(name, {}, patch))
    assert all(length % network.multiple == 0 and length >= network.smallest for length in patch)
    assert patch[0] >= height
    assert patch[1] >= width
