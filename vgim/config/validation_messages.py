"""Pydantic's errors as lines for people: the key, the value, what is allowed, and where the value was set."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vgim.config.decoder import DecoderConfig
from vgim.config.keys import ConfigKeys, Tree, bound_in_words, config_keys, flatten
from vgim.config.reference_spelling import Command, refusal
from vgim.config.schema import RunConfig, Section
from vgim.config.yaml_text import to_flow
from vgim.text import shorten


def describe_problems(
    error: ValidationError, tree: Tree, sources: Mapping[str, str], root: type[Section] = RunConfig
) -> str:
    """One line per problem in `tree`. `sources` says where each dotted key was set."""
    known = config_keys(root)
    lines: dict[str, str] = {}  # by key: a union reports once for each of its choices
    for finding in error.errors(include_url=False, include_context=True):
        key = _key_of(finding["loc"], known)
        spelled_as_reference = (
            _reference_lines(key, finding["input"], sources, root)
            if finding["type"] == "extra_forbidden"
            else {}
        )
        for name, line in (spelled_as_reference or {key: _line(key, finding, tree, sources, known)}).items():
            lines.setdefault(name, line)
    return "\n".join(lines.values())


def _reference_lines(key: str, value: Any, sources: Mapping[str, str], root: type[Section]) -> dict[str, str]:
    """A line for every key at or under an unknown `key` that is spelled as in the public reference."""
    command: Command = "decode" if root is DecoderConfig else "train"
    found: dict[str, str] = {}
    for name, leaf in flatten({key: value}).items():
        line = refusal(
            name, leaf if isinstance(leaf, str) else to_flow(leaf), command, _origin(name, sources)
        )
        if line:
            found[name] = line
    return found


def _key_of(loc: tuple[int | str, ...], known: ConfigKeys) -> str:
    """The dotted key of an error, without list indices and pydantic's names of union choices."""
    parts: list[str] = []
    for part in loc:
        if ".".join(parts) in known.leaves:
            break
        parts.append(str(part))
    return ".".join(parts)


def _line(key: str, finding: ErrorDetails, tree: Tree, sources: Mapping[str, str], known: ConfigKeys) -> str:
    origin = _origin(key, sources)
    if finding["type"] == "extra_forbidden":
        return f"{shorten(key)} is not a config key{origin}; {_nearest(key, known)}"
    if finding["type"] == "missing":
        return f"{key} is required: {known.leaves[key].doc} Give {key}=VALUE"
    if finding["type"] == "value_error":  # one of the schema's own checks over several keys
        reason = str(finding["ctx"]["error"])
        return (f"{key}: " if key else "") + reason + _set_by(key, reason, sources)
    expects = known.leaves[key].expects
    if finding["type"] == "less_than_equal" and "at most" not in expects:
        expects = f"at most {bound_in_words(finding['ctx']['le'])}"
    if finding["type"] in ("too_long", "string_too_long"):
        expects += f", at most {finding['ctx']['max_length']} of them"
    return f"{key}={_value(tree, key)} is not allowed{origin}; it must be {expects}"


def _value(tree: Tree, key: str) -> str:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return shorten(to_flow(value))


def _origin(key: str, sources: Mapping[str, str]) -> str:
    """Where a key, or the first one under it, was set: ` (from configs/x.yaml)`."""
    for name, source in sources.items():
        if name == key or name.startswith(f"{key}."):
            return f" (from {source})"
    return ""


def _set_by(section: str, reason: str, sources: Mapping[str, str]) -> str:
    """Where keys of a section were set that a check's message mentions."""
    words = set(re.findall(r"[a-z_.]*[a-z_]", reason))
    origins = [
        f"{key} from {source}"
        for key, source in sources.items()
        if key in words
        or (section and key.startswith(f"{section}.") and key.removeprefix(f"{section}.") in words)
    ]
    return f" ({', '.join(origins)})" if origins else ""


def _nearest(key: str, known: ConfigKeys) -> str:
    """The key that was probably meant, in the same section or another; otherwise all keys of the section."""
    section, _, name = key.rpartition(".")
    while section not in known.members:  # a name in a file may have a dot
        section = section.rpartition(".")[0]
    members = known.members.get(section, ())
    full = [f"{section}.{member}" if section else member for member in members]
    near = difflib.get_close_matches(name, members, n=1, cutoff=0.75)
    if near:
        return f"did you mean {full[members.index(near[0])]}?"
    elsewhere = [leaf for leaf in known.leaves if leaf.rpartition(".")[2] == name]
    if not elsewhere:
        elsewhere = difflib.get_close_matches(key, known.leaves, n=1, cutoff=0.8)
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"{section or 'the config'} has {', '.join(members)}"
