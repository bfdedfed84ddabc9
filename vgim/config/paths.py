"""Places in a config, `data.shards` and `storage.root`: made independent of who reads them, and where."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TypeVar

from vgim.config.decoder import DecoderConfig
from vgim.config.schema import RunConfig, default_home
from vgim.errors import ConfigError

Config = TypeVar("Config", RunConfig, DecoderConfig)

_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def resolve_paths(config: Config) -> Config:
    """The config with absolute places: workers run in folders of their own, where others mean nothing."""
    data = config.data.model_copy(update={"shards": resolve_path(config.data.shards, "data.shards")})
    storage = config.storage.model_copy(update={"root": resolve_path(config.storage.root, "storage.root")})
    return config.model_copy(update={"data": data, "storage": storage})


def resolve_run_path(run: str, root: str, option: str) -> str:
    """A run or checkpoint that a user names: a path or URI, or the bare name of a run under `root`."""
    if "/" in run or "$" in run or run.startswith("~") or os.path.lexists(run):
        return resolve_path(run, option)
    return f"{root.rstrip('/')}/{run}"


def resolve_path(place: str, key: str) -> str:
    """Variables and `~` filled in, a relative path made absolute; a URI keeps its form."""
    known: Mapping[str, str] = {**os.environ, "VGIM_HOME": default_home()}

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in known:
            raise ConfigError(
                f"{key}={place}: the environment variable {name} is not set; set it or give a path"
            )
        return known[name]

    filled = _VARIABLE.sub(fill, place)
    if _URI.match(filled):
        return filled
    return os.path.abspath(os.path.expanduser(filled))  # noqa: PTH100, PTH111 - pathlib would follow links
