"""Configuration: what is read, what is refused, and how it is said."""

from pathlib import Path

import pytest
import yaml

from caseunet.config import Config, load_config, parse_settings, to_yaml
from caseunet.errors import CaseUNetError

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["lits", "endovis2018"])
def test_the_shipped_configurations_load(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.prepare.layout == name
    assert config.prepare.size == (512, 512)
    assert config.model.name == "case_unet"


def test_the_paper_recipe_is_the_paper_s() -> None:
    config = load_config(recipe="paper")
    assert config.model.kwargs == {"fusion_kernel_size": 3, "attention": "rowwise", "norm": "none"}
    assert (config.optimizer.name, config.optimizer.lr) == ("adamax", 1e-3)
    assert config.loss.class_weights == "inverse_frequency"
    assert config.loss.kwargs == {"cross_entropy": 1.0, "ssim": 1.0, "dice": 1.0}
    assert config.data.repeat_to_rgb


def test_file_lies_over_recipe_and_overrides_over_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("recipe: paper\noptimizer: {lr: 0.5}\nmodel: {kwargs: {norm: instance}}\n")
    config = load_config(file, overrides={"optimizer.lr": 0.25, "model.kwargs.widths": [4, 6]})
    assert config.recipe == "paper"
    assert config.optimizer.lr == 0.25
    assert config.model.kwargs == {
        "fusion_kernel_size": 3,
        "attention": "rowwise",
        "norm": "instance",
        "widths": [4, 6],
    }


def test_another_network_does_not_inherit_arguments() -> None:
    config = load_config(overrides={"model.kwargs.widths": [4, 6], "model.name": "unet"})
    assert config.model.kwargs == {"widths": [4, 6]}
    assert load_config(overrides={"model.name": "case_unet"}).model.kwargs == load_config().model.kwargs


def test_saved_configuration_is_read_back_same(tmp_path: Path) -> None:
    config = load_config(recipe="paper", overrides={"training.minutes": 3, "data.intensity_window": [-100, 300]})
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_without_a_budget_there_is_one() -> None:
    assert Config().training.steps == 10_000
    assert load_config(overrides={"training.minutes": 2}).training.steps is None


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["optimizer.lr=3e-4"], {"optimizer.lr": 3e-4}),
        (["optimizer.lr=0.5", "optimizer.lr=1"], {"optimizer.lr": 1}),
        (
            ["model.name=unet", "data.intensity_window=[-200, 250]"],
            {"model.name": "unet", "data.intensity_window": [-200, 250]},
        ),
        (
            ["prepare.masks=*_seg.png", "prepare.images=['*.jpg']"],
            {"prepare.masks": "*_seg.png", "prepare.images": ["*.jpg"]},
        ),
        (["data.vertical_flip=false", "prepare.size=null"], {"data.vertical_flip": False, "prepare.size": None}),
    ],
)
def test_settings_are_yaml(tokens: list[str], expected: dict[str, object]) -> None:
    assert parse_settings(tokens) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {learning_rate: 1}", 'no key "optimizer.learning_rate"'),
        ("optimiser: {lr: 1}", 'no key "optimiser". Did you mean "optimizer"'),
        ("trainning: {steps: 1}", 'Did you mean "training"'),
        ("optimizer: {lr: -1}", "optimizer.lr = -1: Input should be greater than 0"),
        ("data: {batch_size: many}", "data.batch_size = 'many'"),
        ("seed: -1", "seed = -1"),
        ("training: {steps: 0}", "training.steps = 0"),
        ("training: {steps: 1.5}", "training.steps = 1.5"),
        ("training: {minutes: .inf}", "training.minutes = inf"),
        ("data: {intensity_window: [250, -200]}", "intensity_window must rise"),
        ("data: {batch_size: true}", "data.batch_size = True"),
        ("training:", "training is empty"),
        ("recipe: papper", 'no recipe "papper". Did you mean "paper"'),
        ("- a list", "expected sections"),
        ("a: [", "cannot be read as YAML"),
        ("prepare:\n  folds: 3\n  gap: 1\n  folds: 2\n", r'YAML: "folds" stands twice, in lines 2 and 4; keep one'),
        ("prepare: {size: {2: 1, 0x2: 1}}", '"0x2" stands twice'),
    ],
)
def test_what_does_not_fit_is_said(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(CaseUNetError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)


def test_missing_file_and_missing_value() -> None:
    with pytest.raises(CaseUNetError, match="nowhere.yaml: no such configuration file"):
        load_config(Path("nowhere.yaml"))
    with pytest.raises(CaseUNetError, match='"optimizer.lr": expected a configuration key and its value'):
        parse_settings(["optimizer.lr"])


def test_every_key_explains_itself() -> None:
    for section_name, section in Config.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {section_name: section})
        for name, field in fields.items():
            assert name in ("prepare",) or field.description, f"{section_name}.{name} has no help"


def test_recipes_name_only_known_keys() -> None:
    for recipe in ("default", "paper"):
        assert yaml.safe_load(to_yaml(load_config(recipe=recipe)))["recipe"] == recipe


@pytest.mark.parametrize("value", ["[0, 1]", "mean", "[1]", "3", "[1, true]"])
def test_a_spacing_that_is_none_is_explained(value: str) -> None:
    with pytest.raises(
        CaseUNetError, match=r"prepare.spacing = .*: is \"median\", null, or millimetres.*\[0.8, 0.8\]\.$"
    ):
        load_config(overrides=parse_settings([f"prepare.spacing={value}"]))


def test_spacings() -> None:
    assert load_config(overrides={"prepare.spacing": [0.5, 1]}).prepare.spacing == (0.5, 1.0)
    assert load_config(overrides={"prepare.spacing": None}).prepare.spacing is None
    assert load_config().prepare.spacing == "median"
