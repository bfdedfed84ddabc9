"""Remote storage that fails for the moment: operations are repeated, and end whole or in one line."""

from __future__ import annotations

import errno
import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faulty_storage import TRANSIENT, Faults, faulty_storage
from vgim.errors import StorageError
from vgim.storage import Location, retry
from vgim.storage.causes import is_transient, reason_and_fix

STORE = Location("faulty://store")


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    with faulty_storage(tmp_path, Faults()) as faults:
        yield faults


def tree_of(folder: Location) -> dict[str, bytes]:
    return {name: folder.child(name).read_bytes() for name, _ in folder.list_files()}


@pytest.mark.parametrize("seed", range(3))
def test_every_operation_on_storage_that_fails_often_ends_as_on_a_sound_one(
    tmp_path: Path, seed: int
) -> None:
    content = {f"d{i % 3}/f{i}": random.Random(i).randbytes(i * 1000) for i in range(12)}
    with faulty_storage(tmp_path, Faults(error_rate=0.2, short_reads=0.2, seed=seed)) as faults:
        for name, data in content.items():
            STORE.child("a", name).write_bytes_atomic(data)
        assert tree_of(STORE.child("a")) == content
        STORE.child("a").move(STORE.child("b"))
        assert not STORE.child("a").exists()
        STORE.child("b").download_to(tmp_path / "here")
        STORE.child("c").upload_dir(tmp_path / "here")
        STORE.child("b").delete()
        assert STORE.list() == ["c"]
        assert tree_of(STORE.child("c")) == content
        with STORE.child("s").atomic_output() as out:
            out.write(b"spooled")
        assert STORE.child("s").size() == 7
        assert faults.raised.total() > 5  # of some hundred calls


def test_parquet_is_read_whole_from_storage_that_loses_connections(faults: Faults) -> None:
    table = pa.table({"x": list(range(5_000)), "text": [f"{i}" * 9 for i in range(5_000)]})
    with STORE.child("t.parquet").atomic_output() as out:
        pq.write_table(table, out, row_group_size=250)
    faults.rates = {"read": 0.6, "open_input": 0.3}
    faults.short_reads = 0.2
    file = pq.ParquetFile(STORE.child("t.parquet").open_input(), pre_buffer=True)
    assert pa.concat_tables(file.read_row_group(i) for i in range(20)) == table
    assert faults.raised["read"]
    with STORE.child("t.parquet").open_input() as stream:
        digest = hashlib.file_digest(stream, "sha256")
    faults.rates = {}
    assert digest.digest() == hashlib.sha256(STORE.child("t.parquet").read_bytes()).digest()


def test_a_read_that_storage_refuses_inside_a_parquet_reader_is_one_storage_error(faults: Faults) -> None:
    with STORE.child("t.parquet").atomic_output() as out:
        pq.write_table(pa.table({"x": [1, 2]}), out)
    file = pq.ParquetFile(STORE.child("t.parquet").open_input(), pre_buffer=True)
    faults.permanent["read"] = lambda: OSError(
        "AWS Error ACCESS_DENIED during GetObject operation: Access Denied"
    )
    with pytest.raises(StorageError, match=r"cannot read faulty://store/t\.parquet: access denied"):
        file.read_row_group(0)


