"""Looks up keys of the public reference: what is written here for an override that is spelled as there."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Literal

from vgim.config.reference_downstream_keys import CLASSIFIER, DECODER
from vgim.config.reference_encoder_keys import ENCODER, MODULE, TOP
from vgim.config.reference_row import ANY_CLASSIFIER, CLASSIFIERS, EARLIER_SECTIONS, IMAGES_SECTION, Spelling

Command = Literal["train", "probe", "decode"]
USAGE: dict[Command, str] = {
    "train": "vgim train PRESET",
    "probe": "vgim probe RUN",
    "decode": "vgim decode train RUN",
}
TABLES = {
    "options": TOP,
    "encoder_config": ENCODER,
    "module": MODULE,
    ANY_CLASSIFIER: CLASSIFIER,
    "decoder_config": DECODER,
}
"""All keys of the reference, by the table of docs/from-the-reference.md that they stand in."""
_SECTIONS = ("encoder_config", "decoder_config", *CLASSIFIERS)


@cache
def _by_key() -> dict[str, Spelling]:
    """All rows that an override can name; each classifier's section has every classifier's row."""
    found: dict[str, Spelling] = {}
    for spelling in (row for rows in TABLES.values() if rows is not MODULE for row in rows):
        section, _, name = spelling.key.partition(".")
        for prefix in CLASSIFIERS if section == ANY_CLASSIFIER else (section,):
            found[f"{prefix}.{name}" if name else prefix] = spelling
    return found


def present_key(key: str) -> str:
    """A key under its section's present name, if an earlier version of the reference named the section otherwise."""
    section, dot, name = key.partition(".")
    return f"{EARLIER_SECTIONS.get(section, section)}{dot}{name}"


def find_spelling(key: str) -> Spelling | None:
    """The row of the reference's key `key`, such as `encoder_config.kld_weight`; None if the reference has none."""
    key = present_key(key)
    return _by_key().get(IMAGES_SECTION if key.startswith(f"{IMAGES_SECTION}.") else key)


def nearest_key(key: str) -> str:
    """The key of the reference that was probably meant: one of the same section, if the section exists."""
    key = present_key(key)
    members = [known for known in _by_key() if known.startswith(f"{key.partition('.')[0]}.")]
    return difflib.get_close_matches(key, members or list(_by_key()), n=1, cutoff=0)[0]


def written_here(spelling: Spelling, value: str) -> str | None:
    """What is written here for a value: `KEY=VALUE`, options, or a command.

    Returns:
        An empty text if the value is the default here; None if nothing corresponds to it.
    """
    if value.lower() in spelling.values:
        return spelling.values[value.lower()]
    if not spelling.ours:
        return None
    if spelling.is_share:
        value = _as_share(value)
    return f"{spelling.ours} {value}" if spelling.ours.startswith("--") else f"{spelling.ours}={value}"


def _as_share(value: str) -> str:
    try:
        return str(float(value))
    except ValueError:
        return value  # the config's own check names it


def command_of(key: str, written: str) -> Command:
    """The vgim command that takes what is `written` here for the reference's `key`."""
    if key.startswith("decoder_config."):
        return "decode"
    return (
        "probe" if present_key(key).partition(".")[0] in CLASSIFIERS or written.startswith("--") else "train"
    )


def refusal(key: str, value: str, command: Command, origin: str) -> str | None:
    """The line that refuses an unknown config key because it is the reference's, or in a section of the reference.

    Args:
        key: Dotted key as it was given.
        value: Its value as text.
        command: The command that it was given to.
        origin: Where it was set, as ` (from override)`.

    Returns:
        The line, with what to write here; None if the key has nothing to do with the reference.
    """
    spelling = find_spelling(key)
    if spelling is None:
        if present_key(key).partition(".")[0] not in _SECTIONS:
            return None
        near = nearest_key(key)
        return f"{key} is no config key, here or in the public reference{origin}; did you mean {near}?"
    written = written_here(spelling, value)
    if not written:
        return (
            f"{key}={value} of the public reference has no counterpart{origin}: {spelling.note}; leave it out"
        )
    belongs_to = command_of(key, written)
    if belongs_to == command and not written.startswith(("--", "vgim ")):
        return f"{key} is the public reference's spelling{origin}; write {written}"
    place = "" if written.startswith("vgim ") else f"{USAGE[belongs_to]} "
    return f"{key} is the public reference's spelling{origin}; here it is: {place}{written}"


def markdown_table(name: str) -> str:
    """A table of docs/from-the-reference.md, from the rows of `TABLES[name]`."""
    lines = ["| There | Here | Value there | What to know |", "|---|---|---|---|"]
    for row in TABLES[name]:
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.key}` | {_counterpart(row)} | {default} | {row.note} |")
    return "\n".join(lines)


def _counterpart(row: Spelling) -> str:
    parts = [f"`{row.ours}`"] if row.ours else []
    for value, written in row.values.items():
        shown = value.capitalize() if value in ("true", "false") else value
        parts.append(
            f"{shown}: `{written}`" if written else f"{shown}: {'none' if written is None else 'the default'}"
        )
    return "; ".join(parts) or "none"
