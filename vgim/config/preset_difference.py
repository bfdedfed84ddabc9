"""The keys in which two presets or runs differ, for `vgim config diff`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgim.config.difference import differing_keys
from vgim.config.keys import dump
from vgim.config.load import PRESETS_NAME, ResolvedConfig, load_config
from vgim.config.paths import resolve_path, resolve_run_path
from vgim.config.presets import SUFFIXES, is_file, known_presets, suggestion
from vgim.config.schema import default_home
from vgim.config.yaml_text import to_flow
from vgim.errors import ConfigError
from vgim.text import align_columns

RUN_CONFIG = "config.yaml"
NAME = "storage.name"


@dataclass(frozen=True)
class PresetDifference:
    """Two presets and the keys in which they differ."""

    first: str
    second: str
    keys: dict[str, tuple[Any, Any]]
    """Dotted key → value in the first and in the second, in the schema's order."""

    def as_text(self) -> str:
        """A table for the terminal with a row for each key."""
        if not self.keys:
            return f"{self.first} and {self.second} have the same values"
        rows = [(key, to_flow(one), to_flow(other)) for key, (one, other) in self.keys.items()]
        return align_columns([("key", self.first, self.second), *rows], num_left=3)

    def as_json(self) -> str:
        """The same as one JSON object."""
        differences = {key: list(values) for key, values in self.keys.items()}
        record = {"presets": [self.first, self.second], "differences": differences}
        return json.dumps(record, indent=2, ensure_ascii=False)


def preset_difference(first: str, second: str, overrides: Sequence[str] = ()) -> PresetDifference:
    """Compare two configs.

    Args:
        first: A preset's name or path, or a run: its folder, or its name under $VGIM_HOME/runs. A name that both
            have is the preset's.
        second: What `first` is compared with, given in the same way.
        overrides: `key=value` for both.

    Raises:
        ConfigError: No such preset, run or key, or a value that is not allowed.
    """
    one, other = _load(first, overrides), _load(second, overrides)
    # Names that are taken from the presets always differ, and say nothing.
    is_named = any(resolved.sources[NAME] != PRESETS_NAME for resolved in (one, other))
    keys = {
        key: (was, now)
        for key, was, now in differing_keys(dump(one.config), dump(other.config))
        if key != NAME or is_named
    }
    return PresetDifference(first, second, keys)


def _load(where: str, overrides: Sequence[str]) -> ResolvedConfig:
    if where in known_presets() or where.endswith(SUFFIXES):
        return load_config(where, overrides)
    path = Path(resolve_run_path(where, "A or B"))
    for file in (path / RUN_CONFIG, path):
        if is_file(file):
            return load_config(str(file), overrides)
    runs = Path(resolve_path(f"{default_home()}/runs", "VGIM_HOME"))
    names = sorted(file.parent.name for file in runs.glob(f"*/{RUN_CONFIG}"))
    raise ConfigError(
        f"no preset or run is called '{where}'; {suggestion(where)}; runs in {runs}: {', '.join(names) or 'none'}"
    )
