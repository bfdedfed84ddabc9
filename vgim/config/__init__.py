"""Run configs: the schema, YAML presets, `key=value` overrides."""

from vgim.config.decoder import AnyConfig, DecoderConfig
from vgim.config.difference import blocking_difference, config_difference
from vgim.config.load import ResolvedConfig, from_yaml, load_config, to_yaml
from vgim.config.schema import RunConfig

__all__ = [
    "AnyConfig",
    "DecoderConfig",
    "ResolvedConfig",
    "RunConfig",
    "blocking_difference",
    "config_difference",
    "from_yaml",
    "load_config",
    "to_yaml",
]
