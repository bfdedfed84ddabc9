"""Run configs: schema, YAML presets, overrides."""
