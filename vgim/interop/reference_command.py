"""Reads commands of the public reference as a shell would: continued lines, quotes, comments and variables."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vgim.config.reference_row import Spelling
from vgim.config.reference_spelling import find_spelling, nearest_key, present_key
from vgim.errors import ConfigError
from vgim.interop.reference_programs import CONFIGS, IMAGE_CONFIGS, OTHER_COMMANDS, PROGRAMS

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PYTHON = re.compile(r"([^=]*/)?python[\d.]*(\.exe)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TEXTS = ("storage.name", "--shards")
"""Counterparts whose values are no numbers; all others are."""
_LONGEST_SHOWN = 80
"""Characters of the input that a message or comment repeats."""


@dataclass(frozen=True)
class ReferenceCommand:
    """One command of the reference."""

    program: str
    """The module that is run, such as `decoder.train_decoder`."""
    experiment: str
    """The first argument, which names the folder of results; empty if the command was written without it."""
    config: str
    """Name of the config file."""
    overrides: Mapping[str, str]
    """Value by key, the last one where a key appears twice."""


def read_commands(text: str) -> list[ReferenceCommand]:
    """All commands of the reference in `text`: one command, or lines of a shell with assignments of variables.

    Raises:
        ConfigError: A program, config file, key or variable is unknown, or a quote is not closed.
    """
    variables: dict[str, str] = {}
    found: list[ReferenceCommand] = []
    for statement in _statements(text.replace("\\\r\n", " ").replace("\\\n", " ")):
        words = _words(_fill(statement, variables))
        if not words or words[0] in OTHER_COMMANDS:
            continue
        if len(words) == 1 and _ASSIGNMENT.match(words[0]):
            name, _, value = words[0].partition("=")
            variables[name] = value
            continue
        found.append(_read(words))
    if not found:
        raise ConfigError(
            "no command of the public reference is given; give one in quotes, such as "
            "'sim_audio_distr_true --overrides encoder_config.kld_weight=0.0033'"
        )
    return found


def shown(text: str) -> str:
    """Text of the input for a message or comment: one line, not too long."""
    line = " ".join(text[: 2 * _LONGEST_SHOWN].split())
    return line if len(text) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}..."


def _statements(text: str) -> Iterator[str]:
    """The commands that newlines and semicolons separate, outside quotes and without comments."""
    statement, quote, is_comment = "", "", False
    for previous, mark in zip(" " + text, text, strict=False):
        if is_comment and mark != "\n":
            continue
        is_comment = not quote and mark == "#" and previous.isspace()
        if is_comment:
            continue
        if mark == quote:
            quote = ""
        elif mark in "'\"" and not quote:
            quote = mark
        if mark in "\n;" and not quote:
            yield statement
            statement = ""
        else:
            statement += mark
    yield statement


def _fill(statement: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            raise ConfigError(
                f"${shown(name)} is a variable of the shell, whose value is not here; put the command in double "
                f"quotes, so that the shell fills it in, or give the line {shown(name)}='...' too"
            )
        return variables[name]

    return _VARIABLE.sub(value, statement)


def _words(statement: str) -> list[str]:
    try:
        return shlex.split(statement)
    except ValueError:
        raise ConfigError(f"a quote is not closed in {shown(statement)}; close it, or leave it out") from None


def _read(words: list[str]) -> ReferenceCommand:
    program, arguments = _program(words)
    if PROGRAMS[program].kind == "gone":
        return ReferenceCommand(program, "", "", {})
    experiment, config, rest = _config(arguments)
    overrides: dict[str, str] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"'{shown(word)}' is no override of the public reference; write KEY=VALUE")
        spelling = find_spelling(key)
        if spelling is None:
            near = nearest_key(key[:_LONGEST_SHOWN])
            raise ConfigError(f"{shown(key)} is no key of the public reference; did you mean {near}?")
        _check_number(spelling, key, value)
        overrides[present_key(key)] = value
    return ReferenceCommand(program, experiment, config, overrides)


def _check_number(spelling: Spelling, key: str, value: str) -> None:
    """Refuse a value that is no finite number where the key here needs one."""
    if not spelling.ours or spelling.ours in _TEXTS or value.lower() in spelling.values:
        return
    if _NUMBER.fullmatch(value) is None or not math.isfinite(float(value)):
        example = spelling.default.partition(";")[0]
        raise ConfigError(f"{key}={shown(value)} is no number; write one, such as {key}={example}")


def _program(words: list[str]) -> tuple[str, list[str]]:
    """The module that is run, and its arguments; `main` if the words are arguments alone."""
    is_python = _PYTHON.fullmatch(words[0]) is not None
    rest = words[1:] if is_python else words
    rest = rest[1:] if is_python and rest[:1] == ["-m"] else rest
    name = rest[0].removeprefix("./").removesuffix(".py").replace("/", ".") if rest else ""
    if name in PROGRAMS:
        return name, rest[1:]
    if is_python:
        raise ConfigError(
            f"'{shown(name)}' is no program of the public reference; {_nearest(name, PROGRAMS)}"
        )
    start = next((i for i, word in enumerate(words) if _PYTHON.fullmatch(word)), 0)
    if start:
        before = shown(shlex.join(words[:start]))
        raise ConfigError(
            f"'{before}' stands before python; leave it out, and put it before the vgim command"
        )
    return "main", rest


def _config(arguments: list[str]) -> tuple[str, str, list[str]]:
    """The experiment, the config file, and the overrides behind them."""
    end = next((i for i, word in enumerate(arguments) if word == "--overrides"), None)
    if end is None:  # all is optional there, so overrides may follow at once
        end = next((i + 1 for i, word in enumerate(arguments) if word in CONFIGS), len(arguments))
        rest = arguments[end:]
    else:
        rest = arguments[end + 1 :]
    named = arguments[:end]
    config = named[-1].rpartition("/")[2].removesuffix(".py") if named else ""
    if config in IMAGE_CONFIGS:
        raise ConfigError(f"{config} encodes images, which have no counterpart; {_nearest(config, CONFIGS)}")
    if config not in CONFIGS or len(named) > 2:
        raise ConfigError(
            f"'{shown(' '.join(named))}' is not EXPERIMENT CONFIG of the public reference; {_nearest(config, CONFIGS)}"
        )
    return named[0] if len(named) == 2 else "", config, rest


def _nearest(name: str, known: Mapping[str, object]) -> str:
    return f"did you mean {difflib.get_close_matches(name[:_LONGEST_SHOWN], known, n=1, cutoff=0)[0]}?"
