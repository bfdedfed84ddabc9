"""An experiment as a plan: arms × seeds as runs with checked configs, and the probes of each run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vgim.config import RunConfig, load_config
from vgim.config.keys import config_keys
from vgim.config.load import ResolvedConfig
from vgim.config.paths import resolve_path, resolve_run_path
from vgim.config.presets import SUFFIXES, find_parent, known_experiments, shown
from vgim.config.yaml_text import to_flow
from vgim.downstream.options import ProbeOptions
from vgim.errors import ConfigError
from vgim.experiment.config import ArmConfig, ExperimentConfig, ProbeBlock
from vgim.experiment.file import find_experiment, parse_part, read_file
from vgim.experiment.folder import CONFIG, RUNS
from vgim.storage import Location
from vgim.text import first_problem

OF_THE_EXPERIMENT = ("train.seed", "storage.name")
"""Keys that the experiment sets for each run."""
OF_THE_COMPARISON = {
    "task": "use tasks: [...]",
    "module": "every module is probed",
    "layer": "every module is probed",
    "all_layers": "the layers of cpc that correspond to modules are probed anyway",
}
"""Options of probes that a block must not set, and why."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment: an arm with a seed."""

    arm: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return run_name(self.arm, self.seed)

    @property
    def location(self) -> Location:
        """The run's folder."""
        return Location(self.config.storage.root).child(self.config.storage.name)

    @property
    def resolved(self) -> ResolvedConfig:
        """The config as the trainer takes it."""
        return ResolvedConfig(self.config, {}, self.name)


@dataclass(frozen=True)
class PlannedProbe:
    """Options of one task, and the arms that they are for."""

    options: ProbeOptions
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """An experiment whose file, configs and options are checked."""

    config: ExperimentConfig
    folder: Location
    runs: tuple[PlannedRun, ...]
    """All runs in the order of training: every arm with the first seed, then with the second."""
    probes: tuple[PlannedProbe, ...]
    source: str
    """Name of the file in messages."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms in the file's order."""
        return tuple(self.config.runs)


def run_name(arm: str, seed: int) -> str:
    """Name of a run's folder below EXPERIMENT/runs."""
    return f"{arm}-seed{seed}"


def load_experiment(file: str, overrides: Sequence[str] = (), out: str | None = None) -> Experiment:
    """Load an experiment's file by path or name.

    Args:
        overrides: `key=value` for a key of the file, such as `seeds=[0]`, or of every run, such as `train.epochs=5`.
        out: Folder of the experiment, a path or URI; None for one under the first arm's storage.root.

    Raises:
        ConfigError: Every mistake in the file, the overrides and the arms' configs, one line each.
    """
    path = find_experiment(file)
    config = read_file(path, [text for text in overrides if not _is_run_override(text)])
    if not config.name:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")
        config = config.model_copy(update={"name": name or "experiment"})
    for_all = [text for text in overrides if _is_run_override(text)]
    arms = {arm: parse_part(ArmConfig, tree, f"runs.{arm}", path) for arm, tree in config.runs.items()}
    configs = {arm: _load_arm(arm, spec, config, for_all, path) for arm, spec in arms.items()}
    root = next(iter(configs.values())).storage.root
    folder = Location(resolve_path(out, "--out") if out is not None else root)
    if out is None:
        folder = folder.child(config.name)
    runs = tuple(_plan(arm, seed, configs[arm], folder) for seed in config.seeds for arm in arms)
    resolved = config.model_copy(
        update={
            "overrides": (*config.overrides, *for_all),
            "runs": {
                arm: {
                    "preset": str(find_parent(spec.preset, path, "preset")),
                    "overrides": list(spec.overrides),
                }
                for arm, spec in arms.items()
            },
        }
    )
    return Experiment(resolved, folder, runs, plan_probes(config, shown(path)), shown(path))


def find_folder(named: str) -> str:
    """The folder of an experiment that a user names.

    Args:
        named: The folder's path or URI, its name under $VGIM_HOME/runs, or the experiment's file, by path or name.

    Raises:
        ConfigError: There is no such file, or it has mistakes.
    """
    if named.endswith(SUFFIXES):
        return load_experiment(named).folder.uri
    folder = Location(resolve_run_path(named, "DIR"))
    if named in known_experiments() and not folder.child(CONFIG).exists():
        return load_experiment(named).folder.uri
    return folder.uri


def plan_probes(config: ExperimentConfig, source: str) -> tuple[PlannedProbe, ...]:
    """The probes of a file's blocks, one for each task.

    Raises:
        ConfigError: A block has unknown options, arms or tasks.
    """
    planned = []
    for index, tree in enumerate(config.probes):
        where = f"{source}: probes[{index}]"
        own = {key: tree[key] for key in ProbeBlock.model_fields if key in tree and key != "options"}
        options = {key: value for key, value in tree.items() if key not in own}
        block = parse_part(ProbeBlock, own, where)
        if misplaced := [key for key in OF_THE_COMPARISON if key in options]:
            key = misplaced[0]
            raise ConfigError(
                f"{where}: {key}={to_flow(options[key])} does not belong here: {OF_THE_COMPARISON[key]}"
            )
        if unknown := [arm for arm in block.runs if arm not in config.runs]:
            raise ConfigError(
                f"{where}: runs has {', '.join(unknown)}, but the runs are {', '.join(config.runs)}"
            )
        for key in ("shards", "labels"):
            if options.get(key) is not None:
                options[key] = resolve_path(str(options[key]), f"{where}: {key}")
        for task in dict.fromkeys(block.tasks):
            encoders = tuple(dict.fromkeys(block.encoders))
            try:
                chosen = ProbeOptions.model_validate(
                    {**options, "task": task, "encoders": encoders, "module": None}
                )
            except ValidationError as error:
                raise ConfigError(
                    f"{where}: {first_problem(error)}; the options are those of vgim probe, with underscores: "
                    f"{', '.join(key for key in ProbeOptions.model_fields if key not in OF_THE_COMPARISON)}"
                ) from None
            planned.append(PlannedProbe(chosen, block.runs or tuple(config.runs)))
    return tuple(planned)


def _load_arm(
    arm: str, spec: ArmConfig, config: ExperimentConfig, for_all: Sequence[str], path: Path
) -> RunConfig:
    overrides = [*config.overrides, *spec.overrides, *for_all]
    for text in overrides:
        key = text.partition("=")[0]
        if key in OF_THE_EXPERIMENT:
            instead = "seeds=[...]" if key == "train.seed" else "name=NAME for the whole experiment"
            raise ConfigError(f"{text}: an experiment sets {key} for each run; use {instead}")
    preset = str(find_parent(spec.preset, path, "preset"))
    try:
        return load_config(preset, overrides).config
    except ConfigError as error:
        raise ConfigError("\n".join(f"run {arm}: {line}" for line in str(error).splitlines())) from None


def _plan(arm: str, seed: int, config: RunConfig, folder: Location) -> PlannedRun:
    train = config.train.model_copy(update={"seed": seed})
    storage = config.storage.model_copy(update={"root": folder.child(RUNS).uri, "name": run_name(arm, seed)})
    return PlannedRun(arm, seed, config.model_copy(update={"train": train, "storage": storage}))


def _is_run_override(override: str) -> bool:
    """True for `train.epochs=3`; False for the file's own keys, such as `seeds=[0]`."""
    return override.partition("=")[0].partition(".")[0] in config_keys().members[""]
