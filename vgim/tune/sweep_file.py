"""Loads a sweep file with overrides: the sweep's config, its base run's config, and its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vgim.config import RunConfig, load_config
from vgim.config.keys import Tree, config_keys, dump, flatten
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.own_file import find_own_file, read_written
from vgim.config.presets import find_parent, known_sweeps, read_tree, shown
from vgim.config.validation_messages import describe_problems
from vgim.config.yaml_text import to_block, to_flow
from vgim.errors import ConfigError
from vgim.runs.layout import TRIALS
from vgim.storage import Location
from vgim.tune.config import SweepConfig


@dataclass(frozen=True)
class Sweep:
    """A sweep whose config and base are checked."""

    config: SweepConfig
    base: RunConfig
    """Config of the base run with the overrides; its storage.root holds the sweep's folder."""
    preset: str | None
    """Path of the base's file; None for a sweep that was read from its own folder."""
    source: str
    """Name of the sweep file in messages."""

    @property
    def asked_keys(self) -> set[str]:
        """Dotted keys of the base run that the overrides set."""
        return {key for override in self.config.overrides for key in flatten(parse_override(override))}

    @property
    def folder(self) -> Location:
        """The sweep's folder."""
        return Location(self.base.storage.root).child(self.config.name)

    @property
    def trials(self) -> Location:
        """The folder that holds the trials' runs."""
        return self.folder.child(TRIALS)


def load_sweep(file: str, overrides: Sequence[str] = ()) -> Sweep:
    """Load a sweep file by path or name; `key=value` changes a key of the sweep, or of the base run.

    Raises:
        ConfigError: every mistake in the file and the overrides, one line each.
    """
    path = find_sweep(file)
    own = [text for text in overrides if not _is_run_override(text)]
    tree: Tree = {}
    sources: dict[str, str] = {}
    merge_layer(tree, read_tree(path, SweepConfig), shown(path), sources, root=SweepConfig)
    for text in own:
        merge_layer(tree, parse_override(text, SweepConfig), OVERRIDE, sources, root=SweepConfig)
    config = _validate(tree, sources)
    if not config.name:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")
        config = config.model_copy(update={"name": name or "sweep"})
    run_overrides = [*config.overrides, *(text for text in overrides if _is_run_override(text))]
    config = config.model_copy(update={"overrides": tuple(run_overrides)})
    preset = str(find_parent(config.base, path, "base"))
    _refuse_overrides_of_swept_keys(config, shown(path))
    return Sweep(config, load_config(preset, run_overrides).config, preset, shown(path))


def find_sweep(file: str) -> Path:
    """The file that a path or a bare name stands for."""
    return find_own_file(file, known_sweeps(), "sweep file", "sweeps")


def to_yaml(config: SweepConfig) -> str:
    """The whole sweep as YAML; `from_yaml` reads it back unchanged."""
    return to_block(dump(config))


def from_yaml(text: str, where: str) -> SweepConfig:
    """Read what `to_yaml` wrote; `where` names the file in errors."""
    return _validate(*read_written(text, where, SweepConfig, "sweep"))


def _is_run_override(override: str) -> bool:
    """True for `train.epochs=3`; False for the sweep's own keys, such as `samples=8` and `metric.task=speaker`."""
    return override.partition("=")[0].partition(".")[0] in config_keys().members[""]


def _refuse_overrides_of_swept_keys(config: SweepConfig, source: str) -> None:
    swept = {axis.key for axis in config.axes}
    for override in config.overrides:
        for key, value in flatten(parse_override(override)).items():
            if key in swept:
                raise ConfigError(
                    f"{key}={to_flow(value)} has no effect, since the space of {source} has values of {key}; leave it "
                    f"out, or let the space have this one: 'space.{key}=[{to_flow(value)}]'"
                )


def _validate(tree: Tree, sources: dict[str, str]) -> SweepConfig:
    for name in ("metric", "scheduler"):
        tree.setdefault(name, {})
    try:
        return SweepConfig.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, tree, sources, SweepConfig)) from None
