"""The sidecar of components/logs reads what a rank writes to its standard error as it is meant to be read.

Tests of Fluent Bit itself need its binary, on the PATH or named by FLUENT_BIT. A clone builds in minutes with
`-DFLB_MINIMAL=On -DFLB_IN_TAIL=On -DFLB_FILTER_GREP=On -DFLB_FILTER_PARSER=On -DFLB_OUT_STDOUT=On -DFLB_WASM=Off
-DFLB_LUAJIT=Off -DFLB_KAFKA=Off -DFLB_JEMALLOC=Off -DFLB_RELEASE=On -DFLB_DEBUG=Off -DFLB_IPO=Off`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import traceback
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import KUBERAY
from tests.waiting import wait_until
from vgim.logs import log_as, set_log_fields

CONFIG = KUBERAY / "components/logs/fluent-bit.yaml"
BINARY = os.environ.get("FLUENT_BIT") or shutil.which("fluent-bit")

Lines = list[dict[str, Any]]


class Sidecar:
    """Fluent Bit with the component's config on a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "ray/session_2026-01-31_12-00-00_000000_1/logs"
        self._out = folder / "out.jsonl"
        self._config = folder / "fluent-bit.yaml"
        text = CONFIG.read_text().replace("/tmp/ray/", f"{folder}/ray/").replace("/state/", f"{folder}/")
        self._config.write_text(text.replace("refresh_interval: 5", "refresh_interval: 1"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert BINARY is not None
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [BINARY, "--config", str(self._config)], stdout=out, stderr=subprocess.PIPE
            )

    def new_file(self, text: str) -> Path:
        """Makes Ray's folder, and in it the file of a worker's standard error."""
        self._logs.mkdir(parents=True)
        file = self._logs / "worker-0123-02000000-512.err"
        file.write_text(text)
        return file

    def stop(self) -> str:
        """Ends as in a pod that ends, with 30 seconds; returns what it complained of."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        _, err = self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        complaints = [line for line in err.decode().splitlines() if re.match(r"\[.*\[ *(warn|error)\]", line)]
        return "\n".join(line for line in complaints if "service will shutdown" not in line)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def lines(self) -> Lines:
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    def logged(self) -> list[str]:
        return [line["log"].rstrip("\n") for line in self.lines() if "log" in line]


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    made = Sidecar(tmp_path)
    yield made
    made.kill()


needs_fluent_bit = pytest.mark.skipif(
    BINARY is None, reason="needs Fluent Bit: FLUENT_BIT names it, or it is on the PATH"
)


def trace(cause: str) -> str:
    """A traceback of two errors, of which one caused the other."""
    try:
        try:
            raise ValueError(cause)
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        return traceback.format_exc()


def written() -> tuple[str, Lines, list[str]]:
    """The standard error of a rank; its lines of JSON; its other lines, as they belong together."""
    out = io.StringIO()
    log_as("json", {"run": "first", "rank": 3}, out=out)
    set_log_fields(step=120)
    logger = logging.getLogger("vgim.somewhere")
    logger.warning("cannot read a shard")
    try:
        raise ValueError("a defect\nof two lines")
    except ValueError:
        logger.exception("it ends")
    first, second = out.getvalue().splitlines()
    warning = "/site/library.py:319: UserWarning: an odd number\n  warnings.warn("
    failed = "ERROR:some.library:it failed\n" + trace("inner").rstrip()
    thread = "Exception in thread side:\n" + trace("").rstrip()
    two_lines = trace("inner\nof two lines")
    text = (
        f":job_id:02000000\n:actor_name:RayTrainWorker\n{first}\n{warning}\n{failed}\n{second}\n{thread}\n"
        f":task_name:MapBatches(read)\nplain\n{two_lines}ends\n"
    )
    upper, middle = two_lines.rstrip().split("\nof two lines")
    groups = [warning, failed, thread, "plain\n" + upper, "of two lines" + middle, "ends"]
    return text, [json.loads(first), json.loads(second)], groups


def grouped(text: str, config: dict[str, Any]) -> list[str]:
    """What Fluent Bit's parser of several lines makes of a text, by its documented rules."""
    (parser,) = config["multiline_parsers"]
    out: list[str] = []
    state = ""  # of the group that the next line may belong to
    for line in text.splitlines():
        for states in (state, "start_state"):
            found = [
                rule["next_state"]
                for rule in parser["rules"]
                if rule["state"] == states and re.search(rule["regex"].strip("/"), line)
            ]
            if found:
                break
        if found and states == state:
            out[-1] += f"\n{line}"
        else:
            out.append(line)
        state = found[0] if found else ""
    return out


def test_rules_keep_tracebacks_together_and_leave_lines_of_json_alone() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    text, lines, groups = written()
    drop, parse = config["pipeline"]["filters"]
    key, _, pattern = drop["exclude"].partition(" ")
    assert (key, parse["key_name"]) == ("log", "log")
    found = [group for group in grouped(text, config) if not re.search(pattern, group)]
    assert [json.loads(group) for group in found if group.startswith("{")] == lines
    assert [group.rstrip() for group in found if not group.startswith("{")] == groups


def test_the_time_of_a_line_is_read_in_the_form_that_vgim_writes() -> None:
    (parser,) = yaml.safe_load(CONFIG.read_text())["parsers"]
    _, (line, _), _ = written()
    python = parser["time_format"].replace(".%L", ".%f")  # %L is a fraction of any length
    assert datetime.strptime(line[parser["time_key"]], python).utcoffset() is not None


@needs_fluent_bit
def test_fluent_bit_prints_lines_with_their_fields_and_time_and_tracebacks_whole(sidecar: Sidecar) -> None:
    text, lines, groups = written()
    sidecar.start()  # before Ray has made its folder
    file = sidecar.new_file(text)
    wait_until(lambda: "ends" in sidecar.logged(), "the last line is printed")
    assert sidecar.stop() == ""
    ours = [line for line in sidecar.lines() if "message" in line]
    for line, expected in zip(ours, lines, strict=True):
        assert datetime.fromisoformat(line.pop("time")) == datetime.fromisoformat(expected.pop("time"))
        assert line == {**expected, "file": str(file)}
    assert sidecar.logged() == groups


@needs_fluent_bit
def test_fluent_bit_that_starts_again_repeats_and_leaves_out_no_line(sidecar: Sidecar) -> None:
    file = sidecar.new_file("one\ntwo\n")
    sidecar.start()
    wait_until(lambda: len(sidecar.logged()) == 2, "both lines are printed")
    sidecar.stop()
    with file.open("a") as out:
        out.write("three\n")
    sidecar.start()
    wait_until(lambda: "three" in sidecar.logged(), "the line of the break is printed")
    sidecar.stop()
    assert sidecar.logged() == ["one", "two", "three"]


@needs_fluent_bit
def test_fluent_bit_follows_a_file_that_ray_rotates(sidecar: Sidecar) -> None:
    file = sidecar.new_file("first 0\n")
    sidecar.start()
    wait_until(lambda: sidecar.logged() == ["first 0"], "the first line is printed")
    with file.open("a") as out:
        for number in range(1, 500):
            out.write(f"first {number}\n")
            out.flush()
            if number == 250:
                file.rename(f"{file}.1")
    file.write_text("".join(f"second {number}\n" for number in range(500)))
    wait_until(lambda: len(sidecar.logged()) >= 1000, "both files are read")
    assert sidecar.stop() == ""
    expected = [f"{name} {number}" for name in ("first", "second") for number in range(500)]
    assert sorted(sidecar.logged()) == sorted(expected)


@needs_fluent_bit
def test_fluent_bit_reads_on_behind_a_line_that_is_too_long(sidecar: Sidecar) -> None:
    sidecar.new_file(f"{'x' * 900_000}\n{'y' * 3_000_000}\nnext\n")
    sidecar.start()
    wait_until(lambda: "next" in sidecar.logged(), "the line behind is printed")
    sidecar.stop()
    assert [len(line) for line in sidecar.logged() if line.startswith("x")] == [900_000]
