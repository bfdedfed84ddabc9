"""Counts and lists of names in messages."""

from __future__ import annotations

from collections.abc import Iterable


def plural(count: int, noun: str) -> str:
    """`1 utterance`, `2 utterances`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_few(names: Iterable[str], num_shown: int = 3) -> str:
    """The first names and the number of the others: `a, b, c and 4 more`."""
    names = list(names)
    more = f" and {len(names) - num_shown} more" if len(names) > num_shown else ""
    return ", ".join(names[:num_shown]) + more
