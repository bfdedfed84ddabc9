"""Says what is wrong with how a command ended, and with what it left behind. No complaint means: right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.process import Outcome

ERRORS = {1, 2, 3, 4, 5, 6}
"""Exit codes of errors that a user can cause."""
TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|Fatal Python error|Segmentation fault|^Exception in thread", re.M
)
TEMPORARY = re.compile(r"^\.(?P<name>.+)\.tmp-[0-9a-f]+$")
MAX_ERROR_CHARACTERS = 1500


def ending_complaints(outcome: Outcome, *, also: Iterable[int] = ()) -> list[str]:
    """What is wrong with how a command ended.

    Args:
        also: Exit codes that the attack itself explains, such as -9 after a SIGKILL.
    """
    if outcome.stopped:
        return [outcome.stopped]
    if TRACEBACK.search(outcome.text):
        return [f"traceback ({last_line(outcome)})"]
    if outcome.code == 0 or outcome.code in also:
        return []
    if outcome.code not in ERRORS:
        return [f"exit code {outcome.code} ({last_line(outcome)})"]
    errors = error_lines(outcome)
    if not errors:
        return [f"exit code {outcome.code} without an error line ({last_line(outcome)})"]
    if any(len(line) > MAX_ERROR_CHARACTERS for line in errors):
        return [f"an error line of {max(map(len, errors))} characters"]
    return []


def success_complaints(outcome: Outcome) -> list[str]:
    """What is wrong with a command that should have succeeded."""
    complaints = ending_complaints(outcome)
    if not complaints and outcome.code:
        complaints = [f"the same command again ended with {outcome.code}: {last_line(outcome)}"]
    return complaints


def naming_complaints(outcome: Outcome, file: str) -> list[str]:
    """Whether an error names a file: its name, or the folder that it is in.

    Args:
        file: Path below the working folder of the command.
    """
    told = " ".join(error_lines(outcome))
    if names(told, file):
        return []
    return [f"the error does not name {file}: {told[:300]}"]


def names(text: str, file: str) -> bool:
    """Whether a text names a file or the folder that it is in."""
    path = Path(file)
    temporary = TEMPORARY.match(path.name)
    name = temporary["name"] if temporary else path.name
    folder = str(path.parent)
    return name in text or (folder != "." and re.search(re.escape(folder) + r"(?![/\w])", text) is not None)


def error_lines(outcome: Outcome) -> list[str]:
    """The lines of a command's output that say what is wrong."""
    return [line for line in outcome.err.splitlines() if line.startswith("error:")]


def last_line(outcome: Outcome) -> str:
    """The last line that a command printed."""
    lines = [line.strip() for line in (outcome.err or outcome.out).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def state_complaints(folder: Path) -> list[str]:
    """Runs below a folder whose record says that they are running; no process is running when this is called."""
    told = []
    for file in folder.rglob("run.json"):
        try:
            state = json.loads(file.read_bytes())["state"]
        except (ValueError, KeyError, TypeError, OSError, RecursionError):
            continue
        if state == "running":
            told.append(f"{file.relative_to(folder)} still says running")
    return told
