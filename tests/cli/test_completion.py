from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, ZshComplete

from vgim.cli import main
from vgim.cli.completion import _Bash, _Zsh, join_assignments
from vgim.config.keys import config_keys


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGIM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("sim-a", "sim-b", "gim"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({}))
    (tmp_path / "runs" / "no-run").mkdir()
    return tmp_path


def completions(*words: str) -> list[str]:
    """What is offered for the last of these words, as the user would see it."""
    found = _Zsh(main, {}, "vgim", "_VGIM_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found if item.type == "plain"]


def bash_replies(monkeypatch: pytest.MonkeyPatch, words: list[str], at: int) -> list[str]:
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(at))
    replies = _Bash(main, {}, "vgim", "_VGIM_COMPLETE").complete().splitlines()
    return [value for kind, _, value in (reply.partition(",") for reply in replies) if kind == "plain"]


def test_presets_are_completed_and_bases_are_not(home: Path) -> None:
    assert "librispeech-sim" in completions("train", "librispeech-")
    assert "librispeech-sim" in completions("config", "show", "")
    assert not [name for name in completions("train", "") if name.startswith(("_", "sweep", "reproduce"))]


def test_sweep_and_experiment_files_are_completed(home: Path) -> None:
    assert all(name.startswith("sweep-") for name in completions("sweep", "run", "sweep-"))
    assert completions("sweep", "run", "sweep-")
    assert completions("experiment", "run", "reproduce-")


def test_every_key_is_completed_with_its_equals_sign(home: Path) -> None:
    assert completions("train", "librispeech-sim", "") == [f"{key}=" for key in config_keys().leaves]
    assert completions("train", "librispeech-sim", "model.family=sim", "objective.kld_w") == [
        "objective.kld_weight=",
        "objective.kld_warmup_steps=",
    ]


def test_values_of_a_key_are_completed(home: Path) -> None:
    assert completions("train", "x", "model.family=") == [
        "model.family=sim",
        "model.family=gim",
        "model.family=cpc",
    ]
    assert completions("train", "x", "model.family=c") == ["model.family=cpc"]
    assert completions("train", "x", "train.compile=t") == ["train.compile=true"]
    assert completions("train", "x", "cluster.threads_per_worker=") == ["cluster.threads_per_worker=auto"]
    assert completions("train", "x", "model.channels=") == []
    assert completions("train", "x", "no.such.key=") == []


def test_a_decoders_own_keys_are_completed(home: Path) -> None:
    found = completions("decode", "train", "sim-a", "listen.")
    assert found
    assert not completions("train", "librispeech-sim", "listen.")


def test_names_of_runs_are_completed(home: Path) -> None:
    assert completions("probe", "sim") == ["sim-a", "sim-b"]
    assert completions("compare", "gim", "sim-") == ["sim-a", "sim-b"]
    assert completions("latents", "") == ["gim", "sim-a", "sim-b"]
    assert completions("config", "diff", "sim-") == ["sim-a", "sim-b"]


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        (["vgim", "train", "x", "model.fam"], 3, ["model.family="]),
        (["vgim", "train", "x", "model.family", "="], 4, ["sim", "gim", "cpc"]),
        (["vgim", "train", "x", "model.family", "=", "g"], 5, ["gim"]),
        (["vgim", "train", "x", "model.family=g"], 3, ["model.family=gim"]),  # where = breaks no words
        (["vgim", "train", "x", "model.family", "=", "gim", "model.dep"], 6, ["model.depth="]),
        (["vgim", "train", "x", "model.family", "=", "gim"], 6, [f"{key}=" for key in config_keys().leaves]),
    ],
)
def test_bash_completes_assignments_that_it_splits(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], at: int, expected: list[str]
) -> None:
    assert bash_replies(monkeypatch, words, at) == expected


def test_words_split_at_equals_signs_are_joined() -> None:
    assert join_assignments(["train", "a", "=", "b", "c", "=", "d=e"]) == ["train", "a=b", "c=d=e"]
    assert join_assignments(["--out", "=", "x"]) == ["--out=x"]


def test_the_scripts_of_click_are_changed_where_they_must_be() -> None:
    assert "nospace" in _Bash.source_template != BashComplete.source_template
    assert _Zsh.source_template.count("nospace") == 3
    assert _Zsh.source_template != ZshComplete.source_template


def vgim_script(folder: Path) -> None:
    """A `vgim` on the path that runs this checkout."""
    program = folder / "vgim"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vgim "$@"\n')
    program.chmod(0o755)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_a_real_bash_completes_a_key_and_a_value(home: Path) -> None:
    vgim_script(home)
    script = """
    eval "$(vgim completion bash)"
    compopt() { :; }
    reply() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _vgim_completion vgim
        echo "${COMPREPLY[*]}"
    }
    reply vgim train librispeech-sim model.fam
    reply vgim train librispeech-sim model.family = c
    """
    env = {**os.environ, "PATH": f"{home}:{os.environ['PATH']}"}
    out = subprocess.run(
        ["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, timeout=300
    )
    assert out.stderr == ""
    assert out.stdout.split() == ["model.family=", "cpc"]


def test_completion_imports_neither_torch_nor_ray(home: Path) -> None:
    script = (
        "import os, sys\n"
        "os.environ.update(COMP_WORDS='vgim train librispeech-sim model', COMP_CWORD='3')\n"
        "from vgim.cli import main\n"
        "from vgim.cli.completion import _Bash\n"
        "assert _Bash(main, {}, 'vgim', '_VGIM_COMPLETE').complete()\n"
        "assert not {'torch', 'ray', 'pandas'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_names_that_a_shell_would_take_apart_are_not_offered(home: Path) -> None:
    for name in ("sim b", "sim'c", "sim$(touch x)", "sim*", "sim.d+e"):
        (home / "runs" / name).mkdir()
        (home / "runs" / name / "run.json").write_text("{}")
    assert completions("report", "sim") == ["sim-a", "sim-b", "sim.d+e"]


def test_a_home_of_nobody_offers_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGIM_HOME", "~nobody-of-this-name/x")
    assert completions("report", "sim") == []
