"""What counts as right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.digest import differences, digest
from tests.chaos.oracle import (
    ending_complaints,
    names,
    naming_complaints,
    state_complaints,
    success_complaints,
)
from tests.chaos.process import Outcome


def outcome(code: int, err: str = "", out: str = "", stopped: str = "") -> Outcome:
    return Outcome(code, out, err, 1.0, stopped)


TRACE = "Traceback (most recent call last):\n  File\nValueError: no\n"


@pytest.mark.parametrize(
    ("ended", "complaint"),
    [
        (outcome(0), None),
        (outcome(3, "error: shards/index.parquet is damaged\n"), None),
        (outcome(2, "error: No such option: --nope; see vgim train --help\n"), None),
        (outcome(0, TRACE), "traceback"),
        (outcome(1, TRACE), "traceback"),
        (outcome(1, "it went wrong\n"), "without an error line"),
        (outcome(-6), "exit code -6"),
        (outcome(7, "error: no\n"), "exit code 7"),
        (outcome(2, "error: " + "x" * 3000 + "\n"), "an error line of 3007 characters"),
        (outcome(-9, stopped="still running after 3 s"), "still running"),
    ],
)
def test_an_ending_is_right_or_wrong(ended: Outcome, complaint: str | None) -> None:
    found = ending_complaints(ended)
    assert (complaint in found[0]) if complaint else not found


def test_a_command_that_must_succeed_may_not_end_with_an_error() -> None:
    assert not success_complaints(outcome(0))
    assert success_complaints(outcome(5, "error: no\n"))


def test_an_error_names_the_file_or_its_folder() -> None:
    assert names("cannot read /a/runs/run/run.json: empty", "runs/run/run.json")
    assert names("cannot write /a/run.json", "runs/run/.run.json.tmp-0f12")
    assert names(
        "the checkpoint /a/checkpoints/step-00000004 is damaged", "a/checkpoints/step-00000004/state.json"
    )
    assert not names("cannot read metrics.jsonl", "runs/run/run.json")
    assert not names("the run /a/runs/runner is damaged", "runs/run/run.json")
    assert naming_complaints(outcome(5, "error: other.json is empty\n"), "runs/run/run.json")


def test_a_run_that_says_running_without_a_process_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"state": "running"}')
    assert state_complaints(tmp_path) == ["run.json still says running"]
    (tmp_path / "run.json").write_text('{"state": "interrupted"}')
    assert state_complaints(tmp_path) == []


def test_digests_leave_out_times_and_nothing_else(tmp_path: Path) -> None:
    def write(loss: float, step_s: float) -> dict[str, str]:
        line = f'{{"kind": "train", "loss": {loss}, "steps_per_s": {step_s}}}\n'
        (tmp_path / "metrics.jsonl").write_text(line)
        (tmp_path / "run.json").write_text(json.dumps({"state": "finished", "pid": step_s}))
        return digest(tmp_path)

    before = write(1.0, 2.0)
    assert differences(before, write(1.0, 3.0)) == []
    assert differences(before, write(1.5, 2.0)) == ["metrics.jsonl differs"]
    (tmp_path / "run.json").unlink()
    (tmp_path / ".run.json.tmp-12").touch()
    assert differences(before, digest(tmp_path)) == [
        "run.json is gone",
        ".run.json.tmp-12 is left over",
        "metrics.jsonl differs",
    ]
