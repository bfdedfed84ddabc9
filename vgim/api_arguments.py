"""Arguments of the functions of `import vgim`, checked: each mistake is one error that names the argument."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.config.arguments import path_text
from vgim.config.paths import resolve_path, resolve_run_path
from vgim.errors import ConfigError
from vgim.text import first_problem, shorten

RunPath = str | os.PathLike[str]
"""A run: what `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs."""
Options = TypeVar("Options", bound=BaseModel)


class DecoderArguments(BaseModel):
    """Options of `train_decoder`."""

    model_config = ConfigDict(strict=True)

    module: int
    layer: int | None
    loss: str | None
    name: str | None


class SplitArguments(BaseModel):
    """Numbers of `split_shards`."""

    validation_fraction: float
    test_fraction: float
    seed: int


class SubsetArguments(BaseModel):
    """Numbers of `subset_shards`."""

    max_hours: float
    seed: int


def run_path(run: object, argument: str) -> str:
    """Path or URI of a run.

    Args:
        run: What the caller gave.
        argument: Name of the parameter, for errors.

    Raises:
        ConfigError: It is no path, URI or name.
    """
    return resolve_run_path(path_text(run, argument), argument)


def with_paths(options: Mapping[str, object], *names: str) -> dict[str, object]:
    """Options of which some are paths or URIs, with these as absolute text.

    Args:
        options: What the caller gave.
        names: Options that are paths; those that are not given, or None, stay so.

    Raises:
        ConfigError: One is no path or URI.
    """
    given = {name: options[name] for name in names if options.get(name) is not None}
    return {**options, **{name: resolve_path(path_text(path, name), name) for name, path in given.items()}}


def option_texts(overrides: Iterable[object]) -> list[str]:
    """Overrides, each of which must be text.

    Raises:
        ConfigError: One is no text.
    """
    texts = []
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(
                f"override {shorten(repr(override))} is of the type {type(override).__name__}; write it as "
                "'key=value'"
            )
        texts.append(override)
    return texts


def checked(kind: type[Options], what: str, **options: object) -> Options:
    """Options as a checked record.

    Args:
        kind: Class of the record.
        what: Name of the options in errors.
        options: Its fields.

    Raises:
        ConfigError: A field is unknown or has a value that is not allowed.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise ConfigError(f"{what} cannot be used: {first_problem(error)}") from error
