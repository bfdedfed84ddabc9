"""`vgim data merge`, `split` and `subset`, and the commands that read what they made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vgim
from tests.training.cases import assert_same, last_checkpoint
from vgim.cli import main
from vgim.config import ResolvedConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_lengths
from vgim.storage import Location

Maker = Callable[..., ResolvedConfig]


def run_vgim(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def succeed(*args: str | Path) -> Result:
    result = run_vgim(*args)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def halves(tiny_shards: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The utterances of the embedded corpus in two folders, each with its own splits."""
    names = [
        name
        for split in ("train", "validation", "test")
        for name in read_lengths(Location(tiny_shards), split)
    ]
    for half in (0, 1):
        (tmp_path / f"{half}.txt").write_text("\n".join(sorted(names)[half::2]))
        succeed(
            *("data", "split", tiny_shards, "--out", tmp_path / f"all-{half}"),
            *("--train-list", tmp_path / f"{half}.txt", "--validation-fraction", "0"),
        )
        succeed("data", "split", tmp_path / f"all-{half}", "--out", tmp_path / f"half-{half}")
    return tmp_path / "half-0", tmp_path / "half-1"


def test_joined_shards_train_probe_and_verify_and_the_order_of_the_folders_changes_no_weight(
    halves: tuple[Path, Path], tmp_path: Path, tiny_config: Maker
) -> None:
    one, other = halves
    refused = run_vgim("data", "merge", one, other, "--out", tmp_path / "ab")
    assert refused.exit_code == 3
    assert "add --same-speakers if they are the same persons" in refused.stderr
    made = succeed("data", "merge", one, other, "--out", tmp_path / "ab", "--same-speakers")
    assert f"made by `vgim data merge` of {one}, {other}" in made.stdout
    succeed("data", "merge", other, one, "--out", tmp_path / "ba", "--same-speakers")
    told = succeed("data", "info", tmp_path / "ab", "--verify", "--phones")
    assert "48 of 48 utterances with labels" in told.stdout
    assert len(vgim.open_shards(tmp_path / "ab", "train")[0]["phones"]) > 0

    settings = ["train.epochs=2", "data.normalize=corpus"]
    straight = tiny_config(*settings, f"data.shards={tmp_path / 'ab'}", "storage.name=straight")
    vgim.train(straight)
    for shards, epochs in (("ab", 1), ("ba", 2)):  # continued on shards that were joined the other way round
        part = [
            *settings,
            f"train.epochs={epochs}",
            f"data.shards={tmp_path / shards}",
            "storage.name=continued",
        ]
        run = vgim.train(tiny_config(*part))
    assert run.step == last_checkpoint(straight.config).state.step
    continued = tiny_config(*part)
    assert_same(last_checkpoint(straight.config).weights(), last_checkpoint(continued.config).weights())
    [result] = vgim.probe(run, task="phone", max_utterances=20)
    assert result.data_fingerprint == read_manifest(tmp_path / "ab").fingerprint
    [elsewhere] = vgim.probe(run, task="speaker", shards=str(one))
    assert elsewhere.test_utterances_seen == 0  # the joined train split has none of the half's test split


def test_some_hours_train_and_other_shards_are_refused_by_the_run(
    tiny_shards: Path, tmp_path: Path, tiny_config: Maker
) -> None:
    hours = read_manifest(tiny_shards).splits["train"].hours / 2
    arguments = ("data", "subset", tiny_shards, "--out", tmp_path / "few", "--max-hours", f"{hours:.6f}")
    made = succeed(*arguments, "--only", "train")
    assert "left out by --max-hours: " in made.stdout
    assert "nothing to do" in succeed(*arguments, "--only", "train").stderr
    record = json.loads(succeed("data", "info", tmp_path / "few", "--json").stdout)
    assert record["options"]["max_hours_of"] == "train"
    assert record["origin"]["sources"][0]["fingerprint"] == read_manifest(tiny_shards).fingerprint
    vgim.train(tiny_config("train.max_steps=2", f"data.shards={tmp_path / 'few'}"))
    with pytest.raises(vgim.errors.VgimError, match="give the shards it was started on"):
        vgim.train(tiny_config("train.max_steps=4"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge", "SHARDS"], "there is one shard folder, and nothing to join it with"),
        (["merge", "SHARDS", "SHARDS"], "is given twice"),
        (["subset", "SHARDS", "--max-hours", "1000"], "give fewer"),
        (["subset", "SHARDS", "--max-hours", "nan"], "nan"),
        (["subset", "SHARDS", "--max-hours", "0.001", "--only", "dev"], "dev"),
        (["split", "SHARDS", "--train-list", "absent.txt"], "there is no split list"),
        (["split", "absent"], "there is no shard folder"),
    ],
)
def test_a_mistake_is_one_line(tiny_shards: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    words = [str(tiny_shards) if word == "SHARDS" else word for word in arguments]
    result = run_vgim("data", *words, "--out", tmp_path / "out")
    assert result.exit_code in (2, 3)
    assert message in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