def test_each_attempt_is_logged_and_their_number_is_in_the_error(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults.outage = 3
    with caplog.at_level(logging.WARNING):
        STORE.child("x").write_bytes_atomic(b"1")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "cannot write faulty://store/x" in lines[0]
    assert "attempt 2 follows in 0.0 s" in lines[0]
    assert "attempt 4 follows" in lines[2]
    monkeypatch.setattr(retry, "LIMIT_S", 0.05)
    faults.outage = 10**6
    with pytest.raises(StorageError, match=r"cannot read faulty://store/x: .*, \d+ attempts in 0 s; check"):
        STORE.child("x").read_bytes()


def test_storage_that_never_answered_is_given_up_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_LIMIT_S", 0.0)
    with faulty_storage(tmp_path, Faults(outage=1)), pytest.raises(StorageError, match="does not answer"):
        Location("faulty://never-seen/x").exists()
    assert Location("mock://never-asked/x").filesystem is not None  # opened without asking anybody
    assert not {"faulty://never-seen", "mock://never-asked"} & retry._answered


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (lambda: OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (lambda: PermissionError(errno.EACCES, "google::cloud::Status(PERMISSION_DENIED: no)"), "access den"),
        (
            lambda: OSError("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: no"),
            "there is no such bucket",
        ),
        (
            lambda: OSError("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response"),
            "No response",
        ),
        (lambda: pa.ArrowInvalid("Cannot parse URI"), "Cannot parse URI"),
        (lambda: pa.ArrowNotImplementedError("no such operation"), "no such operation"),
    ],
)
def test_permanent_errors_are_not_tried_again(
    faults: Faults, error: Callable[[], Exception], words: str
) -> None:
    faults.permanent["open_output"] = error
    with pytest.raises(StorageError, match=words) as caught:
        STORE.child("x").write_bytes_atomic(b"1")
    assert faults.calls["open_output"] == 1
    assert "\n" not in str(caught.value)


# Texts as pyarrow 26 raises them.
AWS = "When getting information for key 'x' in bucket 'b': AWS Error {} operation: {}"
GOOGLE = "google::cloud::Status({}: Permanent error, with a last message of {} error_info={{reason=x}})"


@pytest.mark.parametrize(
    ("error", "transient", "reason"),
    [
        (OSError(AWS.format("ACCESS_DENIED during HeadObject", "No response body.")), False, "access denied"),
        (
            OSError(AWS.format("INVALID_ACCESS_KEY_ID during ListObjectsV2", "no such id")),
            False,
            "access den",
        ),
        (
            OSError(AWS.format("NO_SUCH_BUCKET during ListObjectsV2", "gone")),
            False,
            "there is no such bucket",
        ),
        (OSError(AWS.format("NO_SUCH_KEY during GetObject", "gone")), False, "there is no such file"),
        (
            OSError(
                AWS.format(
                    "UNKNOWN (HTTP status 400) during ListObjectsV2",
                    "Unable to parse ExceptionName: ExpiredToken Message: The provided token has expired.",
                )
            ),
            False,
            "access denied (Unable to parse ExceptionName: ExpiredToken",
        ),
        (
            OSError(AWS.format("UNKNOWN (HTTP status 429) during ListObjectsV2", "x")),
            True,
            "the storage does",
        ),
        (
            OSError(AWS.format("NETWORK_CONNECTION during HeadObject", "curlCode: 56")),
            True,
            "the storage does",
        ),
        (
            OSError(errno.EACCES, GOOGLE.format("PERMISSION_DENIED", "no access")),
            False,
            "access denied (no ac",
        ),
        (
            OSError(errno.ENOENT, GOOGLE.format("NOT_FOUND", "The specified bucket does not exist.")),
            False,
            "there is no such bucket",
        ),
        (
            OSError("google::cloud::Status(DEADLINE_EXCEEDED: stalled)"),
            True,
            "the storage does not answer as it",
        ),
        (
            OSError(
                "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of Could not create a "
                "OAuth2 access token to authenticate the request. Learn more. The underlying error message was: "
                "PerformWork() - CURL error [6]=Could not resolve hostname error_info={reason=})"
            ),
            True,
            "no credentials for Google Cloud were found (PerformWork() - CURL error [6]",
        ),
        (OSError("List failed. Azure Error: [AuthorizationFailure] 403 no."), False, "access denied (no.)"),
        (OSError("List failed. Azure Error: [ServerBusy] 503 The server is busy."), True, "the storage does"),
        (OSError("something that no one has seen"), True, "the storage does not answer"),
        (pa.ArrowInvalid("Unrecognized filesystem type in URI"), False, "Unrecognized filesystem type"),
    ],
)
def test_what_object_stores_answer_is_understood(error: Exception, transient: bool, reason: str) -> None:
    assert is_transient(error) is transient
    assert reason_and_fix(error, is_remote=True)[0].startswith(reason)


def test_all_faults_of_the_faulty_storage_are_transient() -> None:
    assert all(is_transient(make()) for make in TRANSIENT)
