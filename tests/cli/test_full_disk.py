"""Commands on a disk that is full or read-only: exit code 5, and one line that names the file."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.faulty_storage import Faults, faulty_storage
from vgim.cli import main
from vgim.runs.event_board import strict_board


@pytest.fixture
def run(probed_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(probed_run, tmp_path / "run"))


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        yield


COMMANDS = {
    "report": (["report", "{run}"], "{run}/report.html"),
    "probe": (["probe", "{run}", "--task", "speaker", "--device", "cpu"], "{run}/probes/"),
    "latents": (["latents", "{run}", "--only", "distribution", "--split", "train"], "{run}/latents/"),
    "export": (["export-reference", "{run}", "--out", "{tmp}/x.ckpt"], "{tmp}/x.ckpt"),
}


@pytest.mark.usefixtures("unwritable")
@pytest.mark.parametrize("name", COMMANDS)
def test_results_on_a_full_disk_end_in_a_line(run: Path, tmp_path: Path, name: str) -> None:
    words, file = COMMANDS[name]
    result = CliRunner().invoke(main, [word.format(run=run, tmp=tmp_path) for word in words])
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert result.exit_code == 5, result.output
    assert line.startswith(f"error: cannot write {file.format(run=run, tmp=tmp_path)}")
    assert "no space left on the device; free some space" in line
    assert not list(tmp_path.rglob("*.tmp-*"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_preparing_on_a_full_or_read_only_disk_ends_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "shards"
    synth = ["data", "synth", "--out", str(corpus), "--speakers", "2", "--utterances", "4"]
    prepare = ["data", "prepare", "librispeech", "--corpus", str(corpus), "--out", str(out), "--workers", "0"]

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        result = CliRunner().invoke(main, synth)
        assert result.exit_code == 5, result.output
        assert f"error: cannot write {corpus}: " in result.output
        assert not corpus.exists()
    assert CliRunner().invoke(main, synth).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        result = CliRunner().invoke(main, prepare)
    assert result.exit_code == 5, result.output
    assert f"error: cannot write {out}/" in result.output
    assert "Traceback" not in result.output
    assert CliRunner().invoke(main, prepare).exit_code == 0


def test_storage_that_stops_to_answer_while_shards_are_prepared_skips_no_file(tmp_path: Path) -> None:
    with faulty_storage(tmp_path / "store", Faults()) as faults:
        synth = ["data", "synth", "--out", "faulty://s/corpus", "--speakers", "2", "--utterances", "4"]
        assert CliRunner().invoke(main, synth).exit_code == 0
        faults.permanent["read"] = lambda: TimeoutError(errno.ETIMEDOUT, "Connection timed out")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vgim.storage.retry.LIMIT_S", 0.0)
            patch.setattr("vgim.storage.retry.FIRST_CONTACT_LIMIT_S", 0.0)
            result = CliRunner().invoke(
                main,
                [
                    *("data", "prepare", "librispeech", "--corpus", "faulty://s/corpus"),
                    *("--out", str(tmp_path / "shards"), "--workers", "0"),
                ],
            )
    assert result.exit_code == 5, result.output
    assert "error: cannot read faulty://s/corpus" in result.output


def test_a_full_folder_of_temporary_files_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    result = CliRunner().invoke(main, ["probe", str(run), "--task", "speaker", "--device", "cpu"])
    assert result.exit_code == 5, result.output
    assert f"error: cannot make a folder in {tempfile.gettempdir()}: no space left" in result.output


def test_events_of_a_result_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    from vgim.errors import StorageError

    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"events cannot be written to .*; free some space"):
        strict_board(tmp_path / "file")
