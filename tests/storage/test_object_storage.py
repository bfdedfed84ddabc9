"""Arrow's client on an S3 server that fails: everything succeeds, or ends in one line that names the object."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.claims import holder
from tests.object_storage import SECRET, Bucket
from vgim.errors import StorageError
from vgim.storage import Location, filesystems, retry

PART_BYTES = 10 << 20
"""Less than this is put by one request, and more in parts."""


def tree_of(folder: Location) -> dict[str, bytes]:
    return {name: folder.child(name).read_bytes() for name, _ in folder.list_files()}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_every_operation_on_a_server_that_fails_often_ends_as_on_a_sound_one(
    bucket: Bucket, tmp_path: Path, seed: int
) -> None:
    content = {f"d{i % 3}/f{i}": random.Random(i).randbytes(i * 1000) for i in range(6)}
    content["d0/large"] = random.Random(9).randbytes(PART_BYTES + 2_000_000)
    root = Location(bucket.uri)
    bucket.server.set_faults(rate=0.2, longest_delay_s=0.02, seed=seed)
    for name, data in content.items():
        root.child("a", name).write_bytes_atomic(data)
    assert tree_of(root.child("a")) == content
    with root.child("a/d0/large").open_input() as file:
        file.seek(1_000)
        assert file.read(PART_BYTES) == content["d0/large"][1_000 : 1_000 + PART_BYTES]
    root.child("a").move(root.child("b"))
    assert not root.child("a").exists()
    root.child("b").download_to(tmp_path / "here")
    root.child("c").upload_dir(tmp_path / "here")
    root.child("b").delete()
    assert root.list() == ["c"]
    assert tree_of(root.child("c")) == content
    assert sum(bucket.server.state().met.values()) > 15


@pytest.mark.parametrize("kind", ["busy after", "reset after", "cut"])
def test_the_end_of_a_large_put_whose_answer_is_lost_is_no_failure(bucket: Bucket, kind: str) -> None:
    data, file = random.Random(0).randbytes(PART_BYTES + 5), Location(f"{bucket.uri}/large")
    bucket.server.set_faults(
        method="POST", planned=("", kind, "", kind)
    )  # POST begins and ends a put in parts
    file.write_bytes_atomic(data)
    assert file.read_bytes() == data
    assert bucket.server.state().met == {kind: 2}


def test_an_upload_that_the_server_has_forgotten_is_put_anew(bucket: Bucket) -> None:
    # What some servers answer to the repeated end of a put whose first answer was lost.
    data, file = random.Random(0).randbytes(PART_BYTES + 5), Location(f"{bucket.uri}/large")
    bucket.server.set_faults(method="POST", planned=("", "forgotten"))
    file.write_bytes_atomic(data)
    assert file.read_bytes() == data
    assert bucket.server.state().met == {"forgotten": 1}


def test_a_small_file_is_put_by_one_request(bucket: Bucket) -> None:
    Location(f"{bucket.uri}/a").write_bytes_atomic(b"1")
    assert bucket.server.state().requests == [f"PUT /{bucket.name}/a?"]


def test_a_put_that_is_interrupted_leaves_what_was_there(bucket: Bucket) -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > PART_BYTES:
                raise KeyboardInterrupt
            return super().read(size)

    for file in (Location(f"{bucket.uri}/new"), Location(f"{bucket.uri}/old")):
        if file.name == "old":
            file.write_bytes_atomic(b"before")
        with pytest.raises(KeyboardInterrupt):
            file.put(Interrupted(bytes(3 * PART_BYTES)))
    assert bucket.objects() == {"old": 6}


def test_an_outage_ends_in_one_line_that_names_the_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Location(f"{bucket.uri}/runs/a")
    file.write_bytes_atomic(b"1")
    monkeypatch.setattr(retry, "LIMIT_S", 0.1)
    bucket.server.set_faults(rate=1.0, kinds=("busy", "reset"))
    with pytest.raises(
        StorageError, match=rf"^cannot read {file.uri}: the storage does not answer .*attempts"
    ) as e:
        file.read_bytes()
    assert "\n" not in str(e.value)
    bucket.server.set_faults()
    assert file.read_bytes() == b"1"


@pytest.mark.parametrize("wrong", ["another-key", None])
def test_credentials_come_from_the_environment_alone(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, wrong: str | None
) -> None:
    if wrong:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", wrong)
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StorageError, match=r"access denied .*check that the credentials") as caught:
        Location(f"{bucket.uri}/x").read_bytes()
    assert SECRET not in str(caught.value)


def test_an_endpoint_in_the_uri_needs_none_in_the_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = bucket.server.url.removeprefix("http://")
    for number, query in enumerate(
        (f"endpoint_override={host}&scheme=http", f"endpoint_override=http://{host}")
    ):
        file = Location(f"{bucket.uri}/{number}?{query}")
        file.write_bytes_atomic(b"1")
        assert file.read_bytes() == b"1"
    assert bucket.objects() == {"0": 1, "1": 1}


def test_of_processes_that_claim_a_folder_at_once_one_holds_it(bucket: Bucket) -> None:
    bucket.server.set_faults(rate=0.1, longest_delay_s=0.1)
    command = [sys.executable, holder.__file__, "race", f"{bucket.uri}/run", "3"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as race:
        assert race.stdout is not None
        results = [race.stdout.readline().split(" ", 1)[1].strip() for _ in range(3)]
        race.communicate("")  # the winner lives until here
    assert results.count("held") == 1
    assert sum("is training the run" in line for line in results) == 2


def test_clients_repeat_a_request_themselves_before_vgim_does(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "ATTEMPTS_PER_REQUEST", 3)
    bucket.server.set_faults(planned=("reset", "busy"))
    Location(f"{bucket.uri}/a").write_bytes_atomic(b"1")
    assert len(bucket.server.state().requests) == 3
