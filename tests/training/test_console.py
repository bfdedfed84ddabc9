"""The console: one live line with rate, data wait and ETA, with events and validations above it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from vgim.config import ResolvedConfig
from vgim.storage import Location
from vgim.training import console
from vgim.training.console import Console, progress_line, validation_line

Maker = Callable[..., ResolvedConfig]


def module(number: int, nce: float | None, accuracy: float = 0.3125) -> dict[str, Any]:
    return {"module": number, "nce": nce, "accuracy": accuracy, "kl_per_element": 0.0314, "loss": nce}


def train_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "last_step": 200,
        "epoch": 3.4,
        "steps_per_s": 2.5,
        "crops_per_s": 20.0,
        "data_wait_s": 0.004,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11))),
        "time": time.time(),
    }


def validation_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "validation",
        "step": step,
        "epoch": 3,
        "crops": 40,
        "loss": 2.0,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11, 0.28))),
        "time": time.time(),
    }


def test_the_line_has_step_loss_rate_data_wait_and_time_left() -> None:
    assert progress_line(train_record(120)) == (
        "step 120/200  epoch 3.40  nce 1.980 2.110  20.0 crops/s  data wait 1.0%  ETA 0:32"
    )


def test_the_line_names_the_module_if_the_first_one_does_not_train() -> None:
    assert "  module 2 nce 1.500  " in progress_line(train_record(1, module(2, 1.5)))


def test_past_its_last_step_a_run_has_no_negative_time_left() -> None:
    assert progress_line(train_record(201)).endswith("ETA 0:00")


def test_the_validation_line_has_the_metrics_of_each_module() -> None:
    assert validation_line(validation_record(120)) == (
        "step 120  epoch 3  validation: nce 1.980 2.110  accuracy 31% 28%  kl/element 0.031 0.031  (40 crops)"
    )


def test_the_validation_line_has_nats_a_frame_where_the_record_has_them() -> None:
    modules = ({**module(0, 1.98), "kl_per_frame": 16.08}, {**module(1, 2.11), "kl_per_frame": None})
    assert "  kl/element 0.031 0.031  kl/frame 16.1 -  (" in validation_line(validation_record(120, *modules))


def test_metrics_that_are_not_finite_are_shown_as_dashes() -> None:
    assert "nce 1.980 -  " in progress_line(train_record(1, module(0, 1.98), module(1, None)))
    assert "nce - 2.110  " in validation_line(validation_record(1, module(0, None), module(1, 2.11)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follow(folder: Path, out: io.StringIO, *records: dict[str, Any]) -> str:
    """Output of a console for records that are written one after the other while it runs."""
    path = folder / "metrics.jsonl"
    with Console(Location(folder), out), path.open("a") as lines:
        for record in records:
            lines.write(json.dumps({**record, "time": time.time()}) + "\n")
            lines.flush()
            message = record.get("message", "")
            wait_until(lambda message=message: message in out.getvalue(), f"{message!r} in {out}")
    return out.getvalue()


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "POLL_SECONDS", 0.01)


def event(message: str) -> dict[str, Any]:
    return {"kind": "event", "step": 1, "message": message}


def test_without_a_terminal_each_event_is_printed_once(tmp_path: Path) -> None:
    printed = follow(
        tmp_path, io.StringIO(), event("first"), train_record(10), validation_record(10), event("second")
    )
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == ["first", "step", "step", "second"]
    assert sum("validation:" in line for line in lines) == 1
    assert "\r" not in printed


def test_without_a_terminal_progress_is_printed_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    steps = [train_record(step) for step in range(1, 50)]
    lines = follow(tmp_path, io.StringIO(), *steps).splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[-1].startswith("step 49/200")


def test_a_terminal_has_one_progress_line_that_is_rewritten_and_cleared_for_events(tmp_path: Path) -> None:
    printed = follow(tmp_path, Terminal(), train_record(10), event("look here"), train_record(11))
    assert "look here\n" in printed
    assert printed.count("\n") == 1
    assert printed.endswith("\r\x1b[2K")  # the progress line is cleared


def test_records_of_an_earlier_launch_are_not_printed_again(tmp_path: Path) -> None:
    old = {**event("from yesterday"), "time": time.time() - 86_400}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n" + '{"kind": "tr')
    printed = follow(tmp_path, io.StringIO())
    assert printed == ""
