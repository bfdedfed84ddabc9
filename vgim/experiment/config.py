"""The schema of an experiment's file: arms (configs), seeds, and the probes of every run."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from vgim.config.schema import MAX_SEED, Section
from vgim.downstream.options import EncoderKind
from vgim.downstream.probes.registry import AnyTask

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
BASELINES = tuple(kind for kind in get_args(EncoderKind) if kind != "trained")
"""Names of the comparison's columns that belong to no arm."""


class ArmConfig(Section):
    """One config of an experiment, which is trained with every seed."""

    preset: str = Field(..., min_length=1)
    """Preset of the arm, by name or by a path relative to this file."""
    overrides: tuple[str, ...] = Field((), json_schema_extra={"in_words": "a list of key=value"})
    """Changes of the preset, after those of the whole experiment."""


class ProbeBlock(Section):
    """Probes with the same options; `options` are the fields of `ProbeOptions` that the file sets."""

    tasks: tuple[AnyTask, ...] = Field(..., min_length=1)
    """Tasks of `vgim probe --task`; with the option `labels`, columns of its table."""
    encoders: tuple[EncoderKind, ...] = Field(("trained", "random", "mfcc"), min_length=1)
    """Encoders of `vgim probe --encoder`: `trained`, and the baselines."""
    runs: tuple[str, ...] = ()
    """Arms that are probed; empty for all."""
    options: dict[str, Any] = Field(default_factory=dict, json_schema_extra={"in_words": "options"})


class ExperimentConfig(Section):
    """An experiment: arms × seeds, and the probes of each run."""

    name: Annotated[str, Field(pattern=f"{NAME}|^$")] = Field(
        "",
        json_schema_extra={
            "in_words": "text of letters, digits, dots, underscores and hyphens that starts with a letter or digit"
        },
    )
    """Name of the experiment's folder under the first arm's storage.root; empty uses the file's name."""
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field((0,), min_length=1)
    """Values of train.seed; every arm is trained with each."""
    overrides: tuple[str, ...] = Field((), json_schema_extra={"in_words": "a list of key=value"})
    """Changes of the presets of all arms, written as on the command line."""
    runs: dict[str, Any] = Field(
        ..., min_length=1, json_schema_extra={"in_words": "names, each with a preset and overrides"}
    )
    """Arms by name: `sim: {preset: artificial-sim, overrides: [objective.kld_weight=0.01]}`."""
    probes: tuple[dict[str, Any], ...] = Field(
        (), json_schema_extra={"in_words": "a list of blocks, each with tasks and options of vgim probe"}
    )
    """Probes of every run: `{tasks: [syllable], shards: ..., encoders: [trained, random, mfcc]}`, and other options."""

    differences: tuple[str, ...] = Field(
        (), json_schema_extra={"in_words": "a list of pairs such as `sim - gim` or `sim - random`"}
    )
    """Paired differences of the comparison: of two runs, or of a run and its own baseline. Empty for pairs of runs."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> ExperimentConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} has a seed twice; give each once")
        return self
