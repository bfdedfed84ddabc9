"""What commands say on the standard error, as text or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.cli.messages import say
from vgim.cli.shards import describe
from vgim.data.corpora.corpus import Skipped
from vgim.data.shards.manifest import Manifest


def vgim(*args: str) -> Result:
    return CliRunner().invoke(main, list(args), prog_name="vgim")


def commands_below(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from commands_below(command, *names, name)


COMMANDS = [(), *commands_below(main)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_another_form_of_log_lines(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VGIM_LOG_FORMAT", "xml")
    monkeypatch.chdir(tmp_path)
    for args in ((), ("--nonsense",), ("quickstart", "x")):
        result = vgim(*command, *args)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "error: VGIM_LOG_FORMAT='xml' is no format of log lines; set it to text or json\n"
        )
    assert not list(tmp_path.iterdir())


def test_another_form_of_log_lines_hinders_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGIM_LOG_FORMAT", "xml")
    monkeypatch.setenv("COMP_WORDS", "vgim tra")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_VGIM_COMPLETE", "bash_complete")
    assert vgim().stdout == "plain,train\n"


NO_SUCH_OPTION = click.NoSuchOption("--nonsense").format_message().removesuffix(".")
"""With quotation marks or without: click's own, which differ by its version."""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nonsense"], f"{NO_SUCH_OPTION}; see vgim --help"),
        (["nonsense"], "No such command 'nonsense'; see vgim --help"),
        (["train"], "Missing argument 'PRESET'; see vgim train --help"),
        (["data"], "Missing command; see vgim data --help"),
        (
            ["data", "prepare", "nonsense"],
            "No such command 'nonsense'; see vgim data prepare --help",
        ),
        (
            ["train", "quickstart", "train.seed"],
            "'train.seed' is not an override; write key=value, for example train.seed=3",
        ),
        (
            ["train", "\udcff"],
            "\\udcff is not UTF-8; rename the file, or set LANG to a UTF-8 locale; see vgim --help",
        ),
    ],
    ids=lambda value: " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_as_json_and_as_text(
    args: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VGIM_LOG_FORMAT", "json")
    result = vgim(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"]) == ("error", message)
    monkeypatch.delenv("VGIM_LOG_FORMAT")
    if message.startswith("Missing command"):
        return  # as text, the help of the group
    plain = vgim(*args)
    assert (plain.exit_code, plain.stdout, plain.stderr) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize("group", [(), ("data",), ("decode",)], ids=" ".join)
def test_a_group_without_a_command_prints_its_whole_help(group: tuple[str, ...]) -> None:
    assert vgim(*group).stderr == vgim(*group, "--help").stdout


def test_problems_of_a_config_are_one_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGIM_LOG_FORMAT", "json")
    (line,) = vgim("train", "quickstart", "train.epochs=0", "model.chanels=3").stderr.splitlines()
    problems = sorted(json.loads(line)["message"].splitlines())
    assert [problem.split(" ")[0] for problem in problems] == ["model.chanels", "train.epochs=0"]


def test_names_of_a_corpus_give_no_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Manifest.model_construct(
        corpus="folder",
        codec="pcm16",
        sample_rate_hz=16_000,
        created="now",
        splits={},
        phone_inventory=(),
        corpus_mean=0.0,
        corpus_std=1.0,
        fingerprint="f",
        origin=None,
        alignment=None,
        beyond_max_hours=0,
        left_out=0,
        skipped=(Skipped(path_or_id="a\x1b[31m.wav", kind="corrupt", reason="no sound"),),
        warnings=("no speaker: b\x1b[31m",),
    )
    described = describe("shards", manifest)
    assert "a\\x1b[31m.wav" in described
    assert "b\\x1b[31m" in described
    say("not aligned: c\x1b[31m")
    assert "\x1b" not in described + capsys.readouterr().err
