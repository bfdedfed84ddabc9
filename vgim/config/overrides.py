"""`a.b.c=value` on the command line, and how layers of a config are merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vgim.config.keys import ConfigKeys, Tree, config_keys, flatten
from vgim.config.schema import RunConfig, Section
from vgim.config.yaml_text import parse_yaml, to_flow
from vgim.errors import ConfigError
from vgim.text import shorten

OVERRIDE = "override"
NO_TEXT, QUOTES = ("", "~", "null"), ("'", '"')
MAX_KEY_PARTS = 8
"""Most parts of a dotted key; the schema's deepest has fewer."""


def parse_override(text: str, root: type[Section] = RunConfig) -> Tree:
    """`train.seed=3` → `{"train": {"seed": 3}}`; the value is YAML, and that of a text key what stands after `=`."""
    name, equals, raw = text.partition("=")
    if not equals:
        raise ConfigError(f"'{shorten(text)}' is not an override; write key=value, for example train.seed=3")
    parts = name.split(".")
    if len(parts) > MAX_KEY_PARTS or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"'{shorten(text)}' does not name a key; write key=value, for example train.seed=3")
    key, words = config_keys(root).leaves.get(name), raw.strip()
    if key and key.types == {"string"} and words not in NO_TEXT and words[0] not in QUOTES:
        value: Any = words  # not the number of storage.name=007, nor a comment of `storage.root=runs #2`
    else:
        value = parse_yaml(raw, f"override '{shorten(text)}'")
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def merge_layer(
    tree: Tree,
    layer: Mapping[str, Any],
    source: str,
    sources: dict[str, str],
    prefix: str = "",
    root: type[Section] = RunConfig,
) -> None:
    """Merge `layer` into `tree`, sections key by key and values whole; note each key's source in `sources`."""
    for name, value in layer.items():
        dotted = f"{prefix}.{name}" if prefix else name
        if "." in name:
            _refuse_dot_in_name(name, value, source, prefix, config_keys(root))
        if isinstance(value, Mapping) and value:
            if not isinstance(tree.get(name), dict):
                _replace(tree, name, {}, dotted, sources)
            merge_layer(tree[name], value, source, sources, dotted, root)
            continue
        known = config_keys(root)
        if value == {} and isinstance(tree.get(name), dict):
            _refuse_to_empty(dotted, tree[name], source, known)
            continue  # `data.synthetic={}` opens the section where it is closed and changes nothing where not
        _refuse_value_for_section(dotted, value, source, known)
        if value is None and dotted in known.leaves and known.leaves[dotted].may_be_empty:
            value = ""  # `data.cache_dir=`
        _replace(tree, name, value, dotted, sources)
        sources[dotted] = source


def _refuse_dot_in_name(name: str, value: Any, source: str, prefix: str, known: ConfigKeys) -> None:
    """Refuse `train.seed: 3` in a file, where a section stands for itself."""
    first = name.partition(".")[0]
    if (f"{prefix}.{first}" if prefix else first) not in known.members:
        return
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    raise ConfigError(
        f"{shorten(name)} (from {source}) is one name with a dot, and dots part keys on the command line alone; "
        f"write {shorten(to_flow(nested)[1:-1])}"
    )


def _refuse_to_empty(section: str, tree: Tree, source: str, known: ConfigKeys) -> None:
    """Refuse `data.augment={}` over a layer that set keys of it, since they would stay."""
    keys = [known.leaves[key] for key in flatten(tree, section) if key in known.leaves]
    values = [f"{key.name}={key.default}" for key in keys if not key.field.is_required()]
    if values and section not in known.optional:
        raise ConfigError(
            f"{section}={{}} (from {source}) changes nothing, since sections are merged key by key; to undo what was "
            f"set before: {' '.join(values)}"
        )


def _refuse_value_for_section(key: str, value: Any, source: str, known: ConfigKeys) -> None:
    """Refuse `train=3`, or a heading with nothing under it, which would replace the whole section."""
    if key not in known.members or value == {} or (value is None and key in known.optional):
        return
    allowed = " or null" if key in known.optional else ""
    raise ConfigError(
        f"{key} is a section{allowed}, not the value {to_flow(value)} (from {source}); "
        f"set its keys, for example {key}.{known.members[key][0]}"
    )


def _replace(tree: Tree, name: str, value: Any, dotted: str, sources: dict[str, str]) -> None:
    tree[name] = value
    for gone in [key for key in sources if key == dotted or key.startswith(f"{dotted}.")]:
        del sources[gone]
