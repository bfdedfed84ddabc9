"""Reads and writes YAML by the rules of the YAML 1.2 core schema.

PyYAML follows YAML 1.1, where `2e-4` is text, `on` is true, `010` is eight and `1:30` is ninety. A config
must not surprise: here numbers are numbers, only `true` and `false` are booleans, and a key that appears
twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from vgim.errors import ConfigError

_INT = re.compile(r"^[-+]?[0-9](_?[0-9])*$")
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.nan$"
)
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_RESOLVERS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's own attribute, filled below

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))  # PyYAML would read a leading 0 as octal

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return float(self.construct_scalar(node).replace(".inf", "inf").replace(".nan", "nan").lower())


class _Dumper(yaml.SafeDumper):
    """Quotes text that either set of rules, YAML 1.1's or ours, would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        return super().represent_sequence(tag, sequence, flow_style=True)

    def represent_text(self, data: str) -> yaml.ScalarNode:
        # Elsewhere PyYAML folds line breaks, and loses the rarer ones where it need not quote.
        style = '"' if any(mark in data for mark in "\n\r\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


for _name, _pattern in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, None)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, None)
_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def parse_yaml(text: str, where: str) -> Any:
    """Read the value of YAML `text`; `where` names the file or override in the error."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        raise ConfigError(f"{where}{line}: not usable YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not usable YAML: {' '.join(str(error).split())}") from None


def to_block(tree: dict[str, Any]) -> str:
    """Write a tree as YAML: a key a line, lists in brackets, in the order of the tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def to_flow(value: Any) -> str:
    """Write a value as YAML on one line, as a user would after `key=`."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000**2
    )
    return text.removesuffix("\n").removesuffix("\n...")
