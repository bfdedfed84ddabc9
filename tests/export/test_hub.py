"""Encoders pushed to a stand-in of the hub and pulled from it, through huggingface_hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import vgim
from tests.export.cases import FAMILIES, make_run
from tests.export.hub_server import TOKEN, Hub, hub_server
from vgim.errors import CheckpointError, ConfigError, StorageError
from vgim.export.job import export_run

pytest.importorskip("huggingface_hub")
FILES = ["README.md", "config.json", "model.safetensors", "vgim_encoder.py"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_run(tmp_path_factory.mktemp("hub"), "gim", *FAMILIES["gim"]))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose owner this process is, with a cache of its own."""
    from huggingface_hub import constants

    with hub_server() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def audio() -> torch.Tensor:
    return torch.randn(2, 3_000, generator=torch.Generator().manual_seed(0)) * 0.1


def test_what_is_pushed_is_pulled(hub: Hub, run: str) -> None:
    made = export_run(run, "hub", repo="ada/vgim-gim")
    repository = hub.repositories["ada/vgim-gim"]
    assert made.where == f"hf://ada/vgim-gim@{repository.newest}"
    assert sorted(repository.commits[repository.newest]) == FILES
    card = repository.commits[repository.newest]["README.md"].decode()
    assert 'vgim.load_encoder("hf://ada/vgim-gim")' in card
    for where in ("hf://ada/vgim-gim", made.where):
        loaded = vgim.load_encoder(where)
        assert torch.equal(loaded(audio()), vgim.load_encoder(run)(audio()))
    asked = len([request for request in hub.requests if "model.safetensors" in request])
    vgim.load_encoder("hf://ada/vgim-gim")  # from the cache
    assert len([request for request in hub.requests if "model.safetensors" in request]) == asked


def test_a_repository_with_files_is_left_alone_unless_asked(hub: Hub, run: str) -> None:
    export_run(run, "hub", repo="ada/one", private=True)
    assert hub.repositories["ada/one"].private
    before = hub.repositories["ada/one"].newest
    with pytest.raises(StorageError, match=r"hf://ada/one has 4 files already, such as README.md; give"):
        export_run(run, "hub", repo="ada/one")
    assert hub.repositories["ada/one"].newest == before
    export_run(run, "hub", repo="ada/one", license_id="mit", overwrite=True)
    assert hub.repositories["ada/one"].newest != before


def test_faults_are_one_line_without_the_token(hub: Hub, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(call: object, *arguments: object, **options: object) -> str:
        with pytest.raises((StorageError, ConfigError, CheckpointError)) as raised:
            call(*arguments, **options)  # type: ignore[operator]
        assert TOKEN not in str(raised.value)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "cannot download hf://ada/none: " in message(vgim.load_encoder, "hf://ada/none")
    assert "names no repository; give OWNER/NAME" in message(vgim.load_encoder, "hf://ada")
    assert "names no repository" in message(export_run, run, "hub", repo="a/b/c")
    hub.fail_commits = True
    assert "cannot upload to hf://ada/full: " in message(export_run, run, "hub", repo="ada/full")
    assert list(hub.repositories["ada/full"].commits.values()) == [{}]
    assert "holds no encoder that" in message(vgim.load_encoder, "hf://ada/full")
    hub.fail_commits = False
    monkeypatch.setenv("HF_TOKEN", "hf_ofanother")
    told = message(export_run, run, "hub", repo="ada/mine")
    assert "check the name, and that HF_TOKEN" in told
    assert "hf_ofanother" not in told


def test_a_hub_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StorageError, match=r"cannot download hf://ada/one: .*check HF_ENDPOINT"):
        vgim.load_encoder("hf://ada/one")


@pytest.mark.slow  # starts a process
def test_the_command_reads_the_address_and_the_token_from_the_environment(run: str, tmp_path: Path) -> None:
    code = (
        "import sys, vgim; from vgim.cli import main\n"
        "status = main(sys.argv[1:], standalone_mode=False)\n"
        "print(vgim.load_encoder('hf://ada/cli').checkpoint.state.step)"
    )
    with hub_server() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
        }
        done = subprocess.run(
            [sys.executable, "-c", code, "export", run, "--to", "hub", "--repo", "ada/cli"],
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "wrote hf://ada/cli@" in done.stdout
    assert done.stdout.splitlines()[-1] == "7"
    assert TOKEN not in done.stdout + done.stderr
