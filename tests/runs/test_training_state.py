"""The state of a checkpoint, `state.json`: what is refused, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runs.checkpoint_cases import save_some
from vgim.errors import CheckpointError
from vgim.runs.checkpoint import (
    checkpoint_location,
    find_checkpoint,
)
from vgim.sealed_json import checksum_of, dump_sealed
from vgim.storage import Location


def written_as(state: dict[str, Any], *, sealed: bool) -> bytes:
    return dump_sealed(state) if sealed else json.dumps(state).encode()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("change", [{"schema_version": 3}, {"left_over": 1}, {"step": "many"}])
def test_a_state_of_another_version_or_with_leftovers_is_refused(
    tmp_path: Path, change: dict[str, Any], sealed: bool
) -> None:
    save_some(Location(tmp_path), {5: None})
    path = checkpoint_location(Location(tmp_path), 5).child("state.json").local_path
    good = json.loads(path.read_text())
    del good["checksum"]
    path.write_bytes(written_as({**good, "schema_version": 1, **change}, sealed=sealed))
    told = "was written by another version" if sealed or "schema_version" in change else "is damaged"
    with pytest.raises(CheckpointError, match=rf"state.json {told}.*{next(iter(change))}") as e:
        find_checkpoint(str(tmp_path))
    assert "\n" not in str(e.value)


def test_a_state_without_a_checksum_is_read_only_if_an_older_version_wrote_it(tmp_path: Path) -> None:
    save_some(Location(tmp_path), {5: None})
    path = checkpoint_location(Location(tmp_path), 5).child("state.json").local_path
    content = json.loads(path.read_text())
    assert content.pop("checksum") == checksum_of(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"state\.json is damaged: it has no checksum"):
        find_checkpoint(str(tmp_path))
    path.write_text(json.dumps({**content, "schema_version": 1}))
    assert find_checkpoint(str(tmp_path)).state.step == 5


def changed_digit(data: bytes) -> bytes:
    return data.replace(b'"step_in_epoch": 5', b'"step_in_epoch": 6')


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (changed_digit, "its checksum is not that of its content"),
        (lambda data: data[:-20], "it is no JSON"),
        (lambda data: b"", "it is empty"),
        (lambda data: b"\xff" + data, "it is no JSON"),
        (lambda data: b"[" * 100_000, "it is no JSON"),
        (lambda data: b"9" * 10_000, "it is no JSON"),
        (lambda data: b"[]", "it is no JSON object"),
    ],
)
def test_a_damaged_state_is_told_in_a_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    save_some(Location(tmp_path), {4: None, 5: None})
    path = checkpoint_location(Location(tmp_path), 5).child("state.json").local_path
    path.write_bytes(damage(path.read_bytes()))
    for where in (tmp_path, path.parent):
        with pytest.raises(CheckpointError) as e:
            find_checkpoint(where)
        assert str(e.value) == (
            f"{path} is damaged: {told}; use {tmp_path}/checkpoints/step-00000004, the newest of the run's other "
            "checkpoints that are whole"
        )


def test_a_checkpoint_in_the_folder_of_another_step_is_damaged(tmp_path: Path) -> None:
    save_some(Location(tmp_path), {999: None})
    (tmp_path / "checkpoints/step-00000999").rename(tmp_path / "checkpoints/step-00000030")
    with pytest.raises(CheckpointError, match=r"it is of step 999, in the folder of step 30"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoints/step-00000030").rename(tmp_path / "copy")
    assert find_checkpoint(tmp_path / "copy").state.step == 999  # any other name is the user's


@pytest.mark.parametrize("name", ["../../../escaped.txt", "/tmp/escaped.txt", "state.json", "notes.txt"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_state_that_names_other_files_is_refused(tmp_path: Path, name: str, sealed: bool) -> None:
    save_some(Location(tmp_path), {5: None})
    path = checkpoint_location(Location(tmp_path), 5).child("state.json").local_path
    content = json.loads(path.read_text())
    del content["checksum"]
    content["files"][name] = content["files"]["config.yaml"]
    path.write_bytes(written_as({**content, "schema_version": 1}, sealed=sealed))
    with pytest.raises(CheckpointError, match=rf"files: .*'{name}' is no file of a checkpoint"):
        find_checkpoint(tmp_path).contents()
