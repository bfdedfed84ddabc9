"""Options of all verbs: numbers have ends, and texts that no path or number should be get a line."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.config.paths import resolve_path, resolve_run_path
from vgim.errors import ConfigError

WRITTEN = Path(__file__).parents[1] / "written_by_0_1"
BY_MEANING = {"module", "modules", "layer", "dims"}
"""Integers that are compared with the encoder's own numbers before they are used."""


def options(command: click.Command, path: str) -> Iterator[tuple[str, click.Parameter]]:
    """Every option of a command and of the commands below it."""
    yield from ((f"{path} --{parameter.name}", parameter) for parameter in command.params)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below, f"{path} {name}")


def test_every_number_on_the_command_line_has_an_upper_end() -> None:
    numbers = [
        (path, option)
        for path, option in options(main, "vgim")
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
        and option.name not in BY_MEANING
    ]
    assert len(numbers) > 20
    assert [path for path, option in numbers if not _has_end(option.type)] == []


def _has_end(kind: click.ParamType) -> bool:
    if isinstance(kind, click.FloatRange):  # FiniteRange, and no other: nan is in every range of click's
        return type(kind) is not click.FloatRange
    return isinstance(kind, click.IntRange) and kind.max is not None and math.isfinite(kind.max)


@pytest.mark.parametrize("value", ["9" * 5000, "1e400", "-1", "nan", "inf", "", "0x10", "\x1b[31m"])
@pytest.mark.parametrize(
    "verb",
    [["latents", "r", "--seed"], ["report", "r", "--max-mb"], ["decode", "sample", "r", "--count"]],
    ids=" ".join,
)
def test_a_number_that_is_none_is_a_usage_error(verb: list[str], value: str) -> None:
    result = CliRunner().invoke(main, [*verb, value])
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.parametrize("path", ["a\0b", "a\nb", "\x1b[31m", "caf\udce9"])
def test_a_path_that_holds_a_control_character_is_refused(path: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^RUN=.*: the path holds a control character or is not UTF-8"
    ) as e:
        resolve_path(path, "RUN")
    assert str(e.value).isprintable()


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^RUN is empty; give a path or a URI"):
        resolve_path(path, "RUN")
    with pytest.raises(ConfigError, match=r"^RUN is empty; give a path or a URI"):
        resolve_run_path(path, "RUN")


def test_an_empty_place_for_the_best_trial_is_refused_by_its_option(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sweep", "best", str(tmp_path), "--copy-to", ""])
    assert result.output.startswith("error: --copy-to is empty; ")


def test_a_path_may_hold_any_letter() -> None:
    assert resolve_path("/data/日本語/café zwei\u3000", "RUN") == "/data/日本語/café zwei\u3000"


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("sim", "/home/runs/sim"),
        ("sim/checkpoints/step-00000006", "/home/runs/sim/checkpoints/step-00000006"),
        ("sim/decoder/module0-mse", "/home/runs/sim/decoder/module0-mse"),
        ("sim/probes/phone", "/home/runs/sim/probes/phone"),
        ("here", "{cwd}/here"),
        ("here/probes/phone", "{cwd}/here/probes/phone"),
        ("./sim/probes/phone", "{cwd}/sim/probes/phone"),
        ("runs/sim/probes/phone", "{cwd}/runs/sim/probes/phone"),
        ("runs/sim", "{cwd}/runs/sim"),
        ("$VGIM_HOME/probes/phone", "/home/probes/phone"),
        ("s3://checkpoints/sim", "s3://checkpoints/sim"),
    ],
)
def test_a_name_of_a_run_stands_for_it_in_front_of_its_parts_too(
    named: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGIM_HOME", "/home")
    (tmp_path / "here").mkdir()
    assert resolve_run_path(named, "RUN") == path.format(cwd=tmp_path)


@pytest.mark.parametrize("folder", ["nope", "."], ids=["missing", "another folder"])
def test_decoders_of_no_run_are_an_error(folder: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["decode", "list", str(tmp_path / folder)])
    assert result.exit_code == 4
    assert f"{tmp_path / folder} is no run: it has no config.yaml" in result.output


@pytest.mark.parametrize(
    "option", [["report", "RUN", "--out"], ["compare", "RUN", "--csv"], ["compare", "RUN", "--picture"]]
)
def test_output_never_replaces_a_file_of_a_run(option: list[str], tmp_path: Path) -> None:
    run = shutil.copytree(WRITTEN / "runs" / "sim", tmp_path / "sim")
    before = (run / "run.json").read_bytes()
    result = CliRunner().invoke(
        main, [str(run) if word == "RUN" else word for word in option] + [str(run / "run.json")]
    )
    assert result.exit_code == 2
    assert (
        "is a file of a run or of shards, which would be lost" in result.output
        or "neither PNG nor PDF" in result.output
    )
    assert (run / "run.json").read_bytes() == before


def test_an_argument_that_is_not_utf8_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["runs", "caf\udce9"])
    assert result.exit_code == 2
    assert result.output == (
        "error: caf\\udce9 is not UTF-8; rename the file, or set LANG to a UTF-8 locale; see main --help\n"
    )


@pytest.mark.parametrize(
    "args", [["latents", "r", "--dims", "9" * 5000], ["compare", str(WRITTEN / "runs/sim"), "--csv", "/"]]
)
def test_numbers_and_names_that_python_refuses_get_a_line(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert isinstance(result.exception, SystemExit)
    assert result.output.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "args", [["experiment", "show", "runs", "x" * 5000], ["config", "show", "x" * 5000]], ids=len
)
def test_an_error_about_a_very_long_name_stays_readable(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert max(map(len, result.output.splitlines())) < 1100
    assert "rror: " in result.output.splitlines()[-1]
