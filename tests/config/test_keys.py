"""The keys of a config, read from the schema."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vgim.config import DecoderConfig, RunConfig
from vgim.config.docstrings import field_docstrings
from vgim.config.keys import config_keys
from vgim.config.schema import DataConfig, Section


@pytest.mark.parametrize("root", [RunConfig, DecoderConfig])
def test_the_types_of_a_key_are_those_of_its_json_schema(root: type[Section]) -> None:
    for key in config_keys(root).leaves.values():
        schema = key.json_schema(key.section)["properties"][key.name.rpartition(".")[2]]
        assert key.types == {choice["type"] for choice in schema.get("anyOf", [schema])}, key.name


def test_a_help_text_is_the_docstring_below_its_key() -> None:
    texts = field_docstrings(DataConfig)
    assert texts["crop_samples"] == "Samples in a crop, at 16 kHz."
    assert "augment" not in texts  # a section, which says itself what it is
    assert config_keys().leaves["data.crop_samples"].doc == texts["crop_samples"]


def test_reading_a_config_reads_no_source_and_builds_only_its_own_schema() -> None:
    code = """
import linecache
from vgim.config import DecoderConfig, RunConfig, from_yaml
from vgim.config.schema import ModelConfig
text = "data: {shards: /s, augment: {gain_db: 0.0}}\\nmodel: {channels: 8}\\n"
assert from_yaml(text).model.channels == 8
print("sources read:", [name for name in linecache.cache if not name.startswith("<")])
print([kind.__name__ for kind in (RunConfig, DecoderConfig, ModelConfig) if kind.__pydantic_complete__])
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.splitlines() == ["sources read: []", "['RunConfig']"]
