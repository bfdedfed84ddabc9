"""The verdict as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vgim.errors import Interrupted, VgimError
from vgim.logs import is_json, json_line
from vgim.storage import Location
from vgim.verdict.judge import read_verdict
from vgim.verdict.verdict import NextCommand, Verdict


def verdict_lines(verdict: Verdict) -> list[str]:
    """The sentences, and the next command on a line of its own."""
    return [f"verdict: {sentence}" for sentence in verdict.sentences] + next_lines(verdict.next)


def next_lines(following: NextCommand | None) -> list[str]:
    """What to do next, and its command on a line of its own; nothing for None."""
    return [] if following is None else str(following).splitlines()


@contextmanager
def verdict_at_end(run: Location) -> Iterator[None]:
    """Print the verdict on a run when its training has ended; its first sentence alone after an interruption.

    A verdict that cannot be read is one line, and the training's own end counts.
    """
    try:
        yield
    except Interrupted:
        _print(run, is_brief=True)
        raise
    _print(run, is_brief=False)


def _print(run: Location, *, is_brief: bool) -> None:
    try:
        verdict = read_verdict(run)
    except VgimError as error:
        _say(f"verdict: the run's figures cannot be read: {error}", run)
        return
    if verdict is None:
        return
    lines = verdict_lines(verdict)
    if is_brief:  # the trainer has said how to go on
        lines = [f"verdict: {finding.text}" for finding in verdict.findings if finding.about == "learning"]
    for line in lines:
        _say(line, run)


def _say(line: str, run: Location) -> None:
    print(json_line(line, more={"run": run.name}) if is_json() else line)
