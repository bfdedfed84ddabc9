"""Reads an experiment's file with overrides into its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from vgim.config.keys import Tree, dump
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.own_file import find_own_file, read_written
from vgim.config.presets import known_experiments, read_tree, shown
from vgim.config.schema import Section
from vgim.config.validation_messages import describe_problems
from vgim.config.yaml_text import to_block, to_flow
from vgim.errors import ConfigError
from vgim.experiment.config import BASELINES, NAME, ExperimentConfig
from vgim.text import first_problem

Parsed = TypeVar("Parsed", bound=Section)


def find_experiment(file: str) -> Path:
    """The file that a path or a bare name stands for."""
    return find_own_file(file, known_experiments(), "experiment file", "experiments")


def to_yaml(config: ExperimentConfig) -> str:
    """The whole file as YAML; `from_yaml` reads it back unchanged."""
    return to_block(dump(config))


def from_yaml(text: str, where: str) -> ExperimentConfig:
    """Read what `to_yaml` wrote; `where` names the file in errors."""
    return _validate(*read_written(text, where, ExperimentConfig, "experiment"))


def pairs_of(config: ExperimentConfig) -> list[tuple[str, str]]:
    """The pairs of columns that the comparison subtracts.

    Raises:
        ConfigError: A difference is not of runs, or of a run and a baseline.
    """
    pairs = []
    for text in config.differences:
        one, _, other = (word.strip() for word in text.partition(" - "))
        if one not in config.runs or other not in (*config.runs, *BASELINES):
            raise ConfigError(
                f"differences has '{text}'; write a run minus a run or a baseline, of {', '.join(config.runs)} and "
                f"{', '.join(BASELINES)}"
            )
        pairs.append((one, other))
    return pairs


def read_file(path: Path, own: Sequence[str]) -> ExperimentConfig:
    tree: Tree = {}
    sources: dict[str, str] = {}
    merge_layer(tree, read_tree(path, ExperimentConfig), shown(path), sources, root=ExperimentConfig)
    for text in own:
        merge_layer(tree, parse_override(text, ExperimentConfig), OVERRIDE, sources, root=ExperimentConfig)
    config = _validate(tree, sources)
    for arm in config.runs:
        if not re.match(NAME, arm) or arm in BASELINES:
            raise ConfigError(
                f"{shown(path)}: a run cannot be called '{arm}'; use letters, digits, dots, underscores and hyphens, "
                f"and not {' or '.join(BASELINES)}"
            )
    try:
        pairs_of(config)
    except ConfigError as error:
        raise ConfigError(f"{shown(path)}: {error}") from None
    return config


def _validate(tree: Tree, sources: dict[str, str]) -> ExperimentConfig:
    try:
        return ExperimentConfig.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, tree, sources, ExperimentConfig)) from None


def parse_part(kind: type[Parsed], tree: object, where: str, path: Path | None = None) -> Parsed:
    """Read a part of the file that has a schema of its own."""
    at = where if path is None else f"{shown(path)}: {where}"
    if not isinstance(tree, dict):
        raise ConfigError(f"{at} is {to_flow(tree)}; give it {' and '.join(_keys(kind))}")
    try:
        return kind.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{at}: {first_problem(error)}; its keys are {', '.join(_keys(kind))}") from None


def _keys(kind: type[Section]) -> list[str]:
    return [key for key in kind.model_fields if key != "options"]
