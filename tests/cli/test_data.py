"""`vgim data` turns a folder of FLAC files into shards and describes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from tests.damage import truncate
from vgim.cli import main

RATE_HZ = 16_000


def vgim(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers with six utterances of two seconds each, and one utterance that is too short."""
    noise = np.random.default_rng(0)
    for speaker in ("11", "12"):
        chapter = tmp_path / "corpus" / "dev" / speaker / "7"
        chapter.mkdir(parents=True)
        names = [f"{speaker}-7-{index:04d}" for index in range(6)]
        for name in names:
            soundfile.write(chapter / f"{name}.flac", noise.uniform(-0.1, 0.1, 2 * RATE_HZ), RATE_HZ)
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(f"{name} NOISE\n" for name in names))
    soundfile.write(chapter / "12-7-0006.flac", np.zeros(RATE_HZ), RATE_HZ)
    return tmp_path / "corpus"


def test_prepare_prints_what_info_prints(corpus: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    prepared = vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", shards, "--workers", "0")
    assert prepared.exit_code == 0, prepared.output
    assert "skipped 1 file (too short: 1)" in prepared.stdout
    assert "12-7-0006" in prepared.stdout
    again = vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", shards, "--workers", "0")
    assert again.stdout == prepared.stdout
    assert "nothing to do" in again.stderr
    told = vgim("data", "info", shards, "--verify")
    assert (told.exit_code, told.stdout) == (0, prepared.stdout)
    record = json.loads(vgim("data", "info", shards, "--json").stdout)
    assert sum(split["utterances"] for split in record["splits"].values()) == 12


def test_every_path_may_name_variables_that_the_shell_left_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("VGIM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HERE", str(tmp_path))
    (tmp_path / "train.txt").write_text("11-7-0001\n12-7-0001\n")
    (tmp_path / "test.txt").write_text("11-7-0000\n12-7-0000\n")
    (tmp_path / "phones.txt").write_text(
        "".join(f"{name.stem} {'0 ' * 200}\n" for name in sorted(corpus.rglob("*.flac")))
    )
    options = [
        "--train-list",
        "$HERE/train.txt",
        "--test-list",
        "${HERE}/test.txt",
        "--validation-fraction",
        "0",
    ]
    options += ["--labels", "$HERE/phones.txt", "--workers", "0"]
    prepared = vgim(
        *(
            "data",
            "prepare",
            "librispeech",
            "--corpus",
            "$HERE/corpus",
            "--out",
            "$VGIM_HOME/shards/x",
            *options,
        )
    )
    assert prepared.exit_code == 0, prepared.output
    assert prepared.stdout.startswith(f"{tmp_path}/home/shards/x: ")
    assert "phone labels: 1 classes" in prepared.stdout
    assert vgim("data", "info", "$VGIM_HOME/shards/x").stdout == prepared.stdout
    made = vgim("data", "synth", "--out", "$VGIM_HOME/corpus", "--speakers", "1", "--utterances", "1")
    assert made.exit_code == 0, made.output
    assert (tmp_path / "home" / "corpus").is_dir()
    assert not list(Path.cwd().iterdir())
    refused = vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", "$NOWHERE_AT_ALL/x")
    assert refused.stderr == (
        "error: --out=$NOWHERE_AT_ALL/x: the environment variable NOWHERE_AT_ALL is not set; set it or give a path\n"
    )


def test_synth_makes_a_corpus_that_can_be_prepared(tmp_path: Path) -> None:
    size = ["--speakers", "2", "--utterances", "6"]
    made = vgim("data", "synth", "--out", tmp_path / "corpus", *size)
    assert made.exit_code == 0, made.output
    assert "6 utterances of 2 speakers" in made.stdout
    assert "it was there already" in vgim("data", "synth", "--out", tmp_path / "corpus", *size).stdout
    places = ["--corpus", tmp_path / "corpus", "--out", tmp_path / "shards", "--workers", "0"]
    prepared = vgim("data", "prepare", "librispeech", *places)
    assert prepared.exit_code == 0, prepared.output
    assert "phone labels: " in prepared.stdout
    assert "phone labels: none" not in prepared.stdout


def test_options_reach_the_shards(corpus: Path, tmp_path: Path) -> None:
    options = [
        "--codec",
        "flac",
        "--validation-fraction",
        "0.5",
        "--test-fraction",
        "0",
        "--min-samples",
        "100",
    ]
    out = tmp_path / "shards"
    result = vgim(
        "data", "prepare", "librispeech", "--corpus", corpus, "--out", out, "--workers", "0", *options
    )
    assert result.exit_code == 0, result.output
    record = json.loads(vgim("data", "info", out, "--json").stdout)
    assert (record["codec"], record["skipped"]) == ("flac", [])
    assert record["splits"]["test"]["utterances"] == 0


def test_verify_names_the_damaged_shard(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", out, "--workers", "0")
    shard = next((out / "train").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    result = vgim("data", "info", out, "--verify")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")
    assert f"train/{shard.name}" in result.stderr


@pytest.mark.parametrize("options", [[], ["--verify"], ["--json"]])
def test_a_truncated_index_is_an_error_of_one_line(corpus: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "shards"
    vgim("data", "prepare", "librispeech", "--corpus", corpus, "--out", out, "--workers", "0")
    truncate(out / "index.parquet")
    result = vgim("data", "info", out, *options)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")
    assert "index.parquet is damaged (" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", [["info"], ["prepare", "librispeech", "--out", "x", "--corpus"]])
def test_a_missing_folder_is_an_error_of_one_line(verb: list[str], tmp_path: Path) -> None:
    result = vgim("data", *verb, tmp_path / "nowhere")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "nowhere" in result.stderr
