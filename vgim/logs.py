"""Log lines with the run, rank, stage and step that they come from, as text or, with VGIM_LOG_FORMAT=json, as JSON.

The fields belong to the process, since a process trains one run at a time.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from vgim.errors import ConfigError
from vgim.secrets import mask_secrets

VARIABLE = "VGIM_LOG_FORMAT"
TEXT, JSON = "text", "json"
LEVELS = {"warning": "warning", "warning:": "warning", "error:": "error"}
"""First word of a message → its level; others are `info`."""

_fields: dict[str, str | int] = {}


def log_format() -> str:
    """The format that the user asks for: text or json.

    Raises:
        ConfigError: The variable has another value.
    """
    asked = os.environ.get(VARIABLE) or TEXT
    if asked not in (TEXT, JSON):
        raise ConfigError(f"{VARIABLE}={asked!r} is no format of log lines; set it to text or json")
    return asked


def is_json() -> bool:
    """Whether the user asks for JSON; not for a value that is none."""
    return os.environ.get(VARIABLE) == JSON


def log_fields() -> dict[str, str | int]:
    """The fields that lines of this process carry now: run, rank, stage, step, as far as they are known."""
    return dict(_fields)


def set_log_fields(**fields: str | int) -> None:
    """Let the lines that follow carry these fields too."""
    _fields.update(fields)


def log_step(step: int) -> None:
    """Let the lines that follow carry the number of steps that the run has taken."""
    _fields["step"] = step


@contextmanager
def logs_of_run(run: str) -> Iterator[None]:
    """Let lines carry the run's name until it has ended; the line of an error that ends it carries the name too."""
    before = log_fields()
    _fields.pop("step", None)
    set_log_fields(run=run)
    yield
    _fields.clear()
    _fields.update(before)


def log_form() -> str | None:
    """The form that `log_as` set in this process; None without a call."""
    for handler in logging.getLogger("vgim").handlers:
        if isinstance(handler, _Handler):
            return JSON if isinstance(handler.formatter, _Json) else TEXT
    return None


def json_line(message: str, level: str | None = None, more: Mapping[str, Any] | None = None) -> str:
    """A line of JSON: time, level and message, the fields of this process, and `more`.

    Args:
        message: The message.
        level: debug, info, warning, error or critical; None decides by the message's first word.
        more: Other fields.
    """
    level = level or LEVELS.get(message.partition(" ")[0], "info")
    content = {"time": _now(), "level": level, "message": message, **_fields, **(more or {})}
    return json.dumps(content, default=str)


def log_as(
    form: str, fields: Mapping[str, str | int], *, level: int = logging.INFO, out: Any = None
) -> logging.Handler:
    """Print the log of vgim in this process in a form and with fields.

    Args:
        form: text or json.
        fields: Fields of the lines, in place of those before, as `log_fields` returns them.
        level: Lowest level that is printed.
        out: Where to print; None for the standard error.

    Returns:
        The handler; a second call replaces that of the first.
    """
    logger = logging.getLogger("vgim")
    for earlier in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(earlier)
    handler = _Handler(out)
    handler.setFormatter(_Json() if form == JSON else _Text())
    logger.addHandler(handler)
    logger.setLevel(level)
    for other in logging.getLogger().handlers:  # Ray Train prints there too, without fields
        if getattr(other, "stream", None) is handler.stream:
            other.addFilter(_is_of_others)
    fields = dict(fields)
    _fields.clear()
    _fields.update(fields)
    return handler


def _is_of_others(record: logging.LogRecord) -> bool:
    return not f"{record.name}.".startswith("vgim.")


class _Handler(logging.StreamHandler[Any]):
    def __init__(self, out: Any = None) -> None:
        super().__init__(sys.stderr if out is None else out)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        more = {"logger": record.name}
        if record.exc_info:
            more["error"] = self.formatException(record.exc_info)
        # As events of a run say it.
        level = None if record.levelno == logging.INFO else record.levelname.lower()
        return json_line(mask_secrets(record.getMessage()), level, more)


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING run=first rank=3 step=120: cannot read ...`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in log_fields().items())
        line = f"{_now()} {record.levelname}{fields}: {mask_secrets(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
