"""A `Progress` that remembers what was reported to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class RecordedStage:
    """A stage as it was last reported, and each number of units that were done, in order."""

    title: str
    total: int | None
    unit: str
    done: int
    detail: str = ""
    begun: float = 0.0
    dones: list[int] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    on_report: Callable[[RecordedStage], None] = lambda stage: None

    def advance(self, count: int = 1) -> None:
        self.update(done=self.done + count)

    def update(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        detail: str | None = None,
        begun: float = 0.0,
    ) -> None:
        self.total = self.total if total is None else total
        if detail is not None:
            self.detail = detail
            self.details.append(detail)
        if done is not None:
            self.done, self.begun = done, begun
            self.dones.append(done)
        self.on_report(self)


class Recorded:
    """Remembers stages and messages.

    Args:
        on_report: Called with a stage whenever it begins or something is reported of it.
    """

    def __init__(self, on_report: Callable[[RecordedStage], None] = lambda stage: None) -> None:
        self.stages: list[RecordedStage] = []
        self.messages: list[str] = []
        self._on_report = on_report

    @contextmanager
    def stage(
        self, title: str, *, total: int | None = None, unit: str = "", done: int = 0, even: bool = True
    ) -> Iterator[RecordedStage]:
        stage = RecordedStage(title, total, unit, done, on_report=self._on_report)
        self.stages.append(stage)
        self._on_report(stage)
        yield stage

    def message(self, line: str) -> None:
        self.messages.append(line)

    @property
    def titles(self) -> list[str]:
        return [stage.title for stage in self.stages]

    def of(self, title: str) -> RecordedStage:
        """The only stage with a title."""
        (stage,) = (stage for stage in self.stages if stage.title == title)
        return stage
