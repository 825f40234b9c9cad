"""YAML is read as it is meant, or refused."""

import pytest

from caseunet.yaml_text import parse_yaml


def test_yaml_may_lay_keys_over_merged_ones() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc:\n  <<: *b\n  y: 4\n")["c"] == {"x": 3, "y": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", '"c" stands twice, in lines 3 and 5; keep one'),
        ("{1: a, 0x1: b}", '"0x1" stands twice'),
        ("a: [", "expected the node content"),
        ("a: 2026-13-99", "month must be in 1..12"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
