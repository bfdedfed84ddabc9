"""Loads a preset with overrides into one checked config, and notes where each value came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from vgim.config.decoder import AnyConfig, DecoderConfig
from vgim.config.keys import ConfigKey, ConfigKeys, Tree, config_keys, dump, flatten
from vgim.config.overrides import OVERRIDE, merge_layer, parse_override
from vgim.config.paths import resolve_paths
from vgim.config.presets import Layer, read_layers
from vgim.config.schema import RunConfig
from vgim.config.validation_messages import describe_problems
from vgim.config.yaml_text import parse_yaml, to_block
from vgim.errors import ConfigError
from vgim.secrets import without_secrets

DEFAULT = "default"
PRESETS_NAME = "the preset's name"
TARGET_RATE, RATE_UNIT = "objective.target_rate", "objective.target_rate_unit"
GRU_UNITS, GRU_BIDIRECTIONAL = "model.gru_units", "model.gru_bidirectional"
FAMILY, POSTERIOR_NORM = "model.family", "model.posterior_norm"
ENDED_BY_OTHERS = (TARGET_RATE, RATE_UNIT, GRU_BIDIRECTIONAL, POSTERIOR_NORM)
"""Keys of presets that `end_presets_keys` may undo."""
Config = TypeVar("Config", RunConfig, DecoderConfig, AnyConfig)


@dataclass(frozen=True)
class ResolvedConfig:
    """A config, ready to run from any directory."""

    config: RunConfig
    sources: Mapping[str, str] = field(repr=False)
    """Dotted key → "default", the preset file that set it, "override", or "the preset's name"."""
    preset_name: str


def load_config(preset: str, overrides: Sequence[str] = (), on_top: Sequence[Layer] = ()) -> ResolvedConfig:
    """Load a preset by path or name, merged with what it extends, `key=value` overrides, and the layers `on_top`.

    Raises:
        ConfigError: No such preset or key, or a value that is not allowed; a line per problem.
    """
    preset_name, layers = read_layers(preset)
    tree: Tree = {}
    sources: dict[str, str] = {}
    for layer in layers:
        _add([layer], tree, sources)
    _add([Layer(parse_override(override), OVERRIDE) for override in overrides], tree, sources)
    for layer in on_top:
        _add([layer], tree, sources)
    _name_run(tree, preset_name, sources)
    config = resolve_paths(validate(tree, sources, RunConfig))
    _refuse_keys_without_effect(config, sources)
    full = {key: sources.get(key, DEFAULT) for key in flatten(dump(config))}
    return ResolvedConfig(config=config, sources=full, preset_name=preset_name)


def _add(parts: Sequence[Layer], tree: Tree, sources: dict[str, str]) -> None:
    """Merge layers in order; what they end of presets depends on all of them, not on their order."""
    whole: Tree = {}
    for part in parts:
        merge_layer(tree, part.tree, part.source, sources)
        merge_layer(whole, part.tree, part.source, {})
    if parts:
        end_presets_keys(tree, Layer(whole, parts[0].source), sources)


def end_presets_keys(tree: Tree, layer: Layer, sources: dict[str, str]) -> None:
    """Undo what presets before a `layer`, just merged, set, and what has no effect beside the keys of the layer."""
    _let_weight_end_rate(tree, layer, sources)
    _let_model_end_what_it_lacks(tree, layer, sources)


def _let_weight_end_rate(tree: Tree, layer: Layer, sources: dict[str, str]) -> None:
    """Set `objective.target_rate` to 0 if a `layer`, just merged, sets the KL weight, and a preset before it the rate.

    Under a rate the weight is only where weights start, and who sets a preset's weight means one that stays. A rate
    that an override asks for is kept. With a preset's rate its unit ends too.
    """
    objective = layer.tree.get("objective")
    if not isinstance(objective, Mapping):
        return

    def is_of_a_preset(key: str) -> bool:
        return sources.get(key, OVERRIDE) not in (OVERRIDE, layer.source)

    if "kld_weight" in objective and "target_rate" not in objective and is_of_a_preset(TARGET_RATE):
        merge_layer(tree, {"objective": {"target_rate": 0.0}}, layer.source, sources)
    if tree["objective"].get("target_rate") == 0 and is_of_a_preset(RATE_UNIT):
        merge_layer(tree, {"objective": {"target_rate_unit": "frame"}}, layer.source, sources)


def _let_model_end_what_it_lacks(tree: Tree, layer: Layer, sources: dict[str, str]) -> None:
    """End both directions or the normalization of posteriors, set before, if a `layer` sets no GRU or no posteriors."""
    model = layer.tree.get("model")
    if not isinstance(model, Mapping):
        return
    for ends, key, value in (
        (model.get("gru_units") == 0, GRU_BIDIRECTIONAL, False),
        (model.get("family", "sim") != "sim", POSTERIOR_NORM, "none"),
    ):
        if ends and sources.get(key, layer.source) != layer.source:
            merge_layer(tree, {"model": {key.rpartition(".")[2]: value}}, layer.source, sources)


def _refuse_keys_without_effect(config: RunConfig, sources: Mapping[str, str]) -> None:
    """Refuse keys of what is not there: a rate, a GRU, posteriors. Runs of before stay readable with the first two."""
    unit = config.objective.target_rate_unit
    if unit != "frame" and not config.target_rate:
        raise ConfigError(
            f"{RATE_UNIT}={unit} (from {sources.get(RATE_UNIT, DEFAULT)}) has no effect without {TARGET_RATE}; set "
            f"{TARGET_RATE} too, or leave the unit out"
        )
    if config.model.gru_bidirectional and not config.model.gru_units:
        raise ConfigError(
            f"{GRU_BIDIRECTIONAL}=true (from {sources[GRU_BIDIRECTIONAL]}) has no effect beside {GRU_UNITS}=0 (from "
            f"{sources[GRU_UNITS]}), which is no GRU; set {GRU_UNITS} above 0, or {GRU_BIDIRECTIONAL}=false"
        )
    if config.model.posterior_norm != "none" and config.model.family != "sim":
        raise ConfigError(
            f"{POSTERIOR_NORM}={config.model.posterior_norm} (from {sources[POSTERIOR_NORM]}) has no effect beside "
            f"{FAMILY}={config.model.family} (from {sources[FAMILY]}), which has no posterior; set "
            f"{POSTERIOR_NORM}=none, or use family sim"
        )


def attached_to(resolved: ResolvedConfig, run: str) -> ResolvedConfig:
    """The config with `attach.run`, the path or URI of a run, checked as a whole.

    Raises:
        ConfigError: The config cannot be attached to a run.
    """
    tree, sources = dump(resolved.config), {**resolved.sources, "attach.run": OVERRIDE}
    tree["attach"] = {"run": run}
    return ResolvedConfig(resolve_paths(validate(tree, sources, RunConfig)), sources, resolved.preset_name)


def to_yaml(config: AnyConfig) -> str:
    """The whole config as YAML; `from_yaml` reads it back unchanged."""
    return to_block(dump(config))


def from_yaml(text: str, where: str = "config.yaml", root: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
    """Read a config that `to_yaml` wrote; `where` names the file in errors, `root` is the kind of config.

    Passwords and keys in URIs, which earlier versions wrote, are left out.
    """
    tree = _without_secrets(parse_yaml(text, where))
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} holds no config; it should be the file that a run wrote")
    if root is RunConfig and {"encoder", "decoder"} <= tree.keys():
        raise ConfigError(f"{where} is the config of a decoder; name the run of its encoder instead")
    return from_tree(tree, where, root)


def from_tree(tree: Tree, where: str, root: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
    """Check a tree such as `dump` makes, and make it a config; `where` names it in errors."""
    clean: Tree = {}
    sources: dict[str, str] = {}
    merge_layer(clean, tree, where, sources, root=root)
    return validate(clean, sources, root)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return without_secrets(value) if isinstance(value, str) else value


def _name_run(tree: Tree, preset_name: str, sources: dict[str, str]) -> None:
    """Name a run without a name after its preset, without the characters that a folder's name may not have."""
    storage = tree.setdefault("storage", {})
    if isinstance(storage, dict) and storage.get("name", "") == "":
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", preset_name).lstrip("._-")
        merge_layer(tree, {"storage": {"name": name or "run"}}, PRESETS_NAME, sources)


def validate(tree: Tree, sources: Mapping[str, str], root: type[Config]) -> Config:
    """Check a tree and make it a config, strictly: `train.epochs=true` is no number, and "3" in quotes is text."""
    for name in config_keys(root).members[""]:
        tree.setdefault(name, {})
    try:
        # Through JSON, whose strict mode accepts a list as a tuple and 1 as a float.
        return root.model_validate_json(json.dumps(_whole_numbers(tree, config_keys(root))), strict=True)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, tree, sources, root)) from None


def _whole_numbers(tree: Tree, known: ConfigKeys, prefix: str = "") -> Tree:
    """A copy in which `1e4` given to an integer key is the integer 10000; to a key that takes shares too, above 1."""
    copy: Tree = {}
    for name, value in tree.items():
        dotted = f"{prefix}.{name}" if prefix else name
        key = known.leaves.get(dotted)
        if isinstance(value, dict):
            copy[name] = _whole_numbers(value, known, dotted)
        elif isinstance(value, float) and key and value.is_integer() and _means_integer(value, key):
            copy[name] = int(value)
        else:
            copy[name] = value
    return copy


def _means_integer(value: float, key: ConfigKey) -> bool:
    return "number" not in key.types or ("integer" in key.types and value > 1)
