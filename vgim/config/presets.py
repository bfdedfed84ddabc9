"""Presets: YAML files found by path or by name, each of which may extend another.

A preset's first comment line says what it is. A name that starts with `_` is a base for others to extend: it
loads, but is not listed. A name that starts with `sweep-` is a sweep over runs (vgim/tune), and one that starts with
`reproduce-` an experiment (vgim/experiment); neither is a run.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vgim.config.keys import Tree, config_keys
from vgim.config.paths import resolve_path
from vgim.config.schema import RunConfig, Section
from vgim.config.yaml_text import parse_yaml
from vgim.errors import ConfigError

SUFFIXES = (".yaml", ".yml")
SWEEP, EXPERIMENT = "sweep-", "reproduce-"
_OF_NO_RUN = re.compile(r"^(space|runs)\s*:", re.MULTILINE)
"""Keys of sweeps and experiments, one of which each of them must have."""


@dataclass(frozen=True)
class Layer:
    """The keys that one preset file sets, and the file's name in messages."""

    tree: Tree
    source: str


def read_layers(preset: str) -> tuple[str, list[Layer]]:
    """The name of a preset and its chain of `extends`, the most basic first."""
    path = find_preset(preset)
    name = path.stem
    chain: list[Path] = []
    layers: list[Layer] = []
    while True:
        if path in chain:
            circle = " → ".join(shown(p) for p in [*chain[chain.index(path) :], path])
            raise ConfigError(f"extends goes round in a circle: {circle}; let one of them extend nothing")
        chain.append(path)
        tree = read_tree(path)
        parent = tree.pop("extends", None)
        layers.insert(0, Layer(tree, shown(path)))
        if parent is None:
            return name, layers
        if not isinstance(parent, str):
            raise ConfigError(f"{shown(path)}: extends={parent} is not the name or path of a preset")
        path = find_parent(parent, path)


def known_presets() -> dict[str, Path]:
    """Presets by name, bases included; a name in ./configs hides the same name that the package ships."""
    return {name: path for name, path in _shipped().items() if not name.startswith((SWEEP, EXPERIMENT))}


def listed_presets() -> dict[str, Path]:
    """The presets that are meant to be run: no bases, and no sweep or experiment under another name than theirs."""
    return {
        name: path
        for name, path in known_presets().items()
        if not name.startswith("_") and not _OF_NO_RUN.search(_text(path))
    }


def known_sweeps() -> dict[str, Path]:
    """Sweep files by name, found as presets are."""
    return {name: path for name, path in _shipped().items() if name.startswith(SWEEP)}


def known_experiments() -> dict[str, Path]:
    """Files of experiments by name, found as presets are."""
    return {name: path for name, path in _shipped().items() if name.startswith(EXPERIMENT)}


def _shipped() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.yaml")):
            if is_file(path):
                found.setdefault(path.stem, path.resolve())
    return found


def is_file(path: Path) -> bool:
    """Whether there is a file; False for a name that no file system takes, where pathlib raises an error."""
    return os.path.isfile(path)  # noqa: PTH113


def _text(path: Path) -> str:
    """The text of a file; empty where it does not read, of which loading the file says why."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def headline(path: Path) -> str:
    """The first line of a preset's header comment."""
    first = _text(path).partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def find_preset(preset: str) -> Path:
    """The file of a preset, given by path or by name."""
    if preset.endswith(SUFFIXES) or "/" in preset:
        path = Path(resolve_path(preset, "PRESET"))
        if is_file(path):
            return path.resolve()
        raise ConfigError(f"no preset file at {preset}; {suggestion(path.stem)}")
    known = known_presets()
    if preset in known:
        return known[preset]
    raise ConfigError(f"no preset is called '{preset}'; {suggestion(preset)}")


def shown(path: Path) -> str:
    """A path for messages: relative if it lies below the current directory."""
    here = Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _folders() -> Iterator[Path]:
    package = Path(__file__).resolve().parent.parent
    yield Path("configs")
    if (package.parent / "pyproject.toml").is_file():  # an editable install, or a clone
        yield package.parent / "configs"
    yield package / "presets"


def find_parent(parent: str, child: Path, key: str = "extends") -> Path:
    """The preset that a file names under `key`, looked for beside the file first, then as `find_preset` does."""
    file = parent if parent.endswith(SUFFIXES) else f"{parent}.yaml"
    beside = child.parent / os.path.expanduser(file)  # noqa: PTH111 (pathlib's raises)
    if is_file(beside):
        return beside.resolve()
    try:
        return find_preset(parent)
    except ConfigError as error:
        raise ConfigError(f"{shown(child)}: {key}={parent}: {error}") from None


def read_tree(path: Path, root: type[Section] = RunConfig) -> Tree:
    """The keys of a preset file, or of another file whose keys are those of `root`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{shown(path)} is not text; a preset is YAML in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)} cannot be read: {error.strerror}; check its permissions") from None
    tree = parse_yaml(text, shown(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        keys = ("extends and the keys " if root is RunConfig else "") + ", ".join(
            config_keys(root).members[""]
        )
        raise ConfigError(f"{shown(path)} holds no config; its top level takes {keys}")
    return tree


def suggestion(name: str) -> str:
    """The preset whose name is nearest, and the names of all, for messages."""
    listed = list(listed_presets())
    near = difflib.get_close_matches(name, listed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}known presets: {', '.join(listed) or 'none'}"
