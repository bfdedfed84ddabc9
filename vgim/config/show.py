"""Configs and their keys as text for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from vgim.config.keys import Tree, config_keys, dump
from vgim.config.load import ResolvedConfig
from vgim.config.presets import headline, listed_presets
from vgim.config.schema import RunConfig, Section
from vgim.config.yaml_text import to_flow

COMMENT_COLUMN = 40


def annotated(resolved: ResolvedConfig) -> str:
    """The config as YAML, with the source of each value beside it."""
    return "\n".join(_lines(dump(resolved.config), resolved.sources, depth=0, prefix=""))


def as_json(resolved: ResolvedConfig) -> str:
    """The preset's name, the config and the sources as one JSON object."""
    record = {
        "preset": resolved.preset_name,
        "config": dump(resolved.config),
        "sources": dict(resolved.sources),
    }
    return json.dumps(record, indent=2, ensure_ascii=False)


def preset_list() -> str:
    """All presets that are meant to be run, each with the first line of its header."""
    listed = listed_presets()
    width = max(map(len, listed), default=0)
    return "\n".join(f"{name:<{width}}  {headline(path)}" for name, path in sorted(listed.items()))


def key_list(root: type[Section] = RunConfig) -> str:
    """All keys of a config with type, default and meaning."""
    return "\n".join(
        f"{key.name}: {key.expects}; default {key.default}\n    {key.doc}"
        if key.default != "(required)"
        else f"{key.name}: {key.expects}; required\n    {key.doc}"
        for key in config_keys(root).leaves.values()
    )


def _lines(tree: Tree, sources: Mapping[str, str], depth: int, prefix: str) -> Iterator[str]:
    for name, value in tree.items():
        indent, dotted = "  " * depth, f"{prefix}{name}"
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, sources, depth + 1, f"{dotted}.")
        else:
            yield f"{f'{indent}{name}: {to_flow(value)}':<{COMMENT_COLUMN}}  # {sources[dotted]}"
