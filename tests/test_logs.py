"""Log lines carry run, rank, stage and step, as text or as JSON."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faulty_storage import Faults, faulty_storage
from tests.waiting import wait_until
from vgim import logs
from vgim.cli import main
from vgim.config import ResolvedConfig, to_yaml
from vgim.logs import json_line, log_as, log_fields, logs_of_run, set_log_fields
from vgim.storage import Location
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Fields and handlers of this process are afterwards what they were."""
    logger = logging.getLogger("vgim")
    before, level, fields = list(logger.handlers), logger.level, log_fields()
    logs._fields.clear()
    yield
    logger.handlers[:] = before
    logger.setLevel(level)
    logs._fields.clear()
    logs._fields.update(fields)


def parsed(lines: str) -> list[dict[str, Any]]:
    """The objects of lines, each of which must be one."""
    return [json.loads(line) for line in lines.splitlines()]


def run_cli(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_a_json_line_has_time_level_message_and_fields() -> None:
    set_log_fields(run="first", rank=3, stage=1, step=120)
    line = json_line("warning: two\nlines, and ümlaut", more={"done": 2})
    assert "\n" not in line
    found = json.loads(line)
    assert re.fullmatch(TIME, found.pop("time"))
    assert found == {
        "level": "warning",
        "message": "warning: two\nlines, and ümlaut",
        "run": "first",
        "rank": 3,
        "stage": 1,
        "step": 120,
        "done": 2,
    }
    assert [json.loads(json_line(text))["level"] for text in ("all is well", "error: x", "warning x")] == [
        "info",
        "error",
        "warning",
    ]


def test_lines_of_a_rank_are_text_with_its_fields() -> None:
    out = io.StringIO()
    log_as("text", {"run": "first", "rank": 3}, out=out)
    logger = logging.getLogger("vgim.somewhere")
    logger.info("it begins at %s", "s3://KEY:SECRET@bucket/x")
    set_log_fields(step=7)
    try:
        raise ValueError("a defect")
    except ValueError:
        logger.exception("it ends")
    first, second, *trace = out.getvalue().splitlines()
    assert re.fullmatch(rf"{TIME} INFO run=first rank=3: it begins at s3://\S+@bucket/x", first)
    assert "SECRET" not in first
    assert re.fullmatch(rf"{TIME} ERROR run=first rank=3 step=7: it ends", second)
    assert trace[-1] == "ValueError: a defect"


def test_lines_of_a_rank_are_json_with_its_fields_and_the_traceback() -> None:
    earlier, out = io.StringIO(), io.StringIO()
    log_as("text", {}, out=earlier)
    log_as("json", {"run": "first", "rank": 0}, level=logging.WARNING, out=out)
    logger = logging.getLogger("vgim.somewhere")
    logger.info("warning: nobody asked")
    set_log_fields(step=7)
    try:
        raise ValueError("a defect")
    except ValueError:
        logger.exception("it ends")
    (found,) = parsed(out.getvalue())
    assert {name: found[name] for name in ("level", "message", "run", "rank", "step", "logger")} == {
        "level": "error",
        "message": "it ends",
        "run": "first",
        "rank": 0,
        "step": 7,
        "logger": "vgim.somewhere",
    }
    assert found["error"].endswith("ValueError: a defect")
    assert not earlier.getvalue()


def test_a_line_of_a_rank_is_printed_once_where_the_root_logger_prints_to_the_same_stream_too() -> None:
    out, file = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers = logging.StreamHandler(out), logging.StreamHandler(file)
    for handler in handlers:
        root.addHandler(handler)
    try:
        log_as("json", {}, out=out)
        logging.getLogger("vgim.somewhere").info("all is well")
        logging.getLogger("other").warning("said by another")
    finally:
        for handler in handlers:
            root.removeHandler(handler)
    ours, other = out.getvalue().splitlines()
    assert (json.loads(ours)["message"], other) == ("all is well", "said by another")
    assert file.getvalue().splitlines() == ["all is well", "said by another"]


def test_an_event_that_warns_is_a_warning_in_json_and_no_second_one_on_the_terminal() -> None:
    out = io.StringIO()
    log_as("json", {}, out=out)
    logging.getLogger("vgim.somewhere").info("warning: a nat is dear")
    logging.getLogger("vgim.somewhere").info("all is well")
    assert [line["level"] for line in parsed(out.getvalue())] == ["warning", "info"]
    log_as("json", {}, level=logging.WARNING, out=out)
    logging.getLogger("vgim.somewhere").info("warning: a nat is dear")
    assert len(out.getvalue().splitlines()) == 2


def test_the_fields_of_a_run_end_with_it_and_stay_for_the_error_that_ends_it() -> None:
    set_log_fields(step=9)
    with logs_of_run("first"):
        assert log_fields() == {"run": "first"}
    assert log_fields() == {"step": 9}
    with pytest.raises(ValueError, match="a defect"), logs_of_run("second"):
        raise ValueError("a defect")
    assert log_fields() == {"run": "second"}


@pytest.fixture
def json_lines_of(monkeypatch: pytest.MonkeyPatch, tiny_config: Maker, tmp_path: Path) -> Path:
    """The config of a run `first`, whose lines are to be JSON."""
    monkeypatch.setenv("VGIM_LOG_FORMAT", "json")
    preset = tmp_path / "preset.yaml"
    preset.write_text(to_yaml(tiny_config("storage.name=first").config))
    return preset


def test_every_line_of_a_training_is_json_with_its_run_and_step(
    json_lines_of: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run_cli("train", str(json_lines_of), "cluster.workers=0")
    shown = capsys.readouterr()
    assert not shown.err
    lines = parsed(shown.out)
    by_message = {line["message"]: line for line in lines}
    validations = [line for message, line in by_message.items() if "validation: " in message]
    assert [line["step"] for line in validations] == [10, 20]
    assert {line["run"] for line in lines} == {"first"}
    assert any(message.startswith("verdict: ") for message in by_message)
    assert [line["level"] for message, line in by_message.items() if "makes a nat a frame" in message] == [
        "warning"
    ]


def test_an_error_is_json_with_the_run_that_it_ended(
    json_lines_of: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_cli("train", str(json_lines_of), f"data.shards={tmp_path / 'none'}") == 3
    (line,) = parsed(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["run"] == "first"
    assert line["message"].startswith("there is no shard folder ")


def test_warnings_in_this_process_carry_rank_and_step(
    tiny_shards: Path,
    tiny_config: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VGIM_LOG_FORMAT", "json")
    monkeypatch.setattr("vgim.storage.retry.FIRST_WAIT_S", 0.001)
    faults = Faults(rates={"open_output": 0.3}, seed=1)
    with faulty_storage(tmp_path / "remote", faults):
        Location("faulty://logs/runs/x").write_bytes_atomic(b"it answers")
        train(tiny_config("storage.root=faulty://logs/runs", "storage.name=first", "train.epochs=2"))
    assert faults.raised["open_output"]
    lines = [line for line in parsed(capsys.readouterr().err) if "attempt 2 follows" in line["message"]]
    assert lines
    steps = [line["step"] for line in lines if "step" in line]
    assert steps
    assert steps == sorted(steps)
    assert {line["run"] for line in lines if "run" in line} == {"first"}
    assert {line["rank"] for line in lines if "step" in line} == {0}


@pytest.mark.slow
def test_lines_of_workers_on_ray_carry_their_ranks(
    ray_session: None, tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray._private.worker

    monkeypatch.setenv("VGIM_LOG_FORMAT", "json")
    resolved = tiny_config("cluster.workers=2", "storage.name=two-ranks", "train.epochs=1")
    train(resolved)
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())

    def lines() -> list[dict[str, Any]]:
        found = [
            json.loads(line)
            for path in folder.glob("worker-*.err")
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith('{"time"')
        ]
        return [line for line in found if line["run"] == "two-ranks"]

    wait_until(lambda: {line["rank"] for line in lines()} == {0, 1}, "both ranks have logged")
    starts = sorted(line["message"] for line in lines() if " of 2 on " in line["message"])
    assert [start[:11] for start in starts] == ["rank 0 of 2", "rank 1 of 2"]
    events = [line for line in lines() if line["message"] == "weights drawn afresh from seed 0"]
    assert [line["rank"] for line in events] == [0]
    everything = "".join(path.read_text(errors="replace") for path in folder.glob("worker-*.err"))
    assert everything.count("weights drawn afresh from seed 0") == everything.count(
        '"message": "weights drawn afresh from seed 0"'
    )
