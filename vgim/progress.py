"""What long work reports while it runs: its stages, how far each is, and messages.

Work gets a `Progress` as an argument and knows nothing of terminals; `vgim.cli.live` shows one. The default shows
nothing. All methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Stage(Protocol):
    """A part of the work that has begun."""

    def advance(self, count: int = 1) -> None:
        """Count units that were done just now."""

    def update(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        detail: str | None = None,
        begun: float = 0.0,
    ) -> None:
        """Set what is given, and leave the rest as it is.

        Args:
            done: Units that are done.
            total: Units of the stage.
            begun: With `done`: how much of further units is done, as a number of units, so that the time left is
                known before a long unit ends.
            detail: A few words on what happens now, such as what is waited for. Shorter than a line; empty for none.
        """


class Progress(Protocol):
    """Where long work reports to."""

    def stage(
        self, title: str, *, total: int | None = None, unit: str = "", done: int = 0, even: bool = True
    ) -> AbstractContextManager[Stage]:
        """Begin a stage, which ends with the context. Stages within a stage are parts of it.

        Args:
            title: What happens, such as `reading shards`.
            total: Units of the stage; None if it is not known, or the stage has no units.
            unit: Name of one unit, such as `shard`; empty if the stage has no units.
            done: Units that an earlier call of the command has done.
            even: Whether units take about the same time, so that the time left can be told from the time so far.
        """

    def message(self, line: str) -> None:
        """Print a line: a note, a warning, a result."""


class MessagesOnly:
    """A `Progress` that shows no stages.

    Args:
        write: Prints a message.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def stage(
        self, title: str, *, total: int | None = None, unit: str = "", done: int = 0, even: bool = True
    ) -> AbstractContextManager[Stage]:
        """A stage that is not shown."""
        return nullcontext(_NOT_SHOWN)

    def message(self, line: str) -> None:
        """Print a message."""
        self._write(line)


class WithPrefix:
    """A `Progress` whose messages begin with a prefix.

    Args:
        progress: Where stages and messages go.
        prefix: Text before each message.
    """

    def __init__(self, progress: Progress, prefix: str) -> None:
        self._progress, self._prefix = progress, prefix

    def stage(
        self, title: str, *, total: int | None = None, unit: str = "", done: int = 0, even: bool = True
    ) -> AbstractContextManager[Stage]:
        """Begin a stage, which ends with the context."""
        return self._progress.stage(title, total=total, unit=unit, done=done, even=even)

    def message(self, line: str) -> None:
        """Print a message behind the prefix."""
        self._progress.message(self._prefix + line)


class _NotShown:
    def advance(self, count: int = 1) -> None:
        """Show nothing."""

    def update(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        detail: str | None = None,
        begun: float = 0.0,
    ) -> None:
        """Show nothing."""


_NOT_SHOWN = _NotShown()
SILENT: Progress = MessagesOnly(lambda line: None)
"""Shows nothing."""


def track(
    progress: Progress, items: Iterable[Item], title: str, unit: str, *, total: int | None = None
) -> Iterator[Item]:
    """Iterate over items in a stage, each a unit that is done when the next one is asked for.

    Args:
        progress: Where to report.
        items: What to iterate over.
        title: What happens to the items.
        unit: Name of one item.
        total: Number of items; None takes their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress.stage(title, total=total, unit=unit) as stage:
        for item in items:
            yield item
            stage.advance()
