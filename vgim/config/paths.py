"""Paths that a user gives, in a config or on the command line, made absolute."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TypeVar

from vgim.config.decoder import DecoderConfig
from vgim.config.schema import RunConfig, default_home
from vgim.errors import ConfigError
from vgim.secrets import NO_SECRETS, has_secret, mask_location
from vgim.text import shorten

Config = TypeVar("Config", RunConfig, DecoderConfig)

_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_NO_PATH = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_OF_RUN = re.compile(r"^(?P<run>[^/]+)/(checkpoints|decoder|probes)/[^/]+/?$")
"""A checkpoint, decoder or probe of a run."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def resolve_paths(config: Config) -> Config:
    """The config with absolute paths: workers run in other working directories, where relative paths mean nothing."""
    paths = {"shards": resolve_path(config.data.shards, "data.shards")}
    if config.data.cache_dir:
        paths["cache_dir"] = resolve_path(config.data.cache_dir, "data.cache_dir")
    data = config.data.model_copy(update=paths)
    storage = config.storage.model_copy(update={"root": resolve_path(config.storage.root, "storage.root")})
    resolved = config.model_copy(update={"data": data, "storage": storage})
    if not isinstance(resolved, RunConfig) or not resolved.attach.run:
        return resolved
    run = resolve_run_path(resolved.attach.run, "attach.run", storage.root)
    return resolved.model_copy(update={"attach": resolved.attach.model_copy(update={"run": run})})


def resolve_run_path(run: str, option: str, root: str = "") -> str:
    """The path or URI of a run, or of a checkpoint, decoder or probe of it, that a user names.

    Args:
        run: A path, a URI, or the name of a run under `root`, alone or in front of `/checkpoints/...`, `/decoder/...`
            or `/probes/...`.
        option: Option or argument that it was given by, for errors.
        root: Folder of runs; empty for $VGIM_HOME/runs.
    """
    _refuse_control_characters(run, option)
    of_run = _OF_RUN.match(run)
    name = of_run["run"] if of_run else run
    is_path = "/" in name or "$" in name or name.startswith("~") or os.path.lexists(name)
    if is_path or not name.strip():  # which it refuses
        return resolve_path(run, option)
    return f"{(root or resolve_path(f'{default_home()}/runs', option)).rstrip('/')}/{run}"


def _refuse_control_characters(path: str, key: str) -> None:
    if _NO_PATH.search(path):
        raise ConfigError(
            f"{key}={shorten(path)}: the path holds a control character or is not UTF-8; rename it"
        )


def resolve_path(path: str, key: str) -> str:
    """Fill in environment variables and `~`, and make a relative path absolute; a URI stays a URI.

    Raises:
        ConfigError: It is empty, a variable is not set, or a URI holds a password; `key` names the key or option.
    """
    _refuse_control_characters(path, key)
    if not path.strip():
        raise ConfigError(f"{key} is empty; give a path or a URI such as s3://bucket/folder")
    known: Mapping[str, str] = {**os.environ, "VGIM_HOME": default_home()}

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in known:
            raise ConfigError(
                f"{key}={path}: the environment variable {name} is not set; set it or give a path"
            )
        return known[name]

    filled = _VARIABLE.sub(fill, path)
    if has_secret(filled):
        raise ConfigError(f"{key}={mask_location(filled)} holds a password or key; {NO_SECRETS}")
    if _URI.match(filled):
        return filled
    return os.path.abspath(os.path.expanduser(filled))  # noqa: PTH100, PTH111 - pathlib would follow links
