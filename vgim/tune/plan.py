"""The trials of a sweep, each with its whole config, and which of them continue one another."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vgim.config import RunConfig, from_yaml, load_config
from vgim.config.keys import dump
from vgim.config.overrides import lay_over
from vgim.config.presets import Layer
from vgim.config.text import to_block
from vgim.errors import ConfigError
from vgim.storage import Location
from vgim.tune.load import Sweep
from vgim.tune.space import Values, corners, draws, grid

DEPTH = "model.depth"
LONGEST_ID = 80
_HASH_DIGITS = 6


@dataclass(frozen=True)
class Trial:
    """One point of the space: a run of its own."""

    id: str
    values: Values
    config: RunConfig

    @property
    def run(self) -> Location:
        """Its run's folder."""
        return Location(self.config.storage.root).child(self.config.storage.name)


@dataclass(frozen=True)
class Chain:
    """Trials that are run one after the other, each of which starts with the modules of the one before.

    All but depth sharing has chains of one trial.
    """

    trials: tuple[Trial, ...]


def trial_of(sweep: Sweep, values: Values, name: str = "") -> Trial:
    """The trial at a point of the space.

    Args:
        name: its name; empty for one that is made of the values.

    Raises:
        ConfigError: the config that results is not allowed.
    """
    name = name or trial_id(values)
    on_top = [
        Layer(_tree(values), f"the space of {sweep.source}"),
        Layer({"storage": {"root": sweep.trials.uri, "name": name}}, "the sweep"),
    ]
    config = _config(sweep, on_top)
    _check_module(sweep, config)
    return Trial(name, values, config)


def with_values(trial: Trial, values: Values) -> Trial:
    """The same run with other values."""
    tree = dump(trial.config)
    lay_over(tree, _tree(values), "", {})
    return replace(trial, values=dict(values), config=from_yaml(to_block(tree), trial.id))


def _tree(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        lay_over(tree, value, "", {})
    return tree


def _config(sweep: Sweep, on_top: Sequence[Layer]) -> RunConfig:
    if sweep.preset is not None:
        return load_config(sweep.preset, sweep.config.overrides, on_top).config
    tree = dump(sweep.base)
    for layer in on_top:
        lay_over(tree, layer.tree, layer.source, {})
    return from_yaml(to_block(tree), sweep.source)


def trials_of(sweep: Sweep) -> list[Trial]:
    """All trials that can be named before the sweep starts: none of optuna's, whose corners are checked instead.

    Raises:
        ConfigError: one of them is not allowed.
    """
    config, axes = sweep.config, sweep.config.axes
    for values in corners(axes):
        trial_of(sweep, values)
    if config.search == "optuna":
        return []
    points = (
        grid(axes, config.samples) if config.search == "grid" else draws(axes, config.samples, config.seed)
    )
    if config.scheduler.kind == "pbt":  # whose values change, so that no name is made of them
        return [trial_of(sweep, values, f"member-{i}") for i, values in enumerate(points)]
    found = {trial.id: trial for trial in (trial_of(sweep, values) for values in points)}  # draws may repeat
    return list(found.values())


def chains_of(sweep: Sweep, trials: Sequence[Trial]) -> list[Chain]:
    """Trials that differ in depth alone, shallow before deep, where training one is training the others' start."""
    if not shares_depth(sweep):
        return [Chain((trial,)) for trial in trials]
    by_rest: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.config.train.schedule == "sequential":
            rest = dump(trial.config)
            rest["model"].pop("depth")
            rest.pop("storage")
            by_rest.setdefault(json.dumps(rest, sort_keys=True), []).append(trial)
        else:
            by_rest[trial.id] = [trial]
    return [
        Chain(tuple(sorted(group, key=lambda t: t.config.model.num_modules))) for group in by_rest.values()
    ]


def shares_depth(sweep: Sweep) -> bool:
    """Whether the sweep may run trials as chains: a scheduler or a search must see each on its own."""
    config = sweep.config
    known_ahead = config.search != "optuna" and config.scheduler.kind == "none"
    return config.share_depth and known_ahead and any(axis.key == DEPTH for axis in config.axes)


def trial_id(values: Values) -> str:
    """A name made of the values, such as `kld_weight0.001-depth2`, the same for the same values."""
    parts = [f"{key.rpartition('.')[2]}{_short(value)}" for key, value in values.items()]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_.-")
    alone = len({key.rpartition(".")[2] for key in values}) == len(values)  # no two keys end alike
    plain = all(isinstance(v, int | float | bool) or str(v).isidentifier() for v in values.values())
    if alone and plain and len(name) <= LONGEST_ID:
        return name
    exact = json.dumps(values, sort_keys=True)
    digest = hashlib.sha256(exact.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[:LONGEST_ID]}-{digest}"


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _check_module(sweep: Sweep, config: RunConfig) -> None:
    module, num_modules = sweep.config.metric.module, config.model.num_modules
    if not -num_modules <= module < num_modules:
        raise ConfigError(
            f"metric.module={module}, but a trial of {sweep.source} has {num_modules} modules; use -1 for the last "
            f"of each, or 0 to {num_modules - 1}"
        )


def all_trials(chains: Sequence[Chain]) -> Iterator[Trial]:
    """The trials of chains, in order."""
    for chain in chains:
        yield from chain.trials
