"""Which decoder the playground uses, and what is said where there is none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from vgim.errors import CheckpointError, ConfigError
from vgim.serve.choose import choose_decoder
from vgim.storage import Location


def choose(run: Path, name: str | None = None, module: int | None = None) -> tuple[str, list[str]]:
    said: list[str] = []
    return choose_decoder(Location(run), name, module, said.append).name, said


def test_the_only_decoder_is_used(served_run: Path) -> None:
    assert choose(served_run) == ("module1-mse", [])
    assert choose(served_run / "decoder/module1-mse") == ("module1-mse", [])


def test_of_several_the_last_module_is_used_and_said(two_decoders: Path) -> None:
    name, said = choose(two_decoders)
    assert name == "module1-mse"
    assert said == ["decoder module1-mse of 2 (module0-layer1-mse, module1-mse); --decoder names another"]
    assert choose(two_decoders, module=0) == ("module0-layer1-mse", [])
    assert choose(two_decoders, "module0-layer1-mse") == ("module0-layer1-mse", [])


def test_without_a_decoder_the_command_that_trains_one_is_told(served_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(served_run, tmp_path / "run", ignore=shutil.ignore_patterns("decoder")))
    with pytest.raises(CheckpointError, match=f"train one: vgim decode train {re.escape(str(run))} "):
        choose(run)
    with pytest.raises(CheckpointError, match=r"module 2 \(there are: module1-mse\).* --module 2"):
        choose(served_run, module=2)


def test_a_decoder_that_is_not_there_or_decodes_another_module_is_refused(served_run: Path) -> None:
    with pytest.raises(ConfigError, match="no trained decoder nope; it has module1-mse"):
        choose(served_run, "nope")
    with pytest.raises(ConfigError, match="--module 0, but module1-mse decodes module 1; leave one out"):
        choose(served_run, "module1-mse", 0)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run"):
        choose(tmp_path / "nothing")
