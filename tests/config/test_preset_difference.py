"""`vgim config diff`: which keys of two presets or runs differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.config.conftest import WritePreset
from vgim.cli import main
from vgim.config import load_config, to_yaml
from vgim.config.preset_difference import preset_difference
from vgim.errors import ConfigError


def test_differing_keys_stand_in_the_schemas_order_with_both_values(write_preset: WritePreset) -> None:
    write_preset("one", "data: {shards: /s}\ntrain: {epochs: 7}\nmodel: {channels: 8}\n")
    write_preset("two", "data: {shards: /s, synthetic: {speakers: 3}}\ntrain: {epochs: 9}\n")
    found = preset_difference("one", "configs/two.yaml")
    assert found.keys == {
        "data.synthetic": (None, {"speakers": 3, "utterances": 360, "seed": 0}),
        "model.channels": (8, 512),
        "train.epochs": (7, 9),
    }
    header, *rows = found.as_text().splitlines()
    assert header.split() == ["key", "one", "configs/two.yaml"]
    assert [row.split()[0] for row in rows] == list(found.keys)
    assert rows[1].split() == ["model.channels", "8", "512"]


def test_names_count_only_where_one_is_set(write_preset: WritePreset) -> None:
    write_preset("one", "data: {shards: /s}\n")
    write_preset("two", "extends: one\n")
    write_preset("named", "extends: one\nstorage: {name: mine}\n")
    assert preset_difference("one", "two").as_text() == "one and two have the same values"
    assert preset_difference("one", "named").keys == {"storage.name": ("one", "mine")}


def test_overrides_apply_to_both_and_runs_are_read_by_their_folder(
    write_preset: WritePreset, tmp_path: Path
) -> None:
    write_preset("one", "data: {shards: /s}\nstorage: {name: run}\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(
        to_yaml(load_config("one", ["model.channels=16", "train.epochs=3"]).config)
    )
    assert preset_difference("one", str(run)).keys == {"model.channels": (512, 16), "train.epochs": (1000, 3)}
    assert preset_difference("one", "run", ["model.channels=32"]).keys == {"train.epochs": (1000, 3)}


def test_runs_are_found_by_name_under_the_home_and_presets_before_them(
    write_preset: WritePreset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGIM_HOME", str(tmp_path / "home"))
    write_preset("one", "data: {shards: /s}\nstorage: {name: run}\n")
    for name in ("first", "one"):
        run = tmp_path / "home" / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(to_yaml(load_config("one", ["model.channels=16"]).config))
    assert preset_difference("one", "first").keys == {"model.channels": (512, 16)}
    assert preset_difference("first", "$VGIM_HOME/runs/one").keys == {}
    with pytest.raises(ConfigError) as caught:
        preset_difference("one", "nowhere")
    message = str(caught.value)
    assert message.startswith("no preset or run is called 'nowhere'; ")
    assert "known presets: one, " in message
    assert message.endswith(f"runs in {tmp_path}/home/runs: first, one")


def test_the_command_prints_a_table_or_json_and_succeeds() -> None:
    args = ["config", "diff", "artificial-gim", "published-artificial-gim"]
    table = CliRunner().invoke(main, args)
    assert table.exit_code == 0, table.stderr
    assert [line.split() for line in table.stdout.splitlines() if "head" in line] == [
        ["model.head", "none", "linear"]
    ]
    record = json.loads(CliRunner().invoke(main, [*args, "--json"]).stdout)
    assert record["presets"] == args[2:]
    assert record["differences"]["objective.predictor_init"] == ["zero", "uniform"]
    assert "storage.name" not in record["differences"]
