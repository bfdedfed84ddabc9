"""Passwords and keys in URIs: refused where a location is given, and in no error, record or listing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.config import ResolvedConfig, load_config
from vgim.config.load import from_yaml
from vgim.errors import ConfigError, StorageError, VgimError
from vgim.runs.folder import RunFolder
from vgim.secrets import has_secret, mask_secrets, without_secrets
from vgim.storage import Location, retry, storage_errors
from vgim.text import shorten

SECRET = "wJalrXUtnFEMI"
URIS = [
    f"s3://AKIAIOSFODNN7:{SECRET}@bucket/runs",
    f"s3://AKIAIOSFODNN7:{SECRET}/K7MDENG+b@bucket/runs",
    f"s3://AKIAIOSFODNN7:{SECRET}%2FK7MDENG@bucket:9000/runs?region=eu",
    f"gs://:{SECRET}@bucket",
    f"abfss://account:{SECRET}@container.dfs.core.windows.net/x",
    f"hdfs://me:{SECRET}@host:8020/x",
    f"s3://bucket/x?access_key={SECRET}&region=eu",
    f"s3://bucket/x?region=eu&secret_key={SECRET}",
    f"s3://bucket/x?session_token={SECRET}",
    f"abfs://c@account/x?account_key={SECRET}",
    f"abfs://c@account/x?sas={SECRET}",
    f"abfs://c@account/x?sas_token={SECRET}",
    f"s3://bucket/x?endpoint_override=http://me:{SECRET}@host:9000",
    f"s3://bucket/x?endpoint_override=me:{SECRET}@host:9000&scheme=http",
    f"s3://bucket/x?endpoint_override=http%3A%2F%2Fme%3A{SECRET}%40host",
    f"s3://bucket/x?access%5Fkey={SECRET}",
    f"s3://me%3A{SECRET}@bucket/x",
    f"https://bucket/x?X-Amz-Signature={SECRET}&X-Amz-Date=1",
]
HARMLESS = [
    "s3://bucket/runs?region=eu-west-1&endpoint_override=localhost:9000&scheme=http",
    "s3://bucket/runs?endpoint_override=http://localhost:9000",
    "s3://bucket/100%25/a%40b:c%3Ad@e",
    "gs://anonymous@bucket/x",
    "abfss://container@account.dfs.core.windows.net/x",
    "hdfs://namenode:8020/user@home/x",
    "hdfs://me@namenode:8020/x",
    "mock://store/a:b@c",
    "/data/mail:me@home",
    "https://example.org/a?page=2",
    "see s3://bucket/x: it is full; mail me@example.org",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_location_with_a_secret_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID") as caught:
        Location(uri)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    if "%3A" not in uri and "%5F" not in uri:  # which are refused before anything else can quote them
        assert SECRET not in mask_secrets(f"cannot read {uri}: {uri} is not there; see '{uri}'")
        assert SECRET not in shorten(f"storage.root={uri}")
    assert not has_secret(without_secrets(uri))
    assert "***" not in without_secrets(uri)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_left_alone(text: str) -> None:
    assert mask_secrets(text) == text
    assert without_secrets(text) == text
    assert not has_secret(text)


def test_what_is_left_of_a_uri_names_the_same_place() -> None:
    assert without_secrets(URIS[0]) == "s3://bucket/runs"
    assert without_secrets(URIS[2]) == "s3://bucket:9000/runs?region=eu"
    assert without_secrets(URIS[6]) == "s3://bucket/x?region=eu"


def test_errors_mask_secrets_wherever_they_come_from() -> None:
    assert str(VgimError(f"{URIS[0]} is bad")) == "s3://***@bucket/runs is bad"
    with pytest.raises(StorageError) as caught, storage_errors("open", "s3://bucket"):
        raise OSError(f"Cannot parse URI: '{URIS[0]}'")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["storage.root", "data.shards"])
def test_configs_with_a_secret_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}=s3://\*\*\*@bucket/runs holds a password") as caught:
        load_config("quickstart", [f"{key}={URIS[0]}"])
    assert SECRET not in str(caught.value)
    section, name = key.split(".")
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"extends: quickstart\n{section}:\n  {name}: {URIS[0]}\n")
    with pytest.raises(ConfigError, match="holds a password"):
        load_config(str(preset))
    monkeypatch.setenv("BUCKET", URIS[0])
    with pytest.raises(ConfigError, match="holds a password"):
        load_config("quickstart", [f"{key}=$BUCKET"])
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [f"train.epochs={URIS[0]}"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["data", "info", URIS[0]],
        ["runs", URIS[0]],
        ["train", "quickstart", f"storage.root={URIS[0]}"],
        ["train", "quickstart", "--resume-from", URIS[0]],
        ["probe", URIS[0], "--task", "phone"],
        ["report", URIS[0]],
        ["config", "show", "quickstart", f"data.shards={URIS[0]}"],
    ],
)
def test_commands_refuse_a_secret_in_a_line(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert "holds a password or key" in result.output
    assert len(result.output.splitlines()) == 1
    assert SECRET not in result.output


def test_runs_of_earlier_versions_are_read_without_their_secrets(
    probed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody answers, and that is waited for
    monkeypatch.setattr(retry, "FIRST_CONTACT_LIMIT_S", 0.0)
    run = tmp_path / "run"
    shutil.copytree(probed_run, run)
    record = json.loads((run / "run.json").read_text())
    record |= {"data": URIS[0], "command": ["vgim", "train", f"data.shards={URIS[0]}"], "message": URIS[0]}
    (run / "run.json").write_text(json.dumps(record))
    config = (run / "config.yaml").read_text()
    shards = next(line for line in config.splitlines() if line.strip().startswith("shards:"))
    config = config.replace(shards, f"  shards: {URIS[0]}")
    (run / "config.yaml").write_text(config)
    assert from_yaml(config).data.shards == "s3://bucket/runs"
    assert SECRET not in repr(RunFolder(Location(run)).record())
    for words in (["runs", str(tmp_path)], ["runs", str(tmp_path), "--json"], ["compare", str(run)]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output


def test_a_run_records_no_secret_of_its_command_line(
    tiny_config: Callable[..., ResolvedConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["vgim", "train", "--resume-from", URIS[0]])
    resolved = tiny_config()
    folder = RunFolder(Location(resolved.config.storage.root).child("run"))
    folder.claim(resolved.config, "fingerprint")
    assert SECRET not in folder.location.child("run.json").read_text()
