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
from vgim.text import first_line

_INT = re.compile(r"^[-+]?[0-9](_?[0-9])*$")
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.nan$"
)
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_TAG_PREFIX = "tag:yaml.org,2002:"
_TAGS = {f"{_TAG_PREFIX}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
MAX_TEXT_LENGTH = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 20_000
"""Most values in a document, with the content of an anchor counted at each of its aliases."""
MAX_INT_DIGITS = 300
"""Digits of the largest float, which no integer of a config needs; Python refuses to read 4,300."""
_RESOLVERS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's own attribute, filled below
    depth = num_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse what PyYAML's recursive functions would not survive, before it is read to its end."""
        self.depth += 1
        self.num_nodes += 1
        if self.depth > MAX_DEPTH or self.num_nodes > MAX_NODES:
            problem = (
                f"values are nested more than {MAX_DEPTH} deep; a config has sections, keys and lists"
                if self.depth > MAX_DEPTH
                else f"more than {MAX_NODES:,} values; a config has fewer"
            )
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in _TAGS:
            tag = node.tag.replace(_TAG_PREFIX, "!!")
            raise yaml.composer.ComposerError(
                None, None, f"the tag {tag} has no meaning in a config", node.start_mark
            )
        return node

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

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        text = str(super().construct_scalar(node))
        try:
            # Halves that JSON writes one after the other, "\\ud83d\\ude00", become their character.
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            problem = "a text has half of a character, such as \\ud800; write the character itself"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        digits = self.construct_scalar(node)
        if len(digits) > MAX_INT_DIGITS:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"an integer has {len(digits):,} digits, at most {MAX_INT_DIGITS} are read",
                node.start_mark,
            )
        return int(digits)  # PyYAML would read a leading 0 as octal

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
    """Read the value of YAML `text`; `where` names the file or override in the error.

    Raises:
        ConfigError: It is no YAML, or one that would need more time and memory than a config is worth.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ConfigError(
            f"{where} has {len(text):,} characters, and a config at most {MAX_TEXT_LENGTH:,}; check that it "
            "is the right file"
        )
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_nodes(node, where, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        raise ConfigError(f"{where}{line}: not usable YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not usable YAML: {' '.join(str(error).split())}") from None
    except (ValueError, KeyError) as error:  # `!!int abc`, `!!bool maybe`
        raise ConfigError(
            f"{where}: not usable YAML: a value does not fit its tag ({first_line(error)})"
        ) from None


def _count_nodes(node: yaml.Node, where: str, known: dict[int, int], above: set[int]) -> int:
    """Count the values of a node with all that its aliases repeat.

    Args:
        known: Counts of nodes that were met before, by identity.
        above: Nodes that contain this one.

    Raises:
        ConfigError: There are more than `MAX_NODES`, or an anchor contains itself.
    """
    if id(node) in above:
        raise ConfigError(
            f"{where}, line {node.start_mark.line + 1}: an anchor contains itself; write its values out"
        )
    if id(node) not in known:
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in children for child in pair]
        inside = {*above, id(node)}
        known[id(node)] = 1 + sum(_count_nodes(child, where, known, inside) for child in children)
    if known[id(node)] > MAX_NODES:
        raise ConfigError(
            f"{where}: aliases repeat anchors until there are more than {MAX_NODES:,} values; write fewer"
        )
    return known[id(node)]


def to_block(tree: dict[str, Any]) -> str:
    """Write a tree as YAML: a key a line, lists in brackets, in the order of the tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def to_flow(value: Any) -> str:
    """Write a value as YAML on one line, as a user would after `key=`."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000**2
    )
    return text.removesuffix("\n").removesuffix("\n...")
