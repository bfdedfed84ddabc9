"""The trials of a sweep, each with its whole config, and the chains of trials that continue one another."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vgim.config import RunConfig, load_config
from vgim.config.keys import config_keys, dump
from vgim.config.load import ENDED_BY_OTHERS, end_presets_keys, from_tree
from vgim.config.overrides import OVERRIDE, merge_layer
from vgim.config.presets import Layer
from vgim.errors import ConfigError
from vgim.schedules.registry import SCHEDULES
from vgim.storage import Location
from vgim.tune.space import Values, corners, grid_points, random_points
from vgim.tune.sweep_file import Sweep

DEPTH = "model.depth"
MAX_ID_LENGTH = 80
_HASH_DIGITS = 6


@dataclass(frozen=True)
class Trial:
    """One point of the space, trained as a run."""

    id: str
    values: Values
    config: RunConfig

    @property
    def run(self) -> Location:
        """Folder of the trial's run."""
        return Location(self.config.storage.root).child(self.config.storage.name)


@dataclass(frozen=True)
class TrialChain:
    """Trials that run one after the other, each of which starts with the trained modules of the one before.

    Only depth sharing has chains of more than one trial.
    """

    trials: tuple[Trial, ...]


def trial_of(sweep: Sweep, values: Values, name: str = "") -> Trial:
    """The trial at a point of the space.

    Args:
        name: the trial's name; empty to derive it from the values.

    Raises:
        ConfigError: the resulting config is not allowed.
    """
    name = name or trial_id(values)
    layers = [
        Layer(_tree(values), f"the space of {sweep.source}"),
        Layer({"storage": {"root": sweep.trials.uri, "name": name}}, "the sweep"),
    ]
    config = _config(sweep, layers)
    _check_module(sweep, config)
    return Trial(name, values, config)


def with_values(trial: Trial, values: Values) -> Trial:
    """The trial with other values in its config, in the same run folder."""
    tree = dump(trial.config)
    merge_layer(tree, _tree(values), "", {})
    return replace(trial, values=dict(values), config=from_tree(tree, trial.id))


def _tree(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        merge_layer(tree, value, "", {})
    return tree


def _config(sweep: Sweep, layers: Sequence[Layer]) -> RunConfig:
    if sweep.preset is not None:
        return load_config(sweep.preset, sweep.config.overrides, layers).config
    tree = dump(sweep.base)
    asked = sweep.asked_keys
    sources = {key: OVERRIDE if key in asked else sweep.source for key in ENDED_BY_OTHERS}
    for layer in layers:
        merge_layer(tree, layer.tree, layer.source, {})
        end_presets_keys(tree, layer, sources)
    return from_tree(tree, sweep.source)


def trials_of(sweep: Sweep) -> list[Trial]:
    """All trials that are known before the sweep starts; none under optuna, which chooses them one by one.

    Raises:
        ConfigError: a trial is not allowed, or a corner of the space is not.
    """
    config, axes = sweep.config, sweep.config.axes
    for values in corners(axes):
        trial_of(sweep, values)
    if config.search == "optuna":
        return []
    points = (
        grid_points(axes, config.samples)
        if config.search == "grid"
        else random_points(axes, config.samples, config.seed)
    )
    if config.scheduler.kind == "pbt":  # its values change, so that they make no name
        return [trial_of(sweep, values, f"member-{i}") for i, values in enumerate(points)]
    by_id = {trial.id: trial for trial in (trial_of(sweep, values) for values in points)}  # draws may repeat
    return list(by_id.values())


def chains_of(sweep: Sweep, trials: Sequence[Trial]) -> list[TrialChain]:
    """Group trials into chains.

    Trials that differ in depth alone, under a schedule that trains one module after the other, form a chain from
    shallow to deep: training the deepest trains the others on the way. Any other trial is a chain of its own.
    """
    if not shares_depth(sweep):
        return [TrialChain((trial,)) for trial in trials]
    by_rest: dict[str, list[Trial]] = {}
    for trial in trials:
        if SCHEDULES[trial.config.train.schedule].continues_shallower_runs:
            rest = dump(trial.config)
            rest["model"].pop("depth")
            rest.pop("storage")
            by_rest.setdefault(json.dumps(rest, sort_keys=True), []).append(trial)
        else:
            by_rest[trial.id] = [trial]
    return [
        TrialChain(tuple(sorted(group, key=lambda t: t.config.model.num_modules)))
        for group in by_rest.values()
    ]


def shares_depth(sweep: Sweep) -> bool:
    """Whether trials may share modules: not if a scheduler or optuna must see each trial on its own."""
    config = sweep.config
    fixed_trials = config.search != "optuna" and config.scheduler.kind == "none"
    return config.share_depth and fixed_trials and any(axis.key == DEPTH for axis in config.axes)


def trial_id(values: Values) -> str:
    """A name that is derived from the values, such as `kld_weight0.001-depth2`; equal values give equal names."""
    parts = [f"{key.rpartition('.')[2]}{_short(key, value)}" for key, value in values.items()]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_.-")
    unique_keys = len({key.rpartition(".")[2] for key in values}) == len(
        values
    )  # no two keys share the last part
    plain = all(isinstance(v, int | float | bool) or str(v).isidentifier() for v in values.values())
    if unique_keys and plain and len(name) <= MAX_ID_LENGTH:
        return name
    exact = json.dumps(values, sort_keys=True)
    digest = hashlib.sha256(exact.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[:MAX_ID_LENGTH]}-{digest}"


def _short(key: str, value: Any) -> str:
    known = config_keys().leaves.get(key)
    if known is not None and {"integer", "number"} <= known.types:  # 1 is a number, 1.0 a share
        return str(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _check_module(sweep: Sweep, config: RunConfig) -> None:
    module, num_modules = sweep.config.metric.module, config.model.num_modules
    if not -num_modules <= module < num_modules:
        raise ConfigError(
            f"metric.module={module}, but a trial of {sweep.source} has {num_modules} modules; use -1 for the last "
            f"module of each trial, or 0 to {num_modules - 1}"
        )


def all_trials(chains: Sequence[TrialChain]) -> Iterator[Trial]:
    """The trials of chains, in order."""
    for chain in chains:
        yield from chain.trials
