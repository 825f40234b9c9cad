"""What configuration keys, their values and flags were called before: refused by name, and read in old files."""

from collections.abc import Mapping
from typing import Any

KEYS = {
    "data.rare_share": "data.oversample_foreground",
    "data.balance": "data.sampling",
    "data.neighbours": "data.context_slices",
    "data.three_channels": "data.repeat_to_rgb",
    "data.clip": "data.intensity_window",
    "data.normalize": "data.normalization",
    "augment.flip_rows": "augment.vertical_flip",
    "augment.flip_columns": "augment.horizontal_flip",
    "model.arguments": "model.kwargs",
    "loss.arguments": "loss.kwargs",
    "optimizer.clip_norm": "optimizer.max_grad_norm",
    "optimizer.warmup": "optimizer.warmup_ratio",
    "optimizer.power": "optimizer.poly_power",
    "training.ema": "training.ema_decay",
    "training.accumulate": "training.micro_batches",
    "training.validations": "training.num_validations",
    "training.best_by": "training.monitor",
    "training.keep": "training.checkpoint",
    "training.start_from": "training.pretrained",
    "training.nonfinite_limit": "training.max_nonfinite_steps",
    "prepare.format": "prepare.layout",
    "prepare.crop_air": "prepare.crop_to_body",
    "prepare.plan": "prepare.repair_plan",
    "prepare.gap": "prepare.split_gap",
    "prepare.block": "prepare.split_block_size",
    "prepare.hold_out_every": "prepare.test_every",
    "prediction.engine": "prediction.backend",
    "prediction.clean": "prediction.postprocess",
    "prediction.flips": "prediction.tta_flip",
    "prediction.scales": "prediction.tta_scales",
}
"""{former key: present key}, both with their section."""

VALUES = {
    "training.precision": {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"},
    "prediction.precision": {"32": "fp32"},
}
"""{present key: {former value: present value}}."""

FILE_KEYS = {"fingerprint": "content_hash", "data_fingerprint": "data_hash"}
"""{former key: present key} of environment.json and of a study's plan.json."""

CASE_COLUMNS = {"standard": "statistics"}
"""{former column: present column} of cases.parquet."""

FLAGS = {
    "--clean": "--postprocess",
    "--engine": "--backend",
    "--flips": "--tta-flip",
    "--format": "--layout",
    "--from": "--pretrained",
    "--no-clean": "--no-postprocess",
    "--plan": "--repair-plan",
    "--scales": "--tta-scales",
}
"""{former flag of the command line: present flag}, both with their dashes."""


def present_name(key: str, value: object = None) -> str | None:
    """A sentence that says what a key, or one of its values, is called now; None for what was never called otherwise.

    Example:
        >>> present_name("training.best_by")
        '"training.best_by" is now called "training.monitor"'
        >>> present_name("training.precision", "bf16")
        'training.precision "bf16" is now called "bf16-mixed"'
    """
    if key in KEYS:
        return f'"{key}" is now called "{KEYS[key]}"'
    present = VALUES.get(key, {}).get(str(value))
    return present and f'{key} "{value}" is now called "{present}"'


def migrate(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that an earlier version wrote, {section: {key: value}}, in present words."""
    return {
        section: migrate_section(section, values) if isinstance(values, Mapping) else values
        for section, values in config.items()
    }


def migrate_section(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """One section of a configuration in present words."""
    present: dict[str, Any] = {}
    for key, value in values.items():
        name = KEYS.get(f"{section}.{key}", f"{section}.{key}")
        former = VALUES.get(name, {})
        present[name.partition(".")[2]] = former.get(value, value) if isinstance(value, str) else value
    return present


def migrate_file(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a JSON file that an earlier version wrote, with the present names of its own keys."""
    return {FILE_KEYS.get(key, key): value for key, value in content.items()}
