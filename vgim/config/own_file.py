"""YAML files with a schema of their own, such as sweeps and experiments: finding one by name, and reading it back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from vgim.config.keys import Tree
from vgim.config.overrides import merge_layer
from vgim.config.paths import resolve_path
from vgim.config.presets import SUFFIXES, is_file
from vgim.config.schema import Section
from vgim.config.yaml_text import parse_yaml
from vgim.errors import ConfigError


def find_own_file(file: str, known: Mapping[str, Path], noun: str, plural: str) -> Path:
    """The file that a path or a bare name stands for.

    Args:
        known: Files that have names.
        noun: What the file is, in messages, such as `sweep file`.
        plural: What `known` has, in messages, such as `sweeps`.

    Raises:
        ConfigError: There is no such file.
    """
    if file.endswith(SUFFIXES) or "/" in file:
        path = Path(resolve_path(file, "FILE"))
        if is_file(path):
            return path.resolve()
    elif file in known:
        return known[file]
    paths = [
        str(path) for path in (Path("configs", f"{file}{suffix}") for suffix in SUFFIXES) if is_file(path)
    ]
    near = paths or difflib.get_close_matches(Path(file).stem, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(f"no {noun} is called '{file}'; {hint}known {plural}: {', '.join(known) or 'none'}")


def read_written(text: str, where: str, root: type[Section], kind: str) -> tuple[Tree, dict[str, str]]:
    """The keys of a file that vgim wrote, and the source of each, for messages.

    Args:
        text: The file's YAML.
        where: Name of the file in errors.
        root: The file's schema.
        kind: What the file holds, in messages, such as `sweep`.

    Raises:
        ConfigError: The text holds no keys, or a value where a section belongs.
    """
    tree = parse_yaml(text, where)
    if not isinstance(tree, dict):
        article = "an" if kind[0] in "aeiou" else "a"
        raise ConfigError(f"{where} holds no {kind}; it should be the file that {article} {kind} wrote")
    clean: Tree = {}
    sources: dict[str, str] = {}
    merge_layer(clean, tree, where, sources, root=root)
    return clean, sources
