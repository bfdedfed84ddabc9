"""Environment variables that Ray reads, set for one call alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and on leaving set them back to what they were.

    What a run sets for its own workers would else hold for each later run of the process.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def default_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """As `environment`, for the variables among these that the user has not set."""
    with environment({name: value for name, value in variables.items() if name not in os.environ}):
        yield
