"""YAML as configs read and write it."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgim.config.yaml_text import parse_yaml, to_block, to_flow
from vgim.errors import ConfigError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["on", "yes", "2e-4", "010", "1:30", "0x1f", "1_000", "~", "null", "2001-01-01", ".5", "<<", "="]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("20_480", 20480),
        ("010", 10),
        ("1:30", "1:30"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("2001-01-01", "2001-01-01"),
        ("~", None),
        ("", None),
        ("[1, 2e-4, x]", [1, 2e-4, "x"]),
        ("'2e-4'", "2e-4"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in itertools.pairwise("abcdefghi")
)
"""A gigabyte of x in 400 characters."""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, "aliases repeat anchors until there are more than 20,000 values"),
        ("a: &a [*a]", "an anchor contains itself"),
        ("[" * 5000 + "]" * 5000, "values are nested more than 40 deep"),
        ("- " * 5000 + "a", "values are nested more than 40 deep"),
        ("\n".join(" " * depth + "a:" for depth in range(1000)), "values are nested more than 40 deep"),
        ("a: [" + "1, " * 30_000 + "]", "more than 20,000 values"),
        ("x" * 2_000_000, "2,000,000 characters"),
        ("a: " + "9" * 5000, "an integer has 5,000 digits"),
        ("a: !!python/object/apply:os.system [ls]", "the tag tag:yaml.org,2002:python|the tag !!python/"),
        ("a: !!int abc", "a value does not fit its tag"),
        ("a: !!bool maybe", "a value does not fit its tag"),
        ("a: !!timestamp x", "the tag !!timestamp has no meaning"),
        ("a: \0", "special characters are not allowed"),
        (r'a: "\ud800"', "a text has half of a character, such as .ud800; write the character itself"),
        (r'"\ude00\ud83d": 1', "a text has half of a character"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_document_that_no_config_needs_is_refused_at_once(text: str, told: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"^f.yaml.*({told})") as e:
        parse_yaml(text, "f.yaml")
    assert time.monotonic() - began < 20  # some of them took minutes, and memory without end
    assert "\n" not in str(e.value)


def test_a_character_may_be_written_as_json_writes_it() -> None:
    assert parse_yaml(r'{"a": "\ud83d\ude00"}', "f.yaml") == {"a": "😀"}


def test_an_anchor_may_be_used_twice() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: *a", "f.yaml") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab01.:-?&*!#|>[]{},'\"\\ \n\t%@\x00é\ud800", max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    told = ""
    try:
        parse_yaml(text, "f.yaml")
    except ConfigError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_is_written_on_one_line_reads_back(value: Any) -> None:
    line = to_flow(value)
    assert "\n" not in line
    assert parse_yaml(line, "here") == value


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=4), VALUES, min_size=1, max_size=3))
def test_what_is_written_in_block_form_reads_back(tree: dict[str, Any]) -> None:
    assert parse_yaml(to_block(tree), "here") == tree


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", r"x\.yaml, line 3: .*'a' appears twice"),
        ("a: {b: 1, b: 2}", "'b' appears twice"),
        ("1: 2", "1 is not text"),
        ("a: [1", r"x\.yaml"),
        ("a: !!python/object:os.system x", r"x\.yaml"),
        ("a: \x00", r"x\.yaml"),
    ],
)
def test_unusable_yaml_names_file_and_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_yaml(text, "x.yaml")
