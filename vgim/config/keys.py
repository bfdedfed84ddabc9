"""The keys of a config, read from the schema, for messages and `vgim config keys`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vgim.config.docstrings import field_docstrings
from vgim.config.schema import MAX_SEED, RunConfig, Section
from vgim.config.yaml_text import to_flow

Tree = dict[str, Any]
_JSON_TYPES = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    str: "string",
    tuple: "array",
    NoneType: "null",
}


@dataclass(frozen=True)
class ConfigKey:
    """One key of a config. What only messages and listings need is read from the schema when it is asked for."""

    name: str
    """Dotted name, such as `train.seed`."""
    section: type[Section]
    """The section that has the key."""
    field: FieldInfo
    json_schema: Callable[[type[Section]], Mapping[str, Any]]
    """Makes the JSON schema of a section, or finds the one that it made."""

    @cached_property
    def expects(self) -> str:
        """The type and its bounds in words, such as `a number at least 0`."""
        return _in_words(self._schema)

    @cached_property
    def default(self) -> str:
        """The value of a key that is left out, as YAML."""
        return "(required)" if self.field.is_required() else _shown(self.field)

    @cached_property
    def doc(self) -> str:
        """The help text, in one line."""
        text = self.field.description or field_docstrings(self.section).get(self._own_name, "")
        return " ".join(text.split())

    @cached_property
    def types(self) -> frozenset[str]:
        """JSON types that the key accepts: integer, number, string, boolean, array, object, null."""
        return frozenset(_json_types(self.field.annotation))

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The key's values, where it has a few; some keys take others too, such as numbers."""
        return tuple(_choices(self._schema))

    @property
    def may_change(self) -> bool:
        """Whether a continued run may have another value."""
        extra = self.field.json_schema_extra
        return isinstance(extra, dict) and bool(extra.get("may_change", False))

    @property
    def may_be_empty(self) -> bool:
        """Whether the key is a text that may be empty, as most are that turn something off."""
        return bool(self.field.default == "")

    @property
    def _own_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def _schema(self) -> Mapping[str, Any]:
        properties: Mapping[str, Any] = self.json_schema(self.section)["properties"]
        schema: Mapping[str, Any] = properties[self._own_name]
        return schema


@dataclass(frozen=True)
class ConfigKeys:
    """All keys of a config by dotted name, and its sections."""

    leaves: dict[str, ConfigKey]
    members: dict[str, tuple[str, ...]]
    """Names in each section; the section `""` is the whole config."""
    optional: frozenset[str]
    """Sections that may be null."""


@cache
def config_keys(root: type[Section] = RunConfig) -> ConfigKeys:
    """The keys and sections of a kind of config."""
    leaves: dict[str, ConfigKey] = {}
    members: dict[str, tuple[str, ...]] = {}
    optional: set[str] = set()

    @cache
    def json_schema(section: type[Section]) -> Mapping[str, Any]:
        return section.model_json_schema()

    def walk(part: type[Section], prefix: str) -> None:
        members[prefix] = tuple(part.model_fields)
        for name, field in part.model_fields.items():
            dotted = f"{prefix}.{name}" if prefix else name
            section, nullable = _section_of(field.annotation)
            if section is None:
                leaves[dotted] = ConfigKey(dotted, part, field, json_schema)
                continue
            if nullable:
                optional.add(dotted)
            walk(section, dotted)

    walk(root, "")
    return ConfigKeys(leaves, members, frozenset(optional))


def _section_of(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section that an annotation names, if any, and whether it may be null instead."""
    choices = get_args(annotation) or (annotation,)
    found = [c for c in choices if isinstance(c, type) and issubclass(c, Section)]
    return (found[0] if found else None), NoneType in choices


def _shown(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    return to_flow(list(default) if isinstance(default, tuple) else default)


def _json_types(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _json_types(choice)
    elif origin is Annotated:
        yield from _json_types(get_args(annotation)[0])
    elif origin is Literal:
        yield from (_JSON_TYPES[type(value)] for value in get_args(annotation))
    else:
        yield _JSON_TYPES[origin or annotation]


def _choices(schema: Mapping[str, Any]) -> Iterator[str]:
    for choice in schema.get("anyOf", [schema]):
        if choice["type"] == "boolean":
            yield from ("true", "false")
        else:
            yield from choice.get("enum", [choice["const"]] if "const" in choice else [])


def _in_words(schema: Mapping[str, Any]) -> str:
    """A key's JSON schema as a phrase that completes "it must be …"."""
    if "in_words" in schema:
        return str(schema["in_words"])
    if "anyOf" in schema:
        return " or ".join(_in_words(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        values = schema["enum"]
        return ("one of " if len(values) > 1 else "") + ", ".join(values)
    if schema["type"] == "array":
        members = {"integer": "integers", "boolean": "true and false"}
        items = schema["items"]
        return f"a list of {members.get(items['type'], 'values')} {_bounds(items)}".strip()
    noun = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}
    return f"{noun[schema['type']]} {_bounds(schema)}".strip()


def _bounds(schema: Mapping[str, Any]) -> str:
    bounds = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "minLength": "not empty",
    }
    return " and ".join(
        words.format(schema[key])
        for key, words in bounds.items()
        if key in schema and not _is_ceiling(key, schema)
    )


def _is_ceiling(bound: str, schema: Mapping[str, Any]) -> bool:
    """Whether a bound only stops slips of the keyboard; it is told to those who exceed it."""
    return bound == "maximum" and schema[bound] > 1000


def bound_in_words(value: float) -> str:
    """A bound as a user would write it: 65536, 1e12, 2^63 - 1."""
    if value == MAX_SEED:
        return "2^63 - 1"
    short = f"{value:g}".replace("e+0", "e").replace("e+", "e")
    return short if isinstance(value, float) or (value > 99_999 and len(short) < 5) else str(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; an optional section that is null is a key with the value None."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        dotted = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, dotted)
        else:
            flat[dotted] = value
    return flat


def dump(config: BaseModel) -> Tree:
    """A config as plain YAML types, in the schema's order."""
    return config.model_dump(mode="json")
