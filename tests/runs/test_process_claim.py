"""The claim of a folder of several runs by a process."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from vgim.runs.process_claim import claiming_process, write_claim
from vgim.storage import Location


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": 1}', '{"host": "h", "pid": "x"}'])
def test_a_claim_that_does_not_read_is_of_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "claim.json").write_text(text)
    assert claiming_process(Location(tmp_path / "claim.json")) is None


def test_another_live_process_is_named_and_ones_own_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Location(tmp_path / "claim.json")
    assert claiming_process(claim) is None
    monkeypatch.setattr("vgim.runs.process_claim.process_is_alive", lambda host, pid: True)
    write_claim(claim)
    assert claiming_process(claim) is None
    other = os.getpid() + 1
    claim.write_bytes_atomic(json.dumps({"host": socket.gethostname(), "pid": other}).encode())
    assert claiming_process(claim) == other
