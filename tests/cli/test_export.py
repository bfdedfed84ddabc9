"""`vgim export` and `vgim features`: what a command line may ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.export.cases import FAMILIES, make_run
from vgim.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_run(tmp_path_factory.mktemp("cli"), "sim", *FAMILIES["sim"]))


def vgim(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_an_export_says_where_it_is_and_how_far_off(run: str, tmp_path: Path) -> None:
    done = vgim("export", run, "--to", "folder", "--out", str(tmp_path / "export"))
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'export'} (" in done.output
    assert "differs from the encoder by at most" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--to", "hub"), 2, "--to hub needs --repo OWNER/NAME"),
        (("--to", "hub", "--repo", "a/b", "--out", "x"), 2, "--out x has no effect with --to hub"),
        (("--to", "onnx", "--repo", "a/b"), 2, "--repo is for --to hub alone"),
        (("--to", "folder", "--private"), 2, "--private is for --to hub alone"),
        (
            ("--to", "onnx", "--out", "{run}/config.yaml"),
            2,
            "is a file of a run or of shards, which would be lost",
        ),
        (("--to", "folder", "--out", "{run}"), 5, "holds other files than an export"),
        (("--to", "folder", "--out", "{run}/config.yaml"), 2, "is a file of a run"),
    ],
)
def test_what_cannot_be_exported_is_told(
    arguments: tuple[str, ...], code: int, message: str, run: str
) -> None:
    done = vgim("export", run, *(argument.format(run=run) for argument in arguments))
    assert done.exit_code == code, done.output
    assert done.output.startswith("error: ")
    assert message in done.output
    assert done.output.count("\n") == 1


def test_a_missing_package_is_named(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    done = vgim("export", run, "--to", "onnx", "--out", str(tmp_path / "x.onnx"))
    assert done.exit_code == 2
    assert "--to onnx needs the packages onnx and onnxruntime; pip install 'vgim[onnx]'" in done.output
    done = vgim("export", run, "--to", "hub", "--repo", "a/b")
    assert "--to hub needs the package huggingface_hub; pip install 'vgim[hub]'" in done.output
    assert not (tmp_path / "x.onnx").exists()


def test_features_say_what_was_written_or_why_not(run: str, tiny_shards: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "features")
    done = vgim("features", run, str(tiny_shards), "--out", out, "--split", "test", "--module", "1")
    assert done.exit_code == 0, done.output
    assert "utterances; module 1: " in done.output
    for arguments, message in (
        (("--module", "1", "--all-modules"), "--module 1 and --all-modules exclude each other"),
        (("--address", "auto"), "--address auto has no effect without Ray"),
        (("--module", "9"), "module=9 but the encoder has 4 modules"),
        (("--kind", "std"), "--kind std, but module 3 has no posterior"),
        (("--split", "train"), "holds features of another encoder, corpus or options"),
    ):
        done = vgim("features", run, str(tiny_shards), "--out", out, *arguments)
        assert done.exit_code == 2, done.output
        assert message in done.output
